"""Log-probabilities of tokens, and entropies: of logits, or behind a linear layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from .. import _core
from .._calls import calls
from .linear import Out
from .results import ArrayLike, FloatArray

__all__ = [
    "LinearTokenLogprobsGrad",
    "TokenLogprobs",
    "TokenLogprobsGrad",
    "linear_token_logprobs",
    "linear_token_logprobs_with_grad",
    "token_logprobs",
    "token_logprobs_with_grad",
]


class TokenLogprobs(NamedTuple):
    """Log-probability and entropy of every row: ``logprob, entropy = token_logprobs(logits, token)``."""

    logprob: FloatArray
    """The logarithm of the token's probability, in nats, never positive; 0 for an ignored row."""

    entropy: FloatArray
    """The entropy of the distribution, in nats: 0 where one class is certain, ``ln c`` where all are alike; 0 for an
    ignored row."""


class TokenLogprobsGrad(NamedTuple):
    """Log-probability, entropy and their gradient: ``logprob, entropy, grad = token_logprobs_with_grad(...)``."""

    logprob: FloatArray
    """The logarithm of the token's probability, in nats; 0 for an ignored row."""

    entropy: FloatArray
    """The entropy of the distribution, in nats; 0 for an ignored row."""

    grad: FloatArray
    """The gradient, with the shape and dtype of the logits, or those of ``out``."""


class LinearTokenLogprobsGrad(NamedTuple):
    """The same behind a linear layer: ``logprob, entropy, grad_x, grad_weight, grad_bias = ...``."""

    logprob: FloatArray
    """The logarithm of the token's probability, in nats; 0 for an ignored row."""

    entropy: FloatArray
    """The entropy of the distribution, in nats; 0 for an ignored row."""

    grad_x: FloatArray | None
    """The gradient with respect to the inputs, with their shape and dtype; None where it is not wanted."""

    grad_weight: FloatArray | None
    """The gradient with respect to the weight, in its shape and dtype; None where it is not wanted."""

    grad_bias: FloatArray | None
    """The gradient with respect to the bias, in its shape; None where it is not wanted, or there is no bias."""


_token_logprobs: Callable[[Any], TokenLogprobs] = partial(tuple.__new__, TokenLogprobs)
_token_logprobs_grad: Callable[[Any], TokenLogprobsGrad] = partial(tuple.__new__, TokenLogprobsGrad)


def _linear_token_logprobs_grad(results: Any) -> LinearTokenLogprobsGrad:
    both, *grads = results
    return LinearTokenLogprobsGrad(*both, *grads)


@calls(_core.token_logprobs, returns=_token_logprobs, grad_logprob=1.0, grad_entropy=0.0)
def token_logprobs(
    logits: ArrayLike,
    token: ArrayLike,
    *,
    temperature: float = 1.0,
    softcap: float | None = None,
    log_prior: ArrayLike | None = None,
    ignore_index: int | None = -100,
    axis: int = -1,
) -> TokenLogprobs:
    """Log-probability of a token, and entropy of the distribution it was drawn from, from one sweep over the logits.

    For a row of logits ``z``, after `softcap`, `temperature` and `log_prior`, the token ``y`` and ``p = softmax(z)``::

        logprob = ln p_y          entropy = -sum_k p_k ln p_k

    Parameters
    ----------
    logits : array_like, shape (..., c, ...)
        float16, bfloat16, float32 or float64, any finite value or ``-inf`` for a class that is masked. Integers and
        lists are taken as float64.
    token : array_like of int, shape of `logits` without `axis`
        The class of each row, in ``[0, c)``, or `ignore_index`.
    temperature : float, default 1.0
        Positive divisor of the logits: above 1 the distribution is flatter.
    softcap : float, optional
        Positive bound of the logits: ``softcap * tanh(z / softcap)``, before `temperature`.
    log_prior : array_like, shape (c,), optional
        A number for each class, finite or -inf, that is added to its logits after both.
    ignore_index : int or None, default -100
        Rows with this token have log-probability, entropy and gradient 0, whatever stands in their logits. None ignores
        nothing.
    axis : int, default -1
        The class axis of `logits`.

    Returns
    -------
    TokenLogprobs
        The named tuple ``(logprob, entropy)`` of arrays in the shape of `token`, in nats, in the dtype of the logits
        (float32 where that is half precision).

    Raises
    ------
    IndexError
        If a token is neither in ``[0, c)`` nor `ignore_index`; the message names its row.
    ValueError
        If a shape does not fit, `temperature` or `softcap` is not positive and finite, `log_prior` holds NaN or +inf,
        or `axis` does not exist.
    TypeError
        If `logits` are not real numbers of one of these dtypes, or `token` is not integers.

    Warns
    -----
    UserWarning
        If all rows, of which there are several, are distributions: then probabilities were given for logits.

    See Also
    --------
    token_logprobs_with_grad : the same with the gradient of both.
    linear_token_logprobs : the same behind a linear layer, whose logits are never stored.
    softmax_stats : log-sum-exp and prediction too.

    Notes
    -----
    Both are sums without a negative term, so confident rows keep their digits: in float32 the surer of two classes 17
    apart has log-probability -4.14e-8, where ``log(softmax)`` gives 0.

    A class at ``-inf`` has probability 0 and adds nothing to the entropy; as the token it has log-probability ``-inf``.
    One logit of ``+inf`` takes all the probability. Where no distribution is defined, for a NaN, several ``+inf`` or
    nothing but ``-inf``, both are NaN, of that row alone.

    PyTorch's ``log_softmax`` and ``gather`` write as many log-probabilities as there are logits; here nothing of that
    size is written.

    References
    ----------
    .. [1] J. Schulman, F. Wolski, P. Dhariwal, A. Radford and O. Klimov, "Proximal policy optimization algorithms",
       2017, arXiv:1707.06347.

    Examples
    --------
    >>> import numpy as np
    >>> import xentrs as xe
    >>> logits = np.array([[2.0, 1.0, 0.0], [0.0, 3.0, 0.0], [1.0, 1.0, 1.0]])
    >>> logprob, entropy = xe.token_logprobs(logits, [0, 2, -100])
    >>> logprob.round(4)
    array([-0.4076, -3.0949,  0.    ])
    >>> entropy.round(4)
    array([0.8324, 0.3666, 0.    ])
    """


