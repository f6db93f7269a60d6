"""The losses of Dask's arrays, chunk by chunk: made from the public functions, by one table of what they take.

Of each chunk of rows the loss itself tells the sum, and what the rows weigh is added up beside it. The mean of all is
the quotient of both sums, whatever is ignored or weighed down.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

import dask
import dask.array as da
import numpy as np
from numpy.typing import NDArray

from .. import losses
from ..distributed.engine import tree_sum

__all__ = ["NOT_OF_CHUNKS", "make"]

# What an argument is to a chunk. A letter each: w(hole), the same for all; r(ow), a number for each row or what NumPy's
# rules repeat to that; f(ull), of the shape of the first one, or what is repeated to that; t(arget), by its own shape.
Role = Literal["w", "r", "f", "t"]


class Taken(NamedTuple):
    """What a loss takes."""

    by_rows: bool
    """Whether the last axis of the first argument belongs to one row, and to one chunk."""
    roles: dict[str, Role]
    """Of the arguments behind the first that may be arrays."""
    values: tuple[str, ...] = ()
    """The names of several values for each row, where there is nothing to reduce."""


_OF_CLASSES: dict[str, Role] = {"target": "t", "sample_weight": "r", "class_weight": "w", "log_prior": "w"}
_OF_ELEMENTS: dict[str, Role] = {"target": "f", "sample_weight": "f", "pos_weight": "f"}
_OF_LAYERS: dict[str, Role] = {"weight": "w", "bias": "w", "class_weight": "w", "pos_weight": "w", "log_prior": "w"}
_TOKENS = losses.TokenLogprobs._fields

TAKEN = {
    "softmax_cross_entropy": Taken(True, _OF_CLASSES),
    "softmax_focal_loss": Taken(True, _OF_CLASSES),
    "categorical_cross_entropy": Taken(True, _OF_CLASSES),
    "topk_kl_divergence": Taken(True, _OF_CLASSES),
    "linear_cross_entropy": Taken(True, _OF_LAYERS | {"target": "t", "sample_weight": "r"}),
    "token_logprobs": Taken(True, {"token": "t", "log_prior": "w"}, _TOKENS),
    "linear_token_logprobs": Taken(True, _OF_LAYERS | {"token": "t"}, _TOKENS),
    "sigmoid_cross_entropy": Taken(False, _OF_ELEMENTS),
    "sigmoid_focal_loss": Taken(False, _OF_ELEMENTS),
    "binary_cross_entropy": Taken(False, _OF_ELEMENTS),
    "hinge_loss": Taken(False, _OF_ELEMENTS),
    "gaussian_nll": Taken(False, _OF_ELEMENTS | {"var": "f", "log_var": "f"}),
}
"""Every loss that is a sum over rows or elements."""

NOT_OF_CHUNKS = {
    "info_nce": "each row is compared with all others: gather the embeddings of a batch into one array",
    "siglip_loss": "each row is compared with all others: gather the embeddings of a batch into one array",
    "js_smoothness": "neighbours may lie in two chunks: call it in map_blocks, where chunks end with segments",
    "parity_penalty": "it is no sum over rows: take the means of each group first",
}
"""Losses that are none, and what to do."""


def make(name: str) -> Callable[..., Any]:
    """Make the loss of this name, with the signature of the public function."""
    public, taken = getattr(losses, name), TAKEN[name]
    signature = inspect.signature(public)

    def loss(*args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return _call(public, taken, dict(bound.arguments))

    first = next(iter(signature.parameters))
    loss.__name__ = loss.__qualname__ = name
    loss.__module__ = "xentrs.dask"
    loss.__signature__ = signature  # type: ignore[attr-defined]
    loss.__doc__ = _DOC.format(
        name=name,
        first=first,
        axis=_OF_ROWS.format(first=first) if taken.by_rows else "",
        returns=_VALUES.format(" and ".join(taken.values)) if taken.values else _SCALAR,
        reduces="" if taken.values else _REDUCES,
    )
    return loss


_DOC = """`xentrs.{name}` of Dask's arrays, chunk by chunk.

    Parameters
    ----------
    {first}
        As in `xentrs.{name}`, a Dask array.{axis}
    **others
        As there: numbers, NumPy's arrays or Dask's. Chunks are made to fit those of `{first}`.

    Returns
    -------
    dask.array.Array
        {returns}

    Raises
    ------
    TypeError, ValueError
        As in `xentrs.{name}`: at once for options and shapes, and from ``compute`` for what stands in a chunk; or where
        `{first}` is no Dask array.
    IndexError
        From ``compute``, as in `xentrs.{name}`; the row is counted from the start of its chunk.

    See Also
    --------
    xentrs.{name} : formula, options and special values.{reduces}
    """
_OF_ROWS = " Where the last axis of `{first}`, or the class axis, is in several chunks, these are joined."
_SCALAR = 'A number of no dimensions for "mean" and "sum", in float64; for "none" an array in chunks as the rows are.'
_VALUES = "A named tuple of two arrays, {}, in chunks as the rows are."
_REDUCES = """

    Notes
    -----
    Chunks are added in a tree whose shape depends on their number alone, so the same chunks give the same bits on any
    number of workers of one kind."""


def _call(public: Callable[..., Any], taken: Taken, given: dict[str, Any]) -> Any:
    """Lay out the graph of a call."""
    # 1. The first argument, its class axis last and in one chunk.
    name, first = next(iter(given.items()))
    if not isinstance(first, da.Array):
        raise TypeError(
            f"{name} must be a Dask array, got {type(first).__name__}: for an array in memory call "
            f"xentrs.{public.__name__}"
        )
    if given.get("axis", -1) != -1:
        for key in (name, *(key for key, role in taken.roles.items() if role == "t")):
            given[key] = _class_axis_last(given[key], given["axis"], first.ndim)
        first, given["axis"] = given[name], -1
    if taken.by_rows and not first.ndim:
        raise ValueError(f"{name} must have an axis of classes or features, got shape ()")
    if taken.by_rows and first.numblocks[-1] > 1:
        first = first.rechunk({first.ndim - 1: -1})
    n = first.ndim - taken.by_rows  # axes of rows

    # 2. The other arguments: in the chunks of the rows, or whole.
    operands = [_Operand(name, first, True, int(taken.by_rows))]
    whole = {key: value for key, value in given.items() if key != name}
    for key, role in taken.roles.items():
        if key not in given:
            continue
        value = given[key]
        if value is None or role == "w" or (np.ndim(value) == 0 and not isinstance(value, tuple)):
            if isinstance(value, da.Array):
                operands.append(_Operand(key, value.rechunk(-1), False, value.ndim))
                del whole[key]
            continue
        del whole[key]
        for part in value if isinstance(value, tuple) else (value,):
            array = _as_dask(part)
            if role == "f" and key == "sample_weight" and array.ndim == n - 1:
                array = array[..., np.newaxis]  # one for each row
            tail = role != "f" and array.ndim > n
            fitted = _in_rows(key, array, tail, first.shape[:n], first.chunks[:n])
            operands.append(_Operand(key, fitted, True, int(tail), isinstance(value, tuple)))

    # 3. Each chunk. What one of no rows says of options and shapes is said at once.
    reduction = whole.pop("reduction", "none")
    call = partial(_chunk, public, taken, n, [(operand.name, operand.in_tuple) for operand in operands])
    options = whole | {"reduction": reduction}
    if n and not np.isnan(sum(sum(operand.array.shape) for operand in operands)):
        call(*(operand.without_rows() for operand in operands), **options)
    rows, last = tuple(range(n)), -1  # letters of axes
    letters = itertools.count(n)
    arrays: list[Any] = []
    for operand in operands:
        own = tuple(next(letters) for _ in range(operand.own))
        arrays += [operand.array, (*rows, *own) if operand.of_rows else own]
    dtype = np.dtype(np.float64 if first.dtype.kind in "biu" or first.dtype == np.float64 else np.float32)
    blocks = partial(da.blockwise, call, concatenate=True)
    if taken.values:
        answer = blocks(
            (*rows, last), *arrays, new_axes={last: len(taken.values)}, meta=np.empty((0,) * (n + 1), dtype), **options
        )
        return losses.TokenLogprobs(*(answer[..., i] for i in range(len(taken.values))))
    if reduction == "none" and given.get("kind") == "sigmoid":  # a loss for each row and class
        per_class = {last: given["weight"].shape[0]}
        return blocks((*rows, last), *arrays, new_axes=per_class, meta=np.empty((0,) * (n + 1), dtype), **options)
    if reduction == "none":
        return blocks(rows, *arrays, meta=np.empty((0,) * n, dtype), **options)

    # 4. The tree over the chunks.
    parts = blocks(
        (*rows, last),
        *arrays,
        new_axes={last: 2},
        adjust_chunks=dict.fromkeys(rows, 1),
        meta=np.empty((0,) * (n + 1)),
        **options,
    )
    total = _tree([dask.delayed(_as_pair)(part) for part in parts.to_delayed().ravel()])
    return da.from_delayed(dask.delayed(_result)(total, reduction), shape=(), dtype=np.float64)


class _Operand(NamedTuple):
    """An argument in chunks."""

    name: str
    array: Any
    of_rows: bool
    """Whether its first axes are those of the rows."""
    own: int
    """How many axes it has beside, each in one chunk."""
    in_tuple: bool = False

    def without_rows(self) -> NDArray[Any]:
        """An array of its dtype and shape, but for the rows, of which there are none."""
        shape = (0, *self.array.shape[1:]) if self.of_rows else self.array.shape
        return np.zeros(shape, self.array.dtype)


def _class_axis_last(value: Any, axis: int, ndim: int) -> Any:
    if isinstance(value, tuple):
        return tuple(_class_axis_last(half, axis, ndim) for half in value)
    return da.moveaxis(_as_dask(value), axis, -1) if np.ndim(value) == ndim else value


def _as_dask(value: Any) -> Any:
    return value if isinstance(value, da.Array) else da.asarray(value)


def _in_rows(name: str, array: Any, tail: bool, shape: tuple[int, ...], chunks: tuple[tuple[int, ...], ...]) -> Any:
    """An array in the chunks of the rows, repeated to them by NumPy's rules; its last axis is in one chunk."""
    own = array.shape[-1:] if tail else ()
    if np.isnan(sum(shape)) or np.isnan(sum(array.shape)):
        blocks = tuple(map(len, chunks))
        if array.numblocks[: len(shape)] != blocks or array.ndim != len(shape) + tail:
            raise ValueError(
                f"{name} must be in as many chunks as the rows, {blocks}, where their lengths are not known, got "
                f"{array.numblocks}: call compute_chunk_sizes first"
            )
        return array.rechunk({len(shape): -1}) if tail else array
    try:
        return da.broadcast_to(array, (*shape, *own)).rechunk((*chunks, *own))
    except ValueError:
        raise ValueError(f"{name} must fit rows of shape {shape}, got shape {array.shape}") from None


