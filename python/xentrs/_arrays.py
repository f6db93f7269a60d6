"""Conversions for the core: whatever is not yet a native, C-ordered array of the right type becomes one here.

The compiled module calls these functions, and only for arguments that it cannot read in place. It is the only place
that says ``np.asarray`` or ``np.ascontiguousarray``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[Any]

_FLOATS = ("float64", "float32", "float16", "bfloat16")
"""The dtypes of logits, the finest first."""


def as_logits(given: ArrayLike, name: str, axis: int | None) -> tuple[Array, int | None]:
    """Make floating logits, with the class axis last, and tell where it was if it was elsewhere."""
    array = np.asarray(given)
    if array.dtype.kind in "iub":
        array = array.astype(np.float64)
    elif array.dtype.name not in _FLOATS:
        raise TypeError(f"{name} must be floating (float16, bfloat16, float32 or float64), got {_what(array)}")
    moved = None
    if axis is not None:
        if array.ndim == 0:
            raise ValueError(f"{name} must have at least one dimension, got a scalar")
        if not -array.ndim <= axis < array.ndim:
            raise np.exceptions.AxisError(axis, array.ndim)
        axis %= array.ndim
        if axis != array.ndim - 1:
            array, moved = np.moveaxis(array, axis, -1), axis
    return _native(array), moved


def as_pair(p: ArrayLike, q: ArrayLike, names: Sequence[str], axis: int) -> tuple[Array, Array, int | None, str | None]:
    """Make two floating arrays of one dtype, with the class axis last, and tell where it was if it was elsewhere.

    Beside an array of more dimensions, one of a single dimension is a single row, whose axis is its only one. Where the
    dtypes differ, the name of the coarser one, whose rounding errors the numbers have.
    """
    given = [np.asarray(p), np.asarray(q)]
    most = max(array.ndim for array in given)
    arrays, moved = [], None
    for array, name in zip(given, names, strict=True):
        row = array.ndim == 1 < most
        array, was = as_logits(array, name, -1 if row else axis)
        arrays.append(array)
        moved = moved if was is None else was
    coarser = None
    dtypes = [array.dtype for array in arrays]
    if dtypes[0] != dtypes[1]:
        coarser = max((dtype.name for dtype in dtypes), key=_FLOATS.index)
        halves = all(dtype.itemsize == 2 for dtype in dtypes)
        dtype = np.dtype(np.float32) if halves else max(dtypes, key=lambda dtype: dtype.itemsize)
        arrays = [_native(array.astype(dtype)) for array in arrays]
    return arrays[0], arrays[1], moved, coarser


def as_target(given: ArrayLike, ndim: int, axis: int | None, dtype: np.dtype[Any]) -> Array:
    """Make classes (int64) of integers, distributions (of `dtype`, the class axis last) of floats."""
    array = np.asarray(given)
    if array.size == 0 and array.ndim == ndim:  # an empty list says nothing about its type
        return np.empty(array.shape, np.int64)
    if array.dtype.kind in "iu":
        largest = np.iinfo(np.int64).max
        if array.dtype.kind == "u" and array.size and int(array.max()) > largest:
            row = int(np.argmax(array.ravel() > largest))
            raise IndexError(f"target must be classes, got {array.ravel()[row]} at row {row}")
        return _native(array.astype(np.int64))
    if _kind(array) != "f":
        raise TypeError(f"target must be integers (classes) or floats (distributions), got {_what(array)}")
    if axis is not None and axis < array.ndim:
        array = np.moveaxis(array, axis, -1)
    return _native(array.astype(dtype))


def as_sparse(given: tuple[Any, ...], axis: int | None, dtype: np.dtype[Any]) -> tuple[Array, Array] | None:
    """Make classes (int64) and their weights of a pair of integers and floats; None where a tuple is no such pair."""
    if len(given) != 2:
        return None
    try:
        classes, weights = np.asarray(given[0]), np.asarray(given[1])
    except ValueError:  # lists of uneven lengths
        return None
    if classes.ndim == 0 or weights.ndim == 0 or classes.dtype.kind not in "iu" or _kind(weights) != "f":
        return None
    if axis is not None and axis < min(classes.ndim, weights.ndim):
        classes, weights = np.moveaxis(classes, axis, -1), np.moveaxis(weights, axis, -1)
    if classes.dtype.kind == "u":
        classes = as_target(classes, classes.ndim, None, dtype)
    with np.errstate(over="ignore"):  # too large for float32 is +inf, which the core refuses
        return _as(classes, np.dtype(np.int64)), _as(weights, dtype)


def as_labels(given: ArrayLike, dtype: np.dtype[Any], lowest: int, expected: str, ignored: int | None) -> Array:
    """Make labels of booleans, the integers from `lowest` to 1, the ignored one, or floats."""
    array = np.asarray(given)
    if _kind(array) not in "biuf":
        raise TypeError(f"target must be boolean, integer or floating, got {_what(array)}")
    labels = array.astype(dtype)
    if array.dtype.kind in "iu":
        outside = (array < lowest) | (array > 1)
        if ignored is not None:
            outside &= array != ignored
            labels[array == ignored] = ignored  # rounded as in the core
        if np.any(outside):
            index = int(np.argmax(outside))
            raise ValueError(f"target must be {expected}, got {array.ravel()[index]} at index {index}")
    return _native(labels)


def dtype_of(given: ArrayLike) -> str:
    """Name the dtype that an argument has as an array."""
    return str(_what(np.asarray(given)))


def as_integers(given: ArrayLike, name: str) -> Array:
    """Make int64 of integers and booleans; what is too large for it wraps around, so equal ones stay equal."""
    array = np.asarray(given)
    if array.size and array.dtype.kind not in "biu":
        raise TypeError(f"{name} must be integers, got {_what(array)}")
    return _native(array.astype(np.int64))


def as_groups(given: ArrayLike) -> tuple[Array, int]:
    """Number the groups of any labels, 0, 1, 2, ..., and tell how many there are."""
    array = np.asarray(given)
    if array.dtype.kind == "O":  # labels that may not be comparable
        codes: dict[Any, int] = {}
        numbers = [codes.setdefault(label, len(codes)) for label in array.ravel().tolist()]
        return np.array(numbers, np.int64).reshape(array.shape), len(codes)
    if array.dtype.kind in "biu" and array.size and array.min() >= 0 and (most := int(array.max())) < 1 << 16:
        return _native(array.astype(np.int64)), most + 1  # already numbers; a group without rows is harmless
    labels, numbered = np.unique(array, return_inverse=True)
    return _native(numbered.reshape(array.shape).astype(np.int64)), len(labels)


def as_binary_labels(given: ArrayLike, name: str, dtype: np.dtype[Any]) -> Array:
    """Make numbers of yes and no: booleans, or the numbers 0 and 1."""
    array = np.asarray(given)
    if _kind(array) not in "biuf":
        raise TypeError(f"{name} must be boolean, integer or floating, got {_what(array)}")
    if np.any(wrong := (array != 0) & (array != 1)):
        index = int(np.argmax(wrong))
        raise ValueError(f"{name} must be 0 or 1, got {array.ravel()[index]} at index {index}")
    return _native(array.astype(dtype))


def as_beside(given: ArrayLike, name: str, dtype: np.dtype[Any], shape: Sequence[int]) -> Array:
    """Make numbers of a shape, repeating what has fewer or shorter axes."""
    array = np.asarray(given)
    if _kind(array) not in "biuf":
        raise TypeError(f"{name} must be floating, got {_what(array)}")
    shape = tuple(shape)
    try:
        array = np.broadcast_to(array, shape)
    except ValueError:
        raise ValueError(f"{name} must have shape {shape} or broadcast to it, got {array.shape}") from None
    return _native(array.astype(dtype))


def as_beside_or_single(given: ArrayLike, name: str, dtype: np.dtype[Any], shape: Sequence[int]) -> Array:
    """Do the same, but leave a single number what it is."""
    return as_beside(given, name, dtype, shape if np.ndim(given) else ())


def as_samples(given: ArrayLike, name: str) -> Array:
    """Make a matrix of floats, a row for each sample."""
    array = np.asarray(given)
    if array.dtype.kind in "iub":
        array = array.astype(np.float64)
    elif array.dtype.kind != "f":
        raise TypeError(f"{name} must be floating, got {_what(array)}")
    if array.ndim != 2:
        raise ValueError(f"{name} must have shape (n_samples, n_features), got {array.shape}")
    return _native(array)


def in_order(given: ArrayLike, name: str, order: Array) -> Array:
    """Lay out the rows of an array in the order in which they are visited."""
    array = np.asarray(given)
    if array.shape[:1] != order.shape:
        raise ValueError(f"{name} must have {len(order)} rows, one for each row of x, got shape {array.shape}")
    return array[order]


def sum_to(grad: Array, given: ArrayLike) -> Array:
    """Sum a gradient over the axes along which what was given has been repeated; in float64, rounded once."""
    shape = np.shape(given)
    if grad.shape == shape:
        return grad
    added = tuple(range(grad.ndim - len(shape)))
    stretched = tuple(len(added) + i for i, n in enumerate(shape) if n == 1 and grad.shape[len(added) + i] != 1)
    total: Array = grad.astype(np.float64).sum(axis=added + stretched, keepdims=True)
    summed: Array = total.reshape(shape).astype(grad.dtype)[()]
    return summed


def as_weights(given: ArrayLike, name: str, dtype: np.dtype[Any]) -> Array:
    """Make weights."""
    array = np.asarray(given)
    if _kind(array) not in "biuf":
        raise TypeError(f"{name} must be floating, got {_what(array)}")
    with np.errstate(over="ignore"):  # too large for float32 is +inf, which the core refuses
        return _native(array.astype(dtype))


def as_operand(given: ArrayLike, name: str, dtype: np.dtype[Any], computed: np.dtype[Any]) -> Array:
    """Make the weight or the bias of a layer, which has the dtype of `x`, an array of the dtype `computed`."""
    array = np.asarray(given)
    if array.dtype.kind not in "iub" and array.dtype.newbyteorder("=") not in (dtype, computed):
        raise TypeError(f"{name} must have the dtype of x, {dtype}, got {_what(array)}")
    return _native(array.astype(computed))


def one_a_row(weights: Array, shape: Sequence[int]) -> Array:
    """Repeat one weight a row along the last axis."""
    return _native(np.broadcast_to(weights[..., np.newaxis], shape))


def as_wrt(wrt: str | Sequence[str], has_bias: bool) -> tuple[bool, bool, bool]:
    """Tell of x, weight and bias whether their gradient is wanted; there is none of a bias that is not there."""
    names = [wrt] if isinstance(wrt, str) or not isinstance(wrt, Iterable) else list(wrt)
    for name in names:
        if name not in ("x", "weight", "bias"):
            raise ValueError(f'wrt must be some of "x", "weight" and "bias", got {name!r}')
    return "x" in names, "weight" in names, "bias" in names and has_bias


def check_outs(
    outs: object,
    wanted: Sequence[bool],
    shapes: Sequence[Sequence[int]],
    inputs: Sequence[object],
    dtype: np.dtype[Any],
    computed: np.dtype[Any],
) -> list[tuple[Array, bool] | None]:
    """Refuse places for gradients that cannot take them, or that share memory with an input or with each other.

    Tell of each whether it has the dtype of `x`, not the one that is computed with, float32 for half precision.
    """
    if not isinstance(outs, (tuple, list)) or len(outs) != 3:
        got = f"{len(outs)} of them" if isinstance(outs, (tuple, list)) else type(outs).__name__
        raise TypeError(f"out must be a tuple (grad_x, grad_weight, grad_bias), got {got}")
    checked: list[tuple[Array, bool] | None] = []
    taken = list(inputs)
    for i, (out, is_wanted, shape) in enumerate(zip(outs, wanted, shapes, strict=True)):
        if out is None:
            checked.append(None)
            continue
        name = f"out[{i}]"
        if not is_wanted:
            raise ValueError(f"{name} must be None, as this gradient is not wanted, got {type(out).__name__}")
        checked.append((out, _check_place(out, name, "x", tuple(shape), dtype, computed)))
        if shares_memory(out, taken):
            raise ValueError(f"{name} must not overlap an input or another gradient")
        taken.append(out)
    return checked


def check_out(
    out: object, logits: ArrayLike, inputs: Sequence[object], dtype: np.dtype[Any], computed: np.dtype[Any]
) -> bool:
    """Refuse an ``out`` that cannot take the result, or that shares memory with an input other than the logits.

    Tell whether it has the dtype of the logits, not the one that is computed with, float32 for half precision.
    """
    has_dtype = _check_place(out, "out", "the logits", np.shape(logits), dtype, computed)
    if shares_memory(out, inputs if _same_view(out, logits) else [logits, *inputs]):
        raise ValueError("out must not overlap an input, unless it is the logits themselves")
    return has_dtype


class NeedsConversion(ValueError):
    """What the core raises for an argument that must be converted: a message, how, and its name."""

    def __str__(self) -> str:
        return str(self.args[0])


def repeated(compiled: Callable[..., Any], fault: ValueError, arguments: dict[str, Any]) -> Any:
    """Call a compiled function again, after it has refused an argument that can be converted."""
    message, how, name = fault.args
    if how == "to_double":
        return _in_double(compiled, arguments)
    if name == "p" and not arguments["eps"]:
        raise ValueError(message)
    arguments = arguments | {name: _to_unit(arguments[name], message)}
    try:
        return compiled(**arguments)
    except NeedsConversion as raised:
        fault = raised
    return repeated(compiled, fault, arguments)


def _to_unit(given: ArrayLike, message: str) -> Array:
    """Move what rounding put outside [0, 1] to its bounds; what is further off, or nothing, is an error."""
    array = np.asarray(given)
    tolerance = 8 * _EPS.get(array.dtype.name, 2.0**-23)
    unit = np.clip(array, 0, 1)
    moved = (array != unit) & (np.abs(array - unit) <= tolerance)
    if not moved.any():
        raise ValueError(message)
    return np.where(moved, unit, array)


_EPS = {"float16": 2.0**-10, "bfloat16": 2.0**-7}
"""The rounding of numbers that come from these types; all others may come from float32."""


def _in_double(compiled: Callable[..., Any], arguments: dict[str, Any]) -> Any:
    """Compute in float64 what float32 cannot hold, and round the results."""
    places = arguments["out"] if isinstance(arguments["out"], tuple) else (arguments["out"], None, None)
    operands = {name: np.asarray(given) for name, given in arguments.items() if name in _OPERANDS and given is not None}
    dtype = next(iter(operands.values())).dtype
    wide = {name: array.astype(np.float64) for name, array in operands.items()}
    results = compiled(**arguments | wide | {"out": None})
    with np.errstate(over="ignore", under="ignore"):
        if not isinstance(results, tuple):
            return _rounded(results, np.dtype(np.float32))
        loss, *grads = results
        for i, grad in enumerate(grads):
            place = places[i] if i < len(places) else None
            if place is None:
                grads[i] = _rounded(grad, dtype)
            else:
                place[...] = grad
                grads[i] = place
        return _rounded(loss, np.dtype(np.float32)), *grads


_OPERANDS = ("logits", "scores", "p", "mean", "x", "weight", "bias")
"""The arguments whose dtype is that of the gradients."""


def _rounded(result: Any, dtype: np.dtype[Any]) -> Any:
    """Of a dtype, but for a Python number, and None."""
    return result.astype(dtype) if isinstance(result, np.ndarray | np.generic) else result


def copy_to(out: Array, result: Array) -> Array:
    """Fill an ``out`` that could not be written in place."""
    np.copyto(out, result)
    return out


def restore_axis(result: Array, axis: int) -> Array:
    """Put the class axis back to where it was."""
    return np.moveaxis(result, -1, axis)


def _kind(array: Array) -> str:
    """The kind of an array's dtype; bfloat16, which NumPy takes for void, is floating."""
    return "f" if array.dtype.name == "bfloat16" else array.dtype.kind


