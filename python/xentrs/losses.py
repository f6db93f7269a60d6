"""Cross-entropy and its gradient from logits, and the functions underneath.

For each loss ``f`` there are two functions: ``f(...)`` gives the loss, ``f_with_grad(...)`` the pair ``(loss, grad)``
from the same sweep over the logits. All logarithms are natural, so every loss is in nats; divide by ``ln 2`` for bits.

Nothing is computed in Python. Each function forwards its arguments to the function of the same name in
``xentrs._core``, which accepts whatever ``numpy.asarray`` accepts. A native, C-ordered array of floats whose class axis
is the last one is used as it is, any other input is first brought into that form.

Floats are float64, float32, float16, or the bfloat16 of the package ml_dtypes. The two in half precision are storage
alone: they are computed in float32, a cache-sized block at a time, sums in double precision, and each result is rounded
once. A loss by row or element (reduction "none") stays in float32.
"""

from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _core

__all__ = [
    "LossGrad",
    "log_sigmoid",
    "log_softmax",
    "logsumexp",
    "sigmoid",
    "sigmoid_cross_entropy",
    "sigmoid_cross_entropy_with_grad",
    "softmax",
    "softmax_cross_entropy",
    "softmax_cross_entropy_with_grad",
    "softplus",
]

FloatArray: TypeAlias = NDArray[np.floating[Any]]
Reduction: TypeAlias = Literal["mean", "sum", "none"]

# A float for "mean" and "sum", an array for "none". `| Any` spares the caller a cast in either case.
Loss: TypeAlias = float | Any


class LossGrad(NamedTuple):
    """A loss and its gradient with respect to the logits, as every ``_with_grad`` function returns them.

    It unpacks like a tuple: ``loss, grad = softmax_cross_entropy_with_grad(logits, target)``.
    """

    loss: Loss
    """The loss in nats: a float for the reductions "mean" and "sum", an array for "none"."""

    grad: FloatArray
    """The gradient, with the shape and dtype of the logits, or those of ``out``."""


def softmax_cross_entropy(
    logits: ArrayLike,
    target: ArrayLike,
    *,
    class_weight: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    ignore_index: int | None = -100,
    label_smoothing: float = 0.0,
    axis: int = -1,
    reduction: Reduction = "mean",
) -> Loss:
    """Cross-entropy between target classes and the softmax of logits: one class out of ``c`` is right.

    A row of logits ``z`` with the target distribution ``t`` (one-hot for a class) costs::

        loss = sum_k w_k t'_k (lse(z) - z_k)        lse(z) = ln sum_k exp(z_k)
        t'_k = (1 - e) t_k + e sum(t) / c           w = class_weight, e = label_smoothing

    which for a class ``y`` without options is ``-ln softmax(z)[y]``.

    Parameters
    ----------
    logits : array_like, shape (..., c)
        Unnormalised log-probabilities: float16, bfloat16, float32 or float64. Integers and lists are taken as float64.
        The class axis is the last one unless `axis` says otherwise.
    target : array_like
        Integers hold classes in ``[0, c)`` and have the shape of `logits` without the class axis. Floats hold
        distributions over the classes ("soft labels") and have the shape of `logits`; they need not sum to one.
    class_weight : array_like, shape (c,), optional
        Non-negative weight ``w_k`` of each class.
    sample_weight : array_like, shape (...), optional
        Non-negative weight ``s_i`` of each row, in the shape of `logits` without the class axis.
    ignore_index : int or None, default -100
        A row with this class has no loss, no weight and zero gradient. None ignores nothing.
    label_smoothing : float in [0, 1], default 0.0
        Share of each target spread evenly over all classes [1]_.
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
        If a shape does not fit, a weight is negative or not finite, `label_smoothing` is outside [0, 1], `reduction`
        is unknown or `axis` does not exist.
    TypeError
        If `logits` are not real numbers of one of these dtypes, or `target` is neither integers nor floats.

    See Also
    --------
    softmax_cross_entropy_with_grad : the loss together with its gradient.
    sigmoid_cross_entropy : independent labels, any number of which are right.

    Notes
    -----
    A loss is right at every margin. Where the label is the largest logit, ``lse(z) - z_y`` would cancel; it is computed
    as ``log1p`` of the sum of the *other* exponentials instead [2]_. In float32 a right answer that leads by 17
    therefore costs 4.14e-8, where PyTorch and SciPy return 0.

    A class with zero weight costs nothing even where its logit is -inf, so masked classes are legal. A target that
    the logits rule out costs +inf. One logit of +inf takes all the probability. A NaN, several +inf or nothing but
    -inf in a row that counts makes the loss of that row NaN. If no row has weight the loss is 0.

    Against ``torch.nn.functional.cross_entropy``: the class axis is the last, not the second. "mean" divides by the
    total weight for distributions too, not by the number of rows, so classes and their one-hot rows cost the same. The
    mean of nothing is 0, not NaN.

    References
    ----------
    .. [1] C. Szegedy, V. Vanhoucke, S. Ioffe, J. Shlens and Z. Wojna, "Rethinking the Inception Architecture for
       Computer Vision", CVPR 2016, section 7.
    .. [2] P. Blanchard, D. J. Higham and N. J. Higham, "Accurately computing the log-sum-exp and softmax functions",
       IMA Journal of Numerical Analysis 41(4), 2021. https://doi.org/10.1093/imanum/draa038

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
    """
    return _core.softmax_cross_entropy(
        logits, target, class_weight, sample_weight, ignore_index, label_smoothing, axis, reduction
    )


