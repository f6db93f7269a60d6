"""All figures of merit over data that comes in pieces, exact under any split, and in text."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby, pairwise
from operator import itemgetter
from typing import Any, NamedTuple, Self, SupportsIndex

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _core
from .._calls import readable
from .._numbers import a_boolean, an_integer, positive, positive_integer
from .accumulator import Tally, exp
from .reliability import ReliabilityBins, bin_numbers, draw_reliability
from .sums import UNIT, Addable, ExactSums, quotient, whole_numbers
from .sweep import Judged, judged, pieces, read_batch

__all__ = ["ClassFigures", "Evaluation"]

FORMAT = 1
"""Goes up by one when text written from then on can no longer be read by an older xentrs."""


class ClassFigures(NamedTuple):
    """Figures of each class, as `Evaluation.per_class` tells them: arrays of shape (c,)."""

    rows: NDArray[np.int64]
    """Number of rows of the class that count."""

    weight: NDArray[np.float64]
    """Sum of their weights."""

    loss: NDArray[np.float64]
    """Weighted mean of their losses, in nats; 0 where there are none."""

    recall: NDArray[np.float64]
    """Share of their weight that lies on right predictions; NaN where there are none."""

    precision: NDArray[np.float64]
    """Of the weight of the rows that are predicted to be of the class the share that is; NaN where there are none."""


class Evaluation(Addable):
    """Loss, accuracy, calibration and more over data that comes in pieces, exact under any split and any order.

    For rows with logits ``z_i``, targets ``y_i`` and weights ``s_i``, ``p_i = softmax(z_i / temperature)`` and
    ``S = sum_i s_i``::

        loss              = sum_i s_i (-ln p_iy) / S                       perplexity = exp(loss)
        accuracy          = sum_i s_i [argmax z_i = y_i] / S               top_k_accuracy: y_i among the k largest
        brier_score       = sum_i s_i sum_k (p_ik - [k = y_i])^2 / S
        calibration_error = sum_b |sum_{i in b} s_i ([argmax z_i = y_i] - max_k p_ik)| / S
        bits_per_token    = loss / ln 2                                    bits_per_byte = S loss / (n_bytes ln 2)

    Parameters
    ----------
    temperature : float, default 1.0
        What the logits are divided by.
    n_bins : int, default 15
        Bins of equal width that the confidence is sorted into.
    top_k : int or sequence of int, default ()
        For which `k` to tell the share of rows whose target is among the `k` largest logits.
    per_class : bool, default False
        Whether to keep the figures of each class, too.

    Attributes
    ----------
    n_classes : int or None
        The number of classes, once a batch has told it.

    Raises
    ------
    TypeError
        If a number is none.
    ValueError
        If `temperature` is not positive and finite, or `n_bins` or a `top_k` is less than 1.

    See Also
    --------
    evaluate : of arrays, or of files larger than the memory.
    LossAccumulator : loss, perplexity and accuracy alone.

    Notes
    -----
    Each figure is made of sums that are kept as integers, and rounded once, when it is asked for: see
    `LossAccumulator`. So however the rows are shared out among batches, processes or machines, and in whatever order
    the parts are merged, every figure is the same to the last bit. What is summed of a row (its loss, its confidence,
    its Brier score) is rounded to the type that the logits are computed in, and depends on the row, the batch of it
    not.

    Of equal logits the class of the lower number stands first, in `top_k_accuracy` as in `accuracy`. A row that
    defines no distribution, for a NaN in it, makes the loss, the calibration error and the Brier score NaN. A row of
    infinite loss makes the loss infinite.

    Evaluations can be compared, added, copied, pickled, and written to text, `to_json`. One of them must not be updated
    by two threads at once: give each its own and add them.

    References
    ----------
    .. [1] G. W. Brier, "Verification of forecasts expressed in terms of probability", Monthly Weather Review 78, 1950:
       the score over all classes, from 0 to 2.

    Examples
    --------
    >>> import numpy as np
    >>> import xentrs as xe
    >>> logits = np.array([[2.0, 1.0, 0.0], [0.0, 3.0, 0.0]])
    >>> evaluation = xe.Evaluation(top_k=2).update(logits, [0, 2])
    >>> round(evaluation.loss, 4), evaluation.accuracy, evaluation.top_k_accuracy
    (1.7513, 0.5, {2: 0.5})
    >>> round(evaluation.brier_score, 4), round(evaluation.calibration_error, 4)
    (0.9603, 0.6221)
    >>> parts = [xe.Evaluation(top_k=2).update(row, y) for row, y in zip(logits, [0, 2], strict=True)]
    >>> sum(parts) == evaluation
    True
    >>> xe.Evaluation.from_json(evaluation.to_json()) == evaluation
    True
    """

    __hash__ = None  # type: ignore[assignment]

    @readable
    def __init__(
        self,
        *,
        temperature: float = 1.0,
        n_bins: int = 15,
        top_k: SupportsIndex | Iterable[SupportsIndex] = (),
        per_class: bool = False,
    ) -> None:
        self._temperature = positive("temperature", temperature)
        self._n_bins = positive_integer("n_bins", n_bins)
        ks = top_k if isinstance(top_k, Iterable) else (top_k,)
        self._top_k = tuple(sorted({positive_integer("top_k", k) for k in ks}))
        self._per_class = a_boolean("per_class", per_class)
        self.n_classes: int | None = None
        self._sums = {name: ExactSums(n) for name, n in self._lengths(_SUMS).items()}
        self._counts = {name: [0] * n for name, n in self._lengths(_COUNTS).items()}

    def _lengths(self, names: dict[str, str]) -> dict[str, int]:
        """How many numbers stand under each name; those of classes none before their number is known."""
        classes = (self.n_classes or 0) if self._per_class else 0
        lengths = {"one": 1, "bins": self._n_bins, "top_k": len(self._top_k), "classes": classes}
        return {name: lengths[kind] for name, kind in names.items()}

    def _options(self) -> dict[str, Any]:
        return {
            "temperature": self._temperature,
            "n_bins": self._n_bins,
            "top_k": list(self._top_k),
            "per_class": self._per_class,
        }

    # ----------------------------------------------------------------------------------------------------------- adding

    def update(
        self,
        logits: ArrayLike,
        target: ArrayLike,
        *,
        sample_weight: ArrayLike | None = None,
        ignore_index: int | None = -100,
        axis: int = -1,
        n_bytes: int = 0,
    ) -> Self:
        """Add the rows of a batch.

        Parameters
        ----------
        logits, target, sample_weight, ignore_index, axis
            As in `softmax_stats`.
        n_bytes : int, default 0
            Bytes of text that the rows stand for, which `bits_per_byte` divides by.

        Returns
        -------
        Evaluation
            This evaluation.

        Raises
        ------
        IndexError, ValueError, TypeError
            As in `softmax_stats`; or if the number of classes is not that of the batches before. Nothing is added then.

        Warns
        -----
        UserWarning
            As in `softmax_stats`.

        Examples
        --------
        >>> import xentrs as xe
        >>> xe.Evaluation().update([[0.0, 0.0]], [1], n_bytes=4).bits_per_byte
        0.25
        """
        return self._add(self._read(logits, target, sample_weight, ignore_index, axis, n_bytes))

    def _read(
        self,
        logits: ArrayLike,
        target: ArrayLike,
        sample_weight: ArrayLike | None = None,
        ignore_index: int | None = -100,
        axis: int = -1,
        n_bytes: int = 0,
        where: Callable[[str, int], str] = "row {1}".format,
    ) -> _Read:
        """Sum a batch, without adding it to what is here; `where` is the word for a row that is refused."""
        n_bytes = an_integer("n_bytes", n_bytes, 0)
        batch = read_batch(logits, target, sample_weight, ignore_index, axis, where)
        classes = batch.logits.shape[-1]
        if self.n_classes not in (None, classes):
            raise ValueError(f"logits must have {self.n_classes} classes, as before, got {classes}")
        added: Counter[tuple[str, int]] = Counter({("n_bytes", 0): n_bytes})
        ranked = any(k > 1 for k in self._top_k)
        for piece in pieces(batch):
            rows = judged(piece, ignore_index=ignore_index, temperature=self._temperature, ranked=ranked)
            for name, index, amount in self._summed(rows):
                added[name, index] += amount
        return _Read(classes, added)

    def _summed(self, rows: Judged) -> Iterator[tuple[str, int, int]]:
        """All that is added: name, index, and amount, of sums in units of ``2**-1074``."""
        tally = Tally.of(rows.loss, rows.weight, rows.correct)
        yield from ((name, 0, getattr(tally, of)) for name, of in _OF_TALLY.items())
        # Half of it is at most 1, so that no weight makes it infinite.
        yield "brier", 0, 2 * Tally.of(rows.brier / 2, rows.weight, rows.correct).loss
        for i, k in enumerate(self._top_k):
            among = rows.correct if rows.rank is None else rows.rank < min(k, 2**62)
            yield "top_k", i, Tally.of(rows.brier, rows.weight, among & (rows.argmax != -1)).correct
        sure = (rows.weight > 0) & (rows.argmax != -1)
        of_sure = rows.confidence[sure], rows.weight[sure], rows.correct[sure]
        for b, tally in _tallies(bin_numbers(of_sure[0], self._n_bins).astype(np.int64) - 1, *of_sure):
            yield from (("bin_confidence", b, tally.loss), ("bin_weight", b, tally.weight))
            yield "bin_correct", b, tally.correct
        if self._per_class:
            for k, tally in _tallies(rows.argmax[sure], *of_sure):
                yield "class_predicted", k, tally.weight
            counts = rows.weight > 0
            for k, tally in _tallies(rows.target[counts], rows.loss[counts], rows.weight[counts], rows.correct[counts]):
                yield from ((f"class_{name}", k, getattr(tally, of)) for name, of in _OF_TALLY.items())

    def _add(self, read: _Read) -> Self:
        self._take_classes(read.n_classes)
        for (name, index), amount in read.added.items():
            if name in self._sums:
                self._sums[name].add(index, amount)
            else:
                self._counts[name][index] += amount
        return self

    def _take_classes(self, n_classes: int) -> None:
        if self.n_classes is None:
            self.n_classes = n_classes
            for name, n in self._lengths(_SUMS).items():
                if _SUMS[name] == "classes":
                    self._sums[name] = ExactSums(n)
            for name, n in self._lengths(_COUNTS).items():
                if _COUNTS[name] == "classes":
                    self._counts[name] = [0] * n

    def merge(self, other: Evaluation) -> Self:
        """Add all rows that another evaluation has seen.

        Parameters
        ----------
        other : Evaluation
            It is left as it is.

        Returns
        -------
        Evaluation
            This evaluation.

        Raises
        ------
        TypeError
            If `other` is no evaluation.
        ValueError
            If its options or its number of classes are others. Nothing is added then.

        Examples
        --------
        >>> import xentrs as xe
        >>> a = xe.Evaluation().update([[0.0, 0.0]], [1])
        >>> a.merge(a).rows
        2
        """
        if not isinstance(other, Evaluation):
            raise TypeError(f"other must be an Evaluation, got {type(other).__name__}")
        theirs = other._options()
        for name, value in self._options().items():
            if theirs[name] != value:
                raise ValueError(
                    f"an evaluation with {name}={value!r} has no sum with one with {name}={theirs[name]!r}"
                )
        if other.n_classes is None:
            n_classes = self.n_classes
        elif self.n_classes in (None, other.n_classes):
            n_classes = other.n_classes
        else:
            raise ValueError(f"an evaluation of {self.n_classes} classes has no sum with one of {other.n_classes}")
        if n_classes is None:
            self._merge_numbers(other)
        else:
            self._take_classes(n_classes)
            self._merge_numbers(other if other.n_classes is not None else other._with_classes(n_classes))
        return self

    def _with_classes(self, n_classes: int) -> Evaluation:
        twin = self._copy()
        twin._take_classes(n_classes)
        return twin

    def _merge_numbers(self, other: Evaluation) -> None:
        for name, sums in self._sums.items():
            sums.merge(other._sums[name])
        for name, counts in self._counts.items():
            self._counts[name] = [a + b for a, b in zip(counts, other._counts[name], strict=True)]

    def _nothing(self) -> Self:
        return type(self)(**self._options())

    def _copy(self) -> Self:
        twin = self._nothing()
        twin.n_classes = self.n_classes
        twin._sums = {name: sums.copy() for name, sums in self._sums.items()}
        twin._counts = {name: list(counts) for name, counts in self._counts.items()}
        return twin

    def __copy__(self) -> Self:
        return self._copy()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Evaluation):
            return NotImplemented
        mine, theirs = ((each._options(), each.n_classes, each._sums, each._counts) for each in (self, other))
        return mine == theirs

    def __getstate__(self) -> dict[str, Any]:
        return self._to_dict()

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(vars(self._of_dict(state)))

    # ---------------------------------------------------------------------------------------------------------- figures

    @property
    def loss(self) -> float:
        """Weighted mean of the losses, in nats; 0 without any weight."""
        return self._mean("loss", infinite=True)

    @property
    def perplexity(self) -> float:
        """``exp(loss)``: among how many equally likely classes the model seems to choose."""
        return exp(self.loss)

    @property
    def accuracy(self) -> float:
        """Share of the weight that lies on rows whose prediction is right; NaN without any weight."""
        return self._share(self._total("correct"))

    @property
    def top_k_accuracy(self) -> dict[int, float]:
        """For each `k`, the share of the weight on rows whose target is among the `k` largest logits."""
        return {k: self._share(value) for k, value in zip(self._top_k, self._sums["top_k"].in_units(), strict=True)}

    @property
    def calibration_error(self) -> float:
        """How far the confidence is from the accuracy, on average: `expected_calibration_error`."""
        gaps = (
            abs(right - sure)
            for right, sure in zip(
                self._sums["bin_correct"].in_units(), self._sums["bin_confidence"].in_units(), strict=True
            )
        )
        weight = self._total("weight")
        if self.undefined_rows:
            return math.nan
        return quotient(sum(gaps), weight) if weight else 0.0

    @property
    def brier_score(self) -> float:
        """Weighted mean of the squared distances, from 0 to 2, of the probabilities from the answers."""
        return self._mean("brier", infinite=False)

    @property
    def bits_per_token(self) -> float:
        """The loss in bits, where a row is a token."""
        return self.loss / math.log(2)

    @property
    def bits_per_byte(self) -> float:
        """Bits of all rows, by the bytes of text that they stand for; NaN where nobody has told how many."""
        n_bytes = self._counts["n_bytes"][0]
        if not n_bytes or not math.isfinite(self.loss):
            return self.loss if n_bytes else math.nan
        return quotient(self._total("loss"), n_bytes * UNIT) / math.log(2)

    @property
    def weight(self) -> float:
        """Sum of the weights."""
        return quotient(self._total("weight"), UNIT)

    @property
    def rows(self) -> int:
        """Number of rows that count: neither ignored nor of zero weight."""
        return self._counts["rows"][0]

    @property
    def infinite_rows(self) -> int:
        """Number of rows of infinite loss: the model holds the answer to be impossible."""
        return self._counts["infinite"][0]

    @property
    def undefined_rows(self) -> int:
        """Number of rows whose logits define no distribution."""
        return self._counts["undefined"][0]

    @property
    def reliability(self) -> ReliabilityBins:
        """Weight, confidence and right answers of each bin, summed."""
        names = ("bin_weight", "bin_confidence", "bin_correct")
        return ReliabilityBins(*(_ratios(self._sums[name].in_units(), [UNIT] * self._n_bins) for name in names))

    @property
    def per_class(self) -> ClassFigures:
        """Figures of each class.

        Raises
        ------
        ValueError
            If they were not kept: ``Evaluation(per_class=True)`` keeps them.
        """
        if not self._per_class:
            raise ValueError("figures of each class were not kept; write Evaluation(per_class=True)")
        loss, weight, correct, predicted = (
            self._sums[f"class_{name}"].in_units() for name in ("loss", "weight", "correct", "predicted")
        )
        losses = np.nan_to_num(_ratios(loss, weight), nan=0.0, posinf=math.inf)
        losses[np.array(self._counts["class_infinite"], np.int64) > 0] = math.inf
        losses[np.array(self._counts["class_undefined"], np.int64) > 0] = math.nan
        return ClassFigures(
            np.array(self._counts["class_rows"], np.int64),
            _ratios(weight, [UNIT] * len(weight)),
            losses,
            _ratios(correct, weight),
            _ratios(correct, predicted),
        )

    def result(self) -> dict[str, Any]:
        """Tell all figures over all rows so far.

        Returns
        -------
        dict
            ``loss``, ``perplexity``, ``accuracy``, ``top_k_accuracy``, ``calibration_error``, ``brier_score``,
            ``bits_per_token``, ``bits_per_byte``, ``weight`` and ``rows``.

        Examples
        --------
        >>> import xentrs as xe
        >>> xe.Evaluation().update([[0.0, 0.0]], [0]).result()["perplexity"]
        2.0
        """
        return {name: getattr(self, name) for name in _FIGURES}

    def __repr__(self) -> str:
        figures = ", ".join(f"{name}={value!r}" for name, value in self.result().items())
        return f"{type(self).__name__}({figures})"

    def _total(self, name: str) -> int:
        return self._sums[name].in_units()[0]

    def _share(self, part: int) -> float:
        weight = self._total("weight")
        return part / weight if weight else math.nan

    def _mean(self, name: str, *, infinite: bool) -> float:
        rows = Tally(
            loss=self._total(name),
            weight=self._total("weight"),
            infinite=self.infinite_rows if infinite else 0,
            nan=self.undefined_rows,
        )
        return rows.mean_loss()

    # --------------------------------------------------------------------------------------------------------- pictures

    def plot_reliability(
        self, ax: Any = None, *, name: str | None = None, ref_line: bool = True, **options: Any
    ) -> Any:
        """Draw the accuracy of each bin over its confidence, beside the diagonal of a calibrated model.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw; several models may share it. By default a new figure of pyplot is made.
        name : str, optional
            What the legend calls the model, before its calibration error.
        ref_line : bool, default True
            Whether to draw the diagonal.
        **options
            Of the line, for ``matplotlib.axes.Axes.plot``.

        Returns
        -------
        matplotlib.axes.Axes
            Where it was drawn; its last line is that of the model.

        Raises
        ------
        ImportError
            Without matplotlib 3.8 or newer, the extra `plot`.

        Notes
        -----
        Beneath the line stands the share of the weight in each bin.

        Examples
        --------
        >>> import xentrs as xe
        >>> from matplotlib.figure import Figure
        >>> evaluation = xe.Evaluation().update([[1.0, 0.0], [0.0, 2.0]], [0, 0])
        >>> evaluation.plot_reliability(Figure().subplots()).get_xlabel()
        'mean confidence in a bin'
        """
        return draw_reliability(self.reliability, ax, name=name, ref_line=ref_line, **options)

    def plot_per_class(self, ax: Any) -> Any:
        """Draw the loss of each class as a bar; of many classes the forty of the largest.

        Parameters
        ----------
        ax : matplotlib.axes.Axes
            Where to draw.

        Returns
        -------
        matplotlib.axes.Axes
            The same.

        Raises
        ------
        ValueError
            If the figures of each class were not kept.

        Examples
        --------
        >>> import xentrs as xe
        >>> from matplotlib.figure import Figure
        >>> evaluation = xe.Evaluation(per_class=True).update([[1.0, 0.0], [0.0, 2.0]], [0, 0])
        >>> evaluation.plot_per_class(Figure().subplots()).get_ylabel()
        'loss (nats)'
        """
        figures = self.per_class
        classes = np.flatnonzero(figures.rows > 0)
        if len(classes) > _MOST_BARS:
            classes = np.sort(classes[np.argsort(-figures.loss[classes], kind="stable")[:_MOST_BARS]])
        ax.bar(np.arange(len(classes)), figures.loss[classes], color="C0")
        ax.set_xticks(np.arange(len(classes)), [str(k) for k in classes], rotation=90 if len(classes) > 10 else 0)
        ax.axhline(self.loss, linestyle="--", color="0.3", label="all classes")
        ax.set(xlabel="class", ylabel="loss (nats)")
        ax.legend()
        return ax

    # ------------------------------------------------------------------------------------------------------------- text

    def to_json(self) -> str:
        """Write the evaluation as text, without a loss.

        Returns
        -------
        str
            JSON: the figures of `result`, for people and other programs (None for what is not finite), then options,
            sums and counts, which `from_json` reads. A sum is an integer in units of ``2**exponent``.

        Examples
        --------
        >>> import json
        >>> import xentrs as xe
        >>> text = xe.Evaluation().update([[0.0, 0.0]], [1]).to_json()
        >>> json.loads(text)["perplexity"], json.loads(text)["sums"]["weight"]
        (2.0, {'exponent': 0, 'values': [1]})
        """
        return json.dumps(self._to_dict(), allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` has written.

        Parameters
        ----------
        text : str
            The text.

        Returns
        -------
        Evaluation
            One that equals the one that was written.

        Raises
        ------
        ValueError
            If the text is something else, damaged, or of a later version.

        Examples
        --------
        >>> import xentrs as xe
        >>> evaluation = xe.Evaluation().update([[0.0, 0.0]], [1])
        >>> xe.Evaluation.from_json(evaluation.to_json()) == evaluation
        True
        """
        if not isinstance(text, str | bytes | bytearray):
            raise TypeError(f"text must be a str, got {type(text).__name__}")
        try:
            given = json.loads(text)
        except ValueError as error:
            raise ValueError(f"expected the JSON that to_json writes: {error}") from None
        return cls._of_dict(given)

    def _to_dict(self) -> dict[str, Any]:
        figures = self.result()
        figures["top_k_accuracy"] = {str(k): _finite(value) for k, value in figures["top_k_accuracy"].items()}
        return {
            "format": FORMAT,
            "xentrs": _core.build_info()["version"],
            **{name: _finite(value) for name, value in figures.items()},
            "options": self._options(),
            "n_classes": self.n_classes,
            "sums": {name: sums.to_dict() for name, sums in self._sums.items()},
            "counts": {name: list(counts) for name, counts in self._counts.items()},
        }

    @classmethod
    def _of_dict(cls, given: Any) -> Self:
        if not isinstance(given, dict) or "format" not in given:
            raise ValueError("expected the JSON of an Evaluation, got another one")
        if given["format"] != FORMAT:
            raise ValueError(f"expected an Evaluation of format {FORMAT}, got {given['format']!r}: update xentrs")
        try:
            made = cls(**given["options"])
            n_classes = given["n_classes"]
            if n_classes is not None:
                made._take_classes(positive_integer("n_classes", n_classes))
            for name, n in made._lengths(_SUMS).items():
                made._sums[name] = ExactSums.of_dict(given["sums"][name], n)
            for name, n in made._lengths(_COUNTS).items():
                made._counts[name] = whole_numbers(given["counts"][name], n)
        except (KeyError, TypeError, ValueError) as error:
            what = f"{error} is missing" if isinstance(error, KeyError) else error
            raise ValueError(f"expected the JSON of an Evaluation, which is damaged: {what}") from None
        return made


