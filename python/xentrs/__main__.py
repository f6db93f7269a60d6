"""``python -m xentrs bench``: how fast xentrs is on this machine, beside NumPy and the limit of its memory."""

import argparse
import os
import sys

from . import __version__, bench
from .bench.work import NUMPY, XENTRS


def main() -> None:
    """Read the command line and do what it asks for; without a word print the help."""
    parser = argparse.ArgumentParser(prog="python -m xentrs", description="Cross-entropy for NumPy.")
    parser.add_argument("--version", action="version", version=f"xentrs {__version__}")
    commands = parser.add_subparsers(dest="command")
    timing = commands.add_parser("bench", help=bench.SUMMARY, description=bench.SUMMARY)
    bench.add_options(timing)
    options = parser.parse_args()
    if options.command is None:
        parser.print_help()
        return
    rows = [row for row in bench.SHORT if not options.quick or row.is_quick]
    bench.run(rows, [XENTRS, NUMPY], quick=options.quick)


if __name__ == "__main__":
    try:
        try:
            main()
        finally:  # argparse, too, ends the program
            sys.stdout.flush()
    except BrokenPipeError:  # whoever read has enough, as head does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at the end
        sys.exit(141)  # what a shell calls a program that SIGPIPE has ended
