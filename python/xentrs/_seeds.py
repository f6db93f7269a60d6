"""What users seed a random draw with, made into what draws."""

from __future__ import annotations

import numpy as np

__all__ = ["Seed", "drawing", "random_state_of"]

Seed = int | np.random.RandomState | np.random.Generator | None


def drawing(seed: Seed, name: str = "random_state") -> np.random.RandomState | np.random.Generator:
    """What draws: a generator of its own for an int or None, and what was given otherwise, which moves on."""
    if isinstance(seed, np.random.RandomState | np.random.Generator):
        return seed
    return np.random.default_rng(_checked(seed, name))


def random_state_of(seed: Seed, name: str = "random_state") -> np.random.RandomState:
    """The same as a RandomState, which scikit-learn's functions ask for.

    None is NumPy's global one, as in scikit-learn. That of a Generator draws from the bits of the Generator, which
    moves on with it.
    """
    if isinstance(seed, np.random.RandomState):
        return seed
    if isinstance(seed, np.random.Generator):
        return np.random.RandomState(seed.bit_generator)
    if _checked(seed, name) is None:
        state: np.random.RandomState = np.random.mtrand._rand
        return state
    return np.random.RandomState(seed)


def _checked(seed: object, name: str) -> int | None:
    if seed is None:
        return None
    if isinstance(seed, bool | np.bool_) or not isinstance(seed, int | np.integer):
        raise TypeError(f"{name} must be an int, a RandomState, a Generator or None, got {seed!r}")
    if not 0 <= seed < 2**32:
        raise ValueError(f"{name} must be in [0, 2**32), got {seed}")
    return int(seed)
