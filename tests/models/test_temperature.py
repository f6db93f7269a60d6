"""Calibration: the error against its definition, and the temperature against a minimiser that knows no derivative."""

import pickle

import numpy as np
import pytest
import sklearn.base
import sklearn.linear_model
from scipy.optimize import minimize_scalar
from sklearn.base import clone, is_classifier
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_digits, make_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import log_loss
from sklearn.model_selection import cross_val_score
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

import xentrs as xe
from estimator_checks import is_older_than, with_checks
from xentrs.models import LogisticRegression, MLPClassifier, MultiLabelClassifier, TemperatureScaler
from xentrs.models import temperature as temperature_module


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

COLUMNS = "the labels are more than the columns of what are to be logits, or have nothing to do with them"
EXPECTED = {
    "check_estimators_overwrite_params": COLUMNS,
    "check_estimators_fit_returns_self": COLUMNS,
    "check_readonly_memmap_input": COLUMNS,
    "check_classifiers_classes": COLUMNS,
    "check_classifiers_train": COLUMNS,
    "check_classifiers_one_label": "the only label, 1, is the number of a column, as are the others that do not occur",
}

RIGHT = "the classes are far apart, so every sample is right, and no temperature is the best"
EXPECTED_AROUND = dict.fromkeys(
    [
        "check_sample_weights_shape",
        "check_pipeline_consistency",
        "check_estimators_pickle",
        "check_classifiers_classes",
    ],
    RIGHT,
)


class Around(TemperatureScaler):
    """A scaler around a classifier of its own, which it fits first: the checks bring no fitted one."""

    def __init__(self, base=None):
        self.base = base

    _parameter_constraints = {}  # noqa: RUF012

    @property
    def estimator(self):
        return vars(self).get("estimator_", sklearn.linear_model.LogisticRegression())

    def fit(self, X, y, sample_weight=None):
        self.estimator_ = sklearn.linear_model.LogisticRegression(C=1e-3).fit(X, y, sample_weight)
        return super().fit(X, y, sample_weight)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # of data that are no logits
@with_checks(
    [TemperatureScaler(), Around()],
    expected_failed_checks=lambda estimator: EXPECTED_AROUND if isinstance(estimator, Around) else EXPECTED,
)
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


def test_the_derivative_of_a_sure_answer_does_not_cancel():
    """By the factor of the logits it is minus the gap, times the probability of the other class."""
    logits = np.array([[1e6 + 40.0, 1e6]])
    slope, curvature = temperature_module._derivatives(logits, np.array([0]), np.ones(1), 1.0, 1.0)
    assert slope == pytest.approx(-40 * np.exp(-40.0), rel=1e-12, abs=0)
    assert curvature == pytest.approx(40**2 * np.exp(-40.0), rel=1e-12, abs=0)


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


TOO_FEW_OR_MANY = r"y must have as many classes as the logits have columns, 3, or be integers in \[0, 3\), "


