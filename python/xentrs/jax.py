"""The losses for JAX: functions of JAX's arrays, with their gradients, under ``jit``, ``grad``, ``vmap``, ``scan``.

>>> import jax
>>> import jax.numpy as jnp
>>> import xentrs.jax as xj
>>> logits = jnp.array([[2.0, 1.0, 0.0], [0.0, 3.0, 0.0]])
>>> loss, grad = jax.jit(jax.value_and_grad(xj.softmax_cross_entropy))(logits, jnp.array([0, 2]))
>>> print(f"{loss:.4f}")
1.7513

XLA calls the Rust core on its own buffers, without Python (``jax.ffi``). Arguments and options are those of the
functions of the same names in `xentrs`; the classes are on the last axis. It needs the extra ``jax``, and computes on
the CPU.
"""

from __future__ import annotations

import math
import re
from typing import Any, NamedTuple

import numpy as np

from . import _core, losses
from ._arrays import fits, without_leading_ones
from ._extras import need
from ._mending import Call as Refused

need("xentrs.jax", "jax")

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402

__all__ = ["sigmoid_cross_entropy", "sigmoid_focal_loss", "softmax_cross_entropy", "softmax_focal_loss"]

Shape = tuple[int, ...]


def softmax_cross_entropy(
    logits: jax.typing.ArrayLike,
    target: jax.typing.ArrayLike | tuple[jax.typing.ArrayLike, jax.typing.ArrayLike],
    *,
    class_weight: jax.typing.ArrayLike | None = None,
    sample_weight: jax.typing.ArrayLike | None = None,
    ignore_index: int | None = -100,
    label_smoothing: float = 0.0,
    temperature: float = 1.0,
    softcap: float | None = None,
    z_loss: float = 0.0,
    reduction: str = "mean",
) -> jax.Array:
    """Softmax cross-entropy of JAX's arrays, a row being the last axis: ``sum_k w_k t_k (lse(z) - z_k)``.

    Parameters
    ----------
    logits : array, shape (..., c)
        Unnormalised log-probabilities: float16, bfloat16, float32 or float64.
    target : array, or pair of arrays
        Integers of shape (...) are classes, floats of shape (..., c) distributions; a pair ``(classes, weights)``, both
        of shape (..., k), is a sparse distribution.
    class_weight : array, shape (c,), optional
        Non-negative weight ``w`` of each class.
    sample_weight : array, shape (...), optional
        Non-negative weight of each row, or what is repeated to that shape.
    ignore_index : int or None, default -100
        A row of this class has no loss, no weight and zero gradient.
    label_smoothing, temperature, softcap, z_loss : float
        As in `xentrs.softmax_cross_entropy`: numbers that are known when the function is traced.
    reduction : {"mean", "sum", "none"}, default "mean"
        "none" gives the loss of each row, "sum" their sum, "mean" the sum divided by the sum of the weights.

    Returns
    -------
    array
        The loss in nats: float32, or float64 for logits of float64. Its shape is (), for "none" (...).

    Raises
    ------
    TypeError
        While tracing, if an argument is not of one of these dtypes, or an option depends on traced arrays.
    ValueError
        While tracing, if a shape does not fit, or an option is out of range.
    ValueError or jax.errors.JaxRuntimeError
        When the result is computed, at once or in the background, if a class is outside [0, c), or a weight is negative
        or not finite.
    NotImplementedError
        If a gradient with respect to `target` or a weight is needed: ``jax.lax.stop_gradient`` says that it is not.

    See Also
    --------
    xentrs.softmax_cross_entropy : the same of NumPy's arrays, where formula and options are explained.

    Notes
    -----
    Reverse mode alone is defined, once. The gradient has the dtype of the logits, and is computed in float32 where that
    is half precision.

    Examples
    --------
    >>> import jax
    >>> import jax.numpy as jnp
    >>> import numpy as np
    >>> import xentrs.jax as xj
    >>> logits, labels = jnp.array([[2.0, 1.0, 0.0], [0.0, 3.0, 0.0]]), jnp.array([0, 2])
    >>> np.array(xj.softmax_cross_entropy(logits, labels, reduction="none")).round(4)
    array([0.4076, 3.0949], dtype=float32)
    >>> np.array(jax.jit(jax.grad(xj.softmax_cross_entropy))(logits, labels)).round(4)
    array([[-0.1674,  0.1224,  0.045 ],
           [ 0.0226,  0.4547, -0.4774]], dtype=float32)
    """
    options = {
        "ignore_index": ignore_index,
        "label_smoothing": label_smoothing,
        "temperature": temperature,
        "softcap": softcap,
        "z_loss": z_loss,
    }
    return _softmax("softmax_cross_entropy", logits, target, class_weight, sample_weight, reduction, options)


