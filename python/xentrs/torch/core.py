"""The way to the core: tensors are read as arrays where they lie, and what comes back is made a tensor again."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import losses
from .call import BESIDE, LINEAR, Call
from .tensors import as_array, as_tensor, empty

__all__ = ["value", "value_and_grads"]


def value(call: Call) -> Tensor:
    """The loss."""
    loss, _ = _found(call, None, 1.0, False)
    return as_tensor(loss, call.dtype_of_loss())


def value_and_grads(
    call: Call, wanted: Sequence[bool], up: Tensor | None = None, *, inplace: bool = False
) -> tuple[Tensor, list[Tensor | None]]:
    """The loss, and its gradients.

    Parameters
    ----------
    call : Call
        The loss and its arguments.
    wanted : sequence of bool
        Of each operand, whether its gradient is wanted; None stands for one that is not.
    up : tensor, optional
        What the gradients are multiplied by: a number or, for the reduction "none", one number a loss.
    inplace : bool
        Whether the gradient goes to where the first operand is.
    """
    above = 1.0 if up is None else up.item() if up.dim() == 0 else as_array(up)
    loss, grads = _found(call, wanted, above, inplace)
    tensors = [None if grad is None else as_tensor(grad, call.operands[0].dtype) for grad in grads]
    return as_tensor(loss, call.dtype_of_loss()), tensors


def _found(call: Call, wanted: Sequence[bool] | None, up: Any, inplace: bool) -> tuple[Any, list[Any]]:
    """The loss, with PyTorch's means and on all that it takes where that is asked for; and gradients."""
    if not call.options.get("as_torch"):
        return _by_core(call, wanted, up, inplace)
    if call.divides_by_count():
        count = math.prod(call.shape_of_losses())
        factor = 1 / max(count, 1)
        loss, grads = _by_core_or_parts(call.with_options(reduction="sum"), wanted, up * factor, inplace)
        return loss * factor if count else math.nan, grads
    loss, grads = _by_core_or_parts(call, wanted, up, inplace)
    if call.options["reduction"] == "mean" and loss == 0.0 and call.total_weight() == 0.0:
        loss = math.nan  # PyTorch's mean of nothing
    return loss, grads


# ------------------------------------------------------------------------------------------------------------ the core


def _by_core(call: Call, wanted: Sequence[bool] | None, up: Any, inplace: bool) -> tuple[Any, list[Any]]:
    """What the core makes of a call: a number or an array, and the gradients."""
    if call.is_linear() and not call.is_of_tokens() and _products_pay(call.operands[0]):
        return _by_products(call, wanted, up)
    arrays = [as_array(operand) for operand in call.operands]
    beside = [None if tensor is None else as_array(tensor) for tensor in call.beside]
    target = beside[0] if beside[1] is None else (beside[0], beside[1])
    options: dict[str, Any] = call.options.copy()
    options.pop("as_torch", None)
    if call.is_of_tokens():
        del options["reduction"]
    for name, array in zip(BESIDE[2:], beside[2:], strict=True):
        if array is not None:
            options[name] = array
    if len(arrays) == len(LINEAR):
        options["bias"] = arrays.pop()
    if wanted is None:
        found = _said_of_tensors(getattr(losses, call.loss), *arrays, target, **options)
        return np.stack(found) if call.is_of_tokens() else found, []
    if call.is_of_tokens():
        options["grad_logprob"], options["grad_entropy"] = up
    elif not isinstance(up, float) or up != 1.0:
        options["grad_output"] = up
    if call.is_linear():
        options["wrt"] = [name for name, is_wanted in zip(LINEAR, wanted, strict=False) if is_wanted]
    elif inplace:
        options["out"] = arrays[0]
    elif options.get("axis", -1) not in (-1, arrays[0].ndim - 1):
        options["out"] = empty(arrays[0].shape, call.operands[0].dtype)  # in the order of the logits' axes
    loss, *grads = _said_of_tensors(getattr(losses, f"{call.loss}_with_grad"), *arrays, target, **options)
    if call.is_of_tokens():
        loss = np.stack([loss, grads.pop(0)])
    return loss, grads[: len(wanted)]


def _said_of_tensors(function: Callable[..., Any], *arrays: Any, **options: Any) -> Any:
    """Call a function of arrays, whose advice is given in the words of tensors."""
    try:
        return function(*arrays, **options)
    except (TypeError, ValueError) as fault:
        words = said = str(fault)
        for of_array, of_tensor in _OF_TENSORS.items():
            words = words.replace(of_array, of_tensor)
        if words == said:
            raise
        raise type(fault)(words) from None


_OF_TENSORS = {
    ".astype(int)": ".long()",
    ".astype(float)": ".float()",
    '.astype("float64")': ".double()",
    "numpy.where(numpy.isnan(target)": "torch.where(target.isnan()",
}


# ------------------------------------------------------------------------------------------ what the core does not take


def _by_core_or_parts(call: Call, wanted: Sequence[bool] | None, up: Any, inplace: bool) -> tuple[Any, list[Any]]:
    """The same, with negative weights and targets outside of [0, 1], which PyTorch takes and the core refuses."""
    try:
        return _by_core(call, wanted, up, inplace)
    except ValueError:  # shapes have been checked
        parts = list(_parts(call))
    scale = 1.0
    if call.options["reduction"] == "mean":
        total = call.total_weight()
        scale = 1 / total if total else math.nan
        parts = [(sign, part.with_options(reduction="sum")) for sign, part in parts]
    found = [(sign * scale, *_by_core(part, wanted, up * sign * scale, False)) for sign, part in parts]
    loss = sum(factor * loss for factor, loss, _ in found)
    grads = [None if of_parts[0] is None else sum(of_parts) for of_parts in zip(*[g for *_, g in found], strict=True)]
    if inplace and grads:
        place = as_array(call.operands[0])
        place[...] = grads[0]
        grads[0] = place
    return loss, grads


