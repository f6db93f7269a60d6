"""What is timed, and by whom: a row of the table, its data and the truth about it, xentrs and NumPy, and the check."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from .. import distributions, evaluation, losses, regularizers
from .._core import build_info
from . import layers
from .formulas import FORMULAS, Array

Calls = Mapping[str, Callable[[], Any]]

LOSS, GRADIENT, IN_PLACE = WORKS = ("loss", "gradient", "in place")
"""What is timed: the loss; loss and gradient, into an array that is there already; the same, over the logits."""


class Row(NamedTuple):
    """A row of the table: what to compute, on what, and what is to be reached."""

    loss: str
    shape: tuple[int, ...]
    dtype: str = "float32"
    reach: Mapping[str, str] = {}
    """For a work the goal, as `reached` reads it."""

    @property
    def name(self) -> str:
        """The row in one word of the output."""
        loss = self.loss.removesuffix("_cross_entropy").removesuffix("_loss")
        if loss == self.loss == "softmax":  # the function, not the cross-entropy
            loss = "softmax function"
        return f"{loss} {'x'.join(map(str, self.shape))} {self.dtype}"

    @property
    def is_quick(self) -> bool:
        """Whether the row takes no time and no memory worth mentioning."""
        return int(np.prod(self.shape)) <= 1 << 20


class Work:
    """The data of a row, drawn once for all contestants, and the truth about a part of it."""

    def __init__(self, row: Row) -> None:
        self.row = row
        self.layer: layers.Layer | None = None
        self.formula = FORMULAS[row.loss.replace("linear", "softmax")]
        if row.loss.startswith("linear"):
            # `x` is read once, and the gradient of the weight is checked.
            self.layer = layers.draw(row.shape, np.dtype(row.dtype).type)
            self.logits, self.target = self.layer.x, self.layer.target
            self.has_classes = True
            self.out: Array = np.zeros_like(self.layer.weight)
            self.loss, self.some, self.grad, self.size = layers.oracle(self.layer)
            return
        self.logits, self.target = self.formula.draw(np.random.default_rng(0), row.shape, np.dtype(row.dtype).type)
        self.has_classes = self.target.dtype.kind in "iu"
        self.out = np.zeros_like(self.logits)
        self.loss, self.some, self.grad, self.size = oracle(self)

    @property
    def count(self) -> float:
        """What the mean divides by: the number of values, those of rows or elements, or the sum of distributions."""
        if self.formula.joint:
            return self.formula.joint(len(self.logits))
        if self.row.loss == "categorical_cross_entropy":
            return float(self.target.sum(dtype=np.float64))
        return self.target.size if self.formula.is_loss else len(self.logits)

    def bytes(self, work: str) -> int:
        """How many bytes the work cannot do without: the inputs read once, the gradient written once."""
        return self.logits.nbytes + self.target.nbytes + (self.out.nbytes if work != LOSS else 0)


def oracle(work: Work) -> tuple[float, Array, Array, Array]:
    """Compute the truth in float64: the mean value, and for some rows their places, gradient and its yardstick.

    The gradient is that of the mean of a loss, and that of the sum of other functions.
    """
    n, formula = len(work.logits), work.formula
    total, block = 0.0, n if formula.joint else max(1, (1 << 20) * n // work.logits.size)
    for start in range(0, n, block):
        part = slice(start, start + block)
        total += float(np.sum(formula.values(*_wide(work, part))))
    some = np.unique(np.linspace(0, n - 1, min(n, block)).astype(int))
    if formula.is_map:
        values = formula.values(*_wide(work, some))
        return total / work.count, some, values, np.abs(values)
    if formula.slopes is None:
        return total / work.count, some[:0], work.logits[:0], work.logits[:0]
    up, down = formula.slopes(*_wide(work, some))
    divisor = work.count if formula.is_loss else 1.0
    return total / work.count, some, (up - down) / divisor, (np.abs(up) + np.abs(down)) / divisor


def _wide(work: Work, rows: Any) -> tuple[Array, Array]:
    """Some rows in double precision; classes stay what they are."""
    target = work.target[rows] if len(work.target) else work.target
    return work.logits[rows].astype(np.float64), target if work.has_classes else target.astype(np.float64)


class Contestant(NamedTuple):
    """Somebody who computes a loss and its gradient."""

    name: str
    version: str
    rtol: Mapping[str, float]
    """How near to the truth the answers must be, by dtype."""
    calls: Callable[[Work], Calls]
    """The calls to time. "loss" returns the mean loss; "gradient" and "in place" return it and its gradient."""


HOMES = (losses, distributions, regularizers, evaluation)
"""Where the functions of the table stand."""


def _xentrs(work: Work) -> Calls:
    if work.layer:
        return dict(zip(WORKS, layers.xentrs(work.layer, work.out), strict=False))
    home = next(home for home in HOMES if hasattr(home, work.row.loss))
    function = getattr(home, work.row.loss)
    given: list[Any] = [array for array in (work.logits, work.target) if len(array)]
    if work.formula.is_map:  # the result is an array, without a mean to check
        return {
            GRADIENT: lambda: (work.loss, function(work.logits, out=work.out)),
            IN_PLACE: lambda: (work.loss, function(work.out, out=work.out)),
        }
    if work.formula.slopes is None:
        if not work.formula.is_loss:
            return {LOSS: lambda: function(*given).mean(dtype=np.float64)}
        return {LOSS: lambda: function(*given).loss.mean(dtype=np.float64)}
    with_grad = getattr(home, f"{work.row.loss}_with_grad")

    def mean_and_grad() -> tuple[Any, Array]:
        values, grad, *_ = with_grad(*given)
        return values.mean(dtype=np.float64), grad

    if not work.formula.is_loss:
        return {LOSS: lambda: function(*given).mean(dtype=np.float64), GRADIENT: mean_and_grad}
    given += work.formula.given
    calls: dict[str, Callable[[], Any]] = {
        LOSS: functools.partial(function, *given),
        GRADIENT: lambda: with_grad(*given, out=work.out)[:2],
        IN_PLACE: functools.partial(with_grad, work.out, work.target, out=work.out),
    }
    if work.formula.peers_know_it:  # compared with peers, whose calls are so short that an indirection would show
        calls[GRADIENT] = functools.partial(with_grad, *given, out=work.out)
    if not work.formula.repeats_in_place:
        del calls[IN_PLACE]
    return calls


def _numpy(work: Work) -> Calls:
    if work.layer:
        return dict(zip(WORKS, layers.numpy(work.layer, work.out), strict=False))
    z, target, out, n = work.logits, work.target, work.out, work.count
    rows, slopes = np.arange(len(z)), work.formula.slopes

    def loss() -> Any:
        return np.sum(work.formula.values(z, target), dtype=np.float64) / n

    if work.formula.is_map:
        return {GRADIENT: lambda: (work.loss, work.formula.values(z, target))}
    if slopes is None:
        return {LOSS: loss}

    def softmax_gradient() -> Any:
        peak = z.max(axis=1, keepdims=True)
        np.exp(np.subtract(z, peak, out=out), out=out)
        total = out.sum(axis=1, keepdims=True)
        loss = np.mean(np.log(total[:, 0]) + peak[:, 0] - z[rows, target])
        np.divide(out, total * n, out=out)
        out[rows, target] -= 1 / n
        return loss, out

    def sigmoid_gradient() -> Any:
        np.subtract(1 / (1 + np.exp(-z)), target, out=out)
        np.divide(out, n, out=out)
        return loss(), out

    def gradient() -> Any:
        up, down = slopes(z, target)
        np.subtract(up, down, out=out)
        if work.formula.is_loss:
            np.divide(out, n, out=out)
        return loss(), out

    by_hand = {"softmax_cross_entropy": softmax_gradient, "sigmoid_cross_entropy": sigmoid_gradient}
    return {LOSS: loss, GRADIENT: by_hand.get(work.row.loss, gradient)}


PEER_RTOL = {"float32": 1e-3, "float64": 1e-6}
"""Peers must compute the same thing; how well is no matter of a benchmark."""


XENTRS = Contestant("xentrs", build_info()["version"], {"float32": 1e-6, "float64": 1e-12}, _xentrs)
NUMPY = Contestant("NumPy", np.__version__, PEER_RTOL, _numpy)


def check(name: str, call: str, answer: Any, work: Work, rtol: float) -> None:
    """Refuse a wrong answer: the mean loss over all rows, and the gradient of some of them.

    Raises
    ------
    RuntimeError
        If the loss is off by more than `rtol`, or an element of the gradient by more than ten times `rtol` of the
        larger of the two terms that it is the difference of.
    """
    who = f"{name}, {work.row.name}, {call}"
    loss, grad = (answer, None) if call == LOSS else answer
    if not abs(float(loss) - work.loss) <= rtol * abs(work.loss):
        raise RuntimeError(f"{who}: the loss is {float(loss)!r} instead of {work.loss!r}")
    if grad is None:
        return
    if tuple(grad.shape) != work.out.shape:
        raise RuntimeError(f"{who}: the gradient has shape {tuple(grad.shape)} instead of {work.out.shape}")
    error = np.abs(np.array(grad[work.some], np.float64) - work.grad)
    wrong = ~(error <= 10 * rtol * work.size + float(np.finfo(work.row.dtype).tiny))
    if wrong.any():
        raise RuntimeError(f"{who}: {wrong.sum()} of {wrong.size} gradients are wrong, the worst by {error.max():.2e}")
