"""How many threads there are: who says so, for whom, and that the numbers do not depend on it."""

import asyncio
import os
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

import xentrs as xe
from processes import LIMIT, run, start

SAY = "import xentrs as xe; print(xe.get_num_threads())"
BIG = "np.zeros((2_000, 4_000), np.float32)"

linux = pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="this system does not list threads in /proc")


@pytest.fixture(autouse=True)
def process_number() -> Iterator[int]:
    """The number of the process, which each test finds and leaves as it was."""
    before = xe.get_num_threads()
    yield before
    xe.set_num_threads(before)


# --- What is said -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environment", "threads"),
    [
        ({"XENTRS_NUM_THREADS": "2", "RAYON_NUM_THREADS": "3", "OMP_NUM_THREADS": "4"}, 2),
        ({"RAYON_NUM_THREADS": "3", "OMP_NUM_THREADS": "4"}, 3),
        ({"OMP_NUM_THREADS": "4"}, 4),
        ({"XENTRS_NUM_THREADS": "", "RAYON_NUM_THREADS": "0", "OMP_NUM_THREADS": "5,2"}, 5),
    ],
    ids=["own", "rayon", "omp", "passed over"],
)
def test_which_variable_sets_the_number_of_threads(environment: dict[str, str], threads: int) -> None:
    program = f"""if True:
        import numpy as np, xentrs as xe
        xe.softmax({BIG})
        print(xe.get_num_threads(), xe.build_info()["num_threads"])
    """
    assert run(program, **environment) == f"{threads} {threads}"


@pytest.mark.parametrize("wrong", ["0", "two", "4,2"])
def test_our_own_variable_must_make_sense(wrong: str) -> None:
    done = start(SAY, XENTRS_NUM_THREADS=wrong, OMP_NUM_THREADS="3")
    assert done.returncode == 1
    assert f'ValueError: XENTRS_NUM_THREADS must be a positive integer, got "{wrong}"' in done.stderr


@pytest.mark.parametrize(
    ("variable", "expected"), [("XENTRS_NUM_THREADS", "a positive integer"), ("XENTRS_ISA", "one of .*portable")]
)
@pytest.mark.parametrize("wrong", ["mmx", "\udcff"], ids=["another word", "no text"])
def test_our_own_variables_are_read_whatever_bytes_they_hold(variable: str, expected: str, wrong: str) -> None:
    done = start(SAY, **{variable: wrong})
    assert done.returncode == 1
    assert re.search(f"ValueError: {variable} must be {expected}", done.stderr)


def test_our_own_variable_has_a_ceiling_and_others_are_cut() -> None:
    assert 'XENTRS_NUM_THREADS must be at most 4096, got "1000000"' in start(SAY, XENTRS_NUM_THREADS="1000000").stderr
    assert run(SAY, OMP_NUM_THREADS="1000000") == run(SAY, XENTRS_NUM_THREADS="4096") == "4096"


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system does not bind processes to cores")
def test_the_default_is_the_cores_that_the_process_may_use() -> None:
    cores = sorted(os.sched_getaffinity(0))
    bound = f"import os; os.sched_setaffinity(0, {{{cores[0]}}}); {SAY}"
    assert run(bound) == "1"
    assert 1 <= int(run(SAY)) <= len(cores), "fewer where a control group limits them"


def test_the_number_of_the_process() -> None:
    for n in (3, np.int64(2), 1):
        xe.set_num_threads(n)
        assert xe.get_num_threads() == xe.build_info()["num_threads"] == n
        with ThreadPoolExecutor(1) as other:
            assert other.submit(xe.get_num_threads).result(LIMIT) == n


def test_the_context_ends_where_its_block_ends(process_number: int) -> None:
    with xe.threads(3):
        assert xe.get_num_threads() == 3
        with xe.threads(2):
            assert xe.get_num_threads() == xe.build_info()["num_threads"] == 2
        xe.set_num_threads(5)
        assert xe.get_num_threads() == 3, "the context goes before the process"
        with pytest.raises(KeyError), xe.threads(7):
            raise KeyError
        assert xe.get_num_threads() == 3
    assert xe.get_num_threads() == 5


def test_the_context_decorates() -> None:
    @xe.threads(3)
    def inside() -> int:
        return xe.get_num_threads()

    assert [inside(), inside()] == [3, 3]


