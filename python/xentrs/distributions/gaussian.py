"""Entropy, cross-entropy and Kullback-Leibler divergence of Gaussians, in closed form, with their gradients.

Element by element, on numbers that broadcast against each other, computed in double precision and rounded once. Values
are in nats. They are those of densities: an entropy may be negative.
"""

from collections.abc import Callable
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
    """The gradient of the sum of the values, in the shape of the variances."""


class GaussianGrads(NamedTuple):
    """A function of pairs of Gaussians, and the gradients of the sum of its values, each in its argument's shape."""

    value: FloatArray
    """One value for each pair, in the shape that the arguments broadcast to."""

    grad_mean_p: FloatArray
    """With respect to `mean_p`."""

    grad_var_p: FloatArray
    """With respect to `var_p`."""

    grad_mean_q: FloatArray
    """With respect to `mean_q`."""

    grad_var_q: FloatArray
    """With respect to `var_q`."""


def gaussian_entropy(var: ArrayLike) -> FloatArray:
    """Entropy of Gaussians: ``ln(2 pi e var) / 2``, whatever their means.

    Parameters
    ----------
    var : array_like, shape (...)
        Variances, positive: float16, bfloat16, float32 or float64. Integers and lists are taken as float64.

    Returns
    -------
    ndarray
        In the shape and dtype of `var` (float32 where that is half precision), in nats; a NumPy scalar where there are
        no axes.

    Raises
    ------
    ValueError
        If a variance is not positive. NaN gives NaN.
    TypeError
        If `var` is not real numbers of one of these dtypes.

    See Also
    --------
    gaussian_cross_entropy : the entropy of outcomes that are expected to be distributed otherwise.

    Examples
    --------
    >>> import xentrs as xe
    >>> xe.gaussian_entropy([0.01, 1.0, 4.0]).round(4)
    array([-0.8836,  1.4189,  2.1121])
    """
    value: FloatArray = _entropy(var, with_grad=False)[0]
    return value


def gaussian_entropy_with_grad(var: ArrayLike) -> GaussianEntropyGrad:
    """Entropy of Gaussians, and its gradient ``1 / (2 var)``.

    Parameters
    ----------
    var : array_like, shape (...)
        As in `gaussian_entropy`.

    Returns
    -------
    GaussianEntropyGrad
        The named tuple ``(value, grad_var)``.

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
    return GaussianEntropyGrad(*_entropy(var, with_grad=True))


def gaussian_cross_entropy(mean_p: ArrayLike, var_p: ArrayLike, mean_q: ArrayLike, var_q: ArrayLike) -> FloatArray:
    """Cross-entropy of two Gaussians: ``ln(2 pi var_q) / 2 + (var_p + (mean_p - mean_q)^2) / (2 var_q)``.

    It is the mean of `gaussian_nll` over targets drawn from ``p``, where ``q`` was predicted.

    Parameters
    ----------
    mean_p, var_p, mean_q, var_q : array_like
        Means, and variances, positive, of shapes that broadcast against each other: float16, bfloat16, float32 or
        float64. Integers and lists are taken as float64.

    Returns
    -------
    ndarray
        In the shape that the arguments broadcast to and the widest of their dtypes (float32 where that is half
        precision), in nats; a NumPy scalar where there are no axes.

    Raises
    ------
    ValueError
        If a variance is not positive, or the shapes do not fit. NaN gives NaN.
    TypeError
        If an argument is not real numbers of one of these dtypes.

    See Also
    --------
    gaussian_nll : the loss of single targets.

    Examples
    --------
    >>> import xentrs as xe
    >>> print(xe.gaussian_cross_entropy(0.0, 1.0, [0.0, 1.0], 1.0).round(4))
    [1.4189 1.9189]
    """
    value: FloatArray = _pair(_cross_entropy, mean_p, var_p, mean_q, var_q)[0]
    return value


def gaussian_cross_entropy_with_grad(
    mean_p: ArrayLike, var_p: ArrayLike, mean_q: ArrayLike, var_q: ArrayLike
) -> GaussianGrads:
    """Cross-entropy of two Gaussians, and its gradients with respect to all four arguments.

    With ``d = mean_p - mean_q``: ``d / var_q``, ``1 / (2 var_q)``, ``-d / var_q`` and
    ``(var_q - var_p - d^2) / (2 var_q^2)``.

    Parameters
    ----------
    mean_p, var_p, mean_q, var_q : array_like
        As in `gaussian_cross_entropy`.

    Returns
    -------
    GaussianGrads
        The named tuple ``(value, grad_mean_p, grad_var_p, grad_mean_q, grad_var_q)``. The gradient of an argument that
        was broadcast is summed to its shape.

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
    return GaussianGrads(*_pair(_cross_entropy, mean_p, var_p, mean_q, var_q, with_grad=True))


def gaussian_kl_divergence(mean_p: ArrayLike, var_p: ArrayLike, mean_q: ArrayLike, var_q: ArrayLike) -> FloatArray:
    """Kullback-Leibler divergence of two Gaussians: ``(x - ln(1 + x) + (mean_p - mean_q)^2 / var_q) / 2``.

    Here ``x = (var_p - var_q) / var_q``. It is what expecting ``q`` costs beyond the entropy of ``p``.

    Parameters
    ----------
    mean_p, var_p, mean_q, var_q : array_like
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
    the divergence has all its digits there.

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
    """
    value: FloatArray = _pair(_kl_divergence, mean_p, var_p, mean_q, var_q)[0]
    return value


