"""Losses of labels that are independent of each other: the sigmoid family."""

from __future__ import annotations

from numpy.typing import ArrayLike

from .. import _core
from .._calls import calls
from .results import HESS, Curvature, FloatArray, Loss, LossGrad, LossGradHess, Reduction

__all__ = [
    "sigmoid_cross_entropy",
    "sigmoid_cross_entropy_with_grad",
    "sigmoid_cross_entropy_with_hess",
]


@calls(_core.sigmoid_cross_entropy)
def sigmoid_cross_entropy(
    logits: ArrayLike,
    target: ArrayLike,
    *,
    pos_weight: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    reduction: Reduction = "mean",
) -> Loss:
    """Cross-entropy between binary targets and the sigmoid of logits: each element is a yes-or-no question of its own.

    An element with logit ``x`` and target ``t`` costs::

        loss = -b t' ln p - (1 - t') ln(1 - p)                  p = sigmoid(x) = 1 / (1 + exp(-x))
             = b t' softplus(-x) + (1 - t') softplus(x)         b = pos_weight
        t'   = (1 - e) t + e / 2                                e = label_smoothing

    which is the logistic loss, and with ``c`` elements in a row the loss of ``c`` independent labels.

    Parameters
    ----------
    logits : array_like, shape (...)
        Log-odds ``ln(p / (1 - p))`` of the positive answer: float16, bfloat16, float32 or float64. Integers and lists
        are taken as float64.
    target : array_like, shape (...)
        The answers, in the shape of `logits`: booleans, the integers 0 and 1, or floats in [0, 1].
    pos_weight : array_like, optional
        Non-negative weight ``b`` of the positive answers: a scalar, one for each position of the last axis, or what
        NumPy's rules repeat to the shape of `logits`. Of channels that are on the second axis of four it is of shape
        (c, 1, 1).
    sample_weight : array_like, optional
        Non-negative weights ``s``: one for each element, in the shape of `logits`, or what NumPy's rules repeat to it.
        An array of one axis less has one for each row: its shape is that of `logits` without the last axis, or what is
        repeated to that. So it means the same where there are as many rows as labels.
    ignore_index : int or None, default None
        An element with this target has no loss, no weight and zero gradient, whatever its logit. It may be outside of
        [0, 1], as -100 or -1 are, and a floating target may hold it too. None ignores nothing.
    label_smoothing : float in [0, 1], default 0.0
        Share of each target that is spread evenly over both answers.
    reduction : {"mean", "sum", "none"}, default "mean"
        "none" gives ``s loss`` for each element, "sum" their sum, "mean" the sum divided by the sum of the sample
        weights over all elements that are not ignored.

    Returns
    -------
    float or ndarray
        The loss in nats: a float for "mean" and "sum"; for "none" an array in the shape and dtype of the logits
        (float32 where that is half precision).

    Raises
    ------
    ValueError
        If a shape does not fit, a target is outside [0, 1] and not `ignore_index`, a weight is negative or not finite,
        `label_smoothing` is outside [0, 1], or `reduction` is unknown.
    TypeError
        If `logits` are not real numbers of one of these dtypes, or `target` is no booleans, integers or floats.

    See Also
    --------
    sigmoid_cross_entropy_with_grad : the loss together with its gradient.
    sigmoid_cross_entropy_with_hess : and with the diagonal of its Hessian.
    sigmoid_focal_loss : the same, with its eye on the questions that are answered badly.
    binary_cross_entropy : the same, from probabilities.
    softmax_cross_entropy : classes that exclude each other.

    Notes
    -----
    A term with the factor zero is zero even at an infinite logit: ``x = +inf`` costs nothing where ``t = 1``, and
    +inf where ``t < 1``. A NaN costs NaN, unless its sample weight is 0. If no element has weight the mean is 0.

    Against ``torch.nn.functional.binary_cross_entropy_with_logits``: "mean" divides by the sum of the weights, not by
    the number of elements, so scaling all sample weights does not change it. Infinite logits give the limit, not NaN.
    Targets may be integers or booleans, and some may be ignored.

    References
    ----------
    .. [1] M. Mächler, "Accurately Computing ``log(1 - exp(-|a|))``", vignette of the R package Rmpfr, 2012: on
       ``log(1 + exp(x))``, the softplus.

    Examples
    --------
    >>> import xentrs as xe
    >>> xe.sigmoid_cross_entropy([2.0, -1.0, 0.5], [1, 0, 0], reduction="none").round(4)
    array([0.1269, 0.3133, 0.9741])
    >>> round(xe.sigmoid_cross_entropy([2.0, -1.0, 0.5], [1, 0, 0]), 4)
    0.4714

    Positive answers are rare, so each counts three times:

    >>> round(xe.sigmoid_cross_entropy([2.0, -1.0, 0.5], [1, 0, 0], pos_weight=3.0), 4)
    0.556

    The last answer is not known:

    >>> round(xe.sigmoid_cross_entropy([2.0, -1.0, 0.5], [1, 0, -1], ignore_index=-1), 4)
    0.2201
    """


