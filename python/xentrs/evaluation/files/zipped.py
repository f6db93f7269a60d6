"""Arrays in .npz archives: mapped where they are stored as they are, else unpacked as they come."""

from __future__ import annotations

import zipfile
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .mapped import Mapped, one_of, read_npy_header
from .stored import FileError, Index, Stored, closed_if_refused, identity_of

__all__ = ["open_npz"]


def open_npz(path: str, key: str) -> Stored:
    """Open an array of a .npz archive."""
    with zipfile.ZipFile(path) as archive:
        members = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
        info = archive.getinfo(one_of(members, key, path) + ".npy")
        if info.compress_type != zipfile.ZIP_STORED:
            return _Streamed(path, info.filename)
        with archive.open(info) as member:
            shape, fortran, dtype = read_npy_header(member, path)  # type: ignore[arg-type]
            header = member.tell()
    with open(path, "rb") as file:  # before a member stands 30 bytes, two of which tell how long its names are
        file.seek(info.header_offset + 26)
        lengths = file.read(4)
    start = info.header_offset + 30 + int.from_bytes(lengths[:2], "little") + int.from_bytes(lengths[2:], "little")
    if info.file_size < header + dtype.itemsize * prod(shape):
        raise FileError(f"{path} is damaged: {info.filename} is cut short")
    return Mapped(path, path, start + header, shape, dtype, fortran=fortran)


class _Streamed(Stored):
    """A compressed member, which is unpacked from the front to the back."""

    in_order = True

    def __init__(self, path: str, member: str) -> None:
        self.name = self._path = path
        self._member = member
        self._archive = zipfile.ZipFile(path)
        self._file: Any = None
        with closed_if_refused(self):
            self._file = self._archive.open(member)
            self.shape, fortran, self.dtype = read_npy_header(self._file, path)
            if fortran and len(self.shape) > 1:
                raise FileError(f"{path} must hold {member} in C order, as it is compressed, got Fortran order")
        self._at = 0

    def read(self, index: Index) -> NDArray[Any]:
        start, stop, shape = _place(index, self.shape)
        self._skip((start - self._at) * self.dtype.itemsize)
        block = np.empty(stop - start, self.dtype)
        self._fill(block.view(np.uint8).data)
        self._at = stop
        if stop == prod(self.shape):
            self._file.read(1)  # beyond the end, where the checksum is looked at
        return block.reshape(shape)

    def _fill(self, place: memoryview) -> None:
        while len(place):
            piece = self._file.read(min(len(place), 1 << 20))
            if not piece:
                raise FileError(f"{self.name} is damaged: {self._member} is cut short")
            place[: len(piece)] = piece
            place = place[len(piece) :]

    def _skip(self, count: int) -> None:
        while count > 0:
            piece = self._file.read(min(count, 1 << 20))
            if not piece:
                raise FileError(f"{self.name} is damaged: {self._member} is cut short")
            count -= len(piece)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        self._archive.close()

    @property
    def identity(self) -> dict[str, Any]:
        return identity_of(self._path)


def _place(index: Index, shape: tuple[int, ...]) -> tuple[int, int, tuple[int, ...]]:
    """Where a piece that lies together begins and ends in an array in C order, and its shape."""
    start, stop, left = 0, prod(shape), []
    size = stop
    for part, n in zip(index, shape, strict=True):
        size //= max(1, n)
        if isinstance(part, int):
            start += part * size
            stop = start + size
        else:
            first, last, _ = part.indices(n)
            left.append(last - first)
            if (first, last) != (0, n):
                start, stop = start + first * size, start + last * size
    return start, stop, tuple(left)
