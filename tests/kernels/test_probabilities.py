"""Categorical cross-entropy: what probabilities have that logits have not. The rest is in the tests of all losses."""

import math
from typing import Any

import numpy as np
import pytest

import xentrs as xe
from checks import assert_close, assert_same_bits
from registry import DTYPES, HALVES, PROBABILITIES, REDUCTIONS

nan, inf = np.nan, np.inf

each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)
each_half = pytest.mark.parametrize("half", HALVES, ids=lambda half: half.__name__)
each_reduction = pytest.mark.parametrize("reduction", REDUCTIONS)


def both(p: Any, target: Any, **options: Any) -> tuple[Any, Any]:
    """Loss and gradient, once it is sure that the loss alone is the same."""
    loss, grad = xe.categorical_cross_entropy_with_grad(p, target, **options)
    np.testing.assert_array_equal(xe.categorical_cross_entropy(p, target, **options), loss)
    return loss, grad


@each_dtype
def test_it_is_softmax_cross_entropy_of_the_logarithms(dtype: type) -> None:
    rng = np.random.default_rng(400)
    p = rng.dirichlet(np.ones(7), 50).astype(dtype)
    soft = rng.dirichlet(np.ones(7), 50).astype(dtype)
    weight, sample = rng.uniform(0.5, 2, 7), rng.uniform(0.5, 2, 50)
    for target in (rng.integers(0, 7, 50), soft):
        options = {"class_weight": weight, "sample_weight": sample}
        expected = xe.softmax_cross_entropy(np.log(p.astype(np.float64)), target, **options)
        assert xe.categorical_cross_entropy(p, target, **options) == pytest.approx(expected, rel=1e-5)


@each_dtype
@each_reduction
def test_an_impossible_event_that_happens(dtype: type, reduction: str) -> None:
    p = np.array([[1, 0, 0], [0.5, 0.5, 0]], dtype)
    scale = 2 if reduction == "mean" else 1
    for target in ([1, 0], np.eye(3, dtype=dtype)[[1, 0]]):
        loss, grad = both(p, target, reduction=reduction)
        np.testing.assert_array_equal(loss[0] if reduction == "none" else loss, inf)
        np.testing.assert_array_equal(grad, [[0, -inf, 0], [-2 / scale, 0, 0]])


@each_dtype
def test_classes_without_weight_cost_nothing(dtype: type) -> None:
    p = np.array([[1, 0, 0]], dtype)
    for target, options in [
        ([0], {}),
        (np.array([[1, 0, 0]], dtype), {}),
        (np.array([[0.5, 0.5, 0]], dtype), {"class_weight": [1, 0, 1]}),
    ]:
        loss, grad = both(p, target, **options, reduction="sum")
        assert_same_bits(loss, 0.0)
        own = -0.5 if options else -1.0
        np.testing.assert_array_equal(grad, [[own, 0, 0]])
    loss, grad = both(p, [1], class_weight=[1, 0, 1])
    assert_same_bits(loss, 0.0)
    np.testing.assert_array_equal(grad, 0)


@each_dtype
@each_reduction
def test_nan_spoils_its_row_where_it_is_read(dtype: type, reduction: str) -> None:
    p = np.array([[0.5, 0.5], [nan, 0.25], [0.25, 0.75]], dtype)
    loss, grad = both(p, [0, 1, 1], reduction=reduction)
    assert np.isfinite(loss).all() and np.isfinite(grad).all(), "of a class only its own probability is read"
    for target in ([0, 0, 1], np.eye(2, dtype=dtype)[[0, 1, 1]], np.full((3, 2), 0.5, dtype)):
        loss, grad = both(p, target, reduction=reduction)
        np.testing.assert_array_equal(np.isnan(loss), [False, True, False] if reduction == "none" else True)
        np.testing.assert_array_equal(np.isnan(grad), [[False] * 2, [True] * 2, [False] * 2])
    for options in ({"target": [0, -100, 1]}, {"target": np.eye(2)[[0, 1, 1]], "sample_weight": [1, 0, 1]}):
        loss, grad = both(p, **options, reduction=reduction)
        assert np.isfinite(loss).all()
        np.testing.assert_array_equal(grad[1], 0)
    soft = np.full((3, 2), 0.5, dtype)
    soft[1, 0] = nan
    assert np.isnan(both(np.full((3, 2), 0.5, dtype), soft, reduction="none")[0][1])


