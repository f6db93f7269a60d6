"""Attacks: never further than allowed, always uphill, exact where the model is linear, and what is refused."""

import pickle
from functools import partial

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest
from sklearn.datasets import load_digits

import xentrs as xe
from xentrs.attacks import fgsm, pgd
from xentrs.models import GaussianRegressor, LogisticRegression, MLPClassifier, MultiLabelClassifier

NORMS = ["linf", "l2"]


class Linear:
    """Two classes by the sign of ``w x``: the worst that a ball allows is known."""

    def __init__(self, w):
        self.w = np.asarray(w, dtype=np.float64)

    def losses(self, X, y):
        return xe.softplus(np.where(y, -1.0, 1.0) * (X.astype(np.float64) @ self.w))

    def input_gradient(self, X, y):
        sign = np.where(y, -1.0, 1.0)
        return (sign * xe.sigmoid(sign * (X.astype(np.float64) @ self.w)))[:, np.newaxis] * self.w


class Scripted:
    """Gives any gradient."""

    def __init__(self, grad):
        self.grad = np.asarray(grad)

    def input_gradient(self, X, y):
        return self.grad


def distances(moved, X, norm):
    delta = moved.astype(np.float64) - X.astype(np.float64)
    return np.abs(delta).max(axis=1, initial=0.0) if norm == "linf" else np.linalg.norm(delta, axis=1)


def assert_within(moved, X, eps, norm, clip):
    slack = 1.0 if norm == "linf" else 1 + 1e-12  # for the roundings of the norm itself
    assert (distances(moved, X, norm) <= eps * slack).all()
    assert moved.dtype == X.dtype
    assert moved.shape == X.shape
    if clip is not None:
        assert ((clip[0] <= moved) & (moved <= clip[1])).all()


# ----------------------------------------------------------------------------------------------------- what is promised


@settings(deadline=None, max_examples=200)
@given(
    seed=st.integers(0, 2**32 - 1),
    dtype=st.sampled_from([np.float16, np.float32, np.float64]),
    norm=st.sampled_from(NORMS),
    eps=st.floats(0, 1e4, allow_subnormal=False),
    scale=st.sampled_from([1e-3, 1.0, 1e3]),
    clipped=st.booleans(),
    attack=st.sampled_from([fgsm, pgd]),
)
def test_nothing_is_further_than_allowed(seed, dtype, norm, eps, scale, clipped, attack):
    rng = np.random.default_rng(seed)
    X = (scale * rng.normal(size=(5, 3))).astype(dtype)
    model, y = Linear(rng.normal(size=3)), rng.integers(0, 2, 5)
    clip = (X.min() - dtype(0.5), X.max()) if clipped else None
    options = {} if attack is fgsm else {"n_iter": 4, "random_state": seed, "step_size": eps}
    moved = attack(model, X, y, eps=eps, norm=norm, clip=clip, **options)
    assert np.isfinite(moved).all()
    assert_within(moved, X, eps, norm, clip)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_worst_of_a_linear_model_is_found(norm, dtype):
    """By Hölder's inequality no place in the ball is worse than the one that both attacks must find."""
    rng = np.random.default_rng(0)
    model, X, y = Linear(rng.normal(size=6)), rng.normal(size=(40, 6)).astype(dtype), rng.integers(0, 2, 40)
    length = np.abs(model.w).sum() if norm == "linf" else np.linalg.norm(model.w)
    worst = xe.softplus(np.where(y, -1.0, 1.0) * (X.astype(np.float64) @ model.w) + 0.3 * length)
    options = {"eps": 0.3, "norm": norm}
    for moved in (fgsm(model, X, y, **options), pgd(model, X, y, random_start=False, **options)):
        np.testing.assert_allclose(model.losses(moved, y), worst, rtol=1e-5 if dtype == np.float32 else 1e-12)
    np.testing.assert_allclose(model.losses(pgd(model, X, y, random_state=0, **options), y), worst, rtol=1e-2)


