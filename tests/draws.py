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


def mild_logits(rng: np.random.Generator, dtype: type, shape: Shape) -> Array:
    """Logits without any that is rare."""
    return rng.normal(scale=2.0, size=shape)


def probabilities(rng: np.random.Generator, dtype: type, shape: Shape) -> Array:
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


def constant(value: Any) -> Draw:
    return lambda rng, dtype, shape: value
