"""The single numbers, words and answers that users pass, checked, and the words in which one is refused."""

import math
import operator
import reprlib
from typing import Any, SupportsIndex

import numpy as np

__all__ = [
    "a_boolean",
    "a_dtype",
    "a_number",
    "an_integer",
    "in_range",
    "integer_or_none",
    "one_of",
    "positive",
    "positive_integer",
]

LEAST, LARGEST = -(2**63), 2**63 - 1
"""The integers that the core and NumPy count with."""


def a_number(name: str, value: object) -> float:
    """`value` as a float."""
    if not isinstance(value, int | float | np.integer | np.floating):
        raise TypeError(f"{name} must be a number, got {reprlib.repr(value)}")
    try:
        return float(value)
    except OverflowError:
        raise ValueError(f"{name} must be within the range of float64, got {reprlib.repr(value)}") from None


def in_range(name: str, value: object, below: float = math.inf) -> float:
    """`value` as a float, if 0 <= value < below."""
    number = a_number(name, value)
    if not 0.0 <= number < below:
        raise ValueError(f"{name} must be in [0, {below:g}), got {value}")
    return number


def positive(name: str, value: object) -> float:
    """`value` as a float, if it is positive and finite."""
    number = a_number(name, value)
    if not 0.0 < number < math.inf:
        raise ValueError(f"{name} must be positive and finite, got {value}")
    return number


def an_integer(name: str, value: object, least: int = LEAST) -> int:
    """`value` as an int, if it is one of at most 64 bits, and at least `least`."""
    if isinstance(value, bool) or not isinstance(value, SupportsIndex):
        raise TypeError(f"{name} must be an integer, got {reprlib.repr(value)}")
    try:
        number = operator.index(value)
    except TypeError:  # an array of a float, or of several numbers
        raise TypeError(f"{name} must be an integer, got {reprlib.repr(value)}") from None
    if not LEAST <= number <= LARGEST:
        raise ValueError(f"{name} must be an integer of at most 64 bits, got {reprlib.repr(number)}")
    if number < least:
        raise ValueError(f"{name} must be at least {least}, got {number}")
    return number


def integer_or_none(name: str, value: object) -> int | None:
    """`value` as an int, as `an_integer` has it, unless it is None."""
    return None if value is None else an_integer(name, value)


def positive_integer(name: str, value: object) -> int:
    """`value` as an int, if it is one and at least 1."""
    return an_integer(name, value, 1)


def a_boolean(name: str, value: object) -> bool:
    """`value`, if it is True or False."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be True or False, got {reprlib.repr(value)}")
    return bool(value)


def a_dtype(name: str, value: Any) -> np.dtype[Any]:
    """`value` as a dtype."""
    try:
        dtype: np.dtype[Any] = np.dtype(value)
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be a dtype, got {reprlib.repr(value)}") from None
    return dtype


def one_of(name: str, value: object, words: tuple[str, ...]) -> None:
    """Refuse what is none of the words."""
    if not isinstance(value, str) or value not in words:
        *others, last = (f'"{word}"' for word in words)
        raise ValueError(f"{name} must be {', '.join(others)} or {last}, got {reprlib.repr(value)}")
