"""Two builds of xentrs in turns, row by row of the table: is anything slower than it was?

python benches/compare.py OTHER            every row; OTHER is the `python/` folder of another checkout that is built
python benches/compare.py OTHER 1x10 1024  the rows whose names hold one of these words

Each build runs in a process of its own. The two take turns, so that a slow moment of the machine meets both. A ratio
below 1 means that this checkout is the faster one. Both keep the memory that they have freed.
"""

import argparse
import os
import statistics
import subprocess
import sys
import timeit
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
SECONDS = 0.01
"""Of one turn."""

KEPT_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": str(2**30),
    "MALLOC_TRIM_THRESHOLD_": str(2**32),
    "MALLOC_TOP_PAD_": str(2**26),
}
"""Settings of glibc's allocator, by which it keeps what is freed.

Whether a large array is made of fresh pages, which take longer than many a loss, would else depend on the calls before.
"""


def work() -> None:
    """Answer each line of standard input, a row, a call and how often, by the seconds of one call."""
    from run import rows
    from xentrs.bench.work import IN_PLACE, XENTRS, Work

    table, row, calls, data = rows(), "", {}, None
    for line in sys.stdin:
        name, call, loops = line.rstrip("\n").split("|")
        if name != row:
            row, data = name, Work(next(found for found in table if found.name == name))
            calls = XENTRS.calls(data)
        if call not in calls:
            print(-1.0, flush=True)
            continue
        if call == IN_PLACE:
            data.out[...] = data.logits
        timer = timeit.Timer(calls[call])
        timer.timeit(1)
        print(timer.timeit(int(loops)) / int(loops), flush=True)


class Build:
    """A worker on one of the two builds."""

    def __init__(self, package: Path) -> None:
        environment = os.environ | KEPT_MEMORY | {"PYTHONPATH": os.pathsep.join([str(package), str(HERE)])}
        command = [sys.executable, __file__, "--worker", "."]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, encoding="utf-8"
        )

    def seconds(self, row: str, call: str, loops: int) -> float:
        pipe: Any = self.process
        print(f"{row}|{call}|{loops}", file=pipe.stdin, flush=True)
        return float(pipe.stdout.readline())


def compared(builds: list[Build], row: str, call: str, rounds: int) -> Iterator[list[float]]:
    """The seconds of a call by each build, in every round; nothing where there is no such call."""
    once = [min(build.seconds(row, call, 2) for _ in range(2)) for build in builds]
    if min(once) <= 0:
        return
    loops = max(1, round(SECONDS / max(once)))
    for _ in range(rounds):
        yield [build.seconds(row, call, loops) for build in builds]


def compare(options: argparse.Namespace) -> None:
    from run import rows

    builds = [Build(HERE.parent / "python"), Build(options.other)]
    print(f"{'':<40}{'':<10}{'this':>12}{'other':>12}{'median':>9}{'minimum':>9}")
    for row in rows():
        if options.words and not any(word in row.name for word in options.words):
            continue
        for call in ("loss", "gradient", "in place"):
            times = list(compared(builds, row.name, call, options.rounds))
            if not times:
                continue
            ours, theirs = map(list, zip(*times, strict=True))
            median = statistics.median(a / b for a, b in times)
            line = f"{row.name:<40}{call:<10}{1e6 * min(ours):>9.2f} µs{1e6 * min(theirs):>9.2f} µs"
            print(f"{line}{median:>9.3f}{min(ours) / min(theirs):>9.3f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("other", type=Path, help="the `python/` folder of the other checkout")
    parser.add_argument("words", nargs="*", help="rows whose names hold one of these words")
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work()
    else:
        compare(options)


if __name__ == "__main__":
    main()
