"""Rows that are long and few: each is shared among all threads, and what comes out is that of any other row."""

import math
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import xentrs as xe
from checks import assert_close, assert_same_bits

Array = np.ndarray[Any, Any]

SPLIT = [(1, 200_001), (3, 131_072), (2, 65_536)]
NOT_SPLIT = [(4, 65_536), (3, 65_535)]
TOLERANCE = {np.float32: 2e-6, np.float64: 1e-13}

each_shape = pytest.mark.parametrize("shape", SPLIT + NOT_SPLIT, ids=str)
each_dtype = pytest.mark.parametrize("dtype", TOLERANCE)


def draw(shape: tuple[int, int], dtype: type) -> tuple[Array, Array]:
    """Mild logits, each row with an outlier somewhere, and classes, the first of which is the largest of its row."""
    rng = np.random.default_rng(30)
    logits = rng.normal(scale=3, size=shape).astype(dtype)
    target = rng.integers(0, shape[1], shape[0])
    tops = rng.integers(0, shape[1], shape[0])
    logits[np.arange(shape[0]), tops] += rng.uniform(0, 60, shape[0]).astype(dtype)
    target[0] = tops[0]
    return logits, target


def textbook(logits: Array, target: Array) -> tuple[Array, Array]:
    """Loss and gradient of each row in float64: the maximum kept out of the sum, which `fsum` rounds once."""
    z = logits.astype(np.float64)
    losses, grads = [], []
    for row, y in zip(z, target, strict=True):
        top = row.argmax()
        e = np.exp(row - row[top])
        rest = math.fsum(np.delete(e, top))
        losses.append(np.log1p(rest) + (row[top] - row[y]))
        p = e / (1 + rest)
        p[y] = -rest / (1 + rest) if y == top else p[y] - 1
        grads.append(p)
    return np.array(losses), np.array(grads)


@each_dtype
@each_shape
def test_loss_and_gradient(shape: tuple[int, int], dtype: type) -> None:
    logits, target = draw(shape, dtype)
    losses, grads = textbook(logits, target)
    rtol = TOLERANCE[dtype]
    assert_close(xe.softmax_cross_entropy(logits, target, reduction="none"), losses, rtol)
    loss, grad = xe.softmax_cross_entropy_with_grad(logits, target)
    assert_close(loss, losses.mean(), rtol)
    assert_close(grad, grads / shape[0], 4 * rtol)
    assert loss == xe.softmax_cross_entropy(logits, target)


@each_shape
def test_weights_and_ignored_rows(shape: tuple[int, int]) -> None:
    rng, (logits, target) = np.random.default_rng(31), draw(shape, np.float64)
    sample_weight, class_weight = rng.uniform(0, 2, shape[0]), rng.uniform(0, 2, shape[1])
    losses, grads = textbook(logits, target)
    if shape[0] > 2:
        target[1], sample_weight[2] = -100, 0
        logits[1:3] = np.nan
    counts = target >= 0
    weight = np.where(counts, sample_weight * class_weight[np.where(counts, target, 0)], 0)
    options = {"sample_weight": sample_weight, "class_weight": class_weight}
    loss, grad = xe.softmax_cross_entropy_with_grad(logits, target, **options)
    live = weight > 0
    assert_close(loss, (weight[live] * losses[live]).sum() / weight.sum(), 1e-13)
    assert_close(grad[live], weight[live, None] * grads[live] / weight.sum(), 1e-12)
    assert not grad[~live].any()

    class_weight[target[0]] = 0
    loss, grad = xe.softmax_cross_entropy_with_grad(logits[:1], target[:1], class_weight=class_weight, reduction="none")
    assert loss[0] == 0 and not grad.any()


@each_dtype
@each_shape
def test_the_functions_underneath(shape: tuple[int, int], dtype: type) -> None:
    logits, target = draw(shape, dtype)
    losses, _ = textbook(logits, target)
    lse = losses + logits[np.arange(shape[0]), target]
    rtol = TOLERANCE[dtype]
    truth = logits.astype(np.float64) - lse[:, None]
    assert_close(xe.logsumexp(logits), lse, rtol)
    assert_close(xe.softmax(logits), np.exp(truth), 4 * rtol)
    np.testing.assert_allclose(xe.log_softmax(logits), truth, rtol=rtol, atol=rtol)


@each_shape
@pytest.mark.once
def test_layouts_and_places(shape: tuple[int, int]) -> None:
    logits, target = draw(shape, np.float32)
    wide = np.full((shape[0], shape[1] + 3), np.nan, np.float32)
    wide[:, : shape[1]] = logits
    loss, grad = xe.softmax_cross_entropy_with_grad(logits, target)
    for same in (wide[:, : shape[1]], np.asfortranarray(logits)):
        again, beside = xe.softmax_cross_entropy_with_grad(same, target)
        assert again == loss
        assert_same_bits(beside, grad)
    over = logits.copy()
    xe.softmax_cross_entropy_with_grad(over, target, out=over)
    assert_same_bits(over, grad)
    assert_same_bits(xe.softmax(over := logits.copy(), out=over), xe.softmax(logits))
    assert_same_bits(xe.log_softmax(over := logits.copy(), out=over), xe.log_softmax(logits))


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_half_precision_is_that_of_the_widened_logits(dtype: type) -> None:
    logits, target = draw((2, 100_003), np.float32)
    half = logits.astype(dtype)
    loss, grad = xe.softmax_cross_entropy_with_grad(half, target)
    truth, wide = xe.softmax_cross_entropy_with_grad(half.astype(np.float32), target)
    assert loss == truth
    assert_same_bits(grad, wide.astype(dtype))


@each_shape
@pytest.mark.once
def test_the_same_bits_for_any_number_of_threads(shape: tuple[int, int]) -> None:
    logits, target = draw(shape, np.float32)
    results = []
    for n in (1, 2, 3, 7):
        with xe.threads(n):
            loss, grad = xe.softmax_cross_entropy_with_grad(logits, target)
            results.append([np.float64(loss), grad, xe.softmax(logits), xe.log_softmax(logits), xe.logsumexp(logits)])
    for others in results[1:]:
        for other, first in zip(others, results[0], strict=True):
            assert_same_bits(other, first)


def test_special_values() -> None:
    logits, target = draw((5, 70_000), np.float32)
    logits[0, 40_000] = np.inf
    logits[1, 40_000] = np.nan
    logits[2] = -np.inf
    logits[3, :40_000] = -np.inf
    logits[4, [3, 60_000]] = np.inf
    target[0], target[3] = 40_000, 7
    parts = [slice(0, 3), slice(3, 5)]  # more rows would not be split
    results = [xe.softmax_cross_entropy_with_grad(logits[part], target[part], reduction="none") for part in parts]
    loss, grad = (np.concatenate(both) for both in zip(*results, strict=True))
    np.testing.assert_array_equal(loss, [0, np.nan, np.nan, np.inf, np.nan])
    assert not grad[0].any()
    assert np.isnan(grad[[1, 2, 4]]).all()
    assert np.isfinite(grad[3]).all() and grad[3, 7] == -1 and not grad[3, 8:40_000].any()
    lse = np.concatenate([xe.logsumexp(logits[part]) for part in parts])
    np.testing.assert_array_equal(lse[[0, 1, 2, 4]], [np.inf, np.nan, -np.inf, np.inf])
