"""Arrays in files of many formats, read a block of rows at a time.

A format is a function that opens a file and gives a `Stored`; its suffixes stand in one table.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Sequence
from typing import Any

from ..._arrays import read
from ..._files import kind_of_file
from .hdf5 import open_hdf5
from .mapped import open_npy, open_safetensors
from .parquet import open_parquet
from .rows import Rows
from .stored import FileError, Held, Stored, said
from .zarr3 import open_zarr
from .zipped import open_npz

__all__ = ["FORMATS", "FileError", "Rows", "Stored", "open_all"]

FORMATS: dict[str, Callable[[str, str], Stored]] = {
    ".npy": open_npy,
    ".npz": open_npz,
    ".safetensors": open_safetensors,
    ".h5": open_hdf5,
    ".hdf5": open_hdf5,
    ".zarr": open_zarr,
    ".parquet": open_parquet,
}
"""By the suffix of a file's name."""


def open_all(given: Any, key: str, name: str) -> list[Stored]:
    """Open what a user means: an array, a path, a pattern of paths, or a sequence of paths."""
    if isinstance(given, str | os.PathLike):
        given = [given]
    if not isinstance(given, Sequence) or not given or not all(isinstance(item, str | os.PathLike) for item in given):
        return [Held(read(given, name, labels=name == "labels"), name)]
    opened: list[Stored] = []
    try:
        for item in given:
            opened += (_open(path, key) for path in _paths(os.fspath(item)))
    except BaseException:
        for stored in opened:
            stored.close()
        raise
    return opened


def _paths(path: str) -> list[str]:
    """Files of a pattern, in the order of their names; a path that exists is no pattern."""
    if os.path.exists(path) or not glob.has_magic(path):
        return [path]
    found = sorted(glob.glob(path))
    if not found:
        raise FileError(f"{path} must match a file, got none")
    return found


def _open(path: str, key: str) -> Stored:
    suffix = os.path.splitext(path.rstrip("/" + os.sep))[1].lower()
    if not os.path.exists(path):
        raise FileError(f"{path} must be a file, got none of this name")
    if suffix not in FORMATS:
        with_what = "a directory"
        if not os.path.isdir(path):
            with open(path, "rb") as file:
                with_what = kind_of_file(file.read(8))
        raise FileError(f"{path} must end with one of {', '.join(FORMATS)}, got {with_what}")
    if os.path.isdir(path) and suffix != ".zarr":
        raise FileError(f"{path} must be a file, got a directory")
    try:
        stored = FORMATS[suffix](path, key)
    except (FileError, ImportError):
        raise
    except Exception as error:  # of what damaged files raise no list is whole
        raise FileError(
            f"{path} must be a {suffix} file, got one that is cut short, damaged or of another kind: {said(error)}"
        ) from error
    if stored.dtype.kind not in "biufV" and stored.dtype.name != "bfloat16":
        stored.close()
        raise FileError(f"{path} must hold numbers, got {stored.dtype}")
    return stored
