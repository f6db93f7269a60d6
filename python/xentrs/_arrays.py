"""Conversions for the core: whatever is not yet a native, C-ordered array of the right type becomes one here.

The compiled module calls these functions, and only for arguments that it cannot read in place. It is the only place
that says ``np.asarray`` or ``np.ascontiguousarray``.
"""

from __future__ import annotations

import reprlib
import sys
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[Any]

_FLOATS = ("float64", "float32", "float16", "bfloat16")
"""The dtypes of logits, the finest first."""


def read(given: Any, name: str, *, labels: bool = False) -> Array:
    """Make an array of what a user passes.

    Nullable and Arrow's columns of pandas get the dtype of their numbers, and NaN where one is missing; among labels a
    missing one is left an object, which every reader refuses. Integers stay integers, whatever their size.
    """
    if type(given) is np.ndarray and given.dtype != object:
        return given
    refuse_masked(given, name)
    try:
        array = np.asarray(given)
    except ValueError as error:
        if isinstance(given, list | tuple) and "inhomogeneous" in str(error):
            raise ValueError(f"{name} must be an array, got a {type(given).__name__} of uneven lengths") from None
        raise
    except (TypeError, RuntimeError) as error:
        if "TracerArrayConversionError" in type(error).__name__:
            raise TypeError(
                f"{name} must be what NumPy can read, got an array that JAX traces; use the functions of xentrs.jax"
            ) from None
        if "BFloat16" in str(error):
            what, other = "of bfloat16", f"{name}.float()"
        elif "requires grad" in str(error):
            what, other = "that requires a gradient", f"{name}.detach()"
        else:
            raise
        raise TypeError(
            f"{name} must be what NumPy can read, got a torch tensor {what}; use the functions of xentrs.torch, which "
            f"take tensors, or write {other}"
        ) from None
    if hasattr(given, "isna"):
        array = _of_columns(given, array, labels)
    return _with_integers(given, array) if labels else array


def refuse_masked(given: Any, name: str, way_out: str = "") -> None:
    """Refuse masked arrays, also in lists and tuples, whose masks nothing here obeys, unless nothing is masked.

    `way_out` is what to write instead, if it is not what the name says.
    """
    ma = sys.modules.get("numpy.ma")
    if type(given) is np.ndarray or ma is None:  # nobody has made a masked array
        return
    if isinstance(given, list | tuple):
        parts = given if given and isinstance(given[0], np.ndarray) else ()
    else:
        parts = (given,)
    masked = [part for part in parts if isinstance(part, ma.MaskedArray)]
    if count := sum(int(np.sum(ma.getmaskarray(part))) for part in masked):
        size = sum(part.size for part in masked)
        if name.endswith("weight"):
            way_out = f"{name}.filled(0)"
        elif name == "target":
            way_out = f"{name}.filled(-100), with ignore_index=-100, or give what is masked a sample_weight of 0"
        elif not way_out:
            way_out = f"{name}.filled(...), and leave what is masked out by ignore_index or a sample_weight of 0"
        raise ValueError(f"{name} must not be masked, got {count} of {size} elements masked; write {way_out}")


def _of_columns(given: Any, array: Array, labels: bool) -> Array:
    """The numbers of a frame, series or index of pandas."""
    types = list(given.dtypes) if given.ndim == 2 else [given.dtype]
    numbers = [getattr(kind, "numpy_dtype", kind) for kind in types]
    if not numbers or not all(isinstance(kind, np.dtype) and kind.kind in "biuf" for kind in numbers):
        return array
    dtype = np.result_type(*numbers)
    if dtype.kind != "f" and np.any(given.isna()):
        if labels:
            objects: Array = given.to_numpy(dtype=object)
            return objects
        dtype = np.dtype(np.float64)
    if array.dtype == dtype:
        return array
    missing = {"na_value": np.nan} if dtype.kind == "f" else {}
    numeric: Array = given.to_numpy(dtype=dtype, **missing)
    return numeric


