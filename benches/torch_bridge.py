"""`xentrs.torch` beside PyTorch: a step forward and back, its time and its peak of memory.

python benches/torch_bridge.py               measures, prints the table, writes benches/record/torch-<cpu>-<date>.csv
python benches/torch_bridge.py --show RECORD prints the table of a record

Contestants take turns on the same tensors, with as many threads each. Losses are held against PyTorch's before anything
is timed, in half precision against its loss of widened logits. The peak is that of the process, over what it held
before the step.
"""

import argparse
import csv
import itertools
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.nn.functional import cross_entropy, linear

import xentrs as xe
import xentrs.torch as xt
from run import HERE, machine, slug

ROUNDS = 9
PYTORCH = "PyTorch"


class Row(NamedTuple):
    """A work of a contestant: what it took."""

    work: str
    contestant: str
    median: float
    minimum: float
    peak: int
    """Bytes."""
    reach: float | None
    """How many times as fast as PyTorch it is meant to be."""


class Source(torch.autograd.Function):
    """Logits that are no leaf, as those of a model, and cost nothing to make: they lie in a buffer."""

    @staticmethod
    def forward(ctx: Any, anchor: torch.Tensor, buffer: torch.Tensor) -> torch.Tensor:
        return buffer.detach()

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Any:
        return None, None


Step = Callable[[], float]
Works = Iterator[tuple[str, torch.Tensor, dict[str, tuple[Step, float | None]]]]


def of_logits(n: int, c: int, dtype: torch.dtype, reach: float | None, reach_in_place: float | None) -> Works:
    """The loss of logits that are there, and its gradient to them."""
    torch.manual_seed(0)
    anchor = torch.zeros(1, requires_grad=True)
    logits, target = (3 * torch.randn(n, c)).to(dtype), torch.randint(c, (n,))
    buffer = logits.clone()

    def step(loss: Any, place: torch.Tensor, **options: Any) -> Step:
        def run() -> float:
            value = loss(Source.apply(anchor, place), target, **options)
            value.backward()
            return value.item()

        return run

    def in_place() -> float:
        value = xt.cross_entropy(Source.apply(anchor, buffer), target, inplace=True)
        value.backward()
        return value.item()

    name = f"{n} x {c} {str(dtype).removeprefix('torch.')}"
    yield (
        f"{name}, forward and back",
        cross_entropy(logits.float(), target),
        {
            PYTORCH: (step(cross_entropy, logits), None),
            "xentrs": (step(xt.cross_entropy, logits), reach),
            "xentrs, deferred": (step(xt.cross_entropy, logits, differentiable=True), None),
            "xentrs, in place": (in_place, reach_in_place),
        },
    )
    yield (
        f"{name}, loss alone",
        cross_entropy(logits.float(), target),
        {
            PYTORCH: (lambda: cross_entropy(logits, target).item(), None),
            "xentrs": (lambda: xt.cross_entropy(logits, target).item(), None),
        },
    )


def of_a_head(n: int, d: int, c: int, dtype: torch.dtype, reach: float | None) -> Works:
    """A step of the head of a language model: products, the loss, all gradients."""
    torch.manual_seed(0)
    x = torch.randn(n, d).to(dtype).requires_grad_()
    weight = (torch.randn(c, d) / d**0.5).to(dtype).requires_grad_()
    target = torch.randint(c, (n,))

    def step(loss: Callable[[], torch.Tensor]) -> Step:
        def run() -> float:
            value = loss()
            value.backward()
            x.grad = weight.grad = None
            return value.item()

        return run

    with torch.no_grad():
        expected = cross_entropy(linear(x.float(), weight.float()), target)
    yield (
        f"head {n} x {d} -> {c} {str(dtype).removeprefix('torch.')}",
        expected,
        {
            PYTORCH: (step(lambda: cross_entropy(linear(x, weight), target)), None),
            "xentrs": (step(lambda: xt.cross_entropy(linear(x, weight), target)), None),
            "xentrs, in place": (step(lambda: xt.cross_entropy(linear(x, weight), target, inplace=True)), None),
            "xentrs, fused": (step(lambda: xt.linear_cross_entropy(x, weight, target)), reach),
        },
    )