def gaussian_kl_divergence_with_grad(
    mean_p: ArrayLike, var_p: ArrayLike, mean_q: ArrayLike, var_q: ArrayLike
) -> GaussianGrads:
    """Kullback-Leibler divergence of two Gaussians, and its gradients with respect to all four arguments.

    With ``d = mean_p - mean_q``: ``d / var_q``, ``(var_p - var_q) / (2 var_p var_q)``, ``-d / var_q`` and
    ``(var_q - var_p - d^2) / (2 var_q^2)``.

    Parameters
    ----------
    mean_p, var_p, mean_q, var_q : array_like
        As in `gaussian_cross_entropy`.

    Returns
    -------
    GaussianGrads
        The named tuple ``(value, grad_mean_p, grad_var_p, grad_mean_q, grad_var_q)``. The gradient of an argument that
        was broadcast is summed to its shape.

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
    return GaussianGrads(*_pair(_kl_divergence, mean_p, var_p, mean_q, var_q, with_grad=True))


@_quietly
def _entropy(var: ArrayLike, with_grad: bool) -> tuple[Any, Any]:
    given = as_logits(var, "var", None)[0]
    v = _positive(given, "var")
    value, grad = 0.5 * (np.log(2 * np.pi * v) + 1), 0.5 / v if with_grad else v
    return value.astype(_of_values(given.dtype))[()], grad.astype(given.dtype)[()]


def _of_values(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype of what is computed from numbers of a dtype."""
    return np.promote_types(dtype, np.float32)


_Formula = Callable[[_Doubles, _Doubles, _Doubles, bool], tuple[_Doubles, ...]]


def _cross_entropy(d: _Doubles, vp: _Doubles, vq: _Doubles, with_grad: bool) -> tuple[_Doubles, ...]:
    pull = d / vq
    value = 0.5 * (np.log(2 * np.pi * vq) + (vp / vq + d * pull))
    return (value, pull, 0.5 / vq, 0 - pull, 0.5 * ((vq - vp) / vq - d * pull) / vq) if with_grad else (value,)


def _kl_divergence(d: _Doubles, vp: _Doubles, vq: _Doubles, with_grad: bool) -> tuple[_Doubles, ...]:
    pull, x = d / vq, (vp - vq) / vq
    value = 0.5 * (_excess(x, vp, vq) + d * pull)
    return (value, pull, 0.5 * x / vp, 0 - pull, 0.5 * (-x - d * pull) / vq) if with_grad else (value,)


def _excess(x: _Doubles, vp: _Doubles, vq: _Doubles) -> _Doubles:
    """``x - ln(1 + x)`` for ``1 + x = vp / vq``.

    With ``r = x / (2 + x)`` the logarithm is ``2 atanh(r) = 2 r + 2 r^3 / 3 + ...``, and the difference
    ``r (x - 2 r^2 / 3 - 2 r^4 / 5 - ...)``. Up to ``r = 1/8``, ten terms leave 1e-19.
    """
    r = x / (2 + x)
    near = np.abs(r) < 0.125
    z = np.where(near, r * r, 0)
    tail = np.zeros_like(z)
    for k in range(10, 0, -1):
        tail = z * (tail + 2 / (2 * k + 1))
    logarithm = np.log(vp / vq)
    if (lost := np.isinf(logarithm)).any():  # the ratio has underflowed or overflowed
        largest = np.finfo(np.float64).max
        logarithm = np.where(lost, np.log(np.minimum(vp, largest)) - np.log(np.minimum(vq, largest)), logarithm)
    return np.where(near, r * (x - tail), x - logarithm)


@_quietly
def _pair(
    formula: _Formula,
    mean_p: ArrayLike,
    var_p: ArrayLike,
    mean_q: ArrayLike,
    var_q: ArrayLike,
    with_grad: bool = False,
) -> tuple[Any, ...]:
    names = ("mean_p", "var_p", "mean_q", "var_q")
    given = [as_logits(x, name, None)[0] for x, name in zip((mean_p, var_p, mean_q, var_q), names, strict=True)]
    dtypes = {array.dtype for array in given}
    widest = max(dtypes, key=lambda dtype: dtype.itemsize)
    dtype = np.dtype(np.float32) if widest.itemsize == 2 and len(dtypes) > 1 else widest
    mp, mq = given[0].astype(np.float64), given[2].astype(np.float64)
    vp, vq = _positive(given[1], "var_p"), _positive(given[3], "var_q")
    try:
        mp, vp, mq, vq = np.broadcast_arrays(mp, vp, mq, vq)
    except ValueError:
        shapes = ", ".join(str(array.shape) for array in given)
        raise ValueError(f"{', '.join(names)} must broadcast against each other, got the shapes {shapes}") from None
    value, *grads = formula(mp - mq, vp, vq, with_grad)
    summed = [sum_to(grad, array) for grad, array in zip(grads, given, strict=False)]
    return value.astype(_of_values(dtype))[()], *(grad.astype(dtype)[()] for grad in summed)


def _positive(var: NDArray[Any], name: str) -> _Doubles:
    doubles: _Doubles = var.astype(np.float64)
    if np.any(wrong := doubles <= 0):
        index = int(np.argmax(wrong))
        raise ValueError(f"{name} must be positive, got {doubles.ravel()[index]} at index {index}")
    return doubles
