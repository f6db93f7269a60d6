"""The table of special cases: what a loss is where a formula alone would not say.

| case                                                                   | section below            |
|------------------------------------------------------------------------|--------------------------|
| ignored row or element                                                 | 1. ignored               |
| nothing left to average                                                | 2. nothing left          |
| a term with zero target or zero weight                                 | 3. terms of zero weight  |
| a target that the logits rule out                                      | 4. ruled out             |
| one +inf logit                                                         | 5. one +inf              |
| NaN, all -inf, several +inf                                            | 6. NaN                   |
| label outside [0, c)                                                   | 7. labels                |
| wrong shape, dtype, weight, option                                     | test_errors.py           |
| c = 1, n = 0, 0-d, Python lists                                        | test_edges.py            |
| probabilities are never clipped                                        | test_edges.py            |
"""

import numpy as np
import pytest

import xentrs as xe
from checks import assert_close, assert_same_bits
from registry import DTYPES, REDUCTIONS

nan, inf = np.nan, np.inf

each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)
each_reduction = pytest.mark.parametrize("reduction", REDUCTIONS)

POISON = [[nan] * 5, [inf] * 5, [-inf] * 5, [inf, nan, -inf, 0.0, inf], [0.0] * 5]
"""Rows of logits that give NaN, or would disturb a mean, if they counted."""

# --- 1. An ignored row or element: no loss, no weight, zero gradient, whatever stands in its logits -------------------


@each_dtype
@each_reduction
@pytest.mark.parametrize("ignore_index", [-100, 3, 2**40])
def test_ignored_row_whatever_its_logits(dtype: type, reduction: str, ignore_index: int) -> None:
    rng = np.random.default_rng(60)
    counted, classes = rng.normal(size=(4, 5)).astype(dtype), [0, 1, 2, 4]
    expected, expected_grad = xe.softmax_cross_entropy_with_grad(counted, classes, reduction=reduction)

    logits = np.empty((9, 5), dtype)
    logits[1::2], logits[::2] = counted, np.array(POISON, dtype)
    target = np.full(9, ignore_index)
    target[1::2] = classes
    options = {"ignore_index": ignore_index, "reduction": reduction}
    loss, grad = xe.softmax_cross_entropy_with_grad(logits, target, **options)
    if reduction == "none":
        assert_same_bits(loss[::2], np.zeros(5, dtype))
        loss = loss[1::2]
    rtol = 4 * float(np.finfo(dtype).eps)
    np.testing.assert_allclose(loss, expected, rtol=rtol)
    np.testing.assert_allclose(grad[1::2], expected_grad, rtol=rtol)
    np.testing.assert_array_equal(grad[::2], 0)
    alone = xe.softmax_cross_entropy(logits, target, **options)
    np.testing.assert_allclose(alone[1::2] if reduction == "none" else alone, expected, rtol=rtol)


@each_dtype
@each_reduction
@pytest.mark.parametrize("kind", ["classes", "distributions"])
def test_row_of_zero_weight_whatever_its_logits(dtype: type, reduction: str, kind: str) -> None:
    """By `sample_weight`, by `class_weight`, or because a distribution holds nothing."""
    rng = np.random.default_rng(61)
    counted, classes = rng.normal(size=(4, 5)).astype(dtype), np.array([0, 1, 2, 3])
    expected, expected_grad = xe.softmax_cross_entropy_with_grad(counted, classes, reduction=reduction)
    logits = np.empty((9, 5), dtype)
    logits[1::2], logits[::2] = counted, np.array(POISON, dtype)

    weightless = np.full(9, 4)
    weightless[1::2] = classes
    one_hot = np.eye(5, dtype=dtype)[weightless]
    target = weightless if kind == "classes" else one_hot
    ways = [{"target": target, "sample_weight": [0, 1] * 4 + [0]}, {"target": target, "class_weight": [1, 1, 1, 1, 0]}]
    if kind == "distributions":
        ways.append({"target": one_hot * [1, 1, 1, 1, 0]})
    for way in ways:
        loss, grad = xe.softmax_cross_entropy_with_grad(logits, **way, reduction=reduction)
        if reduction == "none":
            assert_same_bits(loss[::2], np.zeros(5, dtype))
            loss = loss[1::2]
        rtol = 4 * float(np.finfo(dtype).eps)
        np.testing.assert_allclose(loss, expected, rtol=rtol)
        np.testing.assert_allclose(grad[1::2], expected_grad, rtol=rtol)
        np.testing.assert_array_equal(grad[::2], 0)


