"""Penalties on predictions: against their oracles and finite differences, at their margins, and in every layout."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import xentrs as xe
from checks import assert_close, assert_same_bits
from draws import Array
from layouts import LAYOUTS
from oracles import js_divergence_oracle
from registry import DTYPES, HALVES, REDUCTIONS

nan, inf = np.nan, np.inf

each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)
each_half = pytest.mark.parametrize("half", HALVES, ids=lambda half: half.__name__)
each_reduction = pytest.mark.parametrize("reduction", REDUCTIONS)


@dataclass(frozen=True)
class Penalty:
    """A penalty with some of its options, as the tests that all penalties share see it."""

    name: str
    shapes: list[tuple[int, ...]]
    options: Callable[[np.random.Generator, tuple[int, ...]], dict[str, Any]]
    """What goes with logits of a shape, arrays and all."""

    def value(self, logits: Any, **options: Any) -> Any:
        return getattr(xe, self.name)(logits, **options)

    def with_grad(self, logits: Any, **options: Any) -> xe.LossGrad:
        result = getattr(xe, f"{self.name}_with_grad")(logits, **options)
        assert isinstance(result, xe.LossGrad)
        return result


SEQUENCES = [(2, 1), (5, 3), (40, 17), (3, 7, 10), (2, 3, 4, 5), (3_000, 60), (3, 40_000), (70, 5_000)]
POINTS = [(1,), (7,), (33,), (1_000,), (140_000,)]

PENALTIES = {
    "smoothness": Penalty("js_smoothness", SEQUENCES, lambda rng, shape: {}),
    "smoothness of segments": Penalty(
        "js_smoothness",
        SEQUENCES,
        lambda rng, shape: {"segments": np.sort(rng.integers(0, 3, shape[:-1])), "reduction": "sum"},
    ),
    "parity": Penalty("parity_penalty", POINTS, lambda rng, shape: {"group": rng.integers(0, 4, shape)}),
    "opportunity": Penalty(
        "parity_penalty",
        POINTS,
        lambda rng, shape: {"group": rng.integers(0, 4, shape), "target": rng.random(shape) < 0.6},
    ),
    "parity of scores": Penalty(
        "parity_penalty", POINTS, lambda rng, shape: {"group": rng.integers(0, 4, shape), "link": "identity"}
    ),
}

each_penalty = pytest.mark.parametrize("penalty", PENALTIES.values(), ids=PENALTIES.keys())

# --- All penalties ----------------------------------------------------------------------------------------------------


@each_penalty
@pytest.mark.once
def test_gradient_is_the_finite_difference(penalty: Penalty) -> None:
    rng = np.random.default_rng(300)
    shape, h = (6, 4) if penalty.name == "js_smoothness" else (12,), 1e-5
    for _ in range(5):
        logits, options = rng.normal(scale=1.5, size=shape), penalty.options(rng, shape)
        _, grad = penalty.with_grad(logits, **options)
        for index in np.ndindex(shape):
            step = np.zeros(shape)
            step[index] = h
            above, below = penalty.value(logits + step, **options), penalty.value(logits - step, **options)
            np.testing.assert_allclose(grad[index], (above - below) / (2 * h), rtol=1e-6, atol=1e-9)


@each_dtype
@each_penalty
@pytest.mark.once
def test_beside_in_place_and_on_any_number_of_threads(penalty: Penalty, dtype: type) -> None:
    """Also where blocks border on each other, and a row that one overwrites is needed by the next."""
    rng = np.random.default_rng(301)
    for shape in penalty.shapes:
        logits, options = rng.normal(scale=3, size=shape).astype(dtype), penalty.options(rng, shape)
        before = logits.copy()
        expected, expected_grad = penalty.with_grad(logits, **options)
        assert isinstance(expected, float) and expected_grad.dtype == dtype and expected_grad.shape == shape
        assert_same_bits(penalty.value(logits, **options), expected, f"{shape} alone")
        assert_same_bits(logits, before)
        for threads in (1, 2, 5):
            with xe.threads(threads):
                assert_same_bits(penalty.value(logits, **options), expected, f"{shape} {threads}")
                out = np.full(shape, nan, dtype)
                loss, grad = penalty.with_grad(logits, **options, out=out)
                assert grad is out and loss == expected
                assert_same_bits(out, expected_grad, f"{shape} {threads} beside")
                place = logits.copy()
                loss, grad = penalty.with_grad(place, **options, out=place)
                assert grad is place and loss == expected
                assert_same_bits(place, expected_grad, f"{shape} {threads} in place")


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS.keys())
@each_dtype
@each_penalty
@pytest.mark.once
def test_every_layout(penalty: Penalty, dtype: type, layout: Callable[[Array], Array]) -> None:
    rng = np.random.default_rng(302)
    for shape in penalty.shapes[1:4]:
        logits = layout(rng.normal(scale=3, size=shape).astype(dtype))
        options = penalty.options(rng, shape)
        laid = {name: layout(value) if isinstance(value, np.ndarray) else value for name, value in options.items()}
        plain = {name: np.array(v, order="C") if isinstance(v, np.ndarray) else v for name, v in laid.items()}
        expected, expected_grad = penalty.with_grad(np.array(logits, dtype, order="C"), **plain)
        loss, grad = penalty.with_grad(logits, **laid)
        assert_same_bits(loss, expected)
        assert_same_bits(grad, expected_grad)
        out = layout(np.zeros(shape, dtype))
        if out.flags.writeable:
            assert penalty.with_grad(logits, **laid, out=out).grad is out
            assert_same_bits(np.array(out, dtype, order="C"), expected_grad)
    lists = {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in plain.items()}
    if dtype is np.float64:
        assert penalty.value(np.array(logits).tolist(), **lists) == expected


@each_half
@each_penalty
def test_half_precision_is_storage(penalty: Penalty, half: type) -> None:
    rng = np.random.default_rng(303)
    for shape in penalty.shapes:
        logits, options = rng.normal(scale=3, size=shape).astype(half), penalty.options(rng, shape)
        expected, expected_grad = penalty.with_grad(logits.astype(np.float32), **options)
        loss, grad = penalty.with_grad(logits, **options)
        assert loss == expected == penalty.value(logits, **options)
        assert_same_bits(grad, expected_grad.astype(half))
        out = np.full(shape, nan, np.float32)
        assert penalty.with_grad(logits, **options, out=out).grad is out
        assert_same_bits(out, expected_grad)
        place = logits.copy()
        assert penalty.with_grad(place, **options, out=place).grad is place
        assert_same_bits(place, expected_grad.astype(half))


@each_penalty
@pytest.mark.once
def test_out_that_does_not_fit_is_refused(penalty: Penalty) -> None:
    rng = np.random.default_rng(304)
    shape = penalty.shapes[1]
    logits, options = rng.normal(size=shape), penalty.options(rng, shape)
    before = logits.copy()
    locked = np.zeros(shape)
    locked.flags.writeable = False
    for out, error, message in [
        (np.zeros((2, *shape)), ValueError, "out must have shape"),
        (np.zeros(shape, np.float16), TypeError, "out must have the dtype"),
        ([0.0], TypeError, "out must be a NumPy array"),
        (locked, ValueError, "read-only"),
        (logits[::-1], ValueError, "overlap"),
    ]:
        with pytest.raises(error, match=message):
            penalty.with_grad(logits, **options, out=out)
    assert_same_bits(logits, before)


# --- js_smoothness ----------------------------------------------------------------------------------------------------


def counted(segments: Array | None, shape: tuple[int, ...]) -> Array:
    """Which pairs count."""
    if segments is None:
        return np.ones((*shape[:-2], shape[-2] - 1), bool)
    return segments[..., 1:] == segments[..., :-1]


@each_dtype
def test_divergence_of_each_pair(dtype: type) -> None:
    rng = np.random.default_rng(310)
    rtol = 2e-6 if dtype is np.float32 else 1e-13
    # Positions of few classes are taken together, so many at a time; of what is left, a register may be partial.
    few = [*((n, 3) for n in range(1, 68)), (500, 10), (300, 64), (300, 65), (2, 270, 3)]
    shapes = [*((5, c) for c in range(1, 70)), *few, (4, 1030), (3, 4, 5)]
    for shape in shapes:
        for scale in (5.0, 0.3):
            logits = rng.normal(scale=scale, size=shape).astype(dtype)
            truth = js_divergence_oracle(logits[..., 1:, :], logits[..., :-1, :])
            for segments in (None, rng.integers(0, 2, shape[:-1])):
                counts = counted(segments, shape)
                each = xe.js_smoothness(logits, segments=segments, reduction="none")
                assert each.dtype == dtype and each.shape == counts.shape
                expected = np.where(counts, truth, 0)
                assert_close(each, expected, rtol, floor=1e-6 * rtol, note=f"{shape}")
                assert ((each >= 0) & (each <= math.log(2) * (1 + 1e-7))).all()
                total, mean = float(expected.sum()), float(expected.sum()) / max(1, counts.sum())
                assert_close(xe.js_smoothness(logits, segments=segments, reduction="sum"), total, rtol, floor=1e-12)
                assert_close(xe.js_smoothness(logits, segments=segments), mean, rtol, floor=1e-12)


@each_dtype
def test_nearly_equal_neighbours(dtype: type) -> None:
    """The divergence is of the second order in the step, far below what the rounding of a probability allows."""
    rng = np.random.default_rng(311)
    rtol = 4e-6 if dtype is np.float32 else 1e-12
    for step in (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6):
        for c in (2, 10, 100, 3_000):
            z = rng.normal(scale=2.0, size=c).astype(dtype)
            logits = np.stack([z, (z + step * rng.normal(size=c)).astype(dtype)])
            truth = js_divergence_oracle(logits[:1], logits[1:])
            each = xe.js_smoothness(logits, reduction="none")
            assert_close(each, truth, rtol, note=f"step={step} c={c}")
    assert xe.js_smoothness(np.stack([z, z])) == 0.0
    grad = xe.js_smoothness_with_grad(np.stack([z, z])).grad
    np.testing.assert_array_equal(grad, 0)


@each_dtype
def test_far_neighbours_reach_the_bound(dtype: type) -> None:
    for margin in (17.0, 80.0, 700.0):
        each = xe.js_smoothness(np.array([[margin, 0], [0, margin]], dtype), reduction="none")
        e = math.exp(-margin)
        p, q = 1 / (1 + e), e / (1 + e)
        truth = p * math.log(2 * p) + (q * math.log(2 * q) if q > 0 else 0)
        assert each[0] == pytest.approx(truth, rel=1e-6 if dtype is np.float32 else 1e-15)


@each_dtype
def test_gradient_of_smoothness(dtype: type) -> None:
    """Against the formula in float64, over many shapes, some of several blocks, whose last rows have neighbours too."""
    rng = np.random.default_rng(312)
    few = [*((n, 3) for n in range(2, 68)), (4, 65), (500, 10), (2, 270, 3), (7_000, 10)]
    for shape in [(2, 2), *few, (17, 40), (3, 4, 5), (9, 1030), (70, 1030), (2, 20, 4_000)]:
        logits, segments = rng.normal(scale=3, size=shape).astype(dtype), rng.integers(0, 2, shape[:-1])
        for chosen in (None, segments):
            z = logits.astype(np.float64)
            p = np.exp(z - np.logaddexp.reduce(z, axis=-1, keepdims=True))
            grad = np.zeros(shape)
            counts = counted(chosen, shape)[..., None]
            a, b = p[..., :-1, :], p[..., 1:, :]
            for own, other, place in ((a, b, slice(None, -1)), (b, a, slice(1, None))):
                g = np.log(2 * own / (own + other)) / 2
                grad[..., place, :] += np.where(counts, own * (g - (own * g).sum(-1, keepdims=True)), 0)
            each, ours = xe.js_smoothness_with_grad(logits, segments=chosen, reduction="none")
            size = p * np.abs(grad / p).max(-1, keepdims=True)
            assert_close(ours, grad, 4e-6 if dtype is np.float32 else 1e-13, size, note=str(shape))
            mean = xe.js_smoothness_with_grad(logits, segments=chosen).grad
            assert_close(mean, grad / max(1, counts.sum()), 4e-6, size / max(1, counts.sum()))
            assert_same_bits(each, xe.js_smoothness(logits, segments=chosen, reduction="none"))


def test_gradient_of_a_confident_position() -> None:
    """The component of the sure class is minus that of the other, not 0."""
    logits = np.array([[20.0, 0.0], [0.0, 20.0]], np.float32)
    _, grad = xe.js_smoothness_with_grad(logits)
    e = math.exp(-20)
    q = e / (1 + e)
    truth = q * (1 - q) * (math.log(2 * q) - math.log(2 * (1 - q))) / 2
    np.testing.assert_allclose(grad, [[-truth, truth], [truth, -truth]], rtol=1e-6)


@each_dtype
@each_reduction
def test_positions_that_count_for_nothing_do_no_harm(dtype: type, reduction: str) -> None:
    logits = np.array([[0, 1], [1, 0], [nan, nan], [2, 0], [2, 1]], dtype)
    loss, grad = xe.js_smoothness_with_grad(logits, segments=[0, 0, 7, 1, 1], reduction=reduction)
    first, first_grad = xe.js_smoothness_with_grad(logits[:2], reduction="sum")
    last, last_grad = xe.js_smoothness_with_grad(logits[3:], reduction="sum")
    if reduction == "none":
        np.testing.assert_allclose(loss, [first, 0, 0, last], rtol=1e-6)
    else:
        scale = 2 if reduction == "mean" else 1
        assert loss == pytest.approx((first + last) / scale, rel=1e-6)
    scale = 2 if reduction == "mean" else 1
    np.testing.assert_allclose(grad, np.vstack([first_grad, [[0, 0]], last_grad]) / scale, rtol=1e-6)


@each_dtype
@pytest.mark.parametrize("c", [3, 80])
def test_nan_spoils_its_pairs_and_no_others(dtype: type, c: int) -> None:
    for bad in ([nan, 0, 0], [inf, inf, 0], [-inf] * 3):
        logits = np.random.default_rng(313).normal(size=(6, c)).astype(dtype)
        clean, clean_grad = xe.js_smoothness_with_grad(logits, reduction="none")
        logits[2] = [*bad, *[-inf] * (c - 3)]
        each, grad = xe.js_smoothness_with_grad(logits, reduction="none")
        np.testing.assert_array_equal(np.isnan(each), [False, True, True, False, False])
        np.testing.assert_array_equal(each[[0, 3, 4]], clean[[0, 3, 4]])
        assert np.isnan(grad[1:4]).all() and np.isnan(xe.js_smoothness(logits))
        np.testing.assert_array_equal(grad[[0, 4 + 1]], clean_grad[[0, 5]])


@each_dtype
@pytest.mark.parametrize("c", [12, 80])
def test_masked_classes_take_no_part(dtype: type, c: int) -> None:
    rng = np.random.default_rng(314)
    logits = rng.normal(size=(6, 5)).astype(dtype)
    masked = np.full((6, c), -inf, dtype)
    masked[:, 1:11:2] = logits
    loss, grad = xe.js_smoothness_with_grad(masked)
    expected, expected_grad = xe.js_smoothness_with_grad(logits)
    assert loss == pytest.approx(expected, rel=1e-6)
    assert_close(grad[:, 1:11:2], expected_grad, 1e-5, np.abs(expected_grad).max())
    np.testing.assert_array_equal(grad[:, ::2], 0)
    one_sided = np.full((2, c), -inf, dtype)
    one_sided[:, :2] = [[0, -inf], [0, 0]]
    each, grad = xe.js_smoothness_with_grad(one_sided, reduction="none")
    truth = (math.log(4 / 3) + math.log(2 / 3) / 2 + math.log(2) / 2) / 2
    assert each[0] == pytest.approx(truth, rel=1e-6)
    slope = math.log(1 / 3) / 8
    np.testing.assert_allclose(grad[:, :2], [[0, 0], [slope, -slope]], rtol=1e-6)
    np.testing.assert_array_equal(grad[:, 2:], 0)


@each_dtype
@pytest.mark.parametrize("c", [3, 10, 80])
def test_a_pair_is_what_it_is_alone(dtype: type, c: int) -> None:
    """Wherever it lies, whatever its neighbours are, and wherever a segment ends: the same bits."""
    rng, most = np.random.default_rng(316), 88.0 if dtype is np.float32 else 709.0
    n = 450
    logits = rng.normal(scale=3, size=(n, c)).astype(dtype)
    kinds = rng.integers(0, 14, n)
    for i, kind in enumerate(kinds):
        if kind < 4:
            logits[i, rng.integers(c)] = (nan, inf, -inf, most)[kind]
        elif kind < 8:
            rows = (most * rng.choice([-1, 1], c), np.full(c, -inf), logits[i - 1], np.round(logits[i]))
            logits[i] = rows[kind - 4]
    each, grad = xe.js_smoothness_with_grad(logits, reduction="none")
    assert np.isfinite(each).sum() > n / 3
    zeros = np.zeros_like(grad)
    for i in range(n - 1):
        alone, of_both = xe.js_smoothness_with_grad(logits[i : i + 2], reduction="none")
        assert_same_bits(alone, each[i : i + 1], f"{i}")
        zeros[i : i + 2] += of_both
    finite = np.isfinite(zeros).all(-1)
    np.testing.assert_array_equal(np.isnan(grad).any(-1), ~finite)
    assert_close(grad[finite], zeros[finite], 4 * float(np.finfo(dtype).eps), np.ones_like(zeros[finite]))
    for end in range(1, n, 7):
        segments = (np.arange(n) >= end).astype(int)
        some, some_grad = xe.js_smoothness_with_grad(logits, segments=segments, reduction="none")
        assert_same_bits(some, np.where(np.arange(1, n) == end, 0, each))
        far = np.abs(np.arange(n) - end + 0.5) > 1
        assert_same_bits(some_grad[far], grad[far])


@each_dtype
@each_reduction
def test_no_pairs(dtype: type, reduction: str) -> None:
    for shape in [(1, 3), (0, 3), (4, 1, 3), (0, 5, 3), (2, 0, 3)]:
        loss, grad = xe.js_smoothness_with_grad(np.full(shape, nan, dtype), reduction=reduction)
        pairs = (*shape[:-2], max(0, shape[-2] - 1))
        assert_same_bits(loss, np.zeros(pairs, dtype) if reduction == "none" else 0.0)
        assert_same_bits(grad, np.zeros(shape, dtype))
    loss, grad = xe.js_smoothness_with_grad(np.full((4, 3), nan, dtype), segments=[0, 1, 2, 3], reduction=reduction)
    assert_same_bits(loss, np.zeros(3, dtype) if reduction == "none" else 0.0)
    assert_same_bits(grad, np.zeros((4, 3), dtype))


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint8", "int32", "uint64", ">i4"])
@pytest.mark.once
def test_segments_of_any_integer_dtype(dtype: str) -> None:
    rng = np.random.default_rng(315)
    logits, segments = rng.normal(size=(3, 9, 4)), rng.integers(0, 2, (3, 9))
    expected = xe.js_smoothness(logits, segments=segments)
    assert xe.js_smoothness(logits, segments=segments.astype(dtype)) == expected
    large = np.where(segments > 0, np.uint64(2**64 - 1), np.uint64(2**63))
    assert xe.js_smoothness(logits, segments=large) == expected


# --- parity_penalty ---------------------------------------------------------------------------------------------------


@each_dtype
@pytest.mark.parametrize("link", ["sigmoid", "identity"])
def test_parity_is_the_variance_between_groups(dtype: type, link: str) -> None:
    rng = np.random.default_rng(320)
    rtol = 1e-5 if dtype is np.float32 else 1e-12
    for n in [*range(1, 70), 1_000, 50_000]:
        for groups in (1, 2, 5, n):
            logits, group = rng.normal(scale=3, size=n).astype(dtype), rng.integers(0, groups, n)
            for target in (None, rng.random(n) < 0.7):
                kept = np.ones(n, bool) if target is None else target
                x = logits.astype(np.float64)
                p, slope = (x, np.ones(n)) if link == "identity" else (1 / (1 + np.exp(-x)), None)
                slope = p * (1 - p) if slope is None else slope
                mean = p[kept].mean() if kept.any() else 0.0
                total, deviation = 0.0, np.zeros(n)
                for g in np.unique(group[kept]):
                    own = kept & (group == g)
                    deviation[own] = p[own].mean() - mean
                    total += own.sum() / kept.sum() * (p[own].mean() - mean) ** 2
                    if n > 1_000 and groups == n:
                        break
                if n > 1_000 and groups == n:
                    continue
                loss, grad = xe.parity_penalty_with_grad(logits, group, target=target, link=link)
                size = np.abs(p).max() if link == "identity" else 1.0
                assert_close(loss, total, rtol, floor=1e-14 * size**2, note=f"n={n} groups={groups}")
                scale = 2 / max(1, kept.sum())
                note = f"n={n} groups={groups}"
                assert_close(grad, scale * deviation * slope, rtol, scale * slope * size, note=note)
                assert xe.parity_penalty(logits, group, target=target, link=link) == loss


def test_confident_groups_keep_their_difference() -> None:
    """Mean predictions 1 - exp(-30) and 1 - exp(-40): in float32 both are 1, in float64 the difference has 3 digits."""
    for dtype in DTYPES:
        logits = np.array([30.0, 40.0], dtype)
        a, b = 1 / (1 + math.exp(30)), 1 / (1 + math.exp(40))
        truth = ((a - b) / 2) ** 2
        loss, grad = xe.parity_penalty_with_grad(logits, [0, 1])
        assert loss == pytest.approx(truth, rel=1e-6)
        np.testing.assert_allclose(grad, [-(a - b) / 2 * a, (a - b) / 2 * b], rtol=1e-6)


def test_groups_of_any_labels() -> None:
    logits = np.random.default_rng(321).normal(size=6)
    expected = xe.parity_penalty(logits, [0, 1, 0, 2, 1, 0])
    for group in (
        ["a", "b", "a", "c", "b", "a"],
        [b"x", b"y", b"x", b"", b"y", b"x"],
        [-5, 2**40, -5, 7, 2**40, -5],
        [0.5, nan, 0.5, inf, nan, 0.5],
        np.array([None, "b", None, 3, "b", None], object),
        np.array([(1, 2), "b", (1, 2), 3, "b", (1, 2)], object),
        np.array(["2020", "2021", "2020", "2022", "2021", "2020"], "datetime64[Y]"),
        np.array([0, 1, 0, 2, 1, 0], np.uint8),
    ):
        assert xe.parity_penalty(logits, group) == pytest.approx(expected, rel=1e-14)


@each_dtype
def test_rows_that_do_not_count(dtype: type) -> None:
    logits = np.array([1, nan, -1, inf], dtype)
    loss, grad = xe.parity_penalty_with_grad(logits, [0, 0, 1, 1], target=[1, 0, 1, 0])
    expected, expected_grad = xe.parity_penalty_with_grad(logits[[0, 2]], [0, 1])
    assert loss == expected
    np.testing.assert_array_equal(grad, [expected_grad[0], 0, expected_grad[1], 0])
    loss, grad = xe.parity_penalty_with_grad(logits, [0, 0, 1, 1], target=[0, 0, 0, 0])
    assert loss == 0.0
    np.testing.assert_array_equal(grad, 0)
    loss, grad = xe.parity_penalty_with_grad(logits, [0, 0, 1, 1], target=[True, True, True, False])
    assert math.isnan(loss) and np.isnan(grad[:3]).all() and grad[3] == 0
    loss, grad = xe.parity_penalty_with_grad(np.array([inf, -inf], dtype), [0, 1])
    assert loss == 0.25
    np.testing.assert_array_equal(grad, 0)


def test_nothing_to_compare() -> None:
    loss, grad = xe.parity_penalty_with_grad([], [])
    assert loss == 0.0 and grad.shape == (0,)
    loss, grad = xe.parity_penalty_with_grad([1.0, 2.0], ["a", "a"])
    assert loss == 0.0
    np.testing.assert_array_equal(grad, 0)


@pytest.mark.once
def test_out_that_overlaps_the_groups_is_refused() -> None:
    shared = np.zeros(4)
    with pytest.raises(ValueError, match="overlap"):
        xe.parity_penalty_with_grad(np.ones(4), shared, out=shared)
    with pytest.raises(ValueError, match="overlap"):
        xe.parity_penalty_with_grad(np.ones(4), [0, 1, 0, 1], target=shared, out=shared)
    buffer = np.zeros((4, 3))
    with pytest.raises(ValueError, match="overlap"):
        xe.js_smoothness_with_grad(np.ones((4, 3)), segments=buffer.view(np.int64)[:, 0], out=buffer)
