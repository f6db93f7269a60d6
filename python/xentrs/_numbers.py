"""The single numbers that users pass, checked, and the words in which one is refused."""

import math
import operator
from typing import SupportsIndex

import numpy as np

__all__ = ["a_number", "in_range", "positive_integer"]


def a_number(name: str, value: object) -> float:
    """`value` as a float."""
    if not isinstance(value, int | float | np.integer | np.floating):
        raise TypeError(f"{name} must be a number, got {value!r}")
    return float(value)


def in_range(name: str, value: object, below: float = math.inf) -> float:
    """`value` as a float, if 0 <= value < below."""
    number = a_number(name, value)
    if not 0.0 <= number < below:
        raise ValueError(f"{name} must be in [0, {below:g}), got {value}")
    return number


def positive_integer(name: str, value: object) -> int:
    """`value` as an int, if it is one and at least 1."""
    if isinstance(value, bool) or not isinstance(value, SupportsIndex):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    try:
        number = operator.index(value)
    except TypeError:  # an array of a float, or of several numbers
        raise TypeError(f"{name} must be an integer, got {value!r}") from None
    if number < 1:
        raise ValueError(f"{name} must be at least 1, got {number}")
    return number
