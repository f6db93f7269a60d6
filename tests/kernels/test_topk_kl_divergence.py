"""The divergence from a teacher's most probable classes, with the tail as one outcome more."""

from typing import Any

import numpy as np
import pytest

import xentrs as xe
from checks import FLUSHED, assert_close, assert_same_bits
from draws import mild_logits, rough_logits
from layouts import LAYOUTS
from oracles import topk_kl_divergence_oracle
from registry import DTYPES, HALVES, REDUCTIONS

Array = np.ndarray[Any, Any]
nan, inf = np.nan, np.inf

each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)

RTOL = {np.float32: 2e-6, np.float64: 1e-12}


def teachers(rng: np.random.Generator, dtype: Any, shape: tuple[int, ...], k: int) -> tuple[Array, Array]:
    """The classes of some rows, in any order, of which one pair in six is ignored, and their probabilities."""
    order = np.argsort(rng.random(shape), -1)[..., :k]
    p = rng.dirichlet(np.full(k + 1, 0.4), shape[:-1])[..., :k]
    return np.where(rng.random(order.shape) < 1 / 6, -100, order), p.astype(dtype)


@each_dtype
def test_every_option_and_every_width_agrees_with_the_oracle(dtype: type) -> None:
    rng = np.random.default_rng(0)
    for shape, k in [((7, 1), 1), ((9, 2), 1), ((40, 5), 3), ((9, 100), 4), ((4, 1025), 30), ((2, 3, 40), 40)]:
        for options in ({}, {"temperature": 0.7, "softcap": 20.0}, {"temperature": 3.0, "ignore_index": None}):
            z, target = rough_logits(rng, dtype, shape), teachers(rng, dtype, shape, k)
            if options.get("ignore_index", -100) is None:
                target = (np.maximum(target[0], 0), target[1] / 2)  # some classes occur twice
            weight = rng.integers(0, 3, shape[:-1]).astype(dtype)
            truth, note = topk_kl_divergence_oracle(z, target, sample_weight=weight, **options), f"{shape} {options}"
            for reduction in REDUCTIONS:
                given: dict[str, Any] = {"sample_weight": weight, "reduction": reduction, **options}
                loss, grad, size = truth.reduced(reduction)
                doubts = truth.doubts(reduction)
                result = xe.topk_kl_divergence_with_grad(z, target, **given)
                floor = 8 * k * FLUSHED[dtype] + 1e-15
                assert_close(result.loss, loss, RTOL[dtype], floor=floor + doubts[0], note=f"{note} {reduction}")
                assert_close(result.grad, grad, 10 * RTOL[dtype], size, floor + doubts[1], note=f"{note} {reduction}")
                assert_same_bits(xe.topk_kl_divergence(z, target, **given), result.loss)


@each_dtype
def test_it_keeps_its_digits_where_both_agree(dtype: type) -> None:
    """The student's own probabilities, nearly: the divergence is half the sum of (t - s)^2 / s."""
    rng = np.random.default_rng(1)
    z = mild_logits(rng, dtype, (20, 50))
    s = xe.softmax(z.astype(np.float64))
    classes = np.argsort(-s, -1)[:, :8]
    for change in (1e-2, 1e-4, 1e-6) if dtype is np.float64 else (1e-2, 1e-3):
        t = (np.take_along_axis(s, classes, -1) * (1 + change * rng.normal(size=classes.shape))).astype(dtype)
        truth = topk_kl_divergence_oracle(z, (classes, t))
        loss, grad = xe.topk_kl_divergence_with_grad(z, (classes, t), reduction="none")
        # Both are distances of numbers that are rounded: the probabilities of the tail are, in the type of the logits.
        eps = float(np.finfo(dtype).eps)
        assert_close(loss, truth.loss, 30 * eps / change, note=f"{change}")
        assert_close(grad, truth.grad, 0.0, floor=4 * eps, note=f"{change}")
    for distance in (0.0, 1e-3):
        equal = (classes, np.take_along_axis(s, classes, -1).astype(dtype))
        assert xe.topk_kl_divergence(z + dtype(distance), equal) < 1e-10


@pytest.mark.once
def test_gradients_are_slopes() -> None:
    rng = np.random.default_rng(2)
    z, target = mild_logits(rng, np.float64, (4, 9)), teachers(rng, np.float64, (4, 9), 3)
    for options in ({}, {"temperature": 2.0, "softcap": 5.0}):
        grad, step = xe.topk_kl_divergence_with_grad(z, target, reduction="sum", **options).grad, 1e-6
        for at in np.ndindex(z.shape):
            sides = []
            for sign in (1, -1):
                moved = z.copy()
                moved[at] += sign * step
                sides.append(xe.topk_kl_divergence(moved, target, reduction="sum", **options))
            np.testing.assert_allclose(grad[at], (sides[0] - sides[1]) / (2 * step), rtol=1e-5, atol=1e-8)


