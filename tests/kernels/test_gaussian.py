"""Gaussians: the loss of predicted means and variances, and the closed forms of entropy and divergences."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import xentrs as xe
from checks import assert_close, assert_same_bits
from halves import narrow
from halves import wide as wide_of
from layouts import LAYOUTS
from registry import DTYPES, GAUSSIANS, HALVES, REDUCTIONS

Array = np.ndarray[Any, Any]
inf, nan = np.inf, np.nan

each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)
ROUNDING = dict(zip(HALVES, (2.0**-11, 2.0**-8), strict=True))
each_reduction = pytest.mark.parametrize("reduction", REDUCTIONS)
each_spread = pytest.mark.parametrize("spread", ["var", "log_var"])

# --- The loss ---------------------------------------------------------------------------------------------------------


def test_the_registry_has_the_loss() -> None:
    assert [(g.loss, g.loss_with_grad) for g in GAUSSIANS] == [(xe.gaussian_nll, xe.gaussian_nll_with_grad)]


def drawn(rng: np.random.Generator, dtype: type, shape: tuple[int, ...], spread: str) -> tuple[Array, Array, Array]:
    mean, target, log_var = (rng.normal(scale=3, size=shape).astype(dtype) for _ in range(3))
    target = np.where(rng.random(shape) < 0.1, mean, target)
    return mean, target, log_var if spread == "log_var" else np.exp(log_var).astype(dtype)


def oracle(mean: Array, target: Array, given: Array, spread: str, full: bool = True) -> list[tuple[Array, Array]]:
    """Loss and gradients with respect to mean and spread, each with its yardstick."""
    m, t, v = (np.asarray(x, np.longdouble) for x in (mean, target, given))
    log_v = v if spread == "log_var" else np.log(v)
    v = np.exp(log_v)
    constant = np.log(2 * np.longdouble(np.pi)) / 2 * full
    square = (t - m) ** 2 / v
    factor = 1 if spread == "log_var" else 1 / v
    return [
        (constant + log_v / 2 + square / 2, constant + np.abs(log_v) / 2 + square / 2),
        (-(t - m) / v, np.abs(t - m) / v),
        ((1 - square) * factor / 2, (1 + square) * factor / 2),
    ]


def assert_truth(result: Any, truth: list[tuple[Array, Array]], rtol: float, note: str = "") -> None:
    for ours, (value, size) in zip(result, truth, strict=True):
        assert_close(ours, np.asarray(value, float), rtol, np.asarray(size, float), note=note)


@each_spread
@each_dtype
def test_every_length_and_option(dtype: type, spread: str) -> None:
    rng, eps = np.random.default_rng(100), float(np.finfo(dtype).eps)
    for n, full in itertools.product([*range(1, 68), 1000, 40_000], (True, False)):
        mean, target, given = drawn(rng, dtype, (n,), spread)
        keep = {spread: given, "full": full}
        truth = oracle(mean, target, given, spread, full)
        result = xe.gaussian_nll_with_grad(mean, target, **keep, reduction="none")
        assert_truth(result, truth, 8 * eps, f"n={n}")
        assert_same_bits(xe.gaussian_nll(mean, target, **keep, reduction="none"), result.loss)
        weight = rng.integers(0, 3, n) + (n == 1)
        s = weight / weight.sum()
        result = xe.gaussian_nll_with_grad(mean, target, **keep, sample_weight=weight)
        whole = [((s * value).sum() if i == 0 else s * value, s * size) for i, (value, size) in enumerate(truth)]
        whole[0] = (whole[0][0], whole[0][1].sum())
        assert_truth(result, whole, 16 * eps, f"n={n} mean")
        assert xe.gaussian_nll(mean, target, **keep, sample_weight=weight) == result.loss
        assert isinstance(result.loss, float)


@each_reduction
@each_spread
@pytest.mark.once
def test_gradients_are_finite_differences(spread: str, reduction: str) -> None:
    rng, h = np.random.default_rng(101), 1e-5
    mean, target, given = drawn(rng, np.float64, (3, 4), spread)
    weight = rng.uniform(0.5, 2, 3)
    keep = {"sample_weight": weight, "reduction": reduction}
    for shape in [(3, 4), (4,), (3, 1), (), (1, 1)]:
        part = (
            np.broadcast_to(given.flat[0], shape)
            if shape == ()
            else given[tuple(slice(n) for n in ((1,) * (2 - len(shape)) + shape))].reshape(shape)
        )
        result = xe.gaussian_nll_with_grad(mean, target, **{spread: part}, **keep)
        assert np.shape(result.grad_var) == shape

        def total(mean: Array, part: Array) -> float:
            return float(np.sum(xe.gaussian_nll(mean, target, **{spread: part}, **keep)))

        for index in np.ndindex(3, 4):
            step = np.zeros((3, 4))
            step[index] = h
            slope = (total(mean + step, part) - total(mean - step, part)) / (2 * h)
            assert result.grad_mean[index] == pytest.approx(slope, rel=1e-5, abs=1e-5)
        for index in np.ndindex(shape):
            step = np.zeros(shape)
            step[index] = h * part[index]
            slope = (total(mean, part + step) - total(mean, part - step)) / (2 * h * part[index])
            assert np.asarray(result.grad_var)[index] == pytest.approx(slope, rel=1e-4, abs=1e-4)


@each_dtype
@each_spread
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.once
def test_every_layout_and_out(layout: Any, spread: str, dtype: type) -> None:
    rng = np.random.default_rng(102)
    arrays = [layout(x) for x in drawn(rng, dtype, (6, 5), spread)]
    mean, target, given = (np.ascontiguousarray(x).astype(dtype) for x in arrays)
    expected = xe.gaussian_nll_with_grad(mean, target, **{spread: given})
    for ours, theirs in zip(xe.gaussian_nll_with_grad(*arrays[:2], **{spread: arrays[2]}), expected, strict=True):
        assert_same_bits(ours, theirs)
    out = np.empty((12, 5), dtype)[::2]
    for place in (out, mean):
        result = xe.gaussian_nll_with_grad(mean.copy() if place is out else mean, target, **{spread: given}, out=place)
        assert result.grad_mean is place
        for ours, theirs in zip(result, expected, strict=True):
            assert_same_bits(ours, theirs)
    with pytest.raises(ValueError, match="out must not overlap"):
        xe.gaussian_nll_with_grad(mean, target, **{spread: given}, out=given)


@pytest.mark.parametrize("half", HALVES, ids=lambda half: half.__name__)
@each_spread
def test_half_precision_is_storage(spread: str, half: type) -> None:
    rng = np.random.default_rng(103)
    mean, target, given = drawn(rng, np.float32, (40, 1000), spread)
    # With gradients within the range of float16.
    given = np.clip(given, 0.1, 100) if spread == "var" else np.clip(given, -2, 4)
    arrays = [x.astype(half) for x in (mean, target, given)]
    # Read in place, strided, of another type, and broadcast.
    for form in ("as they are", "strided", "one wide", "broadcast", "single"):
        halves = list(arrays)
        if form == "strided":
            halves = [np.repeat(x, 2, axis=1)[:, ::2] for x in arrays]
        elif form == "one wide":
            halves[1] = arrays[1].astype(np.float64)
        elif form == "broadcast":
            halves[1:] = arrays[1][:1], arrays[2][:, :1]
        elif form == "single":
            halves[2] = arrays[2][0, 0]
        wide = [x.astype(np.float32) for x in halves]
        for reduction in ("mean", "none"):
            keep = {"reduction": reduction}
            loss, *gradients = xe.gaussian_nll_with_grad(*halves[:2], **{spread: halves[2]}, **keep)
            expected, *expected_gradients = xe.gaussian_nll_with_grad(*wide[:2], **{spread: wide[2]}, **keep)
            assert_same_bits(loss, np.asarray(expected, np.asarray(loss).dtype))
            assert_same_bits(xe.gaussian_nll(*halves[:2], **{spread: halves[2]}, **keep), loss)
            for ours, theirs in zip(gradients, expected_gradients, strict=True):
                if form == "broadcast":  # theirs are rounded twice
                    assert ours.dtype == half
                    assert_close(ours, wide_of(narrow(theirs, half)), 2 * ROUNDING[half], floor=2.0**-24)
                else:
                    assert_same_bits(ours, narrow(theirs, half))


@each_spread
@pytest.mark.once
def test_the_gradient_of_one_spread_for_many_points_is_summed_before_it_is_rounded(spread: str) -> None:
    """Each point's part of a mean over 400 000 is below the smallest float16."""
    mean, target, given = drawn(np.random.default_rng(110), np.float32, (400_000, 2), spread)
    mean, target, given = mean.astype(np.float16), target.astype(np.float16), np.ones((1, 2), np.float16)
    grad = xe.gaussian_nll_with_grad(mean, target, **{spread: given}).grad_var
    truth = xe.gaussian_nll_with_grad(
        mean.astype(float), target.astype(float), **{spread: given.astype(float)}
    ).grad_var
    assert grad.dtype == np.float16 and grad.shape == (1, 2) and (truth != 0).all()
    assert_close(grad, truth, 2.0**-11)


