"""How many threads share the work of a large call.

A result has the same bits whatever that number is; it decides nothing but the time. Small calls never leave the calling
thread.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import SupportsIndex

from . import _core
from ._numbers import positive_integer
from ._threadpoolctl import introduce

__all__ = ["get_num_threads", "set_num_threads", "threads"]


def get_num_threads() -> int:
    """Tell how many threads a large call would use here and now.

    Returns
    -------
    int
        The number of the innermost `threads` around, else what `set_num_threads` has said last, else the first of the
        environment variables ``XENTRS_NUM_THREADS``, ``RAYON_NUM_THREADS`` and ``OMP_NUM_THREADS`` that holds a
        positive integer, else the cores that this process may use, as its affinity and its control group say.

    See Also
    --------
    threads : another number for a few lines.
    set_num_threads : another number for the process.

    Notes
    -----
    The environment and the cores are looked at once, the first time that the number is needed. ``XENTRS_NUM_THREADS``
    must make sense: set to anything but an integer from 1 to 4096, importing xentrs raises ValueError. The other two
    belong to others, so a value that is none is passed over.

    Examples
    --------
    >>> import xentrs as xe
    >>> xe.get_num_threads() >= 1
    True
    """
    return _core.get_num_threads()


def set_num_threads(n: SupportsIndex) -> None:
    """Share large calls among so many threads from now on, in the whole process.

    Parameters
    ----------
    n : int
        The number of threads, from 1 to 4096. 1 keeps all work on the calling thread.

    Raises
    ------
    TypeError
        If `n` is no integer.
    ValueError
        If `n` is less than 1 or more than 4096.

    See Also
    --------
    threads : for a few lines instead, which go before the number of the process.

    Notes
    -----
    A child process that is forked inherits the number; one that is started anew reads its environment. The calling
    thread is one of them. The others are a pool, which grows as calls have work for more threads, and sleep between
    calls until the process ends.

    Examples
    --------
    >>> import xentrs as xe
    >>> before = xe.get_num_threads()
    >>> xe.set_num_threads(2)
    >>> xe.get_num_threads()
    2
    >>> xe.set_num_threads(before)
    """
    _core.set_num_threads(_count(n))


def threads(n: SupportsIndex) -> AbstractContextManager[None]:
    """Share large calls among so many threads inside a ``with`` block.

    Parameters
    ----------
    n : int
        The number of threads, from 1 to 4096. 1 keeps all work on the calling thread.

    Returns
    -------
    context manager
        To be entered once. It also decorates functions: ``@xe.threads(1)``.

    Raises
    ------
    TypeError
        If `n` is no integer.
    ValueError
        If `n` is less than 1 or more than 4096.

    See Also
    --------
    set_num_threads : for the whole process.

    Notes
    -----
    The number is kept in a context variable (`contextvars`), like NumPy's ``errstate``: it holds for this thread and,
    in asynchronous code, for this task, so tasks that take turns on one thread do not disturb each other's numbers.
    Threads started inside the block begin with the number of the process, unless they run in a copy of the context, as
    `asyncio.to_thread` does.

    Examples
    --------
    >>> import xentrs as xe
    >>> before = xe.get_num_threads()
    >>> with xe.threads(3):
    ...     xe.get_num_threads()
    3
    >>> xe.get_num_threads() == before
    True
    """
    return _threads(_count(n))


@contextmanager
def _threads(n: int) -> Iterator[None]:
    token = _core._threads.set(n)
    try:
        yield
    finally:
        _core._threads.reset(token)


def _count(n: SupportsIndex) -> int:
    """Make an int of a number of threads."""
    count = positive_integer("n", n)
    if count > _core._most_threads:
        raise ValueError(f"n must be at most {_core._most_threads}, got {count}")
    return count


introduce()
