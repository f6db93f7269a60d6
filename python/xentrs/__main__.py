"""The command line: ``bench`` times xentrs on this machine, ``evaluate`` and ``merge`` evaluate files of logits."""

import argparse
import os
import sys

from . import __version__, bench
from .bench.work import NUMPY, XENTRS
from .evaluation import command


def main() -> int:
    """Read the command line and do what it asks for, and give the exit code; without a word print the help."""
    parser = argparse.ArgumentParser(prog="python -m xentrs", description="Cross-entropy for NumPy.")
    parser.add_argument("--version", action="version", version=f"xentrs {__version__}")
    commands = parser.add_subparsers(dest="command")
    timing = commands.add_parser("bench", help=bench.SUMMARY, description=bench.SUMMARY)
    bench.add_options(timing)
    evaluate = commands.add_parser("evaluate", help=command.EVALUATE, description=command.EVALUATE)
    command.add_evaluate_options(evaluate)
    merge = commands.add_parser("merge", help=command.MERGE, description=command.MERGE)
    command.add_merge_options(merge)
    options = parser.parse_args()
    if options.command is None:
        parser.print_help()
        return 0
    if options.command == "evaluate":
        return command.run_evaluate(options)
    if options.command == "merge":
        return command.run_merge(options)
    rows = [row for row in bench.SHORT if not options.quick or row.is_quick]
    _, wrong = bench.run(rows, [XENTRS, NUMPY], quick=options.quick)
    return bool(wrong)


if __name__ == "__main__":
    try:
        try:
            sys.exit(main())
        finally:  # argparse, too, ends the program
            sys.stdout.flush()
    except BrokenPipeError:  # whoever read has enough, as head does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at the end
        sys.exit(141)  # what a shell calls a program that SIGPIPE has ended
