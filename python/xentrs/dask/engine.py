"""Work on parts by Dask: on the workers of the client that there is, or here."""

from __future__ import annotations

import builtins
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Self

import dask
import dask.array as da
import numpy as np

from .._numbers import a_boolean
from ..distributed.engine import Answer, MappedParts, Task, Worker, agreed, load, tree_sum

__all__ = ["parts_of", "promised_sum", "spread"]

_FAN = 16  # parts whose sum is taken by a worker, where there are more than twice as many; a power of 2


def spread(parts: list[Any], same_bits: bool) -> Any:
    """Parts that the workers of Dask's client work on or, where there is no client, this process."""
    same_bits = a_boolean("same_bits", same_bits)
    client = _client()
    if client is None:
        return MappedParts(builtins.map, parts, same_bits)
    if client.asynchronous:
        raise TypeError("the client must be synchronous, got Client(asynchronous=True)")
    promises = [part if dask.is_dask_collection(part) else dask.delayed(_itself)(part) for part in parts]
    return DaskParts(client, {i: dask.delayed(load)(promise) for i, promise in enumerate(promises)}, same_bits, {})


def _itself(part: Any) -> Any:
    return part


def _client() -> Any:
    """Dask's client, if there is one."""
    distributed = sys.modules.get("distributed")  # where it is not imported there is no client
    if distributed is None:
        return None
    try:
        return distributed.get_client()  # inside a task that of its worker
    except ValueError:
        return None


class DaskParts:
    """Parts that lie on workers, as promises or as futures of what was made of them.

    What a worker that dies has kept is made again, from the promise, by another.
    """

    def __init__(self, client: Any, handles: dict[int, Any], same_bits: bool, seen: dict[Worker, int]) -> None:
        self._client, self._handles, self._same_bits, self._seen = client, handles, same_bits, seen

    def keep(self, function: Callable[[Any], Any]) -> Self:
        """The values that a function makes of these, each where it is."""
        return self._with(self._run(partial(_kept, function)))

    def select(self, places: Sequence[int]) -> Self:
        """Some of the parts."""
        indices = list(self._handles)
        return self._with({indices[i]: self._handles[indices[i]] for i in places})

    def gather(self, function: Callable[[Any], Any]) -> list[Any]:
        """What a function makes of each value, here."""
        answers = self._client.gather(list(self._run(partial(_asked, Task(function))).values()))
        agreed((answer.workers for answer in answers), self._seen, self._same_bits)
        return [answer.value for answer in answers]

    def fold(self, function: Callable[[Any], Any]) -> Any:
        """The sum of what a function makes of each value: of many parts by the workers, in the same tree."""
        futures = list(self._run(partial(_asked, Task(function))).values())
        while len(futures) > 2 * _FAN:
            groups = [futures[i : i + _FAN] for i in range(0, len(futures), _FAN)]
            futures = [self._client.submit(_sum_of_answers, group, pure=False) for group in groups]
        total = _sum_of_answers(self._client.gather(futures))
        agreed([total.workers], self._seen, self._same_bits)
        return total.value

    def forget(self) -> None:
        """Nothing is kept here."""

    def _run(self, function: Callable[[int, Any], Any]) -> dict[int, Any]:
        """Futures of what a function makes of each place and value."""
        if all(map(dask.is_dask_collection, self._handles.values())):
            promises = [dask.delayed(function, pure=False)(i, value) for i, value in self._handles.items()]
            return dict(zip(self._handles, self._client.compute(promises), strict=True))
        futures = self._client.map(function, list(self._handles), list(self._handles.values()), pure=False)
        return dict(zip(self._handles, futures, strict=True))

    def _with(self, handles: dict[int, Any]) -> Self:
        return type(self)(self._client, handles, self._same_bits, self._seen)


def _kept(function: Callable[[Any], Any], index: int, value: Any) -> Any:
    return Task(function).on(index, lambda: value).value


def _asked(task: Task, index: int, value: Any) -> Answer:
    return task.on(index, lambda: value)


def _sum_of_answers(answers: list[Answer]) -> Answer:
    workers: dict[Worker, int] = {}
    for answer in answers:
        workers = answer.workers | workers
    return Answer(tree_sum([answer.value for answer in answers]), workers)


def promised_sum(first: Any, function: Callable[[Any], Any], parts: Sequence[Any], same_bits: bool) -> Any:
    """Something delayed: `first` and what a function makes of each part, added in the tree of `DaskParts.fold`."""
    task = Task(function)
    answers = [dask.delayed(_of_source)(task, i, part) for i, part in enumerate(parts)]
    while len(answers) > _FAN:
        answers = [dask.delayed(_sum_of_answers)(answers[i : i + _FAN]) for i in range(0, len(answers), _FAN)]
    return dask.delayed(_added_to)(first, answers, same_bits)


def _of_source(task: Task, index: int, part: Any) -> Answer:
    return task.on(index, lambda: load(part))


def _added_to(first: Any, answers: list[Answer], same_bits: bool) -> Any:
    total = _sum_of_answers(answers)
    agreed([total.workers], {}, same_bits)
    return first + total.value


def parts_of(names: Sequence[str], first: Any, *others: Any) -> list[Any]:
    """The parts that arrays in chunks of rows have, or that are given as such."""
    if not isinstance(first, da.Array):
        if isinstance(first, np.ndarray) or not isinstance(first, Iterable) or hasattr(first, "dtypes"):
            advice = ": for arrays in memory use the function of the same name without Dask"
            advice = ": write .to_dask_array(lengths=True) first" if hasattr(first, "to_dask_array") else advice
            raise TypeError(f"{names[0]} must be a Dask array, or a list of parts, got {type(first).__name__}{advice}")
        for name, other in zip(names[1:], others, strict=True):
            if other is not None:
                raise TypeError(f"{name} must be left out where {names[0]} is a list of parts, which have it in them")
        return list(first)
    if others[0] is None:
        raise TypeError(f"{names[1]} must be given where {names[0]} is a Dask array")
    columns = [_whole_rows(names[0], first, first)]
    columns += [
        _whole_rows(name, other, first) for name, other in zip(names[1:], others, strict=True) if other is not None
    ]
    return [dask.delayed(_together)(*blocks) for blocks in zip(*columns, strict=True)]


def _together(*blocks: Any) -> tuple[Any, ...]:
    return blocks


def _whole_rows(name: str, array: Any, first: Any) -> list[Any]:
    """The chunks of an array, in whole rows, as those of the first."""
    array = array if isinstance(array, da.Array) else da.asarray(array)
    if not array.ndim:
        raise ValueError(f"{name} must have a row for each sample, got shape ()")
    array = array.rechunk(dict.fromkeys(range(1, array.ndim), -1)) if max(array.numblocks[1:], default=1) > 1 else array
    known = not np.isnan(array.shape[0]) and not np.isnan(first.shape[0])
    if known and array.shape[0] != first.shape[0]:
        raise ValueError(f"{name} must have {first.shape[0]} rows, got {array.shape[0]}")
    if known and array.chunks[0] != first.chunks[0]:
        array = array.rechunk({0: first.chunks[0]})
    if array.numblocks[0] != first.numblocks[0]:
        raise ValueError(
            f"{name} must be in {first.numblocks[0]} chunks, where their lengths are not known, got "
            f"{array.numblocks[0]}: call compute_chunk_sizes first"
        )
    return list(array.to_delayed().ravel())
