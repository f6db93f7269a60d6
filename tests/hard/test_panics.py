"""A panic of the core, which is a bug, arrives as an exception, and the next call works. A test build has one."""

import pytest

import xentrs as xe
from processes import start

PROGRAM = """if True:
    import numpy as np, xentrs as xe
    z, target = np.zeros((50_000, 4)), np.zeros(50_000, int)
    for _ in range(20):
        try:
            xe._core._panic()
        except BaseException as error:
            print(type(error).__name__, error)
        assert round(xe.softmax_cross_entropy(z, target), 4) == 1.3863
"""


@pytest.mark.skipif(not hasattr(xe._core, "_panic"), reason="only the profile quick has a panic on purpose")
@pytest.mark.parametrize("threads", ["1", "2"])
def test_a_panic_is_an_exception(threads: str) -> None:
    done = start(PROGRAM, XENTRS_NUM_THREADS=threads)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["PanicException on purpose"] * 20
    assert "src/python/mod.rs" in done.stderr, "the place of the bug is told"
