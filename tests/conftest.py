"""Settings of the whole suite: hypothesis draws the same examples on every run; fixtures that several files use."""

import pytest
from hypothesis import settings
from threadpoolctl import threadpool_limits

settings.register_profile("xentrs", deadline=None, derandomize=True, database=None, max_examples=100)
settings.load_profile("xentrs")


@pytest.fixture(scope="module")
def one_blas_thread():
    """Matrices this small leave BLAS threads waiting for one another, for seconds where the machine is busy."""
    with threadpool_limits(1):
        yield
