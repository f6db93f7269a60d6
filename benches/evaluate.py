"""Evaluation of a file, beside reading the file alone: time in turns, and the peak of memory.

python benches/evaluate.py FOLDER      makes files of 8 GB there, prints, removes them; writes a record
                                       benches/record/evaluate-<cpu>-<date>.txt

Each measurement is a process of its own. "cached": the file is in the system's cache; "disk": it was dropped from it.
Peaks are beside what the process had before, with modules loaded and the threads awake.
"""

import argparse
import mmap
import os
import shutil
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


def make_formats(folder: Path) -> None:
    """The same logits in all formats; rounded where they are compressed, as noise has nothing to compress."""
    import h5py
    import pyarrow as pa
    import pyarrow.parquet as pq
    import zarr
    from safetensors.numpy import save_file

    rng = np.random.default_rng(0)
    arrays = {"logits": rng.normal(size=(30_000, 4000)).astype(np.float32), "label": rng.integers(0, 4000, 30_000)}
    np.savez(folder / "stored.npz", **arrays)
    np.savez_compressed(folder / "compressed.npz", **{name: array[:8000].round(1) for name, array in arrays.items()})
    save_file(arrays, folder / "logits.safetensors")
    group = zarr.open_group(folder / "chunks.zarr", mode="w")
    with h5py.File(folder / "contiguous.h5", "w") as whole, h5py.File(folder / "chunks.h5", "w") as chunked:
        for name, array in arrays.items():
            chunks = (1000, *array.shape[1:])
            whole.create_dataset(name, data=array)
            chunked.create_dataset(name, data=array, chunks=chunks)
            group.create_array(name, data=array, chunks=chunks)
    lists = pa.FixedSizeListArray.from_arrays(pa.array(arrays["logits"].ravel()), 4000)
    pq.write_table(
        pa.table({"logits": lists, "label": arrays["label"]}), folder / "lists.parquet", row_group_size=10_000
    )


FORMATS = "stored.npz compressed.npz logits.safetensors contiguous.h5 chunks.h5 chunks.zarr lists.parquet".split()

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
    if who in FORMATS:
        xe.evaluate(folder / who, folder / who, rows=(0, 1))  # imports the package
    Path("/proc/self/clear_refs").write_text("5")  # the peak of before is forgotten
    before, begin = resident("VmRSS"), time.perf_counter()
    if who in FORMATS:
        xe.evaluate(folder / who, folder / who, verbose=False)
    else:
        WHO[who](folder)
    seconds = time.perf_counter() - begin
    return f"{seconds} {(resident('VmHWM') - before) / 1024}"


def measured(folder: Path, rounds: int, states: list[str]) -> list[str]:
    size = (folder / "logits.npy").stat().st_size
    lines = [f"{size / 1e9:.2f} GB of float32, {CLASSES} classes, {xe.get_num_threads()} threads, {rounds} rounds"]
    for state in [state for state in ("cached", "disk") if state in states]:
        rates: dict[str, list[float]] = {who: [] for who in WHO}
        peaks: dict[str, list[float]] = {who: [] for who in WHO}
        read(folder)
        for _ in range(rounds):
            for who in WHO:
                if state == "disk":
                    with open(folder / "logits.npy", "rb") as file:
                        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
                seconds, peak = in_a_process(who, folder)
                rates[who].append(size / seconds / 1e9)
                peaks[who].append(peak)
        fastest = max(statistics.median(rates[who]) for who in list(WHO)[:2])
        for who in WHO:
            median = statistics.median(rates[who])
            lines.append(
                f"{state:6} {who:18} median {median:5.2f} GB/s, best {max(rates[who]):5.2f} GB/s, "
                f"{median / fastest:4.2f} of reading alone, peak {max(peaks[who]):4.0f} MiB"
            )
    if "formats" not in states:
        return lines
    lines.append(f"formats: 0.48 GB of float32, 4000 classes (compressed.npz: 0.13 GB), cached, {rounds} rounds")
    for name in FORMATS:
        in_a_process(name, folder)  # brings the file into the cache
        taken = [in_a_process(name, folder) for _ in range(rounds)]
        rows = 8000 if name == "compressed.npz" else 30_000
        rate = rows * 16_000 / statistics.median(seconds for seconds, _ in taken) / 1e9
        lines.append(f"{name:18} median {rate:5.2f} GB/s, peak {max(peak for _, peak in taken):4.0f} MiB")
    return lines


def in_a_process(who: str, folder: Path) -> tuple[float, float]:
    command = [sys.executable, __file__, str(folder), "--alone", who]
    seconds, peak = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return float(seconds), float(peak)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--alone", choices=[*WHO, *FORMATS], help="one measurement in this process")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--states", nargs="+", default=["cached", "disk", "formats"], help="what to measure; all")
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--append", dest="mode", action="store_const", const="a", default="w", help="to the record")
    parser.add_argument("--keep", action="store_true", help="leave the files where they are")
    options = parser.parse_args()
    if options.alone:
        print(alone(options.alone, options.folder))
        return
    from run import HERE, machine, slug

    if not (options.folder / "logits.npy").exists():
        make(options.folder, options.rows)
    if not (options.folder / FORMATS[-1]).exists():
        make_formats(options.folder)
    try:
        lines, about = measured(options.folder, options.rounds, options.states), machine()
    finally:
        if not options.keep:
            for name in ("logits.npy", "labels.npy", *FORMATS):
                path = options.folder / name
                shutil.rmtree(path) if path.is_dir() else path.unlink()
    states = " ".join(options.states)
    about["command"] = f"python benches/evaluate.py FOLDER --rounds {options.rounds} --states {states}"
    print(*lines, sep="\n")
    with open(Path(HERE) / "record" / f"evaluate-{slug(about)}.txt", options.mode, encoding="utf-8") as record:
        record.writelines(f"# {key}: {value}\n" for key, value in about.items())
        record.writelines(f"{line}\n" for line in lines)


if __name__ == "__main__":
    main()
