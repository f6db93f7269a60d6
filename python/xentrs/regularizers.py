"""Penalties on predictions: what is added to a loss so that neighbours, or groups, are treated alike.

As for the losses there are two functions for each: ``f(...)`` gives the penalty, ``f_with_grad(...)`` the pair
``(loss, grad)``, whose ``loss`` is the penalty.
"""

from __future__ import annotations

from typing import Literal

from numpy.typing import ArrayLike

from . import _core
from ._calls import calls
from .losses import FloatArray, Loss, LossGrad, Reduction

__all__ = ["js_smoothness", "js_smoothness_with_grad", "parity_penalty", "parity_penalty_with_grad"]


@calls(_core.js_smoothness)
def js_smoothness(logits: ArrayLike, *, segments: ArrayLike | None = None, reduction: Reduction = "mean") -> Loss:
    """Jensen-Shannon divergence of the predictions at neighbouring positions: how much a sequence flickers.

    Neighbouring positions with the distributions ``p`` and ``q``, the softmax of their logits, cost::

        JS(p, q) = KL(p | m) / 2 + KL(q | m) / 2        m = (p + q) / 2

    which is 0 for equal distributions and ``ln 2`` for those that have no class in common [1]_.

    Parameters
    ----------
    logits : array_like, shape (..., length, c)
        Logits of sequences, the position on the last axis but one, the class on the last: float16, bfloat16, float32 or
        float64. Integers and lists are taken as float64.
    segments : array_like of int, shape (..., length), optional
        The segment of each position. Only neighbours of the same segment count, so that what is cut may change.
    reduction : {"mean", "sum", "none"}, default "mean"
        "none" gives the divergence of each pair ``(i, i + 1)``, "sum" their sum, "mean" the sum divided by the number
        of pairs that count.

    Returns
    -------
    float or ndarray
        The divergence in nats: a float for "mean" and "sum"; for "none" an array of shape ``(..., length - 1)`` in the
        dtype of the logits (float32 where that is half precision), 0 for pairs that do not count.

    Raises
    ------
    ValueError
        If `logits` have less than two dimensions, the shape of `segments` does not fit, or `reduction` is unknown.
    TypeError
        If `logits` are not real numbers of one of these dtypes, or `segments` is not integers.

    See Also
    --------
    js_smoothness_with_grad : the penalty together with its gradient.

    Notes
    -----
    The sum is taken of terms that are never negative, in ``tanh`` of half the log-ratio ``ln(p_k / q_k)``, which comes
    from the difference of the logits. So nearly equal neighbours, whose divergence is of the second order in their
    difference, keep its digits, and equal ones cost exactly 0.

    A class with logits of -inf at both positions takes no part. One logit of +inf takes all the probability. A NaN,
    several +inf or nothing but -inf at a position makes the pairs that it belongs to NaN, and no others. Without a pair
    that counts the penalty is 0.

    References
    ----------
    .. [1] J. Lin, "Divergence measures based on the Shannon entropy", IEEE Transactions on Information Theory 37(1),
       1991. https://doi.org/10.1109/18.61115

    Examples
    --------
    >>> import numpy as np
    >>> import xentrs as xe
    >>> logits = np.log([[0.5, 0.5], [0.5, 0.5], [0.9, 0.1]])
    >>> xe.js_smoothness(logits, reduction="none").round(4)
    array([0.    , 0.1017])
    >>> round(xe.js_smoothness(logits), 4)
    0.0509

    The last position belongs to another segment:

    >>> xe.js_smoothness(logits, segments=[0, 0, 1])
    0.0
    """


@calls(_core.js_smoothness, order=1)
def js_smoothness_with_grad(
    logits: ArrayLike,
    *,
    segments: ArrayLike | None = None,
    reduction: Reduction = "mean",
    grad_output: ArrayLike | None = None,
    out: FloatArray | None = None,
) -> LossGrad:
    """Jensen-Shannon divergence of neighbouring predictions, and its gradient with respect to the logits.

    A position with the distribution ``p`` gets from each neighbour ``q`` that counts, with ``m = (p + q) / 2``::

        d JS / d z_k = p_k (g_k - sum_j p_j g_j)        g_k = ln(p_k / m_k) / 2

    divided by the number of pairs for "mean". The gradient for "none" is that of the sum.

    Parameters
    ----------
    logits, segments, reduction
        As in `js_smoothness`.
    grad_output : float or array_like, optional
        What the gradient is multiplied by, in the same sweep: a number of any sign, or one for each pair, an array that
        NumPy's rules repeat to the shape of the penalty for "none".
    out : ndarray, optional
        Where to write the gradient: a writable array with the shape and dtype of the logits, or of dtype float32.
        ``out=logits`` replaces the logits by their gradient; any other overlap with an input is refused.

    Returns
    -------
    LossGrad
        The named tuple ``(loss, grad)``: the penalty as from `js_smoothness`, the gradient in the shape and dtype of
        the logits. ``grad`` is `out` where that was given.

    Raises
    ------
    ValueError, TypeError
        As in `js_smoothness`, or if `out` does not fit. Nothing is written to `out` then.

    See Also
    --------
    js_smoothness : the penalty alone, with the meaning of each option.

    Notes
    -----
    A position without a neighbour that counts has zero gradient, whatever its logits. A pair whose divergence is NaN
    makes the gradient of both its positions NaN. A logit of +inf lets no gradient through.

    Examples
    --------
    >>> import numpy as np
    >>> import xentrs as xe
    >>> loss, grad = xe.js_smoothness_with_grad(np.log([[0.5, 0.5], [0.9, 0.1]]))
    >>> grad.round(4)
    array([[-0.1059,  0.1059],
           [ 0.0607, -0.0607]])
    """


