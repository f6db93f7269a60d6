"""Calls that an estimator must refuse, and that must leave no trace in it."""

import pickle

import numpy as np
import pytest


def state(model):
    """Everything an estimator holds, to the last bit."""
    return {name: pickle.dumps(value) for name, value in vars(model).items()}


def refused(model, method, message, *args, error=ValueError, **options):
    """Call a method that must raise, and see that nothing has changed."""
    before = state(model)
    with pytest.raises(error, match=message):
        getattr(model, method)(*args, **options)
    assert state(model) == before


def with_nan(X):
    X = X.copy()
    X[3, 1] = np.nan
    return X
