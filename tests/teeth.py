"""Break things on purpose, one at a time, and see that the tests find each: `make teeth`.

A copy of the sources gets all breakages of the core at once, each behind a switch that `XENTRS_BREAK` turns on when a
process starts, so one quick build serves them all. Breakages of the Python layer are written into the copy one by one.
Every breakage, of those in teeth.txt, names the tests that have to find it. One whose text is no longer in the sources
fails, as it breaks nothing.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
QUICK = {"CARGO_PROFILE_RELEASE_LTO": "false", "CARGO_PROFILE_RELEASE_CODEGEN_UNITS": "16"}

SWITCH = """
#[inline(always)]
fn is_broken(what: usize) -> bool {
    static WHAT: std::sync::LazyLock<Option<usize>> =
        std::sync::LazyLock::new(|| std::env::var("XENTRS_BREAK").ok()?.parse().ok());
    *WHAT == Some(what)
}
"""


class Breakage(NamedTuple):
    what: str
    file: str
    found_by: str
    isa: str
    right: str
    wrong: str


def listed() -> list[Breakage]:
    text = (ROOT / "tests" / "teeth.txt").read_text(encoding="utf-8")
    entry = re.compile(r"^(?!#)(.+): (\S+), ([^\s,]+)(?:, (\w+))?\n- (.+)\n\+ (.+)$", re.MULTILINE)
    return [Breakage(*(part or "" for part in found)) for found in entry.findall(text)]


def stale_among(breakages: list[Breakage]) -> list[str]:
    """Those whose text does not stand in the sources once."""
    return [b.what for b in breakages if (ROOT / b.file).read_text(encoding="utf-8").count(b.right) != 1]


def first_failure(tree: Path, files: list[str], number: int | None = None, isa: str = "") -> str | None:
    """The first test that fails, if any."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-x",
        "-p",
        "no:cacheprovider",
        *(f"tests/{file}" for file in files),
    ]
    environment = {"PYTHONPATH": str(tree / "python"), "XENTRS_BREAK": str(number), "XENTRS_ISA": isa}
    done = subprocess.run(command, cwd=tree, env=os.environ | environment, capture_output=True, text=True)
    found = re.search(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE)
    return found[1] if found else None if done.returncode == 0 else f"exit {done.returncode}"


def main() -> None:
    breakages = listed()
    if stale := stale_among(breakages):
        sys.exit(f"these break nothing, as their text is not in the sources once: {stale}")

    # 1. a copy of the sources, with every breakage of the core
    tree = ROOT / "target" / "teeth"
    shutil.rmtree(tree / "src", ignore_errors=True)
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    for name in names.stdout.split("\0")[:-1]:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, tree / name)
    core = {number: b for number, b in enumerate(breakages) if b.file.startswith("src/")}
    for number, b in core.items():
        source = (tree / b.file).read_text(encoding="utf-8")
        switch = f"(if crate::is_broken({number}) {{ {b.wrong} }} else {{ {b.right} }})"
        (tree / b.file).write_text(source.replace(b.right, switch), encoding="utf-8")
    with open(tree / "src" / "lib.rs", "a", encoding="utf-8") as lib:
        lib.write(SWITCH)

    # 2. its core
    build = ["cargo", "rustc", "--quiet", "--release", "--lib", "--crate-type", "cdylib", "--features", "python"]
    warnings = {"RUSTFLAGS": "--cap-lints allow"}
    subprocess.run(build, cwd=tree, env=os.environ | QUICK | warnings, check=True)
    (made,) = (tree / "target" / "release").glob("libxentrs.*[oy]")
    shutil.copyfile(made, tree / "python" / "xentrs" / "_core.abi3.so")

    # 3. the tests: of what is whole, then of each breakage
    if failed := first_failure(tree, sorted({b.found_by for b in breakages})):
        sys.exit(f"{failed} fails where nothing is broken")
    missed = 0
    for number, b in enumerate(breakages):
        right = (tree / b.file).read_text(encoding="utf-8")
        if number not in core:
            (tree / b.file).write_text(right.replace(b.right, b.wrong), encoding="utf-8")
        found = first_failure(tree, [b.found_by], number, b.isa)
        (tree / b.file).write_text(right, encoding="utf-8")
        missed += found is None
        print(f"{b.what}: {found or f'NOT FOUND by {b.found_by}'}", flush=True)
    sys.exit(f"{missed} of {len(breakages)} were not found" if missed else 0)


if __name__ == "__main__":
    main()
