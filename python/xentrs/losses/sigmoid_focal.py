"""The focal loss of independent labels: cross-entropy with its eye on what is answered badly."""

from __future__ import annotations

from numpy.typing import ArrayLike

from .. import _core
from .._calls import calls
from .results import HESS, Curvature, FloatArray, Loss, LossGrad, LossGradHess, Reduction

__all__ = ["sigmoid_focal_loss", "sigmoid_focal_loss_with_grad", "sigmoid_focal_loss_with_hess"]


@calls(_core.sigmoid_focal_loss)
def sigmoid_focal_loss(
    logits: ArrayLike,
    target: ArrayLike,
    *,
    gamma: float = 2.0,
    gamma_neg: float | None = None,
    clip: float = 0.0,
    alpha: float | None = None,
    pos_weight: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    reduction: Reduction = "mean",
) -> Loss:
    """Focal loss between binary targets and the sigmoid of logits: well-answered questions hardly count.

    An element with logit ``x`` and target ``t`` costs::

        loss = -b a t' (1 - p)^g ln p - (1 - a) (1 - t') p^g ln(1 - p)         p = sigmoid(x), g = gamma
        t'   = (1 - e) t + e / 2                                               b = pos_weight, e = label_smoothing

    where ``a`` is `alpha`; without it the factors ``a`` and ``1 - a`` are both 1. With ``g = 0`` the loss is
    `sigmoid_cross_entropy`, bit for bit. The asymmetric loss [2]_ of many labels, few of which hold, has in the place
    of the negative term::

        -(1 - a) (1 - t') r^h ln(1 - r)         r = max(p - clip, 0), h = gamma_neg

    Parameters
    ----------
    logits, target
        As in `sigmoid_cross_entropy`.
    gamma : float in [0, 1e9], default 2.0
        The focus: how fast the weight of a question falls as its answer gets better.
    gamma_neg : float in [0, 1e9] or None, default None
        The focus of negative answers, where it is another one; the authors of [2]_ take 4, with `gamma` 0 or 1.
    clip : float in [0, 1], default 0.0
        A margin: a negative answer of at most this probability costs nothing; the authors of [2]_ take 0.05.
    alpha : float in [0, 1] or None, default None
        Weight of the positive answers, as ``1 - alpha`` is that of the negative ones. None weighs neither.
    pos_weight, sample_weight, ignore_index, label_smoothing, reduction
        As in `sigmoid_cross_entropy`. "mean" divides by the sum of the sample weights, which focus and balance have no
        part in.

    Returns
    -------
    float or ndarray
        The loss in nats, as from `sigmoid_cross_entropy`.

    Raises
    ------
    ValueError, TypeError
        As in `sigmoid_cross_entropy`, or if `gamma`, `gamma_neg`, `clip` or `alpha` is out of its range.

    See Also
    --------
    sigmoid_focal_loss_with_grad : the loss together with its gradient.
    sigmoid_focal_loss_with_hess : and with the diagonal of its Hessian.
    sigmoid_cross_entropy : every question counts.

    Notes
    -----
    Of a soft target both terms are taken, with the weights ``t'`` and ``1 - t'``. Infinite logits, NaN, ignored and
    weightless elements are as in `sigmoid_cross_entropy`. The powers are taken in the exponent, and a confident right
    answer keeps its cost, of relative size ``exp(-(g + 1) |x|)``, down to the smallest numbers of the type. With `clip`
    no negative answer costs more than ``-ln(clip)``, not even at an infinite logit.

    Against ``torchvision.ops.sigmoid_focal_loss``: `alpha` is off unless it is given, where torchvision takes 0.25; the
    reduction is "mean" unless it is given, there "none". torchvision's factor for a soft target is ``1 - p_t`` with
    ``p_t = p t + (1 - p) (1 - t)``, a mixture; for targets 0 and 1 both are the loss of [1]_.

    References
    ----------
    .. [1] T.-Y. Lin, P. Goyal, R. Girshick, K. He and P. Dollár, "Focal Loss for Dense Object Detection", ICCV 2017.
       https://doi.org/10.1109/ICCV.2017.324
    .. [2] T. Ridnik, E. Ben-Baruch, N. Zamir, A. Noy, I. Friedman, M. Protter and L. Zelnik-Manor, "Asymmetric Loss for
       Multi-Label Classification", ICCV 2021, arXiv:2009.14119.

    Examples
    --------
    The first two answers are right, and cost little; the third is wrong:

    >>> import xentrs as xe
    >>> xe.sigmoid_focal_loss([2.0, -1.0, 0.5], [1, 0, 0], reduction="none").round(4)
    array([0.0018, 0.0227, 0.3774])
    >>> round(xe.sigmoid_focal_loss([2.0, -1.0, 0.5], [1, 0, 0], gamma=2.0, alpha=0.25), 4)
    0.1002

    Of an asymmetric loss the negative answers count less, and below the margin not at all:

    >>> asymmetric = dict(gamma=1.0, gamma_neg=4.0, clip=0.05, reduction="none")
    >>> xe.sigmoid_focal_loss([2.0, -1.0, -3.0], [1, 0, 0], **asymmetric).round(4)
    array([0.0151, 0.0006, 0.    ])
    """


