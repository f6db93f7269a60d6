"""The contest: entrants take turns, and with them the limit, threads that do nothing but move the same bytes.

Other yardsticks of a goal take their turns too: xentrs on long rows in the cache, and in single precision.
"""

from __future__ import annotations

import itertools
import statistics
import threading
import time
import timeit
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from .._core import build_info
from .formulas import Array
from .work import (
    FLOAT32,
    GRADIENT,
    HESSIAN,
    IN_PLACE,
    LIMIT,
    LONG_ROWS,
    LOSS,
    NEW_ARRAY,
    WORKS,
    XENTRS,
    Calls,
    Contestant,
    Row,
    Work,
    check,
    goals,
    yardstick,
)

LIMIT_FROM = 1 << 20
"""Bytes of logits from which a limit is measured. Below, the time is that of calls, not of memory."""


class Limit:
    """Plain threads that do nothing but walk over the bytes of a work, each over its own part.

    They read with ``np.max`` over 32-bit integers and copy with ``np.copyto``: of what NumPy has the fastest.
    """

    def __init__(self, pool: ThreadPoolExecutor, threads: int, work: Work, call: str) -> None:
        self.pool = pool

        def split(array: Array) -> list[Array]:
            """Give each thread its part, as integers, which are the bytes of any type."""
            return np.array_split(array.reshape(-1).view(f"i{min(4, array.itemsize)}"), threads)

        copies = (
            call != LOSS and work.out.size == work.logits.size
        )  # the gradient of a layer's weight is no copy of `x`
        drain = split(work.out) if copies else [None] * threads
        self.parts = list(zip(split(work.logits), drain, split(work.target), strict=True))

    def __call__(self, number: int) -> float:
        """Seconds that `number` walks of all threads take."""
        start = threading.Barrier(len(self.parts))

        def walk(source: Array, drain: Array | None, target: Array) -> tuple[float, float]:
            start.wait()
            begin = time.perf_counter()
            for _ in range(number):
                if drain is None:
                    source.max()
                else:
                    np.copyto(drain, source)
                target.max(initial=0)
            return begin, time.perf_counter()

        begins, ends = zip(*self.pool.map(walk, *zip(*self.parts, strict=True)), strict=True)
        return float(max(ends) - min(begins))


class Figure(NamedTuple):
    """What a contestant needs for one call. A record is a list of these."""

    row: str
    work: str
    contestant: str
    version: str
    median: float
    """Seconds."""
    minimum: float
    """Seconds."""
    rounds: int
    loops: int
    """Calls per round."""
    bytes: int
    """What the work cannot but move."""
    reach: str


class Entrant(NamedTuple):
    """One line-up in a contest: a contestant with one of its calls."""

    contestant: str
    version: str
    work: str
    seconds: Callable[[int], float]
    """The time of so many calls."""


def contest(entrants: Sequence[Entrant], work: Work, quick: bool) -> Iterator[Figure]:
    """Let entrants take turns until all have had enough of them, and give one figure each."""
    loop, enough, patience, most = (0.001, 3, 0.0, 3) if quick else (0.005, 7, 4.0, 41)

    def turn(entrant: Entrant, loops: int) -> float:
        if entrant.work == IN_PLACE:  # later calls of a loop get gradients as logits: other numbers, the same work
            np.copyto(work.out, work.logits)
        time.sleep(0 if quick else 0.005)  # lets spinning threads of the contestant before go to sleep
        if loops > 1:
            entrant.seconds(1)  # wakes threads and warms the cache
        return entrant.seconds(loops) / loops

    loops = []
    for entrant in entrants:
        once = turn(entrant, 1)
        for _ in range(3 if once < 0.1 else 0):  # a short call may have been interrupted
            once = min(once, turn(entrant, 2))
        loops.append(max(1, round(loop / max(once, 1e-7))))
    times: list[list[float]] = [[] for _ in entrants]
    end = time.perf_counter() + patience
    while len(times[0]) < enough or (len(times[0]) < most and time.perf_counter() < end):
        for entrant, number, seconds in zip(entrants, loops, times, strict=True):
            seconds.append(turn(entrant, number))
    for entrant, number, seconds in zip(entrants, loops, times, strict=True):
        yield Figure(
            row=work.row.name,
            work=entrant.work,
            contestant=entrant.contestant,
            version=entrant.version,
            median=statistics.median(seconds),
            minimum=min(seconds),
            rounds=len(seconds),
            loops=number,
            bytes=work.bytes(entrant.work),
            reach=work.row.reach.get(entrant.work, "") if entrant.contestant == XENTRS.name else "",
        )


def enter(contestant: Contestant, call: str, calls: Calls, work: Work) -> Entrant:
    """Check the answer of a call, and let it compete."""
    if call == IN_PLACE:
        np.copyto(work.out, work.logits)
    check(contestant.name, call, calls[call](), work, contestant.rtol[work.row.dtype])
    return Entrant(contestant.name, contestant.version, call, timeit.Timer(calls[call]).timeit)


def scaled(entrant: Entrant, name: str, other: Work, work: Work) -> Entrant:
    """Tell the time that as many numbers as those of `work` take at the rate of an entrant with other data."""
    ratio = work.logits.size / other.logits.size
    return entrant._replace(contestant=name, seconds=lambda number: entrant.seconds(number) * ratio)


def measure(
    row: Row, contestants: Sequence[Contestant], quick: bool = False, works: Sequence[str] = WORKS
) -> Iterator[Figure]:
    """Check and time all contestants on a row: in one contest the loss, in another the gradients.

    What a goal is held against besides the limit and the peers competes with them, under its name.
    """
    work = Work(row)
    threads = build_info()["num_threads"]
    held = {against for goal in row.reach.values() for _, against in goals(goal)} & {LONG_ROWS, FLOAT32}
    yardsticks = {name: Work(yardstick(name, row, threads)) for name in sorted(held)}
    with ThreadPoolExecutor(threads) as pool:
        calls = [(contestant, contestant.calls(work)) for contestant in contestants]
        for contest_of in ([LOSS], [GRADIENT, IN_PLACE, NEW_ARRAY], [HESSIAN]):
            together = [call for call in contest_of if call in works]
            entrants = [
                enter(contestant, call, theirs, work)
                for call, (contestant, theirs) in itertools.product(together, calls)
                if call in theirs
            ]
            if not entrants:
                continue
            for name, other in yardsticks.items():
                if any(against == name for call in together for _, against in goals(row.reach.get(call, ""))):
                    entrants.append(scaled(enter(XENTRS, together[0], XENTRS.calls(other), other), name, other, work))
            if work.logits.nbytes >= LIMIT_FROM and HESSIAN not in together:  # which writes twice what `Limit` does
                entrants.append(Entrant(LIMIT, "", together[0], Limit(pool, threads, work, together[0])))
            yield from contest(entrants, work, quick)
