"""Datasets in HDF5 files."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..._extras import need
from .mapped import one_of
from .stored import Index, Stored, closed_if_refused, identity_of

__all__ = ["open_hdf5"]


def open_hdf5(path: str, key: str) -> Stored:
    """Open a dataset of an HDF5 file; its name may be a path within the file."""
    return _Dataset(path, key)


class _Dataset(Stored):
    def __init__(self, path: str, key: str) -> None:
        need("reading HDF5 files", "h5py")
        import h5py

        self.name = self._path = path
        self._file = h5py.File(path, "r")
        with closed_if_refused(self):
            found = self._file.get(key)
            if not isinstance(found, h5py.Dataset):
                names: list[str] = []
                self._file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
                found = self._file[one_of(names, key, path)]
        self._dataset = found
        self.shape, self.dtype = found.shape, np.dtype(found.dtype)
        self.chunks = found.chunks

    def read(self, index: Index) -> NDArray[Any]:
        piece: NDArray[Any] = self._dataset[index]
        return piece

    def close(self) -> None:
        self._file.close()

    @property
    def identity(self) -> dict[str, Any]:
        return identity_of(self._path)