def test_a_context_is_its_threads_own(process_number: int) -> None:
    both_inside, numbers = threading.Barrier(2), {}

    def inside(n: int) -> None:
        with xe.threads(n):
            both_inside.wait(LIMIT)
            numbers[n] = xe.get_num_threads()
            both_inside.wait(LIMIT)

    others = [threading.Thread(target=inside, args=(process_number + i,)) for i in (1, 2)]
    for other in others:
        other.start()
    for other in others:
        other.join(LIMIT)
    assert numbers == {process_number + 1: process_number + 1, process_number + 2: process_number + 2}
    assert xe.get_num_threads() == process_number


def test_a_context_is_its_tasks_own(process_number: int) -> None:
    """Tasks that take turns on one thread: each leaves its block while the other is inside its own."""

    async def inside(n: int, turns: int) -> list[int]:
        numbers = []
        with xe.threads(n):
            for _ in range(turns):
                numbers.append(xe.get_num_threads())
                await asyncio.sleep(0)
            numbers.append(await asyncio.to_thread(xe.get_num_threads))
        return [*numbers, xe.get_num_threads()]

    async def both() -> list[list[int]]:
        return await asyncio.gather(inside(3, 2), inside(5, 4))

    assert asyncio.run(both()) == [[3, 3, 3, process_number], [5, 5, 5, 5, 5, process_number]]
    assert xe.get_num_threads() == process_number


@pytest.mark.parametrize("say", [xe.set_num_threads, xe.threads], ids=["set_num_threads", "threads"])
@pytest.mark.parametrize(
    ("n", "error", "message"),
    [
        (0, ValueError, "n must be at least 1, got 0"),
        (-3, ValueError, "n must be at least 1, got -3"),
        (4097, ValueError, "n must be at most 4096, got 4097"),
        (10**30, ValueError, "n must be an integer of at most 64 bits, got 1000"),
        (2.0, TypeError, "n must be an integer, got 2.0"),
        ("2", TypeError, "n must be an integer, got '2'"),
        (None, TypeError, "n must be an integer, got None"),
        (True, TypeError, "n must be an integer, got True"),
    ],
    ids=str,
)
def test_what_is_no_number_of_threads(say: Any, n: Any, error: Any, message: str, process_number: int) -> None:
    with pytest.raises(error, match=message):
        say(n)
    assert xe.get_num_threads() == process_number


# --- What threadpoolctl says ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("modules", ["xentrs as xe, threadpoolctl", "threadpoolctl, xentrs as xe"])
def test_threadpoolctl_limits_whichever_is_imported_first(modules: str) -> None:
    program = f"""if True:
        import sys, {modules}
        xe.set_num_threads(5)
        with threadpoolctl.threadpool_limits(3):
            print(xe.get_num_threads(), xe.build_info()["num_threads"])
        ours = [library for library in threadpoolctl.threadpool_info() if library["user_api"] == "xentrs"]
        print(len(ours), ours[0]["num_threads"], ours[0]["version"] == xe.__version__)
        print([finder for finder in sys.meta_path if type(finder).__module__.startswith("xentrs")])
    """
    assert run(program).splitlines() == ["3 3", "1 5 True", "[]"]


def test_xentrs_imports_no_threadpoolctl_and_lives_without_it() -> None:
    program = """if True:
        import sys, xentrs as xe
        print("threadpoolctl" in sys.modules)
        sys.path[:] = []
        try:
            import threadpoolctl
        except ModuleNotFoundError as fault:
            print(fault.name)
    """
    assert run(program).splitlines() == ["False", "threadpoolctl"]


def test_an_older_threadpoolctl_is_left_alone() -> None:
    """It has nothing to register with, and scikit-learn takes it."""
    program = f"import sys, types; sys.modules['threadpoolctl'] = types.ModuleType('threadpoolctl'); {SAY}"
    assert int(run(program)) >= 1


@pytest.mark.parametrize("limits", [1, {"xentrs": 1}], ids=str)
def test_limits_are_those_of_the_context_and_end_with_it(limits: Any) -> None:
    xe.set_num_threads(3)
    with threadpool_limits(limits), ThreadPoolExecutor(1) as other:
        assert xe.get_num_threads() == 1
        assert other.submit(xe.get_num_threads).result(LIMIT) == 3, "of this thread alone"
    assert xe.get_num_threads() == 3
    xe.set_num_threads(2)
    assert xe.get_num_threads() == 2, "nothing is left that would go before the process"
    with xe.threads(4):
        with threadpool_limits(limits):
            assert xe.get_num_threads() == 1
        assert xe.get_num_threads() == 4


