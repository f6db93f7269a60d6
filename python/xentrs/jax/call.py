"""A call of the core on XLA's buffers, and the rule of its gradient."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .. import _core

__all__ = ["Call", "goes_eagerly", "loss_of", "real"]

Shape = tuple[int, ...]


class Call(NamedTuple):
    """What is known of a call when JAX traces it."""

    loss: str
    reduction: str
    names: tuple[str, ...]
    """Those of the operands, the logits first."""
    attributes: tuple[tuple[str, Any], ...]
    shape: Shape
    """That of the loss."""
    is_eager: bool
    """Whether the loss and its gradient are computed together."""


def goes_eagerly(logits: Any, reduction: str) -> bool:
    """Whether the gradient is computed with the loss, in one sweep, and multiplied by the upstream gradient later.

    XLA leaves out a multiplication by 1. Without a reduction the upstream gradient is hardly ever 1, and is part of a
    sweep of its own. So it is for float16, where a gradient without its scale may round to 0.
    """
    return reduction != "none" and logits.dtype != jnp.float16


def _results(call: Call, operands: tuple[Any, ...], names: str, grad_output: Any = None) -> list[Any]:
    """Loss, gradient, or both, from the core."""
    logits, given = operands[0], call.names
    if grad_output is not None:
        operands, given = (*operands, grad_output), (*given, "grad_output")
    places = {
        "loss": jax.ShapeDtypeStruct(call.shape, real(logits)),
        "grad": jax.ShapeDtypeStruct(logits.shape, logits.dtype),
    }
    function = jax.ffi.ffi_call(_TARGET, [places[name] for name in names.split()], vmap_method="expand_dims")
    results: list[Any] = function(
        *operands,
        loss=call.loss,
        reduction=call.reduction,
        rank=np.int64(logits.ndim),
        operands=" ".join(given),
        results=names,
        **dict(call.attributes),
    )
    return results


def _value(call: Call, operands: tuple[Any, ...]) -> Any:
    return _results(call, operands, "loss")[0]


def real(logits: Any) -> Any:
    """The dtype of the computation."""
    return jnp.float64 if logits.dtype == jnp.float64 else jnp.float32


def _refuse_twice(*_: Any) -> Any:
    raise NotImplementedError("xentrs.jax gives first derivatives alone, got a second one asked for")


_once = jax.custom_jvp(lambda logits: logits)
_once.defjvp(_refuse_twice)


def _forward(call: Call, operands: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
    operands = (_once(operands[0]), *operands[1:])
    if call.is_eager:
        loss, grad = _results(call, operands, "loss grad")
        return loss, (grad,)
    return _value(call, operands), operands


def _backward(call: Call, kept: tuple[Any, ...], upstream: Any) -> tuple[tuple[Any, ...]]:
    if call.is_eager:
        (grad,) = kept
        factor = jnp.expand_dims(upstream, tuple(range(upstream.ndim, grad.ndim)))
        grad = (grad.astype(factor.dtype) * factor).astype(grad.dtype)
    else:
        (grad,) = _results(call, kept, "grad", upstream)
    # None is the gradient of integers. Of floats nobody gets to see it: `_constant` refuses.
    return ((grad, *(None for _ in call.names[1:])),)


_rule = jax.custom_vjp(_value, nondiff_argnums=(0,))
_rule.defvjp(_forward, _backward)
loss_of = jax.jit(_rule, static_argnums=0, inline=True)

_TARGET = "xentrs_loss"
_on_cpu, _elsewhere = _core._xla_handlers()
jax.ffi.register_ffi_target(_TARGET, _on_cpu, platform="cpu")
for _platform in ("CUDA", "ROCM"):
    jax.ffi.register_ffi_target(_TARGET, _elsewhere, platform=_platform)
