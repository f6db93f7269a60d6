"""Distillation from a teacher of whom only the most probable classes are known."""

from __future__ import annotations

from numpy.typing import ArrayLike

from .. import _core
from .._calls import calls
from .results import FloatArray, Loss, LossGrad, Reduction

__all__ = ["topk_kl_divergence", "topk_kl_divergence_with_grad"]


@calls(_core.topk_kl_divergence, grad_output=None)
def topk_kl_divergence(
    logits: ArrayLike,
    target: tuple[ArrayLike, ArrayLike],
    *,
    sample_weight: ArrayLike | None = None,
    ignore_index: int | None = -100,
    temperature: float = 1.0,
    softcap: float | None = None,
    axis: int = -1,
    reduction: Reduction = "mean",
) -> Loss:
    """Kullback-Leibler divergence of a student from a teacher of whom the ``k`` most probable classes are known.

    With ``s = softmax(z)`` of the student's logits ``z``, the teacher's probabilities ``t_j`` of the known classes
    ``K``, and what both leave to all other classes together, the tail, as one outcome more::

        loss = sum_{j in K} t_j ln(t_j / s_j) + t_tail ln(t_tail / s_tail)
        t_tail = 1 - sum_{j in K} t_j              s_tail = sum_{k not in K} s_k

    It is a lower bound of the divergence of the whole distributions, and 0 where the student agrees on all that is
    known.

    Parameters
    ----------
    logits : array_like, shape (..., c)
        Those of the student, as in `softmax_cross_entropy`.
    target : tuple of array_like
        The teacher's classes, integers in ``[0, c)``, and their probabilities, floats: both in the shape of `logits`
        but for the class axis, which has any length ``k``. Of log-probabilities write ``numpy.exp(logprob)``. They sum
        to at most 1, but for rounding; a class may occur more than once, then its probabilities add. A pair whose class
        is `ignore_index` counts for nothing.
    sample_weight : array_like, shape (...), optional
        Non-negative weight of each row, as in `softmax_cross_entropy`.
    ignore_index : int or None, default -100
        A row all of whose classes are this one has no loss, no weight and zero gradient.
    temperature : float, default 1.0
        Positive number that the student's logits are divided by. The teacher's probabilities are to be those at the
        same temperature; Hinton et al. [1]_ multiply the loss by ``temperature ** 2``, which keeps the size of its
        gradient.
    softcap : float, optional
        Positive bound of the student's logits, before `temperature`, as in `softmax_cross_entropy`.
    axis : int, default -1
        The class axis of `logits` and of both arrays of `target`.
    reduction : {"mean", "sum", "none"}, default "mean"
        "none" gives ``s_i loss_i`` for each row, "sum" their sum, "mean" the sum divided by that of the weights of the
        rows that count.

    Returns
    -------
    float or ndarray
        The loss in nats, as from `softmax_cross_entropy`.

    Raises
    ------
    IndexError
        If a class is neither in ``[0, c)`` nor `ignore_index`; the message names its row.
    ValueError
        If a shape does not fit, a probability is negative or not finite, those of a row sum to more than 1, an option
        is out of its range, or `reduction` is unknown.
    TypeError
        If `logits` are not real numbers of one of these dtypes, or `target` is no tuple of integers and floats.

    See Also
    --------
    topk_kl_divergence_with_grad : the loss together with its gradient.
    softmax_cross_entropy : with the same target, less the teacher's entropy and without the tail.
    kl_divergence : of whole distributions, in both directions, also from logits.

    Notes
    -----
    Without the tail a student learns to give all of its probability to the known classes; with it, no more of it than
    the teacher does. The tail is summed by itself, not as 1 less the known, and no term of the sum is negative, so that
    the loss keeps its digits where student and teacher nearly agree.

    ``t_j > 0`` where ``s_j = 0``, or a tail where the student has none, costs +inf. Where the known classes are all
    there are, there is no tail. Infinite logits and NaN are as in `softmax_cross_entropy`.

    References
    ----------
    .. [1] G. Hinton, O. Vinyals and J. Dean, "Distilling the Knowledge in a Neural Network", 2015, arXiv:1503.02531.

    Examples
    --------
    >>> import numpy as np
    >>> import xentrs as xe
    >>> teacher, student = np.array([[4.0, 2.0, 1.0, 0.0]]), np.array([[3.0, 2.5, 0.0, 0.0]])
    >>> t = xe.softmax(teacher)
    >>> top = np.argsort(-t)[:, :2]
    >>> round(xe.topk_kl_divergence(student, (top, np.take_along_axis(t, top, -1))), 4)
    0.1588
    >>> print(xe.kl_divergence(teacher, student, from_logits=True).round(4))
    [0.1651]
    """


@calls(_core.topk_kl_divergence, order=1)
def topk_kl_divergence_with_grad(
    logits: ArrayLike,
    target: tuple[ArrayLike, ArrayLike],
    *,
    sample_weight: ArrayLike | None = None,
    ignore_index: int | None = -100,
    temperature: float = 1.0,
    softcap: float | None = None,
    axis: int = -1,
    reduction: Reduction = "mean",
    grad_output: ArrayLike | None = None,
    out: FloatArray | None = None,
) -> LossGrad:
    """Divergence from a teacher's most probable classes, and its gradient with respect to the student's logits.

    For a known class ``j`` and any other class ``k``::

        d loss / d z_j = s_j - t_j          d loss / d z_k = s_k (s_tail - t_tail) / s_tail

    divided by `temperature`, times the slope of `softcap`, and scaled by sample weight and reduction.

    Parameters
    ----------
    logits, target, sample_weight, ignore_index, temperature, softcap, axis, reduction
        As in `topk_kl_divergence`.
    grad_output : float or array_like, optional
        What the gradient is multiplied by, as in `softmax_cross_entropy_with_grad`.
    out : ndarray, optional
        Where to write the gradient, as in `softmax_cross_entropy_with_grad`.

    Returns
    -------
    LossGrad
        The named tuple ``(loss, grad)``: the loss as from `topk_kl_divergence`, the gradient in the shape and dtype of
        the logits, or `out`. The gradient for "none" is that of the sum.

    Raises
    ------
    IndexError, ValueError, TypeError
        As in `topk_kl_divergence`, or if `out` does not fit. Nothing is written to `out` then.

    See Also
    --------
    topk_kl_divergence : the loss alone, with the meaning of each option.

    Notes
    -----
    The gradient is finite where the loss is +inf.

    Examples
    --------
    >>> import numpy as np
    >>> import xentrs as xe
    >>> student = np.array([[3.0, 2.5, 0.0, 0.0]])
    >>> loss, grad = xe.topk_kl_divergence_with_grad(student, ([[0, 1]], [[0.8, 0.15]]))
    >>> grad.round(4)
    array([[-0.2139,  0.2055,  0.0042,  0.0042]])
    """