@pytest.mark.parametrize(
    ("logits", "y", "message"),
    [
        (np.eye(3), [0, 1, 2], "y must not be what the logits say for every sample: the temperature would be 0"),
        (np.eye(3), [0, 1, 1, 3][1:], rf"{TOO_FEW_OR_MANY}got 2: 1, 3\. Pass numpy\.searchsorted"),
        (np.eye(3), [0, -1, 0], rf"{TOO_FEW_OR_MANY}got 2: -1, 0\. "),
        (np.eye(3), ["a", "b", "b"], rf"{TOO_FEW_OR_MANY}got 2: a, b\. .* or wrap the model: TemperatureScaler\(model"),
        (np.eye(3), [True, False, True], rf"{TOO_FEW_OR_MANY}got 2: False, True\. "),
        (np.eye(3), ["a", "a", "a"], "y must have at least 2 classes, got only one class: 'a'"),
        (np.eye(3)[:, 0], [0, 1, 2], "must have as many classes as the logits have columns, 2, .* got 3: 0, 1, 2"),
        (np.eye(3), [0.5, 1.0, 2.0], "Unknown label type: continuous"),
        (np.eye(3), [[0, 1]] * 3, "y should be a 1d array"),
        (np.eye(3), ["a", None, "c"], "y must hold labels that have an order, got NoneType, str"),
        (
            [[0, 1, -np.inf]] * 3,
            ["b", "a", "c"],
            "y must be classes that are not masked, got 'c' at row 2, whose logit",
        ),
        ([[0, 1], [-np.inf, -np.inf]], [0, 1], "logits must leave a class in every row, got -inf alone at row 1"),
        (np.eye(3), [0, 1], "Found input variables with inconsistent numbers of samples"),
        ([[np.nan, 1.0]], [0], "Input logits contains NaN"),
        ([[np.inf, 1.0]], [0], "Input logits contains infinity"),
        ([np.nan, 1.0], [0, 1], "Input logits contains NaN"),
        ([[np.nan, -np.inf]], [0], "Input logits contains NaN"),
        (
            np.ma.masked_equal(np.eye(2), 0),
            [0, 1],
            r"must not be masked, got 2 of \d+ elements masked; write logits\.filled\(-numpy\.inf\)",
        ),
        (np.zeros((2, 2, 2)), [0, 1], "Found array with dim 3"),
        (np.zeros((0, 3)), [], "Found array with 0 sample"),
    ],
)
def test_a_refused_fit_changes_nothing(logits, y, message):
    scaler = TemperatureScaler()
    with pytest.raises((ValueError, TypeError), match=message):
        scaler.fit(logits, y)
    with pytest.raises(NotFittedError):
        scaler.transform(np.eye(3))
    fitted = clone(scaler).fit(*drawn(50, 3))
    before = dict(vars(fitted))
    with pytest.raises((ValueError, TypeError), match=message):
        fitted.fit(logits, y)
    assert vars(fitted) == before
    with pytest.raises(ValueError, match="X has 2 features, but TemperatureScaler is expecting 3 features"):
        fitted.transform(np.zeros((1, 2)))


# --------------------------------------------------------------------------------------------------------- the labels

WORDS = np.array(["ant", "cow", "hen"])


@pytest.mark.parametrize("name", [lambda y: WORDS[y], lambda y: WORDS.astype(object)[y], lambda y: 10 * y - 7])
def test_labels_stand_for_the_columns_in_sorted_order(name):
    logits, y = drawn(500, 3)
    labels = name(y)
    named, numbered = TemperatureScaler().fit(2 * logits, labels), TemperatureScaler().fit(2 * logits, y)
    assert named.temperature_ == numbered.temperature_
    assert named.ece_after_ == numbered.ece_after_
    np.testing.assert_array_equal(named.classes_, np.unique(labels))
    np.testing.assert_array_equal(named.predict(logits), named.classes_[logits.argmax(axis=1)])
    assert named.score(logits, labels) == np.mean(logits.argmax(axis=1) == y)


@pytest.mark.parametrize("shape", [(-1,), (-1, 1), (-1, 2)])
@pytest.mark.parametrize(
    ("name", "classes"),
    [
        (lambda y: y == 1, [False, True]),
        (lambda y: (y == 1).tolist(), [False, True]),
        (lambda y: np.where(y == 1, "yes", "no"), ["no", "yes"]),
        (lambda y: 2 * y - 1, [-1, 1]),
        (lambda y: y.astype(np.float32), [0.0, 1.0]),
        (lambda y: y.astype(np.uint8), [0, 1]),
    ],
)
def test_binary_labels_of_any_kind(shape, name, classes):
    logits, y = drawn(500, 2)
    given = logits if shape == (-1, 2) else (logits[:, 1] - logits[:, 0]).reshape(shape)
    scaler = TemperatureScaler().fit(3 * given, name(y))
    assert scaler.temperature_ == pytest.approx(TemperatureScaler().fit(3 * logits, y).temperature_, rel=1e-9)
    assert scaler.classes_.tolist() == classes
    odds = scaler.decision_function(3 * given)
    np.testing.assert_allclose(odds, 3 * (logits[:, 1] - logits[:, 0]) / scaler.temperature_, rtol=1e-12, atol=1e-14)
    np.testing.assert_array_equal(scaler.predict(given), scaler.classes_[(odds > 0).astype(int)])
    np.testing.assert_allclose(scaler.predict_proba(3 * given)[:, 1], xe.sigmoid(odds), rtol=1e-12)
    np.testing.assert_allclose(scaler.predict_log_proba(3 * given)[:, 0], xe.log_sigmoid(-odds), rtol=1e-12)


