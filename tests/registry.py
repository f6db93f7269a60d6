"""The public functions, as the tests see them: name, oracle, inputs, options, tolerances.

`CASES` and `PROBABILITIES` have a `Case` for each loss with one gradient, of logits and of probabilities. `GAUSSIANS`,
`LINEARS` and `CONTRASTIVES` have the losses with several gradients, `QUANTITIES` the functions of distributions, and
`FUNCTIONS` the functions underneath. Most tests run over `CASES` and `FUNCTIONS`, so a new loss is tested by adding its
Case here.
"""

import itertools
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import ml_dtypes
import numpy as np

import distribution_oracles
import xentrs as xe
from draws import (
    Array,
    Draw,
    Shape,
    as_it_is,
    as_probability,
    booleans,
    classes,
    constant,
    distributions,
    last_axis_weights,
    log_shares,
    mild_logits,
    positive_probabilities,
    probabilities,
    rough_logits,
    row_weights,
    shares,
    signs,
    weights,
    zeros_and_ones,
)
from oracles import (
    Truth,
    binary_cross_entropy_oracle,
    categorical_cross_entropy_oracle,
    exact,
    hinge_loss_oracle,
    info_nce_oracle,
    logsumexp_oracle,
    minus_log_softmax,
    siglip_loss_oracle,
    sigmoid_cross_entropy_oracle,
    sigmoid_focal_loss_oracle,
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
    loss_with_hess: Callable[..., xe.LossGradHess] | None = None
    hess_rtol: Mapping[type, float] = field(default_factory=lambda: {np.float32: 1e-5, np.float64: 1e-12})
    """Relative to `Truth.hess_size`."""
    mild: Draw = mild_logits
    """Logits for finite differences."""
    admit: Callable[[Array], Array] = as_it_is
    """Brings any logits into the domain."""
    argument: str = "logits"
    """The name of the first argument."""

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
    "log_prior": [constant(None), log_shares],
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


def of_logits(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, whose first argument is called `logits` as that of the others."""

    def renamed(logits: Any, target: Any, **options: Any) -> Any:
        return function(logits, target, **options)

    return renamed


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


@dataclass(frozen=True)
class Linear:
    """The loss of a linear layer's outputs, of one kind: it has three gradients, and is tested by test_linear.py."""

    name: str
    kind: str
    loss: Callable[..., Any]
    loss_with_grad: Callable[..., xe.LinearLossGrad]
    oracle: Callable[..., Truth]
    """Of the logits."""
    targets: Mapping[str, Draw]
    options: Mapping[str, Sequence[Draw]]
    """Those of the loss of this kind."""


@dataclass(frozen=True)
class Tokens:
    """Log-probability and entropy, of logits or behind a layer: not reduced, and with two upstream gradients."""

    name: str
    function: Callable[..., xe.TokenLogprobs]
    with_grad: Callable[..., Any]


TOKENS = [
    Tokens("token_logprobs", xe.token_logprobs, xe.token_logprobs_with_grad),
    Tokens("linear_token_logprobs", xe.linear_token_logprobs, xe.linear_token_logprobs_with_grad),
]
"""Tested by test_token_logprobs.py."""


@dataclass(frozen=True)
class Teacher:
    """A loss whose target is a teacher's most probable classes, with their probabilities."""

    name: str
    loss: Callable[..., Any]
    loss_with_grad: Callable[..., xe.LossGrad]


TEACHERS = [Teacher("topk_kl_divergence", xe.topk_kl_divergence, xe.topk_kl_divergence_with_grad)]
"""Tested by test_topk_kl_divergence.py."""

TOKEN_OPTIONS: dict[str, Sequence[Draw]] = {
    "grad_logprob": [constant(1.0), constant(-0.5), lambda rng, dtype, shape: rng.normal(size=shape[:-1])],
    "grad_entropy": [constant(0.0), constant(0.25), lambda rng, dtype, shape: rng.normal(size=shape[:-1])],
    "temperature": [constant(1.0), constant(0.7)],
    "softcap": [constant(None), constant(30.0)],
    "log_prior": [constant(None), log_shares],
    "ignore_index": [constant(-100), constant(0)],
}


@dataclass(frozen=True)
class Contrastive:
    """A loss of pairs of rows: it has no target, and is tested by test_contrastive.py."""

    name: str
    loss: Callable[..., Any]
    loss_with_grad: Callable[..., Any]
    oracle: Callable[..., tuple[Array, Array, Array]]
    options: Sequence[Mapping[str, Any]]
    """Those beside the temperature."""


CONTRASTIVES = [
    Contrastive(
        "info_nce", xe.info_nce, xe.info_nce_with_grad, info_nce_oracle, [{"symmetric": True}, {"symmetric": False}]
    ),
    Contrastive(
        "siglip_loss", xe.siglip_loss, xe.siglip_loss_with_grad, siglip_loss_oracle, [{"bias": 0.0}, {"bias": -7.0}]
    ),
]

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
        options=SOFTMAX_OPTIONS,
        has_class_axis=True,
        loss_rtol={np.float32: 1e-6, np.float64: 1e-12},
        grad_rtol={np.float32: 1e-5, np.float64: 1e-12},
        loss_with_hess=xe.softmax_cross_entropy_with_hess,
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
        loss_with_hess=xe.softmax_focal_loss_with_hess,
    ),
    Case(
        name="sigmoid_cross_entropy",
        loss=xe.sigmoid_cross_entropy,
        loss_with_grad=xe.sigmoid_cross_entropy_with_grad,
        oracle=sigmoid_cross_entropy_oracle,
        domain="finite logits",
        logits=rough_logits,
        targets={"booleans": booleans, "integers": zeros_and_ones, "floats": shares},
        options={
            "pos_weight": [constant(None), constant(3.0), last_axis_weights],
            "sample_weight": [constant(None), weights, row_weights],
            "ignore_index": [constant(None), constant(0)],
            "label_smoothing": [constant(0.0), constant(0.1)],
        },
        has_class_axis=False,
        loss_rtol={np.float32: 1e-6, np.float64: 1e-12},
        grad_rtol={np.float32: 1e-5, np.float64: 1e-12},
        loss_with_hess=xe.sigmoid_cross_entropy_with_hess,
    ),
    Case(
        name="sigmoid_focal_loss",
        loss=xe.sigmoid_focal_loss,
        loss_with_grad=xe.sigmoid_focal_loss_with_grad,
        oracle=sigmoid_focal_loss_oracle,
        domain="finite logits",
        logits=rough_logits,
        targets={"integers": zeros_and_ones, "floats": shares},
        options={
            "gamma": [constant(2.0), constant(0.5)],
            "gamma_neg": [constant(None), constant(4.0), constant(1.5)],
            "clip": [constant(0.0), constant(0.0625)],
            "alpha": [constant(None), constant(0.25)],
            "pos_weight": [constant(None), last_axis_weights],
            "sample_weight": [constant(None), weights],
            "ignore_index": [constant(None), constant(0)],
            "label_smoothing": [constant(0.0), constant(0.1)],
        },
        has_class_axis=False,
        loss_rtol={np.float32: 1e-6, np.float64: 1e-12},
        grad_rtol={np.float32: 1e-5, np.float64: 1e-12},
        loss_with_hess=xe.sigmoid_focal_loss_with_hess,
    ),
    Case(
        name="hinge_loss",
        loss=of_logits(xe.hinge_loss),
        loss_with_grad=of_logits(xe.hinge_loss_with_grad),
        oracle=hinge_loss_oracle,
        domain="finite scores",
        logits=rough_logits,
        targets={
            "booleans": booleans,
            "integers": signs,
            "floats": lambda rng, dtype, shape: signs(rng, dtype, shape).astype(dtype),
        },
        options={
            "squared": [constant(False), constant(True)],
            "sample_weight": [constant(None), weights, row_weights],
        },
        has_class_axis=False,
        loss_rtol={np.float32: 1e-6, np.float64: 1e-15},
        grad_rtol={np.float32: 1e-6, np.float64: 1e-15},
    ),
    Case(
        name="binary_cross_entropy",
        loss=of_logits(xe.binary_cross_entropy),
        loss_with_grad=of_logits(xe.binary_cross_entropy_with_grad),
        oracle=binary_cross_entropy_oracle,
        domain="all of [0, 1]",
        logits=probabilities,
        targets={"booleans": booleans, "integers": zeros_and_ones, "floats": shares},
        options={
            "pos_weight": [constant(None), constant(3.0), last_axis_weights],
            "sample_weight": [constant(None), weights, row_weights],
            "eps": [constant(0.0), constant(2.0**-6)],
        },
        has_class_axis=False,
        loss_rtol={np.float32: 1e-6, np.float64: 1e-14},
        grad_rtol={np.float32: 1e-6, np.float64: 1e-14},
        mild=lambda rng, dtype, shape: rng.uniform(0.05, 0.95, shape).astype(dtype),
        admit=as_probability,
    ),
]

