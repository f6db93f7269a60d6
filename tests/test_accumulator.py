"""Sums of the statistics of rows, which do not depend on how the rows are shared out."""

import copy
import itertools
import math
import pickle
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

import xentrs as xe
from draws import classes
from registry import DTYPES

nan, inf = np.nan, np.inf

each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)


def batch(rng: np.random.Generator, n: int, dtype: type) -> dict[str, Any]:
    """Rows whose losses and weights are of very different sizes, so that rounded sums show their order."""
    z = rng.normal(size=(n, 5)) * 10.0 ** rng.integers(-3, 3, (n, 1))
    weight = 10.0 ** rng.uniform(-20, 20, n) * (rng.random(n) < 0.9)
    return {"logits": z.astype(dtype), "target": classes(rng, dtype, (n, 5)), "sample_weight": weight.astype(dtype)}


def rows_of(data: dict[str, Any], rows: Any) -> dict[str, Any]:
    return {name: array[rows] for name, array in data.items()}


@each_dtype
def test_any_split_and_any_order_give_the_same_result(dtype: type) -> None:
    rng = np.random.default_rng(210)
    n = 60
    data = batch(rng, n, dtype)
    whole = xe.LossAccumulator().update(**data)
    assert 0 < whole.result().loss < inf
    for _ in range(1000):
        order = rng.permutation(n)
        cuts = np.sort(rng.integers(0, n + 1, rng.integers(0, 8)))
        parts = [xe.LossAccumulator().update(**rows_of(data, rows)) for rows in np.split(order, cuts)]
        while len(parts) > 1:
            a = parts.pop(rng.integers(len(parts)))
            b = parts.pop(rng.integers(len(parts)))
            parts.append(a.merge(b))
        assert parts[0] == whole
        assert parts[0].result() == whole.result()


@each_dtype
def test_the_result_is_the_exact_one_rounded_once(dtype: type) -> None:
    rng = np.random.default_rng(211)
    data = batch(rng, 500, dtype)
    stats = xe.softmax_stats(**data)
    weights = [float(w) for w in stats.weight]
    weight = sum(map(Fraction, weights))
    products = (w * float(x) for w, x in zip(weights, stats.loss, strict=True))
    loss = sum(map(Fraction, products)) / weight
    correct = sum(Fraction(w) for w, right in zip(weights, stats.correct, strict=True) if right)
    result = xe.LossAccumulator().update(**data).result()
    assert result == (
        float(loss),
        math.exp(float(loss)),
        float(correct / weight),
        float(weight),
        np.sum(stats.weight > 0),
    )
    assert result.loss == pytest.approx(xe.softmax_cross_entropy(**data), rel=1e-6 if dtype is np.float32 else 1e-14)


def test_the_smallest_weight_counts_beside_the_largest() -> None:
    """Sums in float64, even compensated ones, would lose it."""
    z = np.zeros((3, 2))
    accumulator = xe.LossAccumulator().update(z, [0, 1, 0], sample_weight=[1e300, 5e-324, 0])
    assert accumulator != xe.LossAccumulator().update(z[:1], [0], sample_weight=[1e300])
    assert accumulator.result().rows == 2
    many = xe.LossAccumulator().update(z[:2], [0, 1], sample_weight=[1.7e308, 1.7e308])
    assert many.result() == (math.log(2), 2.0, 0.5, inf, 2), "the weight alone overflows"


def test_nothing_and_nearly_nothing() -> None:
    empty = xe.LossAccumulator()
    loss, perplexity, accuracy, weight, rows = empty.result()
    assert (loss, perplexity, weight, rows) == (0.0, 1.0, 0.0, 0) and math.isnan(accuracy)
    assert repr(empty) == "LossAccumulator(loss=0.0, perplexity=1.0, accuracy=nan, weight=0.0, rows=0)"
    ignored = xe.LossAccumulator().update([[nan, 1.0]], [-100]).update(np.empty((0, 2)), [])
    assert ignored.update([[nan, inf]], [1], sample_weight=[0.0]) == empty


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))), ids=str)
def test_infinite_and_nan_losses_in_any_order(order: tuple[int, ...]) -> None:
    rows = [([0.0, 0.0], 0), ([0.0, -inf], 1), ([nan, 0.0], 0), ([3.0, 0.0], 0)]
    accumulator = xe.LossAccumulator()
    for i in order:
        accumulator.update([rows[i][0]], [rows[i][1]])
    result = accumulator.result()
    assert math.isnan(result.loss) and math.isnan(result.perplexity)
    assert (result.accuracy, result.weight, result.rows) == (0.5, 4.0, 4)
    without = xe.LossAccumulator()
    for i in order:
        if i != 2:
            without.update([rows[i][0]], [rows[i][1]])
    assert without.result()[:2] == (inf, inf) and without.result().accuracy == pytest.approx(2 / 3)


