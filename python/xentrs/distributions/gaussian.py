"""Entropy, cross-entropy and Kullback-Leibler divergence of Gaussians, in closed form, with their gradients.

Element by element, on numbers that broadcast against each other, computed in double precision and rounded once. Values
are in nats. They are those of densities: an entropy may be negative. Each Gaussian has its variance given, or the
logarithm of it, from which no variance is made: that may be beyond all floats.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from functools import reduce
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._arrays import as_logits, sum_to
from ..losses.results import FloatArray

__all__ = [
    "GaussianEntropyGrad",
    "GaussianGrads",
    "gaussian_cross_entropy",
    "gaussian_cross_entropy_with_grad",
    "gaussian_entropy",
    "gaussian_entropy_with_grad",
    "gaussian_kl_divergence",
    "gaussian_kl_divergence_with_grad",
]

_Doubles = NDArray[np.float64]

# Overflow to infinity is intended, in double precision and in rounding to less; infinite means differ by NaN.
_quietly = np.errstate(over="ignore", invalid="ignore", divide="ignore")


class GaussianEntropyGrad(NamedTuple):
    """The entropy of Gaussians, and its gradient."""

    value: FloatArray
    """One value for each Gaussian."""

    grad_var: FloatArray
    """The gradient of the sum of the values, with respect to `var` or to `log_var`, whichever was given."""


class GaussianGrads(NamedTuple):
    """A function of pairs of Gaussians, and the gradients of the sum of its values, each in its argument's shape."""

    value: FloatArray
    """One value for each pair, in the shape that the arguments broadcast to."""

    grad_mean_p: FloatArray
    """With respect to `mean_p`."""

    grad_var_p: FloatArray
    """With respect to `var_p` or to `log_var_p`, whichever was given."""

    grad_mean_q: FloatArray
    """With respect to `mean_q`."""

    grad_var_q: FloatArray
    """With respect to `var_q` or to `log_var_q`, whichever was given."""


def gaussian_entropy(var: ArrayLike | None = None, *, log_var: ArrayLike | None = None) -> FloatArray:
    """Entropy of Gaussians: ``ln(2 pi e var) / 2``, whatever their means.

    Parameters
    ----------
    var : array_like, shape (...)
        Variances, positive: float16, bfloat16, float32 or float64. Integers and lists are taken as float64.
    log_var : array_like, shape (...)
        Their logarithms, instead of `var`.

    Returns
    -------
    ndarray
        In the shape and dtype of what was given (float32 for half precision), in nats; a NumPy scalar where there are
        no axes.

    Raises
    ------
    ValueError
        If a variance is not positive, or not one of `var` and `log_var` is given. NaN gives NaN.
    TypeError
        If it is not real numbers of one of these dtypes.

    See Also
    --------
    gaussian_cross_entropy : the entropy of outcomes that are expected to be distributed otherwise.

    Examples
    --------
    >>> import xentrs as xe
    >>> xe.gaussian_entropy([0.01, 1.0, 4.0]).round(4)
    array([-0.8836,  1.4189,  2.1121])
    >>> print(xe.gaussian_entropy(log_var=-2000.0).round(4))
    -998.5811
    """
    value: FloatArray = _entropy(var, log_var)[0]
    return value


def gaussian_entropy_with_grad(
    var: ArrayLike | None = None, *, log_var: ArrayLike | None = None
) -> GaussianEntropyGrad:
    """Entropy of Gaussians, and its gradient: ``1 / (2 var)``, or ``1 / 2`` with respect to `log_var`.

    Parameters
    ----------
    var, log_var : array_like, shape (...)
        As in `gaussian_entropy`.

    Returns
    -------
    GaussianEntropyGrad
        The named tuple ``(value, grad_var)``; the gradient has the dtype of what was given.

    Raises
    ------
    ValueError, TypeError
        As in `gaussian_entropy`.

    Examples
    --------
    >>> import xentrs as xe
    >>> xe.gaussian_entropy_with_grad([1.0, 4.0]).grad_var
    array([0.5  , 0.125])
    """
    return GaussianEntropyGrad(*_entropy(var, log_var))


