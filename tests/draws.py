"""What to feed a loss: inputs that tell implementations apart."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Shape = tuple[int, ...]
Draw = Callable[[np.random.Generator, type, Shape], Any]


def rough_logits(rng: np.random.Generator, dtype: type, shape: Shape) -> Array:
    """Finite logits that tell implementations apart: ties, signed zeros, subnormals, margins past the range of exp."""
    edge = 88.0 if dtype is np.float32 else 709.0
    smallest = float(np.finfo(dtype).smallest_subnormal)
    special = np.array([0.0, -0.0, 1.0, smallest, -smallest, 17.0, -17.0, edge, -edge])
    normal = rng.normal(scale=5.0, size=shape)
    return np.where(rng.random(shape) < 0.2, rng.choice(special, shape), normal).astype(dtype)


def positive_probabilities(rng: np.random.Generator, dtype: type, shape: Shape) -> Array:
    """Probabilities above 0, near both ends too; rows need not sum to one."""
    info = np.finfo(dtype)
    special = np.array([1.0, 1.0 - float(info.epsneg), 0.5, float(info.tiny), 1e-3], dtype)
    return np.where(rng.random(shape) < 0.2, rng.choice(special, shape), rng.uniform(0.01, 1.0, shape)).astype(dtype)


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


def probabilities(rng: np.random.Generator, dtype: type, shape: Shape) -> Array:
    """Probabilities, some of them certain, or as good as."""
    special = np.array([0.0, 1.0, 0.5, 1e-30, 1e-3, 1 - 2.0**-20, 0.25])
    return np.where(rng.random(shape) < 0.3, rng.choice(special, shape), rng.random(shape)).astype(dtype)


def mild_logits(rng: np.random.Generator, dtype: type, shape: Shape) -> Array:
    """Logits at which a loss is far from flat."""
    return rng.normal(scale=2.0, size=shape).astype(dtype)


def as_it_is(x: Array) -> Array:
    return x


def as_probability(x: Array) -> Array:
    """Brings logits into [0, 1]; a NaN stays one."""
    with np.errstate(over="ignore"):
        return (1 / (1 + np.exp(-np.asarray(x, np.float64)))).astype(x.dtype)


def log_shares(rng: np.random.Generator, dtype: type, shape: Shape) -> Array:
    """Logarithms of the shares of classes, of which some are far rarer than others."""
    return np.log(rng.dirichlet(np.full(shape[-1], 0.5)) + 1e-6).astype(dtype)


def booleans(rng: np.random.Generator, dtype: type, shape: Shape) -> Array:
    return rng.random(shape) < 0.5


def zeros_and_ones(rng: np.random.Generator, dtype: type, shape: Shape) -> Array:
    return rng.integers(0, 2, shape)


def shares(rng: np.random.Generator, dtype: type, shape: Shape) -> Array:
    """Soft labels, half of them 0 or 1."""
    return np.clip(rng.uniform(-0.5, 1.5, shape), 0, 1).astype(dtype)


def signs(rng: np.random.Generator, dtype: type, shape: Shape) -> Array:
    """1, 0 and -1."""
    return rng.integers(-1, 2, shape)


def last_axis_weights(rng: np.random.Generator, dtype: type, shape: Shape) -> Array:
    return weights(rng, dtype, shape[-1:])


def row_weights(rng: np.random.Generator, dtype: type, shape: Shape) -> Array:
    return weights(rng, dtype, shape[:-1])


def constant(value: Any) -> Draw:
    return lambda rng, dtype, shape: value
