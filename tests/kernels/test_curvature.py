"""Second derivatives of focal losses, and how Hessians are scaled, raised and placed."""

import itertools
from typing import Any

import numpy as np
import pytest

import xentrs as xe
from checks import assert_close, assert_same_bits
from draws import distributions, mild_logits
from registry import DTYPES, HALVES

Array = np.ndarray[Any, Any]

each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)

CURVED = {
    "softmax_cross_entropy": (xe.softmax_cross_entropy_with_hess, xe.softmax_cross_entropy_with_grad, True),
    "softmax_focal_loss": (xe.softmax_focal_loss_with_hess, xe.softmax_focal_loss_with_grad, True),
    "sigmoid_cross_entropy": (xe.sigmoid_cross_entropy_with_hess, xe.sigmoid_cross_entropy_with_grad, False),
    "sigmoid_focal_loss": (xe.sigmoid_focal_loss_with_hess, xe.sigmoid_focal_loss_with_grad, False),
}
each_curved = pytest.mark.parametrize("name", CURVED)
SHAPES = [(37, 5), (21, 70), (4, 1100)]
"""By lane, by group, by row."""


def focal_hess(z: Array, u: Array, gamma: float) -> dict[str, tuple[Array, Array]]:
    """The diagonal by complex steps of the gradient, exact to rounding, and the size of what it is the sum of.

    "convex" has the weights `v` of the classes where they stand, "exact" their derivatives too.
    """
    step, found = 1e-40, {kind: (np.empty(z.shape), np.empty(z.shape)) for kind in ("exact", "convex")}

    def parts(z: Array) -> tuple[Array, Array]:
        e = np.exp(z - z.real.max(-1, keepdims=True))
        p = e / e.sum(-1, keepdims=True)
        q = (e.sum(-1, keepdims=True) - e) / e.sum(-1, keepdims=True)
        return p, u * (q**gamma + gamma * q ** (gamma - 1) * p * -np.log(p))

    still = parts(z.astype(complex))[1]
    for j in range(z.shape[-1]):
        turned = z.astype(complex)
        turned[..., j] += 1j * step
        p, moved = parts(turned)
        for (hess, size), v in zip(found.values(), (moved, still), strict=True):
            hess[..., j] = (p[..., j] * v.sum(-1) - v[..., j]).imag / step
            size[..., j] = np.abs((p[..., j] * v.sum(-1)).imag / step) + np.abs(v[..., j].imag / step)
    return found


@each_dtype
@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0, 5.0])
def test_the_hessian_of_the_focal_loss_is_the_derivative_of_its_gradient(gamma: float, dtype: type) -> None:
    rng = np.random.default_rng(1)
    rtol = 2e-5 if dtype is np.float32 else 1e-11
    for n, c in [(33, 2), (37, 5), (9, 40), (21, 70), (1, 1030)]:
        logits = (3 * rng.standard_normal((n, c))).astype(dtype)
        z, labels, weight = logits.astype(np.float64), rng.integers(0, c, n), rng.uniform(0.5, 2.0, c)
        one_hot, soft = np.eye(c)[labels], distributions(rng, np.float64, (n, c)).astype(dtype)
        for target, t, options in [
            (labels, one_hot, {}),
            (labels, weight * one_hot, {"class_weight": weight}),
            (labels, 0.9 * one_hot + 0.1 / c, {"label_smoothing": 0.1}),
            (soft, soft.astype(np.float64), {}),
        ][:: 3 if c > 1000 else 1]:
            for curvature, (hess, size) in focal_hess(z, t, gamma).items():
                result = xe.softmax_focal_loss_with_hess(
                    logits, target, gamma=gamma, reduction="sum", curvature=curvature, **options
                )
                plain = xe.softmax_focal_loss_with_grad(logits, target, gamma=gamma, reduction="sum", **options)
                assert result.loss == plain.loss
                assert_same_bits(result.grad, plain.grad)
                size = size + np.abs(hess).max(-1, keepdims=True) * (1e-2 if dtype is np.float32 else 1e-3)
                note = f"{n} x {c} {curvature} {list(options)}"
                assert_close(result.hess, hess, rtol, size, 1e-30, note)
                if curvature == "convex":
                    assert (result.hess >= 0).all(), note
    halved = xe.softmax_focal_loss_with_hess(2 * z, soft, gamma=gamma, temperature=2.0).hess
    assert_close(halved, xe.softmax_focal_loss_with_hess(z, soft, gamma=gamma).hess / 4, 1e-9, np.abs(halved) + 1e-9)


