"""What a call does to memory: nothing is read or written past an array, and next to nothing is allocated.

An array that ends where its page ends, with a page behind it that may not be touched, turns a read past the end into a
crash. So does one that begins where its page begins. The process that tries has to be one that may crash.
"""

import ctypes
import itertools
import mmap
import os
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from checks import assert_same_bits
from processes import run, start
from registry import CASES, DTYPES, FUNCTIONS, Case, Function

Array = np.ndarray[Any, Any]

linux = pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="this system tells no peak of memory in /proc")
protects = pytest.mark.skipif(os.name != "posix", reason="this system has no mprotect")

LENGTHS = range(1, 71)  # four registers of sixteen lanes, and a tail
BLOCKS = [(300, 7), (70_001, 3), (9, 33_003), (2, 70_001)]  # many blocks, on several threads, and rows in parts

# --- Guard pages ------------------------------------------------------------------------------------------------------


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
    yield from BLOCKS


def assert_bytes(*pairs: tuple[Any, Any]) -> None:
    """What `assert_same_bits` says, in a hundredth of its time."""
    for actual, expected in pairs:
        if np.asarray(actual).tobytes() != np.asarray(expected).tobytes():
            assert_same_bits(actual, expected)
            raise AssertionError("NaN that differ")


def guard_losses(case: Case, kind: str, dtype: type) -> None:
    """Every array of a call between guards: the same results as elsewhere, and nothing written beside them."""
    guards, rng = Guards(), np.random.default_rng(90)
    for shape, choice, at_end in itertools.product(shapes(), (0, 1, 2), (True, False)):
        # The first, the second, the third way to draw each option, or the last where there are fewer.
        options = {name: draws[min(choice, len(draws) - 1)](rng, dtype, shape) for name, draws in case.options.items()}
        logits, target = case.logits(rng, dtype, shape), case.targets[kind](rng, dtype, shape)
        if options.get("ignore_index") == 0:
            target = np.maximum(target, 0)  # -100 is no class then
        mean, grad = case.loss_with_grad(logits, target, **options)
        each = case.loss(logits, target, reduction="none", **options)
        alone = case.loss(logits, target, **options)
        with guards.around(at_end, logits=logits, target=target, out=np.zeros_like(grad), **options) as placed:
            out = placed.pop("out")
            assert_bytes((case.loss(**placed), alone), (case.loss(**placed, reduction="none"), each))
            for into in (out, placed["logits"]):
                result = case.loss_with_grad(**placed, out=into)
                assert_bytes((result.loss, mean), (into, grad))


def guard_padded_rows(case: Case, kind: str, dtype: type) -> None:
    """Rows with gaps between them: the last one ends at the guard, where its gap would begin."""
    memory, rng, gap = Guarded(), np.random.default_rng(91), 5
    for n, c in [*((3, c) for c in LENGTHS), *BLOCKS]:
        logits, target = case.logits(rng, dtype, (n, c)), case.targets[kind](rng, dtype, (n, c))
        flat = memory.put(np.full((n - 1) * (c + gap) + c, np.nan, dtype), at_end=True)
        rows = np.lib.stride_tricks.as_strided(flat, (n, c), ((c + gap) * flat.itemsize, flat.itemsize))
        rows[...] = logits
        assert_bytes(
            (case.loss(rows, target), case.loss(logits, target)),
            *zip(case.loss_with_grad(rows, target), case.loss_with_grad(logits, target), strict=True),
        )
        memory.take_back()


def guard_function(function: Function, dtype: type) -> None:
    guards, rng = Guards(), np.random.default_rng(92)
    for shape in shapes():
        x = rng.normal(scale=5.0, size=shape).astype(dtype)
        expected = function.function(x)
        for at_end in (True, False):
            with guards.around(at_end, x=x, out=np.zeros_like(x)) as placed:
                assert_bytes((function.function(placed["x"]), expected))
                if function.has_out:
                    for into in (placed["out"], placed["x"]):
                        assert_bytes((function.function(placed["x"], out=into), expected))


