"""Arrays that end where their page ends, with a page behind it that may not be touched, or begin where it begins.

A read or a write past the array ends the process then, so the one that tries has to be one that may crash.
"""

import ctypes
import itertools
import mmap
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from checks import assert_same_bits
from registry import DTYPES, Case, Function

Array = np.ndarray[Any, Any]

LENGTHS = range(1, 71)  # four registers of sixteen lanes, and a tail
BLOCKS = [(300, 7), (70_001, 3), (9, 33_003), (2, 70_001)]  # many blocks, on several threads, and rows in parts
GROUPS = [(19, 131), (6, 1_023)]  # whole groups of rows and parts of them


class Guarded:
    """Memory between two pages that may not be touched."""

    SIZE = 2**23
    FILL = 0xA5

    def __init__(self) -> None:
        page = mmap.PAGESIZE
        self.map = mmap.mmap(-1, self.SIZE + 2 * page)
        start = ctypes.addressof(ctypes.c_char.from_buffer(self.map))
        protect = ctypes.CDLL(None, use_errno=True).mprotect
        protect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
        for guard in (start, start + page + self.SIZE):
            if protect(guard, page, 0) != 0:
                raise OSError(ctypes.get_errno(), "mprotect")
        self.bytes = np.frombuffer(self.map, np.uint8, self.SIZE, page)
        self.bytes[:] = self.FILL
        self.used = slice(0, 0)

    def put(self, array: Array, at_end: bool) -> Array:
        """A copy of the array that ends, or begins, at a guard; a gap between its rows stays one."""
        offset = self.SIZE - array.nbytes if at_end else 0
        self.used = slice(offset, offset + array.nbytes)
        copy = self.bytes[self.used].view(array.dtype).reshape(array.shape)
        copy[...] = array
        return copy

    def take_back(self) -> None:
        """Nothing was written beside the array, as far as a guard is not there to tell."""
        near = self.bytes[max(self.used.start - mmap.PAGESIZE, 0) : self.used.stop + mmap.PAGESIZE]
        self.bytes[self.used] = self.FILL
        assert (near == self.FILL).all(), "something was written beside an array"


class Guards:
    """One piece of guarded memory a role: logits, target, each option, out."""

    def __init__(self) -> None:
        self.roles: defaultdict[str, Guarded] = defaultdict(Guarded)

    @contextmanager
    def around(self, at_end: bool, **arrays: Any) -> Iterator[dict[str, Any]]:
        """The arrays among the arguments, each between its guards; the rest as it is."""
        placed = {}
        for role, given in arrays.items():
            if isinstance(given, np.ndarray) and given.ndim:
                placed[role] = self.roles[role].put(given, at_end)
            else:
                placed[role] = given
        yield placed
        for role, given in placed.items():
            if isinstance(given, np.ndarray) and given.ndim:
                self.roles[role].take_back()


def shapes() -> Iterator[tuple[int, int]]:
    """Every length of a row, every number of short rows, and large batches."""
    yield from ((3, c) for c in LENGTHS)
    yield from itertools.product(LENGTHS, (1, 10))
    yield from (*GROUPS, *BLOCKS)


def told(name: str, *ways: Iterable[Any]) -> Iterator[tuple[Any, ...]]:
    """Every combination of ways, each told before it is tried: after a crash nobody could."""
    for way in itertools.product(*ways):
        print(name, *way, file=sys.stderr, flush=True)
        yield way


def in_place(case: Case) -> list[str]:
    """The kinds of targets that are read where they lie; answers of integers are converted first."""
    return [kind for kind in case.targets if kind not in ("booleans", "integers")]


def guard_losses(case: Case) -> None:
    """Every array of a call between guards: the same results as elsewhere, and nothing written beside them."""
    guards, rng = Guards(), np.random.default_rng(90)
    for kind, dtype, shape in told(case.name, in_place(case), DTYPES, shapes()):
        for choice, at_end in [(1, True)] if shape in BLOCKS else [(0, True), (1, True), (1, False), (2, True)]:
            # The first, the second, the third way to draw each option, or the last where there are fewer.
            draws = {name: draws[min(choice, len(draws) - 1)] for name, draws in case.options.items()}
            options = {name: draw(rng, dtype, shape) for name, draw in draws.items()}
            logits, target = case.logits(rng, dtype, shape), case.targets[kind](rng, dtype, shape)
            if options.get("ignore_index") == 0:
                target = np.maximum(target, 0)  # -100 is no class then
            mean, grad = case.loss_with_grad(logits, target, **options)
            each = case.loss(logits, target, reduction="none", **options)
            alone = case.loss(logits, target, **options)
            with guards.around(at_end, logits=logits, target=target, out=np.zeros_like(grad), **options) as placed:
                out = placed.pop("out")
                assert_same_bits(case.loss(**placed), alone)
                assert_same_bits(case.loss(**placed, reduction="none"), each)
                for into in (out, placed["logits"]):
                    result = case.loss_with_grad(**placed, out=into)
                    assert_same_bits(result.loss, mean)
                    assert_same_bits(into, grad)


def guard_padded_rows(case: Case) -> None:
    """Rows with gaps between them: the last one ends at the guard, where its gap would begin."""
    memory, rng, gap = Guarded(), np.random.default_rng(91), 5
    for kind, dtype, (n, c) in told(case.name, in_place(case), DTYPES, [*((3, c) for c in LENGTHS), *GROUPS, *BLOCKS]):
        logits, target = case.logits(rng, dtype, (n, c)), case.targets[kind](rng, dtype, (n, c))
        flat = memory.put(np.full((n - 1) * (c + gap) + c, np.nan, dtype), at_end=True)
        rows = np.lib.stride_tricks.as_strided(flat, (n, c), ((c + gap) * flat.itemsize, flat.itemsize))
        rows[...] = logits
        assert_same_bits(case.loss(rows, target), case.loss(logits, target))
        for ours, theirs in zip(case.loss_with_grad(rows, target), case.loss_with_grad(logits, target), strict=True):
            assert_same_bits(ours, theirs)
        memory.take_back()


def guard_function(function: Function) -> None:
    guards, rng = Guards(), np.random.default_rng(92)
    for dtype, shape in told(function.name, DTYPES, shapes()):
        x = rng.normal(scale=5.0, size=shape).astype(dtype)
        expected = function.function(x)
        for at_end in (True, False):
            with guards.around(at_end, x=x, out=np.zeros_like(x)) as placed:
                assert_same_bits(function.function(placed["x"]), expected)
                if function.has_out:
                    for into in (placed["out"], placed["x"]):
                        assert_same_bits(function.function(placed["x"], out=into), expected)