@each_dtype
@each_reduction
def test_element_of_zero_weight_whatever_its_logit(dtype: type, reduction: str) -> None:
    x = np.array([[0.5, nan], [inf, -1.0], [nan, -inf]], dtype)
    target, weight = [[1, 1], [0, 0], [0, 1]], np.array([[1, 0], [0, 1], [0, 0]])
    counted, counted_grad = xe.sigmoid_cross_entropy_with_grad(x[weight > 0], [1, 0], reduction=reduction)
    loss, grad = xe.sigmoid_cross_entropy_with_grad(x, target, sample_weight=weight, reduction=reduction)
    np.testing.assert_allclose(loss[weight > 0] if reduction == "none" else loss, counted, rtol=1e-7)
    np.testing.assert_allclose(grad[weight > 0], counted_grad, rtol=1e-7)
    np.testing.assert_array_equal(grad[weight == 0], 0)
    if reduction == "none":
        np.testing.assert_array_equal(loss[weight == 0], 0)


@each_dtype
def test_row_of_zero_weight_whatever_its_elements(dtype: type) -> None:
    x = np.array([[0.5, 1.0], [nan, inf]], dtype)
    loss, grad = xe.sigmoid_cross_entropy_with_grad(x, [[1, 0], [1, 0]], sample_weight=[2.0, 0.0])
    expected, expected_grad = xe.sigmoid_cross_entropy_with_grad(x[:1], [[1, 0]])
    assert loss == pytest.approx(expected, rel=1e-7)
    np.testing.assert_allclose(grad, [expected_grad[0], [0, 0]], rtol=1e-7)


@each_dtype
@each_reduction
@pytest.mark.parametrize("ignore_index", [-100, -1, 7, 2**40])
@pytest.mark.parametrize("loss", [xe.sigmoid_cross_entropy_with_hess, xe.sigmoid_focal_loss_with_hess])
def test_ignored_element_whatever_its_logit(loss, ignore_index: int, dtype: type, reduction: str) -> None:
    """As an integer and as a float, with sample weights and without, alone and among many."""
    rng = np.random.default_rng(66)
    for n in (1, 5, 40, 70_000):
        x, t = rng.normal(size=2 * n).astype(dtype), rng.integers(0, 2, 2 * n)
        x[::2], t[::2] = np.resize([nan, inf, -inf, 0.5], n), ignore_index
        for target, weight in [(t, None), (t.astype(dtype), None), (t, rng.random(2 * n).astype(dtype))]:
            counted = None if weight is None else weight[1::2]
            options = {"reduction": reduction, "label_smoothing": 0.1}
            expected = loss(x[1::2], t[1::2], sample_weight=counted, **options)
            result = loss(x, target, sample_weight=weight, ignore_index=ignore_index, **options)
            rtol = 16 * float(np.finfo(dtype).eps)
            value = result.loss
            if reduction == "none":
                np.testing.assert_array_equal(value[::2], 0)
                value = value[1::2]
            np.testing.assert_allclose(value, expected.loss, rtol=rtol)
            for ours, theirs in zip(result[1:], expected[1:], strict=True):
                np.testing.assert_array_equal(ours[::2], 0)
                np.testing.assert_allclose(ours[1::2], theirs, rtol=rtol)
    all_ignored = loss(np.array([nan, inf], dtype), [ignore_index] * 2, ignore_index=ignore_index)
    assert all_ignored.loss == 0.0 and not all_ignored.grad.any() and not all_ignored.hess.any()


def test_an_answer_itself_may_be_ignored() -> None:
    x = np.array([0.5, -2.0, 3.0])
    for target in ([0, 1, 0], [False, True, False], [0.0, 1.0, -0.0]):
        loss, grad = xe.sigmoid_cross_entropy_with_grad(x, target, ignore_index=0)
        assert loss == xe.sigmoid_cross_entropy(-2.0, 1)
        np.testing.assert_array_equal(grad != 0, [False, True, False])


@each_dtype
def test_a_small_smoothing_is_not_lost(dtype: type) -> None:
    """`1 - t'` is not a difference: a millionth of it would be a tenth off in float32."""
    x = np.array([30.0, -30.0], dtype)
    loss = xe.sigmoid_cross_entropy(x, [1, 0], label_smoothing=1e-6, reduction="none")
    np.testing.assert_allclose(loss, [0.5e-6 * 30] * 2, rtol=1e-6)