def test_all_classes_are_the_whole_divergence_and_few_are_a_bound() -> None:
    rng = np.random.default_rng(3)
    z, teacher = mild_logits(rng, np.float64, (6, 12)), mild_logits(rng, np.float64, (6, 12))
    t = xe.softmax(teacher)
    order = np.argsort(-t, -1)
    whole = xe.kl_divergence(teacher, z, from_logits=True)
    before = np.zeros(6)
    for k in range(1, 13):
        pairs = (order[:, :k], np.take_along_axis(t, order[:, :k], -1))
        loss = xe.topk_kl_divergence(z, pairs, reduction="none")
        assert (loss >= before - 1e-12).all()
        before = loss
    np.testing.assert_allclose(before, whole, rtol=1e-12)


@each_dtype
def test_special_values(dtype: type) -> None:
    for c in (4, 1200):
        z = np.zeros((9, c), dtype)
        classes, t = np.tile([0, 1], (9, 1)), np.tile(np.array([0.5, 0.25], dtype), (9, 1))
        z[0, 0] = -inf  # a known class without probability
        z[1, 2:] = -inf  # no tail
        z[2, 0] = inf
        z[3, 3] = inf  # all in the tail
        z[4, 2] = nan
        z[5, :2] = inf
        z[6] = -inf
        classes[7], z[7] = -100, nan  # ignored
        t[8] = [0.75, 0.25]
        z[8, 2:] = -inf  # neither has a tail
        loss, grad = xe.topk_kl_divergence_with_grad(z, (classes, t), reduction="none")
        assert (loss[[0, 1, 2, 3]] == inf).all() and np.isnan(loss[[4, 5, 6]]).all() and loss[7] == 0
        assert np.isfinite(grad[:4]).all() and np.isnan(grad[4:7]).all() and not grad[7].any()
        assert_close(grad[2], np.r_[0.5, -0.25, np.full(c - 2, -0.25 / (c - 2))], 1e-6)
        assert_close(loss[8], 0.75 * np.log(1.5) + 0.25 * np.log(0.5), 1e-6)
        assert_close(grad[8], np.r_[-0.25, 0.25, np.zeros(c - 2)], 1e-6)
        mean = xe.topk_kl_divergence(z[7:], (classes[7:], t[7:]))
        assert_close(mean, loss[8], 1e-6)  # of the row that counts
        assert xe.topk_kl_divergence(z[7:8], (classes[7:8], t[7:8])) == 0
        far = np.zeros((1, c), dtype)
        far[0, 0] = -2000.0  # whose probability underflows
        assert_close(xe.topk_kl_divergence(far, ([[0]], [[1.0]])), 2000 + np.log(c - 1), 1e-6)


@pytest.mark.parametrize("half", HALVES, ids=lambda half: half.__name__)
def test_half_precision_is_float32_rounded_once(half: type) -> None:
    rng = np.random.default_rng(4)
    for c in (10, 2000):
        z, target = mild_logits(rng, np.float32, (8, c)).astype(half), teachers(rng, np.float32, (8, c), 5)
        wide = xe.topk_kl_divergence_with_grad(z.astype(np.float32), target)
        result = xe.topk_kl_divergence_with_grad(z, target)
        assert result.loss == wide.loss
        assert_same_bits(result.grad, wide.grad.astype(half))


@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name != "broadcast"])
@pytest.mark.once
def test_every_layout_axis_place_and_number_of_threads(layout: str) -> None:
    rng = np.random.default_rng(5)
    for shape in [(8, 10), (3, 1500), (1_500, 100)]:
        z, (classes, t) = mild_logits(rng, np.float32, shape), teachers(rng, np.float32, shape, 4)
        expected = xe.topk_kl_divergence_with_grad(z, (classes, t))
        with xe.threads(1):
            results = [xe.topk_kl_divergence_with_grad(LAYOUTS[layout](z), (classes, LAYOUTS[layout](t)))]
        moved = xe.topk_kl_divergence_with_grad(z.T, (classes.T, t.T), axis=0)
        results.append(moved._replace(grad=moved.grad.T))
        place = z.copy()
        results.append(xe.topk_kl_divergence_with_grad(place, (classes, t), out=place))
        assert results[-1].grad is place
        for result in results:
            assert result.loss == expected.loss
            assert_same_bits(np.ascontiguousarray(result.grad), expected.grad)
