"""Calibration: the error against its definition, and the temperature against a minimiser that knows no derivative."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.utils.estimator_checks import parametrize_with_checks

import xentrs as xe
from xentrs.models import MLPClassifier, TemperatureScaler


def drawn(n, c, scale=1.0, seed=0):
    """Logits, and classes drawn from their softmax."""
    rng = np.random.default_rng(seed)
    logits = scale * rng.normal(size=(n, c))
    y = (xe.softmax(logits).cumsum(axis=1) < rng.random((n, 1))).sum(axis=1)
    return logits, np.minimum(y, c - 1)


# ------------------------------------------------------------------------------------------ expected calibration error


def definition(logits, target, n_bins=15, weight=None):
    """Bin by bin, as Guo et al. write it."""
    p = xe.softmax(np.asarray(logits, np.float64))
    confidence, right = p.max(axis=1), p.argmax(axis=1) == target
    weight = np.ones(len(p)) if weight is None else weight
    total = 0.0
    for b in range(n_bins):
        inside = (b / n_bins < confidence) & (confidence <= (b + 1) / n_bins) & (weight > 0)
        if inside.any():
            accuracy = np.average(right[inside], weights=weight[inside])
            total += weight[inside].sum() * abs(accuracy - np.average(confidence[inside], weights=weight[inside]))
    return total / weight.sum()


@pytest.mark.parametrize("n_bins", [1, 2, 15, 100])
@pytest.mark.parametrize(("n", "c"), [(1000, 2), (1000, 10), (3, 5)])
def test_the_error_is_its_definition(n, c, n_bins):
    logits, y = drawn(n, c, 2.0)
    weight = np.random.default_rng(1).integers(0, 3, n).astype(float)
    weight[0] = 1.0
    assert xe.expected_calibration_error(3 * logits, y, n_bins=n_bins) == pytest.approx(
        definition(3 * logits, y, n_bins)
    )
    error = xe.expected_calibration_error(logits, y, n_bins=n_bins, sample_weight=weight)
    assert error == pytest.approx(definition(logits, y, n_bins, weight))
    assert xe.expected_calibration_error(3 * logits, y, temperature=3.0) == pytest.approx(definition(logits, y))


def test_the_ends_of_the_error():
    assert xe.expected_calibration_error([[0.0, 0.0]] * 2, [0, 0], sample_weight=[1e308, 1.7e308]) == 0.5
    assert xe.expected_calibration_error([[50.0, 0.0], [0.0, 0.0]], [0, 0], n_bins=10**12) == pytest.approx(0.25)
    assert xe.expected_calibration_error([[50.0, 0.0]], [0]) == pytest.approx(0.0, abs=1e-15)
    assert xe.expected_calibration_error([[50.0, 0.0]], [1]) == 1.0
    assert xe.expected_calibration_error([[0.0, 0.0]] * 2, [0, 1]) == 0.0
    assert xe.expected_calibration_error(np.zeros((1, 1000)), [1]) == pytest.approx(0.001)
    assert xe.expected_calibration_error(np.empty((0, 3)), np.empty(0, int)) == 0.0
    assert xe.expected_calibration_error([[1.0, 2.0]], [-100]) == 0.0
    assert xe.expected_calibration_error([0.0, 0.0], 0) == 0.5
    assert xe.expected_calibration_error([[np.inf, 0.0], [0.0, -np.inf]], [0, 0]) == 0.0
    for undefined in ([np.nan, 0.0], [np.inf, np.inf], [-np.inf, -np.inf]):
        assert np.isnan(xe.expected_calibration_error([undefined, [0.0, 0.0]], [0, 0]))
        assert xe.expected_calibration_error([undefined, [0.0, 0.0]], [-100, 0]) == 0.5
        assert xe.expected_calibration_error([undefined, [0.0, 0.0]], [0, 0], sample_weight=[0, 1]) == 0.5


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_the_error_of_rounded_logits(dtype):
    logits, y = drawn(5000, 10)
    assert xe.expected_calibration_error(logits.astype(dtype), y) == pytest.approx(definition(logits, y), abs=2e-3)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"n_bins": 0}, ValueError, "n_bins must be at least 1, got 0"),
        ({"n_bins": 1.5}, TypeError, "n_bins must be an integer, got 1.5"),
        ({"temperature": 0.0}, ValueError, "temperature must be"),
        ({"target": [0, 7]}, IndexError, "target must be .* got 7 at row 1"),
    ],
)
def test_the_error_refuses(options, error, message):
    with pytest.raises(error, match=message):
        xe.expected_calibration_error(**{"logits": np.zeros((2, 3)), "target": [0, 1], **options})


# -------------------------------------------------------------------------------------------------- the temperature

CLASSES = "its labels are no classes in [0, n_features)"


def expected_failures(estimator):
    return {
        **dict.fromkeys(
            [
                "check_estimators_overwrite_params",
                "check_estimators_fit_returns_self",
                "check_readonly_memmap_input",
                "check_sample_weights_not_an_array",
                "check_sample_weights_shape",
                "check_sample_weights_not_overwritten",
                "check_fit2d_1feature",
            ],
            CLASSES,
        ),
        "check_estimators_nan_inf": "its labels are floats",
        "check_fit2d_predict1d": "one dimension means one column, the log-odds of two classes",
    }


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # of data that are no logits
@parametrize_with_checks([TemperatureScaler()], expected_failed_checks=expected_failures)
def test_scikit_learns_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize(("n", "c"), [(2000, 2), (2000, 10), (50, 3), (300, 1000)])
@pytest.mark.parametrize("scale", [1e-6, 0.1, 1.0, 5.0, 1e6])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_temperature_minimises_the_cross_entropy(n, c, scale, weighted):
    logits, y = drawn(n, c)
    weight = np.random.default_rng(1).uniform(0, 2, n) if weighted else None
    scaler = TemperatureScaler().fit(scale * logits, y, weight)

    def loss(log_temperature):
        return xe.softmax_cross_entropy(logits, y, sample_weight=weight, temperature=np.exp(log_temperature))

    best = minimize_scalar(loss, bounds=(-3, 3), method="bounded", options={"xatol": 1e-12})
    assert scaler.temperature_ / scale == pytest.approx(np.exp(best.x), rel=1e-6)
    assert loss(np.log(scaler.temperature_ / scale)) <= best.fun * (1 + 1e-14)
    assert scaler.n_iter_ <= 12
    assert scaler.ece_before_ == pytest.approx(definition(scale * logits, y, weight=weight), abs=1e-12)
    assert scaler.ece_after_ == pytest.approx(
        definition(scale * logits / scaler.temperature_, y, weight=weight), abs=1e-12
    )


def test_the_true_temperature_is_found_and_calibrates():
    logits, y = drawn(20_000, 10, 2.0)
    scaler = TemperatureScaler().fit(3 * logits[:10_000], y[:10_000])
    assert scaler.temperature_ == pytest.approx(3.0, rel=0.05)
    assert scaler.ece_before_ > 0.15
    assert scaler.ece_after_ < 0.02
    after = scaler.transform(3 * logits[10_000:])
    assert xe.expected_calibration_error(after, y[10_000:]) < 0.02
    np.testing.assert_array_equal(after.argmax(axis=1), logits[10_000:].argmax(axis=1))
    np.testing.assert_allclose(scaler.predict_proba(3 * logits[10_000:]), xe.softmax(after), rtol=1e-12)


def test_a_network_that_is_too_sure():
    X, y = load_digits(return_X_y=True)
    X = X / 16 + np.random.default_rng(0).normal(scale=0.5, size=X.shape)
    model = MLPClassifier(alpha=0.0, learning_rate_init=0.01, max_iter=60, tol=None, random_state=0).fit(
        X[:600], y[:600]
    )
    scaler = TemperatureScaler().fit(model.decision_function(X[600:1200]), y[600:1200])
    assert scaler.temperature_ > 1.2
    rest = model.decision_function(X[1200:])
    calibrated = scaler.transform(rest)
    assert xe.softmax_cross_entropy(calibrated, y[1200:]) < xe.softmax_cross_entropy(rest, y[1200:])
    assert xe.expected_calibration_error(calibrated, y[1200:]) < xe.expected_calibration_error(rest, y[1200:])


def test_log_odds_are_two_classes():
    logits, y = drawn(500, 2)
    odds = logits[:, 1] - logits[:, 0]
    two = TemperatureScaler().fit(logits, y)
    for given in (odds, odds[:, np.newaxis], odds.tolist()):
        one = TemperatureScaler().fit(given, y)
        assert one.temperature_ == pytest.approx(two.temperature_, rel=1e-9)
        assert one.transform(given).shape == np.shape(given)
        np.testing.assert_allclose(one.predict_proba(given), two.predict_proba(logits), rtol=1e-7)


def test_single_precision_stays_single():
    logits, y = drawn(500, 4)
    scaler = TemperatureScaler().fit(logits.astype(np.float32), y)
    assert scaler.temperature_ == pytest.approx(TemperatureScaler().fit(logits, y).temperature_, rel=1e-5)
    assert scaler.transform(logits.astype(np.float32)).dtype == np.float32
    assert scaler.transform(logits).dtype == np.float64


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_worse_than_guessing(dtype):
    logits, y = drawn(500, 4)
    with pytest.warns(ConvergenceWarning, match="Guessing is better than the logits: the temperature is infinite"):
        scaler = TemperatureScaler().fit(-logits.astype(dtype), y)
    assert scaler.temperature_ == np.inf
    np.testing.assert_array_equal(scaler.predict_proba(logits), 0.25)
    accuracy = np.mean((-logits).argmax(axis=1) == y)
    assert scaler.ece_after_ == pytest.approx(abs(accuracy - 0.25), abs=1e-6)


def test_a_large_offset_does_no_harm():
    logits, y = drawn(500, 4)
    plain = TemperatureScaler().fit(logits, y).temperature_
    assert TemperatureScaler().fit(logits + 1e6, y).temperature_ == pytest.approx(plain, rel=1e-8)


def test_comes_back_from_a_file(tmp_path):
    logits, y = drawn(500, 4)
    scaler = TemperatureScaler().fit(logits, y)
    scaler.save(tmp_path / "scaler.npz")
    again = TemperatureScaler.load(tmp_path / "scaler.npz")
    np.testing.assert_array_equal(again.transform(logits), scaler.transform(logits))
    assert again.ece_after_ == scaler.ece_after_


@pytest.mark.parametrize(
    ("logits", "y", "message"),
    [
        (np.eye(3), [0, 1, 2], "y must not be what the logits say for every sample: the temperature would be 0"),
        (np.eye(3), [0, 1, 3], r"y must be integers in \[0, 3\), got 3 at row 2"),
        (np.eye(3), [0, -1, 2], r"y must be integers in \[0, 3\), got -1 at row 1"),
        (np.eye(3), [0.0, 1.0, 2.0], r"y must be integers in \[0, 3\), got float64"),
        (np.eye(3), ["a", "b", "c"], r"y must be integers in \[0, 3\), got <U1"),
        (np.eye(3), [0, 1], "Found input variables with inconsistent numbers of samples"),
        ([[np.nan, 1.0]], [0], "Input logits contains NaN"),
        ([[-np.inf, 1.0]], [0], "Input logits contains infinity"),
        (np.zeros((2, 2, 2)), [0, 1], "Found array with dim 3"),
        (np.zeros((0, 3)), [], "Found array with 0 sample"),
    ],
)
def test_a_refused_fit_changes_nothing(logits, y, message):
    scaler = TemperatureScaler()
    with pytest.raises(ValueError, match=message):
        scaler.fit(logits, y)
    with pytest.raises(NotFittedError):
        scaler.transform(np.eye(3))
    fitted = clone(scaler).fit(*drawn(50, 3))
    before = dict(vars(fitted))
    with pytest.raises(ValueError, match=message):
        fitted.fit(logits, y)
    assert vars(fitted) == before
    with pytest.raises(ValueError, match="X has 2 features, but TemperatureScaler is expecting 3 features"):
        fitted.transform(np.zeros((1, 2)))