@each_dtype
def test_focal_loss_without_focus_is_cross_entropy_to_the_bit(dtype: type) -> None:
    rng = np.random.default_rng(67)
    x = np.concatenate([rng.normal(scale=20, size=300), [nan, inf, -inf, 0.0]]).astype(dtype)
    for t in (rng.integers(0, 2, 304), rng.random(304).astype(dtype)):
        options = {"pos_weight": 3.0, "sample_weight": rng.random(304).astype(dtype), "label_smoothing": 0.1}
        for reduction in REDUCTIONS:
            focal = xe.sigmoid_focal_loss_with_hess(x, t, gamma=0.0, reduction=reduction, **options)
            plain = xe.sigmoid_cross_entropy_with_hess(x, t, reduction=reduction, **options)
            for ours, theirs in zip(focal, plain, strict=True):
                assert_same_bits(ours, theirs)


@each_dtype
@pytest.mark.parametrize("gamma", [1e-30, 0.25, 0.5, 1.0, 2.0, 3.7, 1e9])
def test_focal_loss_far_out(gamma: float, dtype: type) -> None:
    """Finite, and the limit, where a power of 0 or a product of 0 and infinity would be neither."""
    x = np.array([1000.0, -1000.0, inf, -inf, 0.0], dtype)
    loss, grad, hess = xe.sigmoid_focal_loss_with_hess(x, [1, 0, 1, 0, 1], gamma=gamma, reduction="none")
    np.testing.assert_array_equal(loss[:4], 0)
    np.testing.assert_array_equal(grad[:4], 0)
    loss, grad, hess = xe.sigmoid_focal_loss_with_hess(x, [0, 1, 0, 1, 1], gamma=gamma, reduction="none")
    np.testing.assert_array_equal(loss[:4], [1000, 1000, inf, inf])
    np.testing.assert_array_equal(grad[:4], [1, -1, 1, -1])
    np.testing.assert_array_equal(hess[:4], 0)
    assert np.isfinite(loss[4]) and np.isfinite(grad[4]) and np.isfinite(hess[4])


@each_dtype
def test_focal_loss_of_any_focus_keeps_its_digits(dtype: type) -> None:
    """Where a rounded exponent would cost them: against exponents in twice the precision."""
    x = np.linspace(0.0, 30.0 if dtype is np.float32 else 200.0, 301).astype(dtype)
    for gamma in (0.3, 1.3, 1.7):
        g, wide = np.longdouble(dtype(gamma)), x.astype(np.longdouble)
        truth = np.exp(-g * np.logaddexp(0, wide)) * np.logaddexp(0, -wide)
        loss = xe.sigmoid_focal_loss(x, np.ones_like(x), gamma=gamma, reduction="none")
        assert_close(loss, truth.astype(np.float64), 1e-6 if dtype is np.float32 else 1e-14)


@each_dtype
def test_impossible_probabilities(dtype: type) -> None:
    p = np.array([0.0, 1.0, 0.0, 1.0, 0.0, 1.0, nan, 0.5], dtype)
    t = np.array([0.0, 1.0, 1.0, 0.0, 0.5, 0.5, 1.0, nan], dtype)
    loss, grad = xe.binary_cross_entropy_with_grad(p, t, reduction="none")
    np.testing.assert_array_equal(loss, [0, 0, inf, inf, inf, inf, nan, nan])
    np.testing.assert_array_equal(grad, [1, -1, -inf, inf, -inf, inf, nan, nan])
    loss, grad = xe.binary_cross_entropy_with_grad(p, t, sample_weight=[1, 1, 0, 0, 0, 0, 0, 0])
    assert loss == 0.0
    np.testing.assert_array_equal(grad, [0.5, -0.5, 0, 0, 0, 0, 0, 0])
    for loss_with_grad in (xe.binary_cross_entropy_with_grad, xe.sigmoid_cross_entropy_with_grad):
        loss, grad = loss_with_grad(np.array([nan, 0.5], dtype), np.ones(2, dtype), pos_weight=[0], reduction="none")
        np.testing.assert_array_equal([loss, grad], [[nan, 0], [nan, 0]])  # NaN stays NaN where no label counts
    loss, grad = xe.binary_cross_entropy_with_grad(p[:6], t[:6], eps=1e-9, reduction="none")
    far = -np.log(1e-9)
    assert_close(loss, [1e-9, 1e-9, far, far, far / 2, far / 2], 1e-6)
    np.testing.assert_array_equal(grad, 0)