def two_columns(log_odds: Array) -> Array:
    """The logits of two classes, of which the first has 0 and the second the log-odds."""
    dtype = np.dtype(np.float64) if log_odds.dtype.kind in "iub" else log_odds.dtype
    logits = np.zeros((*log_odds.shape, 2), dtype)
    logits[..., 1] = log_odds
    return logits


def warn_of_probabilities(logits: Any, name: str, axis: int) -> None:
    """Warn where all rows are distributions, and not all of them one-hot, as no logits are but by mistake.

    Of one class every logit near 1 would be a distribution, and the loss is 0 anyway.
    """
    rows = np.moveaxis(read(logits, name), axis, -1)
    tolerance = 1e-2 if rows.itemsize == 2 else 1e-4
    with np.errstate(all="ignore"):  # NaN and infinities are no mistake of this kind
        sums = rows.sum(axis=-1, dtype=np.float64)
        are_shares = rows.shape[-1] > 1 and bool(np.all(rows >= 0) and np.all(np.abs(sums - 1) < tolerance))
        is_mistake = are_shares and np.any(rows % 1)
    if is_mistake:
        frame, level = sys._getframe(1), 2
        while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("xentrs."):
            frame, level = frame.f_back, level + 1
        message = (
            f"{name} are probabilities, it seems: every row is non-negative and sums to 1; write numpy.log({name})"
        )
        warnings.warn(message, stacklevel=level)


def _with_integers(given: Any, array: Array) -> Array:
    """The same, but for integers that are held as objects, or that NumPy has made floats of for their size."""
    if array.dtype == object:
        if array.size and all(isinstance(item, int | np.integer) for item in array.ravel().tolist()):
            try:
                return array.astype(np.int64)
            except OverflowError:
                return array
    elif array.dtype == np.float64 and isinstance(given, list | tuple) and np.any(np.abs(array) >= 2.0**53):
        objects = np.array(given, object)
        return objects if all(isinstance(item, int) for item in objects.ravel().tolist()) else array
    return array


def as_logits(given: ArrayLike, name: str, axis: int | None) -> tuple[Array, int | None]:
    """Make floating logits, with the class axis last, and tell where it was if it was elsewhere."""
    array = read(given, name)
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
    given = [read(array, name) for array, name in zip((p, q), names, strict=True)]
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
    array = read(given, "target", labels=True)
    if array.size == 0 and array.ndim == ndim:  # an empty list says nothing about its type
        return np.empty(array.shape, np.int64)
    if array.dtype.kind in "iu":
        largest = np.iinfo(np.int64).max
        if array.dtype.kind == "u" and array.size and int(array.max()) > largest:
            row = int(np.argmax(array.ravel() > largest))
            raise IndexError(f"target must be classes, got {array.ravel()[row]} at row {row}")
        return _native(array.astype(np.int64))
    if array.dtype == object:
        for index, item in enumerate(array.ravel().tolist()):
            if isinstance(item, int) and not -(2**63) <= item < 2**63:
                raise IndexError(f"target must be classes, got {item} at row {index}")
    if kind_of(array) != "f":
        raise TypeError(f"target must be integers (classes) or floats (distributions), got {_what(array)}")
    if axis is not None and axis < array.ndim:
        array = np.moveaxis(array, axis, -1)
    return _native(array.astype(dtype))


def as_sparse(given: tuple[Any, ...], axis: int | None, dtype: np.dtype[Any]) -> tuple[Array, Array] | None:
    """Make classes (int64) and their weights of a pair of integers and floats; None where a tuple is no such pair."""
    if len(given) != 2:
        return None
    try:
        classes, weights = read(given[0], "target", labels=True), read(given[1], "target")
    except ValueError:  # lists of uneven lengths
        return None
    if classes.ndim == 0 or weights.ndim == 0 or classes.dtype.kind not in "iu" or kind_of(weights) != "f":
        return None
    if axis is not None and axis < min(classes.ndim, weights.ndim):
        classes, weights = np.moveaxis(classes, axis, -1), np.moveaxis(weights, axis, -1)
    if classes.dtype.kind == "u":
        classes = as_target(classes, classes.ndim, None, dtype)
    with np.errstate(over="ignore"):  # too large for float32 is +inf, which the core refuses
        return _as(classes, np.dtype(np.int64)), _as(weights, dtype)


