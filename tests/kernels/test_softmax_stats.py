"""Statistics of rows against the oracle."""

import math
from typing import Any

import numpy as np
import pytest

import xentrs as xe
from checks import FLUSHED, assert_close, assert_same_bits
from draws import classes, rough_logits
from layouts import LAYOUTS
from oracles import minus_log_softmax
from registry import DTYPES, HALVES

nan, inf = np.nan, np.inf

each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)
each_half = pytest.mark.parametrize("half", HALVES, ids=lambda half: half.__name__)

RTOL = {np.float32: 1e-6, np.float64: 1e-12}


def assert_stats(stats: xe.SoftmaxStats, z: Any, target: Any, dtype: type, weight: Any = None, note: str = "") -> None:
    """The statistics agree with the definitions in float64."""
    kept = target != -100
    weight = np.where(kept, 1.0 if weight is None else weight, 0.0)
    cost = minus_log_softmax(z)
    label = np.where(kept, target, 0)
    loss = np.take_along_axis(cost, label[..., None], -1)[..., 0]
    entropy = np.where(np.isinf(cost), 0.0, np.exp(-cost) * np.where(np.isinf(cost), 0.0, cost)).sum(-1)
    lse = np.logaddexp.reduce(z.astype(np.float64), axis=-1)
    top = z.argmax(-1)
    floor = 800 * FLUSHED[dtype]  # of an exponential times its distance
    assert_close(stats.loss, np.where(weight > 0, loss, 0), RTOL[dtype], floor=floor, note=f"{note} loss")
    assert_close(stats.logsumexp, lse, RTOL[dtype], np.abs(z).max(-1) + np.abs(lse), note=f"{note} logsumexp")
    assert_close(stats.entropy, entropy, RTOL[dtype], floor=floor, note=f"{note} entropy")
    np.testing.assert_array_equal(stats.argmax, top, err_msg=note)
    np.testing.assert_array_equal(stats.correct, kept & (top == target), err_msg=note)
    assert_close(stats.weight, weight, 1e-7, note=f"{note} weight")
    floats = (stats.loss, stats.logsumexp, stats.entropy)
    assert all(x.dtype == dtype for x in floats) and stats.weight.dtype == np.float64, note
    assert stats.correct.dtype == bool and stats.argmax.dtype == np.int64


@each_dtype
def test_every_shape(dtype: type) -> None:
    rng = np.random.default_rng(200)
    for shape in [*((7, c) for c in range(1, 70)), (1, 1), (129, 10), (3, 1024), (3, 1025), (2, 2500), (2, 3, 4, 5)]:
        z, target = rough_logits(rng, dtype, shape), classes(rng, dtype, shape)
        weight = rng.integers(0, 3, shape[:-1]).astype(dtype)
        weighted = {} if shape[-1] % 2 else {"sample_weight": weight}
        result = xe.softmax_stats(z, target, **weighted)
        assert_stats(result, z, target, dtype, weighted.get("sample_weight"), str(shape))


