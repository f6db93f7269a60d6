"""The picture of a record of `benches/widths.py`: nanoseconds a number against the width of a row, for docs/speed.md.

python benches/draw_widths.py RECORD     writes docs/_static/<name of the record>.svg
"""

import argparse
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

from run import HERE, read
from xentrs.bench.contest import Figure
from xentrs.bench.table import peers_of
from xentrs.bench.work import GRADIENT, HESSIAN, LOSS, XENTRS

DOCS = HERE.parent / "docs"

PANELS = {
    ("softmax", LOSS): "softmax_cross_entropy",
    ("softmax", GRADIENT): "... _with_grad",
    ("softmax", HESSIAN): "... _with_hess",
    ("softmax function", GRADIENT): "softmax",
    ("log_softmax", GRADIENT): "log_softmax",
    ("logsumexp", LOSS): "logsumexp",
    ("softmax_stats", LOSS): "softmax_stats",
    ("softmax_focal", LOSS): "softmax_focal_loss",
    ("softmax_focal", GRADIENT): "... _with_grad",
}
"""What is drawn, in the order of the picture: row and work, and the name that users know."""

TICKS = (2, 10, 64, 1000, 32000)

Curve = dict[int, float]


def curves(figures: list[Figure]) -> dict[tuple[str, str, str], Curve]:
    """For each row without its shape, work and contestant: nanoseconds a number, median, by width."""
    found: dict[tuple[str, str, str], Curve] = defaultdict(dict)
    for figure in figures:
        match = re.fullmatch(r"(.+) (\d+)x(\d+) \w+", figure.row)
        if not match:
            raise ValueError(f"expected rows with a width, got {figure.row!r}: draw a record of benches/widths.py")
        name, count, width = match[1], int(match[2]), int(match[3])
        found[name, figure.work, figure.contestant][width] = 1e9 * figure.median / (count * width)
    return found


STYLE = {"svg.fonttype": "none", "svg.hashsalt": "widths", "font.size": 9, "axes.titlesize": 10}
"""Text stays text, and the same record gives the same picture to the byte."""


def draw(record: Path, picture: Path) -> None:
    """Draw one panel for each function, and in it a line for each contestant."""
    about, figures = read(record)
    lines, who = curves(figures), [XENTRS.name, *peers_of(figures)]
    with plt.style.context([DOCS / "gallery.mplstyle", STYLE]):
        sheet, axes = plt.subplots(3, 3, figsize=(10, 9), sharex=True, layout="constrained")
        for ax, ((row, work), title) in zip(axes.flat, PANELS.items(), strict=True):
            for number, name in reversed(list(enumerate(who))):  # ours last, over all others
                if line := lines.get((row, work, name)):
                    ax.plot(*zip(*sorted(line.items()), strict=True), label=name, **look(number))
            ax.set(title=title, xscale="log", yscale="log", xticks=TICKS, xticklabels=map(str, TICKS))
            ax.set_xticks([], minor=True)
            ax.yaxis.set_major_formatter("{x:g}")
        for ax in axes[:, 0]:
            ax.set_ylabel("ns a number")
        for ax in axes[-1]:
            ax.set_xlabel("classes")
        handles = {line.get_label(): line for ax in axes.flat for line in ax.get_lines()}
        named = [name for name in who if name in handles]
        sheet.legend([handles[name] for name in named], named, loc="outside lower center", ncols=5)
        sheet.suptitle(", ".join(about[key] for key in ("cpu", "clock", "isa", "threads")), fontsize=9)
        sheet.savefig(picture, metadata={"Date": None})
        plt.close(sheet)


def look(number: int) -> dict[str, Any]:
    """The line of a contestant, told apart by more than its colour; number 0 is ours."""
    ours = {"color": "black", "linewidth": 2.4}
    theirs = {"color": f"C{(number - 1) % 6}", "linewidth": 1, "linestyle": "-" if number <= 6 else "--"}
    return {"marker": "o^vsDPX*<>"[number % 10], "markersize": 4} | (theirs if number else ours)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("record", type=Path)
    options = parser.parse_args()
    picture = DOCS / "_static" / f"{options.record.stem}.svg"
    draw(options.record, picture)
    print(f"picture: {picture}")


if __name__ == "__main__":
    main()