def works() -> Works:
    """All of them, one at a time: each holds its data."""
    yield from of_logits(64, 10, torch.float32, None, None)
    yield from of_logits(256, 1000, torch.float32, None, None)
    yield from of_logits(4096, 1000, torch.float32, 3.0, None)
    yield from of_logits(2048, 32000, torch.float32, 3.5, 6.0)
    yield from of_logits(2048, 32000, torch.bfloat16, None, None)
    yield from of_a_head(256, 512, 1000, torch.float32, None)
    yield from of_a_head(512, 256, 32000, torch.float32, 1.5)
    yield from of_a_head(512, 256, 32000, torch.bfloat16, 1.9)


def peak(step: Step) -> int:
    """Bytes that a step holds at its most, over those from before; 0 where the system does not say."""

    def read(key: str) -> int:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{key}:"))

    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # the peak begins anew
        before = read("VmRSS")
        step()
        return max(0, read("VmHWM") - before)
    except OSError:
        return 0


def measured(rounds: int = ROUNDS) -> Iterator[list[Row]]:
    """Check the answers, and let all take turns."""
    for name, expected, steps in works():
        for contestant, (step, _) in steps.items():
            found = step()  # the first time, so in place too these are the logits
            tolerance = 1e-2 if "16" in name else 1e-4  # PyTorch's loss of half precision is of half precision
            if abs(found - expected.item()) > tolerance * expected.item():
                raise RuntimeError(f"{name}: {contestant} says {found}, expected {expected}")
        loops = 200 if name.startswith("64 ") else 1
        times: dict[str, list[float]] = {contestant: [] for contestant in steps}
        for _, (contestant, (step, _)) in itertools.product(range(rounds), steps.items()):
            begin = time.perf_counter()
            for _ in range(loops):
                step()
            times[contestant].append((time.perf_counter() - begin) / loops)
        yield [
            Row(
                name, contestant, statistics.median(taken), min(taken), peak(steps[contestant][0]), steps[contestant][1]
            )
            for contestant, taken in times.items()
        ]


def lines(rows: list[Row]) -> Iterator[str]:
    """A line for each contestant of a work."""
    base = next(row for row in rows if row.contestant == PYTORCH)
    for row in rows:
        reach = "" if row.reach is None else f"   reach {row.reach:g} x"
        yield (
            f"{row.work:<42}{row.contestant:<18}{1e3 * row.median:10.3f} ms {base.median / row.median:6.2f} x"
            f" (minima {base.minimum / row.minimum:5.2f} x) {row.peak / 2**20:8.1f} MiB{reach}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--show", metavar="RECORD", type=Path, help="print the table of a record instead of measuring")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args()
    if options.show:
        with open(options.show, newline="", encoding="utf-8") as file:
            found = csv.DictReader(line for line in file if not line.startswith("#"))
            rows = [
                Row(
                    r["work"],
                    r["contestant"],
                    float(r["median"]),
                    float(r["minimum"]),
                    int(r["peak"]),
                    float(r["reach"]) if r["reach"] else None,
                )
                for r in found
            ]
        for _, of_work in itertools.groupby(rows, key=lambda row: row.work):
            print("\n".join(lines(list(of_work))))
        return
    torch.set_num_threads(xe.get_num_threads())
    rows = []
    for of_work in measured(options.rounds):
        print(*lines(of_work), sep="\n", flush=True)
        rows += of_work
    about = machine() | {"torch": torch.__version__}
    path = HERE / "record" / f"torch-{slug(about)}.csv"
    with open(path, "w", newline="", encoding="utf-8") as file:
        file.writelines(f"# {key}: {said}\n" for key, said in about.items())
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(Row._fields)
        writer.writerows(
            [work, who, f"{m:.4g}", f"{least:.4g}", size, "" if r is None else r]
            for work, who, m, least, size, r in rows
        )
    print(f"\nrecord: {path}")


if __name__ == "__main__":
    main()