@calls(_core.sigmoid_cross_entropy, order=1)
def sigmoid_cross_entropy_with_grad(
    logits: ArrayLike,
    target: ArrayLike,
    *,
    pos_weight: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    reduction: Reduction = "mean",
    grad_output: ArrayLike | None = None,
    out: FloatArray | None = None,
) -> LossGrad:
    """Sigmoid cross-entropy and its gradient with respect to the logits, in one sweep.

    The gradient of an element is::

        d loss / d x = (1 - t') sigmoid(x) - b t' sigmoid(-x)

    which without options is ``sigmoid(x) - t``. It is scaled by the sample weight, and for "mean" divided by
    their sum. The gradient for "none" is that of the sum.

    Parameters
    ----------
    logits, target, pos_weight, sample_weight, ignore_index, label_smoothing, reduction
        As in `sigmoid_cross_entropy`.
    grad_output : float or array_like, optional
        What the gradient is multiplied by, in the same sweep: the gradient of a later function with respect to the
        loss, of any sign. A number, or one for each element: an array that NumPy's rules repeat to the shape of the
        loss for "none", so that one for each row is ``grad_output[:, numpy.newaxis]``. It leaves the loss as it is.
        An element whose gradient is multiplied by 0 has the gradient 0, as has one that does not count.
    out : ndarray, optional
        Where to write the gradient: a writable array with the shape and dtype of the logits, or of dtype float32.
        ``out=logits`` replaces the logits by their gradient; any other overlap with an input is refused.

    Returns
    -------
    LossGrad
        The named tuple ``(loss, grad)``: the loss as from `sigmoid_cross_entropy`, the gradient in the shape and dtype
        of the logits. ``grad`` is `out` where that was given.

    Raises
    ------
    ValueError, TypeError
        As in `sigmoid_cross_entropy`, or if `out` does not fit. Nothing is written to `out` then.

    See Also
    --------
    sigmoid_cross_entropy : the loss alone, with the meaning of each option.

    Notes
    -----
    The form above, unlike ``sigmoid(x) - t``, does not cancel where the target is 0 or 1: a confident right answer
    keeps a gradient of relative size ``exp(-|x|)``. An infinite logit has a finite gradient, a NaN that counts has NaN,
    and an element that is ignored or has zero weight has zero.

    Examples
    --------
    >>> import xentrs as xe
    >>> loss, grad = xe.sigmoid_cross_entropy_with_grad([2.0, -1.0, 0.5], [1, 0, 0], reduction="sum")
    >>> round(loss, 4)
    1.4143
    >>> grad.round(4)
    array([-0.1192,  0.2689,  0.6225])
    """


@calls(_core.sigmoid_cross_entropy, order=2, hess=HESS)
def sigmoid_cross_entropy_with_hess(
    logits: ArrayLike,
    target: ArrayLike,
    *,
    pos_weight: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    reduction: Reduction = "mean",
    out: FloatArray | None = None,
    hess_out: FloatArray | None = None,
    hess_scale: float = 1.0,
    hess_floor: float | None = None,
    curvature: Curvature = "exact",
) -> LossGradHess:
    """Sigmoid cross-entropy, its gradient and the diagonal of its Hessian, in one sweep.

    The second derivative of an element is::

        d^2 loss / d x^2 = (b t' + 1 - t') sigmoid(x) sigmoid(-x)

    scaled as the gradient is. As no element looks at another one, the rest of the Hessian is zero.

    Parameters
    ----------
    logits, target, pos_weight, sample_weight, ignore_index, label_smoothing, reduction
        As in `sigmoid_cross_entropy`.
    out : ndarray, optional
        Where to write the gradient, as in `sigmoid_cross_entropy_with_grad`.
    hess_out : ndarray, optional
        Where to write the Hessian: a writable array of the shape and dtype of the gradient, which overlaps neither that
        nor an input.
    hess_scale : float, default 1.0
        Positive factor of the Hessian, such as the ``c / (c - 1)`` of LightGBM and the 2 of XGBoost.
    hess_floor : float, optional
        Least number of the Hessian, after scaling: non-negative, and what keeps a Newton step finite where the loss is
        flat. What does not count (ignored, or of weight 0) keeps 0.
    curvature : {"exact", "convex", "gradient"}, default "exact"
        What stands for the second derivative. "exact" is that, and here the same as "convex". "convex" is that of
        cross-entropy with the weights that the gradient has, which is never negative. "gradient" is the size of the
        gradient: a Newton step is then at most 1, which boosting of a focal loss needs.

    Returns
    -------
    LossGradHess
        The named tuple ``(loss, grad, hess)``: loss and gradient as from `sigmoid_cross_entropy_with_grad`, the
        diagonal of the Hessian in the shape and dtype of the gradient.

    Raises
    ------
    ValueError, TypeError
        As in `sigmoid_cross_entropy`, or if `out` does not fit. Nothing is written to `out` then.

    See Also
    --------
    sigmoid_cross_entropy_with_grad : without the Hessian.

    Notes
    -----
    It is never negative, keeps the relative size ``exp(-|x|)`` of a confident answer, and is 0 at an infinite logit.
    Custom objectives of gradient boosting want gradient and Hessian of each element: take ``reduction="sum"``.

    Examples
    --------
    >>> import xentrs as xe
    >>> _, grad, hess = xe.sigmoid_cross_entropy_with_hess([2.0, -1.0, 0.5], [1, 0, 0], reduction="sum")
    >>> grad.round(4)
    array([-0.1192,  0.2689,  0.6225])
    >>> hess.round(4)
    array([0.105 , 0.1966, 0.235 ])
    """