def softmax_cross_entropy_with_grad(
    logits: ArrayLike,
    target: ArrayLike,
    *,
    class_weight: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    ignore_index: int | None = -100,
    label_smoothing: float = 0.0,
    axis: int = -1,
    reduction: Reduction = "mean",
    out: FloatArray | None = None,
) -> LossGrad:
    """Softmax cross-entropy and its gradient with respect to the logits, in one sweep.

    With ``p = softmax(z)`` and the smoothed target ``t'`` the gradient of a row is::

        d loss / d z_j = p_j sum_k w_k t'_k - w_j t'_j

    which for a class ``y`` without options is ``p_j - [j = y]``. Row ``i`` is scaled by ``s_i``, and for "mean"
    divided by the total weight. The gradient for "none" is that of the sum.

    Parameters
    ----------
    logits, target, class_weight, sample_weight, ignore_index, label_smoothing, axis, reduction
        As in `softmax_cross_entropy`.
    out : ndarray, optional
        Where to write the gradient: a writable array with the shape and dtype of the logits, or of dtype float32 where
        these are float16 or bfloat16. ``out=logits`` replaces the logits by their gradient; any other overlap with an
        input is refused.

    Returns
    -------
    LossGrad
        The named tuple ``(loss, grad)``: the loss as from `softmax_cross_entropy`, the gradient in the shape and dtype
        of the logits. ``grad`` is `out` where that was given.

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
    return LossGrad(
        *_core.softmax_cross_entropy_with_grad(
            logits, target, class_weight, sample_weight, ignore_index, label_smoothing, axis, reduction, out
        )
    )


def sigmoid_cross_entropy(
    logits: ArrayLike,
    target: ArrayLike,
    *,
    pos_weight: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    reduction: Reduction = "mean",
) -> Loss:
    """Cross-entropy between binary targets and the sigmoid of logits: each element is a yes-or-no question of its own.

    An element with logit ``x`` and target ``t`` costs::

        loss = -b t ln p - (1 - t) ln(1 - p)                    p = sigmoid(x) = 1 / (1 + exp(-x))
             = b t softplus(-x) + (1 - t) softplus(x)           b = pos_weight

    which is the logistic loss, and with ``c`` elements in a row the loss of ``c`` independent labels.

    Parameters
    ----------
    logits : array_like, shape (...)
        Log-odds ``ln(p / (1 - p))`` of the positive answer: float16, bfloat16, float32 or float64. Integers and lists
        are taken as float64.
    target : array_like, shape (...)
        The answers, in the shape of `logits`: booleans, the integers 0 and 1, or floats in [0, 1].
    pos_weight : array_like, optional
        Non-negative weight ``b`` of the positive answers: a scalar, or one for each position of the last axis.
    sample_weight : array_like, optional
        Non-negative weights ``s``: one for each element, in the shape of `logits`, or one for each row, in the shape
        of `logits` without its last axis.
    reduction : {"mean", "sum", "none"}, default "mean"
        "none" gives ``s loss`` for each element, "sum" their sum, "mean" the sum divided by the sum of the sample
        weights over all elements.

    Returns
    -------
    float or ndarray
        The loss in nats: a float for "mean" and "sum"; for "none" an array in the shape and dtype of the logits
        (float32 where that is half precision).

    Raises
    ------
    ValueError
        If a shape does not fit, a target is outside [0, 1], a weight is negative or not finite, or `reduction` is
        unknown.
    TypeError
        If `logits` are not real numbers of one of these dtypes, or `target` is no booleans, integers or floats.

    See Also
    --------
    sigmoid_cross_entropy_with_grad : the loss together with its gradient.
    softmax_cross_entropy : classes that exclude each other.

    Notes
    -----
    A term with the factor zero is zero even at an infinite logit: ``x = +inf`` costs nothing where ``t = 1``, and
    +inf where ``t < 1``. A NaN costs NaN, unless its sample weight is 0. If no element has weight the mean is 0.

    Against ``torch.nn.functional.binary_cross_entropy_with_logits``: "mean" divides by the sum of the weights, not by
    the number of elements, so scaling all sample weights does not change it. Infinite logits give the limit, not NaN.
    Targets may be integers or booleans.

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
    """
    return _core.sigmoid_cross_entropy(logits, target, pos_weight, sample_weight, reduction)


def sigmoid_cross_entropy_with_grad(
    logits: ArrayLike,
    target: ArrayLike,
    *,
    pos_weight: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    reduction: Reduction = "mean",
    out: FloatArray | None = None,
) -> LossGrad:
    """Sigmoid cross-entropy and its gradient with respect to the logits, in one sweep.

    The gradient of an element is::

        d loss / d x = (1 - t) sigmoid(x) - b t sigmoid(-x)

    which without `pos_weight` is ``sigmoid(x) - t``. It is scaled by the sample weight, and for "mean" divided by
    their sum. The gradient for "none" is that of the sum.

    Parameters
    ----------
    logits, target, pos_weight, sample_weight, reduction
        As in `sigmoid_cross_entropy`.
    out : ndarray, optional
        Where to write the gradient: a writable array with the shape and dtype of the logits, or of dtype float32 where
        these are float16 or bfloat16. ``out=logits`` replaces the logits by their gradient; any other overlap with an
        input is refused.

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
    and an element of zero weight has zero.

    Examples
    --------
    >>> import xentrs as xe
    >>> loss, grad = xe.sigmoid_cross_entropy_with_grad([2.0, -1.0, 0.5], [1, 0, 0], reduction="sum")
    >>> round(loss, 4)
    1.4143
    >>> grad.round(4)
    array([-0.1192,  0.2689,  0.6225])
    """
    return LossGrad(*_core.sigmoid_cross_entropy_with_grad(logits, target, pos_weight, sample_weight, reduction, out))


def logsumexp(x: ArrayLike, *, axis: int = -1, keepdims: bool = False) -> FloatArray:
    """Logarithm of the sum of exponentials along an axis: a smooth maximum.

    ``lse(x) = ln sum_k exp(x_k)``, which lies between ``max(x)`` and ``max(x) + ln c``, and whose gradient is
    ``softmax(x)``.

    Parameters
    ----------
    x : array_like, shape (..., c)
        float16, bfloat16, float32 or float64; integers and lists are taken as float64.
    axis : int, default -1
        The axis to sum along.
    keepdims : bool, default False
        Whether the summed axis stays, with length one, so that the result broadcasts against `x`.

    Returns
    -------
    ndarray
        In the dtype of `x` and in its shape without `axis`; a NumPy scalar where no axis is left.

    Raises
    ------
    ValueError
        If `x` has no dimension or `axis` does not exist.
    TypeError
        If `x` is not real numbers of one of these dtypes.

    Notes
    -----
    The maximum ``m`` is taken out of the sum, ``lse(x) = m + log1p(sum_{k != argmax} exp(x_k - m))``, so nothing
    overflows and a small rest is not lost [1]_. The result is +inf where a row holds +inf, -inf where it holds nothing
    but -inf, and NaN where it holds a NaN.

    Against ``scipy.special.logsumexp``: the axis is the last one by default, not all of them.

    References
    ----------
    .. [1] P. Blanchard, D. J. Higham and N. J. Higham, "Accurately computing the log-sum-exp and softmax functions",
       IMA Journal of Numerical Analysis 41(4), 2021. https://doi.org/10.1093/imanum/draa038

    Examples
    --------
    >>> import xentrs as xe
    >>> xe.logsumexp([[0.0, 0.0], [1000.0, 0.0]]).round(4)
    array([6.931e-01, 1.000e+03])
    """
    return _core.logsumexp(x, axis, keepdims)


def softmax(x: ArrayLike, *, axis: int = -1, out: FloatArray | None = None) -> FloatArray:
    """Probabilities from logits: ``softmax(x)_k = exp(x_k) / sum_j exp(x_j)`` along an axis.

    Parameters
    ----------
    x : array_like, shape (..., c)
        Logits: float16, bfloat16, float32 or float64; integers and lists are taken as float64.
    axis : int, default -1
        The axis along which the probabilities sum to one.
    out : ndarray, optional
        Where to write the result: a writable array with the shape and dtype of `x`, or `x` itself; where `x` is
        float16 or bfloat16, the dtype may also be float32.

    Returns
    -------
    ndarray
        In the shape and dtype of `x`; `out` where that was given.

    Raises
    ------
    ValueError
        If `x` has no dimension, `axis` does not exist, or `out` does not fit or overlaps `x` without being it.
    TypeError
        If `x` is not real numbers of one of these dtypes, or `out` has another dtype.

    Notes
    -----
    Adding a number to all logits changes nothing, and the largest is subtracted before the exponentials, so none
    overflows. One +inf takes all the probability. A NaN, several +inf or nothing but -inf make the row NaN.

    Against ``scipy.special.softmax``: the axis is the last one by default, not all of them, and one +inf gives the
    limit, not NaN.

    Examples
    --------
    >>> import xentrs as xe
    >>> xe.softmax([2.0, 1.0, 0.0]).round(4)
    array([0.6652, 0.2447, 0.09  ])
    """
    return _core.softmax(x, axis, out)


def log_softmax(x: ArrayLike, *, axis: int = -1, out: FloatArray | None = None) -> FloatArray:
    """Log-probabilities from logits: ``log_softmax(x)_k = x_k - logsumexp(x)`` along an axis, in nats.

    Parameters
    ----------
    x, axis, out
        As in `softmax`.

    Returns
    -------
    ndarray
        In the shape and dtype of `x`; `out` where that was given. No entry is above zero.

    Raises
    ------
    ValueError, TypeError
        As in `softmax`.

    Notes
    -----
    The difference would cancel at a dominant logit. There the result is ``-log1p`` of the sum of the other
    exponentials, so a probability that rounds to 1 still has its logarithm. Special values are the logarithms of those
    of `softmax`: one +inf gives 0 there and -inf elsewhere.

    Examples
    --------
    >>> import xentrs as xe
    >>> xe.log_softmax([2.0, 1.0, 0.0]).round(4)
    array([-0.4076, -1.4076, -2.4076])
    >>> print(xe.log_softmax([40.0, 0.0]))
    [-4.24835426e-18 -4.00000000e+01]
    """
    return _core.log_softmax(x, axis, out)


def sigmoid(x: ArrayLike, *, out: FloatArray | None = None) -> FloatArray:
    """Probability from log-odds: ``sigmoid(x) = 1 / (1 + exp(-x))``, element by element.

    Parameters
    ----------
    x : array_like, shape (...)
        float16, bfloat16, float32 or float64; integers and lists are taken as float64.
    out : ndarray, optional
        Where to write the result: a writable array with the shape and dtype of `x`, or `x` itself; where `x` is
        float16 or bfloat16, the dtype may also be float32.

    Returns
    -------
    ndarray
        In the shape and dtype of `x`; `out` where that was given.

    Raises
    ------
    ValueError
        If the shape of `out` does not fit, or it overlaps `x` without being it.
    TypeError
        If `x` is not real numbers of one of these dtypes, or `out` has another dtype.

    Notes
    -----
    Nothing overflows: -inf gives 0, +inf gives 1, and far to the left the result is ``exp(x)``. The complement
    ``1 - sigmoid(x)`` cancels far to the right; ``sigmoid(-x)`` is the same number and does not.

    Examples
    --------
    >>> import xentrs as xe
    >>> xe.sigmoid([-2.0, 0.0, 2.0]).round(4)
    array([0.1192, 0.5   , 0.8808])
    """
    return _core.sigmoid(x, out)


def log_sigmoid(x: ArrayLike, *, out: FloatArray | None = None) -> FloatArray:
    """Logarithm of the sigmoid: ``log_sigmoid(x) = -ln(1 + exp(-x)) = -softplus(-x)``, element by element, in nats.

    Parameters
    ----------
    x, out
        As in `sigmoid`.

    Returns
    -------
    ndarray
        In the shape and dtype of `x`; `out` where that was given. No element is above zero.

    Raises
    ------
    ValueError, TypeError
        As in `sigmoid`.

    Notes
    -----
    Far to the left the result is ``x``, far to the right ``-exp(-x)``: neither overflows nor is lost. -inf gives -inf,
    +inf gives 0.

    Examples
    --------
    >>> import xentrs as xe
    >>> print(xe.log_sigmoid([-1000.0, 0.0, 40.0]))
    [-1.00000000e+03 -6.93147181e-01 -4.24835426e-18]
    """
    return _core.log_sigmoid(x, out)


def softplus(x: ArrayLike, *, out: FloatArray | None = None) -> FloatArray:
    """Smooth ramp: ``softplus(x) = ln(1 + exp(x))``, element by element, whose derivative is the sigmoid.

    Parameters
    ----------
    x, out
        As in `sigmoid`.

    Returns
    -------
    ndarray
        In the shape and dtype of `x`; `out` where that was given. No element is below zero.

    Raises
    ------
    ValueError, TypeError
        As in `sigmoid`.

    Notes
    -----
    Computed as ``max(x, 0) + log1p(exp(-|x|))``, which is right over the whole range: far to the left the result is
    ``exp(x)``, far to the right ``x``. -inf gives 0, +inf gives +inf.

    Against ``torch.nn.functional.softplus``: there is no threshold above which the function is replaced by ``x``.

    Examples
    --------
    >>> import xentrs as xe
    >>> print(xe.softplus([-40.0, 0.0, 1000.0]))
    [4.24835426e-18 6.93147181e-01 1.00000000e+03]
    """
    return _core.softplus(x, out)
