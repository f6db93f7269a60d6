"""Significance: whether one model is better than another, or just luckier in the draw of the observations."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ._arrays import as_weights
from ._extras import need
from ._numbers import a_boolean, a_number, one_of, positive_integer
from ._seeds import Seed, drawing
from .losses import FloatArray

need("xentrs.stats", "scipy")

from scipy.stats import bootstrap, monte_carlo_test, permutation_test  # noqa: E402

__all__ = ["CrossEntropyTestResult", "cross_entropy_test"]

# Numbers resampled at a time: 8 MB.
BLOCK = 2**20


class CrossEntropyTestResult(NamedTuple):
    """Difference of two cross-entropies, as `cross_entropy_test` returns it."""

    difference: float
    """Mean of ``loss_a`` minus mean of ``loss_b``, in nats: negative where model a is the better one."""

    pvalue: float
    """How often a difference as large would be seen if the models were alike."""

    interval: tuple[float, float]
    """Confidence interval of the difference."""


def cross_entropy_test(
    loss_a: ArrayLike,
    loss_b: ArrayLike,
    *,
    paired: bool = True,
    alternative: str = "two-sided",
    n_resamples: int = 9999,
    confidence_level: float = 0.95,
    random_state: Seed = None,
) -> CrossEntropyTestResult:
    """Test whether two models differ in their cross-entropy, by the losses of each observation.

    The difference is that of the means. Its p-value comes from a permutation test, its interval from the bootstrap.
    Neither supposes a distribution of the losses, which are never normal.

    Parameters
    ----------
    loss_a, loss_b : array_like
        Losses in nats, one for each observation: what a loss gives with ``reduction="none"``. Paired ones have one
        shape and the same observations in the same order.
    paired : bool, default True
        Whether both models have seen the same observations. Then nothing but the model differs within a pair, and far
        smaller differences can be told from chance.
    alternative : {"two-sided", "less", "greater"}, default "two-sided"
        What is suspected: that the cross-entropies differ, or that of model a is less, or greater. The interval is open
        on the other side.
    n_resamples : int, default 9999
        Permutations, and as many bootstrap samples. If there are no more permutations than that, each is taken once,
        and the p-value is exact.
    confidence_level : float in (0, 1), default 0.95
        How often such an interval covers the true difference.
    random_state : int, RandomState, Generator or None, default None
        The seed of both.

    Returns
    -------
    CrossEntropyTestResult
        The named tuple ``(difference, pvalue, interval)``.

    Raises
    ------
    ValueError
        If there are fewer than two observations, shapes differ though they are paired, a loss or the sum of all is not
        finite, or an option is out of its range.
    TypeError
        If losses or an option are not numbers.

    Notes
    -----
    If two paired models are alike, each pair is as likely the other way round. So the p-value is the share of all ways
    to swap within pairs whose difference is as large as the one seen, which counts itself [1]_. Unpaired, it is that of
    all ways to share out the losses among the models. The interval is the percentile bootstrap's: pairs, or the losses
    of each model, are drawn with replacement [2]_.

    The observations must be independent. Tokens of one text are not: pass the mean loss of each text.

    References
    ----------
    .. [1] B. Phipson and G. K. Smyth, "Permutation p-values should never be zero", Statistical Applications in Genetics
       and Molecular Biology 9(1), 2010. https://doi.org/10.2202/1544-6115.1585
    .. [2] B. Efron and R. J. Tibshirani, "An introduction to the bootstrap", Chapman & Hall 1993, chapter 13.

    Examples
    --------
    >>> import numpy as np
    >>> from xentrs.stats import cross_entropy_test
    >>> rng = np.random.default_rng(0)
    >>> loss_a = rng.exponential(size=200)
    >>> loss_b = loss_a + rng.normal(0.03, 0.1, size=200)
    >>> result = cross_entropy_test(loss_a, loss_b, random_state=0)
    >>> result.pvalue < 0.05, result.interval[1] < 0
    (True, True)
    >>> cross_entropy_test(loss_a, loss_b, paired=False, random_state=0).pvalue > 0.5
    True
    """
    a, b = _losses(loss_a, "loss_a"), _losses(loss_b, "loss_b")
    if a_boolean("paired", paired) and np.shape(loss_a) != np.shape(loss_b):
        raise ValueError(f"loss_a and loss_b must have the same shape, got {np.shape(loss_a)} and {np.shape(loss_b)}")
    one_of("alternative", alternative, ("two-sided", "less", "greater"))
    n_resamples = positive_integer("n_resamples", n_resamples)
    if not 0 < a_number("confidence_level", confidence_level) < 1:
        raise ValueError(f"confidence_level must be in (0, 1), got {confidence_level}")

    with np.errstate(over="ignore"):
        if not np.isfinite(total := np.abs(a).sum() + np.abs(b).sum()):
            raise ValueError(f"loss_a and loss_b must have finite sums, got {total} in magnitude")

    random = drawing(random_state)
    options = {
        "n_resamples": n_resamples,
        "batch": max(1, BLOCK // (a.size + b.size)),
        "vectorized": True,
        "alternative": alternative,
    }
    data: tuple[FloatArray, ...]
    statistic: Callable[..., Any]
    if not paired:
        data, statistic = (a, b), _difference
        test = permutation_test(data, statistic, permutation_type="independent", random_state=random, **options)
    else:
        pairs = a - b
        data, statistic = (pairs,), np.mean
        if pairs.size <= math.log2(n_resamples):  # few pairs: all ways to swap them
            test = permutation_test(data, statistic, permutation_type="samples", **options)
        else:
            test = monte_carlo_test(pairs, partial(_swapped, pairs, random), statistic, **options)
    drawn = bootstrap(
        data, statistic, method="percentile", confidence_level=confidence_level, random_state=random, **options
    )
    low, high = drawn.confidence_interval
    return CrossEntropyTestResult(float(test.statistic), float(test.pvalue), (float(low), float(high)))


def _swapped(
    pairs: FloatArray, random: np.random.RandomState | np.random.Generator, size: tuple[int, ...]
) -> FloatArray:
    """Differences of pairs, each the one way round or the other."""
    coins = np.frombuffer(random.bytes(math.prod(size)), np.uint8).reshape(size) & 1
    swapped: FloatArray = np.where(coins, pairs, -pairs)
    return swapped


def _difference(a: FloatArray, b: FloatArray, axis: int) -> FloatArray:
    difference: FloatArray = a.mean(axis=axis) - b.mean(axis=axis)
    return difference


def _losses(given: ArrayLike, name: str) -> FloatArray:
    losses: FloatArray = as_weights(given, name, np.dtype(np.float64)).ravel()
    if losses.size < 2:
        raise ValueError(f"{name} must hold at least two observations, got {losses.size}")
    if not (finite := np.isfinite(losses)).all():
        raise ValueError(f"{name} must be finite, got {losses[finite.argmin()]} at index {finite.argmin()}")
    return losses