# -------------------------------------------------------------------------------------------------------------- chunks


def _chunk(
    public: Callable[..., Any],
    taken: Taken,
    n: int,
    operands: list[tuple[str, bool]],
    *blocks: Any,
    reduction: str,
    **options: Any,
) -> NDArray[Any]:
    """A chunk's losses or, reduced, their sum and what to divide by, in an array of as many axes as there are rows."""
    given: dict[str, Any] = {}
    for (name, in_tuple), block in zip(operands, blocks, strict=True):
        given[name] = (*given.get(name, ()), block) if in_tuple else block
    if taken.values:
        return np.stack(public(**given, **options), axis=-1)
    answer = public(**given, **options, reduction="sum" if reduction == "mean" else reduction)
    if reduction == "none":
        return np.array(answer)
    weight = 1.0
    if reduction == "mean":
        weights, samples = _weights(public.__name__, taken, given | options), np.array(1.0)
        if (given | options).get("sample_weight") is not None:
            samples = np.array((given | options)["sample_weight"], np.float64)
        if 0 < np.ndim(samples) < weights.ndim:
            samples = samples[..., np.newaxis]  # one for each row, of several labels
        weight = float((weights * samples).sum(dtype=np.float64))
    return np.array([answer, weight]).reshape((1,) * n + (2,))