@calls(_core.parity_penalty)
def parity_penalty(
    logits: ArrayLike,
    group: ArrayLike,
    *,
    target: ArrayLike | None = None,
    link: Literal["sigmoid", "identity"] = "sigmoid",
) -> float:
    """Variance of the mean predictions of groups: how unevenly a binary classifier favours them.

    With the predictions ``P = sigmoid(logits)`` and the ``n`` rows in groups of ``n_g``::

        penalty = sum_g (n_g / n) (mean_g P - mean P)^2

    which is 0 where the mean prediction is the same in every group: demographic parity [1]_. Given `target`, only the
    positive rows count: equal opportunity [2]_.

    Parameters
    ----------
    logits : array_like, shape (n,)
        Log-odds of the positive answer: float16, bfloat16, float32 or float64. Integers and lists are taken as float64.
    group : array_like, shape (n,)
        The group of each row: any number of groups, with labels of any kind, such as integers or strings.
    target : array_like, shape (n,), optional
        The true answers: booleans, or the numbers 0 and 1. Rows of 0 do not count.
    link : {"sigmoid", "identity"}, default "sigmoid"
        What makes predictions of `logits`; "identity" takes them as scores.

    Returns
    -------
    float
        The penalty: between 0 and 1/4 for probabilities, in squared units of the scores for "identity".

    Raises
    ------
    ValueError
        If a shape does not fit, a target is neither 0 nor 1, or `link` is unknown.
    TypeError
        If `logits` are not real numbers of one of these dtypes, or the labels of `group` cannot be compared.

    See Also
    --------
    parity_penalty_with_grad : the penalty together with its gradient.

    Notes
    -----
    Predictions near 1 are summed as what they lack of it, so groups of confident predictions keep the difference of
    their means. A NaN in a row that counts makes the penalty NaN, a row that does not count does no harm. Where no row
    counts the penalty is 0. For several columns, add their penalties.

    References
    ----------
    .. [1] T. Calders and S. Verwer, "Three naive Bayes approaches for discrimination-free classification", Data Mining
       and Knowledge Discovery 21, 2010.
    .. [2] M. Hardt, E. Price and N. Srebro, "Equality of Opportunity in Supervised Learning", NeurIPS 2016.

    Examples
    --------
    >>> import xentrs as xe
    >>> round(xe.parity_penalty([2.0, 1.0, -1.0, 0.0], ["a", "a", "b", "b"]), 4)
    0.0444
    >>> round(xe.parity_penalty([2.0, 1.0, -1.0, 0.0], ["a", "a", "b", "b"], target=[1, 0, 0, 1]), 4)
    0.0363
    """


@calls(_core.parity_penalty, order=1)
def parity_penalty_with_grad(
    logits: ArrayLike,
    group: ArrayLike,
    *,
    target: ArrayLike | None = None,
    link: Literal["sigmoid", "identity"] = "sigmoid",
    grad_output: ArrayLike | None = None,
    out: FloatArray | None = None,
) -> LossGrad:
    """Variance of the mean predictions of groups, and its gradient with respect to the logits.

    A row of group ``g`` that counts has the gradient::

        d penalty / d x_i = (2 / n) (mean_g P - mean P) sigmoid(x_i) sigmoid(-x_i)

    without the last two factors for ``link="identity"``.

    Parameters
    ----------
    logits, group, target, link
        As in `parity_penalty`.
    grad_output : float, optional
        What the gradient is multiplied by, in the same sweep: a number of any sign.
    out : ndarray, optional
        Where to write the gradient: a writable array with the shape and dtype of the logits, or of dtype float32.
        ``out=logits`` replaces the logits by their gradient; any other overlap with an input is refused.

    Returns
    -------
    LossGrad
        The named tuple ``(loss, grad)``: the penalty as from `parity_penalty`, the gradient in the shape and dtype of
        the logits. ``grad`` is `out` where that was given.

    Raises
    ------
    ValueError, TypeError
        As in `parity_penalty`, or if `out` does not fit. Nothing is written to `out` then.

    See Also
    --------
    parity_penalty : the penalty alone, with the meaning of each option.

    Notes
    -----
    Rows that do not count have zero gradient. A NaN in a row that counts makes the gradient of all rows that count
    NaN, as each has its part in the mean.

    Examples
    --------
    >>> import xentrs as xe
    >>> _, grad = xe.parity_penalty_with_grad([2.0, 1.0, -1.0, 0.0], ["a", "a", "b", "b"])
    >>> grad.round(4)
    array([ 0.0111,  0.0207, -0.0207, -0.0263])
    """