@each_dtype
def test_hinge_loss_of_what_is_no_number(dtype: type) -> None:
    scores, target = np.array([inf, -inf, inf, -inf, nan, 0.0], dtype), np.array([1, 0, -1, 1, 1, nan], dtype)
    loss, grad = xe.hinge_loss_with_grad(scores, target, reduction="none")
    np.testing.assert_array_equal(loss, [0, 0, inf, inf, nan, nan])
    np.testing.assert_array_equal(grad, [0, 0, 1, -1, nan, nan])
    _, grad = xe.hinge_loss_with_grad(scores[:4], target[:4], squared=True, reduction="none")
    np.testing.assert_array_equal(grad, [0, 0, inf, -inf])


# --- 2. Nothing left to average: the loss is 0.0 and the gradient zeros -----------------------------------------------


@each_dtype
@each_reduction
@pytest.mark.parametrize("rows", [np.zeros((5, 5)), np.array(POISON)], ids=["finite", "poison"])
@pytest.mark.parametrize(
    "options",
    [
        {"target": [-100] * 5},
        {"target": [0] * 5, "sample_weight": [0.0] * 5},
        {"target": [4] * 5, "class_weight": [1.0, 1.0, 1.0, 1.0, 0.0]},
        {"target": np.zeros((5, 5))},
        {"target": np.eye(5), "class_weight": [0.0] * 5, "label_smoothing": 0.1},
    ],
    ids=["all-ignored", "zero-sample-weight", "zero-class-weight", "empty-distributions", "zero-weight-smoothed"],
)
def test_nothing_left_to_average_softmax(options: dict, rows: np.ndarray, dtype: type, reduction: str) -> None:
    logits = rows.astype(dtype)
    loss, grad = xe.softmax_cross_entropy_with_grad(logits, **options, reduction=reduction)
    assert_same_bits(loss, np.zeros(5, dtype) if reduction == "none" else 0.0)
    assert_same_bits(grad + 0, np.zeros((5, 5), dtype))
    np.testing.assert_array_equal(xe.softmax_cross_entropy(logits, **options, reduction=reduction), loss)


@each_dtype
@each_reduction
def test_nothing_left_to_average_sigmoid(dtype: type, reduction: str) -> None:
    for rows in (np.zeros((5, 5)), np.array(POISON)):
        for weight in (np.zeros(5), np.zeros((5, 5))):
            loss, grad = xe.sigmoid_cross_entropy_with_grad(
                rows.astype(dtype), np.eye(5), sample_weight=weight, reduction=reduction
            )
            assert_same_bits(loss, np.zeros((5, 5), dtype) if reduction == "none" else 0.0)
            assert_same_bits(grad + 0, np.zeros((5, 5), dtype))


def test_mean_of_smoothed_rows_without_weight_of_their_own() -> None:
    """A class of zero weight has a smoothed loss, but nothing to divide it by: "mean" is 0, "sum" is not."""
    options = {"class_weight": [1.0, 0.0], "label_smoothing": 0.5}
    loss, grad = xe.softmax_cross_entropy_with_grad([[0.0, 0.0]], [1], **options)
    assert loss == 0.0
    np.testing.assert_array_equal(grad, 0)
    total, grad = xe.softmax_cross_entropy_with_grad([[0.0, 0.0]], [1], **options, reduction="sum")
    assert total == pytest.approx(0.25 * np.log(2), rel=1e-15)
    np.testing.assert_allclose(grad, [[-0.125, 0.125]], rtol=1e-15)


# --- 3. t_k w_k = 0: the term is 0 even where the log-probability is -inf; masked classes are legal -------------------


@each_dtype
def test_masked_classes_are_legal(dtype: type) -> None:
    """A logit of -inf takes its class out: the rest behaves as if it had never been there."""
    rng = np.random.default_rng(62)
    for c in (2, 3, 10, 40):
        logits = rng.normal(size=(20, c)).astype(dtype)
        masked = np.full((20, 2 * c), -inf, dtype)
        masked[:, ::2] = logits
        target = rng.integers(0, c, 20)
        soft = rng.dirichlet(np.ones(c), 20).astype(dtype)
        masked_soft = np.zeros((20, 2 * c), dtype)
        masked_soft[:, ::2] = soft
        rtol = 1e-5 if dtype is np.float32 else 1e-13
        for t, masked_t in [(target, 2 * target), (soft, masked_soft)]:
            expected, expected_grad = xe.softmax_cross_entropy_with_grad(logits, t, reduction="none")
            loss, grad = xe.softmax_cross_entropy_with_grad(masked, masked_t, reduction="none")
            np.testing.assert_allclose(loss, expected, rtol=rtol)
            np.testing.assert_allclose(grad[:, ::2], expected_grad, rtol=rtol, atol=rtol)
            np.testing.assert_array_equal(grad[:, 1::2], 0)


