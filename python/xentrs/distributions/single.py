"""What one distribution has: entropy and perplexity."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from numpy.typing import ArrayLike

from .. import _core
from .._calls import Expression, calls
from ..losses.results import FloatArray

OPTIONS = Expression("(base, axis, normalize, from_logits)")
"""How the core takes the options of distributions."""
OPTIONS_WITHOUT_BASE = Expression("(None, axis, normalize, from_logits)")


class ValueGrad(NamedTuple):
    """A function of one distribution, and its gradient: ``value, grad = entropy_with_grad(p)``."""

    value: FloatArray
    """One value for each row."""

    grad: FloatArray
    """The gradient of the sum of the values, in the shape and dtype of `p`."""


value_grad: Callable[[Any], ValueGrad] = partial(tuple.__new__, ValueGrad)


@calls(_core.entropy, options=OPTIONS, with_grad=False)
def entropy(
    p: ArrayLike,
    *,
    base: float | None = None,
    axis: int = -1,
    normalize: bool = False,
    from_logits: bool = False,
) -> FloatArray:
    """Entropy of distributions: ``H(p) = -sum_k p_k ln p_k``, how much is not known before the outcome is.

    Parameters
    ----------
    p : array_like, shape (..., c)
        Distributions over ``c`` classes: float16, bfloat16, float32 or float64. Integers and lists are taken as
        float64.
    base : float, optional
        Base of the logarithm, above 1: 2 gives bits, 10 bans, None nats.
    axis : int, default -1
        The axis of the classes, along which each distribution sums to one.
    normalize : bool, default False
        Divide each row by its sum first, which is done in double precision. Without it a row that is no distribution
        is an error.
    from_logits : bool, default False
        `p` holds logits, whose softmax are the distributions.

    Returns
    -------
    ndarray
        One value for each row: in the dtype of `p` (float32 where that is half precision), and in its shape without
        `axis`; a NumPy scalar where no axis is left.

    Raises
    ------
    ValueError
        If a number is negative, or the sum of a row is off 1 by more than ``4 eps (1 + sqrt(c))``, where ``eps`` is
        that of float32, in float64 too: lists and files hold numbers that were computed in float32. The message names
        the row. (For half precision it is ``4 eps`` and the bound of float32, and half the smallest number for each
        class.) With `normalize`, if a sum is not positive and finite. If `base` is
        not above 1, `axis` does not exist, or both `normalize` and `from_logits` are set.
    TypeError
        If `p` is not real numbers of one of these dtypes.

    See Also
    --------
    perplexity : the exponential of the entropy.
    cross_entropy : the entropy of outcomes that are expected to be distributed otherwise.

    Notes
    -----
    ``0 ln 0 = 0``. A NaN makes the value of its row NaN, and of no other. Of logits, one +inf takes all the
    probability, -inf has none, and nothing but -inf, or several +inf, is NaN.

    Of logits the entropy is ``log1p`` of the sum of all exponentials but the largest, plus the mean distance to the
    largest logit: two positive terms, so that the entropy of a confident distribution has all its digits, where
    ``-(p * log(p)).sum()`` has lost them with the complement of ``p``.

    Against ``scipy.stats.entropy``: rows are not divided by their sums unless asked, so that logits or labels passed by
    mistake are noticed; the axis is the last one, not the first.

    References
    ----------
    .. [1] C. E. Shannon, "A Mathematical Theory of Communication", Bell System Technical Journal 27, 1948, section 6.

    Examples
    --------
    >>> import xentrs as xe
    >>> print(xe.entropy([[0.5, 0.5, 0.0, 0.0], [0.25, 0.25, 0.25, 0.25]], base=2))
    [1. 2.]
    >>> print(round(float(xe.entropy([3, 1], normalize=True)), 4))
    0.5623
    >>> print(f"{xe.entropy([40.0, 0.0], from_logits=True):.5g}")
    1.7418e-16
    """


@calls(_core.entropy, returns=value_grad, options=OPTIONS, with_grad=True)
def entropy_with_grad(
    p: ArrayLike,
    *,
    base: float | None = None,
    axis: int = -1,
    normalize: bool = False,
    from_logits: bool = False,
    grad_output: ArrayLike | None = None,
) -> ValueGrad:
    """Entropy of distributions, and its gradient.

    ``dH / dp_k = -(ln p_k + 1)``, each probability a free variable; ``(-ln p_k - H) / sum`` with respect to what
    `normalize` has divided by its sum; ``-p_k (ln p_k + H)`` with respect to logits.

    Parameters
    ----------
    p, base, axis, normalize, from_logits
        As in `entropy`.
    grad_output : float or array_like, optional
        What the gradient is multiplied by, in the same sweep: a number of any sign, or one for each row, an array that
        NumPy's rules repeat to the shape of the values.

    Returns
    -------
    ValueGrad
        The named tuple ``(value, grad)``: the values as from `entropy`, and the gradient of their sum in the shape and
        dtype of `p`.

    Raises
    ------
    ValueError, TypeError
        As in `entropy`.

    See Also
    --------
    entropy : the value alone, with the meaning of each option.

    Notes
    -----
    At ``p_k = 0`` the curve is vertical and the derivative +inf. With respect to a logit of -inf it is 0. A row whose
    value is NaN has a gradient of NaN.

    Examples
    --------
    >>> import xentrs as xe
    >>> value, grad = xe.entropy_with_grad([0.5, 0.25, 0.25])
    >>> grad.round(4)
    array([-0.3069,  0.3863,  0.3863])
    """


@calls(_core.perplexity, options=OPTIONS_WITHOUT_BASE, with_grad=False)
def perplexity(
    p: ArrayLike,
    *,
    axis: int = -1,
    normalize: bool = False,
    from_logits: bool = False,
) -> FloatArray:
    """Perplexity of distributions: ``exp H(p)``, the number of equally likely classes that are as uncertain.

    Parameters
    ----------
    p, axis, normalize, from_logits
        As in `entropy`. There is no base: ``b ** H`` with the entropy to the base ``b`` is the same for all.

    Returns
    -------
    ndarray
        One value for each row, between 1 and ``c``: in the dtype of `p` (float32 where that is half precision), and in
        its shape without `axis`; a NumPy scalar where no axis is left.

    Raises
    ------
    ValueError, TypeError
        As in `entropy`.

    See Also
    --------
    entropy : its logarithm.

    Notes
    -----
    The perplexity of a language model is another mean: the exponential of the mean *cross*-entropy of its predictions,
    ``exp(softmax_cross_entropy(logits, target))``.

    Examples
    --------
    >>> import xentrs as xe
    >>> print(xe.perplexity([[1.0, 0.0, 0.0, 0.0], [0.25, 0.25, 0.25, 0.25]]))
    [1. 4.]
    """


@calls(_core.perplexity, returns=value_grad, options=OPTIONS_WITHOUT_BASE, with_grad=True)
def perplexity_with_grad(
    p: ArrayLike,
    *,
    axis: int = -1,
    normalize: bool = False,
    from_logits: bool = False,
    grad_output: ArrayLike | None = None,
) -> ValueGrad:
    """Perplexity of distributions, and its gradient: ``exp(H)`` times that of the entropy.

    Parameters
    ----------
    p, axis, normalize, from_logits
        As in `entropy`.
    grad_output : float or array_like, optional
        What the gradient is multiplied by, in the same sweep: a number of any sign, or one for each row, an array that
        NumPy's rules repeat to the shape of the values.

    Returns
    -------
    ValueGrad
        The named tuple ``(value, grad)``: the values as from `perplexity`, and the gradient of their sum in the shape
        and dtype of `p`.

    Raises
    ------
    ValueError, TypeError
        As in `entropy`.

    See Also
    --------
    perplexity : the value alone.

    Examples
    --------
    >>> import xentrs as xe
    >>> value, grad = xe.perplexity_with_grad([0.5, 0.5])
    >>> print(value.round(12), grad.round(4))
    2.0 [-0.6137 -0.6137]
    """
