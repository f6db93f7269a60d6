"""A seed is an int, a RandomState or a Generator wherever one is taken."""

import inspect
import pkgutil
from functools import partial
from importlib import import_module

import numpy as np
import pytest

import xentrs
from xentrs import attacks, nn, optim, stats
from xentrs._seeds import drawing, random_state_of


class Slope:
    """A model whose loss grows with every feature."""

    def input_gradient(self, X, y):
        return np.ones_like(X)


def weights(seed):
    return nn.Dense(3, 2, random_state=seed).weight


def start(norm, seed):
    """Where an attack starts: its only step is of length 0."""
    return attacks.pgd(Slope(), np.zeros((5, 3)), None, eps=1.0, norm=norm, step_size=0.0, random_state=seed)


def test_of(paired, seed):
    loss = np.random.default_rng(0).exponential(size=(2, 30))
    return stats.cross_entropy_test(*loss, paired=paired, n_resamples=99, random_state=seed).interval


test_of.__test__ = False


def epoch(seed):
    weight = np.zeros((2, 3))
    x = np.random.default_rng(0).normal(size=(20, 3))
    optim.SGD([weight]).linear_epoch(x, (x[:, 0] > 0).astype(int), batch_size=1, rng=seed)
    return weight


USES = {
    "nn.Dense": weights,
    "attacks.pgd, linf": partial(start, "linf"),
    "attacks.pgd, l2": partial(start, "l2"),
    "stats.cross_entropy_test, paired": partial(test_of, True),
    "stats.cross_entropy_test": partial(test_of, False),
    "optim.SGD.linear_epoch": epoch,
}
SEEDS = {
    "int": lambda: 7,
    "numpy integer": lambda: np.uint8(7),
    "RandomState": lambda: np.random.RandomState(7),
    "Generator": lambda: np.random.default_rng(7),
    "Generator of another kind": lambda: np.random.Generator(np.random.MT19937(7)),
}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("use", USES)
def test_the_same_seed_of_every_kind_gives_the_same_numbers(use, seed):
    run, make = USES[use], SEEDS[seed]
    np.testing.assert_array_equal(run(make()), run(make()))


@pytest.mark.parametrize("seed", ["RandomState", "Generator", "Generator of another kind"])
@pytest.mark.parametrize("use", USES)
def test_what_draws_moves_on(use, seed):
    run, source = USES[use], SEEDS[seed]()
    assert (np.asarray(run(source)) != np.asarray(run(source))).any()


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize(
    ("seed", "error", "message"),
    [
        ("seven", TypeError, "must be an int, a RandomState, a Generator or None, got 'seven'"),
        (1.0, TypeError, "must be an int, a RandomState, a Generator or None, got 1.0"),
        (True, TypeError, "must be an int, a RandomState, a Generator or None, got True"),
        (-1, ValueError, r"must be in \[0, 2\*\*32\), got -1"),
    ],
)
def test_what_is_no_seed_is_refused(use, seed, error, message):
    with pytest.raises(error, match=f"^(rng|random_state) {message}$"):
        USES[use](seed)


def test_an_int_makes_a_generator_of_its_own():
    assert drawing(3).normal() == np.random.default_rng(3).normal()


@pytest.mark.parametrize("seed", SEEDS)
def test_every_seed_makes_a_random_state(seed):
    state, again = (random_state_of(SEEDS[seed]()) for _ in range(2))
    assert isinstance(state, np.random.RandomState)
    np.testing.assert_array_equal(state.permutation(100), again.permutation(100))


def test_the_random_state_of_an_int_is_scikit_learns():
    np.testing.assert_array_equal(random_state_of(3).permutation(9), np.random.RandomState(3).permutation(9))
    assert random_state_of(None) is np.random.mtrand._rand


def test_the_random_state_of_a_generator_moves_it_on():
    rng = np.random.default_rng(0)
    first, second = (random_state_of(rng).uniform(size=3) for _ in range(2))
    assert (first != second).all()
    again = np.random.default_rng(0)
    random_state_of(again).uniform(size=6)
    assert again.normal() == rng.normal()


def test_every_parameter_that_takes_a_seed_is_tried():
    """Those of estimators are tried with them."""
    taken = set()
    for info in pkgutil.walk_packages(xentrs.__path__, "xentrs."):
        floor = info.name.split(".")[1]
        # Those of other packages, which need not be there, take no seeds.
        if floor in ("bench", "boosting", "jax", "models", "torch") or floor.startswith("_"):
            continue
        module = import_module(info.name)
        for name, item in inspect.getmembers(module, lambda item: inspect.isfunction(item) or inspect.isclass(item)):
            if item.__module__ != info.name or name.startswith("_"):
                continue
            members = inspect.getmembers(item, inspect.isfunction) if inspect.isclass(item) else [("", item)]
            for member, function in members:
                if {"seed", "rng", "random_state"} & inspect.signature(function).parameters.keys():
                    taken.add(f"{info.name.removeprefix('xentrs.')}:{name}.{member}")
    assert taken == {
        "nn.layers:Dense.__init__",
        "attacks:pgd.",
        "stats:cross_entropy_test.",
        "optim.sgd:SGD.linear_epoch",
    }