@each_dtype
def test_masked_class_of_zero_weight_under_smoothing(dtype: type) -> None:
    """Smoothing puts weight on every class; `class_weight` takes it off the masked one again."""
    logits, expected_logits = np.array([[1.0, -inf, 0.0]], dtype), np.array([[1.0, 0.0]], dtype)
    loss, grad = xe.softmax_cross_entropy_with_grad(
        logits, [0], class_weight=[1, 0, 1], label_smoothing=0.3, reduction="sum"
    )
    smooth = np.array([[0.8, 0.1]], dtype)
    expected, expected_grad = xe.softmax_cross_entropy_with_grad(expected_logits, smooth, reduction="sum")
    np.testing.assert_allclose(loss, expected, rtol=1e-6)
    np.testing.assert_allclose(grad[:, [0, 2]], expected_grad, rtol=1e-5)
    assert grad[0, 1] == 0


@each_dtype
def test_answers_that_infinite_logits_confirm_cost_nothing(dtype: type) -> None:
    x, target = np.array([inf, -inf, -inf, inf], dtype), [1, 0, 1, 0]
    loss, grad = xe.sigmoid_cross_entropy_with_grad(x[:2], target[:2], reduction="none")
    assert_same_bits(loss + 0, np.zeros(2, dtype))
    assert_same_bits(grad + 0, np.zeros(2, dtype))
    loss, grad = xe.sigmoid_cross_entropy_with_grad(x, target, pos_weight=0.0, reduction="none")
    np.testing.assert_array_equal(loss, [0, 0, 0, inf])
    np.testing.assert_array_equal(grad, [0, 0, 0, 1])


# --- 4. t_k > 0 where p_k = 0: the loss is +inf, the gradient finite --------------------------------------------------


@each_dtype
@each_reduction
def test_a_target_that_the_logits_rule_out(dtype: type, reduction: str) -> None:
    logits = np.array([[0.0, -inf, 0.0], [0.0, 0.0, 0.0]], dtype)
    for target in ([1, 0], np.eye(3, dtype=dtype)[[1, 0]]):
        loss, grad = xe.softmax_cross_entropy_with_grad(logits, target, reduction=reduction)
        np.testing.assert_array_equal(loss[0] if reduction == "none" else loss, inf)
        scale = 0.5 if reduction == "mean" else 1.0
        truth = scale * np.array([[1 / 2, -1, 1 / 2], [1 / 3 - 1, 1 / 3, 1 / 3]])
        assert_close(grad, truth, 1e-6 if dtype is np.float32 else 1e-15)
        if reduction == "none":
            assert loss[1] == pytest.approx(np.log(3), rel=1e-6)


@each_dtype
def test_smoothing_over_a_masked_class(dtype: type) -> None:
    loss, grad = xe.softmax_cross_entropy_with_grad(np.array([[0.0, -inf]], dtype), [0], label_smoothing=0.1)
    assert loss == inf
    assert_close(grad, [[1 - 0.95, -0.05]], 1e-5 if dtype is np.float32 else 1e-14)


@each_dtype
def test_answers_that_infinite_logits_rule_out(dtype: type) -> None:
    x = np.array([-inf, inf, inf, -inf], dtype)
    loss, grad = xe.sigmoid_cross_entropy_with_grad(x, np.array([1, 0, 0.75, 0.25], dtype), reduction="none")
    np.testing.assert_array_equal(loss, [inf] * 4)
    np.testing.assert_array_equal(grad, np.array([-1, 1, 0.25, -0.25], dtype))


# --- 5. One +inf logit: the limit, in which that class has probability 1 ----------------------------------------------


