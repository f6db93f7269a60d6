"""Files: written all or nothing, and recognised by how they begin."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

__all__ = ["check_writable", "kind_of_file", "replaced", "status_of_file"]


@contextmanager
def replaced(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A file to write to, which takes the place of `path` when the block ends, and vanishes if it raises."""
    place, temporary, old = _places(path)
    try:
        with open(temporary, "xb") as file:
            if old is not None:
                os.chmod(temporary, stat.S_IMODE(old.st_mode))
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, place)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def check_writable(path: str | os.PathLike[str]) -> None:
    """Refuse a place that `replaced` could not write to, before there is anything to write.

    Raises
    ------
    OSError
        If it is no regular file, or none can be written beside it.
    """
    _, temporary, _ = _places(path)
    try:
        with open(temporary, "xb"):
            pass
        temporary.unlink()
    except OSError as error:
        reason = error.strerror or error
        raise type(error)(f"{os.fspath(path)} must be a place that can be written to, got: {reason}") from None


def _places(path: str | os.PathLike[str]) -> tuple[Path, Path, os.stat_result | None]:
    """Where a file belongs, where it is written first, and the status of the one that is there."""
    old = status_of_file(path)
    place = Path(os.path.realpath(path))  # a symbolic link is kept
    return place, place.with_name(f".{place.name}.{secrets.token_hex(4)}.tmp"), old


def status_of_file(path: str | os.PathLike[str]) -> os.stat_result | None:
    """What the system knows of a file, None where there is none.

    Anything but a regular file is refused: a pipe would be waited for, and a device replaced.
    """
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return None
    if stat.S_ISREG(status.st_mode):
        return status
    kinds = {stat.S_IFDIR: "directory", stat.S_IFIFO: "pipe", stat.S_IFSOCK: "socket"}
    kind = kinds.get(stat.S_IFMT(status.st_mode), "device")
    error = IsADirectoryError if kind == "directory" else OSError
    raise error(f"{os.fspath(path)} must be a file, got a {kind}")


def kind_of_file(head: bytes) -> str:
    """What a file is, by its first bytes."""
    kinds = {
        b"\x93NUMPY": "a single NumPy array (.npy)",
        b"\x80": "a pickle: pickle.load reads it, if you trust where it is from",
        b"\x89HDF": "an HDF5 file",
        b"\x1f\x8b": "a compressed file (.gz): unpack it first",
        b"PAR1": "a Parquet file",
    }
    for start, kind in kinds.items():
        if head.startswith(start):
            return kind
    printable = all(byte in b"\t\r\n" or 32 <= byte < 127 for byte in head)
    return f"text: {head.decode()!r} ..." if printable else f"a file that begins with the bytes {head.hex(' ')}"