def gaussian_cross_entropy(
    mean_p: ArrayLike,
    var_p: ArrayLike | None = None,
    mean_q: ArrayLike | None = None,
    var_q: ArrayLike | None = None,
    *,
    log_var_p: ArrayLike | None = None,
    log_var_q: ArrayLike | None = None,
) -> FloatArray:
    """Cross-entropy of two Gaussians: ``ln(2 pi var_q) / 2 + (var_p + (mean_p - mean_q)^2) / (2 var_q)``.

    It is the mean of `gaussian_nll` over targets drawn from ``p``, where ``q`` was predicted.

    Parameters
    ----------
    mean_p, var_p, mean_q, var_q : array_like
        Means, and variances, positive, of shapes that broadcast against each other: float16, bfloat16, float32 or
        float64. Integers and lists are taken as float64. `mean_q` is needed.
    log_var_p, log_var_q : array_like
        Logarithms of the variances: each instead of that variance.

    Returns
    -------
    ndarray
        In the shape that the arguments broadcast to and the widest of their dtypes (float32 for half precision), in
        nats; a NumPy scalar where there are no axes.

    Raises
    ------
    ValueError
        If a variance is not positive, or given with its logarithm or not at all, or the shapes do not fit. NaN gives
        NaN.
    TypeError
        If an argument is not real numbers of one of these dtypes, or `mean_q` is missing.

    See Also
    --------
    gaussian_nll : the loss of single targets.

    Notes
    -----
    Variances do not appear where logarithms are given: ``var_p / var_q`` is ``exp(log_var_p - log_var_q)``.

    Examples
    --------
    >>> import xentrs as xe
    >>> print(xe.gaussian_cross_entropy(0.0, 1.0, [0.0, 1.0], 1.0).round(4))
    [1.4189 1.9189]
    >>> print(xe.gaussian_cross_entropy(0.0, mean_q=[0.0, 1.0], log_var_p=0.0, log_var_q=0.0).round(4))
    [1.4189 1.9189]
    """
    value: FloatArray = _pair(_cross_entropy, (mean_p, mean_q), (var_p, var_q), (log_var_p, log_var_q))[0]
    return value


def gaussian_cross_entropy_with_grad(
    mean_p: ArrayLike,
    var_p: ArrayLike | None = None,
    mean_q: ArrayLike | None = None,
    var_q: ArrayLike | None = None,
    *,
    log_var_p: ArrayLike | None = None,
    log_var_q: ArrayLike | None = None,
) -> GaussianGrads:
    """Cross-entropy of two Gaussians, and its gradients with respect to means and variances.

    With ``d = mean_p - mean_q``: ``d / var_q``, ``1 / (2 var_q)``, ``-d / var_q`` and
    ``(var_q - var_p - d^2) / (2 var_q^2)``. With respect to the logarithm of a variance it is the derivative with
    respect to the variance, times the variance.

    Parameters
    ----------
    mean_p, var_p, mean_q, var_q, log_var_p, log_var_q : array_like
        As in `gaussian_cross_entropy`.

    Returns
    -------
    GaussianGrads
        The named tuple ``(value, grad_mean_p, grad_var_p, grad_mean_q, grad_var_q)``. The gradient of an argument that
        was broadcast is summed to its shape. Gradients have the widest dtype of the arguments; two in half precision
        that differ make them float32.

    Raises
    ------
    ValueError, TypeError
        As in `gaussian_cross_entropy`.

    Examples
    --------
    >>> import xentrs as xe
    >>> result = xe.gaussian_cross_entropy_with_grad(0.0, 1.0, [0.0, 1.0], 1.0)
    >>> result.grad_mean_q
    array([0., 1.])
    >>> print(result.grad_var_q)
    -0.5
    """
    return GaussianGrads(*_pair(_cross_entropy, (mean_p, mean_q), (var_p, var_q), (log_var_p, log_var_q), True))