def softmax_focal_loss(
    logits: jax.typing.ArrayLike,
    target: jax.typing.ArrayLike | tuple[jax.typing.ArrayLike, jax.typing.ArrayLike],
    *,
    gamma: float = 2.0,
    class_weight: jax.typing.ArrayLike | None = None,
    sample_weight: jax.typing.ArrayLike | None = None,
    ignore_index: int | None = -100,
    label_smoothing: float = 0.0,
    temperature: float = 1.0,
    softcap: float | None = None,
    z_loss: float = 0.0,
    reduction: str = "mean",
) -> jax.Array:
    """Softmax focal loss of JAX's arrays, a row being the last axis: ``sum_k w_k t_k (1 - p_k)^gamma (lse(z) - z_k)``.

    Parameters
    ----------
    logits, target : array
        As in `softmax_cross_entropy`.
    gamma : float, default 2.0
        Non-negative exponent: the larger, the less does a row count that is classified well.
    class_weight, sample_weight, ignore_index, label_smoothing, temperature, softcap, z_loss, reduction
        As in `softmax_cross_entropy`.

    Returns
    -------
    array
        As in `softmax_cross_entropy`.

    See Also
    --------
    xentrs.softmax_focal_loss : the same of NumPy's arrays, where formula and options are explained.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> import xentrs.jax as xj
    >>> loss = xj.softmax_focal_loss(jnp.array([[2.0, 1.0, 0.0], [0.0, 3.0, 0.0]]), jnp.array([0, 2]))
    >>> print(f"{loss:.4f}")
    1.4333
    """
    options = {
        "gamma": gamma,
        "ignore_index": ignore_index,
        "label_smoothing": label_smoothing,
        "temperature": temperature,
        "softcap": softcap,
        "z_loss": z_loss,
    }
    return _softmax("softmax_focal_loss", logits, target, class_weight, sample_weight, reduction, options)


def sigmoid_cross_entropy(
    logits: jax.typing.ArrayLike,
    target: jax.typing.ArrayLike,
    *,
    pos_weight: jax.typing.ArrayLike | None = None,
    sample_weight: jax.typing.ArrayLike | None = None,
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
) -> jax.Array:
    """Sigmoid cross-entropy of JAX's arrays, each element a yes-or-no question: ``-b t ln p - (1 - t) ln(1 - p)``.

    Parameters
    ----------
    logits : array, shape (...)
        Log-odds: float16, bfloat16, float32 or float64.
    target : array, shape (...)
        The answers: booleans, the integers 0 and 1, or floats in [0, 1].
    pos_weight : array, optional
        Non-negative weight ``b`` of the positive answers: a number, one for each position of the last axis, or what is
        repeated to the shape of the logits.
    sample_weight : array, optional
        Non-negative weights: one for each element, or what is repeated to that. With one axis less, one for each row.
    ignore_index : int or None, default None
        An element with this target has no loss, no weight and zero gradient.
    label_smoothing : float in [0, 1], default 0.0
        Share of each target that is spread evenly over both answers.
    reduction : {"mean", "sum", "none"}, default "mean"
        "none" gives the loss of each element, "sum" their sum, "mean" the sum divided by the sum of the sample weights.

    Returns
    -------
    array
        The loss in nats: float32, or float64 for logits of float64. Its shape is (), for "none" that of the logits.

    Raises
    ------
    TypeError, ValueError, NotImplementedError
        As `softmax_cross_entropy` does.
    ValueError or jax.errors.JaxRuntimeError
        When the result is computed, if a target is outside [0, 1] and not `ignore_index`, or a weight is negative or
        not finite.

    See Also
    --------
    xentrs.sigmoid_cross_entropy : the same of NumPy's arrays, where formula and options are explained.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> import xentrs.jax as xj
    >>> print(f"{xj.sigmoid_cross_entropy(jnp.array([2.0, -1.0, 0.5]), jnp.array([1, 0, 0])):.4f}")
    0.4714
    """
    options = {"ignore_index": ignore_index, "label_smoothing": label_smoothing}
    return _sigmoid("sigmoid_cross_entropy", logits, target, pos_weight, sample_weight, reduction, options)