def _what(array: Array) -> object:
    """What came, named in an error: the dtype or, of what NumPy only wraps up, such as a sparse array, the type."""
    return type(array.item()).__name__ if array.dtype == object and array.ndim == 0 else array.dtype


def _native(array: Array) -> Array:
    """C-ordered, aligned, in the machine's byte order; without a copy where it is so already."""
    return np.require(array, array.dtype.newbyteorder("="), ["C", "A"])


def _as(array: Array, dtype: np.dtype[Any]) -> Array:
    """Of a dtype and native; the same object where it is so already."""
    done = array.dtype == dtype and array.dtype.isnative and array.flags.c_contiguous and array.flags.aligned
    return array if done else _native(array.astype(dtype))


def _check_place(
    out: object, name: str, like: str, shape: tuple[int, ...], dtype: np.dtype[Any], computed: np.dtype[Any]
) -> bool:
    """Refuse what is no writable array of the shape and of either dtype; tell whether it is of the first."""
    if not isinstance(out, np.ndarray):
        raise TypeError(f"{name} must be a NumPy array, got {type(out).__name__}")
    native = out.dtype.newbyteorder("=")
    if native not in (dtype, computed):
        other = f" or {computed}" if computed != dtype else ""
        raise TypeError(f"{name} must have the dtype of {like}, {dtype}{other}, got {out.dtype}")
    if out.shape != shape:
        raise ValueError(f"{name} must have shape {shape}, got {out.shape}")
    if not out.flags.writeable:
        raise ValueError(f"{name} must be writeable, got a read-only array")
    return bool(native == dtype)


def shares_memory(out: Any, inputs: Sequence[object]) -> bool:
    """Whether an array shares memory with one of the inputs, some of which are pairs."""
    arrays = [array for given in inputs for array in (given if isinstance(given, tuple) else (given,))]
    return any(isinstance(array, np.ndarray) and _overlap(out, array) for array in arrays)


def _same_view(out: Any, logits: object) -> bool:
    """Whether the elements of both stand at the same places."""
    return isinstance(logits, np.ndarray) and (
        out.__array_interface__["data"][0],
        out.shape,
        out.strides,
    ) == (logits.__array_interface__["data"][0], logits.shape, logits.strides)


def _overlap(a: Array, b: Array) -> bool:
    """Whether two arrays share an element; strides too intricate to tell count as if they did."""
    try:
        return np.shares_memory(a, b, max_work=100_000)  # type: ignore[arg-type]
    except np.exceptions.TooHardError:
        return True
