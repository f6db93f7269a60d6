"""``python -m xentrs bench``: how fast xentrs is on this machine, beside NumPy and the limit of its memory."""

import argparse

from . import bench
from .bench.work import NUMPY, XENTRS


def main() -> None:
    """Read the command line and do what it asks for."""
    parser = argparse.ArgumentParser(prog="python -m xentrs")
    commands = parser.add_subparsers(dest="command", required=True)
    timing = commands.add_parser("bench", help=bench.SUMMARY, description=bench.SUMMARY)
    bench.add_options(timing)
    options = parser.parse_args()
    rows = [row for row in bench.SHORT if not options.quick or row.is_quick]
    bench.run(rows, [XENTRS, NUMPY], quick=options.quick)


if __name__ == "__main__":
    main()
