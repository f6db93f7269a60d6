"""Labels and weights as the libraries keep them: numbers, which are checked here."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._arrays import read
from ..losses.results import ArrayLike

__all__ = ["floats", "weights", "whole"]


def floats(given: ArrayLike, name: str) -> NDArray[np.float64]:
    """The same numbers in double precision."""
    array = read(given, name)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name} must be numbers, got {array.dtype}")
    return array.astype(np.float64)


def weights(sample_weight: ArrayLike | None, n: int) -> NDArray[np.float64]:
    """The weight of each of `n` samples, 1 unless given."""
    if sample_weight is None:
        return np.ones(n)
    weight = floats(sample_weight, "sample_weight")
    if weight.shape != (n,):
        raise ValueError(f"sample_weight must have shape ({n},), got {weight.shape}")
    if np.any(wrong := ~((weight >= 0) & np.isfinite(weight))):
        row = int(np.argmax(wrong))
        raise ValueError(f"sample_weight must be finite and non-negative, got {weight[row]:g} at row {row}")
    return weight


def whole(numbers: NDArray[Any], name: str, what: str) -> NDArray[np.int64]:
    """The integers that a library keeps as floats."""
    if numbers.dtype.kind not in "biuf":
        raise TypeError(f"{name} must be numbers, each {what}, got {numbers.dtype}")
    with np.errstate(invalid="ignore"):
        integers = numbers.astype(np.int64)
    if np.any(wrong := integers != numbers):
        row = int(np.argmax(wrong))
        raise ValueError(f"{name} must be whole numbers, each {what}, got {numbers[row]} at row {row}")
    return integers