@each_dtype
def test_every_number_of_rows(dtype: type) -> None:
    """Few classes go across the lanes, four groups of rows at a time: a row is the same, whatever stands beside it."""
    rng = np.random.default_rng(199)
    for c in (1, 2, 3, 4, 5, 10, 63, 64, 65):
        z, target = rough_logits(rng, dtype, (67, c)), classes(rng, dtype, (67, c))
        weight = rng.integers(0, 3, 67).astype(dtype)
        z[5::7] += dtype(1e4)  # exponentials of differences
        assert_stats(xe.softmax_stats(z, target, sample_weight=weight), z, target, dtype, weight, note=f"c={c}")
        z[::9, 0] = -inf
        z[3::17, c // 2] = inf
        z[6::19, c - 1] = nan
        alone = [xe.softmax_stats(*row[:2], sample_weight=row[2]) for row in zip(z, target, weight, strict=True)]
        for n in range(1, len(z) + 1):
            together = xe.softmax_stats(z[-n:], target[-n:], sample_weight=weight[-n:])
            for a, b in zip(together, zip(*alone[-n:], strict=True), strict=True):
                assert_same_bits(a, np.stack(b), f"{n} rows, c={c}")


@each_dtype
def test_the_first_of_equal_logits(dtype: type) -> None:
    for c in range(1, 66):
        first = np.arange(c)
        z = np.where(first >= first[:, np.newaxis], 3.0, 1.0).astype(dtype)
        stats = xe.softmax_stats(z, first)
        np.testing.assert_array_equal(stats.argmax, first)
        assert stats.correct.all() and not xe.softmax_stats(z[:-1], first[1:]).correct.any()


@each_dtype
def test_large_batches(dtype: type) -> None:
    """Enough for every thread, and the loss has the bits of the loss."""
    rng = np.random.default_rng(201)
    for shape in [(20_003, 3), (20_000, 10), (3_001, 64), (3_000, 100), (40, 32_000)]:
        z, target = rng.normal(scale=4, size=shape).astype(dtype), rng.integers(0, shape[1], shape[0])
        stats = xe.softmax_stats(z, target)
        assert_same_bits(stats.loss, xe.softmax_cross_entropy(z, target, reduction="none"))
        assert_same_bits(stats.logsumexp, xe.logsumexp(z))
        if shape[1] <= 10:
            assert_stats(stats, z, target, dtype)
        else:  # too many pairs of classes for the oracle, but no confident rows
            log_p = z - np.logaddexp.reduce(z.astype(np.float64), axis=1, keepdims=True)
            assert_close(stats.entropy, -(np.exp(log_p) * log_p).sum(1), 1e-6 if dtype is np.float32 else 1e-10)
        for threads in (1, 3):
            with xe.threads(threads):
                for ours, theirs in zip(xe.softmax_stats(z, target), stats, strict=True):
                    assert_same_bits(ours, theirs)


def test_entropy_of_a_confident_row() -> None:
    """-sum p ln p in float32 would have no digit of it left."""
    for margin in (17.0, 40.0, 80.0):
        stats = xe.softmax_stats(np.array([[margin, 0.0]], np.float32), [0])
        rest = math.exp(-margin)
        truth = math.log1p(rest) + rest * margin / (1 + rest)
        assert stats.entropy[0] == pytest.approx(truth, rel=1e-6)


@each_dtype
def test_a_maximum_that_rises_from_block_to_block(dtype: type) -> None:
    rng = np.random.default_rng(202)
    for step in (0.001, 0.03, 1.0, 30.0, 1e30):
        for slope in (step, -step):
            z = (np.arange(5000) * slope + rng.normal(size=5000)).astype(dtype)
            top = int(z.argmax())
            stats = xe.softmax_stats(z, top)
            rest = z.astype(np.float64) - float(z[top])
            e = np.exp(rest)
            e[top] = 0
            truth = np.log1p(e.sum()) - (e * np.where(e > 0, rest, 0)).sum() / (1 + e.sum())
            assert_close(stats.entropy, truth, RTOL[dtype], floor=800 * FLUSHED[dtype], note=f"{slope}")
            assert stats.argmax == top and stats.correct


@each_dtype
def test_special_rows(dtype: type) -> None:
    z = np.array(
        [[0, nan, 1], [-inf, -inf, -inf], [inf, 0, inf], [0, inf, 1], [-inf, 2, -inf], [1, 1, 1], [-inf, 0, 0]], dtype
    )
    stats = xe.softmax_stats(z, [0, 1, 2, 0, 1, 0, 2])
    np.testing.assert_array_equal(stats.argmax, [-1, -1, -1, 1, 1, 0, 1])
    np.testing.assert_array_equal(stats.correct, [False, False, False, False, True, True, False])
    ln2, ln3 = math.log(2), math.log(3)
    np.testing.assert_allclose(stats.loss, [nan, nan, nan, inf, 0, ln3, ln2], rtol=1e-6)
    np.testing.assert_allclose(stats.entropy, [nan, nan, nan, 0, 0, ln3, ln2], rtol=1e-6)
    assert_same_bits(stats.logsumexp, xe.logsumexp(z))
    ignored = xe.softmax_stats(z, [-100] * 7)
    np.testing.assert_array_equal(ignored.loss, 0)
    np.testing.assert_array_equal(ignored.weight, 0)
    assert not ignored.correct.any()
    assert_same_bits(ignored.entropy, stats.entropy)
    np.testing.assert_array_equal(ignored.argmax, stats.argmax)
    np.testing.assert_array_equal(xe.softmax_stats(z, [0] * 7, sample_weight=[0] * 7).loss, 0)
    for more in (1, 61, 62, 200):  # classes without probability, so that they are few and no longer few
        wide = xe.softmax_stats(np.pad(z, [(0, 0), (0, more)], constant_values=-inf), [0, 1, 2, 0, 1, 0, 2])
        np.testing.assert_array_equal(wide.argmax, stats.argmax)
        np.testing.assert_array_equal(wide.correct, stats.correct)
        for a, b in zip(wide[:3], stats[:3], strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6)


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS.keys())
@each_dtype
@pytest.mark.once
def test_every_layout(dtype: type, layout: Any) -> None:
    rng = np.random.default_rng(203)
    z, target = layout(rough_logits(rng, dtype, (37, 19))), layout(rng.integers(0, 19, (37, 1)))[:, 0]
    weight = rng.uniform(0, 2, 37).astype(dtype)
    ours = xe.softmax_stats(z, target, sample_weight=weight)
    plain = xe.softmax_stats(np.array(z, dtype, order="C"), np.array(target, np.int64), sample_weight=weight)
    for a, b in zip(ours, plain, strict=True):
        assert_same_bits(a, b)