def sigmoid_focal_loss(
    logits: jax.typing.ArrayLike,
    target: jax.typing.ArrayLike,
    *,
    gamma: float = 2.0,
    alpha: float | None = None,
    pos_weight: jax.typing.ArrayLike | None = None,
    sample_weight: jax.typing.ArrayLike | None = None,
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
) -> jax.Array:
    """Sigmoid focal loss of JAX's arrays: ``-b t (1 - p)^gamma ln p - (1 - t) p^gamma ln(1 - p)``.

    Parameters
    ----------
    logits, target : array, shape (...)
        As in `sigmoid_cross_entropy`.
    gamma : float, default 2.0
        Non-negative exponent: the larger, the less does an element count that is answered well.
    alpha : float in [0, 1], optional
        Weight of the positive answers, against ``1 - alpha`` of the negative ones.
    pos_weight, sample_weight, ignore_index, label_smoothing, reduction
        As in `sigmoid_cross_entropy`.

    Returns
    -------
    array
        As in `sigmoid_cross_entropy`.

    See Also
    --------
    xentrs.sigmoid_focal_loss : the same of NumPy's arrays, where formula and options are explained.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> import xentrs.jax as xj
    >>> print(f"{xj.sigmoid_focal_loss(jnp.array([2.0, -1.0, 0.5]), jnp.array([1, 0, 0])):.4f}")
    0.1340
    """
    options = {"gamma": gamma, "alpha": alpha, "ignore_index": ignore_index, "label_smoothing": label_smoothing}
    return _sigmoid("sigmoid_focal_loss", logits, target, pos_weight, sample_weight, reduction, options)


# ------------------------------------------------------------------------------- arguments, checked while JAX traces


def _softmax(
    loss: str, logits: Any, target: Any, class_weight: Any, sample_weight: Any, reduction: str, options: dict[str, Any]
) -> Any:
    attributes = _attributes(loss, np.empty((0, 2), np.float32), np.empty(0, np.int64), reduction, options)
    logits = _logits(logits)
    if logits.ndim == 0:
        raise ValueError("logits must have at least one axis, got shape ()")
    *leading, classes = logits.shape
    rows = tuple(leading)
    operands = {"logits": logits, **_class_target(loss, logits, target)}
    if class_weight is not None:
        operands["class_weight"] = _weights("class_weight", class_weight)
        if operands["class_weight"].shape != (classes,):
            shape = operands["class_weight"].shape
            raise ValueError(f"class_weight must have shape ({classes},), got {shape}")
    if sample_weight is not None:
        operands["sample_weight"] = _repeated("sample_weight", _weights("sample_weight", sample_weight), rows)
    is_eager = _is_eager(logits, reduction)
    # The loss of a single class needs no reduction, and the rows of a batch are then computed at once.
    has_class = len(operands) == 2 and not jnp.issubdtype(operands["target"].dtype, jnp.floating)
    if not rows and (reduction == "sum" or has_class):
        reduction = "none"
    call = _Call(loss, reduction, tuple(operands), attributes, rows if reduction == "none" else (), is_eager)
    return _loss(call, tuple(operands.values()))


def _sigmoid(
    loss: str, logits: Any, target: Any, pos_weight: Any, sample_weight: Any, reduction: str, options: dict[str, Any]
) -> Any:
    attributes = _attributes(loss, np.empty(0, np.float32), np.empty(0, np.float32), reduction, options)
    logits = _logits(logits)
    shape = logits.shape
    operands = {"logits": logits, "target": _labels(loss, logits, target)}
    if sample_weight is not None:
        weights = _weights("sample_weight", sample_weight)
        if shape and weights.ndim == logits.ndim - 1:
            weights = _repeated("sample_weight", weights, shape[:-1])[..., jnp.newaxis]
        operands["sample_weight"] = _repeated("sample_weight", weights, shape)
    if pos_weight is not None:
        weights = _weights("pos_weight", pos_weight)
        if not fits(weights, shape):
            raise ValueError(f"pos_weight must have shape {shape} or broadcast to it, got {weights.shape}")
        weights = without_leading_ones(weights)
        # The axes along which the weights vary are taken for one, the last one, along which the core lets them vary.
        last = shape[len(shape) - weights.ndim :]
        whole = (*shape[: len(shape) - weights.ndim], math.prod(last)) if weights.ndim > 1 else shape
        operands = {name: operand.reshape(whole) for name, operand in operands.items()}
        operands["pos_weight"] = jnp.broadcast_to(weights, last).ravel()
    is_eager = _is_eager(logits, reduction)
    if not shape and (reduction == "sum" or sample_weight is None):
        reduction = "none"
    losses_shape = operands["logits"].shape if reduction == "none" else ()
    call = _Call(loss, reduction, tuple(operands), attributes, losses_shape, is_eager)
    result = _loss(call, tuple(operands.values()))
    return result.reshape(shape) if reduction == "none" else result


def _attributes(loss: str, logits: Any, target: Any, reduction: str, options: dict[str, Any]) -> tuple[Any, ...]:
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


