"""What half precision is made of, for the tests: rough logits, and the way to float32 and back."""

from typing import Any

import ml_dtypes
import numpy as np

from registry import HALVES, Case

Array = np.ndarray[Any, Any]

SHAPES = [(1, 1), (1, 10), (7, 5), (30, 67), (3_000, 31), (70, 2_000), (2, 40_000)]
"""One row and many, tails of lanes, several blocks, rows longer than a block."""


def rough(rng: np.random.Generator, half: type, shape: tuple[int, ...]) -> Array:
    """Logits with every special value of the type among them, and its largest and smallest numbers."""
    info = ml_dtypes.finfo(half)
    special = [0.0, -0.0, np.nan, np.inf, -np.inf, info.max, -info.max, info.tiny, info.smallest_subnormal, 17.0]
    normal = rng.normal(scale=5.0, size=shape)
    mixed = np.where(rng.random(shape) < 0.02, rng.choice(np.array(special, np.float64), shape), normal)
    return mixed.astype(half)


def wide(a: Array) -> Array:
    return np.asarray(a).astype(np.float32)


def narrow(a: Array, half: type) -> Array:
    """Rounded to nearest, ties to even; what is too large becomes infinite."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        return np.asarray(a).astype(half)


def target_of(case: Case, kind: str, rng: np.random.Generator, half: type, shape: tuple[int, ...]) -> Array:
    """A target of the logits' type, where it is floating."""
    target = case.targets[kind](rng, np.float32, shape)
    return target.astype(half) if target.dtype == np.float32 else target


def widened(value: Any) -> Any:
    """The same argument, in float32 where it was half."""
    return wide(value) if isinstance(value, np.ndarray) and value.dtype in HALVES else value