@calls(_core.sigmoid_focal_loss, order=1)
def sigmoid_focal_loss_with_grad(
    logits: ArrayLike,
    target: ArrayLike,
    *,
    gamma: float = 2.0,
    gamma_neg: float | None = None,
    clip: float = 0.0,
    alpha: float | None = None,
    pos_weight: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    reduction: Reduction = "mean",
    grad_output: ArrayLike | None = None,
    out: FloatArray | None = None,
) -> LossGrad:
    """Sigmoid focal loss and its gradient with respect to the logits, in one sweep.

    With ``q = 1 - p`` and the weights ``A = b a t'`` and ``B = (1 - a) (1 - t')`` of the answers::

        d loss / d x = B p^g (p - g q ln q) - A q^g (q - g p ln p)

    With `gamma_neg` and `clip` the negative term is ``B p q r^h (1 / (1 - r) - h ln(1 - r) / r)``, 0 within the margin:
    the focus is part of the derivative.

    It is scaled by the sample weight, and for "mean" divided by their sum. The gradient for "none" is that of the sum.

    Parameters
    ----------
    logits, target, gamma, gamma_neg, clip, alpha, pos_weight, sample_weight, ignore_index, label_smoothing, reduction
        As in `sigmoid_focal_loss`.
    grad_output : float or array_like, optional
        What the gradient is multiplied by, as in `sigmoid_cross_entropy_with_grad`.
    out : ndarray, optional
        Where to write the gradient, as in `sigmoid_cross_entropy_with_grad`.

    Returns
    -------
    LossGrad
        The named tuple ``(loss, grad)``: the loss as from `sigmoid_focal_loss`, the gradient in the shape and dtype of
        the logits. ``grad`` is `out` where that was given.

    Raises
    ------
    ValueError, TypeError
        As in `sigmoid_focal_loss`, or if `out` does not fit. Nothing is written to `out` then.

    See Also
    --------
    sigmoid_focal_loss : the loss alone, with the meaning of each option.

    Notes
    -----
    The gradient is finite for every `gamma` and every logit that is not NaN, infinite ones included. For a target of 0
    or 1 it has the sign of the gradient of `sigmoid_cross_entropy` everywhere.

    Examples
    --------
    >>> import xentrs as xe
    >>> loss, grad = xe.sigmoid_focal_loss_with_grad([2.0, -1.0, 0.5], [1, 0, 0], reduction="sum")
    >>> round(loss, 4)
    0.4019
    >>> grad.round(4)
    array([-0.0049,  0.0526,  0.5262])
    """


@calls(_core.sigmoid_focal_loss, order=2, hess=HESS)
def sigmoid_focal_loss_with_hess(
    logits: ArrayLike,
    target: ArrayLike,
    *,
    gamma: float = 2.0,
    gamma_neg: float | None = None,
    clip: float = 0.0,
    alpha: float | None = None,
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
    """Sigmoid focal loss, its gradient and the diagonal of its Hessian, in one sweep.

    With the weights ``A`` and ``B`` of `sigmoid_focal_loss_with_grad` the second derivative of an element is::

        A q^g p [(2 g + 1) q - g (g p - q) ln p] + B p^g q [(2 g + 1) p - g (g q - p) ln q]

    scaled as the gradient is. With `gamma_neg` and `clip` the negative term is the derivative of theirs.

    Parameters
    ----------
    logits, target, gamma, gamma_neg, clip, alpha, pos_weight, sample_weight, ignore_index, label_smoothing, reduction
        As in `sigmoid_focal_loss`.
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
        What stands for the second derivative. "exact" is that, of either sign. "convex" is that of
        cross-entropy with the weights that the gradient has, which is never negative. "gradient" is the size of the
        gradient: a Newton step is then at most 1, which boosting of a focal loss needs.

    Returns
    -------
    LossGradHess
        The named tuple ``(loss, grad, hess)``: loss and gradient as from `sigmoid_focal_loss_with_grad`, the diagonal
        of the Hessian in the shape and dtype of the gradient.

    Raises
    ------
    ValueError, TypeError
        As in `sigmoid_focal_loss`, or if `out` does not fit. Nothing is written to `out` then.

    See Also
    --------
    sigmoid_focal_loss_with_grad : without the Hessian.

    Notes
    -----
    A focal loss is not convex: where an answer is far on the wrong side its second derivative is negative, and tends to
    0. Newton steps and boosting want a floor under it.

    Examples
    --------
    >>> import xentrs as xe
    >>> _, _, hess = xe.sigmoid_focal_loss_with_hess([2.0, -1.0, -9.0], [1, 0, 1], reduction="sum")
    >>> hess.round(4)
    array([ 0.0127,  0.1106, -0.0016])
    """