@calls(_core.token_logprobs, order=1, returns=_token_logprobs_grad)
def token_logprobs_with_grad(
    logits: ArrayLike,
    token: ArrayLike,
    *,
    temperature: float = 1.0,
    softcap: float | None = None,
    log_prior: ArrayLike | None = None,
    ignore_index: int | None = -100,
    axis: int = -1,
    grad_logprob: ArrayLike = 1.0,
    grad_entropy: ArrayLike = 0.0,
    out: FloatArray | None = None,
) -> TokenLogprobsGrad:
    """Log-probability of a token and entropy, and the gradient of what they are used for.

    The gradient with respect to the logits of ``sum_i (a_i logprob_i + b_i entropy_i)``, where `grad_logprob` is ``a``
    and `grad_entropy` is ``b``::

        a ([k = y] - p_k) - b p_k (ln p_k + entropy)          for class k

    divided by `temperature`, and times the slope of `softcap`. With the gradients of any function of log-probabilities
    and entropies as ``a`` and ``b`` this is the chain rule: of a policy's objective, of preferences, of a bonus for
    entropy.

    Parameters
    ----------
    logits, token, temperature, softcap, log_prior, ignore_index, axis
        As in `token_logprobs`.
    grad_logprob : array_like, default 1.0
        The upstream gradient of the log-probabilities: a number of any sign, or one a row, in the shape of `token` or
        repeated to it. A row whose two upstream gradients are 0 has gradient 0.
    grad_entropy : array_like, default 0.0
        The same of the entropies.
    out : ndarray, optional
        Where to write the gradient: a writable array of the shape and dtype of `logits`, or of float32 for half
        precision. It may be `logits` itself.

    Returns
    -------
    TokenLogprobsGrad
        The named tuple ``(logprob, entropy, grad)``: the first two as from `token_logprobs`, the gradient in the shape
        and dtype of `logits`, or `out`.

    Raises
    ------
    IndexError, ValueError, TypeError
        As in `token_logprobs`, or if an upstream gradient is no number or of another shape, or `out` does not fit.
        Nothing is written to `out` then.

    See Also
    --------
    token_logprobs : the values alone, with the meaning of each option.

    Notes
    -----
    ``1 - p_y`` comes from the complement, and ``ln p_k + entropy`` without the logarithms of the partition, which
    cancel in it: both are right to the last digits of their terms for sure rows too. A class of probability 0 has
    gradient 0, as the token ``a``; where no distribution is defined, the gradient of the row is NaN. An ignored row has
    gradient 0.

    Examples
    --------
    A step of a policy gradient: advantages weigh the log-probabilities, and a bonus of 0.01 favours entropy.

    >>> import numpy as np
    >>> import xentrs as xe
    >>> logits = np.array([[2.0, 1.0, 0.0], [0.0, 3.0, 0.0]])
    >>> advantage = np.array([1.5, -0.5])
    >>> step = xe.token_logprobs_with_grad(logits, [0, 2], grad_logprob=-advantage, grad_entropy=-0.01)
    >>> step.logprob.round(4)
    array([-0.4076, -3.0949])
    >>> step.grad.round(4)
    array([[-0.4993,  0.3657,  0.1336],
           [-0.0239, -0.4523,  0.4761]])
    """


