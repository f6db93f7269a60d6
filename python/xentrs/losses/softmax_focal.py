"""The focal loss of classes that exclude each other."""

from __future__ import annotations

from .. import _core
from .._calls import calls
from .results import (
    HESS,
    ArrayLike,
    Curvature,
    FloatArray,
    Loss,
    LossGrad,
    LossGradHess,
    Reduction,
    Target,
)

__all__ = ["softmax_focal_loss", "softmax_focal_loss_with_grad", "softmax_focal_loss_with_hess"]


@calls(_core.softmax_focal_loss)
def softmax_focal_loss(
    logits: ArrayLike,
    target: Target,
    *,
    gamma: float = 2.0,
    class_weight: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    ignore_index: int | None = -100,
    label_smoothing: float = 0.0,
    temperature: float = 1.0,
    softcap: float | None = None,
    log_prior: ArrayLike | None = None,
    z_loss: float = 0.0,
    axis: int = -1,
    reduction: Reduction = "mean",
) -> Loss:
    """Focal loss of the softmax of logits: cross-entropy with less weight on what is right already.

    With ``p = softmax(z)``, and all else as in `softmax_cross_entropy`, a row costs::

        loss = sum_k w_k t'_k (1 - p_k)^gamma (lse(z) - z_k) + z_loss lse(z)^2

    which for a class ``y`` without options is ``-(1 - p_y)^gamma ln p_y`` [1]_. A row whose class has the probability
    0.9 counts a hundredth as much for ``gamma=2`` as in cross-entropy.

    Parameters
    ----------
    logits, target
        As in `softmax_cross_entropy`.
    gamma : float, default 2.0
        Finite and non-negative: how fast what is right loses its weight. 0 is `softmax_cross_entropy`.
    class_weight, sample_weight, ignore_index, label_smoothing
        As in `softmax_cross_entropy`.
    temperature, softcap, log_prior, z_loss, axis, reduction
        As in `softmax_cross_entropy`; "mean" divides by the same total weight, not by that of the focal terms.

    Returns
    -------
    float or ndarray
        The loss in nats, as from `softmax_cross_entropy`.

    Raises
    ------
    IndexError, ValueError, TypeError
        As in `softmax_cross_entropy`, or if `gamma` is negative or not finite.

    See Also
    --------
    softmax_focal_loss_with_grad : the loss together with its gradient.
    softmax_cross_entropy : the same without focus, and the meaning of each option.

    Notes
    -----
    ``1 - p_k`` is taken from the complement, the sum of the other probabilities, where ``p_k`` is near 1: a confident
    row keeps its digits. Where ``p_k = 1`` the term and its gradient are 0 for every positive `gamma`, the limit; where
    ``p_k = 0`` and ``t_k > 0`` the loss is +inf. Other special values are those of `softmax_cross_entropy`.

    References
    ----------
    .. [1] T.-Y. Lin, P. Goyal, R. Girshick, K. He and P. Dollár, "Focal Loss for Dense Object Detection", ICCV 2017,
       arXiv:1708.02002.

    Examples
    --------
    >>> import numpy as np
    >>> import xentrs as xe
    >>> logits = np.array([[2.0, 1.0, 0.0], [0.0, 3.0, 0.0]])
    >>> xe.softmax_focal_loss(logits, [0, 2], reduction="none").round(4)
    array([0.0457, 2.821 ])
    """


@calls(_core.softmax_focal_loss, order=1)
def softmax_focal_loss_with_grad(
    logits: ArrayLike,
    target: Target,
    *,
    gamma: float = 2.0,
    class_weight: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    ignore_index: int | None = -100,
    label_smoothing: float = 0.0,
    temperature: float = 1.0,
    softcap: float | None = None,
    log_prior: ArrayLike | None = None,
    z_loss: float = 0.0,
    axis: int = -1,
    reduction: Reduction = "mean",
    grad_output: ArrayLike | None = None,
    out: FloatArray | None = None,
) -> LossGrad:
    """Softmax focal loss and its gradient with respect to the logits.

    With ``p = softmax(z)`` and the smoothed target ``t'`` the gradient of a row is that of cross-entropy with other
    weights::

        d loss / d z_j = p_j sum_k v_k - v_j + 2 z_loss lse(z) p_j
        v_k = w_k t'_k (1 - p_k)^gamma (1 - gamma p_k ln(p_k) / (1 - p_k))

    with the factors of `softmax_cross_entropy_with_grad` for `softcap`, `temperature`, sample weight and reduction.

    Parameters
    ----------
    logits, target, gamma
        As in `softmax_focal_loss`.
    class_weight, sample_weight, ignore_index, label_smoothing
        As in `softmax_focal_loss`.
    temperature, softcap, log_prior, z_loss, axis, reduction
        As in `softmax_focal_loss`.
    grad_output : float or array_like, optional
        What the gradient is multiplied by, as in `softmax_cross_entropy_with_grad`.
    out : ndarray, optional
        Where to write the gradient, as in `softmax_cross_entropy_with_grad`.

    Returns
    -------
    LossGrad
        The named tuple ``(loss, grad)``: the loss as from `softmax_focal_loss`, the gradient in the shape and dtype of
        the logits. ``grad`` is `out` where that was given.

    Raises
    ------
    IndexError, ValueError, TypeError
        As in `softmax_focal_loss`, or if `out` does not fit. Nothing is written to `out` then.

    See Also
    --------
    softmax_focal_loss : the loss alone, with the meaning of each option.

    Notes
    -----
    For ``gamma < 1`` the power alone has an infinite slope where ``p_k = 1``; the gradient there is 0, the limit.

    Examples
    --------
    >>> import xentrs as xe
    >>> loss, grad = xe.softmax_focal_loss_with_grad([[2.0, 1.0, 0.0], [0.0, 3.0, 0.0]], [0, 2], reduction="sum")
    >>> round(loss, 4)
    2.8667
    >>> grad.round(4)
    array([[-0.0983,  0.0719,  0.0264],
           [ 0.0534,  1.0723, -1.1257]])
    """


