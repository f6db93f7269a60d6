"""How a loss becomes a node of PyTorch's graph: one mechanism for all of them, in two forms.

`Eager`: the gradient is computed in the forward pass, in the same sweep as the loss, and waits for the backward pass.
Where PyTorch compiles, exports or transforms a function, and where second derivatives are wanted, a call is `Deferred`:
the operators ``xentrs::value`` in the forward pass and ``xentrs::grads`` in the backward pass. PyTorch sees operators
whose inside is hidden, with shapes that are declared; second derivatives come from `formulas`.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.autograd import forward_ad

from .._extras import version_of
from .call import BESIDE, Call
from .core import value, value_and_grads
from .formulas import formula
from .tensors import empty

__all__ = ["evaluated"]

Tensors: TypeAlias = Sequence[Tensor]
MaybeTensors: TypeAlias = "Sequence[Tensor | None]"


def evaluated(call: Call, *, differentiable: bool = False, inplace: bool = False) -> Tensor:
    """Compute a loss in the form that its tensors and PyTorch's state ask for.

    Parameters
    ----------
    call : Call
        The loss and its arguments.
    differentiable : bool
        Whether second derivatives are wanted.
    inplace : bool
        Whether the first operand may be overwritten by its gradient. Only the eager form does so.
    """
    if inplace and differentiable:
        raise ValueError("inplace must be False where differentiable is True: second derivatives need the logits")
    needs_gradient = torch.is_grad_enabled() and any(operand.requires_grad for operand in call.operands)
    if _is_plain(call):
        if not needs_gradient:
            return value(call)
        if not differentiable and not call.mixes():
            if inplace:
                _refuse_leaf(call.operands[0])
            return Eager.apply(call, inplace, *call.operands)
    text, numbers = _packed(call)
    if torch.compiler.is_compiling():
        if _is_forward():
            raise NotImplementedError(NO_FORWARD_MODE)
        if not needs_gradient:
            return _value(call.operands, call.beside, text, numbers)
        return Deferred.apply(text, numbers, *call.operands, *call.beside)
    try:
        return Deferred.apply(text, numbers, *call.operands, *call.beside)
    except NotImplementedError as fault:
        if "jvp" not in str(fault):  # what PyTorch says of all functions without forward mode
            raise
        raise NotImplementedError(NO_FORWARD_MODE) from None


NO_FORWARD_MODE = (
    "xentrs.torch has no forward mode (jvp, jacfwd, hessian); write torch.func.jacrev, and for second derivatives "
    "jacrev(jacrev(f))"
)


# ----------------------------------------------------------------------------------------------------- eager


class Eager(torch.autograd.Function):
    """The loss, with its gradients computed at once; what comes from above is multiplied in where it is not 1."""

    @staticmethod
    def forward(ctx: Any, call: Call, inplace: bool, *operands: Tensor) -> Tensor:
        loss, grads = value_and_grads(call, ctx.needs_input_grad[2:], inplace=inplace)
        ctx.axis = call.axis_of_losses()
        ctx.save_for_backward(*grads)
        if inplace:
            torch.autograd.graph.increment_version(operands[0])  # whoever else has kept it is told
        return loss

    @staticmethod
    def backward(ctx: Any, up: Tensor) -> Any:
        if torch.is_grad_enabled():
            raise RuntimeError(
                "the gradient of this loss has no derivative, which create_graph=True asks for; "
                "pass differentiable=True to the loss"
            )
        grads = ctx.saved_tensors
        if up.dim() > 0 or up.item() != 1.0:
            if up.dim() > 0 and ctx.axis is not None:
                up = up.unsqueeze(ctx.axis)
            grads = [None if grad is None else _times(grad, up) for grad in grads]
        return None, None, *grads


def _times(grad: Tensor, up: Tensor) -> Tensor:
    if not _graph_is_kept():
        return grad.mul_(up)
    place = torch.from_numpy(empty(grad.shape, grad.dtype)) if grad.dtype != torch.bfloat16 else torch.empty_like(grad)
    return torch.mul(grad, up, out=place)


# -------------------------------------------------------------------------------------------------- deferred


OTHERS = len(BESIDE)
CALL = "Tensor[] operands, Tensor?[] beside, str text, float[] numbers"


@torch.library.custom_op("xentrs::value", mutates_args=(), device_types="cpu", schema=f"({CALL}) -> Tensor")
def _value(operands: Tensors, beside: MaybeTensors, text: str, numbers: Sequence[float]) -> Tensor:
    if _is_forward() and any(map(_has_tangent, operands)):
        raise NotImplementedError(NO_FORWARD_MODE)  # in code that was compiled before
    return value(_unpacked(operands, beside, text, numbers))


@torch.library.custom_op(
    "xentrs::grads", mutates_args=(), device_types="cpu", schema=f"(Tensor up, {CALL}, bool[] wanted) -> Tensor[]"
)
def _grads(
    up: Tensor, operands: Tensors, beside: MaybeTensors, text: str, numbers: Sequence[float], wanted: Sequence[bool]
) -> list[Tensor]:
    call = _unpacked(operands, beside, text, numbers)
    return [grad.contiguous() for grad in value_and_grads(call, wanted, up)[1] if grad is not None]


@_value.register_fake
def _(operands: Tensors, beside: MaybeTensors, text: str, numbers: Sequence[float]) -> Tensor:
    call = _unpacked(operands, beside, text, numbers)
    return operands[0].new_empty(
        call.shape_of_losses() if call.options["reduction"] == "none" else (), dtype=call.dtype_of_loss()
    )


@_grads.register_fake
def _(
    up: Tensor, operands: Tensors, beside: MaybeTensors, text: str, numbers: Sequence[float], wanted: Sequence[bool]
) -> list[Tensor]:
    return [operand.new_empty(operand.shape) for operand, is_wanted in zip(operands, wanted, strict=True) if is_wanted]


def _each(operator: Any) -> Any:
    """The rule of ``vmap`` for an operator: a call for each slice, which costs microseconds."""

    def rule(info: Any, in_dims: Any, *arguments: Any) -> Any:
        def slice_of(given: Any, dim: Any, i: int) -> Any:
            if isinstance(given, list | tuple) and isinstance(dim, list | tuple):
                return [slice_of(part, along, i) for part, along in zip(given, dim, strict=True)]
            return given if dim is None else given.select(dim, i)

        results = [operator(*slice_of(arguments, in_dims, i)) for i in range(info.batch_size)]
        if isinstance(results[0], Tensor):
            return torch.stack(results), 0
        return [torch.stack(parts) for parts in zip(*results, strict=True)], [0] * len(results[0])

    return rule


_value.register_vmap(_each(_value))
_grads.register_vmap(_each(_grads))


NESTS = version_of("torch") >= (2, 15)
"""Whether the compiler of PyTorch gets a function in the backward pass of another one right: it does in 2.15, and does
not in 2.6. Where it does not, compiled code has no second derivatives, and says so."""


class Deferred(torch.autograd.Function):
    """The loss alone; its gradients are computed in the backward pass, with what comes from above in the sweep."""

    generate_vmap_rule = True

    @staticmethod
    def forward(text: str, numbers: list[float], *tensors: Any) -> Tensor:
        return _value(tensors[:-OTHERS], tensors[-OTHERS:], text, numbers)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.text, ctx.numbers, *tensors = inputs
        ctx.save_for_backward(*tensors)

    @staticmethod
    def backward(ctx: Any, up: Tensor) -> Any:
        wanted = ctx.needs_input_grad[2:-OTHERS]
        if torch.compiler.is_compiling() and not NESTS:
            gradients: Any = Gradients.forward
        else:
            gradients = Gradients.apply
        found = iter(gradients(ctx.text, ctx.numbers, wanted, up, *ctx.saved_tensors))
        grads = [next(found) if is_wanted else None for is_wanted in wanted]
        return None, None, *grads, *[None] * OTHERS


class Gradients(torch.autograd.Function):
    """The gradients of a loss, times what comes from above; its own derivatives are those of the formula."""

    generate_vmap_rule = True

    @staticmethod
    def forward(text: str, numbers: list[float], wanted: list[bool], up: Tensor, *tensors: Any) -> Any:
        return tuple(_grads(up, tensors[:-OTHERS], tensors[-OTHERS:], text, numbers, wanted))

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.text, ctx.numbers, ctx.wanted, *tensors = inputs
        ctx.save_for_backward(*tensors)

    @staticmethod
    def backward(ctx: Any, *ups: Tensor) -> Any:
        above, *tensors = ctx.saved_tensors
        operands, beside = tensors[:-OTHERS], tensors[-OTHERS:]
        call = _unpacked(operands, beside, ctx.text, ctx.numbers)

        def gradients(above: Tensor, *operands: Tensor) -> Any:
            loss, pull = torch.func.vjp(lambda *operands: formula(call._replace(operands=operands)), *operands)
            grads = pull(above.to(loss.dtype))
            return tuple(grad for grad, is_wanted in zip(grads, ctx.wanted, strict=True) if is_wanted)

        _, pull = torch.func.vjp(gradients, above, *operands)
        return None, None, None, *pull(ups), *[None] * OTHERS


_WORDS = (bool, int, str, type(None))  # a union is too much for the compiler of PyTorch 2.6


def _packed(call: Call) -> tuple[str, list[float]]:
    """The options of a call as a text, and the numbers that its dots stand for: compiled code may not know them yet."""
    words, numbers = [], []
    for name, option in call.options.items():
        if isinstance(option, _WORDS):
            words.append(f"{name}={option!r}")
        else:
            words.append(f"{name}=...")
            numbers.append(float(option))
    return f"{call.loss}({', '.join(words)})", numbers


def _unpacked(operands: Tensors, beside: MaybeTensors, text: str, numbers: Sequence[float]) -> Call:
    loss, words = _read(text)
    left = iter(numbers)
    options = {name: next(left) if option is ... else option for name, option in words}
    return Call(loss, operands, beside, options)


@functools.cache
def _read(text: str) -> tuple[str, list[tuple[str, Any]]]:
    expression: Any = ast.parse(text, mode="eval").body
    return expression.func.id, [(word.arg, ast.literal_eval(word.value)) for word in expression.keywords]


# ------------------------------------------------------------------------------------------------------ PyTorch's state


def _nothing() -> Any:
    return None


# None of these is public. Where one is gone, what it tells of is not noticed, and `differentiable` asks for the
# deferred form.
_transform = getattr(torch._C._functorch, "peek_interpreter_stack", _nothing)
_modes = getattr(torch._C, "_len_torch_dispatch_stack", _nothing)
_trace = getattr(torch._C, "_get_tracing_state", _nothing)
_graph_is_kept = getattr(torch._C._autograd, "_get_current_graph_task_keep_graph", lambda: True)

_PLAIN = (Tensor, torch.nn.Parameter, type(None))


def _is_plain(call: Call) -> bool:
    """Whether PyTorch does nothing but run, on tensors that are nothing but tensors."""
    if torch.compiler.is_compiling():  # alone, and first: the compiler decides it
        return False
    if _transform() is not None or _modes() or _trace() is not None:
        return False
    if _is_forward():
        return False
    return all(type(tensor) in _PLAIN for tensor in (*call.operands, *call.beside))


@torch.compiler.assume_constant_result
def _is_forward() -> bool:
    """Whether derivatives go forward: the compiler, which is told now, would take them for 0."""
    return getattr(forward_ad, "_current_level", -1) >= 0


def _has_tangent(tensor: Tensor) -> bool:
    try:
        return forward_ad.unpack_dual(tensor).tangent is not None
    except RuntimeError:  # in a function that PyTorch transforms, and refuses
        return False


def _refuse_leaf(operand: Tensor) -> None:
    base = operand._base if operand._is_view() else operand
    if base is not None and base.is_leaf and base.requires_grad:
        raise RuntimeError(
            "logits must not be a leaf that requires a gradient where inplace is True, for they are overwritten by it"
        )