_FIGURES = """loss perplexity accuracy top_k_accuracy calibration_error brier_score bits_per_token bits_per_byte weight
rows""".split()
_SUMS = {
    "loss": "one",
    "weight": "one",
    "correct": "one",
    "brier": "one",
    "top_k": "top_k",
    "bin_confidence": "bins",
    "bin_weight": "bins",
    "bin_correct": "bins",
    "class_loss": "classes",
    "class_weight": "classes",
    "class_correct": "classes",
    "class_predicted": "classes",
}
_COUNTS = {
    "rows": "one",
    "infinite": "one",
    "undefined": "one",
    "n_bytes": "one",
    "class_rows": "classes",
    "class_infinite": "classes",
    "class_undefined": "classes",
}
_OF_TALLY = {"loss": "loss", "weight": "weight", "correct": "correct"}
_OF_TALLY |= {"rows": "rows", "infinite": "infinite", "undefined": "nan"}
"""What a tally of losses calls its numbers."""

_MOST_BARS = 40


class _Read(NamedTuple):
    """What a batch adds, by name and index; to sums in units of ``2**-1074``."""

    n_classes: int
    added: Counter[tuple[str, int]]


def _tallies(
    group: NDArray[np.int64], x: NDArray[Any], weight: NDArray[np.float64], correct: NDArray[np.bool_]
) -> Iterator[tuple[int, Tally]]:
    """Each group that occurs, and the tally of its rows, of which each has weight."""
    if not len(group):
        return
    if group.max() < 1 << 16:
        group = group.astype(np.uint16)  # for which NumPy has a sort in linear time
    order = np.argsort(group, kind="stable")
    group, x, weight, correct = group[order], x[order], weight[order], correct[order]
    starts = [0, *(np.flatnonzero(np.diff(group)) + 1).tolist(), len(group)]
    if len(group) > _FEW * len(starts):
        for start, stop in pairwise(starts):
            yield int(group[start]), Tally.of(x[start:stop], weight[start:stop], correct[start:stop])
        return
    for k, rows in groupby(zip(group.tolist(), x.tolist(), weight.tolist(), correct.tolist(), strict=True), _first):
        total = mass = of_correct = count = infinite = nan = 0
        for _, value, s, right in rows:
            cost, units, count = s * value, _units(s), count + 1
            mass += units
            of_correct += units if right else 0
            if math.isfinite(cost):
                total += _units(cost)
            elif math.isnan(cost):
                nan += 1
            else:
                infinite += 1
        yield k, Tally(total, mass, of_correct, count, infinite, nan)


_FEW = 16
"""Rows of a group: beyond it a call of the compiled sums is faster than a loop."""

_first = itemgetter(0)


def _units(x: float) -> int:
    """A finite number in units of ``2**-1074``."""
    numerator, denominator = x.as_integer_ratio()
    return numerator << (1075 - denominator.bit_length())


def _ratios(a: Sequence[int], b: Sequence[int]) -> NDArray[np.float64]:
    return np.array([quotient(x, y) if y else math.nan for x, y in zip(a, b, strict=True)], np.float64)


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