def test_a_focal_loss_is_cross_entropy_without_focus_and_has_limits() -> None:
    rng = np.random.default_rng(2)
    for shape in SHAPES:
        logits, target = 3 * rng.standard_normal(shape), rng.integers(0, shape[1], shape[0])
        expected = xe.softmax_cross_entropy_with_hess(logits, target)
        assert_same_bits(xe.softmax_focal_loss_with_hess(logits, target, gamma=0.0).hess, expected.hess)
        # One certain class, right or wrong; a class ruled out; rows that do not count, and one that is undefined.
        logits[:4] = 0.0
        logits[0, 1], logits[1, 1], logits[2, 0], target[:4] = np.inf, np.inf, -np.inf, [1, 0, 1, -100]
        if shape[0] > 4:
            logits[4], target[4] = np.nan, 1
        for gamma in (0.5, 1.0, 2.0):
            hess = xe.softmax_focal_loss_with_hess(logits, target, gamma=gamma).hess
            assert not hess[[0, 1, 3]].any(), f"{shape} {gamma}"
            assert np.isfinite(hess[2]).all() and hess[2, 0] == 0
            if shape[0] > 4:
                assert np.isnan(hess[4]).all() and np.isfinite(hess[5:]).all()


def drawn(
    rng: np.random.Generator, dtype: Any, shape: tuple[int, int], has_classes: bool
) -> tuple[Array, Array, Array]:
    """Logits, targets, and weights some of which are 0."""
    logits = mild_logits(rng, np.float64, shape).astype(dtype)
    target = rng.integers(0, shape[1], shape[0]) if has_classes else rng.integers(0, 2, shape)
    weight = rng.choice([0.0, 0.5, 2.0], shape[:1] if has_classes else shape)
    return logits, target, weight


@each_dtype
@each_curved
def test_scale_floor_and_the_size_of_the_gradient(name: str, dtype: type) -> None:
    rng = np.random.default_rng(3)
    with_hess, with_grad, has_classes = CURVED[name]
    for shape, reduction in itertools.product(SHAPES, ["mean", "sum"]):
        logits, target, weight = drawn(rng, dtype, shape, has_classes)
        given = {"sample_weight": weight, "reduction": reduction}
        plain = with_hess(logits, target, **given)
        counts = np.broadcast_to((weight > 0)[..., None] if has_classes else weight > 0, shape)
        scaled = with_hess(logits, target, hess_scale=1.5, **given)
        assert_same_bits(scaled.grad, plain.grad)
        rtol = 1e-6 if dtype is np.float32 else 1e-14
        size = np.abs(plain.hess).max(-1, keepdims=True) + 0 * plain.hess
        assert_close(scaled.hess, plain.hess.astype(np.float64) * 1.5, rtol, 4 * size, 1e-36)
        floor = float(np.median(plain.hess[counts]))
        raised = with_hess(logits, target, hess_floor=floor, hess_scale=1.5, **given).hess
        np.testing.assert_array_equal(raised, np.where(counts, np.maximum(scaled.hess, dtype(floor)), 0))
        by_size = with_hess(logits, target, curvature="gradient", hess_scale=2.0, **given)
        assert_same_bits(by_size.loss, plain.loss)
        assert_same_bits(by_size.grad, with_grad(logits, target, **given).grad)
        assert_close(by_size.hess, 2.0 * np.abs(by_size.grad), rtol)
        convex = with_hess(logits, target, curvature="convex", **given).hess
        assert (convex >= 0).all()
        if "focal" not in name:
            assert_same_bits(convex, plain.hess)
    zero = with_hess(logits, target, sample_weight=0 * weight, hess_floor=1.0)
    assert not zero.hess.any()


def test_the_convex_hessian_of_the_sigmoid_focal_loss() -> None:
    """Of an element it is `|d loss / dx|` times the probability of the other answer."""
    x = np.linspace(-20, 20, 41)
    for target, gamma in itertools.product([0, 1], [0.5, 1.0, 2.0]):
        t = np.full(x.shape, target)
        result = xe.sigmoid_focal_loss_with_hess(x, t, gamma=gamma, curvature="convex")
        p = xe.sigmoid(x if target else -x)
        assert_close(result.hess, np.abs(result.grad) * p, 1e-12)


