"""One run over files: blocks in turn, a checkpoint now and then, and the same bits however often it was interrupted."""

from __future__ import annotations

import json
import os
import reprlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._calls import readable
from .._core import build_info
from .._files import check_writable, replaced
from .._numbers import a_boolean, an_integer, integer_or_none, one_of
from .._progress import progress_bar
from . import sweep
from .evaluation import Evaluation
from .files import FileError, Rows, Stored, open_all
from .rows import softmax_stats

__all__ = ["Run", "evaluate", "write_json"]

SECONDS = 5.0
"""Between two checkpoints."""

CHECKPOINT = 1
"""Goes up by one when a checkpoint can no longer be read by an older xentrs."""


@readable
def evaluate(
    logits: Any,
    labels: Any,
    *,
    sample_weight: Any = None,
    ignore_index: int | None = -100,
    temperature: float = 1.0,
    axis: int = -1,
    dtype: str | None = None,
    rows: tuple[int, int | None] | None = None,
    n_bins: int = 15,
    top_k: Any = (),
    per_class: bool = False,
    n_bytes: int = 0,
    checkpoint: str | os.PathLike[str] | None = None,
    logits_key: str = "logits",
    label_key: str = "label",
    verbose: bool | None = None,
) -> Evaluation:
    """Evaluate logits that lie in files larger than the memory, in one read of them; or in arrays.

    The logits are read in blocks of 32 MiB (or a chunk of a chunked file, where that is more), and the memory beside
    them stays small whatever the file.

    Parameters
    ----------
    logits : path, sequence of paths, or array_like
        Unnormalised log-probabilities of shape (..., c). Files: ``.npy``, ``.npz``, ``.safetensors``, ``.h5``,
        ``.hdf5``, ``.zarr``, ``.parquet`` (a column of fixed-size lists); several of them are read behind one another.
        A path with ``*``, ``?`` or ``[`` that is no file stands for all that match, in the order of their names.
    labels : path, sequence of paths, or array_like of int
        Classes in ``[0, c)``, of the shape of the logits without the class axis, or as many in one axis. They need not
        be divided into files as the logits are. If both are of shape (n,) the logits are log-odds.
    sample_weight : path, sequence of paths, or array_like, optional
        Non-negative weight of each row. In a container it is called ``weight``.
    ignore_index : int or None, default -100
        A row with this class does not count. None ignores nothing.
    temperature : float, default 1.0
        What the logits are divided by.
    axis : int, default -1
        The class axis.
    dtype : {"bfloat16", "float16", "float32", "float64"}, optional
        What the logits are, where the file holds bits that NumPy has no name for.
    rows : tuple (start, stop), optional
        Which rows to evaluate, counted over all files; `stop` may be None.
    n_bins, top_k, per_class
        As in `Evaluation`.
    n_bytes : int, default 0
        Bytes of text that the rows stand for, which `Evaluation.bits_per_byte` divides by.
    checkpoint : path, optional
        A file that keeps what has been done, every few seconds and when the run ends for whatever reason. If it exists,
        the run goes on from there, and ends with the same bits.
    logits_key, label_key : str
        Names of the arrays in files that hold several.
    verbose : bool, optional
        Whether to show a progress bar; None: on a terminal or in a notebook.

    Returns
    -------
    Evaluation
        The figures, and the sums that they are made of.

    Raises
    ------
    IndexError
        If a label is neither in ``[0, c)`` nor `ignore_index`; the message names file and row.
    ValueError
        If a file is damaged, cut short, foreign, or missing, shapes do not fit, a row that counts defines no
        distribution, or the checkpoint is of another run.
    ImportError
        If the package that reads a format is missing.
    OSError
        If the checkpoint cannot be written, which is looked at first.
    KeyboardInterrupt
        If the user interrupts; the checkpoint is up to date then.

    See Also
    --------
    Evaluation : the same for batches that the caller reads.

    Notes
    -----
    ``python -m xentrs evaluate`` is this function on the command line. Where several machines share the work, each
    evaluates its `rows`, and the sum of their evaluations has the bits of a single run.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> import xentrs as xe
    >>> with tempfile.TemporaryDirectory() as place:
    ...     np.save(f"{place}/logits.npy", np.array([[2.0, 1.0, 0.0], [0.0, 3.0, 0.0]]))
    ...     np.save(f"{place}/labels.npy", [0, 2])
    ...     evaluation = xe.evaluate(f"{place}/logits.npy", f"{place}/labels.npy")
    >>> round(evaluation.loss, 4)
    1.7513
    """
    if verbose is not None:
        a_boolean("verbose", verbose)
    run = Run(
        logits,
        labels,
        sample_weight=sample_weight,
        ignore_index=ignore_index,
        axis=axis,
        dtype=dtype,
        rows=rows,
        n_bytes=n_bytes,
        checkpoint=checkpoint,
        logits_key=logits_key,
        label_key=label_key,
        evaluation=Evaluation(temperature=temperature, n_bins=n_bins, top_k=top_k, per_class=per_class),
    )
    with run, progress_bar_of(run, verbose) as show:
        run.go(show)
    return run.evaluation


