"""The arguments of a loss, which are checked while JAX traces."""

from __future__ import annotations

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .. import _core, losses
from .._arrays import fits
from .._mending import Call as Refused
from .call import real

__all__ = ["attributes_of", "checked_logits", "checked_weights", "class_target", "labels", "repeated"]

Shape = tuple[int, ...]


def attributes_of(loss: str, logits: Any, target: Any, reduction: str, options: dict[str, Any]) -> tuple[Any, ...]:
    """Check the options by a call without rows, and give those that are set."""
    for name, value in options.items():
        if isinstance(value, jax.core.Tracer):
            raise TypeError(
                f"{name} must be a number that is known when the function is traced, got {value}; "
                "make it static (jax.jit's static_argnames), or close over it"
                f"{', or divide logits by a temperature that is learnt' if name == 'temperature' else ''}"
            )
    getattr(losses, loss)(logits, target, reduction=reduction, **options)
    kinds = {name: np.int64 if name == "ignore_index" else np.float64 for name in options}
    return tuple((name, kinds[name](value)) for name, value in options.items() if value is not None)


def _array(name: str, given: Any) -> Any:
    if given is None:  # which older versions of JAX take for NaN
        raise TypeError(f"{name} must be an array of numbers, got None")
    try:
        return jnp.asarray(given)
    except (TypeError, ValueError) as fault:
        if isinstance(fault, jax.errors.JAXTypeError):  # which says more
            raise
        raise TypeError(f"{name} must be an array of numbers, got {type(given).__name__}: {fault}") from None


def checked_logits(given: Any) -> Any:
    """Logits of a floating dtype."""
    logits = _array("logits", given)
    if logits.dtype not in (jnp.float32, jnp.float64, jnp.float16, jnp.bfloat16):
        advice = "; write logits.astype(float)" if jnp.issubdtype(logits.dtype, jnp.integer) else ""
        raise TypeError(f"logits must be float16, bfloat16, float32 or float64, got {logits.dtype}{advice}")
    return logits


def class_target(loss: str, logits: Any, given: Any) -> dict[str, Any]:
    """Classes, distributions, or the classes and the weights of sparse distributions."""
    rows = logits.shape[:-1]
    if isinstance(given, tuple):
        if len(given) != 2:
            raise TypeError(f"target must be an array or a pair (classes, weights), got {len(given)} of them")
        classes, weights = (_array("target", part) for part in given)
        if not (jnp.issubdtype(classes.dtype, jnp.integer) and jnp.issubdtype(weights.dtype, jnp.floating)):
            kinds = f"{classes.dtype} and {weights.dtype}"
            raise TypeError(f"a sparse target must be a pair of integers and floats, got {kinds}")
        for name, part in [("classes", classes), ("weights", weights)]:
            if part.shape != (*rows, *weights.shape[-1:]):
                raise ValueError(f"target {name} must have shape {(*rows, *weights.shape[-1:])}, got {part.shape}")
        return {"target": _indices(classes), "target_weight": _constant("target", weights).astype(real(logits))}
    target = _array("target", given)
    if jnp.issubdtype(target.dtype, jnp.integer):
        _check_target(loss, logits, target, rows)
        return {"target": _indices(target)}
    if not jnp.issubdtype(target.dtype, jnp.floating):
        words = f"target must be integers (classes) or floats (distributions), got {target.dtype}"
        raise TypeError(_with_advice(words, loss, logits, target))
    _check_target(loss, logits, target, logits.shape)
    return {"target": _in_type_of(logits, _constant("target", target))}


def labels(loss: str, logits: Any, given: Any) -> Any:
    """Independent labels as floats."""
    target = _array("target", given)
    if not any(jnp.issubdtype(target.dtype, kind) for kind in (jnp.floating, jnp.integer, jnp.bool_)):
        raise TypeError(f"target must be boolean, integer or floating, got {target.dtype}")
    _check_target(loss, logits, target, logits.shape)
    return _in_type_of(logits, _constant("target", target))


def _check_target(loss: str, logits: Any, target: Any, shape: Shape) -> None:
    if target.shape != shape:
        words = f"target must have shape {shape}, got {target.shape}"
        raise ValueError(_with_advice(words, loss, logits, target))


def _with_advice(words: str, loss: str, logits: Any, target: Any) -> str:
    """Words of an error, and what to write instead, as for NumPy's arrays: from shapes and dtypes alone."""
    rows = logits.shape[:-1] if loss.startswith("softmax") else None
    empty = np.broadcast_to(np.zeros((), target.dtype), target.shape)
    call = Refused(getattr(_core, loss), {"logits": logits, "target": empty}, "logits", logits.shape, rows)
    advice = call.advice_on_labels(empty) if rows is None else call.advice_on_classes(empty, rows)
    if advice and (axis := re.search(r"axis=(\d+)", advice)):
        move = f"jnp.moveaxis(logits, {axis[1]}, -1)"
        if jnp.issubdtype(target.dtype, jnp.floating):
            advice = f"floats are distributions; for classes write integers, target.astype(int), and {move}"
        else:
            advice = f"the classes are on the last axis: write {move}"
    return f"{words}; {advice}" if advice else words


def _indices(classes: Any) -> Any:
    """Classes of a dtype that the core reads; those too large for it stay too large for every row."""
    if classes.dtype in (jnp.int32, jnp.int64):
        return classes
    most = np.iinfo(np.int32).max
    return (jnp.minimum(classes, most) if classes.dtype.itemsize >= 4 else classes).astype(jnp.int32)


def _in_type_of(logits: Any, numbers: Any) -> Any:
    """The same numbers in the type of the logits or of the computation, the two that the core reads."""
    return numbers if numbers.dtype in (logits.dtype, real(logits)) else numbers.astype(real(logits))


def checked_weights(name: str, given: Any) -> Any:
    """Weights in float32 or float64, for which no gradient is given."""
    weights = _array(name, given)
    if not any(jnp.issubdtype(weights.dtype, kind) for kind in (jnp.floating, jnp.integer, jnp.bool_)):
        raise TypeError(f"{name} must be floating, got {weights.dtype}")
    weights = _constant(name, weights)
    return weights if weights.dtype == jnp.float64 else weights.astype(jnp.float32)


def repeated(name: str, weights: Any, shape: Shape) -> Any:
    """The same weights, repeated to a shape."""
    if not fits(weights, shape):
        raise ValueError(f"{name} must have shape {shape} or broadcast to it, got {weights.shape}")
    return jnp.broadcast_to(weights, shape)


def _same(name: str, operand: Any) -> Any:
    return operand


def _refuse(name: str, *_: Any) -> Any:
    raise NotImplementedError(
        f"xentrs.jax gives gradients with respect to logits alone, got one asked for with respect to {name}; where "
        f"none is meant write jax.lax.stop_gradient({name})"
    )


_constant = jax.custom_jvp(_same, nondiff_argnums=(0,))
_constant.defjvp(_refuse)
