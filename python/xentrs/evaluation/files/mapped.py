"""Arrays that lie in a file as they do in the memory: .npy, members of .npz that are not compressed, safetensors."""

from __future__ import annotations

import io
import json
import mmap
import os
from math import prod
from operator import index
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from .stored import FileError, Index, Stored, identity_of

__all__ = ["Mapped", "open_npy", "open_safetensors", "read_npy_header"]


class Mapped(Stored):
    """An array in a file that is mapped into the memory, a page when it is touched.

    Pages of a file count as memory of the process until they are given back. `release` does so where the system can
    (Linux, macOS); elsewhere the system takes them when it needs them.
    """

    def __init__(
        self, path: str, name: str, offset: int, shape: tuple[int, ...], dtype: np.dtype[Any], *, fortran: bool = False
    ) -> None:
        self.name, self.shape, self.dtype = name, shape, dtype
        self._path = path
        needed = offset + dtype.itemsize * prod(shape)
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size < needed:
                raise FileError(f"{name} is cut short: expected {needed} bytes, got {size}")
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size else None
        self._array: NDArray[Any] = np.ndarray(
            shape, dtype, buffer=self._map, offset=offset, order="F" if fortran else "C"
        )
        self._start = offset - self._array.__array_interface__["data"][0]
        self._touched = (0, 0)

    def read(self, index: Index) -> NDArray[Any]:
        """Read a piece, which is no copy."""
        piece = self._array[index]
        if piece.flags.c_contiguous:
            start = piece.__array_interface__["data"][0] + self._start
            self._touched = (start, start + piece.nbytes)
            self._advise("MADV_WILLNEED", start + piece.nbytes, start + 2 * piece.nbytes)  # while this one is used
        else:
            self._touched = (0, len(self._map or b""))
        return piece

    def release(self) -> None:
        """Give back the pages of the last piece, and those that the system has read ahead beside them."""
        self._advise("MADV_DONTNEED", *self._touched)

    def _advise(self, advice: str, start: int, stop: int) -> None:
        start = start // mmap.PAGESIZE * mmap.PAGESIZE
        if self._map is not None and hasattr(mmap, advice) and start < (stop := min(stop, len(self._map))):
            self._map.madvise(getattr(mmap, advice), start, stop - start)

    def close(self) -> None:
        """Let go of the file; the map goes with the last array."""
        self._map = None
        self._array = np.empty(0)

    @property
    def identity(self) -> dict[str, Any]:
        """Tell the file from others."""
        return identity_of(self._path)


def read_npy_header(file: BinaryIO | io.BufferedIOBase, name: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether in Fortran order, and dtype of an array in NumPy's format; the file is left behind the header."""
    header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    shape, fortran, dtype = header[np.lib.format.read_magic(file)](file)
    if dtype.hasobject:
        raise FileError(f"{name} must hold numbers, got Python objects, which are never unpickled")
    return shape, fortran, dtype


def open_npy(path: str, key: str) -> Stored:
    """Open the array of a .npy file."""
    with open(path, "rb") as file:
        shape, fortran, dtype = read_npy_header(file, path)
        offset = file.tell()
    return Mapped(path, path, offset, shape, dtype, fortran=fortran)


_SAFETENSORS = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "V2", "BOOL": "?",
    "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1",
}  # fmt: skip
_LONGEST_HEADER = 100_000_000
"""Bytes: what the format allows."""


def open_safetensors(path: str, key: str) -> Stored:
    """Open an array of a safetensors file: eight bytes, the length of the header; the header in JSON; the arrays."""
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(_LONGEST_HEADER, size - 8):
            raise FileError(f"{path} must be a safetensors file, got one that is cut short or another kind of file")
        header = json.loads(file.read(length))
    header.pop("__metadata__", None)
    name = one_of(list(header), key, path)
    kind = header[name]["dtype"]
    shape = tuple(index(n) for n in header[name]["shape"])
    start, stop = (index(n) for n in header[name]["data_offsets"])
    if kind not in _SAFETENSORS:
        raise FileError(f"{path} must hold one of {', '.join(_SAFETENSORS)} under {name!r}, got {kind}")
    dtype = np.dtype(_SAFETENSORS[kind])
    if min(shape, default=0) < 0 or start < 0 or stop - start != dtype.itemsize * prod(shape):
        raise FileError(f"{path} must be a safetensors file, got a header that is damaged")
    if kind == "BF16":
        dtype = bfloat16()
    return Mapped(path, path, 8 + length + start, shape, dtype)


def bfloat16() -> np.dtype[Any]:
    """The type that NumPy lacks."""
    from ..._extras import need

    need("bfloat16", "ml_dtypes", extra="evaluate")
    import ml_dtypes

    dtype: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
    return dtype


def one_of(names: list[str], key: str, path: str) -> str:
    """The array of a container: the one of the name, or the only one."""
    if key in names:
        return key
    if len(names) == 1:
        return names[0]
    shown = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    raise FileError(f"{path} must hold an array {key!r}, got {shown or 'none'}: name another with its key")