@each_spread
@pytest.mark.once
def test_the_same_bits_for_any_number_of_threads(spread: str) -> None:
    mean, target, given = drawn(np.random.default_rng(104), np.float32, (300_000,), spread)
    results = []
    for threads in (1, 2, 5):
        with xe.threads(threads):
            results.append(xe.gaussian_nll_with_grad(mean, target, **{spread: given}))
    for result in results[1:]:
        for ours, theirs in zip(result, results[0], strict=True):
            assert_same_bits(ours, theirs)


@each_dtype
def test_special_values(dtype: type) -> None:
    half_ln_tau, big = 0.5 * np.log(2 * np.pi), dtype(-300.0)
    cases = [  # mean, target, log_var: loss, grad_mean, grad_log_var
        (0.0, 0.0, big, half_ln_tau - 150, 0.0, 0.5),
        (1.0, 1.0, inf, inf, 0.0, 0.5),
        (0.0, 1.0, inf, inf, 0.0, 0.5),
        (2.0, 2.0, -inf, -inf, 0.0, 0.5),
        (nan, 1.0, 0.0, nan, nan, nan),
        (1.0, nan, 0.0, nan, nan, nan),
        (inf, 1.0, 0.0, inf, inf, -inf),
    ]
    for mean, target, log_var, *truth in cases:
        result = xe.gaussian_nll_with_grad(*np.array([mean, target], dtype), log_var=dtype(log_var))
        for ours, expected in zip(result, truth, strict=True):
            assert_close(ours, expected, 4 * float(np.finfo(dtype).eps), note=str((mean, target, log_var)))
    result = xe.gaussian_nll_with_grad(dtype(1), dtype(1), dtype(nan))
    assert all(np.isnan(x) for x in (result.loss, result.grad_var))
    # A point without weight counts for nothing.
    loss, grad_mean, grad_var = xe.gaussian_nll_with_grad([0.0, nan], [1.0, 2.0], [1.0, 1.0], sample_weight=[1, 0])
    assert loss == pytest.approx(half_ln_tau + 0.5) and grad_mean[1] == 0 and grad_var[1] == 0
    loss, grad_mean, grad_var = xe.gaussian_nll_with_grad([nan], [1.0], [1.0], sample_weight=[0])
    assert (loss, grad_mean[0], grad_var[0]) == (0, 0, 0)
    loss, grad_mean, grad_var = xe.gaussian_nll_with_grad(np.empty((0, 3), dtype), 0.0, np.ones(3))
    assert loss == 0 and grad_mean.shape == (0, 3)
    np.testing.assert_array_equal(grad_var, np.zeros(3))


