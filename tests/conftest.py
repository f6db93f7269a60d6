"""Settings of the whole suite: hypothesis draws the same examples on every run; fixtures that several files use."""

import signal

import numpy as np
import pytest
from hypothesis import settings
from threadpoolctl import threadpool_limits

from xentrs.optim import SGD

settings.register_profile("xentrs", deadline=None, derandomize=True, database=None, max_examples=100)
settings.load_profile("xentrs")


@pytest.fixture(scope="session", autouse=True)
def one_blas_thread():
    """Matrices as small as those of the tests leave BLAS threads waiting for one another, the longer the busier."""
    with threadpool_limits({"blas": 1, "openmp": 1}):
        yield


@pytest.fixture
def heeds_interrupts():
    """Runs in the background are started with SIGINT ignored, and so are their children."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def rates(monkeypatch):
    """The learning rate of each step, as they are taken."""
    seen, step, epoch = [], SGD.step, SGD.linear_epoch

    def watched_step(self, grads):
        seen.append(self.learning_rate)
        step(self, grads)

    def watched_epoch(self, x, target, **options):
        first = self.n_steps
        loss = epoch(self, x, target, **options)
        seen.extend(np.broadcast_to(options["schedule"](np.arange(first, self.n_steps)), self.n_steps - first))
        return loss

    monkeypatch.setattr(SGD, "step", watched_step)
    monkeypatch.setattr(SGD, "linear_epoch", watched_epoch)
    return seen
