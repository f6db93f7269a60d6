"""Losses with the names, the signatures and the meaning that they have in ``torch.nn.functional``.

They also take integers of any width as classes, and two keywords of xentrs: `differentiable` and `inplace`, as in
`xentrs.torch.softmax_cross_entropy`.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import torch
from torch import Tensor

from .autograd import evaluated
from .call import Call
from .formulas import formula
from .losses import autocast
from .tensors import FLOATS, is_a_tensor, not_floating

__all__ = ["binary_cross_entropy_with_logits", "cross_entropy", "linear_cross_entropy"]


def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
    *,
    differentiable: bool = False,
    inplace: bool = False,
) -> Tensor:
    """``torch.nn.functional.cross_entropy``, computed by xentrs.

    Parameters
    ----------
    input : Tensor, shape (c,), (n, c) or (n, c, ...)
        Logits on the CPU, with the classes on the second axis.
    target : Tensor
        Integers are classes, and have the shape of `input` without the classes; floats are distributions, and have that
        of `input`.
    weight : Tensor, shape (c,), optional
        Weight of each class, which may be negative.
    size_average : bool, optional
        Deprecated, as in PyTorch: like `reduce` it overrides `reduction`.
    ignore_index : int, default -100
        A row with this class has no loss, no weight and zero gradient.
    reduce : bool, optional
        Deprecated.
    reduction : {"mean", "sum", "none"}, default "mean"
        "mean" divides by the sum of the weights of the classes; for distributions by the number of rows.
    label_smoothing : float in [0, 1], default 0.0
        Share of each target spread evenly over all classes.
    differentiable, inplace
        As in `xentrs.torch.softmax_cross_entropy`.

    Returns
    -------
    Tensor
        The loss in nats, of the dtype that PyTorch's has. The mean of nothing is NaN.

    Raises
    ------
    RuntimeError, ValueError, IndexError, TypeError
        Of the type that PyTorch raises. A class outside of ``[0, c)`` is an IndexError that names its row.

    Notes
    -----
    A `target` or a `weight` that requires a gradient gets it: the loss is then computed by PyTorch's operations.

    Examples
    --------
    >>> import torch
    >>> from xentrs.torch import cross_entropy
    >>> logits = torch.tensor([[2.0, 1.0, 0.0], [0.0, 3.0, 0.0]])
    >>> round(cross_entropy(logits, torch.tensor([0, 2])).item(), 4)
    1.7513
    """
    reduction = _legacy(size_average, reduce, reduction)
    _check_input(input, "input")
    is_a_tensor(target, "target")
    if input.dim() == 0:
        raise RuntimeError("input must have a class axis, got a scalar")
    axis = 1 if input.dim() > 2 else -1
    if input.dim() == 1 and target.shape == (1,) and input.shape != (1,):
        target = target[0]
    _check_target(target, tuple(input.shape), axis % input.dim())
    _check_weight(weight, input.shape[axis])
    target, label_smoothing = _smoothed(target, label_smoothing, input.shape[axis])
    options = {
        "as_torch": True,
        "axis": axis,
        "ignore_index": ignore_index,
        "label_smoothing": label_smoothing,
        "reduction": reduction,
    }
    call = Call("softmax_cross_entropy", (input,), (target, None, weight, None, None, None), options)
    return _finish(call, differentiable, inplace)


def binary_cross_entropy_with_logits(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    pos_weight: Tensor | None = None,
    *,
    differentiable: bool = False,
    inplace: bool = False,
) -> Tensor:
    """``torch.nn.functional.binary_cross_entropy_with_logits``, computed by xentrs.

    Parameters
    ----------
    input : Tensor, shape (...)
        Logits on the CPU.
    target : Tensor, shape (...)
        The answers, as a rule in [0, 1].
    weight : Tensor, optional
        Weight of each element, or what is broadcast to the shape of `input`; it may be negative.
    size_average, reduce : bool, optional
        Deprecated, as in PyTorch; they override `reduction`.
    reduction : {"mean", "sum", "none"}, default "mean"
        "mean" divides by the number of elements, whatever they weigh.
    pos_weight : Tensor, optional
        Weight of the positive answers, broadcast to the shape of `input`.
    differentiable, inplace
        As in `xentrs.torch.softmax_cross_entropy`.

    Returns
    -------
    Tensor
        The loss in nats, of the dtype that PyTorch's has. The mean of nothing is NaN.

    Raises
    ------
    RuntimeError, ValueError, TypeError
        Of the type that PyTorch raises.

    Notes
    -----
    What requires a gradient gets it: where that is not `input` alone, the loss is computed by PyTorch's operations.

    Examples
    --------
    >>> import torch
    >>> from xentrs.torch import binary_cross_entropy_with_logits
    >>> round(binary_cross_entropy_with_logits(torch.tensor([2.0, -1.0, 0.5]), torch.tensor([1.0, 0.0, 0.0])).item(), 4)
    0.4714
    """
    reduction = _legacy(size_average, reduce, reduction)
    _check_input(input, "input")
    is_a_tensor(target, "target")
    if target.shape != input.shape:
        raise ValueError(f"target must have the shape of input, {tuple(input.shape)}, got {tuple(target.shape)}")
    if weight is not None:
        weight = _expanded(weight, "weight", input)
    if pos_weight is not None:
        _expanded(pos_weight, "pos_weight", input)
    options = {"as_torch": True, "reduction": reduction}
    call = Call("sigmoid_cross_entropy", (input,), (target, None, None, pos_weight, weight, None), options)
    return _finish(call, differentiable, inplace)


def linear_cross_entropy(
    input: Tensor,
    linear_weight: Tensor,
    target: Tensor,
    *,
    linear_bias: Tensor | None = None,
    weight: Tensor | None = None,
    reduction: str = "mean",
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    options: Any = None,
    differentiable: bool = False,
) -> Tensor:
    """``torch.nn.functional.linear_cross_entropy``, computed by xentrs; the logits are never stored.

    Parameters
    ----------
    input : Tensor, shape (d,) or (n, d)
        A row of features each, on the CPU.
    linear_weight : Tensor, shape (c, d) or (c, ..., d)
        A row of features a class. Where there are axes between, the logits have them behind the classes, and are
        stored.
    target : Tensor
        As in `cross_entropy`.
    linear_bias : Tensor, shape (c,) or (c, ...), optional
        One number for each row of features.
    weight, reduction
        As in `cross_entropy`.
    ignore_index : int, optional
        As in `cross_entropy`; None is -100. It must be None where `target` holds distributions.
    label_smoothing : float in [0, 1], default 0.0
        As in `cross_entropy`.
    options : torch.nn.LinearCrossEntropyOptions, optional
        Is taken, and not needed: how many logits there are at a time does not depend on it.
    differentiable : bool, default False
        As in `xentrs.torch.softmax_cross_entropy`. Second derivatives do store the logits.

    Returns
    -------
    Tensor
        The loss in nats, as from `cross_entropy`.

    Raises
    ------
    RuntimeError, ValueError, IndexError, TypeError
        Of the type that PyTorch raises.

    Examples
    --------
    >>> import torch
    >>> from xentrs.torch.functional import linear_cross_entropy
    >>> x = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    >>> weight = torch.tensor([[2.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    >>> round(linear_cross_entropy(x, weight, torch.tensor([0, 1])).item(), 4)
    0.5831
    """
    reduction = _legacy(None, None, reduction)
    operands = {"input": input, "linear_weight": linear_weight}
    operands |= {} if linear_bias is None else {"linear_bias": linear_bias}
    for name, operand in operands.items():
        _check_input(operand, name)
        if operand.dtype != input.dtype and not torch.is_autocast_enabled("cpu"):
            raise RuntimeError(f"{name} must have the dtype of input, {input.dtype}, got {operand.dtype}")
    is_a_tensor(target, "target")
    if not 1 <= input.dim() <= 2:
        raise RuntimeError(f"input must have shape (d,) or (n, d), got {tuple(input.shape)}")
    if linear_weight.dim() < 2 or linear_weight.shape[-1] != input.shape[-1]:
        expected = f"(c, {input.shape[-1]})"
        raise RuntimeError(f"linear_weight must have shape {expected}, got {tuple(linear_weight.shape)}")
    c, *between = linear_weight.shape[:-1]
    if between and input.dim() == 1:
        raise RuntimeError(f"input must have shape (n, d) where linear_weight has {linear_weight.dim()} axes, got (d,)")
    if linear_bias is not None and tuple(linear_bias.shape) != (c, *between):
        raise RuntimeError(f"linear_bias must have shape {(c, *between)}, got {tuple(linear_bias.shape)}")
    shape = (*input.shape[:-1], c, *between)
    if ignore_index is not None and target.shape == shape:
        raise RuntimeError(f"ignore_index must be None where target holds distributions, got {ignore_index}")
    ignore_index = -100 if ignore_index is None else ignore_index
    if between:
        rows = linear_weight.reshape(c * math.prod(between), -1)
        logits = torch.nn.functional.linear(input, rows, None if linear_bias is None else linear_bias.reshape(-1))
        return cross_entropy(
            logits.reshape(shape),
            target,
            weight,
            ignore_index=ignore_index,
            reduction=reduction,
            label_smoothing=label_smoothing,
            differentiable=differentiable,
        )
    _check_target(target, shape, len(shape) - 1)
    _check_weight(weight, c)
    target, label_smoothing = _smoothed(target, label_smoothing, c)
    asked = {
        "as_torch": True,
        "ignore_index": ignore_index,
        "label_smoothing": label_smoothing,
        "reduction": reduction,
    }
    beside = (target, None, weight, None, None, None)
    call = Call("linear_cross_entropy", tuple(autocast(operands).values()), beside, asked)
    return _finish(call, differentiable, False)


def _finish(call: Call, differentiable: bool, inplace: bool) -> Tensor:
    """The loss, of PyTorch's dtype."""
    by_autocast = torch.is_autocast_enabled("cpu")
    if torch.is_grad_enabled() and any(tensor is not None and tensor.requires_grad for tensor in call.beside):
        loss = formula(call)
    else:
        loss = evaluated(call, differentiable=differentiable, inplace=inplace)
    if by_autocast:
        return loss
    dtype, target = call.operands[0].dtype, call.beside[0]
    if target is not None and target.is_floating_point():
        dtype = torch.promote_types(dtype, target.dtype)
    return loss if loss.dtype == dtype else loss.to(dtype)


def _legacy(size_average: bool | None, reduce: bool | None, reduction: str) -> str:
    """The reduction, by either of the ways to ask for it."""
    if size_average is not None or reduce is not None:
        meant = "none" if reduce is False else "sum" if size_average is False else "mean"
        message = f"size_average and reduce are deprecated; write reduction={meant!r}"
        warnings.warn(message, stacklevel=3)
        return meant
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f'reduction must be "mean", "sum" or "none", got {reduction!r}')
    return reduction


def _check_input(input: Tensor, name: str) -> None:
    is_a_tensor(input, name)
    if input.dtype not in FLOATS:
        raise NotImplementedError(not_floating(input, name))


def _check_target(target: Tensor, shape: tuple[int, ...], axis: int) -> None:
    """Refuse what is neither classes nor distributions of logits of this shape, by PyTorch's types of errors."""
    got = tuple(target.shape)
    rows = shape[:axis] + shape[axis + 1 :]
    if got == shape:
        if not target.is_floating_point():
            raise RuntimeError(
                f"target in the shape of input must be floating (distributions), got {target.dtype}; write "
                f"target.to(input.dtype), or classes, target.argmax({axis})"
            )
        return
    if got != rows:
        error = ValueError if len(got) == len(rows) == 1 else RuntimeError
        advice = "; write target.squeeze(-1)" if got == (*rows, 1) else ""
        if got == shape[:-1]:
            advice = "; where the classes are on the last axis of input, write input.movedim(-1, 1)"
        raise error(f"target must have shape {rows} (classes) or {shape} (distributions), got {got}{advice}")
    if target.is_floating_point() or target.dtype == torch.bool or target.is_complex():
        raise RuntimeError(f"target of shape {got} must be integers (classes), got {target.dtype}; write target.long()")


def _check_weight(weight: Tensor | None, c: int) -> None:
    if weight is not None:
        is_a_tensor(weight, "weight")
        if tuple(weight.shape) != (c,):
            raise RuntimeError(f"weight must have shape ({c},), a number a class, got {tuple(weight.shape)}")


def _smoothed(target: Tensor, label_smoothing: float, c: int) -> tuple[Tensor, float]:
    """Distributions, smoothed as PyTorch does it, by as much whatever they sum to; and the smoothing that is left."""
    if not 0 <= label_smoothing <= 1:
        raise RuntimeError(f"label_smoothing must be in [0, 1], got {label_smoothing}")
    if label_smoothing == 0 or not target.is_floating_point():
        return target, label_smoothing
    return target * (1 - label_smoothing) + label_smoothing / c, 0.0


def _expanded(weight: Tensor, name: str, input: Tensor) -> Tensor:
    is_a_tensor(weight, name)
    try:
        return weight.expand(input.shape)
    except RuntimeError:
        expected = f"{tuple(input.shape)} or broadcast to it"
        raise RuntimeError(f"{name} must have shape {expected}, got {tuple(weight.shape)}") from None
