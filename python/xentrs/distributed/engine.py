"""Work on parts of data, by any ``map``: parts are loaded where they are worked on, and what is made of them is kept.

Whoever works on a part says what kind of worker it is, for the last bits of a sum depend on the instruction set. Sums
are taken in a tree whose shape depends on the number of parts alone, so that the same parts give the same bits, however
many workers there are, and whichever of them takes which part.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np

from .. import _core
from .._blas import blas_architectures, blas_threads_for

__all__ = ["Answer", "MappedParts", "Task", "Worker", "agreed", "load", "read_parts", "tree_sum"]


# ------------------------------------------------------------------------------------------------------------- workers


class Worker(NamedTuple):
    """What the last bits of a result depend on."""

    xentrs: str
    isa: str
    best_isa: str
    """That of the processor, by which matrix products go whatever XENTRS_ISA says."""
    numpy: str
    blas: tuple[str, ...]

    @classmethod
    def here(cls) -> Worker:
        """What this process is."""
        return _this_worker()


@cache
def _this_worker() -> Worker:
    info = _core.build_info()
    return Worker(info["version"], info["isa"], info["isas_available"][0], np.__version__, blas_architectures())


class Answer(NamedTuple):
    """What has come of a part, or of several."""

    value: Any
    workers: dict[Worker, int]
    """Who has worked on it, each with a part that it had."""


def agreed(workers: Iterable[dict[Worker, int]], seen: dict[Worker, int], same_bits: bool) -> None:
    """Add the workers to those seen, and refuse different ones."""
    for some in workers:
        for worker, part in some.items():
            seen.setdefault(worker, part)
    if not same_bits or len(seen) < 2:
        return
    (one, i), (other, j) = list(seen.items())[:2]
    name, a, b = next((name, a, b) for name, a, b in zip(Worker._fields, one, other, strict=True) if a != b)
    said, remedy = {
        "xentrs": ("version of xentrs", "install the same on all"),
        "isa": ("instruction set", "start all with the same XENTRS_ISA, which each of them must have"),
        "best_isa": ("processor, by its best instruction set", "take machines of one kind"),
        "numpy": ("version of NumPy", "install the same on all"),
        "blas": ("BLAS of NumPy", "take machines of one kind, or start all with the same OPENBLAS_CORETYPE"),
    }[name]
    raise RuntimeError(
        f"workers must have the same {said}, for a sum of other bits else, got {_shown(a)} for part {i} and "
        f"{_shown(b)} for part {j}: {remedy}, or write same_bits=False"
    )


def _shown(what: Any) -> str:
    return what if isinstance(what, str) else ", ".join(what) or "none"


# --------------------------------------------------------------------------------------------------------------- tasks


@dataclass(frozen=True)
class Task:
    """Calls a function of a value of a part, and tells who was it; what is wrong with the part names it."""

    function: Callable[[Any], Any]

    def __call__(self, item: Item) -> Answer:
        """Work on a part."""
        return self.on(item.index, item.value)

    def on(self, index: int, value: Callable[[], Any]) -> Answer:
        """Work on the part of this place."""
        try:
            with blas_threads_for(0, 0, 0):  # whose number would change the bits
                return Answer(self.function(value()), {Worker.here(): index})
        except (ValueError, TypeError, IndexError, OSError) as error:
            raise _of_part(error, index) from error


def _of_part(error: Exception, index: int) -> Exception:
    """The same error, with the part in front of its words."""
    kind = next(kind for kind in (ValueError, TypeError, IndexError, OSError) if isinstance(error, kind))
    return kind(f"part {index}: {error}")


# Of the last fits, by their tokens: what each has made of its parts in this process, by their places, and how many
# functions made it. There is no lock: each part has one worker at a time, and what is lost is made again.
_KEPT: dict[str, dict[int, tuple[int, Any]]] = {}
_MOST = 2


@dataclass(frozen=True)
class Item:
    """A part as it travels: where it comes from, and the functions that make of it what is worked on."""

    token: str
    index: int
    part: Any
    functions: tuple[Callable[[Any], Any], ...] = ()

    def value(self) -> Any:
        """Make the value, from the last one that is kept here, and keep it; where no function is to be called, load."""
        if not self.functions:
            return load(self.part)
        shelf = _KEPT.setdefault(self.token, {})
        for token in list(_KEPT)[:-_MOST]:
            _KEPT.pop(token, None)
        done, value = shelf.get(self.index, (0, None))
        if not done:
            value = load(self.part)
        for function in self.functions[done:]:
            value = function(value)
        shelf[self.index] = len(self.functions), value
        return value


class MappedParts:
    """Parts that a ``map`` brings to whoever works on them.

    Functions form one chain: once a value is kept, those that it was made of are not asked for again.
    """

    def __init__(self, map: Callable[..., Iterable[Any]], parts: Sequence[Any], same_bits: bool) -> None:
        self._map, self._same_bits, self._seen = map, same_bits, dict[Worker, int]()
        self._token = secrets.token_hex(8)
        self._items = [Item(self._token, i, part) for i, part in enumerate(parts)]

    def keep(self, function: Callable[[Any], Any]) -> Self:
        """The values that a function makes of these, where they are worked on."""
        return self._with([replace(item, functions=(*item.functions, function)) for item in self._items])

    def select(self, places: Sequence[int]) -> Self:
        """Some of the parts."""
        return self._with([self._items[i] for i in places])

    def gather(self, function: Callable[[Any], Any]) -> list[Any]:
        """What a function makes of each value."""
        task, n = Task(function), len(self._items)
        answers = list(self._map(task, self._items))
        if len(answers) != n or not all(isinstance(answer, Answer) for answer in answers):
            raise TypeError(
                f"map must be called as map(function, items) and give what the function returns for each of {n} items, "
                f"got {len(answers)} of {sorted({type(answer).__name__ for answer in answers})}"
            )
        agreed((answer.workers for answer in answers), self._seen, self._same_bits)
        place = {item.index: i for i, item in enumerate(self._items)}  # a map may give them in any order
        values = {place[next(iter(answer.workers.values()))]: answer.value for answer in answers}
        return [values[i] for i in range(n)]

    def fold(self, function: Callable[[Any], Any]) -> Any:
        """The sum of what a function makes of each value."""
        return tree_sum(self.gather(function))

    def forget(self) -> None:
        """Give the memory of this process back."""
        _KEPT.pop(self._token, None)

    def _with(self, items: list[Item]) -> Self:
        other = type(self).__new__(type(self))
        other.__dict__ = self.__dict__ | {"_items": items}
        return other


def tree_sum(values: Sequence[Any]) -> Any:
    """The sum of values in a tree of pairs of neighbours, whose shape depends on their number alone.

    Tuples are added item by item, and what is None in all of them stays None.
    """
    while len(values) > 1:
        values = [_added(*values[i : i + 2]) for i in range(0, len(values), 2)]
    return values[0]


def _added(one: Any, other: Any = None) -> Any:
    if other is None:
        return one
    if type(one) is tuple:
        return tuple(map(_added, one, other))
    return one + other


# --------------------------------------------------------------------------------------------------------------- parts


def read_parts(parts: Any) -> list[Any]:
    """All parts in a list."""
    if isinstance(parts, np.ndarray | str | bytes | dict) or not isinstance(parts, Iterable):
        raise TypeError(
            f"parts must be a sequence of parts, each a tuple (X, y) or (X, y, sample_weight), a function that returns "
            f"one, or something delayed, got {type(parts).__name__}"
        )
    listed = list(parts)
    if not listed:
        raise ValueError("parts must hold one or more parts, got none")
    return listed


def load(part: Any) -> tuple[Any, Any, Any]:
    """The arrays of a part, with None where there are no weights: called functions, computed promises, mapped files."""
    whole = _loaded(part)
    if not isinstance(whole, tuple | list) or len(whole) not in (2, 3):
        what = f"{type(whole).__name__} of {len(whole)}" if isinstance(whole, tuple | list) else type(whole).__name__
        raise TypeError(
            "a part must be (X, y) or (X, y, sample_weight), of arrays or names of .npy files, a function that returns "
            f"such, or something delayed, got {what}"
        )
    first, second, third = (*map(_loaded, whole), None)[:3]
    return first, second, third


def _loaded(what: Any) -> Any:
    if hasattr(what, "__dask_graph__"):
        return what.compute()
    if isinstance(what, str | Path):
        return np.load(what, mmap_mode="r")
    return what() if callable(what) else what
