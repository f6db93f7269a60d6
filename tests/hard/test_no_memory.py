"""No abort where memory is refused: each call gives a MemoryError or the right answer, and the next one works.

`make test-hard` tries every call of `faults.py`; otherwise some of them are tried.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import xentrs as xe
from processes import LIMIT, run

TESTS = Path(__file__).parents[1]
WHOLE = bool(os.environ.get("XENTRS_HARD"))
UNITS = [(unit, 1) for unit in range(12)] if WHOLE else [(0, 37), (7, 29), (8, 21)]
"""A type and a kind of calls, and one of how many calls."""

glibc = pytest.mark.skipif(
    sys.platform != "linux" or "glibc" not in os.confstr("CS_GNU_LIBC_VERSION") or shutil.which("cc") is None,
    reason="a C compiler, named cc, and glibc are needed for a malloc that refuses",
)


@pytest.fixture(scope="module")
def refusing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The malloc that refuses."""
    library = tmp_path_factory.mktemp("malloc") / "refusing.so"
    source = Path(__file__).with_name("refusing_malloc.c")
    subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return library


@glibc
@pytest.mark.timeout(10 * LIMIT)
@pytest.mark.parametrize("threads", ["1", "2"] if WHOLE else ["2"])
@pytest.mark.parametrize("way", ["one", "room"])
@pytest.mark.parametrize(("unit", "step"), UNITS)
def test_memory_that_is_refused(refusing: Path, way: str, unit: int, step: int, threads: str) -> None:
    """One allocation after the other is refused; or all beyond an amount, which becomes larger and larger."""
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "faults.py", way, str(unit), str(step)],
        cwd=TESTS,
        env={**os.environ, "LD_PRELOAD": str(refusing), "XENTRS_NUM_THREADS": threads},
        capture_output=True,
        text=True,
        timeout=10 * LIMIT,
    )
    assert done.returncode == 0, f"the process ended with {done.returncode}:\n{done.stderr[-4000:]}"
    tries, answers = map(int, done.stdout.split())
    print(f"refused in {tries} calls, {answers} of which gave the right answer without")
    assert tries > answers


HUGE = """if True:
    import numpy as np, xentrs as xe
    p = np.broadcast_to(np.full(10, 0.1, np.float32), (2**40, 10))
    nothing = np.zeros((2**40, 0))
    for call in {calls}:
        print(call, flush=True)
        try:
            eval(call)
        except MemoryError as error:
            print(error)
"""


def test_results_that_no_machine_has_memory_for() -> None:
    calls = [
        "xe.logsumexp(p)",
        "xe.entropy(p)",
        "xe.cross_entropy(p, p)",
        "xe.kl_divergence(p, p)",
        "xe.js_divergence_with_grad(p, p)",
        "xe.js_smoothness(p, reduction='none')",
        "xe.softmax_cross_entropy(p, p, reduction='none')",
        "xe.softmax(p)",
        "xe.logsumexp(nothing)",
        "xe.softmax_cross_entropy(nothing, nothing, reduction='none')",
        "xe.linear_cross_entropy(np.zeros((64, 0)), np.zeros((2**56, 0)), np.zeros(64, int))",
    ]
    said = run(HUGE.format(calls=calls)).splitlines()
    assert said[::2] == calls
    assert all("llocate" in error for error in said[1::2]), said


@pytest.mark.skipif(sys.platform != "linux", reason="the limit of a process's memory is Linux's")
def test_a_result_beyond_the_limit_of_the_process() -> None:
    program = """if True:
        import resource
        import numpy as np, xentrs as xe
        z = np.zeros(20_000_000, np.float32)
        used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        before = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (used + 2**26, before[1]))
        for call in (
            lambda: xe.sigmoid_cross_entropy(z, z, reduction="none"),
            lambda: xe.sigmoid_cross_entropy_with_grad(z, z),
            lambda: xe.entropy(np.broadcast_to(np.full(2, 0.5, np.float32), (20_000_000, 2))),
        ):
            try:
                call()
            except MemoryError:
                print("MemoryError")
        print(xe.sigmoid_cross_entropy(z, z) == np.log(2).astype(np.float32))
    """
    lines = run(program, XENTRS_NUM_THREADS="2").split()
    assert lines[:3] == ["MemoryError"] * 3


def test_an_error_of_memory_stays_one_through_every_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Layers that name an argument, or advise, do so to what is wrong with an argument alone."""

    def fail(*args: object, **kwargs: object) -> None:
        raise MemoryError("on purpose")

    monkeypatch.setattr(np, "require", fail)
    z, target = np.asfortranarray(np.random.default_rng(0).random((3, 70), np.float32)), np.zeros(3, np.int64)
    calls = [
        lambda: xe.cross_entropy(z, z),
        lambda: xe.kl_divergence_with_grad(z, z),
        lambda: xe.token_logprobs(z, target),
        lambda: xe.softmax_cross_entropy_with_grad(z, target),
        lambda: xe.linear_cross_entropy(z, z, target),
        lambda: xe.softmax_stats(z, target),
        lambda: xe.gaussian_kl_divergence(z, z, z, z),
        lambda: xe.softmax_cross_entropy(z.copy("C"), z),
        lambda: xe.sigmoid_cross_entropy(z, z, sample_weight=z[:1]),
        lambda: xe.info_nce(z, z, temperature=1.0),
    ]
    for call in calls:
        with pytest.raises(MemoryError, match="on purpose"):
            call()
