"""The functions underneath the losses."""

from __future__ import annotations

from numpy.typing import ArrayLike

from .. import _core
from .._calls import calls
from .results import FloatArray

__all__ = ["log_sigmoid", "log_softmax", "logsumexp", "sigmoid", "softmax", "softplus"]


@calls(_core.logsumexp)
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


@calls(_core.softmax)
def softmax(x: ArrayLike, *, axis: int = -1, out: FloatArray | None = None) -> FloatArray:
    """Probabilities from logits: ``softmax(x)_k = exp(x_k) / sum_j exp(x_j)`` along an axis.

    Parameters
    ----------
    x : array_like, shape (..., c)
        Logits: float16, bfloat16, float32 or float64; integers and lists are taken as float64.
    axis : int, default -1
        The axis along which the probabilities sum to one.
    out : ndarray, optional
        Where to write the result: a writable array with the shape and dtype of `x`, or `x` itself; the
        dtype may also be float32.

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


@calls(_core.log_softmax)
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


@calls(_core.sigmoid)
def sigmoid(x: ArrayLike, *, out: FloatArray | None = None) -> FloatArray:
    """Probability from log-odds: ``sigmoid(x) = 1 / (1 + exp(-x))``, element by element.

    Parameters
    ----------
    x : array_like, shape (...)
        float16, bfloat16, float32 or float64; integers and lists are taken as float64.
    out : ndarray, optional
        Where to write the result: a writable array with the shape and dtype of `x`, or `x` itself; the
        dtype may also be float32.

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


@calls(_core.log_sigmoid)
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


@calls(_core.softplus)
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
