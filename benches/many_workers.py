"""What a step of a fit costs on the workers of a cluster: value and gradient over all samples, beside one process.

python benches/many_workers.py                 measures, prints, writes benches/record/many-workers-<cpu>-<date>.txt
python benches/many_workers.py --rows 100000   of fewer rows; nothing is written

A step is timed where the solver asks for it, in fits of the same number of iterations. One process has one thread, then
two, that of NumPy's arrays in one piece. Workers of Dask are processes of one thread each on this machine, threads of a
pool have one each. The number of chunks is that of all workers together. `overhead` is a step's time over that of one
process with two threads. The bits of all in parts must be the same for the same chunks, which is looked at first.
"""

import argparse
import contextlib
import logging
import statistics
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

import xentrs as xe
import xentrs.dask
import xentrs.distributed
from run import HERE, machine, slug
from xentrs.models import LogisticRegression
from xentrs.models.parts import ProblemOfParts
from xentrs.models.standardised import Standardised

FEATURES, CLASSES, ITERATIONS = 100, 5, 6
GOAL = 1.25


@contextlib.contextmanager
def timed(problem: type) -> Iterator[list[float]]:
    """The seconds of each step that a solver asks a problem of this class for."""
    times: list[float] = []
    step = problem.__call__

    def watched(self: Any, state: Any) -> Any:
        start = time.perf_counter()
        answer = step(self, state)
        times.append(time.perf_counter() - start)
        return answer

    problem.__call__ = watched  # type: ignore[method-assign]
    try:
        yield times
    finally:
        problem.__call__ = step  # type: ignore[method-assign]


def model() -> LogisticRegression:
    return LogisticRegression(max_iter=ITERATIONS, tol=None)


def part(i: int, rows: int) -> tuple[Any, Any]:
    """Some of the samples, made where they are needed."""
    rng = np.random.default_rng(i)
    X = rng.standard_normal((rows, FEATURES))
    return X, (X[:, :CLASSES] + rng.gumbel(size=(rows, CLASSES))).argmax(axis=1)


def steps(times: list[float]) -> tuple[float, float]:
    """Median and least, without the first step, in which samples are made and standardised."""
    return statistics.median(times[1:]), min(times[1:])


def measure(rows: int) -> Iterator[tuple[str, int, float, float, float, bytes]]:
    """Who, chunks, median and least of a step, seconds of the whole fit, and the weights."""
    from dask import delayed
    from distributed import Client, LocalCluster

    whole = part(0, rows)
    for threads in (1, 2):
        with xe.threads(threads), timed(Standardised) as times:
            start = time.perf_counter()
            fitted = model().fit(*whole)
            seconds = time.perf_counter() - start
            yield f"one process, {threads} threads", 1, *steps(times), seconds, fitted.coef_.tobytes()
    for chunks in (2, 4, 20):
        parts = [tuple(array[i * rows // chunks : (i + 1) * rows // chunks] for array in whole) for i in range(chunks)]
        with ThreadPoolExecutor(2) as pool, timed(ProblemOfParts) as times:
            xe.set_num_threads(1)
            start = time.perf_counter()
            fitted = xe.distributed.fit(model(), parts, map=pool.map)
            yield "threads, 2 workers", chunks, *steps(times), time.perf_counter() - start, fitted.coef_.tobytes()
    del whole, parts
    for workers in (1, 2):
        with (
            LocalCluster(
                n_workers=workers, threads_per_worker=1, dashboard_address=None, silence_logs=logging.CRITICAL
            ) as cluster,
            Client(cluster),
        ):
            for chunks in (2, 4, 20):
                parts = [delayed(part)(i, rows // chunks) for i in range(chunks)]
                with timed(ProblemOfParts) as times:
                    start = time.perf_counter()
                    fitted = xe.dask.fit(model(), parts)
                    seconds = time.perf_counter() - start
                yield f"Dask, {workers} workers", chunks, *steps(times), seconds, fitted.coef_.tobytes()


def table(rows: int) -> Iterator[str]:
    """The lines of the record."""
    what = f"{CLASSES} classes, {ITERATIONS} iterations of LogisticRegression"
    yield f"# {rows} x {FEATURES} float64, {what}; milliseconds a step"
    yield f"{'':28} {'chunks':>6} {'median':>8} {'least':>8} {'overhead':>8} {'fit, s':>8}"
    base, bits = 0.0, dict[tuple[str, int], bytes]()
    for who, chunks, median, least, seconds, weights in measure(rows):
        base = median if who == "one process, 2 threads" else base
        overhead = f"{median / base:8.2f}" if base else f"{'':8}"
        note = ""
        if who.startswith("Dask"):
            note = "" if bits.setdefault(("Dask", chunks), weights) == weights else "  OTHER BITS"
        yield f"{who:28} {chunks:6} {1e3 * median:8.1f} {1e3 * least:8.1f} {overhead} {seconds:8.1f}{note}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    rows = parser.parse_args().rows
    warnings.simplefilter("ignore")
    about = machine() | {"command": "python benches/many_workers.py"}
    lines = [f"# {key}: {value}" for key, value in about.items()]
    for line in table(rows):
        print(line, flush=True)
        lines.append(line)
    if rows == parser.get_default("rows"):
        place = Path(HERE) / "record" / f"many-workers-{slug(about)}.txt"
        place.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