@each_curved
def test_derivatives_go_where_they_should(name: str) -> None:
    """New or given, in single precision too, in any layout, with the bits of new arrays rounded once."""
    rng = np.random.default_rng(4)
    with_hess, _, has_classes = CURVED[name]
    for shape, dtype in itertools.product([(37, 5), (21, 70)], [*DTYPES, *HALVES]):
        logits, target, _ = drawn(rng, dtype, shape, has_classes)
        for curvature in ("exact", "gradient"):
            given = {"curvature": curvature, "hess_scale": 1.5, "hess_floor": 1e-4}
            expected = with_hess(logits, target, **given)
            hess = np.full(shape, 7, dtype)
            result = with_hess(logits, target, hess_out=hess, **given)
            assert result.hess is hess
            assert_same_bits(hess, expected.hess)
            assert_same_bits(result.grad, expected.grad)
            place, turned = logits.copy(), np.full(shape[::-1], 7, dtype).T
            result = with_hess(place, target, out=place, hess_out=turned, **given)
            assert result.grad is place and result.hess is turned
            assert_same_bits(place, expected.grad)
            assert_same_bits(np.ascontiguousarray(turned), expected.hess)
            out, hess = np.full((2, *shape), 7, np.float32)
            result = with_hess(logits, target, out=out, hess_out=hess, **given)
            assert result.grad is out and result.hess is hess
            if dtype is np.float64:
                assert_same_bits(out, expected.grad.astype(np.float32))
                assert_same_bits(hess, expected.hess.astype(np.float32))
            elif dtype in HALVES:
                assert_same_bits(out.astype(dtype), expected.grad)


@each_curved
@pytest.mark.once
def test_what_does_not_fit_is_refused_and_nothing_is_written(name: str) -> None:
    rng = np.random.default_rng(5)
    with_hess, _, has_classes = CURVED[name]
    logits, target, _ = drawn(rng, np.float64, (4, 3), has_classes)
    out = np.full((4, 3), 7.0)
    for given, kind, message in [
        ({"hess_out": np.ones((4, 4))}, ValueError, r"hess_out must have shape \(4, 3\), got \(4, 4\)"),
        ({"hess_out": np.ones((4, 3), np.float32)}, TypeError, "hess_out must have the dtype of the gradient, float64"),
        ({"hess_out": [[1.0]]}, TypeError, "hess_out must be a NumPy array, got list"),
        ({"hess_out": logits}, ValueError, "hess_out must not overlap an input, or the gradient"),
        ({"hess_out": out}, ValueError, "hess_out must not overlap an input, or the gradient"),
        ({"hess_scale": 0.0}, ValueError, "hess_scale must be positive and finite, got 0.0"),
        ({"hess_floor": -1.0}, ValueError, "hess_floor must be finite and non-negative, got -1.0"),
        ({"curvature": "gauss"}, ValueError, 'curvature must be "exact", "convex" or "gradient", got "gauss"'),
    ]:
        with pytest.raises(kind, match=message):
            with_hess(logits, target, out=out, **given)
        assert (out == 7.0).all(), given


@pytest.mark.once
def test_weights_by_place_and_weights_beyond_float32_take_the_places_along() -> None:
    rng = np.random.default_rng(6)
    logits, target = rng.standard_normal((5, 3, 4)), rng.integers(0, 2, (5, 3, 4))
    weight, hess = rng.uniform(0.5, 2.0, (3, 4)), np.empty((5, 3, 4))
    result = xe.sigmoid_cross_entropy_with_hess(logits, target, pos_weight=weight, hess_out=hess, hess_scale=2.0)
    p = xe.sigmoid(logits)
    assert result.hess is hess
    assert_close(hess, 2 * np.where(target == 1, weight, 1.0) * p * (1 - p) / hess.size, 1e-12)
    logits, labels = rng.standard_normal((6, 3)).astype(np.float32), np.zeros(6, int)
    hess = np.empty((6, 3), np.float32)
    given = {"sample_weight": np.full(6, 1e-40), "reduction": "sum"}
    result = xe.softmax_cross_entropy_with_hess(logits, labels, hess_out=hess, hess_scale=1e40, **given)
    assert result.hess is hess
    assert_close(hess, xe.softmax_cross_entropy_with_hess(logits, labels, reduction="sum").hess, 1e-6)
