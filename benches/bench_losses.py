"""Every row of table.csv through the Python API: the loss, its gradient, its gradient in place. Run by `make bench`.

The answer is checked before anything is timed, and a debug build is refused. The same table drives losses.rs, which
times the Rust API without Python.
"""

import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import xentrs as xe
from checks import assert_close
from registry import CASES, Case

Array = np.ndarray[Any, Any]


class Work(NamedTuple):
    """A row of the table, with its data."""

    case: Case
    logits: Array
    target: Array


def rows_of_the_table() -> Iterator[Any]:
    with open(Path(__file__).with_name("table.csv"), newline="", encoding="utf-8") as table:
        for row in csv.DictReader(table):
            yield pytest.param(row, id="-".join(row.values()))


@pytest.fixture(scope="module", autouse=True)
def release_build() -> None:
    if (profile := xe.build_info()["profile"]) != "release":
        pytest.exit(f"benchmarks need a release build of xentrs, got {profile}: run make bench", returncode=1)


@pytest.fixture(scope="module", params=rows_of_the_table())
def work(request: pytest.FixtureRequest) -> Work:
    """The data of one row, drawn once for all its benchmarks."""
    loss, shape, dtype = request.param["loss"], request.param["shape"], np.dtype(request.param["dtype"]).type
    (case,) = (case for case in CASES if case.name == loss)
    rng = np.random.default_rng(0)
    logits = 5 * rng.standard_normal(tuple(map(int, shape.split("x"))), dtype)
    target = next(iter(case.targets.values()))(rng, dtype, logits.shape)
    work = Work(case, logits, np.maximum(target, 0))  # ignored rows would flatter
    check(work)
    return work


def check(work: Work) -> None:
    """The call that is to be timed is right: its first rows agree with the oracle, its mean with all of them.

    The oracle compares every class with every other, so while it looks only 256 classes of those rows are possible.
    """
    case, logits, target = work
    few = slice(0, 8)
    whole = logits[few].copy()
    seen = slice(None)
    if case.has_class_axis and logits.shape[-1] > 256:
        seen = np.union1d(target[few], np.linspace(0, logits.shape[-1] - 1, 248, dtype=int))
        logits[few] = -np.inf
        logits[few, seen] = whole[:, seen]
        truth = case.oracle(logits[few, seen], np.searchsorted(seen, target[few]))
    else:
        truth = case.oracle(whole, target[few])

    dtype = logits.dtype.type
    losses, grad = case.loss_with_grad(logits, target, reduction="none")
    assert_close(losses[few], truth.loss, case.loss_rtol[dtype], note="loss")
    assert_close(grad[few][..., seen], truth.grad, case.grad_rtol[dtype], truth.size, note="grad")
    assert_close(np.float64(case.loss(logits, target)), losses.mean(dtype=np.float64), 1e-6, note="mean")
    logits[few] = whole


def time(benchmark: Any, work: Work, passes: int, function: Callable[..., Any], logits: Array, **options: Any) -> None:
    """Times a call, and notes what its figure means: bytes moved by the fastest round, instruction set, threads."""
    info = xe.build_info()
    benchmark.group = f"{work.case.name} {'x'.join(map(str, logits.shape))} {logits.dtype}"
    benchmark.extra_info |= {"isa": info["isa"], "threads": info["num_threads"]}
    benchmark(function, logits, work.target, **options)
    if benchmark.stats:  # absent under --benchmark-disable
        benchmark.extra_info["GB/s"] = round(passes * logits.nbytes / benchmark.stats["min"] / 1e9, 2)


def bench_loss(benchmark: Any, work: Work) -> None:
    time(benchmark, work, 1, work.case.loss, work.logits)


def bench_gradient(benchmark: Any, work: Work) -> None:
    time(benchmark, work, 2, work.case.loss_with_grad, work.logits, out=np.empty_like(work.logits))


def bench_gradient_in_place(benchmark: Any, work: Work) -> None:
    # From the second round on these are gradients of gradients: other numbers, the same work.
    scratch = work.logits.copy()
    time(benchmark, work, 2, work.case.loss_with_grad, scratch, out=scratch)
