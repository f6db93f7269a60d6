"""The figures of `Evaluation` against their formulas, written out in float64."""

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import xentrs as xe
from registry import DTYPES
from xentrs.evaluation import sweep

each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)
TOLERANCE = {np.float32: 2e-6, np.float64: 1e-12}


def softmax(z: NDArray[Any], temperature: float) -> NDArray[np.float64]:
    wide = z.astype(np.longdouble) / temperature
    p = np.exp(wide - wide.max(axis=-1, keepdims=True))
    return p / p.sum(axis=-1, keepdims=True)


@each_dtype
@pytest.mark.parametrize("temperature", [1.0, 0.5, 3.0])
@pytest.mark.parametrize("c", [1, 2, 5, 70])
def test_figures(dtype: type, temperature: float, c: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(230)
    n = 400
    z = (rng.normal(size=(n, c)) * rng.uniform(0, 6, (n, 1))).astype(dtype)
    z[:50] = np.round(z[:50])  # ties
    y = np.where(rng.random(n) < 0.4, z.argmax(axis=-1), rng.integers(0, c, n))
    ignored = rng.random(n) < 0.1
    weight = rng.uniform(0, 3, n) * (rng.random(n) < 0.9)
    options: Any = {"temperature": temperature, "top_k": [1, 3, 100], "per_class": True, "n_bins": 10}
    evaluation = xe.Evaluation(**options).update(z, np.where(ignored, -100, y), sample_weight=weight)
    monkeypatch.setattr(sweep, "FEW_CLASSES", 0)
    assert evaluation == xe.Evaluation(**options).update(z, np.where(ignored, -100, y), sample_weight=weight)
    weight = np.where(ignored, 0, weight)
    s, own, p = weight / weight.sum(), np.arange(n), softmax(z, temperature)
    near: Any = lambda value: pytest.approx(float(value), rel=TOLERANCE[dtype], abs=1e-14)  # noqa: E731
    losses = -np.log(p[own, y])
    assert evaluation.loss == near(s @ losses)
    assert evaluation.perplexity == near(np.exp(s @ losses))
    assert evaluation.bits_per_token == near(s @ losses / math.log(2))
    # a stable sort of -z puts the lower number first among equals, as argmax does
    rank = np.argmax(np.argsort(-z, axis=-1, kind="stable") == y[:, None], axis=-1)
    assert evaluation.accuracy == near(s @ (rank == 0))
    assert evaluation.top_k_accuracy == {k: near(s @ (rank < k)) for k in (1, 3, 100)}
    assert evaluation.brier_score == near(s @ np.sum((p - np.eye(c)[y]) ** 2, axis=-1))
    error = xe.expected_calibration_error(z, y, n_bins=10, sample_weight=weight, temperature=temperature)
    assert evaluation.calibration_error == pytest.approx(error, rel=1e-9, abs=1e-14)
    figures = evaluation.per_class
    for k in range(c):
        of_class, predicted = y == k, z.argmax(axis=-1) == k
        mass, guessed = weight @ of_class, weight @ predicted
        assert figures.rows[k] == np.sum(of_class & (weight > 0))
        assert figures.weight[k] == near(mass)
        assert figures.loss[k] == near(weight @ (of_class * losses) / mass if mass else 0.0)
        right = weight @ (of_class & predicted)
        assert figures.recall[k] == near(right / mass) if mass else math.isnan(figures.recall[k])
        assert figures.precision[k] == near(right / guessed) if guessed else math.isnan(figures.precision[k])


@each_dtype
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_the_brier_score_of_a_sure_row_keeps_its_digits(dtype: type, temperature: float) -> None:
    """As `1 - 2 p + sum p^2` it would be 0, or worse than 0."""
    for margin in (5.0, 17.0, 30.0, 36.0):
        z = np.array([[margin, 0.0, -1.0]], dtype)
        p = softmax(z, temperature)[0]
        expected = (p[1] + p[2]) ** 2 + p[1] ** 2 + p[2] ** 2
        score = xe.Evaluation(temperature=temperature).update(z, [0]).brier_score
        assert score == pytest.approx(float(expected), rel=TOLERANCE[dtype]), margin