@each_half
def test_half_precision_is_storage(half: type) -> None:
    rng = np.random.default_rng(204)
    for shape in [(7, 5), (300, 67), (2, 40_000)]:
        z, target = rng.normal(scale=5, size=shape).astype(half), classes(rng, half, shape)
        stats, wide = xe.softmax_stats(z, target), xe.softmax_stats(z.astype(np.float32), target)
        for a, b in zip(stats, wide, strict=True):
            assert_same_bits(a, b)
        assert xe.LossAccumulator().update(z, target) == xe.LossAccumulator().update_stats(wide)


@pytest.mark.once
def test_shapes_and_axes() -> None:
    rng = np.random.default_rng(205)
    z, target = rng.normal(size=(3, 4, 5)), rng.integers(0, 4, (3, 5))
    for a, b in zip(
        xe.softmax_stats(z, target, axis=1), xe.softmax_stats(np.moveaxis(z, 1, -1).copy(), target), strict=True
    ):
        assert_same_bits(a, b)
    one = xe.softmax_stats([2, 1, 0], 0)
    assert all(np.shape(x) == () for x in one) and one.correct and one.argmax == 0
    for a in xe.softmax_stats(np.empty((0, 3)), []):
        assert a.shape == (0,)
    nothing = xe.softmax_stats(np.empty((2, 0)), [-100, -100])
    np.testing.assert_array_equal(nothing.argmax, -1)


@pytest.mark.parametrize(
    ("error", "message", "wrong"),
    [
        (IndexError, r"target must be integers in \[0, 3\) or ignore_index=-100, got 3 at row 1", {"target": [0, 3]}),
        (IndexError, r"target must be integers in \[0, 3\), got -100", {"target": [0, -100], "ignore_index": None}),
        (ValueError, r"target must have shape \(2,\), got \(3,\)", {"target": [0, 1, 2]}),
        (TypeError, r"target must be integers \(classes\), got float64", {"target": np.zeros((2, 3))}),
        (TypeError, r"target must be integers \(classes\), got float32", {"target": np.zeros(2, np.float32)}),
        (TypeError, "target must be .*got bool", {"target": [True, False]}),
        (ValueError, r"sample_weight must have shape \(2,\), got \(3,\)", {"sample_weight": [1.0] * 3}),
        (ValueError, "sample_weight must be finite and non-negative, got -1", {"sample_weight": [1.0, -1.0]}),
        (TypeError, "logits must be floating", {"logits": np.zeros((2, 3), complex)}),
        (ValueError, "logits must have at least one dimension", {"logits": 1.0, "target": 0}),
        (np.exceptions.AxisError, "axis 2 is out of bounds", {"axis": 2}),
    ],
)
@pytest.mark.once
def test_bad_input(error: Any, message: str, wrong: dict[str, Any]) -> None:
    arguments = {"logits": np.zeros((2, 3)), "target": [0, 1], **wrong}
    with pytest.raises(error, match=message):
        xe.softmax_stats(**arguments)
