"""Whether a model is as sure as it is right."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._arrays import read, two_columns
from .._calls import readable
from .._numbers import positive, positive_integer
from ..losses import softmax_cross_entropy
from .reliability import bin_numbers
from .rows import softmax_stats

__all__ = ["expected_calibration_error", "surprise"]


@readable
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
        Unnormalised log-probabilities; of probabilities `p` pass ``numpy.log(p)``. Of two classes, also the log-odds of
        the second alone, of shape (n,): they are the logits ``[0, z]``.
    target : array_like of int, shape (...)
        Classes in ``[0, c)``; of two they may be boolean.
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

    Warns
    -----
    UserWarning
        As in `softmax_stats`.

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

    The same of log-odds:

    >>> round(xe.expected_calibration_error(logits[:, 1] - logits[:, 0], [False, False, True]), 4)
    0.2333
    """
    n_bins, temperature = positive_integer("n_bins", n_bins), positive("temperature", temperature)
    stats = softmax_stats(logits, target, sample_weight=sample_weight, ignore_index=ignore_index)
    counts = stats.weight > 0
    if (stats.argmax[counts] == -1).any():
        return math.nan
    confidence: NDArray[Any] = stats.confidence
    if temperature != 1.0:
        if np.ndim(logits) == np.ndim(stats.argmax):  # log-odds
            logits = two_columns(read(logits, "logits"))
        confidence = np.exp(-surprise(logits, stats.argmax, temperature))
    confidence = confidence[counts].astype(np.float64)
    if not confidence.size:
        return 0.0
    weight = stats.weight[counts]
    weight /= weight.max()  # keeps the sum finite
    _, bins = np.unique(bin_numbers(confidence, n_bins), return_inverse=True)
    gaps = np.bincount(bins, weight * (stats.correct[counts] - confidence))
    return float(np.abs(gaps).sum() / weight.sum())


def surprise(logits: ArrayLike, argmax: NDArray[np.int64], temperature: float) -> NDArray[np.float64]:
    """Minus the logarithm of the largest probability of each row at a temperature; 0 where none is defined."""
    loss: Any = softmax_cross_entropy(logits, argmax, ignore_index=-1, temperature=temperature, reduction="none")
    surprises: NDArray[np.float64] = loss.astype(np.float64)
    return surprises
