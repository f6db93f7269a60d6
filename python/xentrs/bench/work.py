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

NEW_ARRAY = "new array"
"""Loss and gradient, in an array that the call makes: the pages of a large one are fresh each time."""

HESSIAN = "Hessian"
"""Loss, gradient, and the diagonal Hessian in a new array: no row of the table asks for it, curves do."""

LIMIT, PEER, LONG_ROWS, FLOAT32 = ("limit", "peer", "long rows", "float32")
"""What a goal is held against: the memory, the fastest peer, softmax cross-entropy of as many numbers in long rows that
stay in the cache, and the same row in single precision. The last two are xentrs itself."""

LONG = 16384
"""Classes of a long row."""


class Row(NamedTuple):
    """A row of the table: what to compute, on what, and what is to be reached."""

    loss: str
    shape: tuple[int, ...]
    dtype: str = "float32"
    reach: Mapping[str, str] = {}
    """For a work the goal, as `goals` reads it."""

    @property
    def name(self) -> str:
        """The row in one word of the output."""
        loss = self.loss.removesuffix("_cross_entropy").removesuffix("_loss")
        if loss == self.loss == "softmax":  # the function, not the cross-entropy
            loss = "softmax function"
        return f"{loss} {'x'.join(map(str, self.shape))} {self.dtype}"

    @property
    def type(self) -> type:
        """What numbers are stored as."""
        if self.dtype == "bfloat16":
            import ml_dtypes  # which NumPy lacks and xentrs does without

            found: type = ml_dtypes.bfloat16
            return found
        return np.dtype(self.dtype).type

    @property
    def is_quick(self) -> bool:
        """Whether the row takes no time and no memory worth mentioning."""
        return int(np.prod(self.shape)) <= 1 << 20


def goals(goal: str) -> list[tuple[float, str]]:
    """Read a goal such as ``1.25 x limit or 4 x peer``: factors, and what they are of. One that is met is enough."""
    parts = (part.split(" x ") for part in goal.split(" or ") if part)
    return [(float(factor), against) for factor, against in parts]


def yardstick(name: str, row: Row, threads: int) -> Row:
    """Say what xentrs computes for `LONG_ROWS` or `FLOAT32`.

    A thread's share of the long rows is 512 KB of float32, and as much of gradients: both stay in a second-level cache
    of 1 MB, as servers have.
    """
    if name == FLOAT32:
        return row._replace(dtype="float32", reach={})
    return Row("softmax_cross_entropy", (8 * threads, LONG), row.dtype)


class Work:
    """The data of a row, drawn once for all contestants, and the truth about a part of it."""

    def __init__(self, row: Row) -> None:
        self.row = row
        self.layer: layers.Layer | None = None
        self.formula = FORMULAS[row.loss.replace("linear", "softmax")]
        if row.loss.startswith("linear"):
            # `x` is read once, and the gradient of the weight is checked.
            self.layer = layers.draw(row.shape, row.type)
            self.logits, self.target = self.layer.x, self.layer.target
            self.has_classes = True
            self.out: Array = np.zeros_like(self.layer.weight)
            self.loss, self.some, self.grad, self.size = layers.oracle(self.layer)
            return
        self.logits, self.target = self.formula.draw(np.random.default_rng(0), row.shape, row.type)
        self.has_classes = self.target.dtype.kind in "iu"
        self.out = np.zeros_like(self.logits)
        self.loss, self.some, self.grad, self.size = oracle(self)

    @property
    def is_half(self) -> bool:
        """Whether numbers are stored in half precision, which few peers compute with."""
        return self.logits.dtype.itemsize == 2

    @property
    def hessian(self) -> tuple[Array, Array]:
        """The diagonal Hessian of the mean, of the same rows as the gradient, and its yardstick."""
        assert self.formula.bends
        return self.formula.bends(*_wide(self, self.some)) / self.count, self.size

    @property
    def count(self) -> float:
        """What the mean divides by: the number of values, those of rows or elements, or the sum of distributions."""
        if self.formula.joint:
            return self.formula.joint(len(self.logits))
        if self.row.loss == "categorical_cross_entropy":
            return float(self.target.sum(dtype=np.float64))
        return self.target.size if self.formula.is_loss else len(self.logits)

    def bytes(self, work: str) -> int:
        """How many bytes the work cannot do without: the inputs read once, gradient and Hessian written once."""
        written = {LOSS: 0, HESSIAN: 2}.get(work, 1)
        return self.logits.nbytes + self.target.nbytes + written * self.out.nbytes