@calls(_core.linear_token_logprobs, returns=_token_logprobs, grad_logprob=1.0, grad_entropy=0.0, wrt=())
def linear_token_logprobs(
    x: ArrayLike,
    weight: ArrayLike,
    token: ArrayLike,
    *,
    bias: ArrayLike | None = None,
    temperature: float = 1.0,
    softcap: float | None = None,
    log_prior: ArrayLike | None = None,
    ignore_index: int | None = -100,
) -> TokenLogprobs:
    """Log-probability of a token and entropy behind a linear layer, such as the head of a language model.

    They are those of ``logits = x @ weight.T + bias``::

        token_logprobs(logits, token, ...)

    without the logits, which exist for a few rows at a time, in at most 40 MiB or one row.

    Parameters
    ----------
    x : array_like, shape (..., d)
        A row of ``d`` features each: float16, bfloat16, float32 or float64. Integers and lists are taken as float64.
    weight : array_like, shape (c, d)
        A row of features a class, of the dtype of `x`.
    token : array_like of int, shape (...)
        The class of each row, in ``[0, c)``, or `ignore_index`.
    bias : array_like, shape (c,), optional
        One number a class, of the dtype of `x`; for half precision float32 too.
    temperature, softcap, log_prior, ignore_index
        As in `token_logprobs`. An ignored row is left out of all products.

    Returns
    -------
    TokenLogprobs
        The named tuple ``(logprob, entropy)`` of arrays in the shape of `token`, in nats, in the dtype of `x` (float32
        where that is half precision).

    Raises
    ------
    IndexError
        If a token is neither in ``[0, c)`` nor `ignore_index`; the message names its row.
    ValueError
        If a shape does not fit, `temperature` or `softcap` is not positive and finite, or `log_prior` holds NaN or
        +inf.
    TypeError
        If `x` is not real numbers of one of these dtypes, `weight` or `bias` are of another dtype than `x`, or `token`
        is not integers.

    See Also
    --------
    linear_token_logprobs_with_grad : the same with gradients to inputs, weight and bias.
    token_logprobs : of logits, with the meaning of each option and of special values.
    linear_cross_entropy : the loss of the same layer.

    Notes
    -----
    Logits are as exact as a product of matrices is, in the dtype of `x`, float32 for half precision. The result has the
    same bits for any number of threads. What `linear_cross_entropy` says about products holds here too.

    Examples
    --------
    >>> import numpy as np
    >>> import xentrs as xe
    >>> x = np.array([[1.0, 0.0], [0.0, 2.0]])
    >>> weight = np.array([[2.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    >>> xe.linear_token_logprobs(x, weight, [0, 1]).logprob.round(4)
    array([-0.4076, -0.7586])
    >>> xe.token_logprobs(x @ weight.T, [0, 1]).logprob.round(4)
    array([-0.4076, -0.7586])
    """


@calls(_core.linear_token_logprobs, order=1, returns=_linear_token_logprobs_grad)
def linear_token_logprobs_with_grad(
    x: ArrayLike,
    weight: ArrayLike,
    token: ArrayLike,
    *,
    bias: ArrayLike | None = None,
    temperature: float = 1.0,
    softcap: float | None = None,
    log_prior: ArrayLike | None = None,
    ignore_index: int | None = -100,
    grad_logprob: ArrayLike = 1.0,
    grad_entropy: ArrayLike = 0.0,
    wrt: str | Sequence[str] = ("x", "weight", "bias"),
    out: Out | None = None,
) -> LinearTokenLogprobsGrad:
    """Log-probability of a token and entropy behind a linear layer, and the gradients to inputs, weight and bias.

    With ``G``, of shape (n, c), the gradient of `token_logprobs_with_grad` with respect to the logits::

        grad_x = G @ weight          grad_weight = G.T @ x          grad_bias = G.sum(axis=0)

    Parameters
    ----------
    x, weight, token, bias, temperature, softcap, log_prior, ignore_index
        As in `linear_token_logprobs`.
    grad_logprob, grad_entropy : array_like, defaults 1.0 and 0.0
        The upstream gradients, as in `token_logprobs_with_grad`.
    wrt : sequence of {"x", "weight", "bias"}, or one of them
        The gradients that are wanted. Each that is left out spares its product.
    out : tuple of ndarray or None, optional
        Where to write ``(grad_x, grad_weight, grad_bias)``, as in `linear_cross_entropy_with_grad`.

    Returns
    -------
    LinearTokenLogprobsGrad
        The named tuple ``(logprob, entropy, grad_x, grad_weight, grad_bias)``: the first two as from
        `linear_token_logprobs`, gradients in the shapes of what they belong to and the dtype of `x`. None stands for
        one that is not wanted, and for that of a bias that is not there.

    Raises
    ------
    IndexError, ValueError, TypeError
        As in `linear_token_logprobs`, or if an upstream gradient is no number or of another shape, `wrt` names
        something else, or an `out` does not fit. Nothing is written to `out` then.

    See Also
    --------
    linear_token_logprobs : the values alone, with the meaning of each option.

    Notes
    -----
    An ignored row adds to no gradient, whatever stands in it, and its own gradient is 0. What
    `linear_cross_entropy_with_grad` says about memory and about NaN holds here too.

    Examples
    --------
    >>> import numpy as np
    >>> import xentrs as xe
    >>> x = np.array([[1.0, 0.0], [0.0, 2.0]])
    >>> weight = np.array([[2.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    >>> step = xe.linear_token_logprobs_with_grad(x, weight, [0, 1], grad_logprob=[-1.5, 0.5], wrt="weight")
    >>> step.grad_weight.round(4)
    array([[-0.5021, -0.0634],
           [ 0.135 ,  0.5317],
           [ 0.3671, -0.4683]])
    >>> step.grad_x is None
    True
    """
