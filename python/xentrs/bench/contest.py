"""The contest: entrants take turns, and with them the limit, threads that do nothing but move the same bytes."""

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
from .work import GRADIENT, IN_PLACE, LOSS, XENTRS, Contestant, Row, Work, check

LIMIT = "limit"
"""The name under which the limit stands among the contestants."""

LIMIT_FROM = 1 << 20
"""Bytes of logits from which a limit is measured. Below, the time is that of calls, not of memory."""


class Limit:
    """Plain threads that do nothing but walk over the bytes of a work, each over its own part.

    They read with ``np.max`` over 32-bit integers and copy with ``np.copyto``: of what NumPy has the fastest.
    """

    def __init__(self, pool: ThreadPoolExecutor, threads: int, work: Work, call: str) -> None:
        self.pool = pool
        source = np.array_split(work.logits.reshape(-1), threads)
        copies = (
            call != LOSS and work.out.size == work.logits.size
        )  # the gradient of a layer's weight is no copy of `x`
        drain = np.array_split(work.out.reshape(-1), threads) if copies else [None] * threads
        target = np.array_split(work.target.reshape(-1), threads)
        self.parts = list(zip(source, drain, target, strict=True))

    def __call__(self, number: int) -> float:
        """Seconds that `number` walks of all threads take."""
        start = threading.Barrier(len(self.parts))

        def walk(source: Array, drain: Array | None, target: Array) -> tuple[float, float]:
            start.wait()
            begin = time.perf_counter()
            for _ in range(number):
                if drain is None:
                    source.view(np.int32).max()
                else:
                    np.copyto(drain, source)
                target.view(np.int32).max(initial=0)
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


def measure(row: Row, contestants: Sequence[Contestant], quick: bool = False) -> Iterator[Figure]:
    """Check and time all contestants on a row: in one contest the loss, in another both gradients."""
    work = Work(row)
    threads = build_info()["num_threads"]
    with ThreadPoolExecutor(threads) as pool:
        calls = [(contestant, contestant.calls(work)) for contestant in contestants]
        for together in ([LOSS], [GRADIENT, IN_PLACE]):
            entrants: list[Entrant] = []
            for call, (contestant, theirs) in itertools.product(together, calls):
                if call not in theirs:
                    continue
                if call == IN_PLACE:
                    np.copyto(work.out, work.logits)
                check(contestant.name, call, theirs[call](), work, contestant.rtol[row.dtype])
                entrants.append(Entrant(contestant.name, contestant.version, call, timeit.Timer(theirs[call]).timeit))
            if not entrants:
                continue
            if work.logits.nbytes >= LIMIT_FROM:
                entrants.append(Entrant(LIMIT, "", together[0], Limit(pool, threads, work, together[0])))
            yield from contest(entrants, work, quick)
