"""The clock that the cores run at: what a processor calls itself does not say, and a virtual machine does not know."""

import platform
import time
from concurrent.futures import ThreadPoolExecutor

LATENCY = 3
"""Cycles from one product of 32-bit integers to the next that needs it, on every x86-64 core since Sandy Bridge and Zen
(A. Fog, *Instruction tables*; uops.info). Additions would do, but some cores add a constant in no time at all."""

STEPS, ROUNDS = 4_000_000, 15


def gigahertz(threads: int) -> float | None:
    """Time a chain of products, each of which waits for the one before, on as many threads as the benchmark has.

    The fastest round counts, and in it the slowest thread. None where the latency is not known, or numba is missing.
    """
    try:
        import numba
        import numpy as np
    except ImportError:
        return None
    if platform.machine() not in ("x86_64", "AMD64"):
        return None

    @numba.njit(nogil=True)
    def squares(x: int, steps: int) -> int:
        for _ in range(steps):
            x = np.uint32(x * x)
        return x

    def seconds(_: int) -> float:
        begin = time.perf_counter()
        squares(np.uint32(3), STEPS)
        return time.perf_counter() - begin

    squares(np.uint32(3), 1)  # compiles
    with ThreadPoolExecutor(threads) as pool:
        best = min(max(pool.map(seconds, range(threads))) for _ in range(ROUNDS))
    return LATENCY * STEPS / best / 1e9