LINEARS = [
    Linear(
        name="linear_cross_entropy",
        kind=case.name.removesuffix("_cross_entropy"),
        loss=xe.linear_cross_entropy,
        loss_with_grad=xe.linear_cross_entropy_with_grad,
        oracle=case.oracle,
        targets=case.targets,
        options=case.options,
    )
    for case in CASES
    if case.name in ("softmax_cross_entropy", "sigmoid_cross_entropy")
]
"""One a kind of labels."""

PROBABILITIES = [
    Case(
        name="categorical_cross_entropy",
        loss=xe.categorical_cross_entropy,
        loss_with_grad=xe.categorical_cross_entropy_with_grad,
        oracle=categorical_cross_entropy_oracle,
        domain="probabilities above 0",
        logits=positive_probabilities,
        targets={"classes": classes, "distributions": distributions},
        options={
            "class_weight": [constant(None), lambda rng, dtype, shape: weights(rng, dtype, shape[-1:])],
            "sample_weight": [constant(None), lambda rng, dtype, shape: weights(rng, dtype, shape[:-1])],
            "ignore_index": [constant(-100), constant(0)],
            "eps": [constant(0.0), constant(0.125)],
        },
        has_class_axis=True,
        loss_rtol={np.float32: 1e-6, np.float64: 1e-14},
        grad_rtol={np.float32: 1e-6, np.float64: 1e-14},
        mild=lambda rng, dtype, shape: rng.uniform(0.2, 0.8, shape),
        argument="p",
    ),
]
"""Losses whose first argument is no logits: what feeds them logits of its own runs over `CASES` alone."""

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
