"""Contrastive losses with all gradients beside PyTorch's: time in turns, and the peak of memory, a process each.

python benches/contrastive.py      prints, and writes benches/record/contrastive-<cpu>-<date>.txt
"""

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import xentrs as xe

N, D, TEMPERATURE, BIAS = 4096, 256, 0.07, -10.0
Call = Callable[[], tuple[Any, ...]]


def views() -> list[Any]:
    rng = np.random.default_rng(0)
    drawn = (rng.standard_normal((N, D)) for _ in range(2))
    return [(view / np.linalg.norm(view, axis=1, keepdims=True)).astype(np.float32) for view in drawn]


def ours() -> dict[str, Call]:
    x, y = views()
    return {
        "info_nce": lambda: xe.info_nce_with_grad(x, y, temperature=TEMPERATURE),
        "siglip_loss": lambda: xe.siglip_loss_with_grad(x, y, temperature=TEMPERATURE, bias=BIAS),
    }


def pytorchs() -> dict[str, Call]:
    import torch
    from torch.nn.functional import cross_entropy, logsigmoid

    torch.set_num_threads(xe.get_num_threads())
    x, y = (torch.from_numpy(view).requires_grad_() for view in views())
    temperature, bias = (torch.tensor(number, requires_grad=True) for number in (TEMPERATURE, BIAS))
    places, sign = torch.arange(N), 2 * torch.eye(N) - 1

    def info_nce() -> tuple[Any, ...]:
        logits = x @ y.T / temperature
        loss = (cross_entropy(logits, places) + cross_entropy(logits.T, places)) / 2
        return loss.item(), *(grad.numpy() for grad in torch.autograd.grad(loss, [x, y, temperature]))

    def siglip_loss() -> tuple[Any, ...]:
        loss = -logsigmoid(sign * (x @ y.T / temperature + bias)).sum() / N
        return loss.item(), *(grad.numpy() for grad in torch.autograd.grad(loss, [x, y, temperature, bias]))

    return {"info_nce": info_nce, "siglip_loss": siglip_loss}


WHO: dict[str, Callable[[], dict[str, Call]]] = {"xentrs": ours, "PyTorch": pytorchs}


def mebibytes(who: str, loss: str) -> int:
    """What a call needs at most beside what was there before it, which is data, threads and code."""
    command = [sys.executable, __file__, "--peak", who, loss]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def peak(who: str, loss: str) -> int:
    call = WHO[who]()[loss]
    np.ones((512, 512), np.float32) @ np.ones((512, 512), np.float32)  # BLAS takes what it keeps
    Path("/proc/self/clear_refs").write_text("5")  # the peak of before is forgotten
    before = resident("VmRSS")
    call()
    return (resident("VmHWM") - before) // 1024


def resident(field: str) -> int:
    """KiB of memory that this process has (VmRSS), or had at most (VmHWM); of Linux alone."""
    status = Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in status if line.startswith(field))
    return int(line.split()[1])


def measured(rounds: int) -> list[str]:
    lines = [
        f"{N} pairs of {D} features, float32, loss and all gradients, {xe.get_num_threads()} threads, {rounds} rounds"
    ]
    calls = {who: make() for who, make in WHO.items()}
    for loss in calls["xentrs"]:
        answers = {who: calls[who][loss]() for who in WHO}
        for mine, theirs in zip(*answers.values(), strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-7)
        taken: dict[str, list[float]] = {who: [] for who in WHO}
        for _ in range(rounds):
            for who, seconds in taken.items():
                begin = time.perf_counter()
                calls[who][loss]()
                seconds.append(time.perf_counter() - begin)
        for who, seconds in taken.items():
            figures = f"median {1e3 * statistics.median(seconds):5.0f} ms, minimum {1e3 * min(seconds):5.0f} ms"
            lines.append(f"{loss:12} {who:8} {figures}, peak {mebibytes(who, loss):4} MiB")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peak", nargs=2, metavar=("WHO", "LOSS"), help="the peak of memory alone, in MiB")
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    if options.peak:
        print(peak(*options.peak))
        return
    from run import HERE, machine, slug

    lines, about = measured(options.rounds), machine()
    print(*lines, sep="\n")
    with open(Path(HERE) / "record" / f"contrastive-{slug(about)}.txt", "w", encoding="utf-8") as record:
        record.writelines(f"# {key}: {value}\n" for key, value in about.items())
        record.writelines(f"{line}\n" for line in lines)


if __name__ == "__main__":
    main()
