"""What every reader gives: an array in a file, of which a piece is read at a time."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["FileError", "Held", "Index", "Stored", "closed_if_refused", "identity_of", "indices", "said"]

Index = tuple[int | slice, ...]


class FileError(ValueError):
    """A file that is not what it should be: the message names it, and says what was expected.

    Readers raise it for what they find out; whatever else goes wrong in them becomes one where they are called.
    """


def said(error: Exception) -> str:
    """What an error says, on one line that is not too long."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]


class Stored(ABC):
    """An array in a file, or elsewhere, of which a piece is read at a time."""

    name: str
    """What a message calls it."""
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    chunks: tuple[int, ...] | None = None
    """The shape of what can only be read as a whole, where there is such a thing."""
    in_order: bool = False
    """Whether pieces can only be read from the front to the back."""

    @abstractmethod
    def read(self, index: Index) -> NDArray[Any]:
        """Read a piece: an index for each axis, slices of step 1 or integers."""

    def release(self) -> None:  # noqa: B027  # most readers hold nothing
        """Give back the memory of what has been read; arrays from before may still be used, but cost anew."""

    def close(self) -> None:  # noqa: B027
        """Let go of the file."""

    @property
    def identity(self) -> dict[str, Any] | None:
        """What tells the file from another one, or from itself after a change; None where there is no file."""
        return None


def identity_of(path: str) -> dict[str, Any]:
    """Place, size and time of the last change of a file; of a directory without the size."""
    status = os.stat(path)
    size = None if os.path.isdir(path) else status.st_size
    return {"file": os.path.realpath(path), "bytes": size, "mtime_ns": status.st_mtime_ns}


@contextmanager
def closed_if_refused(stored: Stored) -> Iterator[None]:
    """Let go of a file in which something else was found than what should be there."""
    try:
        yield
    except BaseException:
        stored.close()
        raise


class Held(Stored):
    """An array that is in the memory already."""

    def __init__(self, array: NDArray[Any], name: str) -> None:
        self.name, self.shape, self.dtype = name, array.shape, array.dtype
        self._array = array

    def read(self, index: Index) -> NDArray[Any]:
        """Read a piece, without a copy."""
        return self._array[index]


def indices(shape: tuple[int, ...], start: int, stop: int) -> Iterator[Index]:
    """Indices of the positions from `start` to `stop`, in order, of an array of a shape.

    >>> list(indices((2, 3), 1, 6))
    [(0, slice(1, 3, None)), (slice(1, 2, None), slice(None, None, None))]
    """
    if start >= stop:
        return
    if len(shape) <= 1:
        yield (slice(start, stop),) if shape else ()
        return
    inner = prod(shape[1:])
    first, last = -(-start // inner), stop // inner
    if first > last:  # all within one
        yield from ((first - 1, *rest) for rest in indices(shape[1:], start - (first - 1) * inner, stop - last * inner))
        return
    if start < first * inner:
        yield from ((first - 1, *rest) for rest in indices(shape[1:], start - (first - 1) * inner, inner))
    if first < last:
        yield (slice(first, last), *[slice(None)] * (len(shape) - 1))
    if last * inner < stop:
        yield from ((last, *rest) for rest in indices(shape[1:], 0, stop - last * inner))
