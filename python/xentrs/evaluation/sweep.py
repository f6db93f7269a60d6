"""What an evaluation needs of every row, from a piece of the logits at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._arrays import as_logits, fits, read, two_columns
from .._numbers import an_integer, integer_or_none
from ..losses import softmax_cross_entropy
from .calibration import surprise
from .rows import softmax_stats

__all__ = ["BLOCK", "FEW_CLASSES", "ROWS", "Batch", "Judged", "judged", "pieces", "read_batch"]

BLOCK = 32 << 20
"""Bytes of logits that are swept over, once for the statistics and once for the Brier score, before the next are read.

Of 4, 16, 32 and 64 MiB the rates are as 1, 1.3, 1.7 and 2.0: threads are woken and pages given back once a block.
"""

FEW_CLASSES = 256
"""Up to as many, one step of NumPy over all rows takes less time than a loop over them."""

ROWS = 1 << 17
"""Rows of which numbers are kept at a time: some 100 bytes each, which of two classes is ten times the logits."""


class Batch(NamedTuple):
    """Rows of logits, their classes and their weights, of shapes that fit."""

    logits: NDArray[Any]
    """Of shape (..., c); the class axis is the last one, wherever it lies in memory."""
    target: NDArray[Any]
    sample_weight: NDArray[Any] | None


class Judged(NamedTuple):
    """Arrays with one number a row."""

    loss: NDArray[Any]
    weight: NDArray[np.float64]
    correct: NDArray[np.bool_]
    target: NDArray[np.int64]
    argmax: NDArray[np.int64]
    confidence: NDArray[Any]
    brier: NDArray[np.float64]
    """Squared distance of the distribution from the one that is certain of the target."""
    rank: NDArray[np.int64] | None
    """How many classes stand before the target in the order of their logits; where it is asked for."""


def read_batch(
    logits: ArrayLike,
    target: ArrayLike,
    sample_weight: ArrayLike | None,
    ignore_index: int | None,
    axis: int,
    where: Callable[[str, int], str],
) -> Batch:
    """Make arrays of what was given, and refuse what does not fit; `where` tells where a row of them lies."""
    integer_or_none("ignore_index", ignore_index)
    an_integer("axis", axis)
    target = read(target, "target", labels=True)
    scores = read(logits, "logits")
    if scores.ndim == target.ndim == 1:  # log-odds
        scores, axis = two_columns(scores), -1
    scores, _ = as_logits(scores, "logits", axis)
    shape = scores.shape[:-1]
    if target.size == 0 and scores.size == 0 and target.ndim == len(shape):
        target = target.astype(np.int64)
    if target.shape != shape:
        raise ValueError(f"target must have shape {shape}, that of logits without the class axis, got {target.shape}")
    classes = scores.shape[-1]
    if target.dtype.kind in "iu":
        outside = (target < 0) | (target >= classes)
        if ignore_index is not None:
            outside &= target != ignore_index
        if outside.any():
            row = int(np.argmax(outside))
            ignored = "" if ignore_index is None else f" or ignore_index={ignore_index}"
            value = target.ravel()[row]
            raise IndexError(
                f"target must be integers in [0, {classes}){ignored}, got {value} at {where('target', row)}"
            )
    weight = None
    if sample_weight is not None:
        weight = read(sample_weight, "sample_weight")
        if not fits(weight, shape):
            raise ValueError(f"sample_weight must have shape {shape} or broadcast to it, got {weight.shape}")
        weight = np.broadcast_to(weight, shape)
        if weight.dtype.kind in "iuf":
            refused = ~((weight >= 0) & np.isfinite(weight))
            if refused.any():
                row = int(np.argmax(refused))
                value = weight.ravel()[row]
                raise ValueError(
                    f"sample_weight must be finite and non-negative, got {value} at {where('sample_weight', row)}"
                )
    return Batch(scores, target, weight)


def pieces(batch: Batch) -> Iterator[Batch]:
    """Cut a batch along its first axis, so that what is kept of its rows stays small; there is at least one piece."""
    logits, target, weight = batch
    if logits.ndim == 1:
        logits, target = logits[None], target[None]
        weight = None if weight is None else weight[None]
    elif logits.flags.c_contiguous and logits.ndim > 2:
        logits, target = logits.reshape(-1, logits.shape[-1]), target.reshape(-1)
        weight = None if weight is None else weight.reshape(-1)
    n = max(1, len(logits))
    step = max(1, min(BLOCK // max(1, logits.nbytes // n), ROWS // max(1, target.size // n)))
    for start in range(0, n, step):
        rows = slice(start, start + step)
        yield Batch(logits[rows], target[rows], None if weight is None else weight[rows])


def judged(batch: Batch, *, ignore_index: int | None, temperature: float, ranked: bool) -> Judged:
    """Sweep over all rows."""
    logits, target, sample_weight = batch
    stats = softmax_stats(logits, target, sample_weight=sample_weight, ignore_index=ignore_index)
    if target.dtype == bool:
        target = target.astype(np.int64)
    loss: Any = stats.loss
    confidence: NDArray[Any] = stats.confidence
    # 1. at another temperature
    if temperature != 1.0:
        loss = softmax_cross_entropy(
            logits,
            target,
            sample_weight=np.sign(stats.weight),  # a row of no weight has no loss, whatever stands in it
            ignore_index=ignore_index,
            temperature=temperature,
            reduction="none",
        )
        confidence = np.exp(-surprise(logits, stats.argmax, temperature))
        confidence[stats.argmax == -1] = np.nan
    # 2. The Brier score, sum_k (p_k - t_k)^2. At half the temperature the probabilities are the squares, but for their
    # sum: with rest = sum_{k != a} (p_k / p_a)^2, a the prediction, minus the logarithm of the largest is ln(1 + rest).
    rest = np.expm1(surprise(logits, stats.argmax, temperature / 2))
    largest, own = confidence.astype(np.float64), loss.astype(np.float64)
    right = -np.expm1(-own)  # 1 - p_a, which no confidence near 1 holds
    brier = np.where(
        stats.correct,
        right * right + largest * largest * rest,
        largest * largest * (1 + rest) + (1 - 2 * np.exp(-own)),
    )
    brier = np.where(stats.weight > 0, brier, 0.0)
    rank = _rank(logits, target, stats.argmax, stats.correct, ignore_index) if ranked else None
    columns: list[Any] = [loss, stats.weight, stats.correct, target.astype(np.int64), stats.argmax, confidence, brier]
    return Judged(*[column.reshape(-1) for column in columns], rank)  # type: ignore[call-arg]


def _rank(
    logits: NDArray[Any],
    target: NDArray[Any],
    argmax: NDArray[np.int64],
    correct: NDArray[np.bool_],
    ignore_index: int | None,
) -> NDArray[np.int64]:
    """How many classes stand before the target: those of a larger logit, and of equal ones those of a lower number.

    A row that does not count, or that defines no order, has 0.
    """
    rank = np.zeros(target.shape, np.int64)
    wrong = ~correct & (argmax != -1)
    if ignore_index is not None:
        wrong &= target != ignore_index
    classes = logits.shape[-1]
    if classes <= FEW_CLASSES:
        scores, y = logits[wrong], target[wrong][:, None]
        own, numbers = np.take_along_axis(scores, y, axis=1), np.arange(classes)
        rank[wrong] = np.count_nonzero(scores > own, axis=1)
        rank[wrong] += np.count_nonzero((scores == own) & (numbers < y), axis=1)
    else:
        for row in zip(*np.nonzero(wrong), strict=True):
            scores, y = logits[row], int(target[row])
            own = scores[y]
            rank[row] = np.count_nonzero(scores[:y] >= own) + np.count_nonzero(scores[y + 1 :] > own)
    return rank.reshape(-1)
