"""One `Case` per public loss, one `Function` per function underneath, one `Quantity` per function of distributions.

Each says what it is called, what is true, what to feed it.

The tests and the benchmarks run over `CASES` and `FUNCTIONS`, so a new loss is tested by adding its Case here.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import ml_dtypes
import numpy as np

import distribution_oracles
import xentrs as xe
from draws import Array, Draw, Shape, classes, constant, distributions, rough_logits, weights
from oracles import (
    Truth,
    exact,
    logsumexp_oracle,
    minus_log_softmax,
    sigmoid_cross_entropy_oracle,
    softmax_cross_entropy_oracle,
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


@dataclass(frozen=True)
class Quantity:
    """A function of one distribution, or of two, along an axis."""

    name: str
    function: Callable[..., Any]
    with_grad: Callable[..., Any]
    oracle: Callable[..., Any]
    """Of rows of high-precision numbers."""
    arguments: int
    """How many distributions."""
    has_base: bool = True
    options: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    """Values for each option of its own."""

    def grid(self) -> Iterator[dict[str, Any]]:
        """Every combination of the options of its own."""
        for values in itertools.product(*self.options.values()):
            yield dict(zip(self.options, values, strict=True))


@dataclass(frozen=True)
class Gaussian:
    """A loss of predicted means and variances: it has two gradients, and no logits, so it is no `Case`."""

    name: str
    loss: Callable[..., Any]
    loss_with_grad: Callable[..., xe.GaussianLossGrad]


GAUSSIANS = [Gaussian("gaussian_nll", xe.gaussian_nll, xe.gaussian_nll_with_grad)]

QUANTITIES = [
    Quantity("entropy", xe.entropy, xe.entropy_with_grad, distribution_oracles.entropy, 1),
    Quantity("perplexity", xe.perplexity, xe.perplexity_with_grad, distribution_oracles.perplexity, 1, has_base=False),
    Quantity("cross_entropy", xe.cross_entropy, xe.cross_entropy_with_grad, distribution_oracles.cross_entropy, 2),
    Quantity("kl_divergence", xe.kl_divergence, xe.kl_divergence_with_grad, distribution_oracles.kl_divergence, 2),
    Quantity(
        "js_divergence",
        xe.js_divergence,
        xe.js_divergence_with_grad,
        distribution_oracles.js_divergence,
        2,
        options={"weight": [0.5, 0.3, 0.999, 0.0, 1.0]},
    ),
]

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