class Run:
    """Files, which of their rows, and how far they are evaluated."""

    def __init__(
        self,
        logits: Any,
        labels: Any,
        *,
        evaluation: Evaluation,
        sample_weight: Any = None,
        ignore_index: int | None = -100,
        axis: int = -1,
        dtype: str | None = None,
        rows: tuple[int, int | None] | None = None,
        n_bytes: int = 0,
        checkpoint: str | os.PathLike[str] | None = None,
        logits_key: str = "logits",
        label_key: str = "label",
    ) -> None:
        # 0. the options
        n_bytes, axis = an_integer("n_bytes", n_bytes, 0), an_integer("axis", axis)
        ignore_index = integer_or_none("ignore_index", ignore_index)
        if dtype is not None:
            one_of("dtype", dtype, ("bfloat16", "float16", "float32", "float64"))
        for name, key in (("logits_key", logits_key), ("label_key", label_key)):
            if not isinstance(key, str):
                raise TypeError(f"{name} must be a str, got {reprlib.repr(key)}")
        if rows is not None:
            rows = _pair("rows", rows)
        if checkpoint is not None and not isinstance(checkpoint, str | os.PathLike):
            raise TypeError(f"checkpoint must be a path, got {reprlib.repr(checkpoint)}")
        self.evaluation, self._ignore_index, self._checkpoint = evaluation, ignore_index, checkpoint
        if checkpoint is not None:
            check_writable(checkpoint)
        with ExitStack() as stack:

            def opened(given: Any, key: str, name: str) -> list[Stored]:
                arrays = open_all(given, key, name)
                for array in arrays:
                    stack.callback(array.close)
                return arrays

            # 1. the files
            arrays, of_labels = opened(logits, logits_key, "logits"), opened(labels, label_key, "labels")
            log_odds = all(len(array.shape) == 1 for array in arrays) and all(
                len(array.shape) == 1 for array in of_labels
            )
            self.logits = Rows(arrays, None if log_odds else axis, dtype)
            self.labels = Rows(of_labels, None)
            self.weights = (
                None if sample_weight is None else Rows(opened(sample_weight, "weight", "sample_weight"), None)
            )
            if self.logits.classes == 0 and not log_odds:
                raise FileError(f"{arrays[0].name} must have at least one class, got shape {arrays[0].shape}")
            self._check_kinds()
            # 2. the rows
            n = len(self.logits)
            self.start, self.stop = 0, n
            if rows is not None:
                self.start, stop = rows
                self.stop = n if stop is None else stop
                if not 0 <= self.start <= self.stop <= n:
                    raise ValueError(f"rows must be within 0:{n}, got {self.start}:{self.stop}")
            self.done = self.start
            self._torn = False  # whether a second interrupt has left a block half added
            # 3. what has been done before
            self._n_bytes = n_bytes
            self._key: dict[str, Any] = {
                "logits": self.logits.identities(),
                "labels": self.labels.identities(),
                "weights": None if self.weights is None else self.weights.identities(),
                "keys": [logits_key, label_key],
                "ignore_index": ignore_index,
                "axis": axis,
                "dtype": dtype,
                "rows": [self.start, self.stop],
                "bytes": n_bytes,
                "options": evaluation._options(),
                "xentrs": build_info()["version"],
                "isa": build_info()["isa"],
            }
            if checkpoint is not None:
                if None in [*self._key["logits"], *self._key["labels"], *(self._key["weights"] or ())]:
                    raise ValueError("checkpoint must be None where arrays are given: nothing tells them from others")
                if os.path.exists(checkpoint):
                    self._resume(os.fspath(checkpoint))
            self._opened = stack.pop_all()

    def _check_kinds(self) -> None:
        n = len(self.logits)
        for what, beside in (("label", self.labels), ("weight", self.weights)):
            if beside is None:
                continue
            first = beside.arrays[0]
            if len(beside) != n:
                raise FileError(
                    f"{first.name} must have a {what} for each of the {n} rows of {self.logits.arrays[0].name} "
                    f"{tuple(self.logits.arrays[0].shape)}, got {len(beside)}"
                )
            for array in beside.arrays:
                if array.dtype.kind not in ("biu" if what == "label" else "biuf"):
                    kind = "integers" if what == "label" else "numbers"
                    raise FileError(f"{array.name} must hold {kind}, a {what} for each row, got {array.dtype}")

    # ---------------------------------------------------------------------------------------------------------- running

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def go(self, show: Callable[[], None]) -> None:
        """Evaluate all rows that are left; `show` is called behind every block.

        Raises
        ------
        KeyboardInterrupt
            If the user has asked for an end, behind a block; what was done is in the checkpoint.
        """
        written = time.monotonic()
        with _interrupts_between_blocks() as interrupted:
            try:
                for start, stop in self.logits.blocks(self.done, self.stop, sweep.BLOCK, sweep.ROWS):
                    self._take(start, stop)
                    show()
                    if interrupted():
                        raise KeyboardInterrupt
                    if self._checkpoint is not None and time.monotonic() - written > SECONDS:
                        self._save()
                        written = time.monotonic()
            finally:
                if self._checkpoint is not None and not self._torn:
                    self._save()
        if self._n_bytes:  # once, whatever the number of interrupts
            self.evaluation._counts["n_bytes"][0] = self._n_bytes

    def _take(self, start: int, stop: int) -> None:
        """Add a block: all of it or nothing."""
        logits, target = self.logits.read(start, stop), self.labels.read(start, stop)
        weight = None if self.weights is None else self.weights.read(start, stop)
        if self.logits.classes:
            target = target.reshape(logits.shape[:-1])
            weight = None if weight is None else weight.reshape(logits.shape[:-1])

        def where(name: str, row: int) -> str:
            rows = self.weights if name == "sample_weight" and self.weights is not None else self.labels
            return rows.place(start + row)

        read = self.evaluation._read(logits, target, weight, self._ignore_index, where=where)
        if read.added["undefined", 0]:
            self._refuse_undefined(logits, target, weight, start)
        self._torn = True
        self.evaluation._add(read)
        self.done = stop
        self._torn = False
        for rows in (self.logits, self.labels, self.weights):
            if rows is not None:
                rows.release()

    def _refuse_undefined(
        self, logits: NDArray[Any], target: NDArray[Any], weight: ArrayLike | None, start: int
    ) -> None:
        stats = softmax_stats(logits, target, sample_weight=weight, ignore_index=self._ignore_index)
        row = int(np.argmax((stats.weight > 0).ravel() & (stats.argmax == -1).ravel()))
        scores = (logits.reshape(-1, logits.shape[-1]) if self.logits.classes else logits.reshape(-1, 1))[row]
        with np.errstate(invalid="ignore"):
            what = "NaN" if np.isnan(scores).any() else "several +inf" if scores.max() > 0 else "nothing but -inf"
        raise FileError(f"{self.logits.place(start + row)} must be logits that define a distribution, got {what}")

    # ------------------------------------------------------------------------------------------------------- checkpoint

    def _save(self) -> None:
        """Write the checkpoint, all or nothing."""
        assert self._checkpoint is not None
        content = {
            "checkpoint": CHECKPOINT,
            "run": self._key,
            "done": self.done,
            "evaluation": self.evaluation._to_dict(),
        }
        write_json(self._checkpoint, content)

    def _resume(self, path: str) -> None:
        try:
            with open(path, encoding="utf-8") as file:
                content = json.load(file)
        except (ValueError, UnicodeDecodeError):
            content = None
        if not isinstance(content, dict) or content.get("checkpoint") != CHECKPOINT:
            raise ValueError(f"{path} must be a checkpoint of this run, or not exist, got another file")
        run, done = content.get("run"), content.get("done")
        for name, now in self._key.items():
            then = run.get(name) if isinstance(run, dict) else None
            if then != json.loads(json.dumps(now)):
                raise ValueError(
                    f"{path} must be a checkpoint of this run, got one of another: {name} was {then!r:.200}, "
                    f"is {now!r:.200}; name another file, or remove it"
                )
        if not isinstance(done, int) or not self.start <= done <= self.stop:
            raise ValueError(f"{path} is damaged: it has done {done!r} rows of {self.start}:{self.stop}")
        try:
            self.evaluation = Evaluation._of_dict(content.get("evaluation"))
        except ValueError as error:
            raise ValueError(f"{path} is damaged: {error}") from None
        self.done = done

    def part(self) -> dict[str, Any]:
        """What was evaluated: files and rows."""
        return {"logits": self._key["logits"], "rows": [self.start, self.stop]}