# --- Closed forms -----------------------------------------------------------------------------------------------------

PAIRS = {
    "cross_entropy": (xe.gaussian_cross_entropy, xe.gaussian_cross_entropy_with_grad),
    "kl_divergence": (xe.gaussian_kl_divergence, xe.gaussian_kl_divergence_with_grad),
}
each_pair = pytest.mark.parametrize("name", PAIRS)


def exactly(name: str, mean_p: float, var_p: float, mean_q: float, var_q: float, logs: str = "") -> float:
    """`logs` names the variances that are logarithms."""
    with mpmath.workdps(60):
        mp, vp, mq, vq = (mpmath.mpf(float(x)) for x in (mean_p, var_p, mean_q, var_q))
        vp, vq = (mpmath.exp(v) if which in logs else v for which, v in (("p", vp), ("q", vq)))
        square = (mp - mq) ** 2 / vq
        if name == "kl_divergence":
            return float((vp / vq - 1 - mpmath.log(vp / vq) + square) / 2)
        return float((mpmath.log(2 * mpmath.pi * vq) + vp / vq + square) / 2)


@each_dtype
@each_pair
def test_closed_forms_against_sixty_digits(name: str, dtype: type) -> None:
    rng, eps = np.random.default_rng(105), float(np.finfo(dtype).eps)
    mean_p, mean_q = rng.normal(size=(2, 300)).astype(dtype)
    var_p = np.exp(rng.normal(scale=3, size=300)).astype(dtype)
    near = np.exp(rng.normal(size=300) * np.logspace(-8, 0, 300))
    for var_q, means in itertools.product((var_p * near, var_p[::-1]), ((mean_p, mean_q), (mean_p, mean_p))):
        given = (means[0], var_p, means[1], var_q.astype(dtype))
        value = PAIRS[name][0](*given)
        truth = np.array([exactly(name, *row) for row in zip(*given, strict=True)])
        size = np.abs(truth) + (1 + np.abs(np.log(given[3].astype(float))) if name == "cross_entropy" else 0)
        assert value.dtype == dtype
        assert_close(value, truth, 8 * eps, size, float(np.finfo(dtype).tiny))