@pytest.mark.parametrize("norm", NORMS)
def test_a_network_is_hurt_and_more_so_by_more_steps(norm):
    X, y = load_digits(return_X_y=True)
    X = X / 16
    model = MLPClassifier(learning_rate_init=0.01, max_iter=30, tol=None, random_state=0).fit(X[:1200], y[:1200])
    X, y, eps = X[1200:], y[1200:], 0.15 if norm == "linf" else 0.8

    def loss(X):
        return xe.softmax_cross_entropy(model.decision_function(X), y)

    rng = np.random.default_rng(0)
    noise = rng.normal(size=X.shape)
    noise = eps * (np.sign(noise) if norm == "linf" else noise / np.linalg.norm(noise, axis=1, keepdims=True))
    once = fgsm(model, X, y, eps=eps, norm=norm, clip=(0, 1))
    often = pgd(model, X, y, eps=eps, norm=norm, clip=(0, 1), random_state=0)
    for moved in (once, often):
        assert_within(moved, X, eps, norm, (0, 1))
    assert 2 * max(loss(X), loss(np.clip(X + noise, 0, 1))) < loss(once) < loss(often)
    assert model.score(often, y) < 0.5 < model.score(X, y)


def test_confidence_is_no_shelter():
    """In single precision, where others' gradients of a sure prediction are exactly zero."""
    X, y = np.array([[30.0, 0.0]], np.float32), np.array([1])
    moved = fgsm(Linear([1.0, 1.0]), X, y, eps=1.0, norm="l2")
    np.testing.assert_allclose(moved, X - np.sqrt(0.5), rtol=1e-6)
    tiny = fgsm(Scripted([[3e-200, -4e-200]]), np.zeros((1, 2)), y, eps=5.0, norm="l2")
    np.testing.assert_allclose(tiny, [[3.0, -4.0]], rtol=1e-12)


# ------------------------------------------------------------------------------------- however sure the model is