def oracle(work: Work) -> tuple[float, Array, Array, Array]:
    """Compute the truth in float64: the mean value, and for some rows their places, gradient and its yardstick.

    The gradient is that of the mean of a loss, and that of the sum of other functions; of a map it is the values.
    """
    n, formula = len(work.logits), work.formula
    total, block = 0.0, n if formula.joint else max(1, (1 << 20) * n // work.logits.size)
    for start in range(0, n, block):
        part = slice(start, start + block)
        total += float(np.sum(formula.values(*_wide(work, part))))
    some = np.unique(np.linspace(0, n - 1, min(n, block)).astype(int))
    if not formula.has_gradient:
        return total / work.count, some[:0], work.logits[:0], work.logits[:0]
    (up, down), size = formula.terms(*_wide(work, some)), formula.yardstick(*_wide(work, some))
    divisor = work.count if formula.is_loss else 1.0
    return total / work.count, some, (up - down) / divisor, size / divisor


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
    """The calls to time. "loss" returns the mean loss; "gradient", "in place" and "new array" return it and its
    gradient, "Hessian" it and its diagonal Hessian."""


HOMES = (losses, distributions, regularizers, evaluation)
"""Where the functions of the table stand."""


def _entropy_less_logprob(logits: Array, token: Array) -> Any:
    """What is timed of `token_logprobs`, which reduces nothing: a mean of both of its values."""
    logprob, entropy = losses.token_logprobs(logits, token)
    return entropy.mean(dtype=np.float64) - logprob.mean(dtype=np.float64)


def _entropy_less_logprob_with_grad(logits: Array, token: Array, *, out: Array | None = None) -> tuple[Any, Array]:
    share = 1 / len(token)
    result = losses.token_logprobs_with_grad(logits, token, grad_logprob=-share, grad_entropy=share, out=out)
    return result.entropy.mean(dtype=np.float64) - result.logprob.mean(dtype=np.float64), result.grad


def _xentrs(work: Work) -> Calls:
    if work.layer:
        return dict(zip(WORKS, layers.xentrs(work.layer, work.out), strict=False))
    home = next(home for home in HOMES if hasattr(home, work.row.loss))
    tokens = work.row.loss == "token_logprobs"
    function: Callable[..., Any] = _entropy_less_logprob if tokens else getattr(home, work.row.loss)
    given: list[Any] = [array for array in (work.logits, work.target) if len(array)]
    if work.formula.is_map:  # the result is an array, without a mean to check
        return {
            GRADIENT: lambda: (work.loss, function(work.logits, out=work.out)),
            IN_PLACE: lambda: (work.loss, function(work.out, out=work.out)),
        }
    if not work.formula.has_gradient:
        if not work.formula.is_loss:
            return {LOSS: lambda: function(*given).mean(dtype=np.float64)}
        return {LOSS: lambda: function(*given).loss.mean(dtype=np.float64)}
    with_grad: Callable[..., Any] = getattr(home, f"{work.row.loss}_with_grad")
    if tokens:
        with_grad = _entropy_less_logprob_with_grad

    def mean_and_grad() -> tuple[Any, Array]:
        values, grad, *_ = with_grad(*given)
        return values.mean(dtype=np.float64), grad

    if not work.formula.is_loss:
        return {LOSS: lambda: function(*given).mean(dtype=np.float64), GRADIENT: mean_and_grad}
    given += work.formula.given
    if work.formula.shares:
        options = work.formula.options
        return {
            LOSS: functools.partial(function, *given, **options),
            GRADIENT: lambda: with_grad(*given, **options, out=(work.out, None))[:2],
        }
    calls: dict[str, Callable[[], Any]] = {
        LOSS: functools.partial(function, *given),
        GRADIENT: functools.partial(with_grad, *given, out=work.out),
        IN_PLACE: functools.partial(with_grad, work.out, work.target, out=work.out),
        NEW_ARRAY: functools.partial(with_grad, *given),
    }
    if work.formula.bends:
        with_hess = getattr(home, f"{work.row.loss}_with_hess")
        calls[HESSIAN] = lambda: with_hess(*given, out=work.out)[::2]
    if not work.formula.repeats_in_place:
        del calls[IN_PLACE]
    return calls


def _numpy(work: Work) -> Calls:
    if work.layer:
        return dict(zip(WORKS, layers.numpy(work.layer, work.out), strict=False))
    if work.is_half:  # whose loops go through float32 one number at a time: minutes
        return {}
    z, target, out, n = work.logits, work.target, work.out, work.count
    rows = np.arange(len(z))

    def loss() -> Any:
        return np.sum(work.formula.values(z, target), dtype=np.float64) / n

    if work.formula.is_map:
        return {GRADIENT: lambda: (work.loss, work.formula.values(z, target))}
    if not work.formula.has_gradient:
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
        up, down = work.formula.terms(z, target)
        np.subtract(up, down, out=out)
        if work.formula.is_loss:
            np.divide(out, n, out=out)
        return loss(), out

    calls: dict[str, Callable[[], Any]] = {LOSS: loss}
    if bends := work.formula.bends:
        calls[HESSIAN] = lambda: (gradient()[0], bends(z, target) / n)
    by_hand = {"softmax_cross_entropy": softmax_gradient, "sigmoid_cross_entropy": sigmoid_gradient}
    return calls | {GRADIENT: by_hand.get(work.row.loss, gradient)}


PEER_RTOL = {"float32": 1e-3, "float64": 1e-6, "float16": 1e-2, "bfloat16": 3e-2}
"""Peers must compute the same thing; how well is no matter of a benchmark. In half precision they round on the way."""

ROUNDING = {
    "float64": (2.0**-53, 2.0**-1022),
    "float32": (2.0**-24, 2.0**-126),
    "float16": (2.0**-11, 2.0**-24),
    "bfloat16": (2.0**-8, 2.0**-126),
}
"""What storing a gradient costs: a part of it, and, where it is smaller than a normal number, so much in all. Single
and double precision may flush those to zero; a gradient in float16 consists of them."""

XENTRS = Contestant(
    "xentrs",
    build_info()["version"],
    {"float64": 1e-12} | dict.fromkeys(("float32", "float16", "bfloat16"), 1e-6),
    _xentrs,
)
NUMPY = Contestant("NumPy", np.__version__, PEER_RTOL, _numpy)


class WrongAnswerError(RuntimeError):
    """An answer whose time would mean nothing."""


def check(name: str, call: str, answer: Any, work: Work, rtol: float) -> None:
    """Refuse a wrong answer: the mean loss over all rows, and the gradient of some of them.

    Raises
    ------
    WrongAnswerError
        If the loss is off by more than `rtol`, or an element of the gradient, or of the Hessian, by more than its
        rounding and ten times `rtol` of what is summed for it, without its signs.
    """
    who = f"{name}, {work.row.name}, {call}"
    loss, grad, *_ = (answer, None) if call == LOSS else answer
    if not abs(float(loss) - work.loss) <= rtol * abs(work.loss):
        raise WrongAnswerError(f"{who}: the loss is {float(loss)!r} instead of {work.loss!r}")
    if grad is None:
        return
    if tuple(grad.shape) != work.out.shape:
        raise WrongAnswerError(f"{who}: the gradient has shape {tuple(grad.shape)} instead of {work.out.shape}")
    truth, size = work.hessian if call == HESSIAN else (work.grad, work.size)
    error = np.abs(np.array(grad[work.some], np.float64) - truth)
    part, least = ROUNDING[work.row.dtype]
    wrong = ~(error <= 10 * rtol * size + part * np.abs(truth) + least)
    if wrong.any():
        raise WrongAnswerError(
            f"{who}: {wrong.sum()} of {wrong.size} gradients are wrong, the worst by {error.max():.2e}"
        )
