"""The picture of a record of `benches/run.py` for the front page and the README: how long others take, xentrs being 1.

python benches/draw_speed.py RECORD     writes docs/_static/speed.svg
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt

from draw_widths import DOCS, STYLE
from run import read
from xentrs.bench.table import peers_of
from xentrs.bench.work import GRADIENT, XENTRS

ROWS = {
    "softmax 2048x32000 float32": "softmax cross-entropy\n2048 × 32000",
    "softmax 4096x1000 float32": "4096 × 1000",
    "softmax 65536x10 float32": "65536 × 10",
    "softmax 1024x10 float32": "1024 × 10",
    "sigmoid 10000000 float32": "sigmoid cross-entropy\n10 000 000",
    "softmax function 16384x100 float32": "the function softmax\n16384 × 100",
}
"""What is drawn, from the top: rows of the table, the losses with their gradients, and one function."""

TICKS = (0.5, 1, 2, 5, 10, 20, 50, 100)


def ratios(record: Path) -> tuple[dict[str, str], list[str], dict[tuple[str, str], float]]:
    """The head of a record, the peers, and for each row and contestant its median over that of xentrs."""
    about, figures = read(record)
    medians = {(f.row, f.contestant): f.median for f in figures if f.work == GRADIENT and f.row in ROWS}
    missing = [row for row in ROWS if (row, XENTRS.name) not in medians]
    if missing:
        raise ValueError(f"expected a record with the rows {missing}: draw one of benches/run.py, of the whole table")
    return about, peers_of(figures), {(row, who): t / medians[row, XENTRS.name] for (row, who), t in medians.items()}


def draw(record: Path, picture: Path) -> None:
    """Draw a line for each row, and on it a mark for each contestant."""
    about, peers, times = ratios(record)
    with plt.style.context([DOCS / "gallery.mplstyle", STYLE, {"font.size": 11}]):
        sheet, ax = plt.subplots(figsize=(7.2, 4.6), layout="constrained")
        for number, who in enumerate([XENTRS.name, *peers]):
            marks = [(times[row, who], -place) for place, row in enumerate(ROWS) if (row, who) in times]
            size, colour = (90, "black") if who == XENTRS.name else (50, f"C{(number - 1) % 6}")
            ax.scatter(
                *zip(*marks, strict=True), s=size, color=colour, marker="o^vsDPX*<>"[number], label=who, zorder=3
            )
        ax.axvline(1, color="black", linewidth=1)
        ax.set(
            xscale="log", xticks=TICKS, xticklabels=map(str, TICKS), xlabel="time of one call, that of xentrs being 1"
        )
        ax.set_yticks([-place for place in range(len(ROWS))], ROWS.values())
        ax.set_xticks([], minor=True)
        ax.set_title("Loss and gradient in float32: further right is slower", fontsize=12)
        sheet.legend(loc="outside lower center", ncols=5, fontsize=10, handletextpad=0.2, columnspacing=1)
        machine = f"{about['cpu']}, {about['threads']}, {about['date']}"
        ax.text(1, -0.22, machine, transform=ax.transAxes, fontsize=7, color="0.35", ha="right")
        sheet.savefig(picture, metadata={"Date": None})
        plt.close(sheet)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("record", type=Path)
    options = parser.parse_args()
    picture = DOCS / "_static" / "speed.svg"
    draw(options.record, picture)
    print(f"picture: {picture}")


if __name__ == "__main__":
    main()
