"""What two distributions have between them: cross-entropy and divergences."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from numpy.typing import ArrayLike

from .. import _core
from .._calls import Expression, calls
from ..losses.results import FloatArray
from .single import OPTIONS

MORE = Expression("(temperature, sample_weight)")


class ValueGrads(NamedTuple):
    """A function of two distributions, and its gradients: ``value, grad_p, grad_q = kl_divergence_with_grad(p, q)``."""

    value: FloatArray
    """One value for each row."""

    grad_p: FloatArray
    """The gradient of the sum of the values with respect to `p`, in its shape."""

    grad_q: FloatArray
    """The gradient of the sum of the values with respect to `q`, in its shape."""


value_grads: Callable[[Any], ValueGrads] = partial(tuple.__new__, ValueGrads)


@calls(_core.cross_entropy, options=OPTIONS, with_grad=False)
def cross_entropy(
    p: ArrayLike,
    q: ArrayLike,
    *,
    base: float | None = None,
    axis: int = -1,
    normalize: bool = False,
    from_logits: bool = False,
) -> FloatArray:
    """Cross-entropy of two distributions: ``H(p, q) = -sum_k p_k ln q_k = H(p) + KL(p || q)``.

    It is what outcomes drawn from ``p`` cost whoever expects ``q``. For logits and labels there is
    `softmax_cross_entropy`.

    Parameters
    ----------
    p, q : array_like, shape (..., c)
        Distributions over ``c`` classes: float16, bfloat16, float32 or float64. Integers and lists are taken as
        float64; of two dtypes the wider one is used (float32 for float16 and bfloat16). Both have the same shape, or
        one of them is a single distribution of shape (c,), held against every row of the other.
    base : float, optional
        Base of the logarithm, above 1: 2 gives bits, 10 bans, None nats.
    axis : int, default -1
        The axis of the classes; a single distribution has but one.
    normalize : bool, default False
        Divide each row of both by its sum first, which is done in double precision. Without it a row that is no
        distribution is an error.
    from_logits : bool, default False
        Both hold logits, whose softmax are the distributions.

    Returns
    -------
    ndarray
        One value for each row: in the dtype of the distributions (float32 where that is half precision), and in their
        shape without `axis`; a NumPy scalar where no axis is left.

    Raises
    ------
    ValueError
        If the shapes do not fit, or as in `entropy`, for each of the two; of two dtypes the rounding of the coarser one
        is accepted in both.
    TypeError
        If `p` or `q` is not real numbers of one of these dtypes.

    See Also
    --------
    cross_entropy_with_grad : the value together with its gradients.
    softmax_cross_entropy : the loss, from logits and labels.
    kl_divergence : what of it is due to the difference.

    Notes
    -----
    A term with ``p_k = 0`` is 0 even where ``q_k = 0``; ``p_k > 0 = q_k`` costs +inf. A NaN in either makes the value
    of its row NaN. Logits as in `entropy`: a probability that underflows still has its logarithm.

    Against ``torch.nn.functional.cross_entropy``: that one takes logits and labels, as `softmax_cross_entropy` does.

    References
    ----------
    .. [1] C. M. Bishop, "Pattern Recognition and Machine Learning", 2006, section 1.6.

    Examples
    --------
    >>> import xentrs as xe
    >>> print(xe.cross_entropy([0.5, 0.25, 0.25], [0.25, 0.25, 0.5], base=2))
    1.75

    One distribution against several:

    >>> print(xe.cross_entropy([0.5, 0.5], [[0.5, 0.5], [0.25, 0.75], [1.0, 0.0]]).round(4))
    [0.6931 0.837     inf]
    """


@calls(_core.cross_entropy, returns=value_grads, options=OPTIONS, with_grad=True)
def cross_entropy_with_grad(
    p: ArrayLike,
    q: ArrayLike,
    *,
    base: float | None = None,
    axis: int = -1,
    normalize: bool = False,
    from_logits: bool = False,
    grad_output: ArrayLike | None = None,
) -> ValueGrads:
    """Cross-entropy of two distributions, and its gradients with respect to both.

    ``dH / dp_k = -ln q_k`` and ``dH / dq_k = -p_k / q_k``, each probability a free variable; with respect to logits
    ``-p_k (ln q_k + H)`` and ``q_k - p_k``.

    Parameters
    ----------
    p, q, base, axis, normalize, from_logits
        As in `cross_entropy`.
    grad_output : float or array_like, optional
        What both gradients are multiplied by, in the same sweep: a number of any sign, or one for each row, an array
        that NumPy's rules repeat to the shape of the values.

    Returns
    -------
    ValueGrads
        The named tuple ``(value, grad_p, grad_q)``: the values as from `cross_entropy`, and the gradients of their sum
        in the shapes of `p` and `q`. The gradient of a single distribution beside many rows is summed over them.

    Raises
    ------
    ValueError, TypeError
        As in `cross_entropy`.

    See Also
    --------
    cross_entropy : the value alone, with the meaning of each option.

    Notes
    -----
    With `normalize`, the gradients are those with respect to what was divided. A class that neither distribution has
    (``p_k = q_k = 0``) takes no part: its derivatives are 0. Elsewhere they are infinite where the formula is. Of
    logits, `grad_q` is finite even where the value is +inf; `grad_p` is NaN in such a row.

    Examples
    --------
    >>> import xentrs as xe
    >>> value, grad_p, grad_q = xe.cross_entropy_with_grad([0.5, 0.5], [0.25, 0.75])
    >>> print(grad_p.round(4), grad_q.round(4))
    [1.3863 0.2877] [-2.     -0.6667]
    """


@calls(_core.kl_divergence, more=MORE, options=OPTIONS, with_grad=False)
def kl_divergence(
    p: ArrayLike,
    q: ArrayLike,
    *,
    base: float | None = None,
    axis: int = -1,
    normalize: bool = False,
    from_logits: bool = False,
    temperature: float = 1.0,
    sample_weight: ArrayLike | None = None,
) -> FloatArray:
    """Kullback-Leibler divergence ``KL(p || q) = sum_k p_k ln(p_k / q_k)``: what expecting ``q`` costs beyond ``H(p)``.

    Computed as ``sum_k (p_k ln(p_k / q_k) - p_k + q_k)``, which is the same for distributions, and in which no term is
    negative: the divergence is never below 0, is 0 for equal distributions alone, and has all its digits where they are
    nearly equal.

    Parameters
    ----------
    p, q, base, axis, normalize, from_logits
        As in `cross_entropy`.
    temperature : float, default 1.0
        Positive divisor of the logits of both, with `from_logits`; others have none. Gradients are with respect to the
        logits before the division. Distillation multiplies by ``temperature ** 2``, which `sample_weight` can do.
    sample_weight : array_like, optional
        Non-negative weight of each row, in the shape of the values, which are multiplied by it, as the gradients are. A
        row of weight 0 has value and gradient 0, whatever stands in it, so that 0 leaves out what is to be ignored.

    Returns
    -------
    ndarray
        One value for each row: in the dtype of the distributions (float32 where that is half precision), and in their
        shape without `axis`; a NumPy scalar where no axis is left.

    Raises
    ------
    ValueError, TypeError
        As in `cross_entropy`, or if `temperature` is not positive and finite, or not 1 of what are no logits.

    See Also
    --------
    kl_divergence_with_grad : the value together with its gradients.
    js_divergence : symmetric, and bounded.

    Notes
    -----
    A class with ``p_k = 0`` costs nothing; ``p_k > 0 = q_k`` costs +inf. A NaN in either makes the value of its row
    NaN.

    The sums of rounded probabilities are not quite 1. Each term is that of ``scipy.special.kl_div``, in which they do
    not show; ``scipy.special.rel_entr`` and ``torch.nn.functional.kl_div`` (which takes ``ln q`` first, then ``p``)
    leave ``- p_k + q_k`` out, and may come out below 0. None of them has more digits than the difference of two
    logarithms.

    References
    ----------
    .. [1] S. Kullback and R. A. Leibler, "On Information and Sufficiency", Annals of Mathematical Statistics 22, 1951.

    Examples
    --------
    >>> import numpy as np
    >>> import xentrs as xe
    >>> print(xe.kl_divergence([0.5, 0.5], [[0.5, 0.5], [0.25, 0.75], [1.0, 0.0]]).round(4))
    [0.     0.1438    inf]

    A difference in the tenth digit, in float64; the textbook formula knows none of the result's digits:

    >>> p, q = np.array([0.5, 0.5]), np.array([0.5 + 1e-10, 0.5 - 1e-10])
    >>> print(f"{xe.kl_divergence(p, q):.6g}")
    2e-20

    Distillation at a temperature of 2, of which the last row is padding:

    >>> teacher, student = [[4.0, 1.0, 0.0], [0.0, 0.0, 0.0]], [[2.0, 2.0, 0.0], [np.nan, 0.0, 0.0]]
    >>> print(xe.kl_divergence(teacher, student, from_logits=True, temperature=2.0, sample_weight=[4.0, 0.0]).round(4))
    [0.8386 0.    ]
    """


@calls(_core.kl_divergence, more=MORE, returns=value_grads, options=OPTIONS, with_grad=True)
def kl_divergence_with_grad(
    p: ArrayLike,
    q: ArrayLike,
    *,
    base: float | None = None,
    axis: int = -1,
    normalize: bool = False,
    from_logits: bool = False,
    temperature: float = 1.0,
    sample_weight: ArrayLike | None = None,
    grad_output: ArrayLike | None = None,
) -> ValueGrads:
    """Kullback-Leibler divergence of two distributions, and its gradients with respect to both.

    ``dKL / dp_k = ln(p_k / q_k)`` and ``dKL / dq_k = 1 - p_k / q_k``, each probability a free variable of the sum in
    `kl_divergence`; with respect to logits ``p_k (ln(p_k / q_k) - KL)`` and ``q_k - p_k``. All are 0 where ``p = q``.

    Parameters
    ----------
    p, q, base, axis, normalize, from_logits
        As in `cross_entropy`.
    temperature, sample_weight
        As in `kl_divergence`.
    grad_output : float or array_like, optional
        What both gradients are multiplied by, in the same sweep: a number of any sign, or one for each row, an array
        that NumPy's rules repeat to the shape of the values.

    Returns
    -------
    ValueGrads
        The named tuple ``(value, grad_p, grad_q)``: the values as from `kl_divergence`, and the gradients of their sum
        in the shapes of `p` and `q`. The gradient of a single distribution beside many rows is summed over them.

    Raises
    ------
    ValueError, TypeError
        As in `cross_entropy`.

    See Also
    --------
    kl_divergence : the value alone.

    Notes
    -----
    The derivatives of the textbook's sum have a constant more, ``ln(p_k / q_k) + 1`` and ``-p_k / q_k``: the same to
    every step that keeps both sums at 1.

    A class that neither distribution has (``p_k = q_k = 0``) takes no part: its derivatives are 0. At ``p_k = 0 < q_k``
    they are -inf and 1, at ``p_k > 0 = q_k`` +inf and -inf. Of logits, `grad_q` is finite even where the value is +inf;
    `grad_p` is NaN in such a row.

    Examples
    --------
    >>> import xentrs as xe
    >>> value, grad_p, grad_q = xe.kl_divergence_with_grad([0.5, 0.5], [0.25, 0.75])
    >>> print(grad_p.round(4), grad_q.round(4))
    [ 0.6931 -0.4055] [-1.      0.3333]
    """


@calls(_core.js_divergence, more=MORE, options=OPTIONS, with_grad=False)
def js_divergence(
    p: ArrayLike,
    q: ArrayLike,
    *,
    weight: float = 0.5,
    base: float | None = None,
    axis: int = -1,
    normalize: bool = False,
    from_logits: bool = False,
    temperature: float = 1.0,
    sample_weight: ArrayLike | None = None,
) -> FloatArray:
    """Jensen-Shannon divergence ``H(m) - w H(p) - v H(q)`` of the mixture ``m = w p + v q``, ``v = 1 - w``.

    It is what an outcome tells about which of the two it was drawn from, when ``p`` is taken with probability ``w``;
    also ``w KL(p || m) + v KL(q || m)``. With ``w = 1/2`` it is symmetric, and at most ``ln 2``, or one bit.

    Parameters
    ----------
    p, q
        As in `cross_entropy`.
    weight : float in [0, 1], default 0.5
        The weight ``w`` of `p`.
    base, axis, normalize, from_logits
        As in `cross_entropy`.
    temperature, sample_weight
        As in `kl_divergence`.

    Returns
    -------
    ndarray
        One value for each row, between 0 and ``-w ln w - v ln v``: in the dtype of the distributions (float32 where
        that is half precision), and in their shape without `axis`; a NumPy scalar where no axis is left.

    Raises
    ------
    ValueError, TypeError
        As in `cross_entropy`, or if `weight` is outside [0, 1].

    See Also
    --------
    js_divergence_with_grad : the value together with its gradients.
    kl_divergence : not symmetric, and not bounded.

    Notes
    -----
    Always finite. It is 0 for equal distributions, and has all its digits for nearly equal ones, where the difference
    of entropies has none. Symmetric to the last bit for ``w = 1/2``. A NaN in either makes the value of its row NaN.

    Against ``scipy.spatial.distance.jensenshannon``: that is the square root, a metric, and normalises.

    References
    ----------
    .. [1] J. Lin, "Divergence Measures Based on the Shannon Entropy", IEEE Transactions on Information Theory 37, 1991.

    Examples
    --------
    >>> import xentrs as xe
    >>> print(xe.js_divergence([1.0, 0.0], [[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]], base=2).round(4))
    [0.     0.3113 1.    ]
    """


@calls(_core.js_divergence, more=MORE, returns=value_grads, options=OPTIONS, with_grad=True)
def js_divergence_with_grad(
    p: ArrayLike,
    q: ArrayLike,
    *,
    weight: float = 0.5,
    base: float | None = None,
    axis: int = -1,
    normalize: bool = False,
    from_logits: bool = False,
    temperature: float = 1.0,
    sample_weight: ArrayLike | None = None,
    grad_output: ArrayLike | None = None,
) -> ValueGrads:
    """Jensen-Shannon divergence of two distributions, and its gradients with respect to both.

    ``dJS / dp_k = w ln(p_k / m_k)`` and ``dJS / dq_k = v ln(q_k / m_k)``, each probability a free variable; with
    respect to logits ``w p_k (ln(p_k / m_k) - KL(p || m))``, and alike for ``q``.

    Parameters
    ----------
    p, q, weight, base, axis, normalize, from_logits, temperature, sample_weight
        As in `js_divergence`.
    grad_output : float or array_like, optional
        What both gradients are multiplied by, in the same sweep: a number of any sign, or one for each row, an array
        that NumPy's rules repeat to the shape of the values.

    Returns
    -------
    ValueGrads
        The named tuple ``(value, grad_p, grad_q)``: the values as from `js_divergence`, and the gradients of their sum
        in the shapes of `p` and `q`. The gradient of a single distribution beside many rows is summed over them.

    Raises
    ------
    ValueError, TypeError
        As in `js_divergence`.

    See Also
    --------
    js_divergence : the value alone, with the meaning of each option.

    Notes
    -----
    A class that neither distribution has takes no part: its derivatives are 0. At ``p_k = 0 < q_k`` the derivative with
    respect to ``p_k`` is -inf. With respect to logits all are finite. Where `weight` is 0 or 1 value and gradients are
    0: the mixture is one of the two.

    Examples
    --------
    >>> import xentrs as xe
    >>> value, grad_p, grad_q = xe.js_divergence_with_grad([0.5, 0.5], [0.25, 0.75])
    >>> print(grad_p.round(4), grad_q.round(4))
    [ 0.1438 -0.1116] [-0.2027  0.0912]
    """