def as_labels(given: ArrayLike, dtype: np.dtype[Any], lowest: int, expected: str, ignored: int | None) -> Array:
    """Make labels of booleans, the integers from `lowest` to 1, the ignored one, or floats."""
    array = read(given, "target", labels=True)
    if kind_of(array) not in "biuf":
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
    return str(_what(read(given, "target", labels=True)))


def as_integers(given: ArrayLike, name: str) -> Array:
    """Make int64 of integers and booleans; what is too large for it wraps around, so equal ones stay equal."""
    array = read(given, name, labels=True)
    if array.size and array.dtype.kind not in "biu":
        raise TypeError(f"{name} must be integers, got {_what(array)}")
    return _native(array.astype(np.int64))


def as_groups(given: ArrayLike) -> tuple[Array, int]:
    """Number the groups of any labels, 0, 1, 2, ..., and tell how many there are."""
    array = read(given, "group", labels=True)
    if array.dtype.kind == "O":  # labels that may not be comparable
        codes: dict[Any, int] = {}
        try:
            numbers = [codes.setdefault(label, len(codes)) for label in array.ravel().tolist()]
        except TypeError as error:
            raise TypeError(f"group must be labels, got what is none: {error}") from None
        return np.array(numbers, np.int64).reshape(array.shape), len(codes)
    if array.dtype.kind in "biu" and array.size and array.min() >= 0 and (most := int(array.max())) < 1 << 16:
        return _native(array.astype(np.int64)), most + 1  # already numbers; a group without rows is harmless
    labels, numbered = np.unique(array, return_inverse=True)
    return _native(numbered.reshape(array.shape).astype(np.int64)), len(labels)


def as_binary_labels(given: ArrayLike, name: str, dtype: np.dtype[Any]) -> Array:
    """Make numbers of yes and no: booleans, or the numbers 0 and 1."""
    array = read(given, name, labels=True)
    if kind_of(array) not in "biuf":
        raise TypeError(f"{name} must be boolean, integer or floating, got {_what(array)}")
    if np.any(wrong := (array != 0) & (array != 1)):
        index = int(np.argmax(wrong))
        raise ValueError(f"{name} must be 0 or 1, got {array.ravel()[index]} at index {index}")
    return _native(array.astype(dtype))


def fits(array: Array, shape: Sequence[int]) -> bool:
    """Whether NumPy's rules would repeat an array to a shape."""
    ones = (1,) * (len(shape) - array.ndim)
    return array.ndim <= len(shape) and all(n in (1, whole) for n, whole in zip(ones + array.shape, shape, strict=True))


def without_leading_ones(array: Array) -> Array:
    """The same numbers without the axes that make a difference to nothing they are held against."""
    first = next((axis for axis, n in enumerate(array.shape) if n != 1), array.ndim)
    return array.reshape(array.shape[first:])


def as_beside(
    given: ArrayLike, name: str, dtype: np.dtype[Any], shape: Sequence[int], stored: np.dtype[Any] | None = None
) -> Array:
    """Make numbers of a shape, repeating what has fewer or shorter axes; those of the dtype `stored` keep it."""
    array = read(given, name)
    if kind_of(array) not in "biuf":
        raise TypeError(f"{name} must be floating, got {_what(array)}")
    shape = tuple(shape)
    try:
        array = np.broadcast_to(array, shape)
    except ValueError:
        raise ValueError(f"{name} must have shape {shape} or broadcast to it, got {array.shape}") from None
    return _native(array.astype(stored if array.dtype == stored else dtype))


