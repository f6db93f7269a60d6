"""Evaluation of a file, beside reading the file alone: time in turns, and the peak of memory.

python benches/evaluate.py FOLDER      makes 5 GB there, prints, removes them; writes a record
                                       benches/record/evaluate-<cpu>-<date>.txt

Each measurement is a process of its own. "cached": the file is in the system's cache; "disk": it was dropped from it.
Peaks are beside what the process had before, with modules loaded and the threads awake.
"""

import argparse
import mmap
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import xentrs as xe

ROWS, CLASSES = 40_000, 32_000
BLOCK = 32 << 20


def make(folder: Path, rows: int) -> None:
    rng = np.random.default_rng(0)
    logits = np.lib.format.open_memmap(folder / "logits.npy", "w+", np.float32, (rows, CLASSES))
    some = rng.normal(size=(500, CLASSES)).astype(np.float32)
    for start in range(0, rows, 500):
        logits[start : start + 500] = some * np.float32(1 + start / rows)
    logits.flush()
    np.save(folder / "labels.npy", rng.integers(0, CLASSES, rows))


def mapped(folder: Path) -> None:
    """The file mapped, summed block by block, each page given back: what NumPy does of it at the least."""
    logits = np.load(folder / "logits.npy", mmap_mode="r").reshape(-1)
    pages: mmap.mmap = logits.base._mmap if hasattr(logits.base, "_mmap") else logits._mmap
    step = BLOCK // logits.itemsize
    for start in range(0, logits.size, step):
        logits[start : start + step].sum()
        pages.madvise(mmap.MADV_DONTNEED, start * logits.itemsize, min(BLOCK, len(pages) - start * logits.itemsize))


def read(folder: Path) -> None:
    """The file read into one buffer again and again, which nobody looks at."""
    buffer = bytearray(BLOCK)
    with open(folder / "logits.npy", "rb", buffering=0) as file:
        while file.readinto(buffer):
            pass


def evaluated(folder: Path) -> None:
    xe.evaluate(folder / "logits.npy", folder / "labels.npy", verbose=False)


def evaluated_with_classes(folder: Path) -> None:
    options = {"top_k": 5, "per_class": True}
    xe.evaluate(folder / "logits.npy", folder / "labels.npy", verbose=False, **options)


WHO: dict[str, Callable[[Path], None]] = {
    "read into a buffer": read,
    "mapped and summed": mapped,
    "xentrs.evaluate": evaluated,
    "... top 5, classes": evaluated_with_classes,
}


def resident(field: str) -> int:
    """KiB of memory that this process has (VmRSS), or had at most (VmHWM); of Linux alone."""
    status = Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in status if line.startswith(field))
    return int(line.split()[1])


def alone(who: str, folder: Path) -> str:
    xe.Evaluation().update(np.zeros((100, 10_000), np.float32), np.zeros(100, int))
    Path("/proc/self/clear_refs").write_text("5")  # the peak of before is forgotten
    before, begin = resident("VmRSS"), time.perf_counter()
    WHO[who](folder)
    seconds = time.perf_counter() - begin
    return f"{seconds} {(resident('VmHWM') - before) / 1024}"


def measured(folder: Path, rounds: int) -> list[str]:
    size = (folder / "logits.npy").stat().st_size
    lines = [f"{size / 1e9:.2f} GB of float32, {CLASSES} classes, {xe.get_num_threads()} threads, {rounds} rounds"]
    for state in ("cached", "disk"):
        rates: dict[str, list[float]] = {who: [] for who in WHO}
        peaks: dict[str, list[float]] = {who: [] for who in WHO}
        read(folder)
        for _ in range(rounds):
            for who in WHO:
                if state == "disk":
                    with open(folder / "logits.npy", "rb") as file:
                        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
                command = [sys.executable, __file__, str(folder), "--alone", who]
                seconds, peak = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
                rates[who].append(size / float(seconds) / 1e9)
                peaks[who].append(float(peak))
        alone = max(statistics.median(rates[who]) for who in list(WHO)[:2])
        for who in WHO:
            median = statistics.median(rates[who])
            lines.append(
                f"{state:6} {who:18} median {median:5.2f} GB/s, best {max(rates[who]):5.2f} GB/s, "
                f"{median / alone:4.2f} of reading alone, peak {max(peaks[who]):4.0f} MiB"
            )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--alone", choices=list(WHO), help="one measurement in this process")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--keep", action="store_true", help="leave the files where they are")
    options = parser.parse_args()
    if options.alone:
        print(alone(options.alone, options.folder))
        return
    from run import HERE, machine, slug

    if not (options.folder / "logits.npy").exists():
        make(options.folder, options.rows)
    try:
        lines, about = measured(options.folder, options.rounds), machine()
    finally:
        if not options.keep:
            for name in ("logits.npy", "labels.npy"):
                (options.folder / name).unlink()
    about["command"] = f"python benches/evaluate.py FOLDER --rounds {options.rounds}"
    print(*lines, sep="\n")
    with open(Path(HERE) / "record" / f"evaluate-{slug(about)}.txt", "w", encoding="utf-8") as record:
        record.writelines(f"# {key}: {value}\n" for key, value in about.items())
        record.writelines(f"{line}\n" for line in lines)


if __name__ == "__main__":
    main()
