"""One `Case` per public loss, one `Function` per function underneath: what it is called, what is true, what to feed it.

The tests and the benchmarks run over `CASES` and `FUNCTIONS`, so a new loss is tested by adding its Case here. The
oracles are float64 formulas in which nothing cancels, written to be obviously right rather than fast: the softmax
one looks at all c x c differences of a row.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import ArrayLike, NDArray

import xentrs as xe

Array = NDArray[Any]
Shape = tuple[int, ...]
Draw = Callable[[np.random.Generator, type, Shape], Any]

REDUCTIONS = ("mean", "sum", "none")
DTYPES = (np.float32, np.float64)
HALVES = (np.float16, ml_dtypes.bfloat16)
"""Storage alone: whatever holds for float32 holds for them, as test_half.py shows bit for bit."""


@dataclass(frozen=True)
class Truth:
    """What an oracle says about a batch, each row (or element) multiplied by its sample weight."""

    loss: Array
    grad: Array
    """The gradient of `loss.sum()`."""
    size: Array
    """The magnitude of the two terms whose difference is `grad`: the yardstick of its rounding error. Where a class is
    the target without smoothing one of the terms is zero, and the yardstick is the gradient itself."""
    weight: float
    """What "mean" divides by."""

    def reduced(self, reduction: str) -> tuple[Any, Array, Array]:
        """Loss, gradient and yardstick under a reduction. The mean of nothing is zero."""
        if reduction == "none":
            return self.loss, self.grad, self.size
        if reduction == "sum":
            return self.loss.sum(), self.grad, self.size
        if self.weight == 0:
            return 0.0, np.zeros_like(self.grad), np.zeros_like(self.size)
        return self.loss.sum() / self.weight, self.grad / self.weight, self.size / self.weight


@dataclass(frozen=True)
class Case:
    """A loss, as the tests see it."""

    name: str
    loss: Callable[..., Any]
    loss_with_grad: Callable[..., xe.LossGrad]
    oracle: Callable[..., Truth]
    """`oracle(logits, target, **options)`, classes on the last axis; every option but `axis` and `reduction`."""
    domain: str
    """What the logits may be for the oracle to hold; the rest is in test_special_cases.py."""
    logits: Draw
    targets: Mapping[str, Draw]
    """Ways to draw a target for logits of a shape, by kind."""
    options: Mapping[str, Sequence[Draw]]
    """For each option the ways to draw a value. Tests take the cross product."""
    has_class_axis: bool
    loss_rtol: Mapping[type, float]
    grad_rtol: Mapping[type, float]
    """Relative to `Truth.size`."""

    def row_shape(self, shape: Shape) -> Shape:
        """The shape of the loss under reduction "none", and of a sample weight."""
        return shape[:-1] if self.has_class_axis else shape

    def grid(self, rng: np.random.Generator, dtype: type, shape: Shape) -> Iterator[dict[str, Any]]:
        """Every combination of the options, with fresh values."""
        for draws in itertools.product(*self.options.values()):
            yield {name: draw(rng, dtype, shape) for name, draw in zip(self.options, draws, strict=True)}


@dataclass(frozen=True)
class Function:
    """A function underneath the losses: `function(x, ...)`, along an axis or element by element."""

    name: str
    function: Callable[..., Any]
    oracle: Callable[[Array], tuple[Array, Array]]
    """The value in float64, and the magnitude its rounding error is measured by."""
    has_axis: bool
    has_out: bool
    rtol: Mapping[type, float]


# --- Oracles ----------------------------------------------------------------------------------------------------------


def minus_log_softmax(logits: ArrayLike) -> Array:
    """`-ln p_k = ln sum_j exp(z_j - z_k) = ln(1 + sum_{j != k} exp(z_j - z_k))`, for logits finite or -inf."""
    z = np.asarray(logits, np.float64)
    with np.errstate(invalid="ignore"):
        difference = z[..., None, :] - z[..., :, None]  # [k, j] = z_j - z_k
    difference[..., np.eye(z.shape[-1], dtype=bool)] = -np.inf
    difference[np.broadcast_to(np.isneginf(z)[..., None, :], difference.shape)] = -np.inf
    cost: Array = np.logaddexp(0.0, np.logaddexp.reduce(difference, axis=-1))
    cost[np.isneginf(z)] = np.inf
    return cost


def softmax_cross_entropy_oracle(
    logits: ArrayLike,
    target: ArrayLike,
    *,
    class_weight: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    ignore_index: int | None = -100,
    label_smoothing: float = 0.0,
) -> Truth:
    z, t = np.asarray(logits, np.float64), np.asarray(target)
    c = z.shape[-1]
    kept = np.ones(z.shape[:-1], bool)
    if t.dtype.kind in "iu":
        kept = t != ignore_index
        t = t[..., None] == np.arange(c)
    t = t.astype(np.float64)
    w = np.ones(c) if class_weight is None else np.asarray(class_weight, np.float64)
    s = np.ones(z.shape[:-1]) if sample_weight is None else np.asarray(sample_weight, np.float64)

    # loss = sum_k a_k (-ln p_k)
    a = w * ((1 - label_smoothing) * t + label_smoothing * t.sum(-1, keepdims=True) / c)
    cost = minus_log_softmax(z)
    loss = np.where(a > 0, a * np.where(a > 0, cost, 0), 0).sum(-1)

    # d loss / d z_j = sum_k a_k (p_j - [j = k]) = p_j sum_{k != j} a_k - a_j sum_{k != j} p_k
    p, others = np.exp(-cost), 1 - np.eye(c)
    up, down = p * (a @ others), a * (p @ others)

    s = np.where(kept & (a.sum(-1) > 0), s, 0)
    return Truth(
        loss=np.where(s > 0, s * loss, 0),
        grad=s[..., None] * (up - down),
        size=s[..., None] * (up + down),
        weight=float((s * (w * t).sum(-1)).sum()),
    )


def sigmoid_cross_entropy_oracle(
    logits: ArrayLike,
    target: ArrayLike,
    *,
    pos_weight: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
) -> Truth:
    x, t = np.asarray(logits, np.float64), np.asarray(target, np.float64)
    b = 1.0 if pos_weight is None else np.asarray(pos_weight, np.float64)
    s = np.ones(x.shape) if sample_weight is None else np.asarray(sample_weight, np.float64)
    if s.ndim < x.ndim:
        s = s[..., None]
    s = np.broadcast_to(s, x.shape)

    # -ln sigmoid(x) = ln(1 + exp(-x)), and the complement 1 - sigmoid(x) is sigmoid(-x)
    cost_positive, cost_negative = np.logaddexp(0.0, -x), np.logaddexp(0.0, x)
    up, down = (1 - t) * np.exp(-cost_positive), b * t * np.exp(-cost_negative)
    return Truth(
        loss=s * (b * t * cost_positive + (1 - t) * cost_negative),
        grad=s * (up - down),
        size=s * (up + down),
        weight=float(s.sum()),
    )


def logsumexp_oracle(x: Array) -> tuple[Array, Array]:
    value: Array = np.logaddexp.reduce(np.asarray(x, np.float64), axis=-1)
    return value, np.abs(x).max(-1) + np.abs(value)


def exact(formula: Callable[[Array], Array]) -> Callable[[Array], tuple[Array, Array]]:
    """An oracle whose error is measured by the value itself."""

    def oracle(x: Array) -> tuple[Array, Array]:
        value = formula(np.asarray(x, np.float64))
        return value, np.abs(value)

    return oracle


# --- Inputs -----------------------------------------------------------------------------------------------------------


def rough_logits(rng: np.random.Generator, dtype: type, shape: Shape) -> Array:
    """Finite logits that tell implementations apart: ties, signed zeros, subnormals, margins past the range of exp."""
    edge = 88.0 if dtype is np.float32 else 709.0
    smallest = float(np.finfo(dtype).smallest_subnormal)
    special = np.array([0.0, -0.0, 1.0, smallest, -smallest, 17.0, -17.0, edge, -edge])
    normal = rng.normal(scale=5.0, size=shape)
    return np.where(rng.random(shape) < 0.2, rng.choice(special, shape), normal).astype(dtype)


def classes(rng: np.random.Generator, dtype: type, shape: Shape) -> Array:
    """Classes, one in six of them ignored."""
    target = rng.integers(0, shape[-1], shape[:-1])
    return np.where(rng.random(shape[:-1]) < 1 / 6, -100, target)


def distributions(rng: np.random.Generator, dtype: type, shape: Shape) -> Array:
    """Distributions, a third of their entries zero before they are scaled to sum to one."""
    target = rng.random(shape) * (rng.random(shape) < 2 / 3)
    target /= np.maximum(target.sum(-1, keepdims=True), 1e-3)
    return target.astype(dtype)


def weights(rng: np.random.Generator, dtype: type, shape: Shape) -> Array:
    """Weights in [0.5, 2), one in five of them zero."""
    return (rng.uniform(0.5, 2.0, shape) * (rng.random(shape) < 0.8)).astype(dtype)


def constant(value: Any) -> Draw:
    return lambda rng, dtype, shape: value


# --- The cases --------------------------------------------------------------------------------------------------------

CASES = [
    Case(
        name="softmax_cross_entropy",
        loss=xe.softmax_cross_entropy,
        loss_with_grad=xe.softmax_cross_entropy_with_grad,
        oracle=softmax_cross_entropy_oracle,
        domain="logits finite or -inf, one of them finite",
        logits=rough_logits,
        targets={"classes": classes, "distributions": distributions},
        options={
            "class_weight": [constant(None), lambda rng, dtype, shape: weights(rng, dtype, shape[-1:])],
            "sample_weight": [constant(None), lambda rng, dtype, shape: weights(rng, dtype, shape[:-1])],
            "ignore_index": [constant(-100), constant(0)],
            "label_smoothing": [constant(0.0), constant(0.1), constant(1.0)],
        },
        has_class_axis=True,
        loss_rtol={np.float32: 1e-6, np.float64: 1e-12},
        grad_rtol={np.float32: 1e-5, np.float64: 1e-12},
    ),
    Case(
        name="sigmoid_cross_entropy",
        loss=xe.sigmoid_cross_entropy,
        loss_with_grad=xe.sigmoid_cross_entropy_with_grad,
        oracle=sigmoid_cross_entropy_oracle,
        domain="finite logits",
        logits=rough_logits,
        targets={
            "booleans": lambda rng, dtype, shape: rng.random(shape) < 0.5,
            "integers": lambda rng, dtype, shape: rng.integers(0, 2, shape),
            "floats": lambda rng, dtype, shape: np.clip(rng.uniform(-0.5, 1.5, shape), 0, 1).astype(dtype),
        },
        options={
            "pos_weight": [constant(None), constant(3.0), lambda rng, dtype, shape: weights(rng, dtype, shape[-1:])],
            "sample_weight": [
                constant(None),
                weights,
                lambda rng, dtype, shape: weights(rng, dtype, shape[:-1]),
            ],
        },
        has_class_axis=False,
        loss_rtol={np.float32: 1e-6, np.float64: 1e-12},
        grad_rtol={np.float32: 1e-5, np.float64: 1e-12},
    ),
]

FUNCTIONS = [
    Function(
        name="logsumexp",
        function=xe.logsumexp,
        oracle=logsumexp_oracle,
        has_axis=True,
        has_out=False,
        rtol={np.float32: 1e-6, np.float64: 1e-14},
    ),
    Function(
        name="softmax",
        function=xe.softmax,
        oracle=exact(lambda x: np.exp(-minus_log_softmax(x))),
        has_axis=True,
        has_out=True,
        rtol={np.float32: 1e-5, np.float64: 1e-12},
    ),
    Function(
        name="log_softmax",
        function=xe.log_softmax,
        oracle=exact(lambda x: -minus_log_softmax(x)),
        has_axis=True,
        has_out=True,
        rtol={np.float32: 1e-6, np.float64: 1e-12},
    ),
    Function(
        name="sigmoid",
        function=xe.sigmoid,
        oracle=exact(lambda x: np.exp(-np.logaddexp(0.0, -x))),
        has_axis=False,
        has_out=True,
        rtol={np.float32: 1e-6, np.float64: 1e-12},
    ),
    Function(
        name="log_sigmoid",
        function=xe.log_sigmoid,
        oracle=exact(lambda x: -np.logaddexp(0.0, -x)),
        has_axis=False,
        has_out=True,
        rtol={np.float32: 1e-6, np.float64: 1e-14},
    ),
    Function(
        name="softplus",
        function=xe.softplus,
        oracle=exact(lambda x: np.logaddexp(0.0, x)),
        has_axis=False,
        has_out=True,
        rtol={np.float32: 1e-6, np.float64: 1e-14},
    ),
]
