"""Losses of classes that exclude each other: the softmax family."""

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

__all__ = ["softmax_cross_entropy", "softmax_cross_entropy_with_grad", "softmax_cross_entropy_with_hess"]


@calls(_core.softmax_cross_entropy)
def softmax_cross_entropy(
    logits: ArrayLike,
    target: Target,
    *,
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
    """Cross-entropy between target classes and the softmax of logits: one class out of ``c`` is right.

    A row of logits ``z`` with the target distribution ``t`` (one-hot for a class) costs::

        loss = sum_k w_k t'_k (lse(z) - z_k) + z_loss lse(z)^2       lse(z) = ln sum_k exp(z_k)
        t'_k = (1 - e) t_k + e sum(t) / c                            w = class_weight, e = label_smoothing

    which for a class ``y`` without options is ``-ln softmax(z)[y]``. Before that the logits ``z`` become
    ``softcap tanh(z / softcap)``, where there is a softcap, then ``z / temperature``, and last ``z + log_prior``.

    Parameters
    ----------
    logits : array_like, shape (..., c)
        Unnormalised log-probabilities: float16, bfloat16, float32 or float64. Integers and lists are taken as float64.
        The class axis is the last one unless `axis` says otherwise.
    target : array_like
        Integers hold classes in ``[0, c)`` and have the shape of `logits` without the class axis. Floats hold
        distributions over the classes ("soft labels") and have the shape of `logits`; they are taken as they are, and
        need not sum to one. A tuple ``(classes, weights)`` of integers and floats holds sparse distributions: both have
        the shape of `logits`, but for the class axis, which has any length ``k``. A class may occur more than once,
        then its weights add; a pair whose class is `ignore_index` counts for nothing. Weights are finite and
        non-negative.
    class_weight : array_like, shape (c,), optional
        Non-negative weight ``w_k`` of each class.
    sample_weight : array_like, shape (...), optional
        Non-negative weight ``s_i`` of each row, in the shape of `logits` without the class axis, or what NumPy's rules
        repeat to it.
    ignore_index : int or None, default -100
        A row with this class has no loss, no weight and zero gradient. None ignores nothing.
    label_smoothing : float in [0, 1], default 0.0
        Share of each target spread evenly over all classes [1]_.
    temperature : float, default 1.0
        Positive number that the logits are divided by: above 1 it makes probabilities more even [3]_.
    softcap : float, optional
        Positive bound that the logits are smoothly kept below, in size [4]_.
    log_prior : array_like, shape (c,), optional
        A number for each class, finite or -inf, that is added to its logits after `softcap` and `temperature`, for the
        loss alone: the logarithm of the share of each class in the training set, or a multiple of it, trains logits
        that do without it [6]_ [7]_; those of the chances with which classes were sampled correct for the sampling.
        -inf, the logarithm of a share of 0, masks its class.
    z_loss : float, default 0.0
        Non-negative factor of ``lse(z)^2``, which keeps the logits from drifting [5]_. It is added to every row that
        counts.
    axis : int, default -1
        The class axis of `logits`.
    reduction : {"mean", "sum", "none"}, default "mean"
        "none" gives ``s_i loss_i`` for each row, "sum" their sum, "mean" the sum divided by the total weight
        ``sum_i s_i sum_k w_k t_ik`` of the rows that are not ignored.

    Returns
    -------
    float or ndarray
        The loss in nats: a float for "mean" and "sum"; for "none" an array in the dtype of the logits (float32 where
        that is half precision) and in their shape without the class axis.

    Raises
    ------
    IndexError
        If a class is neither in ``[0, c)`` nor `ignore_index`; the message names its row.
    ValueError
        If a shape does not fit, a weight is negative or not finite, `label_smoothing` is outside [0, 1], `temperature`
        or `softcap` is not positive and finite, `log_prior` holds NaN or +inf, `z_loss` is negative or not finite,
        `reduction` is unknown or `axis` does not exist.
    TypeError
        If `logits` are not real numbers of one of these dtypes, or `target` is neither integers nor floats.

    Warns
    -----
    UserWarning
        If all rows, of which there are several, are distributions: then probabilities were given for logits.

    See Also
    --------
    softmax_cross_entropy_with_grad : the loss together with its gradient.
    softmax_cross_entropy_with_hess : and with the diagonal of its Hessian.
    softmax_focal_loss : with less weight on rows that are right already.
    sigmoid_cross_entropy : independent labels, any number of which are right.

    Notes
    -----
    A loss is right at every margin. Where the label is the largest logit, ``lse(z) - z_y`` would cancel; it is computed
    as ``log1p`` of the sum of the *other* exponentials instead [2]_. In float32 a right answer that leads by 17
    therefore costs 4.14e-8, where PyTorch and SciPy return 0.

    A class with zero weight costs nothing even where its logit is -inf, so masked classes are legal. A target that
    the logits rule out costs +inf. One logit of +inf takes all the probability. A NaN, several +inf or nothing but
    -inf in a row that counts makes the loss of that row NaN. If no row has weight the loss is 0.

    `temperature` and `softcap` round each logit once more, to its type, or to float32 for half precision; the loss is
    right for the logits so rounded. A softcap turns -inf into ``-softcap``, so that a masked class is masked no more.
    `log_prior` is added in the type of the logits, without a copy of them; ``softmax(z + log(share))`` is the model's
    answer for classes as frequent as in training, ``softmax(z)`` for classes that are all alike.

    A mean depends on the ratios of the weights alone: weights of 1e-46 or 1e300 do in float32 what 1 does. Options are
    used in float64, and one that the type of the logits cannot hold has the effect of its limit. A temperature of 1e-40
    leaves the largest logit: loss 0 where it is that of the target, and infinite elsewhere. A softcap of 1e300 is none.

    Against ``torch.nn.functional.cross_entropy``: the class axis is the last, not the second. "mean" divides by the
    total weight for distributions too, not by the number of rows, so classes and their one-hot rows cost the same. The
    mean of nothing is 0, not NaN.

    References
    ----------
    .. [1] C. Szegedy, V. Vanhoucke, S. Ioffe, J. Shlens and Z. Wojna, "Rethinking the Inception Architecture for
       Computer Vision", CVPR 2016, section 7.
    .. [2] P. Blanchard, D. J. Higham and N. J. Higham, "Accurately computing the log-sum-exp and softmax functions",
       IMA Journal of Numerical Analysis 41(4), 2021. https://doi.org/10.1093/imanum/draa038
    .. [3] G. Hinton, O. Vinyals and J. Dean, "Distilling the Knowledge in a Neural Network", 2015, arXiv:1503.02531.
    .. [4] Gemma Team, "Gemma 2: Improving Open Language Models at a Practical Size", 2024, arXiv:2408.00118, section 2.
    .. [5] A. Chowdhery et al., "PaLM: Scaling Language Modeling with Pathways", 2022, arXiv:2204.02311, section 5.
    .. [6] A. K. Menon et al., "Long-tail Learning via Logit Adjustment", ICLR 2021, arXiv:2007.07314.
    .. [7] J. Ren et al., "Balanced Meta-Softmax for Long-Tailed Visual Recognition", NeurIPS 2020, arXiv:2007.10740.

    Examples
    --------
    Two rows of three classes. The first row favours the right class, the second a wrong one:

    >>> import numpy as np
    >>> import xentrs as xe
    >>> logits = np.array([[2.0, 1.0, 0.0], [0.0, 3.0, 0.0]])
    >>> xe.softmax_cross_entropy(logits, [0, 2], reduction="none").round(4)
    array([0.4076, 3.0949])
    >>> round(xe.softmax_cross_entropy(logits, [0, 2]), 4)
    1.7513

    The second row counts a third as much, then not at all:

    >>> round(xe.softmax_cross_entropy(logits, [0, 2], sample_weight=[0.75, 0.25]), 4)
    1.0794
    >>> round(xe.softmax_cross_entropy(logits, [0, -100]), 4)
    0.4076

    A distribution as target, half of it on the second class:

    >>> round(xe.softmax_cross_entropy(logits[0], [0.5, 0.5, 0.0]), 4)
    0.9076

    The same, as pairs of a class and its weight, which cost no more than a class however many classes there are:

    >>> round(xe.softmax_cross_entropy(logits[0], ([0, 1], [0.5, 0.5])), 4)
    0.9076

    Less sure of itself:

    >>> xe.softmax_cross_entropy(logits, [0, 2], temperature=2.0, reduction="none").round(4)
    array([0.6803, 1.869 ])
    """


@calls(_core.softmax_cross_entropy, order=1)
def softmax_cross_entropy_with_grad(
    logits: ArrayLike,
    target: Target,
    *,
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
    """Softmax cross-entropy and its gradient with respect to the logits, in one sweep.

    With ``p = softmax(z)`` and the smoothed target ``t'`` the gradient of a row is::

        d loss / d z_j = p_j sum_k w_k t'_k - w_j t'_j + 2 z_loss lse(z) p_j

    which for a class ``y`` without options is ``p_j - [j = y]``. To the logits as they were given it is that times
    ``(1 - tanh(z / softcap)^2) / temperature``. Row ``i`` is scaled by ``s_i``, and for "mean" divided by the total
    weight. The gradient for "none" is that of the sum.

    Parameters
    ----------
    logits, target, class_weight, sample_weight, ignore_index, label_smoothing
        As in `softmax_cross_entropy`.
    temperature, softcap, log_prior, z_loss, axis, reduction
        As in `softmax_cross_entropy`.
    grad_output : float or array_like, optional
        What the gradient is multiplied by, in the same sweep: the gradient of a later function with respect to the
        loss, of any sign. A number, or one for each row: an array that NumPy's rules repeat to the shape of the loss
        for "none". It leaves the loss as it is. A row whose gradient is multiplied by 0 has the gradient 0, as has one
        that does not count.
    out : ndarray, optional
        Where to write the gradient: a writable array with the shape and dtype of the logits, or of dtype float32.
        ``out=logits`` replaces the logits by their gradient; any other overlap with an input is refused.

    Returns
    -------
    LossGrad
        The named tuple ``(loss, grad)``: the loss as from `softmax_cross_entropy`, the gradient in the shape and dtype
        of the logits, and of few classes in their layout. ``grad`` is `out` where that was given.

    Raises
    ------
    IndexError, ValueError, TypeError
        As in `softmax_cross_entropy`, or if `out` does not fit. Nothing is written to `out` then.

    See Also
    --------
    softmax_cross_entropy : the loss alone, with the meaning of each option.

    Notes
    -----
    At the right class ``p_y - 1`` would cancel; it is computed as minus the sum of the other probabilities, so a
    confident prediction keeps its gradient. A row that does not count (ignored, or of zero weight) has zero gradient
    whatever stands in its logits. A row whose loss is NaN has a gradient of NaN, and does no harm to other rows. A
    target that the logits rule out costs +inf but has the finite gradient above.

    The smallest float16 is 6e-8, and most of a "mean" over many rows and classes is below it: take the "sum", bfloat16,
    or a float32 `out` there.

    Examples
    --------
    >>> import numpy as np
    >>> import xentrs as xe
    >>> logits = np.array([[2.0, 1.0, 0.0], [0.0, 3.0, 0.0]])
    >>> loss, grad = xe.softmax_cross_entropy_with_grad(logits, [0, 2])
    >>> round(loss, 4)
    1.7513
    >>> grad.round(4)
    array([[-0.1674,  0.1224,  0.045 ],
           [ 0.0226,  0.4547, -0.4774]])

    In place, without a second array: the logits become their gradient.

    >>> _, grad = xe.softmax_cross_entropy_with_grad(logits, [0, 2], out=logits)
    >>> grad is logits
    True
    """


@calls(_core.softmax_cross_entropy, order=2, hess=HESS, softcap=None, z_loss=0.0)
def softmax_cross_entropy_with_hess(
    logits: ArrayLike,
    target: Target,
    *,
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
    """Softmax cross-entropy, its gradient, and the diagonal of its Hessian with respect to the logits.

    With ``p = softmax(z / temperature + log_prior)`` and the smoothed target ``t'`` the diagonal of a row is::

        d^2 loss / d z_j^2 = p_j (1 - p_j) sum_k w_k t'_k / temperature^2

    scaled as the gradient is. Newton steps and gradient boosting take the diagonal for the whole.

    Parameters
    ----------
    logits, target, class_weight, sample_weight, ignore_index, label_smoothing
        As in `softmax_cross_entropy`.
    temperature, log_prior, axis, reduction
        As in `softmax_cross_entropy`.
    out : ndarray, optional
        Where to write the gradient, as in `softmax_cross_entropy_with_grad`.
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
        The named tuple ``(loss, grad, hess)``: loss and gradient as from `softmax_cross_entropy_with_grad`, the
        diagonal in the shape and dtype of the gradient.

    Raises
    ------
    IndexError, ValueError, TypeError
        As in `softmax_cross_entropy`, or if `out` does not fit. Nothing is written to `out` then.

    See Also
    --------
    softmax_cross_entropy : the loss alone, with the meaning of each option.

    Notes
    -----
    Where ``p_j`` is near 1, ``1 - p_j`` is computed as the sum of the other probabilities, so the curvature of a
    confident row is not lost. It is 0 in a row that does not count, and NaN in a row whose loss is NaN.

    The bound of `softcap` and the term of `z_loss` bend the loss in ways of their own: they are no options here.

    Examples
    --------
    >>> import xentrs as xe
    >>> loss, grad, hess = xe.softmax_cross_entropy_with_hess([[2.0, 1.0, 0.0], [0.0, 3.0, 0.0]], [0, 2])
    >>> round(loss, 4)
    1.7513
    >>> hess.round(4)
    array([[0.1113, 0.0924, 0.041 ],
           [0.0216, 0.0412, 0.0216]])
    """