def _logits(given: Any) -> Any:
    logits = _array("logits", given)
    if logits.dtype not in (jnp.float32, jnp.float64, jnp.float16, jnp.bfloat16):
        advice = "; write logits.astype(float)" if jnp.issubdtype(logits.dtype, jnp.integer) else ""
        raise TypeError(f"logits must be float16, bfloat16, float32 or float64, got {logits.dtype}{advice}")
    return logits


def _real(logits: Any) -> Any:
    """The dtype of the computation."""
    return jnp.float64 if logits.dtype == jnp.float64 else jnp.float32


def _class_target(loss: str, logits: Any, given: Any) -> dict[str, Any]:
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
        return {"target": _indices(classes), "target_weight": _constant("target", weights).astype(_real(logits))}
    target = _array("target", given)
    if jnp.issubdtype(target.dtype, jnp.integer):
        _check_target(loss, logits, target, rows)
        return {"target": _indices(target)}
    if not jnp.issubdtype(target.dtype, jnp.floating):
        words = f"target must be integers (classes) or floats (distributions), got {target.dtype}"
        raise TypeError(_with_advice(words, loss, logits, target))
    _check_target(loss, logits, target, logits.shape)
    return {"target": _in_type_of(logits, _constant("target", target))}


def _labels(loss: str, logits: Any, given: Any) -> Any:
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
    return numbers if numbers.dtype in (logits.dtype, _real(logits)) else numbers.astype(_real(logits))


def _weights(name: str, given: Any) -> Any:
    weights = _array(name, given)
    if not any(jnp.issubdtype(weights.dtype, kind) for kind in (jnp.floating, jnp.integer, jnp.bool_)):
        raise TypeError(f"{name} must be floating, got {weights.dtype}")
    weights = _constant(name, weights)
    return weights if weights.dtype == jnp.float64 else weights.astype(jnp.float32)


def _repeated(name: str, weights: Any, shape: Shape) -> Any:
    if not fits(weights, shape):
        raise ValueError(f"{name} must have shape {shape} or broadcast to it, got {weights.shape}")
    return jnp.broadcast_to(weights, shape)


# --------------------------------------------------------------------------------------------- the call, and its rule


class _Call(NamedTuple):
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


def _is_eager(logits: Any, reduction: str) -> bool:
    """Whether the gradient is computed with the loss, in one sweep, and multiplied by the upstream gradient later.

    XLA leaves out a multiplication by 1. Without a reduction the upstream gradient is hardly ever 1, and is part of a
    sweep of its own. So it is for float16, where a gradient without its scale may round to 0.
    """
    return reduction != "none" and logits.dtype != jnp.float16


def _results(call: _Call, operands: tuple[Any, ...], names: str, grad_output: Any = None) -> list[Any]:
    """Loss, gradient, or both, from the core."""
    logits, given = operands[0], call.names
    if grad_output is not None:
        operands, given = (*operands, grad_output), (*given, "grad_output")
    places = {
        "loss": jax.ShapeDtypeStruct(call.shape, _real(logits)),
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


def _value(call: _Call, operands: tuple[Any, ...]) -> Any:
    return _results(call, operands, "loss")[0]


def _forward(call: _Call, operands: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
    operands = (_once(operands[0]), *operands[1:])
    if call.is_eager:
        loss, grad = _results(call, operands, "loss grad")
        return loss, (grad,)
    return _value(call, operands), operands


def _backward(call: _Call, kept: tuple[Any, ...], upstream: Any) -> tuple[tuple[Any, ...]]:
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
_loss = jax.jit(_rule, static_argnums=0, inline=True)


def _same(name: str, operand: Any) -> Any:
    return operand


def _refuse(name: str, *_: Any) -> Any:
    raise NotImplementedError(
        f"xentrs.jax gives gradients with respect to logits alone, got one asked for with respect to {name}; where "
        f"none is meant write jax.lax.stop_gradient({name})"
    )


_constant = jax.custom_jvp(_same, nondiff_argnums=(0,))
_constant.defjvp(_refuse)


def _refuse_twice(*_: Any) -> Any:
    raise NotImplementedError("xentrs.jax gives first derivatives alone, got a second one asked for")


_once = jax.custom_jvp(lambda logits: logits)
_once.defjvp(_refuse_twice)

_TARGET = "xentrs_loss"
_on_cpu, _elsewhere = _core._xla_handlers()
jax.ffi.register_ffi_target(_TARGET, _on_cpu, platform="cpu")
for _platform in ("CUDA", "ROCM"):
    jax.ffi.register_ffi_target(_TARGET, _elsewhere, platform=_platform)
