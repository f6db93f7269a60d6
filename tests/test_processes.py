"""Calls at the same time, a fork after the pool was used, the same bits for any number of threads."""

import hashlib
import multiprocessing
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection

import numpy as np
import pytest

import xentrs as xe
from checks import assert_same_bits

LIMIT = 60  # seconds until a hang is called one


def large_batch(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Eight million logits: enough for every thread there is."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal((2_000, 4_000), np.float32), rng.integers(0, 4_000, 2_000)


def fingerprint(seed: int) -> str:
    """A digest of every bit of the results, for large and small batches, many and few classes."""
    digest = hashlib.sha256()
    for shape in [(1, 10), (300, 10), (50_000, 10), (1_000, 1_003), (11, 60_000)]:
        rng = np.random.default_rng(seed)
        for dtype in (np.float32, np.float64):
            logits = rng.normal(scale=4.0, size=shape).astype(dtype)
            target = rng.integers(0, shape[1], shape[0])
            for result in (
                xe.softmax_cross_entropy_with_grad(logits, target, label_smoothing=0.1),
                xe.softmax_cross_entropy_with_grad(logits, target, reduction="none"),
                xe.sigmoid_cross_entropy_with_grad(logits, (logits > 1).astype(dtype)),
                (xe.softmax_cross_entropy(logits, target), xe.softmax(logits)),
                (xe.sigmoid_cross_entropy(logits, logits > 1), xe.softplus(logits)),
            ):
                for part in result:
                    digest.update(np.asarray(part).tobytes())
    return digest.hexdigest()


def in_child(connection: Connection, logits: np.ndarray, target: np.ndarray) -> None:
    connection.send(xe.softmax_cross_entropy_with_grad(logits, target))
    connection.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_child_forked_after_the_pool_was_used() -> None:
    """Threads do not survive a fork, so a pool that is inherited waits for ever."""
    logits, target = large_batch(80)
    expected, expected_grad = xe.softmax_cross_entropy_with_grad(logits, target)
    context = multiprocessing.get_context("fork")
    for _ in range(2):
        receiver, sender = context.Pipe(duplex=False)
        child = context.Process(target=in_child, args=(sender, logits, target))
        child.start()
        sender.close()
        try:
            assert receiver.poll(LIMIT), f"the child gave no answer in {LIMIT} seconds"
            loss, grad = receiver.recv()
            child.join(LIMIT)
            assert child.exitcode == 0
        finally:
            child.kill()
            child.join()
        assert loss == expected
        assert_same_bits(grad, expected_grad)
        again, _ = xe.softmax_cross_entropy_with_grad(logits, target)
        assert again == expected, "the parent keeps working too"


def test_threads_that_call_at_the_same_time() -> None:
    batches = [large_batch(seed) for seed in range(3)] + [
        (logits[:300, :10].copy(), target[:300] % 10) for logits, target in map(large_batch, range(3))
    ]
    expected = [xe.softmax_cross_entropy_with_grad(*batch) for batch in batches]
    start = threading.Barrier(len(batches))

    def call(batch: tuple[np.ndarray, np.ndarray]) -> list[xe.LossGrad]:
        start.wait(LIMIT)
        return [xe.softmax_cross_entropy_with_grad(*batch) for _ in range(4)]

    with ThreadPoolExecutor(len(batches)) as threads:
        for results, (loss, grad) in zip(threads.map(call, batches, timeout=LIMIT), expected, strict=True):
            for result in results:
                assert result.loss == loss
                assert_same_bits(result.grad, grad)


def test_labels_that_change_during_the_call_do_no_harm() -> None:
    """Another thread overwrites the classes with nonsense meanwhile: odd numbers or an IndexError, never a crash."""
    logits, target = large_batch(81)
    good, stop = target.copy(), threading.Event()

    def disturb() -> None:
        while not stop.is_set():
            target[:] = 2**62
            target[:] = good

    disturber = threading.Thread(target=disturb)
    disturber.start()
    try:
        for _ in range(10):
            try:
                loss, grad = xe.softmax_cross_entropy_with_grad(logits, target)
            except IndexError:
                continue
            assert np.isfinite(loss) and np.isfinite(grad).all()
    finally:
        stop.set()
        disturber.join(LIMIT)


def run(program: str, **threads: str) -> str:
    """What a program prints, where no variable but those given says how many threads to use."""
    variables = ("XENTRS_NUM_THREADS", "RAYON_NUM_THREADS", "OMP_NUM_THREADS")
    environment = {name: value for name, value in os.environ.items() if name not in variables}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**environment, **threads},
        cwd=os.path.dirname(__file__),
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("threads", [1, 2, 3, 7])
def test_the_same_bits_for_any_number_of_threads(threads: int) -> None:
    """Row blocks and the order of reduction depend on the shape alone."""
    program = "import xentrs, test_processes as t; print(xentrs.build_info()['num_threads'], t.fingerprint(82))"
    assert run(program, XENTRS_NUM_THREADS=str(threads)) == f"{threads} {fingerprint(82)}"


@pytest.mark.parametrize(
    ("environment", "threads"),
    [
        ({"XENTRS_NUM_THREADS": "2", "RAYON_NUM_THREADS": "3", "OMP_NUM_THREADS": "4"}, 2),
        ({"RAYON_NUM_THREADS": "3", "OMP_NUM_THREADS": "4"}, 3),
        ({"OMP_NUM_THREADS": "4"}, 4),
    ],
    ids=["own", "rayon", "omp"],
)
def test_which_variable_sets_the_number_of_threads(environment: dict[str, str], threads: int) -> None:
    program = """if True:
        import numpy as np, xentrs as xe
        xe.softmax_cross_entropy(np.zeros((2_000, 4_000), np.float32), np.zeros(2_000, int))
        print(xe.build_info()["num_threads"])
    """
    assert run(program, **environment) == str(threads)


def test_a_process_ends_while_the_pool_is_idle() -> None:
    """Threads that wait for work do not keep the interpreter alive."""
    program = "import numpy as np, xentrs as xe; xe.softmax(np.zeros((2_000, 4_000), np.float32)); print('done')"
    assert run(program) == "done"