def test_copies_and_pickles() -> None:
    rng = np.random.default_rng(212)
    data = batch(rng, 20, np.float64)
    accumulator = xe.LossAccumulator().update(**data)
    for twin in (copy.copy(accumulator), copy.deepcopy(accumulator), pickle.loads(pickle.dumps(accumulator))):
        assert twin == accumulator and twin.result() == accumulator.result() and repr(twin) == repr(accumulator)
        twin.update(**data)
        assert twin != accumulator, "a copy goes its own way"
    assert accumulator != "something else"
    with pytest.raises(TypeError, match="unhashable"):
        hash(accumulator)


def test_merge() -> None:
    a = xe.LossAccumulator().update([[0.0, 0.0]], [0])
    b = xe.LossAccumulator().update([[1.0, 0.0]], [1])
    assert a.merge(b) is a and a.result().rows == 2 and b.result().rows == 1
    assert a.merge(a).result().rows == 4
    with pytest.raises(TypeError, match="other must be a LossAccumulator, got int"):
        a.merge(3)  # type: ignore[arg-type]


def test_statistics_that_make_no_sense() -> None:
    stats = xe.softmax_stats(np.zeros((2, 2)), [0, 1])
    for wrong, message in [
        (stats._replace(loss=np.array([1.0, -1.0])), "loss must be non-negative, got -1.0 at index 1"),
        (stats._replace(weight=np.array([1.0, nan])), "weight must be finite and non-negative"),
        (stats._replace(weight=np.ones(3)), r"weight must have shape \(2,\), got \(3,\)"),
        (stats._replace(correct=np.ones(3, bool)), r"correct must have shape \(2,\), got \(3,\)"),
    ]:
        accumulator = xe.LossAccumulator()
        with pytest.raises(ValueError, match=message):
            accumulator.update_stats(wrong)
        assert accumulator == xe.LossAccumulator()


@pytest.mark.parametrize(
    ("error", "message", "wrong"),
    [
        (IndexError, r"target must be integers in \[0, 3\) or ignore_index=-100, got 3 at row 1", {"target": [0, 3]}),
        (ValueError, "sample_weight must be finite and non-negative, got -1", {"sample_weight": [1.0, -1.0]}),
        (TypeError, "logits must be floating", {"logits": np.zeros((2, 3), complex)}),
    ],
)
def test_a_refused_batch_adds_nothing(error: Any, message: str, wrong: dict[str, Any]) -> None:
    accumulator = xe.LossAccumulator().update(np.zeros((2, 3)), [0, 1])
    before = copy.copy(accumulator)
    with pytest.raises(error, match=message):
        accumulator.update(**{"logits": np.zeros((2, 3)), "target": [0, 1], **wrong})
    assert accumulator == before


@pytest.mark.parametrize("stats", [None, (1.0, 2.0), xe.LossAccumulator()], ids=lambda stats: type(stats).__name__)
def test_what_is_no_statistics(stats: Any) -> None:
    accumulator = xe.LossAccumulator()
    with pytest.raises(TypeError, match=f"stats must be a SoftmaxStats, got {type(stats).__name__}"):
        accumulator.update_stats(stats)
    assert accumulator == xe.LossAccumulator()


def test_update_gives_the_accumulator_itself() -> None:
    accumulator = xe.LossAccumulator()
    assert accumulator.update([[0.0, 0.0]], [0]) is accumulator
    assert accumulator.update([2.0, 1.0], 1).result().rows == 2, "a single row without a batch"