def test_a_class_may_be_missing_where_numbers_tell_which():
    logits, y = drawn(500, 5)
    there = y != 3
    scaler = TemperatureScaler().fit(logits[there], y[there])
    np.testing.assert_array_equal(scaler.classes_, np.arange(5))
    one = TemperatureScaler().fit(logits[:, 0] + 1, [True] * 500)
    np.testing.assert_array_equal(one.classes_, [False, True])


def test_one_dimension_is_no_row_of_several_logits():
    scaler = TemperatureScaler().fit(*drawn(100, 3))
    for method in (scaler.transform, scaler.predict, scaler.predict_proba, scaler.decision_function):
        with pytest.raises(ValueError, match="Expected 2D array, got 1D array instead"):
            method([1.0, 2.0, 3.0])


# ------------------------------------------------------------------------------------------------------ masked classes


def test_masked_classes_have_no_part():
    logits, y = drawn(2000, 4)
    masked = np.column_stack([logits[:, :2], np.full(2000, -np.inf), logits[:, 2:]])
    scaler, plain = TemperatureScaler().fit(2 * masked, y + (y > 1)), TemperatureScaler().fit(2 * logits, y)
    assert scaler.temperature_ == pytest.approx(plain.temperature_, rel=1e-9)
    assert scaler.ece_after_ == pytest.approx(plain.ece_after_, rel=1e-6)
    chances = scaler.predict_proba(2 * masked)
    assert not chances[:, 2].any()
    np.testing.assert_allclose(np.delete(chances, 2, axis=1), plain.predict_proba(2 * logits), rtol=1e-9)
    assert np.isneginf(scaler.transform(masked)[:, 2]).all()
    assert np.isneginf(scaler.predict_log_proba(masked)[:, 2]).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_masks_that_differ_from_row_to_row(dtype):
    logits, y = drawn(2000, 6, 2.0)
    hidden = np.random.default_rng(1).random(logits.shape) < 0.5
    hidden[np.arange(2000), y] = False
    logits = np.where(hidden, -np.inf, 3 * logits).astype(dtype)
    scaler = TemperatureScaler().fit(logits, y)
    best = minimize_scalar(
        lambda log_t: xe.softmax_cross_entropy(logits, y, temperature=np.exp(log_t)),
        bounds=(-3, 3),
        method="bounded",
        options={"xatol": 1e-12},
    )
    assert scaler.temperature_ == pytest.approx(np.exp(best.x), rel=1e-5 if dtype == np.float64 else 1e-3)
    np.testing.assert_allclose(scaler.predict_proba(logits).sum(axis=1), 1.0, rtol=1e-6)


def test_masked_log_odds_are_certain():
    odds, y = np.array([1.0, -2.0, 0.5, -0.3, np.inf, -np.inf]), [1, 0, 0, 1, 1, 0]
    scaler, plain = TemperatureScaler().fit(odds, y), TemperatureScaler().fit(odds[:4], y[:4])
    assert scaler.temperature_ == pytest.approx(plain.temperature_, rel=1e-9)
    np.testing.assert_array_equal(scaler.predict_proba(odds)[4:], [[0.0, 1.0], [1.0, 0.0]])
    np.testing.assert_array_equal(scaler.transform(odds)[4:], [np.inf, -np.inf])


def test_masks_at_an_infinite_temperature():
    logits, y = drawn(500, 4)
    logits = -logits
    logits[:, 2] = -np.inf
    with pytest.warns(ConvergenceWarning, match="Guessing is better"):
        scaler = TemperatureScaler().fit(logits, np.where(y == 2, 3, y))
    np.testing.assert_allclose(scaler.predict_proba(logits), np.tile([1 / 3, 1 / 3, 0, 1 / 3], (500, 1)))


def test_a_masked_label_of_no_weight_does_not_count():
    logits, y = drawn(500, 4)
    weight = np.ones(500)
    weight[7] = 0.0
    plain = TemperatureScaler().fit(logits, y, weight)
    logits[7, y[7]] = -np.inf
    assert TemperatureScaler().fit(logits, y, weight).temperature_ == plain.temperature_