each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)
each_kind = pytest.mark.parametrize(
    ("case", "kind"), [pytest.param(i, kind, id=f"{c.name}-{kind}") for i, c in enumerate(CASES) for kind in c.targets]
)


def in_a_process_of_its_own(call: str) -> None:
    run(
        f"import numpy as np; from registry import CASES, FUNCTIONS; import test_memory; test_memory.{call}",
        XENTRS_NUM_THREADS="3",
    )


@protects
def test_a_read_past_the_end_would_be_seen() -> None:
    """The guards guard: a sum that goes one number too far ends the process."""
    program = """if True:
        import numpy as np, test_memory
        array = test_memory.Guarded().put(np.ones(8), at_end=True)
        array = np.lib.stride_tricks.as_strided(array[{first}:], (8,))
        print(array.sum())
    """
    assert run(program.format(first=0)) == "8.0"
    assert start(program.format(first=1)).returncode < 0


@protects
@each_dtype
@each_kind
def test_no_loss_reads_or_writes_past_an_array(case: int, kind: str, dtype: type) -> None:
    in_a_process_of_its_own(f"guard_losses(CASES[{case}], {kind!r}, np.{dtype.__name__})")


@protects
@each_dtype
@each_kind
def test_no_loss_reads_the_gap_behind_the_last_row(case: int, kind: str, dtype: type) -> None:
    in_a_process_of_its_own(f"guard_padded_rows(CASES[{case}], {kind!r}, np.{dtype.__name__})")


@protects
@each_dtype
@pytest.mark.parametrize("function", range(len(FUNCTIONS)), ids=[function.name for function in FUNCTIONS])
def test_no_function_reads_or_writes_past_an_array(function: int, dtype: type) -> None:
    in_a_process_of_its_own(f"guard_function(FUNCTIONS[{function}], np.{dtype.__name__})")


# --- The peak ---------------------------------------------------------------------------------------------------------


def peak_of(call: str) -> int:
    """KiB by which a call raises the resident set of a fresh process, at its highest, above what it was before.

    The arrays have been written before, so that all their pages are there, and a call on a few rows has started the
    pool and has brought in the code, which is the file's memory and no array's. What the call itself needs counts from
    there: lists of blocks, scratch rows, stacks, whatever the allocator keeps. Linux tells the peak as VmHWM, which is
    set back to the present by writing 5 to clear_refs.
    """
    program = f"""if True:
        import gc
        import numpy as np, xentrs as xe

        def kib(field):
            lines = open("/proc/self/status").read().splitlines()
            return next(int(line.split()[1]) for line in lines if line.startswith(field))

        logits = np.random.default_rng(0).standard_normal((2048, 32000), np.float32)
        target = np.arange(2048)
        grad = np.ones_like(logits)
        xe.softmax_cross_entropy_with_grad(logits[:64], target[:64], out=grad[:64])
        gc.collect()
        open("/proc/self/clear_refs", "w").write("5")
        before = kib("VmRSS")
        {call}
        print(kib("VmHWM") - before)
    """
    return int(run(program, XENTRS_NUM_THREADS="2"))


@linux
@pytest.mark.parametrize(
    "call",
    [
        "xe.softmax_cross_entropy(logits, target)",
        "xe.softmax_cross_entropy_with_grad(logits, target, out=grad)",
        "xe.softmax_cross_entropy_with_grad(logits, target, out=logits)",
    ],
    ids=["loss", "out", "in place"],
)
def test_the_peak_is_below_one_mib_beside_the_arrays(call: str) -> None:
    assert peak_of(call) < 1024


@linux
def test_the_peak_of_an_array_more_is_seen() -> None:
    """The measure measures: without `out` the gradient is new, and as large as the logits."""
    size = 2048 * 32000 * 4 // 1024
    assert size <= peak_of("xe.softmax_cross_entropy_with_grad(logits, target)") < size + 1024
