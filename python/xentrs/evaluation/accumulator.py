"""Figures of merit over data that comes in pieces, exact under any split."""

from __future__ import annotations

import math
from typing import Any, NamedTuple, Self

from numpy.typing import ArrayLike

from .. import _core
from .._arrays import refuse_masked
from .rows import SoftmaxStats, softmax_stats
from .sums import UNIT, Addable, quotient

__all__ = ["EvaluationResult", "LossAccumulator", "Tally", "exp"]


class EvaluationResult(NamedTuple):
    """Figures of merit over all rows, as `LossAccumulator.result` returns them."""

    loss: float
    """Weighted mean of the losses, in nats."""

    perplexity: float
    """``exp(loss)``: among how many equally likely classes the model seems to choose."""

    accuracy: float
    """Share of the weight that lies on rows whose prediction is right; NaN where there is no weight."""

    weight: float
    """Sum of the weights."""

    rows: int
    """Number of rows that count: neither ignored nor of zero weight."""


class LossAccumulator(Addable):
    """Loss, perplexity and accuracy over data that comes in pieces, exact under any split and any order.

    Weighted losses and weights are summed as integers: every float64 is a whole number of times ``2**-1074``, and
    Python integers do not round. The result is rounded once, when it is asked for. So however the rows are shared out
    among batches, processes or machines, and in whatever order the parts are merged, the result is the same to the last
    bit.

    See Also
    --------
    softmax_stats : what is accumulated.

    Notes
    -----
    The loss of a row is rounded to the dtype of the logits (float32 for half precision), and its product with the
    weight to float64, before they are summed: both depend on the row alone. A row of infinite or NaN loss that has
    weight is counted, not summed, and makes the mean loss infinite or NaN, whatever the order.

    Accumulators can be compared, added, copied and pickled: ``a + b`` has the rows of both, ``a += b`` is
    ``a.merge(b)``, and ``sum`` adds any number of them. One accumulator must not be updated by two threads at once:
    give each its own and add them.

    Examples
    --------
    >>> import numpy as np
    >>> import xentrs as xe
    >>> logits = np.array([[2.0, 1.0, 0.0], [0.0, 3.0, 0.0]])
    >>> first, second = xe.LossAccumulator(), xe.LossAccumulator()
    >>> first.update(logits[:1], [0]).merge(second.update(logits[1:], [2]))
    LossAccumulator(loss=1.7512644604326706, perplexity=5.761883745737454, accuracy=0.5, weight=2.0, rows=2)
    >>> first == xe.LossAccumulator().update(logits, [0, 2])
    True
    >>> first.result().accuracy
    0.5
    >>> sum(xe.LossAccumulator().update(row, y) for row, y in zip(logits, [0, 2], strict=True)) == first
    True
    """

    __hash__ = None  # type: ignore[assignment]

    def __init__(self) -> None:
        self._tally = Tally()

    def update(
        self,
        logits: ArrayLike,
        target: ArrayLike,
        *,
        sample_weight: ArrayLike | None = None,
        ignore_index: int | None = -100,
    ) -> Self:
        """Add the rows of a batch.

        Parameters
        ----------
        logits, target, sample_weight, ignore_index
            As in `softmax_stats`; the class axis is the last one. Of a binary model, log-odds of shape (n,) and labels
            that are boolean, or 0 and 1.

        Returns
        -------
        LossAccumulator
            This accumulator.

        Raises
        ------
        IndexError, ValueError, TypeError
            As in `softmax_stats`. Nothing is added then.

        Warns
        -----
        UserWarning
            As in `softmax_stats`.

        Examples
        --------
        >>> import xentrs as xe
        >>> xe.LossAccumulator().update([[0.0, 0.0]], [1]).result().perplexity
        2.0
        >>> xe.LossAccumulator().update([3.0, -2.0, 0.5], [True, False, False]).result().accuracy == 2 / 3
        True
        """
        return self.update_stats(softmax_stats(logits, target, sample_weight=sample_weight, ignore_index=ignore_index))

    def update_stats(self, stats: SoftmaxStats) -> Self:
        """Add the rows of a batch whose statistics are there already.

        Parameters
        ----------
        stats : SoftmaxStats
            What `softmax_stats` has returned.

        Returns
        -------
        LossAccumulator
            This accumulator.

        Raises
        ------
        ValueError
            If the arrays differ in shape, a loss is negative, or a weight is negative or not finite.
        TypeError
            If `stats` are of another kind.

        Examples
        --------
        >>> import xentrs as xe
        >>> stats = xe.softmax_stats([[0.0, 0.0]], [1])
        >>> xe.LossAccumulator().update_stats(stats) == xe.LossAccumulator().update([[0.0, 0.0]], [1])
        True
        """
        if not isinstance(stats, SoftmaxStats):
            raise TypeError(f"stats must be a SoftmaxStats, got {type(stats).__name__}")
        for name, array in zip(stats._fields, stats, strict=True):
            refuse_masked(array, name)
        self._tally += Tally.of(stats.loss, stats.weight, stats.correct)
        return self

    def merge(self, other: LossAccumulator) -> Self:
        """Add all rows that another accumulator has seen.

        Parameters
        ----------
        other : LossAccumulator
            It is left as it is.

        Returns
        -------
        LossAccumulator
            This accumulator.

        Raises
        ------
        TypeError
            If `other` is no accumulator.

        Examples
        --------
        >>> import xentrs as xe
        >>> a = xe.LossAccumulator().update([[0.0, 0.0]], [1])
        >>> a.merge(a).result().rows
        2
        """
        if not isinstance(other, LossAccumulator):
            raise TypeError(f"other must be a LossAccumulator, got {type(other).__name__}")
        self._tally += other._tally
        return self

    def result(self) -> EvaluationResult:
        """Tell the figures over all rows so far.

        Returns
        -------
        EvaluationResult
            The named tuple ``(loss, perplexity, accuracy, weight, rows)``. Without any weight the loss is 0.0, as the
            mean of nothing is everywhere here, the perplexity 1.0, and the accuracy NaN, as no prediction was judged.

        Examples
        --------
        >>> import xentrs as xe
        >>> xe.LossAccumulator().result()
        EvaluationResult(loss=0.0, perplexity=1.0, accuracy=nan, weight=0.0, rows=0)
        """
        tally = self._tally
        loss = tally.mean_loss()
        return EvaluationResult(
            loss=loss,
            perplexity=exp(loss),
            accuracy=tally.correct / tally.weight if tally.weight else math.nan,
            weight=quotient(tally.weight, UNIT),
            rows=tally.rows,
        )

    def _nothing(self) -> Self:
        return type(self)()

    def __eq__(self, other: object) -> bool:
        return self._tally == other._tally if isinstance(other, LossAccumulator) else NotImplemented

    def __repr__(self) -> str:
        figures = ", ".join(f"{name}={value!r}" for name, value in self.result()._asdict().items())
        return f"{type(self).__name__}({figures})"


class Tally(NamedTuple):
    """Sums over rows: the first three in units of ``2**-1074``, the others counts."""

    loss: int = 0
    weight: int = 0
    correct: int = 0
    rows: int = 0
    infinite: int = 0
    nan: int = 0

    def __add__(self, other: tuple[Any, ...]) -> Tally:
        return Tally(*(a + b for a, b in zip(self, other, strict=True)))

    @classmethod
    def of(cls, loss: Any, weight: Any, correct: Any) -> Tally:
        """Sum arrays with one number a row."""
        return cls(*_core._tally(loss, weight, correct))

    def mean_loss(self) -> float:
        """Weighted mean of the losses."""
        if self.nan:
            return math.nan
        if self.infinite:
            return math.inf
        return quotient(self.loss, self.weight) if self.weight else 0.0


def exp(x: float) -> float:
    """``exp(x)``, or infinity where it is too large."""
    try:
        return math.exp(x)
    except OverflowError:
        return math.inf