def of(kind, seed=0):
    """Samples of which a model of its kind is trained, briefly, and their labels."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(60, 4)).astype(np.float32)
    scores = X @ rng.normal(size=(4, 3))
    if kind == "several labels":
        return X, (scores > 0).astype(int)
    return X, scores[:, 0] > 0 if kind == "two classes" else scores.argmax(axis=1)


LINEAR = {
    "several labels": MultiLabelClassifier,
    "two classes": LogisticRegression,
    "three classes": LogisticRegression,
}


def made_sure(model, factor):
    """Its logits times a factor, so that their margins grow as long as one likes."""
    if isinstance(model, MLPClassifier):
        model.coefs_[-1] *= factor
        model.intercepts_[-1] *= factor
    else:
        model.coef_ *= factor
        model.intercept_ *= factor
    return model


@pytest.mark.parametrize("gamma", [0.0, 2.0])
@pytest.mark.parametrize("network", [None, "relu", "tanh", "logistic", "gelu", "identity"])
@pytest.mark.parametrize("kind", LINEAR)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_every_sample_moves_however_sure_the_model_is(kind, network, gamma):
    """In single precision, at margins of up to 1e6 where every gradient is 0 in any precision; and uphill."""
    X, y = of(kind)
    if network is None:
        model = LINEAR[kind](gamma=gamma).fit(X, y)
    else:
        model = MLPClassifier((8,), activation=network, gamma=gamma, solver="lbfgs", alpha=1.0, random_state=0).fit(
            X, y
        )
    if kind == "several labels":  # the answers of the model itself, so that all of them are sure
        y = model.predict(X)
    else:
        y = np.take(model.classes_, np.searchsorted(model.classes_, model.predict(X)))
    plain = fgsm(model, X, y, eps=0.1)
    for factor in (1e2, 1e5):
        sure = made_sure(pickle.loads(pickle.dumps(model)), factor)
        for attack in (fgsm, partial(pgd, n_iter=2, random_start=False)):
            for norm in NORMS:
                moved = attack(sure, X, y, eps=0.1, norm=norm)
                assert (moved != X).any(axis=1).all()
        if kind == "two classes" and network in (None, "identity"):
            np.testing.assert_array_equal(fgsm(sure, X, y, eps=0.1), plain)
        assert (log_loss(sure, fgsm(sure, X, y, eps=1e-3), y) > log_loss(sure, X, y)).all()


def log_loss(model, X, y):
    """The logarithm of the loss of each sample, which grows with it and does not underflow."""
    logits = model.decision_function(X).astype(np.float64)
    if logits.ndim == 1:
        logits, y = logits[:, np.newaxis], y[:, np.newaxis]
    if y.ndim == 2:
        margins = np.where(y, logits, -logits)
    else:
        rows, others = np.arange(len(y)), logits.copy()
        others[rows, y] = -np.inf
        margins = (logits[rows, y] - xe.logsumexp(others))[:, np.newaxis]
    with np.errstate(divide="ignore"):
        logs = np.where(margins > 30, -margins, np.log(xe.softplus(-margins)))
    return xe.logsumexp(logs + model.gamma * xe.log_sigmoid(-margins))


@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("activation", ["tanh", "logistic", "gelu"])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_flat_functions_between_the_layers_hide_nothing(activation, depth):
    """Where their slope underflows too: the direction is that of the unit which is least saturated."""
    X, y = of("three classes")
    model = MLPClassifier((6,) * depth, activation=activation, max_iter=1, tol=None, random_state=0).fit(X, y)
    for coef in model.coefs_[:-1]:
        coef *= 3000.0
    direction = model.input_direction(X, y)
    assert np.isfinite(direction).all()
    assert (direction != 0).any(axis=1).all()
    assert (fgsm(model, X, y, eps=0.1) != X).any(axis=1).all()


@pytest.mark.parametrize(
    "options", [{}, {"gamma": 1.5}, {"label_smoothing": 0.1}, {"gamma": 0.5, "label_smoothing": 0.2}]
)
@pytest.mark.parametrize("network", [None, "relu", "tanh", "logistic", "gelu", "identity"])
@pytest.mark.parametrize("kind", LINEAR)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_the_direction_is_that_of_the_gradient(kind, network, options):
    X, y = of(kind)
    X = X.astype(np.float64)
    if network is None:
        model = LINEAR[kind](max_iter=20, **options).fit(X, y)
    else:
        model = MLPClassifier((20, 20), activation=network, max_iter=5, random_state=0, **options).fit(X, y)
    for target in (y, 0.8 * np.eye(3)[y] + 0.2 / 3) if kind == "three classes" else (y,):
        direction, gradient = model.input_direction(X, target), model.input_gradient(X, target)
        along, size = np.linalg.norm(direction, axis=1), np.linalg.norm(gradient, axis=1)
        assert np.mean(size > 0) > 0.8  # all of a network may be off for a sample
        np.testing.assert_allclose(
            size[:, np.newaxis] * direction, along[:, np.newaxis] * gradient, rtol=1e-6, atol=1e-9
        )


def test_the_direction_in_the_limit_is_exact():
    """At a margin of 1000 the softmax of all classes but the label, as 60 digits have it; pos_weight, too, counts."""
    X, y = of("three classes")
    model = LogisticRegression().fit(X.astype(float), y)
    model.coef_[:], model.intercept_[:] = np.eye(3, 4), [1000.0, 0.0, -1.0]
    with mpmath.workdps(700):
        p = [mpmath.exp(z) for z in (1000, 0, -1)]
        exact = [-(p[1] + p[2]) / sum(p), p[1] / sum(p), p[2] / sum(p)]
        exact = [float(value / -exact[0]) for value in exact]
    np.testing.assert_allclose(model.input_direction(np.zeros((1, 4)), [0])[0, :3], exact, rtol=1e-14)
    labels = MultiLabelClassifier(pos_weight=[3.0, 1.0, 1.0], gamma=1.0).fit(X, (X[:, :3] > 0).astype(int))
    labels.coef_[:], labels.intercept_[:] = np.eye(3, 4), [1000.0, -1000.0, -1001.0]
    direction = labels.input_direction(np.zeros((1, 4)), [[1, 0, 0]])[0, :3]
    np.testing.assert_allclose(direction, [-1.0, 1 / 3, np.exp(-2) / 3], rtol=1e-6)


def test_a_regressor_of_wide_variances_has_a_direction():
    X = np.random.default_rng(0).normal(size=(30, 2)).astype(np.float32)
    model = GaussianRegressor().fit(X, np.arange(30) % 7)
    model.log_var_coef_[:], model.log_var_intercept_ = 0, 110.0
    assert not model.input_gradient(X, X[:, 1]).any()
    assert (fgsm(model, X, X[:, 1], eps=0.1) != X).any(axis=1).all()


@pytest.mark.parametrize("norm", NORMS)
def test_no_slope_no_move(norm):
    X = np.ones((2, 3))
    moved = fgsm(Scripted([[0.0, 0.0, 0.0], [0.0, 2.0, 0.0]]), X, [0, 0], eps=0.5, norm=norm)
    np.testing.assert_array_equal(moved, [[1, 1, 1], [1, 1.5, 1]])
    for attack in (fgsm, pgd):
        np.testing.assert_array_equal(attack(Linear([1.0, 2.0, 3.0]), X, np.zeros(2), eps=0.0, norm=norm), X)


# ----------------------------------------------------------------------------------------------------------- details


@pytest.mark.parametrize("norm", NORMS)
def test_the_start_is_uniform_in_the_ball(norm):
    still = Scripted(np.zeros((4000, 3)))
    X = np.full((4000, 3), 0.0)
    start = pgd(still, X, np.zeros(4000), eps=2.0, norm=norm, n_iter=1, random_state=0)
    if norm == "linf":
        assert kstest(start.ravel() / 4 + 0.5, "uniform").pvalue > 0.01
    else:
        assert kstest((np.linalg.norm(start, axis=1) / 2) ** 3, "uniform").pvalue > 0.01
    assert np.abs(start.mean(axis=0)).max() < 0.1
    np.testing.assert_array_equal(start, pgd(still, X, np.zeros(4000), eps=2.0, norm=norm, n_iter=1, random_state=0))
    assert (start != pgd(still, X, np.zeros(4000), eps=2.0, norm=norm, n_iter=1, random_state=1)).any()
    np.testing.assert_array_equal(pgd(still, X, np.zeros(4000), eps=2.0, norm=norm, random_start=False), X)


def test_projection_is_to_the_nearest_place():
    grad = Scripted([[3.0, 4.0]])
    X, options = np.zeros((1, 2)), {"random_start": False, "n_iter": 3}
    np.testing.assert_allclose(pgd(grad, X, [0], eps=1.0, norm="l2", step_size=5.0, **options), [[0.6, 0.8]])
    np.testing.assert_allclose(pgd(grad, X, [0], eps=1.0, norm="linf", step_size=0.3, **options), [[0.9, 0.9]])
    np.testing.assert_allclose(pgd(grad, X, [0], eps=1.0, norm="linf", step_size=0.4, **options), [[1.0, 1.0]])


def test_bounds_for_each_feature():
    X = np.array([[0.5, 5.0], [0.2, 9.0]])
    moved = fgsm(Scripted([[1.0, 1.0], [-1.0, 1.0]]), X, [0, 0], eps=1.0, clip=([0, 0], [1, 9.5]))
    np.testing.assert_array_equal(moved, [[1.0, 6.0], [0.0, 9.5]])


def test_lists_and_integers_are_samples_too():
    moved = fgsm(Linear([1.0, -2.0]), [[1, 2]], [1], eps=0.5)
    assert moved.dtype == np.float64
    np.testing.assert_array_equal(moved, [[0.5, 2.5]])
    swapped = fgsm(Linear([1.0, -2.0]), np.array([[1.0, 2.0]], ">f4"), [1], eps=0.5)
    assert swapped.dtype == np.float32
    for attack in (fgsm, pgd):
        assert attack(Linear([1.0, -2.0]), np.empty((0, 2)), np.empty(0), eps=0.5).shape == (0, 2)


def test_bounds_in_one_array():
    moved = fgsm(Scripted([[1.0, -1.0]]), np.array([[0.5, 0.5]]), [0], eps=1.0, clip=np.array([0.25, 0.75]))
    np.testing.assert_array_equal(moved, [[0.75, 0.25]])


@pytest.mark.parametrize("step_size", [1e150, 1e200, 1e308])
def test_steps_of_any_length_end_on_the_ball(step_size):
    """Also where the square of their length overflows."""
    options = {"eps": 1.0, "norm": "l2", "step_size": step_size, "n_iter": 3, "random_start": False}
    moved = pgd(Scripted([[3.0, 4.0]]), np.zeros((1, 2)), [0], **options)
    np.testing.assert_allclose(moved, [[0.6, 0.8]], rtol=1e-12)


def test_the_samples_stay_as_they_are():
    X = np.zeros((3, 2))
    X.flags.writeable = False
    pgd(Linear([1.0, 1.0]), X, np.zeros(3), eps=1.0, clip=(-1, 1))
    assert not X.any()


@pytest.mark.parametrize("attack", [fgsm, pgd])
@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"eps": -0.1}, ValueError, r"eps must be in \[0, inf\), got -0.1"),
        ({"eps": np.nan}, ValueError, r"eps must be in \[0, inf\), got nan"),
        ({"eps": "1"}, TypeError, "eps must be a number, got '1'"),
        ({"norm": "l1"}, ValueError, "norm must be .linf. or .l2., got 'l1'"),
        ({"clip": 1.0}, ValueError, r"clip must be a pair \(least, largest\), got 1.0"),
        ({"clip": np.array(1.0)}, ValueError, r"clip must be a pair \(least, largest\), got array\(1.\)"),
        ({"clip": (0, 1, 2)}, ValueError, r"clip must be a pair \(least, largest\), got \(0, 1, 2\)"),
        ({"clip": (0, 0.5)}, ValueError, r"X must be within clip, \[0, 0.5\], got 1.0 at index \(0, 1\)"),
        ({"clip": (0, [1, 2, 3])}, ValueError, r"clip must have shape \(2, 2\) or broadcast to it, got \(3,\)"),
        ({"X": np.zeros(3)}, ValueError, r"X must have shape \(n_samples, n_features\), got \(3,\)"),
        ({"clip": (0, np.nan)}, ValueError, r"X must be within clip, \[0, nan\], got 0.5 at index \(0, 0\)"),
        ({"X": np.array([[1.0, np.nan]])}, ValueError, r"X must be finite, got nan at index \(0, 1\)"),
        ({"X": np.array([[1.0, 2.0], [np.inf, 0]])}, ValueError, r"X must be finite, got inf at index \(1, 0\)"),
        ({"X": [["a"]]}, TypeError, "X must be floating, got <U1"),
        ({"model": print}, TypeError, r"model must have a method input_gradient\(X, y\), got builtin"),
        ({"model": Scripted(np.zeros(2))}, ValueError, r"must give an array of shape \(2, 2\), got \(2,\)"),
        (
            {"model": Scripted([[0, 0], [0, np.nan]])},
            ValueError,
            r"input_gradient must be finite, got .*nan.* at row 1",
        ),
    ],
)
def test_refuses(attack, given, error, message):
    arguments = {"model": Linear([1.0, 1.0]), "X": np.array([[0.5, 1.0], [0.0, 0.0]]), "y": [0, 1], "eps": 0.1}
    with pytest.raises(error, match=message):
        attack(**{**arguments, **given})


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"n_iter": 0}, ValueError, "n_iter must be at least 1, got 0"),
        ({"n_iter": 2.0}, TypeError, "n_iter must be an integer, got 2.0"),
        ({"step_size": -1.0}, ValueError, r"step_size must be in \[0, inf\), got -1.0"),
        ({"step_size": "1"}, TypeError, "step_size must be a number, got '1'"),
    ],
)
def test_pgd_refuses(options, error, message):
    with pytest.raises(error, match=message):
        pgd(Linear([1.0]), np.zeros((2, 1)), [0, 1], eps=0.1, **options)