def with_logs(function: Callable[..., Any], logs: str) -> Callable[..., Any]:
    """The function of means and spreads, of which those in `logs` are logarithms of variances."""

    def call(mean_p: Any, spread_p: Any, mean_q: Any, spread_q: Any) -> Any:
        spreads = {
            ("log_" if which in logs else "") + f"var_{which}": x
            for which, x in zip("pq", (spread_p, spread_q), strict=True)
        }
        return function(mean_p, mean_q=mean_q, **spreads)

    return call


@each_dtype
@each_pair
@pytest.mark.parametrize("scale", [1e-8, 1e-3, 1.0, 30.0, 2000.0])
def test_log_variances_against_sixty_digits(name: str, dtype: type, scale: float) -> None:
    """Nearly equal, and of variances far beyond the floats."""
    rng, eps = np.random.default_rng(108), float(np.finfo(dtype).eps)
    mean_p, mean_q = rng.normal(size=(2, 300)).astype(dtype)
    log_p = (rng.normal(size=300) * rng.choice([1, 30, 2000], 300)).astype(dtype)
    log_q = (log_p + scale * rng.normal(size=300)).astype(dtype)
    for means in ((mean_p, mean_q), (mean_p, mean_p)):
        given = (means[0], log_p, means[1], log_q)
        value = with_logs(PAIRS[name][0], "pq")(*given)
        truth = np.array([exactly(name, *row, logs="pq") for row in zip(*given, strict=True)])
        size = np.abs(truth) + (1 + np.abs(log_q.astype(float)) if name == "cross_entropy" else 0)
        assert value.dtype == dtype
        truth, size = (np.where(np.abs(x) > np.finfo(dtype).max, np.inf, x) for x in (truth, size))
        assert_close(value, truth, 4 * eps, size, float(np.finfo(dtype).tiny))


