"""What a new array for each gradient costs, and what takes the cost away.

python benches/new_arrays.py > benches/record/new-arrays-<cpu>-<date>.txt

Three ways to get the gradient of softmax cross-entropy, in turns: into one array that is reused (`out=`), into an array
that the call makes, and the same in a process whose allocator keeps what it has freed (Linux with glibc).
"""

import os
import statistics
import subprocess
import sys
import timeit

import numpy as np

import xentrs as xe
from compare import KEPT_MEMORY
from run import machine

SHAPES = [(1024, 100), (65536, 10), (4096, 1000), (2048, 32000)]
ROUNDS, SECONDS = 15, 0.05
WAYS = ("out=", "new array", "new, kept")


def work() -> None:
    """Answer each line of standard input, a shape and a way, by the milliseconds of one call."""
    data = {}
    for rows, classes in SHAPES:
        random = np.random.default_rng(0)
        logits = random.normal(size=(rows, classes)).astype(np.float32)
        data[rows, classes] = logits, random.integers(classes, size=rows), np.empty_like(logits)
    for line in sys.stdin:
        rows, classes, reuse = map(int, line.split())
        logits, target, out = data[rows, classes]
        options = {"out": out} if reuse else {}
        timer = timeit.Timer(lambda x=logits, y=target, o=options: xe.softmax_cross_entropy_with_grad(x, y, **o))
        loops = max(1, round(SECONDS / timer.timeit(1)))
        print(1e3 * timer.timeit(loops) / loops, flush=True)


def main() -> None:
    """Print the table."""
    plain, keeping = (
        subprocess.Popen(
            [sys.executable, __file__, "--worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env
        )
        for env in (dict(os.environ), os.environ | KEPT_MEMORY)
    )
    print(f"# python benches/new_arrays.py: milliseconds, medians of {ROUNDS} rounds; float32")
    print("# " + "; ".join(f"{key} {value}" for key, value in machine().items()))
    print("# kept: " + " ".join(f"{name}={value}" for name, value in KEPT_MEMORY.items()))
    print(f"{'shape':<14}" + "".join(f"{way:>12}" for way in WAYS) + f"{'new / out=':>13}{'kept / out=':>13}")
    for rows, classes in SHAPES:
        times: dict[str, list[float]] = {way: [] for way in WAYS}
        for _ in range(ROUNDS):
            for way, worker in zip(WAYS, (plain, plain, keeping), strict=True):
                print(rows, classes, int(way == "out="), file=worker.stdin, flush=True)
                times[way].append(float(worker.stdout.readline()))
        reused, new, kept = (statistics.median(times[way]) for way in WAYS)
        line = f"{rows}x{classes}"
        print(
            f"{line:<14}{reused:>12.3f}{new:>12.3f}{kept:>12.3f}{new / reused:>13.2f}{kept / reused:>13.2f}", flush=True
        )


if __name__ == "__main__":
    work() if "--worker" in sys.argv else main()
