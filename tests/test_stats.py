"""The test of two cross-entropies: as many false alarms as promised, power, exact p-values, intervals that cover."""

import itertools

import numpy as np
import pytest

from xentrs.stats import cross_entropy_test


def losses(n, difference, rng, paired=True):
    """Losses of two models, on the same observations if `paired`: what is hard for one is hard for the other."""
    hard = rng.exponential(size=n)
    also_hard = hard if paired else rng.exponential(size=n)
    return hard * rng.lognormal(sigma=0.3, size=n) + difference, also_hard * rng.lognormal(sigma=0.3, size=n)


@pytest.mark.parametrize(("paired", "alternative"), [(True, "two-sided"), (False, "less")])
def test_five_percent_of_false_alarms(paired, alternative):
    rng = np.random.default_rng(0)
    alarms = 0
    for _ in range(400):
        a, b = losses(40, 0.0, rng, paired)
        options = {"paired": paired, "alternative": alternative, "n_resamples": 199, "random_state": rng}
        alarms += cross_entropy_test(a, b, **options).pvalue <= 0.05
    assert 0.02 <= alarms / 400 <= 0.085  # three standard deviations of 400 draws


def test_power_and_what_pairs_are_worth():
    rng = np.random.default_rng(1)
    found = {True: 0, False: 0}
    for _ in range(100):
        a, b = losses(100, 0.3, rng)
        for paired in found:
            found[paired] += cross_entropy_test(a, b, paired=paired, n_resamples=199, random_state=rng).pvalue <= 0.05
    assert found[True] > 95
    assert found[False] < 60


@pytest.mark.parametrize("paired", [True, False])
def test_the_interval_covers_the_truth(paired):
    rng = np.random.default_rng(2)
    covered = 0
    for _ in range(400):
        a, b = losses(60, 0.1, rng, paired)
        options = {"paired": paired, "n_resamples": 399, "confidence_level": 0.9, "random_state": rng}
        low, high = cross_entropy_test(a, b, **options).interval
        covered += low <= 0.1 <= high
    assert 0.84 <= covered / 400 <= 0.95


def test_few_pairs_are_tested_exactly():
    a, b = np.array([0.3, 1.0, 0.7, 2.0, 0.1, 0.6]), np.array([0.2, 0.5, 0.9, 1.0, 0.15, 0.1])
    d = a - b
    means = np.array([np.mean(d * signs) for signs in itertools.product([1, -1], repeat=6)])
    above, below = np.mean(means >= d.mean() - 1e-12), np.mean(means <= d.mean() + 1e-12)
    for alternative, p in [("greater", above), ("less", below), ("two-sided", 2 * min(above, below))]:
        result = cross_entropy_test(a, b, alternative=alternative, random_state=0)
        assert result.pvalue == pytest.approx(p)
        assert result.difference == pytest.approx(d.mean())


def test_few_observations_apart_are_tested_exactly():
    a, b = np.array([3.0, 4.0, 5.0]), np.array([0.0, 1.0])
    assert cross_entropy_test(a, b, paired=False, alternative="greater").pvalue == pytest.approx(1 / 10)


@pytest.mark.parametrize("n", [5, 500])
@pytest.mark.parametrize("paired", [True, False])
def test_one_sided_intervals_are_open_and_models_change_places(n, paired):
    a, b = losses(n, 0.3, np.random.default_rng(3))
    options = {"paired": paired, "n_resamples": 999, "random_state": 0}
    less, greater = (cross_entropy_test(a, b, alternative=side, **options) for side in ("less", "greater"))
    assert less.interval[0] == -np.inf
    assert greater.interval[1] == np.inf
    assert greater.pvalue < less.pvalue
    forth, back = cross_entropy_test(a, b, **options), cross_entropy_test(b, a, **options)
    assert forth.difference == pytest.approx(-back.difference)
    assert forth.pvalue == pytest.approx(back.pvalue, abs=0.05)
    assert forth.interval[0] < forth.difference < forth.interval[1]


def test_the_same_seed_gives_the_same_numbers():
    a, b = losses(100, 0.1, np.random.default_rng(4))
    first, again = (cross_entropy_test(a, b, random_state=0) for _ in range(2))
    assert first == again
    assert cross_entropy_test(a, b, random_state=1).interval != first.interval


@pytest.mark.parametrize("n", [5, 50])
def test_equal_losses_are_no_difference(n):
    assert cross_entropy_test(np.ones(n), np.ones(n)) == (0.0, 1.0, (0.0, 0.0))


def test_any_shape_and_dtype_of_losses():
    a, b = losses(100, 0.1, np.random.default_rng(5))
    flat = cross_entropy_test(a, b, n_resamples=99, random_state=0)
    folded = cross_entropy_test(a.reshape(20, 5), b.reshape(20, 5).tolist(), n_resamples=99, random_state=0)
    assert folded == flat
    single = cross_entropy_test(a.astype(np.float32), b.astype(np.float32), n_resamples=99, random_state=0)
    assert single.difference == pytest.approx(flat.difference, rel=1e-5)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"loss_a": [1.0]}, ValueError, "loss_a must hold at least two observations, got 1"),
        ({"loss_b": [1.0, np.inf, 2.0]}, ValueError, "loss_b must be finite, got inf at index 1"),
        ({"loss_a": [np.nan, 1.0, 2.0]}, ValueError, "loss_a must be finite, got nan at index 0"),
        ({"loss_a": ["a", "b", "c"]}, TypeError, "loss_a must be floating, got <U1"),
        ({"loss_b": [1.0, 2.0]}, ValueError, r"must have the same shape, got \(3,\) and \(2,\)"),
        ({"alternative": "smaller"}, ValueError, "alternative must be .two-sided., .less. or .greater., got 'smaller'"),
        ({"n_resamples": 0}, ValueError, "n_resamples must be at least 1, got 0"),
        ({"n_resamples": 1e4}, TypeError, "n_resamples must be an integer, got 10000.0"),
        ({"confidence_level": "0.9"}, TypeError, "confidence_level must be a number, got '0.9'"),
        ({"loss_a": [1e308, 1e308, 0.0]}, ValueError, "loss_a and loss_b must have finite sums, got inf in magnitude"),
        ({"confidence_level": 95}, ValueError, r"confidence_level must be in \(0, 1\), got 95"),
    ],
)
def test_refuses(given, error, message):
    with pytest.raises(error, match=message):
        cross_entropy_test(**{"loss_a": [1.0, 2.0, 3.0], "loss_b": [1.0, 2.0, 4.0], **given})
