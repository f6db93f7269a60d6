"""Calls at the same time, forks after and during the use of the pool, the same bits for any number of threads."""

import hashlib
import itertools
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from multiprocessing.connection import Connection

import numpy as np
import pytest

import xentrs as xe
from checks import assert_same_bits
from processes import LIMIT, run
from registry import CASES, DTYPES, FUNCTIONS, REDUCTIONS, Case

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
warned = pytest.mark.filterwarnings("ignore:.*multi-?threaded.*:DeprecationWarning", "ignore:os.fork:RuntimeWarning")
"""Python warns of a fork beside threads, and so does JAX once a test has loaded it. The children run xentrs alone."""


def large_batch(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Eight million logits: enough for every thread there is."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal((2_000, 4_000), np.float32), rng.integers(0, 4_000, 2_000)


class Fingerprint:
    """A digest of every bit of many results."""

    def __init__(self) -> None:
        self.digest = hashlib.sha256()

    def add(self, *results: object) -> None:
        for result in results:
            self.digest.update(np.ascontiguousarray(result).tobytes())

    def __str__(self) -> str:
        return self.digest.hexdigest()


def of_losses(case: Case, kind: str, shapes: list[tuple[int, int]]) -> str:
    """Two combinations of options, every reduction, the gradient beside the logits and over them."""
    fingerprint, rng = Fingerprint(), np.random.default_rng(82)
    for shape, dtype in itertools.product(shapes, (*DTYPES, np.float16)):
        logits, target = case.logits(rng, dtype, shape), case.targets[kind](rng, dtype, shape)
        target = np.maximum(target, 0)  # with ignore_index=0 there is no class -100
        for options in itertools.islice(case.grid(rng, dtype, shape), 0, 10, 5):
            for reduction in REDUCTIONS:
                fingerprint.add(case.loss(logits, target, reduction=reduction, **options))
            fingerprint.add(*case.loss_with_grad(logits, target, reduction="none", **options))
            place = logits.copy()
            fingerprint.add(*case.loss_with_grad(place, target, out=place, **options))
    return str(fingerprint)


def of_functions(shapes: list[tuple[int, int]]) -> str:
    fingerprint, rng = Fingerprint(), np.random.default_rng(83)
    for shape, dtype in itertools.product(shapes, (*DTYPES, np.float16)):
        x = rng.normal(scale=4.0, size=shape).astype(dtype)
        fingerprint.add(*(function.function(x) for function in FUNCTIONS))
    return str(fingerprint)


def assert_any_number_of_threads(result: Callable[[], str]) -> None:
    with xe.threads(1):
        alone = result()
    for n in (2, 7):
        with xe.threads(n):
            assert result() == alone, f"{n} threads"


def in_child(connection: Connection, logits: np.ndarray, target: np.ndarray) -> None:
    connection.send(xe.softmax_cross_entropy_with_grad(logits, target))
    connection.close()


@forks
@warned
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


def succeeds_in_a_child(task: Callable[[], bool]) -> bool:
    """Fork, run a task in the child, which then ends without cleaning up, and tell whether it was right and in time."""
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if task() else 1)
        finally:
            os._exit(2)
    watch = threading.Timer(LIMIT, os.kill, (child, signal.SIGKILL))
    watch.start()
    _, status = os.waitpid(child, 0)
    watch.cancel()
    return status == 0


@forks
@warned
def test_a_plain_fork_inside_a_number_of_threads() -> None:
    """The child keeps the number of its context, and so does a child of its own."""
    logits, target = large_batch(84)
    with xe.threads(3):
        expected = xe.softmax_cross_entropy(logits, target)

        def task() -> bool:
            return xe.get_num_threads() == 3 and xe.softmax_cross_entropy(logits, target) == expected

        def task_and_grandchild() -> bool:
            with xe.threads(2):
                other = xe.softmax_cross_entropy(logits, target) == expected
            return task() and other and succeeds_in_a_child(task)

        assert succeeds_in_a_child(task)
        assert succeeds_in_a_child(task_and_grandchild)
        assert task()


@forks
@warned
def test_forks_while_other_threads_are_in_the_middle_of_a_call() -> None:
    logits, target = large_batch(85)
    expected, stop = xe.softmax_cross_entropy(logits, target), threading.Event()

    def keep_busy(n: int) -> None:
        with xe.threads(n):
            while not stop.is_set():
                assert xe.softmax_cross_entropy(logits, target) == expected

    with ThreadPoolExecutor(2) as busy:
        calls = [busy.submit(keep_busy, n) for n in (2, 3)]
        try:
            for _ in range(10):
                assert succeeds_in_a_child(lambda: xe.softmax_cross_entropy(logits, target) == expected)
        finally:
            stop.set()
        for call in calls:
            call.result(LIMIT)


def test_threads_that_call_at_the_same_time() -> None:
    batches = [large_batch(seed) for seed in range(3)] + [
        (logits[:300, :10].copy(), target[:300] % 10) for logits, target in map(large_batch, range(3))
    ]
    expected = [xe.softmax_cross_entropy_with_grad(*batch) for batch in batches]
    start = threading.Barrier(len(batches))

    def call(i: int) -> list[xe.LossGrad]:
        start.wait(LIMIT)
        results = []
        for n in range(i, i + 4):  # none, 1, 2, 3 and so on: each caller a number of its own
            with xe.threads(n) if n else nullcontext():
                results.append(xe.softmax_cross_entropy_with_grad(*batches[i]))
        return results

    with ThreadPoolExecutor(len(batches)) as callers:
        for results, (loss, grad) in zip(callers.map(call, range(6), timeout=LIMIT), expected, strict=True):
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


@pytest.mark.parametrize(("case", "kind"), [pytest.param(c, k, id=f"{c.name}-{k}") for c in CASES for k in c.targets])
def test_the_same_bits_for_any_number_of_threads(case: Case, kind: str) -> None:
    """Row blocks and the order of reduction depend on the shape alone."""
    shapes = [(1, 10), (300, 10), (7_000, 10), (70, 1_003), (2, 40_000), (1, 150_001)]
    assert_any_number_of_threads(lambda: of_losses(case, kind, shapes))


def test_the_same_bits_of_the_functions_underneath() -> None:
    assert_any_number_of_threads(lambda: of_functions([(300, 10), (50_000, 10), (1_000, 1_003), (1, 300_000)]))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_same_bits_of_eight_million_logits(case: Case) -> None:
    logits, classes = large_batch(86)
    target = classes if case.has_class_axis else logits > 1
    logits = case.admit(logits)

    def result() -> str:
        fingerprint = Fingerprint()
        fingerprint.add(case.loss(logits, target), *case.loss_with_grad(logits, target))
        return str(fingerprint)

    assert_any_number_of_threads(result)


def test_a_process_ends_while_the_pool_is_idle() -> None:
    """Threads that wait for work do not keep the interpreter alive."""
    program = "import numpy as np, xentrs as xe; xe.softmax(np.zeros((2_000, 4_000), np.float32)); print('done')"
    assert run(program) == "done"
