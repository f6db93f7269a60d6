"""``python -m xentrs evaluate`` and ``merge``: figures of files larger than the memory, on many machines.

Exit codes: 0 done, 1 wrong data, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from .._core import build_info
from .._extras import need
from .._files import check_writable, replaced
from .._numbers import positive_integer
from ..parallel import threads
from .evaluation import Evaluation
from .files import FORMATS
from .run import Run, progress_bar_of, write_json

__all__ = ["EVALUATE", "MERGE", "add_evaluate_options", "add_merge_options", "run_evaluate", "run_merge"]

EVALUATE = "evaluate logits in files larger than the memory"
MERGE = "join the results that evaluate has written on many machines"

LINES = 10.0
"""Seconds between two lines where there is no terminal."""


class Usage(Exception):
    """What the command line asks for cannot be done."""


def add_evaluate_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `evaluate`."""
    add = parser.add_argument
    parser.usage = "%(prog)s [options] LOGITS LABELS"
    parser.epilog = (
        f"A file ends with one of {', '.join(FORMATS)}. A pattern in quotes, 'part-*.npy', stands for all that match, "
        "in the order of their names. Of more than two files the first half are the logits. "
        "Exit codes: 0 done, 1 wrong data, 2 wrong usage, 130 interrupted."
    )
    add(
        "files", nargs="+", metavar="FILE", help="the logits, then the labels; one container of both may be given twice"
    )
    add("--weights", metavar="FILE", help="a non-negative weight for each row")
    add("--ignore-index", type=_index, default=-100, metavar="N", help="the label that does not count, or none")
    add("--temperature", type=float, default=1.0, metavar="T", help="what the logits are divided by")
    add("--axis", type=int, default=-1, metavar="N", help="the class axis of the logits")
    add("--dtype", choices=["bfloat16", "float16", "float32", "float64"], help="what bits without a name in NumPy are")
    add("--rows", type=_rows, metavar="A:B", help="which rows to evaluate, as one of many machines does")
    add("--bins", type=int, default=15, metavar="N", help="bins of the calibration error")
    add(
        "--top-k",
        type=_numbers,
        default=(),
        metavar="K[,K]",
        help="tell the share of answers among the K largest logits",
    )
    add("--bytes", type=int, default=0, metavar="N", help="bytes of the text, for bits per byte")
    add("--checkpoint", metavar="FILE", help="keep here what is done; an interrupted run goes on from it")
    add("--threads", type=int, metavar="N", help="threads that share the work")
    add("--logits-key", default="logits", metavar="NAME", help="name of the logits in a file of several arrays")
    add("--label-key", default="label", metavar="NAME", help="name of the labels")
    add("--per-class", metavar="FILE", help="write a table of all classes, in CSV")
    _add_outputs(parser)


