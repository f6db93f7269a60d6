"""Every row of table.csv through pytest-benchmark, xentrs alone: to hold one commit against another while working.

    pytest benches -k '1x10 and loss' --timeout 0 --benchmark-autosave       and, after the change,
    pytest benches -k '1x10 and loss' --timeout 0 --benchmark-compare

Data, calls and the check of the answers are those of `xentrs.bench`, which runs the contest with the peers.
"""

from typing import Any

import numpy as np
import pytest

from run import rows
from xentrs import build_info
from xentrs.bench.work import IN_PLACE, WORKS, XENTRS, Work, check


@pytest.fixture(scope="module", autouse=True)
def release_build() -> None:
    if (profile := build_info()["profile"]) != "release":
        pytest.exit(f"benchmarks need a release build of xentrs, got {profile}: run make bench", returncode=1)


@pytest.fixture(scope="module", params=rows(), ids=lambda row: row.name.replace(" ", "-"))
def work(request: pytest.FixtureRequest) -> Work:
    """The data of one row, drawn once for all its benchmarks."""
    return Work(request.param)


@pytest.mark.parametrize("call", WORKS)
def bench_xentrs(benchmark: Any, work: Work, call: str) -> None:
    function = XENTRS.calls(work).get(call)
    if function is None:
        pytest.skip("this function has no such gradient, or one that is none of its inputs")
    if call == IN_PLACE:
        np.copyto(work.out, work.logits)
    check(XENTRS.name, call, function(), work, XENTRS.rtol[work.row.dtype])
    info = build_info()
    benchmark.group = work.row.name
    benchmark.extra_info |= {"isa": info["isa"], "threads": info["num_threads"]}
    benchmark(function)
    if benchmark.stats:  # absent under --benchmark-disable
        benchmark.extra_info["GB/s"] = round(work.bytes(call) / benchmark.stats["min"] / 1e9, 2)