@each_dtype
def test_nothing_left_to_average(dtype: type) -> None:
    p = np.array([[0.0, 1.0], [nan, 0.5]], dtype)
    for options in (
        {"target": [-100, -100]},
        {"target": [0, 0], "sample_weight": [0.0, 0.0]},
        {"target": [0, 0], "class_weight": [0.0, 1.0]},
        {"target": np.zeros((2, 2))},
    ):
        loss, grad = both(p, **options)
        assert_same_bits(loss, 0.0)
        np.testing.assert_array_equal(grad, 0)
    loss, grad = both(np.empty((0, 3), dtype), [])
    assert loss == 0.0 and grad.shape == (0, 3)


@each_dtype
def test_clipping(dtype: type) -> None:
    p = np.array([[0, 1, 0.5], [0.05, 0.95, 0.1]], dtype)
    loss, grad = both(p, np.ones((2, 3)), eps=0.1, reduction="none")
    clipped = np.clip(p.astype(np.float64), 0.1, 0.9)
    assert_close(loss, -np.log(clipped).sum(-1), 1e-6)
    np.testing.assert_allclose(grad, [[0, 0, -2], [0, 0, -1 / p[1, 2]]], rtol=1e-6)
    loss, grad = both(p, [0, 2], eps=0.1, reduction="none")
    np.testing.assert_allclose(loss, -np.log([0.1, 0.1]), rtol=1e-6)
    np.testing.assert_allclose(grad, [[0, 0, 0], [0, 0, -1 / p[1, 2]]], rtol=1e-6)
    assert both(p, [1, 1])[0] == pytest.approx(-math.log(float(p[1, 1])) / 2, rel=1e-6), "no clipping unless asked for"


@each_half
def test_half_precision_is_storage(half: type) -> None:
    rng = np.random.default_rng(401)
    for shape in [(7, 5), (4_500, 31), (2, 70_000)]:
        p = rng.uniform(0.01, 1, shape).astype(half)
        for target in (rng.integers(0, shape[1], shape[0]), rng.random(shape).astype(half)):
            wide = target.astype(np.float32) if target.dtype == half else target
            for reduction in REDUCTIONS:
                expected, expected_grad = both(p.astype(np.float32), wide, reduction=reduction)
                loss, grad = both(p, target, reduction=reduction)
                assert_same_bits(loss, expected)
                assert_same_bits(grad, expected_grad.astype(half))
                out = np.full(shape, nan, np.float32)
                xe.categorical_cross_entropy_with_grad(p, target, reduction=reduction, out=out)
                assert_same_bits(out, expected_grad)
    p[1, 1235] = 1.5
    with pytest.raises(ValueError, match=r"p must be in \[0, 1\], got 1.5 at index 71235"):
        xe.categorical_cross_entropy(p, target)


@pytest.mark.parametrize("kind", PROBABILITIES[0].targets)
@pytest.mark.once
def test_any_number_of_threads(kind: str) -> None:
    rng, case = np.random.default_rng(402), PROBABILITIES[0]
    for shape in [(3_000, 100), (40, 32_000)]:
        p, target = case.logits(rng, np.float32, shape), case.targets[kind](rng, np.float32, shape)
        expected, expected_grad = both(p, target)
        for threads in (1, 3):
            with xe.threads(threads):
                loss, grad = both(p, target)
                assert loss == expected
                assert_same_bits(grad, expected_grad)