# ------------------------------------------------------------------------------------------------ any unit of logits


@pytest.mark.parametrize("unit", [1e-300, 1e-200, 1e-30, 1e30, 1e200, 1e300])
def test_the_temperature_is_in_units_of_the_logits(unit):
    logits, y = drawn(500, 4)
    scaler, plain = TemperatureScaler().fit(logits * unit, y), TemperatureScaler().fit(logits, y)
    assert scaler.temperature_ / unit == pytest.approx(plain.temperature_, rel=1e-8)
    assert scaler.n_iter_ <= 12
    np.testing.assert_allclose(scaler.predict_proba(logits * unit), plain.predict_proba(logits), rtol=1e-8)


@pytest.mark.parametrize("unit", [1e-40, 1e37])
def test_a_temperature_at_the_ends_of_single_precision(unit):
    logits, y = drawn(500, 4)
    scaled = (logits * unit).astype(np.float32)
    scaler = TemperatureScaler().fit(scaled, y)
    np.testing.assert_allclose(
        scaler.predict_proba(scaled), TemperatureScaler().fit(logits, y).predict_proba(logits), atol=2e-5
    )


def test_a_search_that_ends_too_early_says_so():
    logits, y = drawn(500, 4)
    logits[0, y[0]], logits[0, y[0] - 1] = 1e250, -1e250
    with pytest.warns(ConvergenceWarning, match=r"not found after 100 steps: the derivative .* is .*\. Clip or mask"):
        TemperatureScaler().fit(logits, y)


# ------------------------------------------------------------------------------------------------ around a classifier


@pytest.fixture(scope="module", params=[2, 4])
def samples(request):
    """Samples with words for labels, in three thirds: to train on, to find the temperature, to test."""
    X, y = make_classification(900, 20, n_informative=6, n_classes=request.param, flip_y=0.1, random_state=0)
    y = np.array(["cow", "ant", "hen", "bee"])[y]
    return [(X[start::3], y[start::3]) for start in range(3)]


CLASSIFIERS = [
    LogisticRegression(C=1e4),
    MLPClassifier(random_state=0, max_iter=50, tol=None),
    make_pipeline(StandardScaler(), sklearn.linear_model.LogisticRegression()),
    LinearSVC(),
    GaussianNB(),
    KNeighborsClassifier(),
    RandomForestClassifier(20, random_state=0),
]


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("model", CLASSIFIERS, ids=repr)
def test_a_classifier_keeps_its_answers_and_gets_the_right_confidence(model, frozen, samples):
    (X, y), held_out, (X_test, y_test) = samples
    model = clone(model).fit(X, y)
    scaler = TemperatureScaler(FrozenEstimator(model) if frozen else model).fit(*held_out)
    assert is_classifier(scaler)
    np.testing.assert_array_equal(scaler.classes_, model.classes_)
    np.testing.assert_array_equal(scaler.predict(X_test), model.predict(X_test))
    assert scaler.score(X_test, y_test) == model.score(X_test, y_test)
    assert scaler.n_features_in_ == 20
    chances = scaler.predict_proba(X_test)
    assert chances.shape == (300, len(model.classes_))
    np.testing.assert_allclose(chances.sum(axis=1), 1.0, rtol=1e-6)
    assert scaler.decision_function(X_test).shape == (chances.shape if len(model.classes_) > 2 else (300,))
    if not is_older_than("1.8"):  # which had no temperature
        peer = CalibratedClassifierCV(FrozenEstimator(model), method="temperature", ensemble=False).fit(*held_out)
        np.testing.assert_allclose(chances, peer.predict_proba(X_test), atol=1e-5)


