"""Losses of probabilities, for models that give no logits."""

from __future__ import annotations

from numpy.typing import ArrayLike

from .. import _core
from .._calls import calls
from .results import FloatArray, Loss, LossGrad, Reduction

__all__ = [
    "binary_cross_entropy",
    "binary_cross_entropy_with_grad",
    "categorical_cross_entropy",
    "categorical_cross_entropy_with_grad",
]


@calls(_core.categorical_cross_entropy)
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
        Non-negative weight ``s_i`` of each row, in the shape of `p` without the class axis, or what NumPy's rules
        repeat to it.
    ignore_index : int or None, default -100
        A row with this class has no loss, no weight and zero gradient. None ignores nothing.
    eps : float in [0, 0.5], default 0.0
        Probabilities are clipped to ``[eps, 1 - eps]``, also where the dtype can hold neither bound, and what rounding
        has put outside [0, 1], by a few units in the last place of float32, is taken for 0 or 1. Without it they are
        taken as they are.
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


@calls(_core.categorical_cross_entropy, order=1)
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
    grad_output: ArrayLike | None = None,
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
    grad_output : float or array_like, optional
        What the gradient is multiplied by, as in `softmax_cross_entropy_with_grad`.
    out : ndarray, optional
        Where to write the gradient: a writable array with the shape and dtype of `p`, or of dtype float32. ``out=p``
        replaces the probabilities by their gradient; any other overlap with an input is refused.

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


@calls(_core.binary_cross_entropy)
def binary_cross_entropy(
    p: ArrayLike,
    target: ArrayLike,
    *,
    pos_weight: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    eps: float = 0.0,
    reduction: Reduction = "mean",
) -> Loss:
    """Cross-entropy between binary targets and probabilities: each element is a yes-or-no question of its own.

    An element with the probability ``p`` of the positive answer and the target ``t`` costs::

        loss = -b t ln p - (1 - t) ln(1 - p)            b = pos_weight

    Parameters
    ----------
    p : array_like, shape (...)
        Probabilities in [0, 1]: float16, bfloat16, float32 or float64. Integers and lists are taken as float64.
    target : array_like, shape (...)
        The answers, in the shape of `p`: booleans, the integers 0 and 1, or floats in [0, 1].
    pos_weight : array_like, optional
        Non-negative weight ``b`` of the positive answers, as in `sigmoid_cross_entropy`.
    sample_weight : array_like, optional
        Non-negative weights of elements or rows, as in `sigmoid_cross_entropy`.
    eps : float in [0, 0.5), default 0.0
        Probabilities are clipped to ``[eps, 1 - eps]``, also where the dtype can hold neither bound, and what rounding
        has put outside [0, 1], by a few units in the last place of float32, is taken for 0 or 1. At 0 none is.
    reduction : {"mean", "sum", "none"}, default "mean"
        "none" gives the weighted loss of each element, "sum" their sum, "mean" the sum divided by the sum of the
        sample weights.

    Returns
    -------
    float or ndarray
        The loss in nats: a float for "mean" and "sum"; for "none" an array in the shape and dtype of `p` (float32 where
        that is half precision).

    Raises
    ------
    ValueError
        If a shape does not fit, a probability or a target is outside [0, 1], a weight is negative or not finite, `eps`
        is outside [0, 0.5), or `reduction` is unknown.
    TypeError
        If `p` is not real numbers of one of these dtypes, or `target` is no booleans, integers or floats.

    See Also
    --------
    binary_cross_entropy_with_grad : the loss together with its gradient.
    sigmoid_cross_entropy : from logits, which is better wherever there are some.

    Notes
    -----
    ``ln(1 - p)`` is ``log1p(-p)``, so a small probability keeps its cost. Near 1 the numbers of every type are far
    apart, and the cost of a confident yes is only as good as its probability: from a logit it is exact.

    A term with the factor zero is zero even where its logarithm is not finite: ``p = 0`` costs nothing where ``t = 0``,
    and +inf where ``t > 0``. A NaN costs NaN, unless its sample weight is 0. If no element has weight the mean is 0.

    Against ``torch.nn.functional.binary_cross_entropy``: that one never lets a cost exceed 100, here it may be +inf.
    "mean" divides by the sum of the weights, not by the number of elements. Against ``sklearn.metrics.log_loss``, which
    clips at the precision of the dtype: nothing is clipped unless `eps` says so.

    References
    ----------
    .. [1] C. M. Bishop, "Pattern Recognition and Machine Learning", Springer, 2006, section 4.3.2.

    Examples
    --------
    >>> import xentrs as xe
    >>> xe.binary_cross_entropy([0.9, 0.2, 0.5], [1, 0, 0], reduction="none").round(4)
    array([0.1054, 0.2231, 0.6931])

    What was held to be impossible happens:

    >>> xe.binary_cross_entropy([0.0], [1])
    inf
    >>> round(xe.binary_cross_entropy([0.0], [1], eps=1e-7), 4)
    16.1181
    """


@calls(_core.binary_cross_entropy, order=1)
def binary_cross_entropy_with_grad(
    p: ArrayLike,
    target: ArrayLike,
    *,
    pos_weight: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    eps: float = 0.0,
    reduction: Reduction = "mean",
    grad_output: ArrayLike | None = None,
    out: FloatArray | None = None,
) -> LossGrad:
    """Binary cross-entropy and its gradient with respect to the probabilities, in one sweep.

    The gradient of an element is::

        d loss / d p = (1 - t) / (1 - p) - b t / p

    and 0 where ``p`` is clipped. It is scaled by the sample weight, and for "mean" divided by their sum. The gradient
    for "none" is that of the sum.

    Parameters
    ----------
    p, target, pos_weight, sample_weight, eps, reduction
        As in `binary_cross_entropy`.
    grad_output : float or array_like, optional
        What the gradient is multiplied by, as in `sigmoid_cross_entropy_with_grad`.
    out : ndarray, optional
        Where to write the gradient: a writable array with the shape and dtype of `p`, or of dtype float32. ``out=p``
        replaces the probabilities by their gradient; any other overlap with an input is refused.

    Returns
    -------
    LossGrad
        The named tuple ``(loss, grad)``: the loss as from `binary_cross_entropy`, the gradient in the shape and dtype
        of `p`. ``grad`` is `out` where that was given.

    Raises
    ------
    ValueError, TypeError
        As in `binary_cross_entropy`, or if `out` does not fit. Nothing is written to `out` then.

    See Also
    --------
    binary_cross_entropy : the loss alone, with the meaning of each option.

    Notes
    -----
    Where the loss is +inf the gradient is infinite too: -inf at ``p = 0`` with ``t > 0``, +inf at ``p = 1`` with
    ``t < 1``. A term with the factor zero is zero there. At ``p = eps`` and ``p = 1 - eps`` nothing is clipped yet.

    Examples
    --------
    >>> import xentrs as xe
    >>> loss, grad = xe.binary_cross_entropy_with_grad([0.9, 0.2, 0.5], [1, 0, 0], reduction="sum")
    >>> round(loss, 4)
    1.0217
    >>> grad.round(4)
    array([-1.1111,  1.25  ,  2.    ])
    """