def _parts(call: Call) -> Iterator[tuple[float, Call]]:
    """Calls whose losses, each with its sign, add up to that of a call: it is linear in weights and in targets."""
    target, shares, class_weight, pos_weight, sample_weight, log_prior = call.beside
    if call.has_classes():
        targets = _signed(target) if call.target.is_floating_point() else [(1.0, target)]
        weights = [(1.0, None)] if class_weight is None else _signed(class_weight)
        for (sign, part), (sign_of_weight, weight) in itertools.product(targets, weights):
            yield sign * sign_of_weight, call._replace(beside=(part, shares, weight, None, sample_weight, log_prior))
        return
    # What the two answers weigh.
    every = torch.ones(call.shape_of_losses(), dtype=call.dtype_of_loss()) if sample_weight is None else sample_weight
    positive = every * call.target if pos_weight is None else every * call.target * pos_weight
    for (sign, yes), (_, no) in zip(_signed(positive), _signed(every * (1 - call.target)), strict=True):
        both = yes + no
        yield sign, call._replace(beside=(torch.where(both == 0, 0.0, yes / both), None, None, None, both, None))


def _signed(tensor: Any) -> list[tuple[float, Tensor]]:
    """What is positive, and what is negative."""
    return [(1.0, tensor.clamp(min=0)), (-1.0, (-tensor).clamp(min=0))]


# ------------------------------------------------------------------------------------------- PyTorch's matrix products

CHUNK = 32 << 20
"""Bytes of logits that are made at a time."""


def _products_pay(x: Tensor) -> bool:
    """Whether PyTorch multiplies in this type faster than the core, which widens it to float32.

    It does where a processor multiplies bfloat16 in tiles (AMX): 34 against 153 ms for 512 x 256 -> 32000 on Sapphire
    Rapids. Without them it is three times as slow as float32, and in float16 a hundred times (Ice Lake, PyTorch 2.15).
    """
    return x.dtype == torch.bfloat16 and _has_tiles()


@functools.cache
def _has_tiles() -> bool:
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("amx_bf16"))


def _by_products(call: Call, wanted: Sequence[bool] | None, up: Any) -> tuple[Any, list[Any]]:
    """A loss behind a linear layer, some rows at a time: PyTorch's product, our loss over it in place, its products."""
    x, weight, *biases = call.operands
    c, d = weight.shape
    rows = x.reshape(-1, d)
    bias = biases[0].to(x.dtype) if biases else None
    target, shares, class_weight, pos_weight, sample_weight, log_prior = call.beside
    if sample_weight is not None:
        rowwise = not call.has_classes() and sample_weight.dim() == x.dim() - 1
        sample_weight = (sample_weight.unsqueeze(-1) if rowwise else sample_weight).expand(call.shape_of_losses())
    by_row = [
        None if t is None else t.reshape(len(rows), *t.shape[x.dim() - 1 :]) for t in (target, shares, sample_weight)
    ]
    options = {"ignore_index": -100} | call.options
    options.pop("kind", None)
    loss_of = "softmax_cross_entropy" if call.has_classes() else "sigmoid_cross_entropy"
    scale = 1.0
    if options["reduction"] == "mean":
        scale, options["reduction"] = 1 / (call.total_weight() or 1.0), "sum"
    above = np.multiply(up, scale)
    if above.ndim:
        above = above.reshape(len(rows), *above.shape[x.dim() - 1 :])

    found = []
    wants = [*(wanted or ()), False, False, False]
    grad_x = torch.empty_like(rows) if wants[0] else None
    # What is summed over rows is summed in float32.
    grad_weight = torch.zeros(c, d) if wants[1] else None
    grad_bias = torch.zeros(c) if wants[2] else None
    for start in range(0, len(rows), step := max(1, CHUNK // (2 * c))):
        part = slice(start, start + step)
        z = torch.nn.functional.linear(rows[part], weight, bias)
        labels, shares, weights = (None if tensor is None else tensor[part] for tensor in by_row)
        inner = Call(loss_of, [z], [labels, shares, class_weight, pos_weight, weights, log_prior], options)
        loss, _ = _by_core(inner, wanted and [True], above[part] if above.ndim else above.item(), wanted is not None)
        found.append(loss)
        # The logits are their gradient now.
        if grad_x is not None:
            torch.mm(z, weight, out=grad_x[part])
        if grad_weight is not None:
            grad_weight += z.T @ rows[part]
        if grad_bias is not None:
            grad_bias += z.sum(0, dtype=torch.float32)
    grads = [None if grad is None else as_array(grad.to(x.dtype)) for grad in (grad_x, grad_weight, grad_bias)]
    if grads[0] is not None:
        grads[0] = grads[0].reshape(x.shape)
    if options["reduction"] == "none":
        return np.concatenate(found or [np.empty((0, *call.shape_of_losses()[x.dim() - 1 :]), np.float32)]).reshape(
            call.shape_of_losses()
        ), grads[: len(wanted or ())]
    return math.fsum(found) * scale, grads[: len(wanted or ())]
