"""Time a number against the width of a row: two classes to 32000, xentrs and every peer. No width may have a cliff.

python benches/widths.py             measures, prints the table, writes benches/record/widths-<cpu>-<date>.csv
python benches/widths.py x64 x65     the rows whose names hold one of these words, no record
python benches/widths.py --quick     few numbers and three rounds, no record: proves that all works

Each row of the table has about a million numbers, which a second- or third-level cache holds: what differs is the width
alone. `benches/draw_widths.py` makes a picture of the record.
"""

import argparse
import sys

from peers import installed
from run import holding, record
from xentrs import build_info
from xentrs.bench import add_options, run
from xentrs.bench.work import GRADIENT, HESSIAN, LOSS, NUMPY, XENTRS, Row

WIDTHS = (2, 3, 4, 10, 16, 32, 64, 65, 100, 128, 256, 500, 1000, 4000, 32000)
NUMBERS, QUICK_NUMBERS = 1 << 20, 1 << 12

LOSSES = ("softmax_cross_entropy", "softmax", "log_softmax", "logsumexp", "softmax_stats", "softmax_focal_loss")
WORKS = (LOSS, GRADIENT, HESSIAN)


def rows(numbers: int) -> list[Row]:
    """One for each loss and width, of about so many numbers."""
    return [Row(loss, (max(1, round(numbers / width)), width)) for loss in LOSSES for width in WIDTHS]


def main() -> bool:
    """Whether an answer was wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    parser.add_argument("words", nargs="*", help="rows whose names hold one of these words")
    options = parser.parse_args()
    peers, missing = installed(build_info()["num_threads"])
    chosen = holding(options.words, rows(QUICK_NUMBERS if options.quick else NUMBERS))
    figures, wrong = run(chosen, [XENTRS, NUMPY, *peers], missing, options.quick, WORKS)
    if not options.quick and not options.words:
        record("widths-", missing, figures)
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