def add_merge_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `merge`."""
    parser.add_argument("parts", nargs="+", metavar="PART", help="a result that evaluate has written by --json")
    parser.add_argument("--per-class", metavar="FILE", help="write a table of all classes, in CSV")
    _add_outputs(parser)


def _add_outputs(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--json", metavar="FILE", help="write the result, which merge reads; - for the standard output")
    add("--plot", metavar="FILE", help="draw a reliability diagram, and losses of classes if --per-class is given")
    add("--debug", action="store_true", help="show where in the program an error was found")


def run_evaluate(options: argparse.Namespace) -> int:
    """Evaluate files, and give the exit code."""
    with _told(options) as outcome:
        if len(options.files) % 2:
            raise Usage(f"expected files of logits and as many of labels, got {len(options.files)} files")
        _check_outputs(options)
        half = len(options.files) // 2
        try:
            evaluation = Evaluation(
                temperature=options.temperature,
                n_bins=options.bins,
                top_k=options.top_k,
                per_class=options.per_class is not None,
            )
            if options.bytes < 0:
                raise ValueError(f"bytes must not be negative, got {options.bytes}")
            of_threads = nullcontext() if options.threads is None else threads(options.threads)
        except ValueError as error:
            raise Usage(error) from error
        if options.checkpoint is not None:
            _usable("--checkpoint", options.checkpoint)
        run = Run(
            options.files[:half],
            options.files[half:],
            evaluation=evaluation,
            sample_weight=options.weights,
            ignore_index=options.ignore_index,
            axis=options.axis,
            dtype=options.dtype,
            rows=options.rows,
            n_bytes=options.bytes,
            checkpoint=options.checkpoint,
            logits_key=options.logits_key,
            label_key=options.label_key,
        )
        if run.done > run.start:
            _say(f"going on at row {run.done:,} of {run.stop:,}, from {options.checkpoint}")
        began, before = time.monotonic(), run.done
        try:
            with run, of_threads, _progress(run) as show:
                run.go(show)
        except KeyboardInterrupt:
            _say(f"interrupted at row {run.done:,} of {run.stop:,}; {_how_to_go_on(options, run)}")
            outcome.code = 130
            return 130
        except Exception:
            if options.checkpoint is not None:
                outcome.hint = f"rows up to {run.done} are in {options.checkpoint}"
            raise
        seconds = max(time.monotonic() - began, 1e-9)
        rate = run.logits.row_bytes() * (run.stop - before) / seconds / 1e9
        _tell(options, run.evaluation, [run.part()], f"{seconds:.1f} s, {rate:.2f} GB/s")
    return outcome.code


def run_merge(options: argparse.Namespace) -> int:
    """Join results, and give the exit code."""
    with _told(options) as outcome:
        _check_outputs(options)
        evaluation: Evaluation | None = None
        parts: list[Any] = []
        seen: list[tuple[Any, str]] = []
        for path in options.parts:
            read, of_file = _read_part(path)
            try:
                evaluation = read if evaluation is None else evaluation.merge(read)
            except ValueError as error:
                raise ValueError(f"{path} and {options.parts[0]} are of different runs: {error}") from None
            for part in of_file:
                for other, name in seen:
                    if _overlap(part, other):
                        rows = "{}:{}".format(*part["rows"])
                        raise ValueError(f"{path} has rows {rows} of {_files(part)}, of which {name} has some already")
            seen += [(part, path) for part in of_file]
            parts += of_file
        assert evaluation is not None
        if options.per_class is not None and not evaluation._per_class:
            raise Usage("--per-class needs parts that were written with --per-class")
        _tell(options, evaluation, parts, f"{len(options.parts)} parts")
    return outcome.code


# --------------------------------------------------------------------------------------------------------------- output


def _tell(options: argparse.Namespace, evaluation: Evaluation, parts: list[Any], how: str) -> None:
    """Write everything that was asked for."""
    content = {**evaluation._to_dict(), "parts": parts}
    if options.json == "-":
        print(json.dumps(content, allow_nan=False))
    else:
        print("\n".join(_lines(evaluation, how)))
    if options.json not in (None, "-"):
        write_json(options.json, content)
    if options.per_class is not None:
        with replaced(options.per_class) as file:
            file.write(_table(evaluation).encode())
    if options.plot is not None:
        _draw(options.plot, evaluation)


def _lines(evaluation: Evaluation, how: str) -> Iterator[str]:
    """Yield the figures for people."""
    figures = {
        "rows": f"{evaluation.rows:,} that count ({how})",
        "loss": f"{evaluation.loss:.6g} nats",
        "perplexity": f"{evaluation.perplexity:.6g}",
        "accuracy": f"{evaluation.accuracy:.4f}",
        **{f"top-{k} accuracy": f"{share:.4f}" for k, share in evaluation.top_k_accuracy.items()},
        "calibration error": f"{evaluation.calibration_error:.4f}",
        "Brier score": f"{evaluation.brier_score:.4f}",
        "bits per token": f"{evaluation.bits_per_token:.6g}",
    }
    if evaluation._counts["n_bytes"][0]:
        figures["bits per byte"] = f"{evaluation.bits_per_byte:.6g}"
    if evaluation.infinite_rows:
        figures["infinite"] = f"{evaluation.infinite_rows:,} rows whose answer the model holds to be impossible"
    yield from (f"{name:<18} {figure}" for name, figure in figures.items())


def _table(evaluation: Evaluation) -> str:
    """All classes that occur, in CSV."""
    figures = evaluation.per_class
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["class", *figures._fields])
    columns = [column.tolist() for column in figures]
    table.writerows([k, *row] for k, row in enumerate(zip(*columns, strict=True)))
    return text.getvalue()


def _draw(path: str, evaluation: Evaluation) -> None:
    """Draw the pictures, all or nothing; the suffix of the file tells its format."""
    from matplotlib.figure import Figure

    n = 2 if evaluation._per_class else 1
    figure = Figure(figsize=(5 * n, 4.5), layout="constrained")
    axes = figure.subplots(1, n, squeeze=False)[0]
    evaluation.plot_reliability(axes[0])
    if evaluation._per_class:
        evaluation.plot_per_class(axes[1])
    with replaced(path) as file:
        figure.savefig(file, format=_picture_format(path))


def _picture_format(path: str) -> str:
    return os.path.splitext(path)[1].removeprefix(".").lower()


def _check_outputs(options: argparse.Namespace) -> None:
    """Refuse what could not be written, before the work."""
    for name in ("json", "per_class", "plot"):
        path = getattr(options, name)
        if path is not None and not (name == "json" and path == "-"):
            _usable("--" + name.replace("_", "-"), path)
    if options.plot is not None:
        need("--plot", "matplotlib")
        from matplotlib.backend_bases import FigureCanvasBase

        kinds = FigureCanvasBase.get_supported_filetypes()
        if _picture_format(options.plot) not in kinds:
            raise Usage(f"--plot must end with one of {', '.join(f'.{kind}' for kind in kinds)}, got {options.plot}")


def _usable(name: str, path: str) -> None:
    try:
        check_writable(path)
    except OSError as error:
        raise Usage(f"{name} {error}") from error


# ---------------------------------------------------------------------------------------------------------------- parts


def _read_part(path: str) -> tuple[Evaluation, list[Any]]:
    """A result and what it is of, or what is wrong with the file."""
    try:
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
    except OSError as error:
        raise ValueError(f"{path} must be a file that can be read, got: {error.strerror or error}") from None
    except ValueError:
        raise ValueError(
            f"{path} must be a result of evaluate --json, got one cut short or another kind of file"
        ) from None
    if isinstance(content, dict) and "checkpoint" in content:
        raise ValueError(f"{path} must be a result of evaluate --json, got the checkpoint of a run that may go on")
    try:
        evaluation = Evaluation._of_dict(content)
    except ValueError as error:
        raise ValueError(f"{path} must be a result of evaluate --json: {error}") from None
    version = build_info()["version"]
    if content.get("xentrs") != version:
        raise ValueError(f"{path} must be of xentrs {version}, as this one is, got {content.get('xentrs')!r}")
    parts = content.get("parts", [])
    try:
        for part in parts:
            start, stop = part["rows"]
            if not 0 <= start <= stop or not all(file is None or file["file"] for file in part["logits"]):
                raise ValueError(part)
    except (TypeError, KeyError, ValueError):
        raise ValueError(f"{path} is damaged: its parts make no sense") from None
    return evaluation, parts


def _overlap(a: Any, b: Any) -> bool:
    """Whether two parts share rows of the same files."""
    (start, stop), (other_start, other_stop) = a["rows"], b["rows"]
    return bool(a["logits"] == b["logits"] and max(start, other_start) < min(stop, other_stop))


def _files(part: Any) -> str:
    names = [os.path.basename(file["file"]) for file in part["logits"] if file] or ["arrays"]
    return str(names[0]) + (f" and {len(names) - 1} others" if len(names) > 1 else "")


# ------------------------------------------------------------------------------------------------------------- messages


class _Outcome:
    code = 0
    hint = ""


@contextmanager
def _told(options: argparse.Namespace) -> Iterator[_Outcome]:
    """Say in a line what went wrong, and set the exit code."""
    outcome = _Outcome()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("once")
            warnings.showwarning = lambda message, *_, **__: _say(f"warning: {message}")
            yield outcome
    except (Usage, ImportError) as error:
        outcome.code = 2
        _tell_error(options, error, outcome)
    except KeyboardInterrupt:
        _say("interrupted")
        outcome.code = 130
    except BrokenPipeError:
        raise
    except Exception as error:
        outcome.code = 1
        _tell_error(options, error, outcome)


def _tell_error(options: argparse.Namespace, error: BaseException, outcome: _Outcome) -> None:
    if options.debug:
        traceback.print_exc()
    text = " ".join(str(error).split()) or type(error).__name__
    if not isinstance(error, (Usage, ImportError, ValueError, IndexError, TypeError, OSError)):
        text = f"{type(error).__name__}: {text}"
    _say("error: " + text + (f"; {outcome.hint}" if outcome.hint else ""))


def _say(text: str) -> None:
    print(f"xentrs: {text}", file=sys.stderr, flush=True)


def _how_to_go_on(options: argparse.Namespace, run: Run) -> str:
    if options.checkpoint is None:
        return "nothing is kept: --checkpoint FILE keeps what is done"
    return f"to go on, give the same command again: {options.checkpoint} has what is done"


@contextmanager
def _progress(run: Run) -> Iterator[Callable[[], None]]:
    """A bar on a terminal, elsewhere a line now and then."""
    if sys.stderr.isatty():
        with progress_bar_of(run, None) as show:
            yield show
        return
    told = began = time.monotonic()
    before = run.done

    def line() -> None:
        nonlocal told
        now = time.monotonic()
        if now - told > LINES:
            told = now
            done, of = run.done - run.start, run.stop - run.start
            rate = run.logits.row_bytes() * (run.done - before) / (now - began) / 1e9
            _say(f"{done:,} of {of:,} rows ({done / of:.0%}), loss {run.evaluation.loss:.5g}, {rate:.2f} GB/s")

    yield line


# -------------------------------------------------------------------------------------------------------------- parsing


def _index(text: str) -> int | None:
    with _expected("a label, or none", text):
        return None if text == "none" else int(text)


def _rows(text: str) -> tuple[int, int | None]:
    with _expected("A:B, as 0:50000 or 50000:", text):
        start, stop = text.split(":")
        return int(start or 0), int(stop) if stop else None


def _numbers(text: str) -> tuple[int, ...]:
    with _expected("K or K,K,..., each at least 1", text):
        return tuple(positive_integer("top_k", int(number)) for number in text.split(","))


@contextmanager
def _expected(what: str, got: str) -> Iterator[None]:
    try:
        yield
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected {what}, got {got!r}") from None
