"""Evaluation: what a model's logits say row by row, and figures of merit over data that comes in pieces."""

import math
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _core
from .losses import FloatArray, softmax_cross_entropy

__all__ = ["EvaluationResult", "LossAccumulator", "SoftmaxStats", "expected_calibration_error", "softmax_stats"]


class SoftmaxStats(NamedTuple):
    """Statistics of the softmax of logits, as `softmax_stats` returns them: six arrays with one number a row."""

    loss: FloatArray
    """Softmax cross-entropy in nats, not weighted; 0 for a row that does not count."""

    logsumexp: FloatArray
    """Logarithm of the sum of exponentials."""

    entropy: FloatArray
    """Entropy of the softmax in nats: 0 where one class is certain, ``ln c`` where all are alike."""

    correct: NDArray[np.bool_]
    """Whether the target is the first largest logit; False for an ignored row."""

    argmax: NDArray[np.int64]
    """The first class with the largest logit; -1 where no distribution is defined."""

    weight: FloatArray
    """The sample weight; 0 for an ignored row."""


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


def softmax_stats(
    logits: ArrayLike,
    target: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    ignore_index: int | None = -100,
    axis: int = -1,
) -> SoftmaxStats:
    """Loss, log-sum-exp, entropy and prediction of every row, from one sweep over the logits.

    For a row of logits ``z`` with the target class ``y`` and ``p = softmax(z)``::

        loss    = lse(z) - z_y                    lse(z) = ln sum_k exp(z_k)
        entropy = -sum_k p_k ln p_k               argmax = the first k with the largest z_k

    Parameters
    ----------
    logits : array_like, shape (..., c)
        Unnormalised log-probabilities: float16, bfloat16, float32 or float64. Integers and lists are taken as float64.
    target : array_like of int, shape (...)
        Classes in ``[0, c)``, in the shape of `logits` without the class axis.
    sample_weight : array_like, shape (...), optional
        Non-negative weight of each row. It does not enter the losses; it is handed on as `weight`.
    ignore_index : int or None, default -100
        A row with this class has loss 0 and weight 0. None ignores nothing.
    axis : int, default -1
        The class axis of `logits`.

    Returns
    -------
    SoftmaxStats
        The named tuple ``(loss, logsumexp, entropy, correct, argmax, weight)`` of arrays in the shape of `target`:
        floats in the dtype of the logits (float32 where that is half precision), `correct` boolean, `argmax` int64.

    Raises
    ------
    IndexError
        If a class is neither in ``[0, c)`` nor `ignore_index`; the message names its row.
    ValueError
        If a shape does not fit, a weight is negative or not finite, or `axis` does not exist.
    TypeError
        If `logits` are not real numbers of one of these dtypes, or `target` is not integers.

    See Also
    --------
    LossAccumulator : loss, perplexity and accuracy over many batches.
    softmax_cross_entropy : the loss alone, with more options.

    Notes
    -----
    Loss and entropy are sums without a negative term, ``ln(1 + rest)`` and what each class adds to it, where ``rest``
    is the sum of the exponentials beside the largest. So a confident row keeps the digits of both: in float32 two
    classes 17 apart have entropy 7.45e-7.

    A row that does not count (ignored, or of zero weight) has loss 0; its log-sum-exp, entropy and argmax are computed
    all the same. One logit of +inf takes all the probability: its entropy is 0. Where no distribution is defined, for a
    NaN, several +inf or nothing but -inf, loss and entropy are NaN and argmax is -1; the log-sum-exp is that of
    `logsumexp`.

    Examples
    --------
    >>> import numpy as np
    >>> import xentrs as xe
    >>> logits = np.array([[2.0, 1.0, 0.0], [0.0, 3.0, 0.0], [1.0, 1.0, 1.0]])
    >>> stats = xe.softmax_stats(logits, [0, 2, -100])
    >>> stats.loss.round(4)
    array([0.4076, 3.0949, 0.    ])
    >>> stats.entropy.round(4)
    array([0.8324, 0.3666, 1.0986])
    >>> stats.argmax, stats.correct
    (array([0, 1, 0]), array([ True, False, False]))
    """
    return SoftmaxStats(*_core.softmax_stats(logits, target, sample_weight, ignore_index, axis))