@calls(_core.softmax_focal_loss, order=2, hess=HESS, softcap=None, z_loss=0.0)
def softmax_focal_loss_with_hess(
    logits: ArrayLike,
    target: Target,
    *,
    gamma: float = 2.0,
    class_weight: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    ignore_index: int | None = -100,
    label_smoothing: float = 0.0,
    temperature: float = 1.0,
    log_prior: ArrayLike | None = None,
    axis: int = -1,
    reduction: Reduction = "mean",
    out: FloatArray | None = None,
    hess_out: FloatArray | None = None,
    hess_scale: float = 1.0,
    hess_floor: float | None = None,
    curvature: Curvature = "exact",
) -> LossGradHess:
    """Softmax focal loss, its gradient, and the diagonal of its Hessian with respect to the logits.

    With ``p = softmax(z / temperature + log_prior)``, the weights ``v`` of `softmax_focal_loss_with_grad`,
    ``V = sum_k v_k`` and::

        b_k = w_k t'_k gamma p_k (1 - p_k)^(gamma - 1) (l_k - 2 - (gamma - 1) p_k l_k / (1 - p_k))      l_k = -ln p_k

    and their sum ``B`` the diagonal of a row is::

        d^2 loss / d z_j^2 = (V p_j (1 - p_j) - B p_j^2 - b_j (1 - 2 p_j)) / temperature^2

    scaled as the gradient is.

    Parameters
    ----------
    logits, target, gamma
        As in `softmax_focal_loss`.
    class_weight, sample_weight, ignore_index, label_smoothing, temperature, log_prior, axis, reduction
        As in `softmax_focal_loss`.
    out : ndarray, optional
        Where to write the gradient, as in `softmax_cross_entropy_with_grad`.
    hess_out, hess_scale, hess_floor
        As in `softmax_cross_entropy_with_hess`.
    curvature : {"exact", "convex", "gradient"}, default "exact"
        What stands for the second derivative. "exact" is that. "convex" is ``V p_j (1 - p_j)`` alone, which is never
        negative. "gradient" is the size of the gradient.

    Returns
    -------
    LossGradHess
        The named tuple ``(loss, grad, hess)``: loss and gradient as from `softmax_focal_loss_with_grad`, the diagonal
        in the shape and dtype of the gradient.

    Raises
    ------
    IndexError, ValueError, TypeError
        As in `softmax_focal_loss`, or if `out` or `hess_out` does not fit, `hess_scale` is not positive, `hess_floor`
        is negative or `curvature` is unknown. Nothing is written then.

    See Also
    --------
    softmax_focal_loss : the loss alone, with the meaning of each option.

    Notes
    -----
    A focal loss is not convex: its second derivative may be negative. Boosting with it takes steps in the wrong
    direction there, or with a floor steps without measure; with "gradient" no leaf is larger than the learning rate.

    Rows with a distribution as target, or smoothed ones, are computed in double precision, a class at a time.

    Examples
    --------
    >>> import xentrs as xe
    >>> loss, grad, hess = xe.softmax_focal_loss_with_hess([[2.0, 1.0, 0.0], [0.0, 3.0, 0.0]], [0, 2], reduction="sum")
    >>> round(loss, 4)
    2.8667
    >>> hess.round(4)
    array([[ 0.1853,  0.1184,  0.0327],
           [ 0.0508,  0.0293, -0.0237]])
    """