def gaussian_kl_divergence(
    mean_p: ArrayLike,
    var_p: ArrayLike | None = None,
    mean_q: ArrayLike | None = None,
    var_q: ArrayLike | None = None,
    *,
    log_var_p: ArrayLike | None = None,
    log_var_q: ArrayLike | None = None,
) -> FloatArray:
    """Kullback-Leibler divergence of two Gaussians: ``(x - ln(1 + x) + (mean_p - mean_q)^2 / var_q) / 2``.

    Here ``x = (var_p - var_q) / var_q``. It is what expecting ``q`` costs beyond the entropy of ``p``.

    Parameters
    ----------
    mean_p, var_p, mean_q, var_q, log_var_p, log_var_q : array_like
        As in `gaussian_cross_entropy`.

    Returns
    -------
    ndarray
        As from `gaussian_cross_entropy`; never below 0, and 0 for equal Gaussians alone.

    Raises
    ------
    ValueError, TypeError
        As in `gaussian_cross_entropy`.

    See Also
    --------
    kl_divergence : of distributions over classes.

    Notes
    -----
    ``x - ln(1 + x)``, which is ``x^2 / 2`` for nearly equal variances, is evaluated without its linear term, so that
    the divergence has all its digits there. Of logarithms ``x`` is ``expm1(log_var_p - log_var_q)``, of a difference
    that is not rounded.

    References
    ----------
    .. [1] S. Kullback, "Information Theory and Statistics", 1959, chapter 9.

    Examples
    --------
    >>> import xentrs as xe
    >>> print(xe.gaussian_kl_divergence([0.0, 1.0], 1.0, 0.0, [2.0, 1.0]).round(4))
    [0.0966 0.5   ]
    >>> print(f"{xe.gaussian_kl_divergence(0.0, 1 + 2**-40, 0.0, 1.0):.6g}")
    2.06795e-25

    The term of a variational autoencoder, whose variance is beyond all floats:

    >>> print(xe.gaussian_kl_divergence(0.0, mean_q=0.0, log_var_p=-800.0, log_var_q=0.0))
    399.5
    """
    value: FloatArray = _pair(_kl_divergence, (mean_p, mean_q), (var_p, var_q), (log_var_p, log_var_q))[0]
    return value


def gaussian_kl_divergence_with_grad(
    mean_p: ArrayLike,
    var_p: ArrayLike | None = None,
    mean_q: ArrayLike | None = None,
    var_q: ArrayLike | None = None,
    *,
    log_var_p: ArrayLike | None = None,
    log_var_q: ArrayLike | None = None,
) -> GaussianGrads:
    """Kullback-Leibler divergence of two Gaussians, and its gradients with respect to means and variances.

    With ``d = mean_p - mean_q``: ``d / var_q``, ``(var_p - var_q) / (2 var_p var_q)``, ``-d / var_q`` and
    ``(var_q - var_p - d^2) / (2 var_q^2)``. With respect to the logarithm of a variance it is the derivative with
    respect to the variance, times the variance.

    Parameters
    ----------
    mean_p, var_p, mean_q, var_q, log_var_p, log_var_q : array_like
        As in `gaussian_cross_entropy`.

    Returns
    -------
    GaussianGrads
        As from `gaussian_cross_entropy_with_grad`.

    Raises
    ------
    ValueError, TypeError
        As in `gaussian_cross_entropy`.

    Examples
    --------
    >>> import xentrs as xe
    >>> value, *grads = xe.gaussian_kl_divergence_with_grad(1.0, 2.0, 0.0, 1.0)
    >>> print(*grads)
    1.0 0.25 -1.0 -1.0
    """
    return GaussianGrads(*_pair(_kl_divergence, (mean_p, mean_q), (var_p, var_q), (log_var_p, log_var_q), True))


@_quietly
def _entropy(var: ArrayLike | None, log_var: ArrayLike | None) -> tuple[Any, Any]:
    given, is_log = _spread(var, log_var, "var")
    v = given.astype(np.float64)
    twice = math.log(2 * math.pi) + 1 + v if is_log else np.log(2 * np.pi * v) + 1
    grad = np.full_like(v, 0.5) if is_log else 0.5 / v
    return (0.5 * twice).astype(_of_values(given.dtype))[()], grad.astype(given.dtype)[()]


