"""The benchmark: xentrs beside its peers and beside the limit of the memory, contestants taking turns.

``python -m xentrs bench`` runs a short version, with NumPy as the only peer. ``make bench`` runs ``benches/run.py``,
which adds the whole table, the other peers and the record. How figures are taken, and why so, is told in
``docs/decisions/benchmarks.md``.

For each row of the table and each contestant:

1. the answer is checked against a formula in float64, and where one is wrong, nothing is measured;
2. the contestants take turns, round after round, in loops long enough for the clock, and with them the limit: plain
   threads that read the same bytes once, or read and write them once;
3. median and minimum over the rounds become one `Figure` each, and the table is made of figures alone.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Sequence

from .._core import build_info
from .contest import Figure, measure
from .table import LEGEND, lines
from .work import WORKS, XENTRS, Contestant, Row, WrongAnswerError

SUMMARY = "time the losses beside their peers and beside the limit of the memory"

SHORT = [  # rows of benches/table.csv, which is not a part of the package
    Row("softmax_cross_entropy", (1, 10)),
    Row("softmax_cross_entropy", (1024, 10)),
    Row("softmax_cross_entropy", (65536, 10)),
    Row("softmax_cross_entropy", (4096, 1000)),
    Row("softmax_cross_entropy", (2048, 32000)),
    Row("sigmoid_cross_entropy", (1000,)),
    Row("sigmoid_cross_entropy", (10_000_000,)),
]
"""What users run on their own machine."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a benchmark."""
    parser.add_argument("--quick", action="store_true", help="small shapes and three rounds: proves that all works")


def run(
    rows: Iterable[Row],
    contestants: Sequence[Contestant],
    missing: Sequence[str] = (),
    quick: bool = False,
    works: Sequence[str] = WORKS,
) -> tuple[list[Figure], list[str]]:
    """Measure rows, print the table line by line, and return its figures and what was wrong.

    A row where an answer is wrong has no figures, and the others go on. Another build than that of the wheels is
    refused, unless `quick`: then the figures are none that one could quote.
    """
    info = build_info()
    if info["profile"] != "release" and not quick:
        sys.exit(f"a {info['profile']} build says nothing about speed: install a wheel, or run `make bench`")
    versions = ", ".join(f"{contestant.name} {contestant.version}" for contestant in contestants)
    threads = f"{info['num_threads']} threads of {os.cpu_count()} cores"
    print(f"{versions}; {info['isa']}, {threads}, {info['profile']} build")
    for name in missing:
        print(f"{name} is not installed: no column")
    figures: list[Figure] = []
    wrong: list[str] = []
    for row in rows:
        try:
            new = list(measure(row, contestants, quick, works))
        except WrongAnswerError as error:
            wrong.append(str(error))
            continue
        head, *body = lines(new, all_peers=not missing, peers=[who.name for who in contestants if who is not XENTRS])
        print("\n".join(body if figures else ["", head, *body]), flush=True)
        figures += new
    print(f"\n{LEGEND}")
    for answer in wrong:
        print(f"not measured, since an answer is wrong: {answer}")
    return figures, wrong
