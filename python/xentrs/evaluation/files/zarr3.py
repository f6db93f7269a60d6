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
        found = zarr.open(path, mode="r")
        if isinstance(found, zarr.Group):
            if key not in found:
                key = one_of([name for name, _ in found.arrays()], key, path)
            found = found[key]
        if not isinstance(found, zarr.Array):
            raise FileError(f"{path} must hold an array {key!r}, got a group")
        self._array: Any = found
        self.shape, self.dtype = tuple(found.shape), np.dtype(found.dtype)
        self.chunks = getattr(found, "shards", None) or found.chunks

    def read(self, index: Index) -> NDArray[Any]:
        piece: NDArray[Any] = self._array[index]
        return piece

    @property
    def identity(self) -> dict[str, Any]:
        for name in ("zarr.json", ".zarray", ".zgroup"):
            if os.path.exists(described := os.path.join(self._path, name)):
                return identity_of(described)
        return identity_of(self._path)