def as_beside_or_single(
    given: ArrayLike, name: str, dtype: np.dtype[Any], shape: Sequence[int], stored: np.dtype[Any] | None = None
) -> Array:
    """Do the same, but leave a single number what it is."""
    array = read(given, name)
    return as_beside(array, name, dtype, shape if array.ndim else (), stored)


def as_samples(given: ArrayLike, name: str) -> Array:
    """Make a matrix of floats, a row for each sample."""
    array = read(given, name)
    if array.dtype.kind in "iub":
        array = array.astype(np.float64)
    elif array.dtype.kind != "f":
        raise TypeError(f"{name} must be floating, got {_what(array)}")
    if array.ndim != 2:
        raise ValueError(f"{name} must have shape (n_samples, n_features), got {array.shape}")
    return _native(array)


def in_order(given: ArrayLike, name: str, order: Array) -> Array:
    """Lay out the rows of an array in the order in which they are visited."""
    array = read(given, name)
    if array.shape[:1] != order.shape:
        raise ValueError(f"{name} must have {len(order)} rows, one for each row of x, got shape {array.shape}")
    return array[order]


def sum_to(grad: Array, given: ArrayLike, dtype: np.dtype[Any]) -> Array:
    """Sum a gradient over the axes along which what was given has been repeated; in float64, rounded once."""
    shape = np.shape(given)
    if grad.shape != shape:
        added = tuple(range(grad.ndim - len(shape)))
        stretched = tuple(len(added) + i for i, n in enumerate(shape) if n == 1 and grad.shape[len(added) + i] != 1)
        grad = grad.sum(axis=added + stretched, keepdims=True, dtype=np.float64).reshape(shape)
    with np.errstate(over="ignore"):  # too large for the dtype is an infinity
        summed: Array = grad.astype(dtype, copy=False)
    return summed if shape else summed[()]


def as_weights(given: ArrayLike, name: str, dtype: np.dtype[Any]) -> Array:
    """Make weights."""
    array = read(given, name)
    if kind_of(array) not in "biuf":
        raise TypeError(f"{name} must be floating, got {_what(array)}")
    with np.errstate(over="ignore"):  # too large for float32 is +inf, which the core refuses
        return _native(array.astype(dtype))


def as_grad_output(given: ArrayLike, name: str, shape: Sequence[int]) -> Array:
    """Make an upstream gradient: a single number, or one for each loss, of the shape of the losses."""
    array, shape = read(given, name), tuple(shape)
    if kind_of(array) not in "biuf":
        raise TypeError(f"{name} must be a number, or floating, got {_what(array)}")
    array = array.astype(np.float64)
    if array.ndim == 0:
        return array
    try:
        return _native(np.broadcast_to(array, shape))
    except ValueError:
        losses = f" or broadcast to the losses, of shape {shape}" if shape else ""
        advice = f"; for one a row write {name}[..., numpy.newaxis]" if array.shape == shape[:-1] else ""
        raise ValueError(f"{name} must be a number{losses}, got shape {array.shape}{advice}") from None


def as_operand(given: ArrayLike, name: str, dtype: np.dtype[Any], computed: np.dtype[Any]) -> Array:
    """Make the weight or the bias of a layer, which has the dtype of `x`, an array of the dtype `computed`."""
    array = read(given, name)
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
        if not isinstance(name, str) or name not in ("x", "weight", "bias"):
            raise ValueError(f'wrt must be some of "x", "weight" and "bias", got {reprlib.repr(name)}')
    return "x" in names, "weight" in names, "bias" in names and has_bias