class _Terms:
    """What the formulas of two Gaussians are made of, in double precision and one shape."""

    def __init__(self, d: _Doubles, p: _Doubles, q: _Doubles, p_is_log: bool, q_is_log: bool) -> None:
        self.p, self.q, self.p_is_log, self.q_is_log = p, q, p_is_log, q_is_log
        self.pull = self.over_var_q(d)
        self.square = _times_exp(d, -q / 2) ** 2 if q_is_log else d * self.pull  # d^2 / var_q
        # var_p / var_q, its distance x from 1, and its logarithm.
        if p_is_log and q_is_log:
            difference = p - q
            virtual = p - difference
            lost = (p - (difference + virtual)) + (virtual - q)  # what the difference has been rounded by, exactly
            lost = np.where(np.isfinite(lost), lost, 0)
            ratio = np.exp(difference)
            self.ratio = np.where(np.isinf(ratio), ratio, ratio + ratio * lost)
            self.x = np.where(difference < 1, np.expm1(difference) + self.ratio * lost, self.ratio - 1)
            self.logarithm = difference + lost
            return
        if p_is_log:
            self.ratio = _times_exp(1 / q, p)
        else:
            self.ratio = self.over_var_q(p)
        self.x = self.ratio - 1 if p_is_log or q_is_log else (p - q) / q
        self.logarithm = np.log(self.ratio)
        if (beyond := np.isinf(self.logarithm)).any():  # the ratio has underflowed or overflowed
            self.logarithm = np.where(beyond, _log(p, p_is_log) - _log(q, q_is_log), self.logarithm)

    def over_var_q(self, x: _Doubles | float) -> _Doubles:
        result: _Doubles = _times_exp(x, -self.q) if self.q_is_log else x / self.q
        return result

    def grads(self, by_p: _Doubles, by_log_q: _Doubles) -> tuple[_Doubles, ...]:
        """All derivatives, of which that with respect to `p` and that with respect to a logarithm `q` are given."""
        return self.pull, by_p, 0 - self.pull, by_log_q if self.q_is_log else by_log_q / self.q


def _cross_entropy(terms: _Terms, with_grad: bool) -> tuple[_Doubles, ...]:
    log_var = math.log(2 * math.pi) + terms.q if terms.q_is_log else np.log(2 * np.pi * terms.q)
    value = 0.5 * (log_var + (terms.ratio + terms.square))
    if not with_grad:
        return (value,)
    by_p = 0.5 * terms.ratio if terms.p_is_log else terms.over_var_q(0.5)
    return value, *terms.grads(by_p, 0.5 * (-terms.x - terms.square))


def _kl_divergence(terms: _Terms, with_grad: bool) -> tuple[_Doubles, ...]:
    value = 0.5 * (_excess(terms.x, terms.logarithm) + terms.square)
    if not with_grad:
        return (value,)
    by_p = 0.5 * terms.x if terms.p_is_log else 0.5 * terms.x / terms.p
    return value, *terms.grads(by_p, 0.5 * (-terms.x - terms.square))


_Formula = Callable[[_Terms, bool], tuple[_Doubles, ...]]


def _excess(x: _Doubles, logarithm: _Doubles) -> _Doubles:
    """``x - ln(1 + x)``, given the logarithm.

    With ``r = x / (2 + x)`` the logarithm is ``2 atanh(r) = 2 r + 2 r^3 / 3 + ...``, and the difference
    ``r (x - 2 r^2 / 3 - 2 r^4 / 5 - ...)``. Up to ``r = 1/8``, ten terms leave 1e-19.
    """
    r = x / (2 + x)
    near = np.abs(r) < 0.125
    z = np.where(near, r * r, 0)
    tail = np.zeros_like(z)
    for k in range(10, 0, -1):
        tail = z * (tail + 2 / (2 * k + 1))
    return np.where(near, r * (x - tail), np.where(np.isposinf(x), np.inf, x - logarithm))


def _times_exp(factor: _Doubles | float, x: _Doubles) -> _Doubles:
    """``factor * exp(x)``, also where the exponential alone is beyond the floats.

    The smallest positive number is exp(-745) and the largest exp(710), so past 2800 the product is 0 or infinite.
    """
    far = np.abs(x) > 700
    part = np.exp(np.where(far, np.clip(x, -2800, 2800) / 4, 0))
    return np.where(far, factor * part * part * part * part, factor * np.exp(np.where(far, 0, x)))


def _log(var: _Doubles, is_log: bool) -> _Doubles:
    return var if is_log else np.log(np.minimum(var, np.finfo(np.float64).max))