def _weights(name: str, taken: Taken, given: dict[str, Any]) -> Any:
    """What rows or elements weigh, but for the weights of samples; the arguments are right, as the loss took them."""
    target, ignored = given["target"], given.get("ignore_index")
    if isinstance(target, int):
        target = np.array(target)  # of a single row
    if not taken.by_rows:
        first = next(iter(given.values()))
        return np.ones(first.shape) if ignored is None else (np.broadcast_to(target, first.shape) != ignored) * 1.0
    if given.get("kind") == "sigmoid":
        return np.ones(target.shape) if ignored is None else (target != ignored) * 1.0
    factors = given.get("class_weight")
    factors = None if factors is None else np.array(factors, np.float64)
    if isinstance(target, tuple) or target.dtype.kind in "iu":
        classes, shares = target if isinstance(target, tuple) else (target, 1.0)
        counts = np.ones(classes.shape, bool) if ignored is None else classes != ignored
        if name == "topk_kl_divergence":
            return counts.any(axis=-1) * 1.0
        of_class = 1.0 if factors is None else factors[np.where(counts, classes, 0)]
        weights = np.where(counts, of_class, 0.0) * shares
        return weights.sum(axis=-1, dtype=np.float64) if isinstance(target, tuple) else weights
    return target.astype(np.float64) @ (np.ones(target.shape[-1]) if factors is None else factors)


def _as_pair(part: NDArray[np.float64]) -> tuple[float, float]:
    value, weight = part.ravel().tolist()
    return value, weight


def _tree(parts: list[Any], fan: int = 16) -> Any:
    """The sum in the tree of `tree_sum`, four levels of it at a time."""
    while len(parts) > 1:
        parts = [dask.delayed(tree_sum)(parts[i : i + fan]) for i in range(0, len(parts), fan)]
    return parts[0]


def _result(total: tuple[float, float], reduction: str) -> np.float64:
    value, weight = total
    if reduction == "mean":
        value = value / weight if weight else 0.0
    return np.float64(value)
