"""How many threads NumPy's BLAS takes for the products of a layer or a training.

A small product gains microseconds from a second thread, and loses milliseconds where the other cores are busy: the
threads of a BLAS wait for one another. `docs/threads.md` has the figures.
"""

import os
from functools import cache
from types import TracebackType
from typing import Any
from weakref import WeakSet

import numpy as np

__all__ = ["blas_architectures", "blas_threads_for"]

# Products of fewer multiplications and additions than this are left to one thread.
WORTHWHILE = 2e8


class blas_threads_for:
    """Inside, BLAS takes one thread if a product of this size, the largest that is to come, is small.

    The number is the whole process's. Of several that overlap, in as many threads, the last one out gives back what the
    first has found. Without threadpoolctl, which comes with scikit-learn, nothing happens.
    """

    def __init__(self, rows: int, inputs: int, outputs: int) -> None:
        self._small = 2.0 * rows * inputs * outputs < WORTHWHILE

    def __enter__(self) -> None:
        if self._small:
            _inside.add(self)
            for library in _libraries():
                if (n := library.num_threads) > 1:
                    _before[library] = n
                    library.set_num_threads(1)

    def __exit__(
        self, error: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        _inside.discard(self)
        if not _inside:
            for library in list(_before):
                library.set_num_threads(_before.pop(library))


# Who is inside, and how many threads there were before. There is no lock: an interrupt could leave one locked, and
# every later product would wait for ever. One that an interrupt has cut off on its way out is forgotten, and the next
# one out gives the threads back.
_inside: "WeakSet[blas_threads_for]" = WeakSet()
_before: dict[Any, int] = {}


def blas_architectures() -> tuple[str, ...]:
    """Which kernels NumPy's BLAS has chosen, where it tells, and its version.

    A wheel of NumPy brings its own, in a folder beside it. Where there is none, that of all.
    """
    folder = os.path.dirname(np.__file__)
    libraries = [library for library in _libraries() if library.filepath.startswith(folder)] or _libraries()
    said = {f"{library.internal_api} {library.version} {getattr(library, 'architecture', '')}" for library in libraries}
    return tuple(sorted(said))


@cache
def _libraries() -> list[Any]:
    """What sets the number of threads of each BLAS that is loaded; none where threadpoolctl is missing."""
    try:
        from threadpoolctl import ThreadpoolController
    except ModuleNotFoundError:
        return []
    libraries: list[Any] = ThreadpoolController().select(user_api="blas").lib_controllers
    return libraries


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_inside.clear)  # nobody but the thread that forked lives on in a child