def check_outs(
    outs: object,
    names: Sequence[str],
    wanted: Sequence[bool],
    shapes: Sequence[Sequence[int]],
    inputs: Sequence[object],
    dtype: np.dtype[Any],
    computed: np.dtype[Any],
) -> list[tuple[Array, bool] | None]:
    """Refuse places for gradients that cannot take them, or that share memory with an input or with each other.

    Tell of each whether it has the dtype of `x`, not the one that is computed with, float32 for half precision.
    """
    if not isinstance(outs, (tuple, list)) or len(outs) != len(names):
        got = f"{len(outs)} of them" if isinstance(outs, (tuple, list)) else type(outs).__name__
        raise TypeError(f"out must be a tuple ({', '.join(names)}), got {got}")
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


def check_hess_out(
    hess_out: object, logits: ArrayLike, grad: object, inputs: Sequence[object], dtype: np.dtype[Any]
) -> None:
    """Refuse a ``hess_out`` that cannot take the Hessian, or that shares memory with an input or the gradient."""
    _check_place(hess_out, "hess_out", "the gradient", np.shape(logits), dtype, dtype)
    if shares_memory(hess_out, [logits, grad, *inputs]):
        raise ValueError("hess_out must not overlap an input, or the gradient")


def class_last(array: Array, axis: int) -> Array:
    """A view with the class axis last."""
    return np.moveaxis(array, axis, -1)


def class_from(array: Array, axis: int) -> Array:
    """A view with the class axis, the first one, moved to where it belongs."""
    return np.moveaxis(array, 0, axis)


def overlap(out: object, logits: object) -> bool:
    """Whether a result is to be written over the logits."""
    return shares_memory(out, [logits])


class NeedsConversion(ValueError):
    """What the core raises for an argument that must be converted: a message, how, and its name."""

    def __str__(self) -> str:
        return str(self.args[0])


def copy_to(out: Array, result: Array) -> Array:
    """Fill an ``out`` that could not be written in place."""
    np.copyto(np.asarray(out), result)
    return out


def restore_axis(result: Array, axis: int) -> Array:
    """Put the class axis back to where it was."""
    return np.moveaxis(result, -1, axis)


def kind_of(array: Array) -> str:
    """The kind of an array's dtype; bfloat16, which NumPy takes for void, is floating."""
    return "f" if array.dtype.name == "bfloat16" else array.dtype.kind


def _what(array: Array) -> object:
    """What came, named in an error: the dtype or, of what NumPy only wraps up, such as a sparse array, the type.

    Of objects the first that is no number, which is what they are objects for.
    """
    if array.dtype != object:
        return array.dtype
    if array.ndim == 0:
        return type(array.item()).__name__
    for index, item in enumerate(array.ravel().tolist()):
        if not isinstance(item, int | float | np.number | np.bool_) or item != item:
            return f"object, with {item!r} at row {np.unravel_index(index, array.shape)[0]}"
    return array.dtype


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
    out = np.asarray(out)  # without the properties of a subclass, which may say anything
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
    parts = [part for given in inputs for part in (given if isinstance(given, tuple) else (given,))]
    return any((array := _memory(part)) is not None and _overlap(out, array) for part in parts)


def _memory(given: object) -> Array | None:
    """The array that shares memory with an argument, whatever object that is; None where numbers of it are copied."""
    if given is None or isinstance(given, bool | int | float | str | list | tuple):
        return None
    try:
        return np.asarray(given)
    except (TypeError, ValueError, RuntimeError):  # what reads the argument says what is wrong with it
        return None


def _same_view(out: Any, logits: object) -> bool:
    """Whether the elements of both stand at the same places."""
    ours, theirs = np.asarray(out), _memory(logits)
    return theirs is not None and (ours.ctypes.data, ours.shape, ours.strides) == (
        theirs.ctypes.data,
        theirs.shape,
        theirs.strides,
    )


def _overlap(a: Array, b: Array) -> bool:
    """Whether two arrays share an element; strides too intricate to tell count as if they did."""
    try:
        return np.shares_memory(a, b, max_work=100_000)  # type: ignore[arg-type]
    except np.exceptions.TooHardError:
        return True
