"""What is timed, and by whom: a row of the table, its data and the truth about it, xentrs and NumPy, and the check."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import distributions, losses
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
        return f"{self.loss.removesuffix('_cross_entropy')} {'x'.join(map(str, self.shape))} {self.dtype}"

    @property
    def is_quick(self) -> bool:
        """Whether the row takes no time and no memory worth mentioning."""
        return int(np.prod(self.shape)) <= 1 << 20


class Work:
    """The data of a row, drawn once for all contestants, and the truth about a part of it.

    Where the row is a function of distributions, `logits` and `target` are the two of them, and the loss is the mean of
    the values; where it is that of Gaussians, `logits` are means, and all variances the same.
    """

    def __init__(self, row: Row) -> None:
        rng = np.random.default_rng(0)
        dtype = np.dtype(row.dtype).type
        self.row = row
        self.has_classes = row.loss.startswith("softmax")
        self.has_distributions = row.loss in distributions.__all__
        self.has_labels = self.has_classes or row.loss.startswith("sigmoid")
        self.logits: Array = 5 * rng.standard_normal(row.shape, dtype)
        self.target: Array
        if self.has_distributions:
            self.logits, self.target = (_distributions(rng, row.shape, dtype) for _ in range(2))
            if row.loss in ("entropy", "perplexity"):
                self.target = self.target[:0]
        elif not self.has_labels:
            self.target = 5 * rng.standard_normal(row.shape, dtype)
        elif self.has_classes:
            self.target = rng.integers(0, row.shape[-1], row.shape[:-1])
        else:
            self.target = (rng.random(row.shape) < 0.3).astype(dtype)
        self.out: Array = np.zeros_like(self.logits)
        self.loss, self.some, self.grad, self.size = oracle(self)

    @property
    def count(self) -> int:
        """What the mean divides by: the number of rows, or of elements."""
        return len(self.logits) if self.has_classes or self.has_distributions else self.logits.size

    def bytes(self, work: str) -> int:
        """How many bytes the work cannot do without: the inputs read once, the gradient written once."""
        return self.logits.nbytes + self.target.nbytes + (self.out.nbytes if work != LOSS else 0)


def _distributions(rng: np.random.Generator, shape: tuple[int, ...], dtype: type) -> Array:
    p = rng.standard_exponential(shape, np.float64)
    p /= p.sum(-1, keepdims=True)
    return p.astype(dtype)


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
    z, target = work.logits[some].astype(np.float64), work.target[some] if work.target.size else work.target
    if work.has_distributions:
        slope = _slopes(z, target.astype(np.float64), work.row.loss)
        return total / work.count, some, slope, np.abs(slope) + np.exp(_losses(z, target, work))[:, None]
    if not work.has_labels:
        return total / work.count, some, (z - target) / work.count, (np.abs(z) + np.abs(target)) / work.count
    if work.has_classes:
        p = np.exp(z - z.max(-1, keepdims=True))
        p /= p.sum(-1, keepdims=True)
        t = np.zeros_like(p)
        t[np.arange(len(some)), target] = 1.0
    else:
        p, t = 1 / (1 + np.exp(-z)), target.astype(np.float64)
    return total / work.count, some, (p - t) / work.count, (p + t) / work.count


def _slopes(p: Array, q: Array, name: str) -> Array:
    """Derivatives with respect to the first distribution."""
    slopes: Array
    if name == "js_divergence":
        slopes = 0.5 * np.log(p / (0.5 * p + 0.5 * q))
    elif name in ("entropy", "perplexity"):
        factor = np.exp(-(p * np.log(p)).sum(-1, keepdims=True)) if name == "perplexity" else 1.0
        slopes = -factor * (np.log(p) + 1)
    else:
        slopes = np.log(p / q) if name == "kl_divergence" else -np.log(q)
    return slopes


def _losses(z: Array, target: Array, work: Work) -> Array:
    loss: Array
    name, target = work.row.loss, target if work.has_classes else target.astype(np.float64)
    if work.has_distributions:
        p, q = z, target
        if name == "js_divergence":
            m = 0.5 * p + 0.5 * q
            loss = (0.5 * p * np.log(p / m) + 0.5 * q * np.log(q / m)).sum(-1)
        elif name == "kl_divergence":
            loss = (p * np.log(p / q) - p + q).sum(-1)
        else:
            loss = -(p * np.log(q if name == "cross_entropy" else p)).sum(-1)
            loss = np.exp(loss) if name == "perplexity" else loss
    elif not work.has_labels:
        loss = 0.5 * (np.log(2 * np.pi) + (target - z) ** 2)
    elif work.has_classes:
        peak = z.max(-1, keepdims=True)
        loss = np.log(np.exp(z - peak).sum(-1)) + peak[:, 0] - z[np.arange(len(z)), target]
    else:
        loss = np.logaddexp(0.0, z) - target * z
    return loss


class Contestant(NamedTuple):
    """Somebody who computes a loss and its gradient."""

    name: str
    version: str
    rtol: Mapping[str, float]
    """How near to the truth the answers must be, by dtype."""
    calls: Callable[[Work], Calls]
    """The calls to time. "loss" returns the mean loss; "gradient" and "in place" return it and its gradient."""


def _xentrs(work: Work) -> Calls:
    if work.has_distributions:
        value = getattr(distributions, work.row.loss)
        value_and_grad = getattr(distributions, f"{work.row.loss}_with_grad")
        given = [work.logits, work.target] if work.target.size else [work.logits]
        return {
            LOSS: lambda: value(*given).mean(dtype=np.float64),
            GRADIENT: lambda: (lambda answer: (answer[0].mean(dtype=np.float64), answer[1]))(value_and_grad(*given)),
        }
    if not work.has_labels:
        gaussian, out = losses.gaussian_nll_with_grad, work.out
        return {
            LOSS: functools.partial(losses.gaussian_nll, work.logits, work.target, 1.0),
            GRADIENT: lambda: gaussian(work.logits, work.target, 1.0, out=out)[:2],
        }
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

    if work.has_distributions or not work.has_labels:
        return {LOSS: lambda: np.sum(_numpy_losses(work)) / n}
    if work.has_classes:
        return {LOSS: softmax_loss, GRADIENT: softmax_gradient}
    return {LOSS: sigmoid_loss, GRADIENT: sigmoid_gradient}


def _numpy_losses(work: Work) -> Array:
    """The formulas of the oracle, in the dtype of the data."""
    p, q, name = work.logits, work.target, work.row.loss
    loss: Array
    if not work.has_distributions:
        loss = 0.5 * (np.log(2 * np.pi) + (q - p) ** 2)
    elif name == "js_divergence":
        m = (p + q) / 2
        loss = ((p * np.log(p / m) + q * np.log(q / m)) / 2).sum(-1)
    elif name == "kl_divergence":
        loss = (p * np.log(p / q)).sum(-1)
    else:
        loss = -(p * np.log(q if name == "cross_entropy" else p)).sum(-1)
        loss = np.exp(loss) if name == "perplexity" else loss
    return loss


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
