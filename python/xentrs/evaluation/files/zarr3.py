"""Arrays in Zarr stores."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..._extras import need
from .mapped import one_of
from .stored import FileError, Index, Stored, identity_of

__all__ = ["open_zarr"]


def open_zarr(path: str, key: str) -> Stored:
    """Open an array of a Zarr store: the store itself, or a member of the group that it is."""
    return _Array(path, key)


class _Array(Stored):
    def __init__(self, path: str, key: str) -> None:
        need("reading Zarr stores", "zarr")
        import zarr

        self.name = self._path = path
        try:
            found = zarr.open(path, mode="r")
            if isinstance(found, zarr.Group):
                found = found[one_of([name for name, _ in found.arrays()], key, path)]
        except FileError:
            raise
        except Exception as error:  # what a damaged store raises depends on what is missing
            raise FileError(f"{path} must be a Zarr store, got one that cannot be read: {_said(error)}") from None
        self._array: Any = found
        self.shape, self.dtype = tuple(found.shape), np.dtype(found.dtype)
        self.chunks = getattr(found, "shards", None) or found.chunks

    def read(self, index: Index) -> NDArray[Any]:
        try:
            piece: NDArray[Any] = self._array[index]
        except Exception as error:  # likewise
            raise FileError(f"{self.name} is damaged: {_said(error)}") from None
        return piece

    @property
    def identity(self) -> dict[str, Any]:
        for name in ("zarr.json", ".zarray", ".zgroup"):
            if os.path.exists(described := os.path.join(self._path, name)):
                return identity_of(described)
        return identity_of(self._path)


def _said(error: Exception) -> str:
    """What an error says, on one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
