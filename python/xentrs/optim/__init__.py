"""Optimisers for loops written by hand: lists of NumPy arrays, updated in place; and schedules of their step size."""

from .adam import Adam
from .schedules import constant, cosine, inverse_scaling, lipschitz
from .sgd import SGD

__all__ = ["SGD", "Adam", "constant", "cosine", "inverse_scaling", "lipschitz"]