def expected_calibration_error(
    logits: ArrayLike,
    target: ArrayLike,
    *,
    n_bins: int = 15,
    sample_weight: ArrayLike | None = None,
    ignore_index: int | None = -100,
    temperature: float = 1.0,
) -> float:
    """How far a model's confidence is from its accuracy, on average.

    The rows are put into bins by their confidence, the largest probability of the softmax. With ``S_b`` for the sum of
    the weights ``s`` in a bin, ``acc`` for the weighted share of rows whose prediction is right, and ``conf`` for the
    weighted mean of the confidence::

        ECE = sum_b S_b / S |acc_b - conf_b| = sum_b |sum_{i in b} s_i ([argmax z_i = y_i] - conf_i)| / sum_i s_i

    Parameters
    ----------
    logits : array_like, shape (..., c)
        Unnormalised log-probabilities; of probabilities `p` pass ``numpy.log(p)``.
    target : array_like of int, shape (...)
        Classes in ``[0, c)``.
    n_bins : int, default 15
        Bins of equal width; the one of number ``b = 1, ..., n_bins`` holds ``(b - 1) / n_bins < conf <= b / n_bins``.
    sample_weight : array_like, shape (...), optional
        Non-negative weight of each row.
    ignore_index : int or None, default -100
        A row with this class does not count. None ignores nothing.
    temperature : float, default 1.0
        What the logits are divided by.

    Returns
    -------
    float
        From 0, where in each bin as many predictions are right as the confidence says, to 1. NaN if a row that counts
        defines no distribution; 0.0 if no row counts.

    Raises
    ------
    IndexError
        If a class is neither in ``[0, c)`` nor `ignore_index`; the message names its row.
    ValueError
        If a shape does not fit, a weight is negative or not finite, or `temperature` or `n_bins` is not positive.
    TypeError
        If `logits` are not real numbers, or `target` or `n_bins` is not integers.

    See Also
    --------
    xentrs.models.TemperatureScaler : lowers it on held-out data, without changing a prediction.

    Notes
    -----
    Few rows have an error above zero even where the model is calibrated: it is biased upwards by the noise in each bin.

    References
    ----------
    .. [1] M. P. Naeini, G. F. Cooper and M. Hauskrecht, "Obtaining well calibrated probabilities using Bayesian
       binning", AAAI 2015.
    .. [2] C. Guo, G. Pleiss, Y. Sun and K. Q. Weinberger, "On calibration of modern neural networks", ICML 2017,
       equation 3. https://arxiv.org/abs/1706.04599

    Examples
    --------
    Two in three are right, and the confidence is 0.9:

    >>> import numpy as np
    >>> import xentrs as xe
    >>> logits = np.log([[0.9, 0.1]] * 3)
    >>> round(xe.expected_calibration_error(logits, [0, 0, 1]), 4)
    0.2333
    """
    if not isinstance(n_bins, int | np.integer):
        raise TypeError(f"n_bins must be an integer, got {n_bins!r}")
    if n_bins < 1:
        raise ValueError(f"n_bins must be positive, got {n_bins}")
    stats = softmax_stats(logits, target, sample_weight=sample_weight, ignore_index=ignore_index)
    counts = stats.weight > 0
    if (stats.argmax[counts] == -1).any():
        return math.nan
    surprise = softmax_cross_entropy(  # minus the logarithm of the largest probability
        logits, stats.argmax, ignore_index=-1, temperature=temperature, reduction="none"
    )
    confidence = np.exp(np.negative(surprise, dtype=np.float64)[counts])
    weight = stats.weight[counts].astype(np.float64)
    bins = np.maximum(np.ceil(confidence * n_bins).astype(np.int64) - 1, 0)
    gaps = np.bincount(bins, weight * (stats.correct[counts] - confidence), n_bins)
    return float(np.abs(gaps).sum() / weight.sum()) if weight.size else 0.0


class LossAccumulator:
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

    Accumulators can be compared, copied and pickled. One accumulator must not be updated by two threads at once: give
    each its own and merge them.

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
    """

    __hash__ = None  # type: ignore[assignment]

    def __init__(self) -> None:
        self._tally = _Tally()

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
            As in `softmax_stats`; the class axis is the last one.

        Returns
        -------
        LossAccumulator
            This accumulator.

        Raises
        ------
        IndexError, ValueError, TypeError
            As in `softmax_stats`. Nothing is added then.

        Examples
        --------
        >>> import xentrs as xe
        >>> xe.LossAccumulator().update([[0.0, 0.0]], [1]).result().perplexity
        2.0
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

        Examples
        --------
        >>> import xentrs as xe
        >>> stats = xe.softmax_stats([[0.0, 0.0]], [1])
        >>> xe.LossAccumulator().update_stats(stats) == xe.LossAccumulator().update([[0.0, 0.0]], [1])
        True
        """
        self._tally += _Tally(*_core._tally(stats.loss, stats.weight, stats.correct))
        return self

    def merge(self, other: "LossAccumulator") -> Self:
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
            perplexity=_exp(loss),
            accuracy=tally.correct / tally.weight if tally.weight else math.nan,
            weight=_quotient(tally.weight, _UNIT),
            rows=tally.rows,
        )

    def __eq__(self, other: object) -> bool:
        return self._tally == other._tally if isinstance(other, LossAccumulator) else NotImplemented

    def __repr__(self) -> str:
        figures = ", ".join(f"{name}={value!r}" for name, value in self.result()._asdict().items())
        return f"{type(self).__name__}({figures})"


_UNIT = 2**1074
"""One, in units of the smallest positive float64."""


class _Tally(NamedTuple):
    """Sums over rows: the first three in units of ``2**-1074``, the others counts."""

    loss: int = 0
    weight: int = 0
    correct: int = 0
    rows: int = 0
    infinite: int = 0
    nan: int = 0

    def __add__(self, other: tuple[Any, ...]) -> "_Tally":
        return _Tally(*(a + b for a, b in zip(self, other, strict=True)))

    def mean_loss(self) -> float:
        if self.nan:
            return math.nan
        if self.infinite:
            return math.inf
        return _quotient(self.loss, self.weight) if self.weight else 0.0


def _quotient(a: int, b: int) -> float:
    """The float64 nearest to a quotient of integers: Python rounds it once."""
    try:
        return a / b
    except OverflowError:
        return math.inf


def _exp(x: float) -> float:
    try:
        return math.exp(x)
    except OverflowError:
        return math.inf