@each_pair
@pytest.mark.parametrize("logs", ["p", "q"])
def test_one_log_variance_beside_a_variance(name: str, logs: str) -> None:
    rng = np.random.default_rng(109)
    mean_p, mean_q, log_p, log_q = rng.normal(size=(4, 200)) * [[1], [1], [5], [5]]
    log_q[:50] = log_p[:50] + rng.normal(size=50) * 1e-3
    given = (mean_p, log_p if "p" in logs else np.exp(log_p), mean_q, log_q if "q" in logs else np.exp(log_q))
    truth = np.array([exactly(name, *row, logs=logs) for row in zip(*given, strict=True)])
    np.testing.assert_allclose(with_logs(PAIRS[name][0], logs)(*given), truth, rtol=1e-13, atol=1e-15)
    far = {"p": (0.0, -800.0, 0.0, 1e-300), "q": (0.0, 1e-300, 0.0, -800.0)}[logs]
    assert with_logs(PAIRS[name][0], logs)(*far) == pytest.approx(exactly(name, *far, logs=logs), rel=1e-13)


@each_pair
@pytest.mark.parametrize("logs", ["", "p", "q", "pq"])
def test_closed_forms_and_their_gradients(name: str, logs: str) -> None:
    rng, h = np.random.default_rng(106), 1e-6
    function, with_grad = (with_logs(f, logs) for f in PAIRS[name])
    for shapes in [((3, 4),) * 4, ((3, 4), (4,), (), (3, 1)), ((), (), (5,), ()), ((),) * 4]:
        given = [rng.uniform(0.5, 2, shape) for shape in shapes]
        value, *gradients = with_grad(*given)
        assert_same_bits(function(*given), value)
        for which, (grad, shape) in enumerate(zip(gradients, shapes, strict=True)):
            assert np.shape(grad) == shape
            for index in np.ndindex(shape):
                step = np.zeros(shape)
                step[index] = h
                above, below = ([x + sign * step * (i == which) for i, x in enumerate(given)] for sign in (1, -1))
                slope = (np.sum(function(*above)) - np.sum(function(*below))) / (2 * h)
                assert np.asarray(grad)[index] == pytest.approx(slope, rel=1e-6, abs=1e-8)