def test_limits_of_others_are_theirs() -> None:
    xe.set_num_threads(3)
    with threadpool_limits(1, user_api="blas"):
        assert xe.get_num_threads() == 3
    with threadpool_limits({"xentrs": 1_000_000}):
        assert xe.get_num_threads() == 4096, "a limit beyond the ceiling is none"
    with pytest.raises(ValueError, match="limits of xentrs must be at least 1, got 0"):
        threadpool_limits({"xentrs": 0})
    assert xe.get_num_threads() == 3


@linux
def test_the_core_of_another_package_is_none_of_ours(tmp_path: Path) -> None:
    """Many packages call theirs so; the copy stands for one of them."""
    program = f"""if True:
        import ctypes, shutil, threadpoolctl, xentrs as xe
        other = shutil.copy(xe._core.__file__, {str(tmp_path)!r})
        ctypes.CDLL(other)
        assert other in open("/proc/self/maps").read()
        ours = [library["filepath"] for library in threadpoolctl.threadpool_info() if library["user_api"] == "xentrs"]
        print(ours == [xe._core.__file__])
    """
    assert run(program) == "True"


def test_workers_of_joblib_share_the_cores() -> None:
    """In each of two processes half of the threads, as joblib asks: a grid search has no more than there are cores."""
    program = """if True:
        import joblib, xentrs as xe
        def number():
            return xe.get_num_threads()
        share = joblib.Parallel(n_jobs=2)(joblib.delayed(number)() for _ in range(2))
        print(share == [max(joblib.cpu_count() // 2, 1)] * 2)
    """
    assert run(program) == "True"


# --- What is done -----------------------------------------------------------------------------------------------------


@linux
def test_so_many_threads_start_and_no_more() -> None:
    """One pool, which grows at the first large call for a number, and the caller is one of them."""
    program = f"""if True:
        import os
        import numpy as np, xentrs as xe

        def threads():  # counted, not asked for their names, which a thread gives itself once it runs
            return len(os.listdir("/proc/self/task")) - others

        others = 0
        others = threads()
        big = {BIG}
        xe.softmax(big[:1]), xe.softmax_cross_entropy(big[:9, :9], [0] * 9)
        with xe.threads(1):
            xe.softmax(big)
        print(threads())
        for n in (3, 3, 2, 3):
            with xe.threads(n):
                xe.softmax(big)
            print(threads())
    """
    assert run(program).split() == "0 2 2 2 2".split()


@linux
def test_no_more_threads_than_there_is_work_for() -> None:
    """Every number to 80, and thousands: one pool, of a thread less than a call has blocks; no pause after a fork."""
    program = """if True:
        import os, time
        import numpy as np, xentrs as xe

        z = np.zeros((20_000, 50), np.float32)  # 31 blocks
        others = len(os.listdir("/proc/self/task"))

        def call():
            begin = time.perf_counter()
            xe.softmax(z)
            return time.perf_counter() - begin

        for n in range(1, 81):
            with xe.threads(n):
                xe.softmax(z)
        xe.set_num_threads(4096)
        took = [call()]
        print(len(os.listdir("/proc/self/task")) - others)
        read, write = os.pipe()
        if os.fork() == 0:
            os.write(write, str(call()).encode())
            os._exit(0)
        took.append(float(os.read(read, 100)))
        print(max(took) < 5)
    """
    assert run(program).split() == ["30", "True"]


@linux
def test_a_system_that_lends_no_threads() -> None:
    """Where no thread can be started, the caller does the work, whatever the last one that started has left."""
    program = """if True:
        import os, resource
        import numpy as np, xentrs as xe
        big = np.random.default_rng(0).standard_normal((500, 2_000))
        with xe.threads(1):
            alone = xe.softmax(big)
        used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        before = resource.getrlimit(resource.RLIMIT_AS)
        for spare in range(5 * 2**24, 5 * 2**24 + 2**21, 2**15):  # a thread takes two MiB
            if not (child := os.fork()):
                resource.setrlimit(resource.RLIMIT_AS, (used + spare, before[1]))
                with xe.threads(1_000):
                    shared = xe.softmax(big)
                resource.setrlimit(resource.RLIMIT_AS, before)
                os._exit(not np.array_equal(shared, alone))
            assert os.waitpid(child, 0)[1] == 0, spare
        print("well")
    """
    assert run(program) == "well"
