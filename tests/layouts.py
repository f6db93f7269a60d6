"""The ways an array can lie in memory. Each takes an array and gives one of the same shape that lies differently.

All but `broadcast` keep the values. A test compares against `numpy.ascontiguousarray` of what it feeds.
"""

import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def fortran(a: Array) -> Array:
    return np.asfortranarray(a)


def strided(a: Array) -> Array:
    """Every third element of the last axis, every second of the others, and 77 in between."""
    gaps = np.full([2 * n for n in a.shape[:-1]] + [3 * a.shape[-1]], 77, a.dtype)
    view = gaps[(slice(None, None, 2),) * (a.ndim - 1) + (slice(None, None, 3),)]
    view[...] = a
    return view


def padded_rows(a: Array) -> Array:
    """Contiguous rows with a gap between them, as a column slice of a wider array has."""
    wide = np.full((*a.shape[:-1], a.shape[-1] + 5), 77, a.dtype)
    view = wide[..., : a.shape[-1]]
    view[...] = a
    return view


def reversed_axes(a: Array) -> Array:
    backwards = (slice(None, None, -1),) * a.ndim
    return a[backwards].copy()[backwards]


def byteswapped(a: Array) -> Array:
    return a.astype(a.dtype.newbyteorder("S"))


def misaligned(a: Array) -> Array:
    """One byte off the alignment of its dtype."""
    view = np.empty(a.nbytes + 1, np.uint8)[1:].view(a.dtype).reshape(a.shape)
    view[...] = a
    return view


def read_only(a: Array) -> Array:
    copy = a.copy()
    copy.flags.writeable = False
    return copy


def memory_mapped(a: Array) -> Array:
    with tempfile.TemporaryFile() as file:
        file.write(a.tobytes())
        file.flush()
        return np.memmap(file, a.dtype, "r", shape=a.shape)


def broadcast(a: Array) -> Array:
    """The first row for every row, at stride zero."""
    return np.broadcast_to(a[:1], a.shape)


LAYOUTS: dict[str, Callable[[Array], Array]] = {
    function.__name__: function
    for function in (
        fortran,
        strided,
        padded_rows,
        reversed_axes,
        byteswapped,
        misaligned,
        read_only,
        memory_mapped,
        broadcast,
    )
}