def test_entropy_of_a_gaussian() -> None:
    rng = np.random.default_rng(107)
    var = np.exp(rng.normal(scale=5, size=50))
    value, grad = xe.gaussian_entropy_with_grad(var)
    np.testing.assert_allclose(value, 0.5 * np.log(2 * np.pi * np.e) + 0.5 * np.log(var), rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(grad, 0.5 / var, rtol=1e-15)
    assert_same_bits(xe.gaussian_entropy(var), value)
    assert xe.gaussian_entropy(np.float32(2)).dtype == np.float32
    value, grad = xe.gaussian_entropy_with_grad(log_var=np.log(var))
    np.testing.assert_allclose(value, xe.gaussian_entropy(var), rtol=1e-13, atol=1e-14)
    np.testing.assert_array_equal(grad, 0.5)
    assert xe.gaussian_entropy(log_var=-800.0) == pytest.approx(0.5 * (np.log(2 * np.pi) + 1 - 800), rel=1e-15)
    np.testing.assert_allclose(xe.gaussian_cross_entropy(3.0, var, 3.0, var), value, rtol=1e-13, atol=1e-14)


def test_the_cross_entropy_is_the_mean_loss() -> None:
    """Over targets from p, by Gauss-Hermite quadrature."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(8)
    targets = 0.5 + np.sqrt(2.0) * nodes
    loss = xe.gaussian_nll(np.full(8, 1.5), targets, 3.0, sample_weight=weights)
    assert loss == pytest.approx(float(xe.gaussian_cross_entropy(0.5, 2.0, 1.5, 3.0)), rel=1e-13)


def test_equal_gaussians() -> None:
    value, *gradients = xe.gaussian_kl_divergence_with_grad([1.0, 2.0], [0.3, 7.0], [1.0, 2.0], [0.3, 7.0])
    for zero in (value, *gradients):
        np.testing.assert_array_equal(zero, 0)


@given(st.floats(1e-3, 1e3), st.floats(1e-3, 1e3), st.floats(-10, 10))
def test_divergence_is_what_the_cross_entropy_has_beyond_the_entropy(var_p: float, var_q: float, mean: float) -> None:
    divergence = xe.gaussian_kl_divergence(mean, var_p, 0.0, var_q)
    assert divergence >= 0
    difference = xe.gaussian_cross_entropy(mean, var_p, 0.0, var_q) - xe.gaussian_entropy(var_p)
    assert divergence == pytest.approx(difference, rel=1e-9, abs=1e-13)


@pytest.mark.once
def test_errors_of_the_closed_forms() -> None:
    for bad in (0.0, -1.0, -inf):
        with pytest.raises(ValueError, match=r"var must be positive, got .* at index 1"):
            xe.gaussian_entropy([1.0, bad])
        for function, with_grad in PAIRS.values():
            for call in (function, with_grad):
                with pytest.raises(ValueError, match=r"var_p must be positive, got .* at index 0"):
                    call(0.0, [bad], 0.0, 1.0)
                with pytest.raises(ValueError, match=r"var_q must be positive, got .* at index 2"):
                    call(0.0, 1.0, 0.0, [1.0, 2.0, bad])
    assert np.isnan(xe.gaussian_entropy(nan))
    with pytest.raises(TypeError, match="var must be floating"):
        xe.gaussian_entropy("one")
    for call in (function for pair in PAIRS.values() for function in pair):
        for options, message in [
            ({"var_p": 1.0}, "var_q or log_var_q must be given, one of the two, got neither"),
            (
                {"var_p": 1.0, "log_var_p": 0.0, "var_q": 1.0},
                "var_p or log_var_p must be given, one of the two, got both",
            ),
        ]:
            with pytest.raises(ValueError, match=message):
                call(0.0, mean_q=0.0, **options)
        with pytest.raises(TypeError, match="mean_q must be given"):
            call(0.0, 1.0, var_q=1.0)
        with pytest.raises(TypeError, match="log_var_q must be floating"):
            call(0.0, 1.0, 0.0, log_var_q="one")
        with pytest.raises(ValueError, match=r"mean_p, log_var_p, mean_q, var_q must broadcast"):
            call([0.0, 1.0], None, 0.0, [1.0, 2.0, 3.0], log_var_p=0.0)
    for function in (xe.gaussian_entropy, xe.gaussian_entropy_with_grad):
        with pytest.raises(ValueError, match="var or log_var must be given, one of the two, got neither"):
            function()
    message = r"mean_p, var_p, mean_q, var_q must broadcast .* got the shapes \(2,\), \(\), \(3,\), \(\)"
    with pytest.raises(ValueError, match=message):
        xe.gaussian_kl_divergence([0.0, 1.0], 1.0, [0.0, 1.0, 2.0], 1.0)


@pytest.mark.parametrize(
    ("p", "q", "divergence"),
    [
        ((1e200, 1.0), (0.0, 1.0), inf),  # the square of the difference overflows
        ((0.0, 1e300), (0.0, 1e-300), inf),  # the ratio of the variances overflows
        ((0.0, 1e-300), (0.0, 1e300), 0.5 * (600 * math.log(10) - 1)),  # and underflows
        ((0.0, 1e-320), (0.0, 1e-320), 0.0),
        ((0.0, inf), (0.0, 1.0), inf),
        ((inf, 1.0), (0.0, 1.0), inf),
        ((inf, 1.0), (inf, 1.0), nan),
        ((0.0, nan), (0.0, 1.0), nan),
    ],
)
def test_far_apart_and_of_extreme_widths(p: tuple[float, float], q: tuple[float, float], divergence: float) -> None:
    """The truth or its limit, and no word from NumPy."""
    assert xe.gaussian_kl_divergence(*p, *q) == pytest.approx(divergence, rel=1e-14, nan_ok=True)
    assert xe.gaussian_kl_divergence_with_grad(*p, *q).value == pytest.approx(divergence, rel=1e-14, nan_ok=True)
    xe.gaussian_cross_entropy_with_grad(*p, *q)
    xe.gaussian_entropy_with_grad(p[1])


@pytest.mark.parametrize(
    ("p", "q", "divergence"),
    [
        ((0.0, -800.0), (0.0, 0.0), 399.5),
        ((0.0, -2000.0), (0.0, -2000.0), 0.0),
        ((1e-300, -2500.0), (0.0, -2500.0), inf),
        ((1e-300, -1400.0), (0.0, -1400.0), exactly("kl_divergence", 1e-300, -1400.0, 0.0, -1400.0, logs="pq")),
        ((0.0, 0.0), (0.0, -800.0), inf),
        ((0.0, 0.0), (0.0, 800.0), 399.5),
        ((1e300, 0.0), (0.0, 100.0), inf),
        ((1e300, 0.0), (0.0, 800.0), exactly("kl_divergence", 1e300, 0.0, 0.0, 800.0, logs="pq")),
        ((0.0, -inf), (0.0, 0.0), inf),
        ((0.0, inf), (0.0, 0.0), inf),
        ((0.0, 0.0), (0.0, inf), inf),
        ((0.0, inf), (0.0, inf), nan),
        ((0.0, nan), (0.0, 0.0), nan),
    ],
)
def test_log_variances_far_apart(p: tuple[float, float], q: tuple[float, float], divergence: float) -> None:
    value = with_logs(xe.gaussian_kl_divergence, "pq")(*p, *q)
    assert value == pytest.approx(divergence, rel=1e-13, nan_ok=True)
    result = with_logs(xe.gaussian_kl_divergence_with_grad, "pq")(*p, *q)
    assert_same_bits(result.value, value)
    assert np.isnan(divergence) or not np.isnan(result.grad_var_p)
    with_logs(xe.gaussian_cross_entropy_with_grad, "pq")(*p, *q)


@pytest.mark.parametrize("half", HALVES, ids=lambda half: half.__name__)
@each_pair
def test_values_of_half_precision_are_float32(name: str, half: type) -> None:
    """An entropy of 2000 nats, and a divergence of 1e6, which float16 does not have."""
    for arrays in [np.array([0.5, 2.0, 1.5, 0.25]).astype(half), np.array([1500, 1.0, 0.0, 1.0]).astype(half)]:
        value, *grads = PAIRS[name][1](*arrays)
        wide = PAIRS[name][0](*arrays.astype(np.float32))
        assert value.dtype == np.float32 and [grad.dtype for grad in grads] == [half] * 4
        assert_same_bits(value, wide)
    value, grad = xe.gaussian_entropy_with_grad(arrays[:1])
    assert (value.dtype, grad.dtype) == (np.float32, half)


@pytest.mark.skipif(
    np.lib.NumpyVersion(np.__version__) < "2.0.0", reason="NumPy 1.26 has no arrays of more than 32 axes"
)
@pytest.mark.parametrize("dimensions", [33, 64])
def test_more_dimensions_than_numpy_broadcasts(dimensions: int) -> None:
    for function, with_grad in PAIRS.values():
        given = [np.ones((1,) * dimensions)] * 4
        assert function(*given).ndim == dimensions
        assert [grad.ndim for grad in with_grad(*given)] == [dimensions] * 5


def test_what_is_too_large_for_the_dtype_is_infinite() -> None:
    mean, var = np.float32([1e30, 0.0]), np.ones(2, np.float32)
    np.testing.assert_array_equal(xe.gaussian_kl_divergence(mean, var, np.float32(0), var), np.float32([inf, 0]))