@each_dtype
@each_reduction
@pytest.mark.parametrize("rest", [[1.0, -2.0], [-inf, -inf], [1e30, -1e30]], ids=str)
def test_one_infinite_logit(rest: list[float], dtype: type, reduction: str) -> None:
    for c in range(3, 40):
        logits = np.resize(np.array(rest, dtype), (c, c))
        logits[np.diag_indices(c)] = inf
        right, wrong = np.arange(c), (np.arange(c) + 1) % c
        scale = 1 / c if reduction == "mean" else 1.0
        loss, grad = xe.softmax_cross_entropy_with_grad(logits, right, reduction=reduction)
        np.testing.assert_array_equal(loss, np.zeros(c) if reduction == "none" else 0.0)
        np.testing.assert_array_equal(grad, 0)
        loss, grad = xe.softmax_cross_entropy_with_grad(logits, wrong, reduction=reduction)
        np.testing.assert_array_equal(loss, np.full(c, inf) if reduction == "none" else inf)
        assert_close(grad, scale * (np.eye(c)[right] - np.eye(c)[wrong]), 1e-6)


@each_dtype
def test_one_infinite_logit_and_a_distribution(dtype: type) -> None:
    logits = np.array([[inf, 0.0, 1.0]] * 3, dtype)
    target = np.array([[1.0, 0.0, 0.0], [0.75, 0.25, 0.0], [0.0, 0.5, 0.5]], dtype)
    loss, grad = xe.softmax_cross_entropy_with_grad(logits, target, reduction="none")
    np.testing.assert_array_equal(loss, [0.0, inf, inf])
    np.testing.assert_array_equal(grad, [[0, 0, 0], [0.25, -0.25, 0], [1, -0.5, -0.5]])


# --- 6. NaN anywhere in a row that counts, all logits -inf, several +inf: NaN for that row, and only that row ---------


@each_dtype
@pytest.mark.parametrize("kind", ["classes", "distributions"])
def test_nan_wherever_it_stands(kind: str, dtype: type) -> None:
    """In each lane of each vector, and in the tail: a maximum that drops NaN passes in most of them."""
    rng = np.random.default_rng(63)
    for c in (1, 2, 3, 5, 15, 16, 17, 33, 67, 260):
        n = c + 2
        logits, target = rng.normal(size=(n, c)).astype(dtype), rng.integers(0, c, n)
        t = target if kind == "classes" else np.eye(c, dtype=dtype)[target]
        clean, clean_grad = xe.softmax_cross_entropy_with_grad(logits, t, reduction="none")
        logits[1 + np.arange(c), np.arange(c)] = nan
        loss, grad = xe.softmax_cross_entropy_with_grad(logits, t, reduction="none")
        alone = xe.softmax_cross_entropy(logits, t, reduction="none")
        assert np.isnan(loss[1:-1]).all() and np.isnan(alone[1:-1]).all(), f"c={c}"
        assert np.isnan(grad[1:-1]).all(), f"c={c}"
        np.testing.assert_array_equal(loss[[0, -1]], clean[[0, -1]])
        np.testing.assert_array_equal(grad[[0, -1]], clean_grad[[0, -1]])


BROKEN = [
    [-inf, -inf, -inf],
    [inf, inf, 0.0],
    [0.0, inf, inf],
    [inf, inf, inf],
    [inf, -inf, inf],
    [nan, inf, 0.0],
    [-inf, nan, -inf],
    [inf, inf, nan],
]


@each_dtype
@each_reduction
@pytest.mark.parametrize("bad", BROKEN, ids=str)
def test_a_broken_row_is_nan_and_only_that_row(bad: list[float], dtype: type, reduction: str) -> None:
    logits, target = np.array([[0.0, 1.0, 2.0], bad, [2.0, 0.0, 0.0]], dtype), np.array([0, 1, 2])
    for t in (target, np.eye(3, dtype=dtype)[target]):
        whole, whole_grad = xe.softmax_cross_entropy_with_grad(logits[[0, 2]], t[[0, 2]], reduction=reduction)
        loss, grad = xe.softmax_cross_entropy_with_grad(logits, t, reduction=reduction)
        if reduction == "none":
            np.testing.assert_array_equal(loss, [whole[0], nan, whole[1]])
        else:
            assert np.isnan(loss)
        assert np.isnan(grad[1]).all()
        scale = 2 / 3 if reduction == "mean" else 1.0  # three rows share the mean
        np.testing.assert_allclose(grad[[0, 2]], whole_grad * scale, rtol=1e-6)
        np.testing.assert_array_equal(xe.softmax_cross_entropy(logits, t, reduction=reduction), loss)


