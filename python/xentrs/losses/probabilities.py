"""Losses of probabilities, for models that give no logits."""

from numpy.typing import ArrayLike

from .. import _core
from .results import FloatArray, Loss, LossGrad, Reduction

__all__ = ["categorical_cross_entropy", "categorical_cross_entropy_with_grad"]


def categorical_cross_entropy(
    p: ArrayLike,
    target: ArrayLike,
    *,
    class_weight: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    ignore_index: int | None = -100,
    eps: float = 0.0,
    axis: int = -1,
    reduction: Reduction = "mean",
) -> Loss:
    """Cross-entropy between target classes and probabilities: one class out of ``c`` is right.

    A row of probabilities ``p`` with the target distribution ``t`` (one-hot for a class) costs::

        loss = -sum_k w_k t_k ln p_k              w = class_weight

    which for a class ``y`` without options is ``-ln p_y``. Where the probabilities are the softmax of logits that are
    at hand, `softmax_cross_entropy` is faster, and right where a probability has been rounded to 0 or 1.

    Parameters
    ----------
    p : array_like, shape (..., c)
        Probabilities in [0, 1]: float16, bfloat16, float32 or float64. Integers and lists are taken as float64. They
        need not sum to one. The class axis is the last one unless `axis` says otherwise.
    target : array_like
        Integers hold classes in ``[0, c)`` and have the shape of `p` without the class axis. Floats hold distributions
        over the classes ("soft labels") and have the shape of `p`; they need not sum to one.
    class_weight : array_like, shape (c,), optional
        Non-negative weight ``w_k`` of each class.
    sample_weight : array_like, shape (...), optional
        Non-negative weight ``s_i`` of each row, in the shape of `p` without the class axis.
    ignore_index : int or None, default -100
        A row with this class has no loss, no weight and zero gradient. None ignores nothing.
    eps : float in [0, 0.5], default 0.0
        Probabilities are clipped to ``[eps, 1 - eps]``. Without it they are taken as they are.
    axis : int, default -1
        The class axis of `p`.
    reduction : {"mean", "sum", "none"}, default "mean"
        "none" gives ``s_i loss_i`` for each row, "sum" their sum, "mean" the sum divided by the total weight
        ``sum_i s_i sum_k w_k t_ik`` of the rows that are not ignored.

    Returns
    -------
    float or ndarray
        The loss in nats: a float for "mean" and "sum"; for "none" an array in the dtype of `p` (float32 where that is
        half precision) and in its shape without the class axis.

    Raises
    ------
    IndexError
        If a class is neither in ``[0, c)`` nor `ignore_index`; the message names its row.
    ValueError
        If a probability that is read is outside [0, 1], a shape does not fit, a weight is negative or not finite, `eps`
        is outside [0, 0.5], `reduction` is unknown or `axis` does not exist.
    TypeError
        If `p` are not real numbers of one of these dtypes, or `target` is neither integers nor floats.

    See Also
    --------
    categorical_cross_entropy_with_grad : the loss together with its gradient.
    softmax_cross_entropy : the same from logits.

    Notes
    -----
    With classes as target only the probabilities ``p_y`` of rows that count are read, so the time does not grow with
    ``c``; what stands elsewhere is not looked at. With distributions all probabilities of rows with a sample weight are
    held against [0, 1].

    A class with ``w_k t_k = 0`` costs nothing even where its probability is 0. A target on a probability of 0 costs
    +inf, unless `eps` clips it. A NaN that is read makes the loss of its row NaN. If no row has weight the loss is 0.

    Against ``sklearn.metrics.log_loss`` and Keras: nothing is clipped and nothing is scaled to sum to one unless asked
    for, so an impossible event that happens costs what it costs.

    Examples
    --------
    >>> import xentrs as xe
    >>> p = [[0.7, 0.2, 0.1], [0.1, 0.9, 0.0]]
    >>> xe.categorical_cross_entropy(p, [0, 1], reduction="none").round(4)
    array([0.3567, 0.1054])
    >>> xe.categorical_cross_entropy(p, [0, 2])
    inf
    >>> round(xe.categorical_cross_entropy(p, [0, 2], eps=1e-7), 4)
    8.2374
    """
    return _core.categorical_cross_entropy(p, target, class_weight, sample_weight, ignore_index, eps, axis, reduction)


def categorical_cross_entropy_with_grad(
    p: ArrayLike,
    target: ArrayLike,
    *,
    class_weight: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    ignore_index: int | None = -100,
    eps: float = 0.0,
    axis: int = -1,
    reduction: Reduction = "mean",
    out: FloatArray | None = None,
) -> LossGrad:
    """Categorical cross-entropy and its gradient with respect to the probabilities.

    The gradient of a row is::

        d loss / d p_k = -w_k t_k / p_k

    each probability by itself: that they sum to one is not made use of. Row ``i`` is scaled by ``s_i``, and for "mean"
    divided by the total weight. The gradient for "none" is that of the sum.

    Parameters
    ----------
    p, target, class_weight, sample_weight, ignore_index, eps, axis, reduction
        As in `categorical_cross_entropy`.
    out : ndarray, optional
        Where to write the gradient: a writable array with the shape and dtype of `p`, or of dtype float32 where that is
        float16 or bfloat16. ``out=p`` replaces the probabilities by their gradient; any other overlap with an input is
        refused.

    Returns
    -------
    LossGrad
        The named tuple ``(loss, grad)``: the loss as from `categorical_cross_entropy`, the gradient in the shape and
        dtype of `p`. ``grad`` is `out` where that was given.

    Raises
    ------
    IndexError, ValueError, TypeError
        As in `categorical_cross_entropy`, or if `out` does not fit. Nothing is written to `out` then.

    See Also
    --------
    categorical_cross_entropy : the loss alone, with the meaning of each option.

    Notes
    -----
    At ``p_k = 0`` the derivative is -inf where ``w_k t_k > 0``, as the loss rises without bound, and 0 where
    ``w_k t_k = 0``. Where `eps` clips a probability to another one the derivative is 0. A row that does not count has
    zero gradient, a row whose loss is NaN a gradient of NaN.

    Examples
    --------
    >>> import xentrs as xe
    >>> loss, grad = xe.categorical_cross_entropy_with_grad([[0.5, 0.25, 0.25]], [1], reduction="sum")
    >>> round(loss, 4)
    1.3863
    >>> print(grad)
    [[ 0. -4.  0.]]
    """
    return LossGrad(
        *_core.categorical_cross_entropy_with_grad(
            p, target, class_weight, sample_weight, ignore_index, eps, axis, reduction, out
        )
    )
