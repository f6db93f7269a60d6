"""How many threads NumPy's BLAS takes for the products of a layer or a training.

A small product gains microseconds from a second thread, and loses milliseconds where the other cores are busy: the
threads of a BLAS wait for one another. `docs/threads.md` has the figures.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

__all__ = ["blas_threads_for"]

# Products of fewer multiplications and additions than this are left to one thread.
WORTHWHILE = 2e8

# The number of threads is the whole process's: how many ask for one at this time, and what there was before the first.
_lock = threading.Lock()
_inside = 0
_before: list[tuple[Any, int]] = []


@contextmanager
def blas_threads_for(rows: int, inputs: int, outputs: int) -> Iterator[None]:
    """Inside, BLAS takes one thread if a product of this size, the largest that is to come, is small.

    Without threadpoolctl, which comes with scikit-learn, nothing happens.
    """
    global _inside, _before
    if 2.0 * rows * inputs * outputs >= WORTHWHILE or not _libraries():
        yield
        return
    with _lock:
        _inside += 1
        if _inside == 1:
            _before = [(library, library.num_threads) for library in _libraries()]
            _set([(library, 1) for library, n in _before if n != 1])
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0:
                _set([(library, n) for library, n in _before if n != 1])


def _set(numbers: list[tuple[Any, int]]) -> None:
    for library, n in numbers:
        library.set_num_threads(n)


@cache
def _libraries() -> list[Any]:
    """What sets the number of threads of each BLAS that is loaded; none where threadpoolctl is missing."""
    try:
        from threadpoolctl import ThreadpoolController
    except ModuleNotFoundError:
        return []
    libraries: list[Any] = ThreadpoolController().select(user_api="blas").lib_controllers
    return libraries


def _after_fork() -> None:
    """A child has the thread that forked alone, so nobody else is inside, and no lock is held."""
    global _lock, _inside
    _lock, _inside = threading.Lock(), 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
