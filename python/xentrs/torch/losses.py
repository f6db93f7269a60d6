"""The losses of xentrs for tensors, under their own names."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor

from .autograd import evaluated
from .call import Call
from .tensors import check

__all__ = [
    "linear_cross_entropy",
    "linear_token_logprobs",
    "sigmoid_cross_entropy",
    "sigmoid_focal_loss",
    "softmax_cross_entropy",
    "softmax_focal_loss",
    "token_logprobs",
]

Reduction: TypeAlias = Literal["mean", "sum", "none"]
Target: TypeAlias = "Tensor | tuple[Tensor, Tensor]"
Weight: TypeAlias = "Tensor | float"


def softmax_cross_entropy(
    logits: Tensor,
    target: Target,
    *,
    class_weight: Tensor | None = None,
    sample_weight: Weight | None = None,
    ignore_index: int | None = -100,
    label_smoothing: float = 0.0,
    temperature: float = 1.0,
    softcap: float | None = None,
    log_prior: Tensor | None = None,
    z_loss: float = 0.0,
    axis: int = -1,
    reduction: Reduction = "mean",
    differentiable: bool = False,
    inplace: bool = False,
) -> Tensor:
    """`xentrs.softmax_cross_entropy` of tensors, with a gradient to the logits.

    ::

        loss = sum_k w_k t'_k (lse(z) - z_k) + z_loss lse(z)^2       lse(z) = ln sum_k exp(z_k)

    Parameters
    ----------
    logits : Tensor, shape (..., c)
        On the CPU, of float32, float64, float16 or bfloat16. It is read where it lies.
    target : Tensor, or a tuple of two
        Integers are classes, floats distributions, a tuple of both sparse distributions.
    class_weight, sample_weight, ignore_index, label_smoothing
        As in `xentrs.softmax_cross_entropy`.
    temperature, softcap, log_prior, z_loss, axis, reduction
        As in `xentrs.softmax_cross_entropy`. The class axis is the last one, not the second, unless `axis` says so.
    differentiable : bool, default False
        Whether the gradient has a derivative (``create_graph=True``). It is always there under ``torch.func``.
    inplace : bool, default False
        Whether the gradient may be written over the logits, which saves its memory, and half of the time where there
        are many classes. The logits must be no leaf of the graph, and nobody may need them after this call. Compiled
        and transformed code takes a new tensor all the same.

    Returns
    -------
    Tensor
        The loss in nats: a scalar for "mean" and "sum", a tensor in the shape of the rows for "none". It is float64 for
        logits of float64, and float32 for all others, half precision included.

    Raises
    ------
    IndexError, ValueError, TypeError
        As in `xentrs.softmax_cross_entropy`.
    NotImplementedError
        If a tensor is not on the CPU or not dense, or what is no logits requires a gradient; and in forward mode
        (``torch.func.jvp``, ``jacfwd``, ``hessian``).
    RuntimeError
        In a backward pass with ``create_graph=True``, unless `differentiable`; or if `inplace` logits are a leaf.

    See Also
    --------
    xentrs.torch.cross_entropy : with the signature, class axis and means of PyTorch.

    Examples
    --------
    >>> import torch
    >>> import xentrs.torch as xt
    >>> logits = torch.tensor([[2.0, 1.0, 0.0], [0.0, 3.0, 0.0]], requires_grad=True)
    >>> loss = xt.softmax_cross_entropy(logits, torch.tensor([0, 2]))
    >>> round(loss.item(), 4)
    1.7513
    >>> loss.backward()
    >>> logits.grad.numpy().round(4)
    array([[-0.1674,  0.1224,  0.045 ],
           [ 0.0226,  0.4547, -0.4774]], dtype=float32)
    """
    options = {
        "ignore_index": ignore_index,
        "label_smoothing": label_smoothing,
        "temperature": temperature,
        "softcap": softcap,
        "z_loss": z_loss,
        "axis": axis,
        "reduction": reduction,
    }
    weights = (class_weight, None, sample_weight, log_prior)
    return _of("softmax_cross_entropy", {"logits": logits}, target, weights, options, differentiable, inplace)


def softmax_focal_loss(
    logits: Tensor,
    target: Target,
    *,
    gamma: float = 2.0,
    class_weight: Tensor | None = None,
    sample_weight: Weight | None = None,
    ignore_index: int | None = -100,
    label_smoothing: float = 0.0,
    temperature: float = 1.0,
    softcap: float | None = None,
    log_prior: Tensor | None = None,
    z_loss: float = 0.0,
    axis: int = -1,
    reduction: Reduction = "mean",
    differentiable: bool = False,
    inplace: bool = False,
) -> Tensor:
    """`xentrs.softmax_focal_loss` of tensors, with a gradient to the logits.

    ::

        loss = sum_k w_k t'_k (1 - p_k)^gamma (lse(z) - z_k) + z_loss lse(z)^2       p = softmax(z)

    Parameters
    ----------
    logits, target
        As in `softmax_cross_entropy`.
    gamma : float, default 2.0
        How little weight is left to what is answered well.
    class_weight, sample_weight, ignore_index, label_smoothing
        As in `softmax_cross_entropy`.
    temperature, softcap, log_prior, z_loss, axis, reduction, differentiable, inplace
        As in `softmax_cross_entropy`.

    Returns
    -------
    Tensor
        As in `softmax_cross_entropy`.

    Raises
    ------
    IndexError, ValueError, TypeError, NotImplementedError, RuntimeError
        As in `softmax_cross_entropy`.

    Examples
    --------
    >>> import torch
    >>> import xentrs.torch as xt
    >>> logits = torch.tensor([[2.0, 1.0, 0.0], [0.0, 3.0, 0.0]])
    >>> xt.softmax_focal_loss(logits, torch.tensor([0, 2]), reduction="none").numpy().round(4)
    array([0.0457, 2.821 ], dtype=float32)
    """
    options = {
        "gamma": gamma,
        "ignore_index": ignore_index,
        "label_smoothing": label_smoothing,
        "temperature": temperature,
        "softcap": softcap,
        "z_loss": z_loss,
        "axis": axis,
        "reduction": reduction,
    }
    weights = (class_weight, None, sample_weight, log_prior)
    return _of("softmax_focal_loss", {"logits": logits}, target, weights, options, differentiable, inplace)


def sigmoid_cross_entropy(
    logits: Tensor,
    target: Tensor,
    *,
    pos_weight: Weight | None = None,
    sample_weight: Weight | None = None,
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    reduction: Reduction = "mean",
    differentiable: bool = False,
    inplace: bool = False,
) -> Tensor:
    """`xentrs.sigmoid_cross_entropy` of tensors, with a gradient to the logits.

    ::

        loss = -b t' ln p - (1 - t') ln(1 - p)         p = sigmoid(x), b = pos_weight

    Parameters
    ----------
    logits : Tensor, shape (...)
        On the CPU, of float32, float64, float16 or bfloat16. It is read where it lies.
    target : Tensor, shape (...)
        The answers: booleans, the integers 0 and 1, or floats in [0, 1].
    pos_weight, sample_weight, ignore_index, label_smoothing, reduction
        As in `xentrs.sigmoid_cross_entropy`.
    differentiable, inplace
        As in `softmax_cross_entropy`.

    Returns
    -------
    Tensor
        The loss in nats: a scalar for "mean" and "sum", a tensor in the shape of the logits for "none". It is float64
        for logits of float64, and float32 for all others, half precision included.

    Raises
    ------
    ValueError, TypeError
        As in `xentrs.sigmoid_cross_entropy`.
    NotImplementedError, RuntimeError
        As in `softmax_cross_entropy`.

    See Also
    --------
    xentrs.torch.binary_cross_entropy_with_logits : with the signature and the means of PyTorch.

    Examples
    --------
    >>> import torch
    >>> import xentrs.torch as xt
    >>> logits = torch.tensor([2.0, -1.0, 0.5], requires_grad=True)
    >>> loss = xt.sigmoid_cross_entropy(logits, torch.tensor([True, False, False]), reduction="sum")
    >>> round(loss.item(), 4)
    1.4143
    >>> loss.backward()
    >>> logits.grad.numpy().round(4)
    array([-0.1192,  0.2689,  0.6225], dtype=float32)
    """
    options = {"ignore_index": ignore_index, "label_smoothing": label_smoothing, "reduction": reduction}
    weights = (None, pos_weight, sample_weight, None)
    return _of("sigmoid_cross_entropy", {"logits": logits}, target, weights, options, differentiable, inplace)


def sigmoid_focal_loss(
    logits: Tensor,
    target: Tensor,
    *,
    gamma: float = 2.0,
    gamma_neg: float | None = None,
    clip: float = 0.0,
    alpha: float | None = None,
    pos_weight: Weight | None = None,
    sample_weight: Weight | None = None,
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    reduction: Reduction = "mean",
    differentiable: bool = False,
    inplace: bool = False,
) -> Tensor:
    """`xentrs.sigmoid_focal_loss` of tensors, with a gradient to the logits.

    ::

        loss = -b a t' (1 - p)^gamma ln p - (1 - a) (1 - t') p^gamma ln(1 - p)         p = sigmoid(x)

    with ``b = pos_weight`` and ``a = alpha``; without `alpha` the factors ``a`` and ``1 - a`` are both 1.

    Parameters
    ----------
    logits, target
        As in `sigmoid_cross_entropy`.
    gamma : float, default 2.0
        How little weight is left to what is answered well.
    gamma_neg, clip : float, optional
        The same of negative answers alone, and the margin by which their probability is lowered.
    alpha : float in [0, 1], optional
        Share of the positive answers.
    pos_weight, sample_weight, ignore_index, label_smoothing, reduction
        As in `sigmoid_cross_entropy`.
    differentiable, inplace
        As in `softmax_cross_entropy`.

    Returns
    -------
    Tensor
        As in `sigmoid_cross_entropy`.

    Raises
    ------
    ValueError, TypeError, NotImplementedError, RuntimeError
        As in `sigmoid_cross_entropy`.

    Examples
    --------
    >>> import torch
    >>> import xentrs.torch as xt
    >>> logits = torch.tensor([2.0, -1.0, 0.5])
    >>> xt.sigmoid_focal_loss(logits, torch.tensor([1, 0, 0]), reduction="none").numpy().round(4)
    array([0.0018, 0.0227, 0.3774], dtype=float32)
    """
    options = {
        "gamma": gamma,
        "gamma_neg": gamma_neg,
        "clip": clip,
        "alpha": alpha,
        "ignore_index": ignore_index,
        "label_smoothing": label_smoothing,
        "reduction": reduction,
    }
    weights = (None, pos_weight, sample_weight, None)
    return _of("sigmoid_focal_loss", {"logits": logits}, target, weights, options, differentiable, inplace)


def linear_cross_entropy(
    x: Tensor,
    weight: Tensor,
    target: Target,
    *,
    bias: Tensor | None = None,
    kind: Literal["softmax", "sigmoid"] = "softmax",
    class_weight: Tensor | None = None,
    pos_weight: Weight | None = None,
    sample_weight: Weight | None = None,
    ignore_index: int | None = -100,
    label_smoothing: float = 0.0,
    temperature: float = 1.0,
    softcap: float | None = None,
    log_prior: Tensor | None = None,
    z_loss: float = 0.0,
    reduction: Reduction = "mean",
    differentiable: bool = False,
) -> Tensor:
    """`xentrs.linear_cross_entropy` of tensors, with gradients to `x`, `weight` and `bias`; no logits are stored.

    Parameters
    ----------
    x : Tensor, shape (..., d)
        On the CPU, of float32, float64, float16 or bfloat16. It is read where it lies.
    weight : Tensor, shape (c, d)
        A row of features a class, of the dtype of `x`.
    target : Tensor, or a tuple of two
        As in `softmax_cross_entropy` or, for the kind "sigmoid", `sigmoid_cross_entropy`.
    bias : Tensor, shape (c,), optional
        One number a class, of the dtype of `x`.
    kind, class_weight, pos_weight, sample_weight, ignore_index, label_smoothing
        As in `xentrs.linear_cross_entropy`.
    temperature, softcap, log_prior, z_loss, reduction
        As in `xentrs.linear_cross_entropy`.
    differentiable : bool, default False
        As in `softmax_cross_entropy`. Second derivatives do store the logits.

    Returns
    -------
    Tensor
        The loss in nats, as from the loss of this kind.

    Raises
    ------
    IndexError, ValueError, TypeError
        As in `xentrs.linear_cross_entropy`.
    NotImplementedError, RuntimeError
        As in `softmax_cross_entropy`.

    See Also
    --------
    xentrs.torch.functional.linear_cross_entropy : with the signature and the means of PyTorch.

    Notes
    -----
    Products in bfloat16 are PyTorch's own where the processor multiplies it in tiles (AMX); on all others, and in
    float16, numbers are widened to float32 a block at a time, which is faster there, and more exact. Under
    ``torch.autocast`` `x`, `weight` and `bias` are rounded to its type, as those of a linear layer are.

    Examples
    --------
    >>> import torch
    >>> import xentrs.torch as xt
    >>> x = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    >>> weight = torch.tensor([[2.0, 0.0], [0.0, 1.0], [1.0, 1.0]], requires_grad=True)
    >>> loss = xt.linear_cross_entropy(x, weight, torch.tensor([0, 1]))
    >>> round(loss.item(), 4)
    0.5831
    >>> loss.backward()
    >>> weight.grad.numpy().round(4)
    array([[-0.1674,  0.0634],
           [ 0.045 , -0.5317],
           [ 0.1224,  0.4683]], dtype=float32)
    """
    options = {
        "kind": kind,
        "ignore_index": ignore_index,
        "label_smoothing": label_smoothing,
        "reduction": reduction,
    }
    if kind == "softmax":
        options |= {"temperature": temperature, "softcap": softcap, "z_loss": z_loss}
    elif (temperature, softcap, log_prior, z_loss) != (1.0, None, None, 0.0):
        raise ValueError(
            f'temperature, softcap, log_prior and z_loss are options of the kind "softmax", got kind={kind!r}'
        )
    operands = {"x": x, "weight": weight, **({} if bias is None else {"bias": bias})}
    operands = autocast(operands)
    weights = (class_weight, pos_weight, sample_weight, log_prior)
    return _of("linear_cross_entropy", operands, target, weights, options, differentiable, False)


def token_logprobs(
    logits: Tensor,
    token: Tensor,
    *,
    temperature: float = 1.0,
    softcap: float | None = None,
    log_prior: Tensor | None = None,
    ignore_index: int | None = -100,
    axis: int = -1,
) -> TokenLogprobs:
    """`xentrs.token_logprobs` of tensors, with gradients through both results to the logits.

    Parameters
    ----------
    logits : Tensor, shape (..., c)
        On the CPU, of float32, float64, float16 or bfloat16. It is read where it lies.
    token : Tensor of integers
        The class of each row, or `ignore_index`.
    temperature, softcap, log_prior, ignore_index, axis
        As in `xentrs.token_logprobs`.

    Returns
    -------
    TokenLogprobs
        The named tuple ``(logprob, entropy)`` of tensors in the shape of `token`, in nats: float64 for logits of
        float64, and float32 for all others.

    Raises
    ------
    IndexError, ValueError, TypeError
        As in `xentrs.token_logprobs`.
    NotImplementedError
        As in `softmax_cross_entropy`.

    Examples
    --------
    A step of a policy gradient, with a bonus for entropy:

    >>> import torch
    >>> import xentrs.torch as xt
    >>> logits = torch.tensor([[2.0, 1.0, 0.0], [0.0, 3.0, 0.0]], requires_grad=True)
    >>> logprob, entropy = xt.token_logprobs(logits, torch.tensor([0, 2]))
    >>> (-torch.tensor([1.5, -0.5]) * logprob - 0.01 * entropy).sum().backward()
    >>> logits.grad.numpy().round(4)
    array([[-0.4993,  0.3657,  0.1336],
           [-0.0239, -0.4523,  0.4761]], dtype=float32)
    """
    options = {"temperature": temperature, "softcap": softcap, "ignore_index": ignore_index, "axis": axis}
    return _of_tokens("token_logprobs", {"logits": logits}, token, log_prior, options)


def linear_token_logprobs(
    x: Tensor,
    weight: Tensor,
    token: Tensor,
    *,
    bias: Tensor | None = None,
    temperature: float = 1.0,
    softcap: float | None = None,
    log_prior: Tensor | None = None,
    ignore_index: int | None = -100,
) -> TokenLogprobs:
    """`xentrs.linear_token_logprobs` of tensors, with gradients to `x`, `weight` and `bias`; no logits are stored.

    Parameters
    ----------
    x, weight
        As in `linear_cross_entropy`.
    token : Tensor of integers
        The class of each row, or `ignore_index`.
    bias : Tensor, shape (c,), optional
        As in `linear_cross_entropy`.
    temperature, softcap, log_prior, ignore_index
        As in `xentrs.token_logprobs`.

    Returns
    -------
    TokenLogprobs
        As from `token_logprobs`.

    Raises
    ------
    IndexError, ValueError, TypeError, NotImplementedError
        As in `token_logprobs`.

    Examples
    --------
    >>> import torch
    >>> import xentrs.torch as xt
    >>> x = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    >>> weight = torch.tensor([[2.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    >>> xt.linear_token_logprobs(x, weight, torch.tensor([0, 1])).logprob.numpy().round(4)
    array([-0.4076, -0.7586], dtype=float32)
    """
    options = {"temperature": temperature, "softcap": softcap, "ignore_index": ignore_index}
    operands = {"x": x, "weight": weight, **({} if bias is None else {"bias": bias})}
    return _of_tokens("linear_token_logprobs", autocast(operands), token, log_prior, options)


class TokenLogprobs(NamedTuple):
    """Log-probability and entropy of every row: ``logprob, entropy = token_logprobs(logits, token)``."""

    logprob: Tensor
    """The logarithm of the token's probability, in nats."""

    entropy: Tensor
    """The entropy of the distribution, in nats."""


def _of_tokens(
    name: str, operands: dict[str, Tensor], token: Tensor, log_prior: Tensor | None, options: dict[str, Any]
) -> TokenLogprobs:
    options["reduction"] = "none"
    both = _of(name, operands, token, (None, None, None, log_prior), options, False, False)
    return TokenLogprobs(both[0], both[1])


def autocast(operands: dict[str, Tensor]) -> dict[str, Tensor]:
    """What a linear layer would make of its operands where PyTorch chooses types."""
    if not torch.is_autocast_enabled("cpu"):
        return operands
    dtype = torch.get_autocast_dtype("cpu")
    return {
        name: operand.to(dtype) if operand.dtype != torch.float64 else operand for name, operand in operands.items()
    }


def _of(
    loss: str,
    operands: dict[str, Tensor],
    target: Target,
    weights: tuple[Tensor | None, Weight | None, Weight | None, Tensor | None],
    options: dict[str, Any],
    differentiable: bool,
    inplace: bool,
) -> Tensor:
    labels, shares = (target, None) if isinstance(target, Tensor) else _two_parts(target)
    for name, option in options.items():
        if isinstance(option, Tensor) and option.requires_grad:
            raise NotImplementedError(
                f"{name} must not require a gradient, which is not computed; write {name}.item()"
                f"{', and divide the logits by a temperature that is learnt' if name == 'temperature' else ''}"
            )
    class_weight, pos_weight, sample_weight, log_prior = weights
    beside: dict[str, Any] = {
        "target": labels,
        "the weights of target": shares,
        "class_weight": class_weight,
        "pos_weight": _number(pos_weight),
        "sample_weight": _number(sample_weight),
        "log_prior": log_prior,
    }
    check(operands, beside)
    call = Call(loss, tuple(operands.values()), tuple(beside.values()), options)
    return evaluated(call, differentiable=differentiable, inplace=inplace)


def _two_parts(target: Any) -> tuple[Any, Any]:
    """The classes and the weights of sparse distributions; what is no pair is refused by its name."""
    if not isinstance(target, tuple):
        return target, None
    if len(target) != 2:
        raise TypeError(f"target must be a tensor or a tuple (classes, weights), got a tuple of {len(target)}")
    return target


def _number(weight: Any) -> Any:
    return torch.tensor(weight, dtype=torch.float64) if isinstance(weight, (int, float)) else weight