def test_the_classifier_is_left_alone_and_is_asked_for_logits(samples):
    (X, y), held_out, (X_test, _) = samples
    model = LogisticRegression().fit(X, y)
    coef = model.coef_.copy()
    around = TemperatureScaler(model).fit(*held_out)
    by_hand = TemperatureScaler().fit(model.decision_function(held_out[0]), held_out[1])
    assert around.temperature_ == by_hand.temperature_
    assert around.estimator is model
    np.testing.assert_array_equal(model.coef_, coef)
    np.testing.assert_array_equal(around.decision_function(X_test), by_hand.transform(model.decision_function(X_test)))
    for name in ("transform", "fit_transform"):
        assert not hasattr(around, name)
        assert hasattr(by_hand, name)


def test_a_probability_of_zero_is_not_the_end(samples):
    (X, y), held_out, (X_test, y_test) = samples
    model = RandomForestClassifier(5, random_state=0).fit(X, y)
    assert (model.predict_proba(held_out[0]) == 0).any()
    scaler = TemperatureScaler(model).fit(*held_out)
    assert log_loss(y_test, scaler.predict_proba(X_test)) < log_loss(y_test, model.predict_proba(X_test)) - 0.2


def test_a_held_out_set_without_a_class_that_the_model_knows(samples):
    (X, y), (X_held_out, y_held_out), _ = samples
    some = y_held_out != "ant"
    model = LogisticRegression().fit(X, y)
    scaler = TemperatureScaler(model).fit(X_held_out[some], y_held_out[some])
    np.testing.assert_array_equal(scaler.classes_, model.classes_)


def test_searches_need_a_frozen_classifier(samples):
    (X, y), held_out, _ = samples
    model = LogisticRegression().fit(X, y)
    scores = cross_val_score(TemperatureScaler(FrozenEstimator(model)), *held_out, scoring="neg_log_loss")
    assert (scores > -1.5).all()
    by_hand = cross_val_score(
        TemperatureScaler(), model.decision_function(held_out[0]), held_out[1], scoring="neg_log_loss"
    )
    np.testing.assert_allclose(scores, by_hand, rtol=1e-9)
    with pytest.raises(NotFittedError, match=r"got a LogisticRegression .* sklearn\.frozen\.FrozenEstimator"):
        clone(TemperatureScaler(model)).fit(*held_out)


def test_a_classifier_in_a_file(samples, tmp_path):
    (X, y), held_out, (X_test, _) = samples
    model = LogisticRegression().fit(X, y)
    scaler = TemperatureScaler(model).fit(*held_out)
    with pytest.raises(TypeError, match=r"estimator must be .*: set_params\(estimator=None\) first, or use pickle"):
        scaler.save(tmp_path / "scaler.npz")
    expected = scaler.decision_function(X_test)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(scaler)).decision_function(X_test), expected)
    scaler.set_params(estimator=None).save(tmp_path / "scaler.npz")
    again = TemperatureScaler.load(tmp_path / "scaler.npz")
    np.testing.assert_array_equal(again.decision_function(model.decision_function(X_test)), expected)


class Voting(sklearn.linear_model.LogisticRegression):
    """A classifier with a score for each pair of classes."""

    def decision_function(self, X):
        return np.zeros((len(X), 6))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda X, y: LogisticRegression(), NotFittedError, "must be a fitted classifier, got a LogisticRegression"),
        (lambda X, y: "model", ValueError, "The 'estimator' parameter of TemperatureScaler must be an object impl"),
        (lambda X, y: OneClass().fit(X), ValueError, "must be a classifier, got a OneClass, which has no classes_"),
        (lambda X, y: Voting().fit(X, y), ValueError, "must have a logit for each of [24] classes, got 6"),
        (lambda X, y: LogisticRegression().fit(X, y == "ant"), ValueError, "y contains previously unseen labels"),
        (
            lambda X, y: MultiLabelClassifier().fit(X, np.column_stack([y == "ant", y == "cow"])),
            ValueError,
            "y contains previously unseen labels",
        ),
    ],
)
def test_what_is_no_fitted_classifier_is_refused(make, error, message, samples):
    (X, y), held_out, _ = samples
    scaler = TemperatureScaler(make(X, y))
    with pytest.raises(error, match=message):
        scaler.fit(*held_out)
    assert not hasattr(scaler, "temperature_")


class OneClass(sklearn.base.BaseEstimator):
    def fit(self, X, y=None):
        self.n_features_in_ = X.shape[1]
        return self

    def decision_function(self, X):
        return X[:, 0]
