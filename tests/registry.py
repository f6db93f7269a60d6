"""One `Case` per public loss, one `Function` per function underneath: what it is called, what is true, what to feed it.

The tests and the benchmarks run over `CASES` and `FUNCTIONS`, so a new loss is tested by adding its Case here.
"""

import itertools
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np

import xentrs as xe
from draws import Array, Draw, Shape, classes, constant, distributions, rough_logits, weights
from oracles import (
    Truth,
    exact,
    logsumexp_oracle,
    minus_log_softmax,
    sigmoid_cross_entropy_oracle,
    softmax_cross_entropy_oracle,
    softmax_focal_loss_oracle,
)

REDUCTIONS = ("mean", "sum", "none")
DTYPES = (np.float32, np.float64)
HALVES = (np.float16, ml_dtypes.bfloat16)
"""Storage alone: whatever holds for float32 holds for them, as test_half.py shows bit for bit."""


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
    """For each option the ways to draw a value. Tests take the cross product, or, where that is large, part of it."""
    has_class_axis: bool
    loss_rtol: Mapping[type, float]
    grad_rtol: Mapping[type, float]
    """Relative to `Truth.size`."""

    def row_shape(self, shape: Shape) -> Shape:
        """The shape of the loss under reduction "none", and of a sample weight."""
        return shape[:-1] if self.has_class_axis else shape

    def grid(self, rng: np.random.Generator, dtype: type, shape: Shape) -> Iterator[dict[str, Any]]:
        """Every combination of the options, with fresh values; where there are many, those of `some_combinations`."""
        for draws in some_combinations(list(self.options.values())):
            yield {name: draw(rng, dtype, shape) for name, draw in zip(self.options, draws, strict=True)}


def some_combinations(options: Sequence[Sequence[Draw]], many: int = 48) -> Iterator[tuple[Draw, ...]]:
    """All combinations, where they are few; else `many`, and as many more as it takes for each pair of values to occur.

    Always the same ones.
    """
    combinations = list(itertools.product(*(range(len(draws)) for draws in options)))
    if len(combinations) > many:
        random.Random(0).shuffle(combinations)
        rest, seen, kept = combinations[many:], set[Any](), combinations[:many]
        for combination in combinations:
            pairs = set(itertools.combinations(enumerate(combination), 2))
            if combination in kept or not pairs <= seen:
                seen |= pairs
                if combination in rest:
                    kept.append(combination)
        combinations = kept
    for combination in combinations:
        yield tuple(draws[i] for draws, i in zip(options, combination, strict=True))


SOFTMAX_OPTIONS: dict[str, Sequence[Draw]] = {
    "class_weight": [constant(None), lambda rng, dtype, shape: weights(rng, dtype, shape[-1:])],
    "sample_weight": [constant(None), lambda rng, dtype, shape: weights(rng, dtype, shape[:-1])],
    "ignore_index": [constant(-100), constant(0)],
    "label_smoothing": [constant(0.0), constant(0.1), constant(1.0)],
    "temperature": [constant(1.0), constant(2.0), constant(0.7)],
    "softcap": [constant(None), constant(30.0)],
    "z_loss": [constant(0.0), constant(0.01)],
}


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


CASES = [
    Case(
        name="softmax_cross_entropy",
        loss=xe.softmax_cross_entropy,
        loss_with_grad=xe.softmax_cross_entropy_with_grad,
        oracle=softmax_cross_entropy_oracle,
        domain="logits finite or -inf, one of them finite",
        logits=rough_logits,
        targets={"classes": classes, "distributions": distributions},
        options=SOFTMAX_OPTIONS,
        has_class_axis=True,
        loss_rtol={np.float32: 1e-6, np.float64: 1e-12},
        grad_rtol={np.float32: 1e-5, np.float64: 1e-12},
    ),
    Case(
        name="softmax_focal_loss",
        loss=xe.softmax_focal_loss,
        loss_with_grad=xe.softmax_focal_loss_with_grad,
        oracle=softmax_focal_loss_oracle,
        domain="logits finite or -inf, one of them finite",
        logits=rough_logits,
        targets={"classes": classes, "distributions": distributions},
        options={"gamma": [constant(2.0), constant(0.5), constant(0.0)], **SOFTMAX_OPTIONS},
        has_class_axis=True,
        loss_rtol={np.float32: 3e-6, np.float64: 1e-12},
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
