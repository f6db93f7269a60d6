"""Results are those of standard arithmetic, whatever modes another library has set for the thread that calls.

A game engine, a real-time filter or XLA reads and writes subnormal numbers as 0; interval arithmetic rounds up or down.
"""

import ctypes
import mmap
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

import xentrs as xe
from checks import assert_same_bits
from processes import run
from registry import CASES, DTYPES, FUNCTIONS, Case, Function

pytestmark = pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64") or not hasattr(mmap, "PROT_EXEC"),
    reason="the test sets the modes by instructions of x86-64",
)

MODES = {"subnormal numbers are 0": 0x8040, "rounds towards 0": 0x6000}
"""Bits of the register MXCSR. Of the field of directions both are set: the others set one of them."""

MASKED = 0x1F80
"""No exception traps."""


class Register:
    """MXCSR, read and written by two functions of four bytes."""

    def __init__(self) -> None:
        self.code = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        self.code.write(bytes.fromhex("0fae1fc3 0fae17c3"))  # stmxcsr [rdi]; ret; ldmxcsr [rdi]; ret
        start = ctypes.addressof(ctypes.c_char.from_buffer(self.code))
        function = ctypes.CFUNCTYPE(None, ctypes.POINTER(ctypes.c_uint32))
        self.store, self.load = function(start), function(start + 4)

    def read(self) -> int:
        bits = ctypes.c_uint32()
        self.store(bits)
        return bits.value

    @contextmanager
    def modes(self, bits: int) -> Iterator[None]:
        before = self.read()
        self.load(ctypes.c_uint32(MASKED | bits))
        try:
            yield
            assert self.read() & ~0x3F == MASKED | bits, "the caller's modes have changed"
        finally:
            self.load(ctypes.c_uint32(before))


@pytest.fixture(scope="module")
def register() -> Register:
    return Register()


def tiny_and_large(rng: np.random.Generator, dtype: type, shape: tuple[int, ...]) -> Any:
    """Numbers so far apart that many probabilities are subnormal, and some numbers that are themselves."""
    numbers = (rng.standard_normal(shape) * {np.float32: 40, np.float64: 300}[dtype]).astype(dtype)
    numbers[..., ::7] = np.finfo(dtype).smallest_normal / 8
    return numbers


SHAPES = [(3, 10), (9, 70), (4_500, 33), (2, 70_000)]
"""One that is done at once, and such that helper threads share."""


@pytest.mark.parametrize("bits", MODES.values(), ids=MODES)
@pytest.mark.parametrize(("case", "kind"), [pytest.param(c, k, id=f"{c.name}-{k}") for c in CASES for k in c.targets])
def test_losses(register: Register, case: Case, kind: str, bits: int) -> None:
    rng = np.random.default_rng(3)
    with xe.threads(2):
        for shape in SHAPES:
            for dtype in DTYPES:
                logits = case.admit(tiny_and_large(rng, dtype, shape))
                target = case.targets[kind](rng, dtype, shape)
                plain = case.loss_with_grad(logits, target, reduction="sum")
                with register.modes(bits):
                    result = case.loss_with_grad(logits, target, reduction="sum")
                for ours, theirs in zip(result, plain, strict=True):
                    assert_same_bits(ours, theirs, f"{shape} {dtype.__name__}")


@pytest.mark.parametrize("bits", MODES.values(), ids=MODES)
@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.name)
def test_functions_underneath(register: Register, function: Function, bits: int) -> None:
    rng = np.random.default_rng(4)
    with xe.threads(2):
        for shape in SHAPES:
            for dtype in DTYPES:
                x = tiny_and_large(rng, dtype, shape)
                plain = function.function(x)
                with register.modes(bits):
                    result = function.function(x)
                assert_same_bits(result, plain, f"{shape} {dtype.__name__}")


@pytest.mark.parametrize("bits", MODES.values(), ids=MODES)
def test_threads_that_start_in_other_modes(bits: int) -> None:
    """A thread begins with the modes of the one that starts it, and keeps them when that one has others."""
    program = f"""if True:
        import numpy as np, xentrs as xe
        from test_float_modes import Register, tiny_and_large

        z = tiny_and_large(np.random.default_rng(5), np.float32, (3_000, 330))
        with xe.threads(1):
            alone = xe.softmax(z)
        with xe.threads(4):
            with Register().modes({bits}):
                xe.softmax(z)
            print(all(np.array_equal(xe.softmax(z), alone) for _ in range(20)))
    """
    assert run(program) == "True"


def test_the_test_can_tell(register: Register) -> None:
    tiny = np.array([np.finfo(np.float64).smallest_normal])
    with register.modes(MODES["subnormal numbers are 0"]):
        flushed = tiny / 2
    assert flushed[0] == 0 < (tiny / 2)[0]
