"""Attacks: never further than allowed, always uphill, exact where the model is linear, and what is refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest
from sklearn.datasets import load_digits

import xentrs as xe
from xentrs.attacks import fgsm, pgd
from xentrs.models import MLPClassifier

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
        ({"norm": "l1"}, ValueError, "norm must be 'linf' or 'l2', got 'l1'"),
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
