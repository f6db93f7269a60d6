"""Exact sums that take as little place as their digits need, and go into text."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from copy import copy
from typing import Any, Self

__all__ = ["UNIT", "Addable", "ExactSums", "quotient"]

UNIT = 2**1074
"""One, in units of the smallest positive float64, which the compiled sums are told in."""

_LOWEST = -1074


class Addable:
    """What is merged can be added: ``a + b``, ``a += b``, and ``sum`` of any number."""

    @abstractmethod
    def merge(self, other: Any) -> Self:
        """Add all that another one has seen."""

    @abstractmethod
    def _nothing(self) -> Self:
        """Make one of the same options that has seen no rows."""

    def __add__(self, other: object) -> Self:
        return copy(self).merge(other) if isinstance(other, type(self)) else NotImplemented

    def __iadd__(self, other: object) -> Self:
        return self.merge(other) if isinstance(other, type(self)) else NotImplemented

    def __radd__(self, other: object) -> Self:
        """Let ``sum`` begin with 0, as it does."""
        return copy(self) if type(other) is int and other == 0 else NotImplemented


class ExactSums:
    """Sums of non-negative numbers, held as whole numbers of ``2**exponent``; none is ever rounded.

    The exponent falls when a number with a lower digit joins. So the state depends on the order of the numbers, and
    `canonical` does not.
    """

    __slots__ = ("exponent", "values")

    def __init__(self, n: int) -> None:
        self.exponent = 0
        self.values = [0] * n

    def add(self, index: int, amount: int) -> None:
        """Add to one sum an amount in units of ``2**-1074``."""
        drop = self.exponent - _LOWEST
        if amount & ((1 << drop) - 1):
            drop = _zeros_behind(amount)
            self._lower(drop + _LOWEST)
        self.values[index] += amount >> drop

    def merge(self, other: ExactSums) -> None:
        """Add as many other sums."""
        self._lower(min(self.exponent, other.exponent))
        shift = other.exponent - self.exponent
        self.values = [a + (b << shift) for a, b in zip(self.values, other.values, strict=True)]

    def in_units(self) -> list[int]:
        """All sums in units of ``2**-1074``."""
        return [value << self.exponent - _LOWEST for value in self.values]

    def canonical(self) -> tuple[int, list[int]]:
        """The largest exponent, up to 0, of which all sums are multiples, and the sums in its unit."""
        spare = min((_zeros_behind(value) for value in self.values if value), default=-self.exponent)
        spare = min(spare, -self.exponent)
        return self.exponent + spare, [value >> spare for value in self.values]

    def __eq__(self, other: object) -> bool:
        return self.canonical() == other.canonical() if isinstance(other, ExactSums) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def copy(self) -> ExactSums:
        """Make a twin that goes its own way."""
        twin = ExactSums(0)
        twin.exponent, twin.values = self.exponent, list(self.values)
        return twin

    def to_dict(self) -> dict[str, Any]:
        """Make what JSON can hold."""
        exponent, values = self.canonical()
        return {"exponent": exponent, "values": values}

    @classmethod
    def of_dict(cls, given: Any, n: int) -> Self:
        """Read `n` sums of what `to_dict` has made.

        Raises
        ------
        ValueError
            If they are not that.
        """
        exponent: Any = None
        values: Any = None
        if isinstance(given, dict):
            exponent, values = given["exponent"], given["values"]
        if not _is_whole(exponent) or not _LOWEST <= exponent <= 0:
            raise ValueError(f"an exponent must be an integer in [{_LOWEST}, 0], got {exponent!r}")
        sums = cls(0)
        sums.exponent, sums.values = exponent, whole_numbers(values, n)
        return sums

    def _lower(self, exponent: int) -> None:
        shift = self.exponent - exponent
        if shift:
            self.exponent, self.values = exponent, [value << shift for value in self.values]


def whole_numbers(given: Any, n: int) -> list[int]:
    """Read `n` integers, none of them negative.

    Raises
    ------
    ValueError
        If they are not that.
    """
    if not isinstance(given, list) or len(given) != n or not _all_whole(given):
        raise ValueError(f"expected a list of {n} non-negative integers, got {given!r:.60}")
    return list(given)


def quotient(a: int, b: int) -> float:
    """The float64 nearest to a quotient of integers, which Python rounds once."""
    try:
        return a / b
    except OverflowError:
        return float("inf")


def _zeros_behind(number: int) -> int:
    """How many zeros the binary digits of a positive number end with."""
    return (number & -number).bit_length() - 1


def _is_whole(number: Any) -> bool:
    return isinstance(number, int) and not isinstance(number, bool)


def _all_whole(numbers: Iterable[Any]) -> bool:
    return all(_is_whole(number) and number >= 0 for number in numbers)