@each_dtype
def test_nan_in_a_distribution(dtype: type) -> None:
    rng = np.random.default_rng(64)
    logits, target = rng.normal(size=(6, 4)).astype(dtype), rng.dirichlet(np.ones(4), 6).astype(dtype)
    clean, clean_grad = xe.softmax_cross_entropy_with_grad(logits, target, reduction="none")
    target[1 + np.arange(4), np.arange(4)] = nan
    loss, grad = xe.softmax_cross_entropy_with_grad(logits, target, reduction="none")
    assert np.isnan(loss[1:-1]).all() and np.isnan(grad[1:-1]).all()
    np.testing.assert_array_equal(loss[[0, -1]], clean[[0, -1]])
    np.testing.assert_array_equal(grad[[0, -1]], clean_grad[[0, -1]])


@each_dtype
@pytest.mark.parametrize("c", [2, 10, 33, 65])
def test_nan_in_a_distribution_counts_as_a_row_of_the_mean(c: int, dtype: type) -> None:
    rng = np.random.default_rng(65)
    p, target = (rng.dirichlet(np.ones(c), 70).astype(dtype) for _ in range(2))
    weight = rng.uniform(0.5, 2.0, 70).astype(dtype)
    target[5::9, c // 2] = nan
    clean = ~np.isnan(target).any(-1)
    for function, data in (
        (xe.softmax_cross_entropy_with_grad, np.log(p)),
        (xe.categorical_cross_entropy_with_grad, p),
    ):
        for sample_weight in (None, weight):
            _, grad = function(data, target, sample_weight=sample_weight)
            _, whole = function(data, target, sample_weight=sample_weight, reduction="sum")
            divisor = 70.0 if sample_weight is None else weight.sum(dtype=np.float64)
            assert np.isnan(grad[~clean]).all()
            np.testing.assert_allclose(grad[clean], whole[clean] / divisor, rtol=1e-5, atol=1e-8)  # they cancel


@each_dtype
@each_reduction
def test_nan_in_the_only_distribution(dtype: type, reduction: str) -> None:
    """A weight of NaN is not taken for nothing left to average."""
    logits, target = np.zeros((1, 3), dtype), np.array([[0.5, nan, 0.5]], dtype)
    loss, grad = xe.softmax_cross_entropy_with_grad(logits, target, reduction=reduction)
    assert np.isnan(loss).all() and np.isnan(grad).all()
    assert np.isnan(xe.softmax_cross_entropy(logits, target, reduction=reduction)).all()


@each_dtype
def test_nan_in_a_class_of_zero_weight(dtype: type) -> None:
    """It still takes part in the log-sum-exp of a row that counts."""
    loss, grad = xe.softmax_cross_entropy_with_grad(np.array([[0.0, nan]], dtype), [0], class_weight=[1.0, 0.0])
    assert np.isnan(loss) and np.isnan(grad).all()


@each_dtype
@each_reduction
def test_nan_in_an_element(dtype: type, reduction: str) -> None:
    rng = np.random.default_rng(65)
    for n in (1, 2, 5, 16, 33, 67):
        x, target = rng.normal(size=(n, n)).astype(dtype), rng.random((n, n)).astype(dtype)
        clean, clean_grad = xe.sigmoid_cross_entropy_with_grad(x, target, reduction=reduction)
        for broken in (x, target):
            kept = broken[np.diag_indices(n)]
            broken[np.diag_indices(n)] = nan
            loss, grad = xe.sigmoid_cross_entropy_with_grad(x, target, reduction=reduction)
            broken[np.diag_indices(n)] = kept
            np.testing.assert_array_equal(grad, np.where(np.eye(n) > 0, nan, clean_grad))
            if reduction == "none":
                np.testing.assert_array_equal(loss, np.where(np.eye(n) > 0, nan, clean))
            else:
                assert np.isnan(loss)


# --- 7. A label outside [0, c): IndexError naming row, value and range; nothing written -------------------------------


@each_dtype
def test_label_outside_the_classes(dtype: type) -> None:
    logits, out = np.zeros((5, 10), dtype), np.full((5, 10), 77, dtype)
    with pytest.raises(IndexError, match=r"target must be integers in \[0, 10\) or ignore_index=-100, got 12 at row 3"):
        xe.softmax_cross_entropy_with_grad(logits, [0, -100, 9, 12, 0], out=out)
    assert (out == 77).all()
