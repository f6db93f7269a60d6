"""The smallest inputs and the largest numbers: one class, no rows, no dimension, margins beyond the range of exp."""

import numpy as np
import pytest

import xentrs as xe
from checks import assert_close, assert_same_bits
from registry import DTYPES, REDUCTIONS

nan, inf = np.nan, np.inf

each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)
each_reduction = pytest.mark.parametrize("reduction", REDUCTIONS)

# --- c = 1, n = 0, 0-d, Python lists: work ----------------------------------------------------------------------------


@each_dtype
@each_reduction
def test_one_class(dtype: type, reduction: str) -> None:
    """The only class is certain, unless its logit is NaN or rules it out."""
    logits = np.array([[3.0], [-1e30], [inf]], dtype)
    for target in ([0, 0, 0], np.ones((3, 1), dtype)):
        loss, grad = xe.softmax_cross_entropy_with_grad(logits, target, label_smoothing=0.1, reduction=reduction)
        np.testing.assert_array_equal(loss, np.zeros(3) if reduction == "none" else 0.0)
        assert_same_bits(grad + 0, np.zeros((3, 1), dtype))
    loss, grad = xe.softmax_cross_entropy_with_grad(np.array([[nan], [-inf]], dtype), [0, 0], reduction="none")
    assert np.isnan(loss).all() and np.isnan(grad).all()


@each_dtype
@each_reduction
def test_no_rows(dtype: type, reduction: str) -> None:
    calls = [
        (xe.softmax_cross_entropy_with_grad, np.empty((0, 3), dtype), np.empty(0, int), (0,)),
        (xe.softmax_cross_entropy_with_grad, np.empty((0, 3), dtype), np.empty((0, 3), dtype), (0,)),
        (xe.softmax_cross_entropy_with_grad, np.empty((0, 0), dtype), np.empty(0, int), (0,)),
        (xe.softmax_cross_entropy_with_grad, np.empty((2, 0, 3), dtype), np.empty((2, 0), int), (2, 0)),
        (xe.sigmoid_cross_entropy_with_grad, np.empty((0, 3), dtype), np.empty((0, 3), int), (0, 3)),
        (xe.sigmoid_cross_entropy_with_grad, np.empty(0, dtype), np.empty(0, dtype), (0,)),
    ]
    for function, logits, target, shape in calls:
        loss, grad = function(logits, target, reduction=reduction)
        assert_same_bits(loss, np.zeros(shape, dtype) if reduction == "none" else 0.0)
        assert_same_bits(grad, np.zeros(logits.shape, dtype))
        out = np.empty(logits.shape, dtype)
        assert function(logits, target, reduction=reduction, out=out).grad is out


def test_no_rows_as_lists() -> None:
    """An empty list has no dtype of its own: it holds no classes as well as no distributions."""
    loss, grad = xe.softmax_cross_entropy_with_grad(np.empty((0, 3)), [])
    assert loss == 0.0 and grad.shape == (0, 3)
    assert xe.sigmoid_cross_entropy([], []) == 0.0


@each_dtype
def test_zero_dimensional(dtype: type) -> None:
    for logit, target in [(dtype(0.5), 1), (np.array(0.5, dtype), np.array(1)), (np.array(0.5, dtype), True)]:
        loss, grad = xe.sigmoid_cross_entropy_with_grad(logit, target)
        assert loss == pytest.approx(np.log1p(np.exp(-0.5)), rel=1e-6)
        assert np.shape(grad) == () and np.asarray(grad).dtype == dtype
        assert float(grad) == pytest.approx(-1 / (1 + np.exp(0.5)), rel=1e-6)
        assert np.ndim(xe.sigmoid_cross_entropy(logit, target, reduction="none")) == 0
    assert xe.sigmoid_cross_entropy(0.5, 1, pos_weight=2.0, sample_weight=3.0) == pytest.approx(
        2 * np.log1p(np.exp(-0.5))
    )
    loss = xe.softmax_cross_entropy(np.array([0.0, 0.0], dtype), np.array(1), reduction="none")
    assert np.ndim(loss) == 0 and loss.dtype == dtype


def test_python_lists_and_scalars() -> None:
    assert xe.softmax_cross_entropy([[0, 0], [0, 0]], [0, 1]) == pytest.approx(np.log(2), rel=1e-15)
    assert xe.softmax_cross_entropy([0, 0], 1) == pytest.approx(np.log(2), rel=1e-15)
    assert xe.softmax_cross_entropy(((0.0, 0.0),), ((0.5, 0.5),)) == pytest.approx(np.log(2), rel=1e-15)
    assert xe.sigmoid_cross_entropy([0, 0], [True, False]) == pytest.approx(np.log(2), rel=1e-15)
    assert xe.sigmoid_cross_entropy(0, 0.5) == pytest.approx(np.log(2), rel=1e-15)


# --- Probabilities are never clipped ----------------------------------------------------------------------------------


@each_dtype
def test_nothing_is_clipped(dtype: type) -> None:
    """A wrong answer costs its margin, however far beyond the range of exp."""
    for margin in (50.0, 120.0, 800.0, 1e6, 1e30):
        assert xe.softmax_cross_entropy(np.array([[margin, 0.0]], dtype), [1]) == dtype(margin)
        assert xe.softmax_cross_entropy(np.array([[-margin, 0.0]], dtype), [0]) == dtype(margin)
        assert xe.sigmoid_cross_entropy(np.array([margin], dtype), [0]) == dtype(margin)
        assert xe.sigmoid_cross_entropy(np.array([-margin], dtype), [1]) == dtype(margin)
    for margin in (30.0, 80.0):
        loss, grad = xe.sigmoid_cross_entropy_with_grad(np.array([margin], dtype), [1])
        assert_close([loss, -grad[0]], [np.exp(-margin)] * 2, 1e-6)


@each_dtype
def test_the_largest_logits(dtype: type) -> None:
    """Their difference overflows; the loss then does too, and nothing becomes NaN."""
    largest = np.finfo(dtype).max
    logits = np.array([[largest, -largest], [largest, largest]], dtype)
    loss, grad = xe.softmax_cross_entropy_with_grad(logits, [0, 0], reduction="none")
    assert_close(loss, [0.0, np.log(2)], 1e-6)
    assert_close(grad, [[0, 0], [-0.5, 0.5]], 1e-6)
    loss, grad = xe.softmax_cross_entropy_with_grad(logits, [1, 1], reduction="none")
    assert loss[0] == inf
    assert_close(grad, [[1, -1], [0.5, -0.5]], 1e-6)
