"""What a model's logits say, row by row."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _core
from .._calls import calls
from ..losses import FloatArray

__all__ = ["SoftmaxStats", "softmax_stats"]


class SoftmaxStats(NamedTuple):
    """Statistics of the softmax of logits, as `softmax_stats` returns them: arrays with one number a row."""

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

    weight: NDArray[np.float64]
    """The sample weight; 0 for an ignored row. It is float64, whatever the logits."""

    confidence: FloatArray
    """The largest probability of the softmax; NaN where no distribution is defined."""


_softmax_stats_of: Callable[[Any], SoftmaxStats] = partial(tuple.__new__, SoftmaxStats)


@calls(_core.softmax_stats, returns=_softmax_stats_of)
def softmax_stats(
    logits: ArrayLike,
    target: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    ignore_index: int | None = -100,
    axis: int = -1,
) -> SoftmaxStats:
    """Loss, log-sum-exp, entropy, prediction and confidence of every row, from one sweep over the logits.

    For a row of logits ``z`` with the target class ``y`` and ``p = softmax(z)``::

        loss    = lse(z) - z_y                    lse(z) = ln sum_k exp(z_k)
        entropy = -sum_k p_k ln p_k               argmax = the first k with the largest z_k
        confidence = p_argmax

    Parameters
    ----------
    logits : array_like, shape (..., c)
        Unnormalised log-probabilities: float16, bfloat16, float32 or float64. Integers and lists are taken as float64.
        Of two classes, also the log-odds of the second alone, of shape (n,): they are the logits ``[0, z]``.
    target : array_like of int, shape (...)
        Classes in ``[0, c)``, in the shape of `logits` without the class axis; of log-odds their shape, (n,). Of two
        classes they may be boolean.
    sample_weight : array_like, shape (...), optional
        Non-negative weight of each row, or what NumPy's rules repeat to these. It does not enter the losses; it is
        handed on as `weight`.
    ignore_index : int or None, default -100
        A row with this class has loss 0 and weight 0. None ignores nothing.
    axis : int, default -1
        The class axis of `logits`.

    Returns
    -------
    SoftmaxStats
        The named tuple ``(loss, logsumexp, entropy, correct, argmax, weight, confidence)`` of arrays in the shape of
        `target`: floats in the dtype of the logits (float32 where that is half precision), but `weight` float64,
        `correct` boolean, `argmax` int64.

    Raises
    ------
    IndexError
        If a class is neither in ``[0, c)`` nor `ignore_index`; the message names its row.
    ValueError
        If a shape does not fit, a weight is negative or not finite, or `axis` does not exist.
    TypeError
        If `logits` are not real numbers of one of these dtypes, or `target` is not integers.

    Warns
    -----
    UserWarning
        If all rows, of which there are several, are distributions: then probabilities were given for logits.

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
    NaN, several +inf or nothing but -inf, loss, entropy and confidence are NaN and argmax is -1; the log-sum-exp is
    that of `logsumexp`.

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
    >>> stats.confidence.round(4)
    array([0.6652, 0.9094, 0.3333])

    The log-odds of a binary model, which is sure of its second answer, and wrong:

    >>> xe.softmax_stats([2.0, -5.0], [True, True]).loss.round(4)
    array([0.1269, 5.0067])
    """
