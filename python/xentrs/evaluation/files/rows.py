"""Rows across files: the positions of all axes but that of the classes, in order."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from itertools import accumulate
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .mapped import bfloat16
from .stored import FileError, Index, Stored, indices, said

__all__ = ["Rows"]


class Rows:
    """The rows of arrays behind one another, read a range at a time; with a class axis, or without one."""

    def __init__(self, arrays: list[Stored], axis: int | None, dtype: str | None = None) -> None:
        self.arrays = arrays
        self._axes = [None if axis is None else _axis_of(array, axis) for array in arrays]
        shapes = [_without(array.shape, axis) for array, axis in zip(arrays, self._axes, strict=True)]
        self.shapes = shapes
        self.starts = [0, *accumulate(prod(shape) for shape in shapes)]
        self._view = [_viewed(array, dtype) for array in arrays]
        self.classes = 0
        if axis is not None:
            counts = [array.shape[at] for array, at in zip(arrays, self._axes, strict=True) if at is not None]
            self.classes = counts[0]
            for array, count in zip(arrays, counts, strict=True):
                if count != self.classes:
                    name = arrays[0].name
                    raise FileError(f"{array.name} must have {self.classes} classes, as {name} has, got {count}")
                at = _axis_of(array, axis)
                if array.in_order and at != len(array.shape) - 1:
                    raise FileError(
                        f"{array.name} must have the class axis last, as it can only be read in order, got axis {axis}"
                    )

    def __len__(self) -> int:
        return self.starts[-1]

    def row_bytes(self) -> int:
        """Bytes of the largest row."""
        return max(array.dtype.itemsize for array in self.arrays) * max(1, self.classes)

    def place(self, row: int) -> str:
        """Tell which row of which file it is."""
        k = min(bisect_right(self.starts, row), len(self.arrays)) - 1
        return f"row {row - self.starts[k]} of {self.arrays[k].name}"

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """Read the rows from `start` to `stop`, the class axis last; or of arrays without one, as one axis."""
        pieces = []
        for k, array in enumerate(self.arrays):
            first, last = (min(max(row, self.starts[k]), self.starts[k + 1]) - self.starts[k] for row in (start, stop))
            for index in indices(self.shapes[k], first, last):
                pieces.append(self._piece(k, array, index))
        if len(pieces) == 1:
            return pieces[0]
        width = () if self.arrays and self._axes[0] is None else (self.classes,)
        if not pieces:
            return np.empty((0, *width), self._view[0])
        return np.concatenate([piece.reshape(-1, *width) for piece in pieces])

    def _piece(self, k: int, array: Stored, index: Index) -> NDArray[Any]:
        axis = self._axes[k]
        if axis is not None:
            index = (*index[:axis], slice(None), *index[axis:])
        try:
            piece = array.read(index)
        except FileError:
            raise
        except Exception as error:  # of what damaged files raise no list is whole
            raise FileError(f"{array.name} is damaged, or cannot be read: {said(error)}") from error
        if piece.dtype != self._view[k]:
            piece = piece.view(self._view[k])
        if axis is None:
            return piece.reshape(-1)
        at = axis - sum(isinstance(part, int) for part in index[:axis])
        return np.moveaxis(piece, at, -1)

    def blocks(self, start: int, stop: int, size: int, most: int) -> Iterator[tuple[int, int]]:
        """Ranges that cover the rows from `start` to `stop`, each within a file, of about `size` bytes or `most` rows.

        Where a file has chunks, no range begins within one, as it would be unpacked twice.
        """
        for k, array in enumerate(self.arrays):
            shape, offset = self.shapes[k], self.starts[k]
            first, last = max(start, offset), min(stop, self.starts[k + 1])
            inner = prod(shape[1:])
            of_block = size if array.chunks is None else size // 2  # chunks are unpacked beside it
            rows = max(1, min(most, of_block // (array.dtype.itemsize * max(1, self.classes))))
            unit = _rows_together(shape, None if array.chunks is None else _without(array.chunks, self._axes[k]))
            step = max(unit, rows // unit * unit)
            if step > inner:
                step = step // inner * inner
            while first < last:
                local = first - offset
                cut = local // step * step + step
                if step < inner:
                    cut = min(cut, local // inner * inner + inner)
                yield first, min(last, offset + cut)
                first = min(last, offset + cut)

    def release(self) -> None:
        """Give back the memory of what was read."""
        for array in self.arrays:
            array.release()

    def identities(self) -> list[Any]:
        """What tells the files from others."""
        return [array.identity for array in self.arrays]


def _axis_of(array: Stored, axis: int) -> int:
    ndim = len(array.shape)
    if not -ndim <= axis < ndim:
        raise FileError(f"{array.name} must have an axis {axis}, got shape {array.shape}")
    return axis % ndim


def _rows_together(shape: tuple[int, ...], chunks: tuple[int, ...] | None) -> int:
    """How many rows are read as a whole."""
    together = 1
    for n, of_chunk in zip(reversed(shape), reversed(chunks or ()), strict=False):
        together *= max(1, min(n, of_chunk))
        if of_chunk < n:
            break
    return together


def _without(shape: tuple[int, ...], axis: int | None) -> tuple[int, ...]:
    """A shape without the axis of the classes."""
    return shape if axis is None else (*shape[:axis], *shape[axis + 1 :])


def _viewed(array: Stored, dtype: str | None) -> np.dtype[Any]:
    """What the numbers of an array are: as it says, or, of those that NumPy has no name for, as `dtype` says."""
    if dtype is None:
        if array.dtype.kind == "V" and array.dtype.name != "bfloat16":
            raise FileError(
                f"{array.name} must hold numbers, got {array.dtype}, which NumPy has no name for; if they are "
                "bfloat16, say so by the dtype"
            )
        return array.dtype
    wanted = bfloat16() if dtype == "bfloat16" else np.dtype(dtype)
    if array.dtype == wanted:
        return wanted
    if array.dtype.kind not in "Vu" or array.dtype.itemsize != wanted.itemsize:
        raise FileError(f"{array.name} must hold {wanted.name}, or its bits, got {array.dtype}")
    return wanted
