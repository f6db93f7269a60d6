"""What is timed, and by whom: a row of the table, its data and the truth about it, xentrs and NumPy, and the check."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import losses
from .._core import build_info

Array = NDArray[Any]
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
        return f"{loss} {'x'.join(map(str, self.shape))} {self.dtype}"

    @property
    def is_quick(self) -> bool:
        """Whether the row takes no time and no memory worth mentioning."""
        return int(np.prod(self.shape)) <= 1 << 20


class Work:
    """The data of a row, drawn once for all contestants, and the truth about a part of it."""

    def __init__(self, row: Row) -> None:
        rng = np.random.default_rng(0)
        dtype = np.dtype(row.dtype).type
        self.row = row
        self.has_classes = row.loss.startswith("softmax")
        self.is_focal = row.loss == "softmax_focal_loss"
        self.logits: Array = 5 * rng.standard_normal(row.shape, dtype)
        self.target: Array
        if self.has_classes:
            self.target = rng.integers(0, row.shape[-1], row.shape[:-1])
        else:
            self.target = (rng.random(row.shape) < 0.3).astype(dtype)
        self.out: Array = np.zeros_like(self.logits)
        self.loss, self.some, self.grad, self.size = oracle(self)

    @property
    def count(self) -> int:
        """What the mean divides by: the number of rows, or of elements."""
        return self.target.size

    def bytes(self, work: str) -> int:
        """How many bytes the work cannot do without: the inputs read once, the gradient written once."""
        return self.logits.nbytes + self.target.nbytes + (self.out.nbytes if work != LOSS else 0)


def oracle(work: Work) -> tuple[float, Array, Array, Array]:
    """Compute the truth in float64: the mean loss, and for some rows their places, gradient and its yardstick.

    The yardstick is the sum of the two terms, probability and target, whose difference the gradient is.
    """
    n = len(work.logits)
    total, block = 0.0, max(1, (1 << 20) * n // work.logits.size)
    for start in range(0, n, block):
        z = work.logits[start : start + block].astype(np.float64)
        total += float(np.sum(_losses(z, work.target[start : start + block], work)))
    some = np.unique(np.linspace(0, n - 1, min(n, block)).astype(int))
    z, target = work.logits[some].astype(np.float64), work.target[some]
    if work.has_classes:
        p = np.exp(z - z.max(-1, keepdims=True))
        p /= p.sum(-1, keepdims=True)
        t = np.zeros_like(p)
        t[np.arange(len(some)), target] = 1.0
        if work.is_focal:
            factor = _focus(z, target)[1][:, np.newaxis]
            p, t = factor * p, factor * t
    else:
        p, t = 1 / (1 + np.exp(-z)), target.astype(np.float64)
    return total / work.count, some, (p - t) / work.count, (p + t) / work.count


def _losses(z: Array, target: Array, work: Work) -> Array:
    loss: Array
    if work.is_focal:
        loss = _focus(z, target)[0]
    elif work.has_classes:
        peak = z.max(-1, keepdims=True)
        loss = np.log(np.exp(z - peak).sum(-1)) + peak[:, 0] - z[np.arange(len(z)), target]
    else:
        loss = np.logaddexp(0.0, z) - target * z
    return loss


def _focus(z: Array, target: Array) -> tuple[Array, Array]:
    """The focal losses of rows with the focus 2, and what their gradients are times those of cross-entropy."""
    e = np.exp(z - z.max(-1, keepdims=True))
    rows, total = np.arange(len(z)), e.sum(-1)
    own = e[rows, target].copy()
    e[rows, target] = 0
    p, q, cost = own / total, e.sum(-1) / total, np.log1p(e.sum(-1) / own)
    return q**2 * cost, q**2 + 2 * q * p * cost


class Contestant(NamedTuple):
    """Somebody who computes a loss and its gradient."""

    name: str
    version: str
    rtol: Mapping[str, float]
    """How near to the truth the answers must be, by dtype."""
    calls: Callable[[Work], Calls]
    """The calls to time. "loss" returns the mean loss; "gradient" and "in place" return it and its gradient."""


def _xentrs(work: Work) -> Calls:
    loss = getattr(losses, work.row.loss)
    with_grad = getattr(losses, f"{work.row.loss}_with_grad")
    return {
        LOSS: functools.partial(loss, work.logits, work.target),
        GRADIENT: functools.partial(with_grad, work.logits, work.target, out=work.out),
        IN_PLACE: functools.partial(with_grad, work.out, work.target, out=work.out),
    }


def _numpy(work: Work) -> Calls:
    z, target, out, n = work.logits, work.target, work.out, work.count
    rows = np.arange(len(z))

    def softmax_loss() -> Any:
        peak = z.max(axis=1, keepdims=True)
        return np.mean(np.log(np.exp(z - peak).sum(axis=1)) + peak[:, 0] - z[rows, target])

    def softmax_gradient() -> Any:
        peak = z.max(axis=1, keepdims=True)
        np.exp(np.subtract(z, peak, out=out), out=out)
        total = out.sum(axis=1, keepdims=True)
        loss = np.mean(np.log(total[:, 0]) + peak[:, 0] - z[rows, target])
        np.divide(out, total * n, out=out)
        out[rows, target] -= 1 / n
        return loss, out

    def sigmoid_loss() -> Any:
        return np.mean(np.logaddexp(0, z) - target * z)

    def sigmoid_gradient() -> Any:
        np.subtract(1 / (1 + np.exp(-z)), target, out=out)
        np.divide(out, n, out=out)
        return sigmoid_loss(), out

    def focal_loss() -> Any:
        return np.mean(_focus(z, target)[0])

    def focal_gradient() -> Any:
        loss, factor = _focus(z, target)
        np.exp(z - z.max(axis=1, keepdims=True), out=out)
        np.divide(out, out.sum(axis=1, keepdims=True), out=out)
        out[rows, target] -= 1
        np.multiply(out, factor[:, np.newaxis] / n, out=out)
        return np.mean(loss), out

    if work.is_focal:
        return {LOSS: focal_loss, GRADIENT: focal_gradient}
    if work.has_classes:
        return {LOSS: softmax_loss, GRADIENT: softmax_gradient}
    return {LOSS: sigmoid_loss, GRADIENT: sigmoid_gradient}


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
    if tuple(grad.shape) != work.logits.shape:
        raise RuntimeError(f"{who}: the gradient has shape {tuple(grad.shape)} instead of {work.logits.shape}")
    error = np.abs(np.array(grad[work.some], np.float64) - work.grad)
    wrong = ~(error <= 10 * rtol * work.size + float(np.finfo(work.row.dtype).tiny))
    if wrong.any():
        raise RuntimeError(f"{who}: {wrong.sum()} of {wrong.size} gradients are wrong, the worst by {error.max():.2e}")
