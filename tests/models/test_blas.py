"""The threads of NumPy's BLAS: one for small products, as many as before afterwards, whoever else is inside."""

import gc
import multiprocessing
import os
import threading

import numpy as np
import pytest
from sklearn.datasets import load_iris
from test_interrupts import interrupt
from threadpoolctl import ThreadpoolController, threadpool_limits

from xentrs import _blas, nn
from xentrs.models import MLPClassifier

SMALL, LARGE = (200, 64, 100), (1000, 1000, 1000)


class Library:
    """Stands for a BLAS of so many threads, and notes what is set."""

    def __init__(self, n):
        self.num_threads, self.seen = n, []

    def set_num_threads(self, n):
        self.num_threads = n
        self.seen.append(n)


@pytest.fixture
def libraries(monkeypatch):
    made = [Library(8), Library(1), Library(2)]
    monkeypatch.setattr(_blas, "_libraries", lambda: made)
    return made


def threads_of(libraries):
    return [library.num_threads for library in libraries]


def test_small_products_get_one_thread_and_large_ones_all(libraries):
    with _blas.blas_threads_for(*SMALL):
        assert threads_of(libraries) == [1, 1, 1]
        with _blas.blas_threads_for(*LARGE), _blas.blas_threads_for(*SMALL):
            assert threads_of(libraries) == [1, 1, 1]
        assert threads_of(libraries) == [1, 1, 1]
    assert threads_of(libraries) == [8, 1, 2]
    assert [library.seen for library in libraries] == [[1, 8], [], [1, 2]]
    with _blas.blas_threads_for(*LARGE):
        assert threads_of(libraries) == [8, 1, 2]
    with pytest.raises(ZeroDivisionError), _blas.blas_threads_for(*SMALL):
        raise ZeroDivisionError
    assert threads_of(libraries) == [8, 1, 2]


@pytest.mark.usefixtures("heeds_interrupts")
def test_an_interrupt_leaves_nobody_inside(libraries):
    """At any line: there is no lock to be left locked."""

    def use():
        with _blas.blas_threads_for(*SMALL):
            pass

    for line in range(interrupt((), use)):
        with pytest.raises(KeyboardInterrupt):
            interrupt((line,), use)
        gc.collect()
        use()
        assert threads_of(libraries) == [8, 1, 2]
        assert not _blas._inside
        assert not _blas._before


def test_the_last_one_out_gives_the_threads_back(libraries):
    """Of two threads that overlap, the one that entered second leaves last, and must not restore the 1 it has met."""
    entered, leave = threading.Event(), threading.Event()

    def second():
        with _blas.blas_threads_for(*SMALL):
            entered.set()
            assert leave.wait(60)

    other = threading.Thread(target=second)
    with _blas.blas_threads_for(*SMALL):
        other.start()
        assert entered.wait(60)
    assert threads_of(libraries) == [1, 1, 1]
    leave.set()
    other.join()
    assert threads_of(libraries) == [8, 1, 2]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_child_counts_anew(libraries):
    with _blas.blas_threads_for(*SMALL):
        receiver, sender = multiprocessing.Pipe()

        def child():
            with _blas.blas_threads_for(*SMALL):
                sender.send(threads_of(libraries))
            sender.send(len(_blas._inside))

        process = multiprocessing.get_context("fork").Process(target=child)
        process.start()
        assert receiver.recv() == [1, 1, 1]
        assert receiver.recv() == 0
        process.join()


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_networks_and_layers_keep_to_it(monkeypatch):
    """With the BLAS that there is."""
    X, y = load_iris(return_X_y=True)
    seen = []

    def numbers():
        return {one["num_threads"] for one in ThreadpoolController().info() if one["user_api"] == "blas"}

    def look(model, loss):
        seen.append(numbers())

    class Watched(_blas.blas_threads_for):
        """Notes the number of threads of each product of a layer."""

        def __enter__(self):
            super().__enter__()
            seen.append(numbers())

    monkeypatch.setattr(nn.layers, "blas_threads_for", Watched)
    with threadpool_limits(2, user_api="blas"):
        if numbers() != {2}:
            pytest.skip("this BLAS has one thread")
        for solver in ("adam", "lbfgs"):
            MLPClassifier((5,), solver=solver, max_iter=2, tol=None, callbacks=look).fit(X, y)
        n, layer = len(seen), nn.Dense(4, 3)
        layer.backward(np.ones_like(layer.forward(X)))
        assert len(seen) == n + 3
        assert set.union(*seen) == {1}
        assert numbers() == {2}
        seen.clear()
        monkeypatch.setattr(_blas, "WORTHWHILE", 1)
        MLPClassifier((5,), max_iter=1, tol=None, callbacks=look).fit(X, y)
        assert set.union(*seen) == {2}


def test_without_threadpoolctl_nothing_happens(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "threadpoolctl", None)
    _blas._libraries.cache_clear()
    try:
        with _blas.blas_threads_for(*SMALL):
            assert _blas._libraries() == []
        assert _blas._libraries() == []
    finally:
        _blas._libraries.cache_clear()