@_quietly
def _pair(
    formula: _Formula,
    means: tuple[ArrayLike, ArrayLike | None],
    variances: tuple[ArrayLike | None, ArrayLike | None],
    log_variances: tuple[ArrayLike | None, ArrayLike | None],
    with_grad: bool = False,
) -> tuple[Any, ...]:
    if means[1] is None:
        raise TypeError("mean_q must be given, got None")
    mean_p, mean_q = as_logits(means[0], "mean_p", None)[0], as_logits(means[1], "mean_q", None)[0]
    p, p_is_log = _spread(variances[0], log_variances[0], "var_p")
    q, q_is_log = _spread(variances[1], log_variances[1], "var_q")
    given = (mean_p, p, mean_q, q)
    dtypes = {array.dtype for array in given}
    widest = max(dtypes, key=lambda dtype: dtype.itemsize)
    dtype = np.dtype(np.float32) if widest.itemsize == 2 and len(dtypes) > 1 else widest
    try:
        if max(array.ndim for array in given) <= 32:
            shape = np.broadcast(*given).shape
        else:  # for which that has no room
            shape = reduce(np.logical_or, (np.broadcast_to(False, array.shape) for array in given)).shape
    except ValueError:
        names = ("mean_p", _name("var_p", p_is_log), "mean_q", _name("var_q", q_is_log))
        shapes = ", ".join(str(array.shape) for array in given)
        raise ValueError(f"{', '.join(names)} must broadcast against each other, got the shapes {shapes}") from None
    whole = [np.broadcast_to(array, shape) for array in given]
    value = np.empty(shape, _of_values(dtype))
    # A gradient that is a sum is kept in double precision until all of its blocks are there.
    gradients = [
        np.empty(shape, dtype) if array.shape == shape else np.zeros(array.shape)
        for array in (given if with_grad else ())
    ]
    for block in _blocks(shape):
        mp, sp, mq, sq = (array[block].astype(np.float64) for array in whole)
        value[block], *grads = formula(_Terms(mp - mq, sp, sq, p_is_log, q_is_log), with_grad)
        for gradient, grad in zip(gradients, grads, strict=True):
            if gradient.shape == shape:
                gradient[block] = grad
            else:
                place = gradient[_within(block, gradient.shape, len(shape))]
                place += sum_to(grad, place, place.dtype)
    return value[()], *(gradient.astype(dtype, copy=False)[()] for gradient in gradients)


_BLOCK = 1 << 14
"""Elements that are computed at a time: the formulas make some thirty arrays of them, in the caches."""

_Block = tuple[Any, ...]


def _blocks(shape: tuple[int, ...]) -> Iterator[_Block]:
    """Indices that divide an array into blocks, in order: some of one axis, each of those before it."""
    sizes = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
    axis = next((axis for axis, size in enumerate(sizes) if size <= _BLOCK), 0)
    if not all(shape):
        return
    if not shape:
        yield (...,)
        return
    rows = max(1, _BLOCK // sizes[axis])
    for before in itertools.product(*(range(n) for n in shape[:axis])):
        for first in range(0, shape[axis], rows):
            yield *(slice(i, i + 1) for i in before), slice(first, first + rows), ...


def _within(block: _Block, shape: tuple[int, ...], axes: int) -> _Block:
    """The index of the same block in an array of fewer or shorter axes."""
    here = block[axes - len(shape) : -1]
    return *(index if n != 1 else slice(None) for index, n in zip(here, shape, strict=False)), ...


def _spread(var: ArrayLike | None, log_var: ArrayLike | None, name: str) -> tuple[NDArray[Any], bool]:
    """Variances or their logarithms, whichever were given, and whether it is the logarithms."""
    is_log = var is None
    if is_log == (log_var is None):
        got = "neither" if is_log else "both"
        raise ValueError(f"{name} or {_name(name, True)} must be given, one of the two, got {got}")
    chosen: Any = log_var if is_log else var
    given = as_logits(chosen, _name(name, is_log), None)[0]
    if not is_log and np.any(wrong := given <= 0):
        index = int(np.argmax(wrong))
        raise ValueError(f"{name} must be positive, got {float(given.ravel()[index])} at index {index}")
    return given, is_log


def _name(name: str, is_log: bool) -> str:
    return f"log_{name}" if is_log else name


def _of_values(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype of values: float32 for half precision, which is for storage."""
    return np.dtype(np.float32) if dtype.itemsize == 2 else dtype
