"""The whole table beside every peer that is installed, and its record. Run by `make bench`.

python benches/run.py                    measures, prints the table, writes benches/record/<cpu>-<date>.csv
python benches/run.py 16384x64 log_      the rows whose names hold one of these words, no record
python benches/run.py --quick            small shapes and three rounds, no record: proves that all works
python benches/run.py --show RECORD      prints the table of a record
"""

import argparse
import csv
import datetime
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from clock import gigahertz
from peers import installed
from xentrs import build_info
from xentrs.bench import add_options, run
from xentrs.bench.contest import Figure
from xentrs.bench.table import lines
from xentrs.bench.work import NEW_ARRAY, NUMPY, WORKS, XENTRS, Row

HERE = Path(__file__).parent


def rows() -> list[Row]:
    """The rows of table.csv."""
    with open(HERE / "table.csv", newline="", encoding="utf-8") as file:
        return [
            Row(
                row["loss"],
                tuple(map(int, row["shape"].split("x"))),
                row["dtype"],
                {work: goal for work in WORKS if (goal := row[f"reach {work}"])},
            )
            for row in csv.DictReader(file)
        ]


def holding(words: Sequence[str], rows: Iterable[Row]) -> list[Row]:
    """The rows whose names hold one of the words; without words all."""
    return [row for row in rows if any(word in row.name for word in words or [""])]


def machine() -> dict[str, str]:
    """What a figure means nothing without."""
    info = build_info()
    cpu, maker = platform.processor() or platform.machine(), "unknown"
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            found = dict(re.findall(r"^(vendor_id|model name|cpu family|model)\s*: (.+)$", file.read(), re.MULTILINE))
        family = "".join(f", {key} {found[key]}" for key in ("cpu family", "model") if key in found)
        cpu, maker = found.get("model name", cpu) + family, found.get("vendor_id", maker)
    clock = gigahertz(info["num_threads"])
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=HERE, capture_output=True, encoding="utf-8")
    return {
        "maker": maker,
        "cpu": cpu,
        "clock": f"{clock:.2f} GHz as measured" if clock else "not measured, for want of numba or of a known latency",
        "date": f"{datetime.date.today()}",
        "isa": info["isa"],
        "threads": f"{info['num_threads']} of {os.cpu_count()} cores",
        "commit": commit.stdout.strip() or "unknown",
        "python": platform.python_version(),
        "system": platform.platform(),
    }


def slug(about: dict[str, str]) -> str:
    """Processor and date, as a record is called: in the cloud a name without the numbers of its model says little."""
    name = re.sub(r"\((r|tm)\)|processor|cpu|family|model|@ *[\d.]+ghz", "", about["cpu"].lower())
    return re.sub(r"[^a-z0-9]+", "-", f"{name} {about['date']}").strip("-")


def write(path: Path, about: dict[str, str], figures: Iterable[Figure]) -> None:
    """A record: `# key: value` about the run, then one line for each figure, times in seconds."""
    path.parent.mkdir(exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8") as file:
        file.writelines(f"# {key}: {value}\n" for key, value in about.items())
        sheet = csv.writer(file, lineterminator="\n")
        sheet.writerow(Figure._fields)
        for figure in figures:
            rounded = {"median": f"{figure.median:.4g}", "minimum": f"{figure.minimum:.4g}"}
            sheet.writerow((figure._asdict() | rounded).values())


def read(path: Path) -> tuple[dict[str, str], list[Figure]]:
    """What `write` wrote."""
    text = path.read_text(encoding="utf-8").splitlines()
    about = dict(line[2:].split(": ", 1) for line in text if line.startswith("# "))
    numbers = {"median": float, "minimum": float, "rounds": int, "loops": int, "bytes": int}
    figures = [
        Figure(**{key: numbers.get(key, str)(value) for key, value in row.items()})
        for row in csv.DictReader(line for line in text if not line.startswith("# "))
    ]
    return about, figures


def record(prefix: str, missing: Iterable[str], figures: Iterable[Figure]) -> None:
    """Write the record of a run of everything."""
    about = machine()
    path = HERE / "record" / f"{prefix}{slug(about)}.csv"
    write(path, about | {"missing": ", ".join(missing)}, figures)
    print(f"\nrecord: {path}")


def main() -> bool:
    """Whether an answer was wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    parser.add_argument("words", nargs="*", help="rows whose names hold one of these words")
    parser.add_argument("--show", metavar="RECORD", type=Path, help="print the table of a record instead of measuring")
    options = parser.parse_args()
    if options.show:
        about, figures = read(options.show)
        print("\n".join(f"{key}: {value}" for key, value in about.items() if value), end="\n\n")
        print("\n".join(lines(figures, all_peers=not about["missing"])))
        return False

    peers, missing = installed(build_info()["num_threads"])
    chosen = [row for row in holding(options.words, rows()) if not options.quick or row.is_quick]
    figures, wrong = run(chosen, [XENTRS, NUMPY, *peers], missing, options.quick, (*WORKS, NEW_ARRAY))
    if not options.quick and not options.words:
        record("", missing, figures)
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