@pytest.mark.parametrize(
    ("error", "message", "wrong"),
    [
        (ValueError, r"p must be in \[0, 1\], got 1.5 at index 4", {"p": [[0, 0, 1], [0, 1.5, 2]]}),
        (ValueError, r"p must be in \[0, 1\], got -0.5 at index 0", {"p": [[-0.5, 0, 1], [0, 1, 2]]}),
        (ValueError, r"p must be in \[0, 1\], got inf at index 0", {"p": [[inf, 0, 1], [0, 1, 2]]}),
        (
            ValueError,
            r"p must be in \[0, 1\], got 2.0 at index 5",
            {"p": [[0, 0, 1], [0, 1, 2]], "target": np.ones((2, 3))},
        ),
        (
            ValueError,
            r"p must be in \[0, 1\], got 2.0 at index 5",
            {"p": [[0, 0, 1], [0, 1, 2]], "target": np.zeros((2, 3))},
        ),
        (TypeError, "p must be floating", {"p": np.zeros((2, 3), complex)}),
        (ValueError, "p must have at least one dimension", {"p": 0.5, "target": 0}),
        (IndexError, r"target must be integers in \[0, 3\) or ignore_index=-100, got 3 at row 1", {"target": [0, 3]}),
        (ValueError, r"target must have shape \(2,\), got \(3,\)", {"target": [0, 1, 2]}),
        (ValueError, r"target must have shape \(2, 3\), got \(3,\)", {"target": np.zeros(3)}),
        (TypeError, "target must be .*got bool", {"target": [True, False]}),
        (ValueError, r"class_weight must have shape \(3,\), got \(2,\)", {"class_weight": [1.0, 1.0]}),
        (ValueError, "class_weight must be finite and non-negative, got -1", {"class_weight": [1.0, 1.0, -1.0]}),
        (ValueError, r"sample_weight must have shape \(2,\), got \(3,\)", {"sample_weight": [1.0] * 3}),
        (ValueError, "sample_weight must be finite and non-negative", {"sample_weight": [1.0, nan]}),
        (ValueError, r"eps must be in \[0, 0.5\], got 0.6", {"eps": 0.6}),
        (ValueError, r"eps must be in \[0, 0.5\], got -0.1", {"eps": -0.1}),
        (ValueError, r"eps must be in \[0, 0.5\], got (?i:nan)", {"eps": nan}),
        (ValueError, 'reduction must be "mean", "sum" or "none", got "avg"', {"reduction": "avg"}),
        (np.exceptions.AxisError, "axis 2 is out of bounds", {"axis": 2}),
    ],
)
@pytest.mark.once
def test_bad_input(error: Any, message: str, wrong: dict[str, Any]) -> None:
    arguments = {"p": np.full((2, 3), 0.25), "target": [0, 1], **wrong}
    with pytest.raises(error, match=message):
        xe.categorical_cross_entropy(**arguments)
    out = np.full((2, 3), 77.0)
    with pytest.raises(error, match=message):
        xe.categorical_cross_entropy_with_grad(**arguments, **({} if np.ndim(arguments["p"]) == 0 else {"out": out}))
    assert (out == 77).all(), "a refused call must not write to out"
    if isinstance(arguments["p"], list):
        place = np.array(arguments["p"], np.float64)
        before = place.copy()
        with pytest.raises(error, match=message):
            xe.categorical_cross_entropy_with_grad(**{**arguments, "p": place}, out=place)
        assert_same_bits(place, before)


def test_what_is_not_read_is_not_looked_at() -> None:
    p = np.array([[0.5, 7.0], [-3.0, 9.0]])
    assert xe.categorical_cross_entropy(p, [0, -100]) == pytest.approx(math.log(2), rel=1e-15)
    assert xe.categorical_cross_entropy(p, [0, 1], sample_weight=[1, 0]) == pytest.approx(math.log(2), rel=1e-15)