def _pair(name: str, given: Any) -> tuple[int, int | None]:
    """A range of rows, from an integer to an integer or None."""
    try:
        start, stop = given
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be a tuple (start, stop), got {reprlib.repr(given)}") from None
    return an_integer(name, start), integer_or_none(name, stop)


def write_json(path: str | os.PathLike[str], content: Any) -> None:
    """Write a file in JSON, all or nothing."""
    with replaced(path) as file:
        file.write(json.dumps(content, allow_nan=False).encode() + b"\n")


@contextmanager
def progress_bar_of(run: Run, verbose: bool | None) -> Iterator[Callable[[], None]]:
    """What to call behind every block; the bar moves then, if there is one."""
    try:
        row_bytes = run.logits.row_bytes()
        bar = progress_bar(
            total=row_bytes * (run.stop - run.start), desc="evaluate", unit="B", verbose=verbose, unit_scale=True
        )
    except ImportError:
        yield lambda: None
        return
    bar.update(row_bytes * (run.done - run.start))
    bar.initial = bar.n  # the rate is that of this run

    def show() -> None:
        bar.set_postfix(loss=f"{run.evaluation.loss:.4f}", refresh=False)
        bar.update(row_bytes * (run.done - run.start) - bar.n)

    with bar:
        yield show


@contextmanager
def _interrupts_between_blocks() -> Iterator[Callable[[], bool]]:
    """Let a block end before an interrupt is heeded; the second one is at once. What others have set is left alone."""
    asked: list[int] = []
    in_main = threading.current_thread() is threading.main_thread()
    if not in_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield lambda: False
        return

    def ask(number: int, frame: FrameType | None) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield lambda: bool(asked)
    finally:
        signal.signal(signal.SIGINT, before)
