"""Every loss of the registry: its value against the oracle, its gradient against the oracle and finite differences.

Under all combinations of options, for every row length up to four vectors of lanes and a tail, along every axis.
"""

import copy
import itertools

import numpy as np
import pytest

import xentrs as xe
from checks import FLUSHED, assert_close, assert_same_bits, assert_truth
from oracles import softmax_cross_entropy_oracle
from registry import CASES, DTYPES, HALVES, PROBABILITIES, REDUCTIONS, Case

LANES = 16  # float32 in the widest vector register
ALL = [*CASES, *PROBABILITIES]
KINDS = [pytest.param(case, kind, id=f"{case.name}-{kind}") for case in ALL for kind in case.targets]

AXIS_KINDS = [pytest.param(c, kind, id=f"{c.name}-{kind}") for c in ALL if c.has_class_axis for kind in c.targets]

# The Hessian of the softmax family, whose rows have one that is not diagonal, is in test_softmax_family.py.
CURVED = [case for case in CASES if case.loss_with_hess and not case.has_class_axis]
CURVED_KINDS = [pytest.param(c, kind, id=f"{c.name}-{kind}") for c in CURVED for kind in c.targets]

each_case = pytest.mark.parametrize("case", ALL, ids=lambda case: case.name)
each_kind = pytest.mark.parametrize(("case", "kind"), KINDS)
each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)


@each_dtype
@each_kind
def test_every_combination_of_options(case: Case, kind: str, dtype: type) -> None:
    """Of rows with few classes, and of rows with many, which go another way."""
    rng = np.random.default_rng(1)
    for shape in [(23, 11), (5, 70)]:
        for options in case.grid(rng, dtype, shape):
            logits, target = case.logits(rng, dtype, shape), case.targets[kind](rng, dtype, shape)
            chosen = ", ".join(f"{name}={value if np.ndim(value) == 0 else '...'}" for name, value in options.items())
            if kind == "classes" and options.get("ignore_index") == 0:
                target = np.abs(target % shape[-1])  # -100 is no class now, and nothing to ignore either
            truth = case.oracle(logits, target, **options)
            assert truth.weight > 0, "the test data must have weight"
            for reduction in REDUCTIONS:
                note = f"{shape} {chosen} {reduction}"
                result = case.loss_with_grad(logits, target, reduction=reduction, **options)
                assert_truth(case, result, truth, reduction, dtype, note)
                loss = case.loss(logits, target, reduction=reduction, **options)
                expected, floor = truth.reduced(reduction)[0], FLUSHED[dtype] + truth.doubts(reduction)[0]
                assert_close(loss, expected, case.loss_rtol[dtype], floor=floor, note=f"{note} loss alone")


@each_dtype
@each_kind
def test_every_row_length(case: Case, kind: str, dtype: type) -> None:
    rng = np.random.default_rng(2)
    for c in range(1, 4 * LANES + 4):
        logits, target = case.logits(rng, dtype, (7, c)), case.targets[kind](rng, dtype, (7, c))
        truth = case.oracle(logits, target)
        assert_truth(case, case.loss_with_grad(logits, target, reduction="none"), truth, "none", dtype, f"c={c}")
        loss = case.loss(logits, target, reduction="none")
        assert_close(loss, truth.loss, case.loss_rtol[dtype], floor=FLUSHED[dtype], note=f"c={c} loss alone")


@each_dtype
@each_kind
def test_every_number_of_rows(case: Case, kind: str, dtype: type) -> None:
    """Few classes may be computed across rows, where the number of rows has the tails."""
    rng = np.random.default_rng(3)
    for n, c in itertools.product([*range(1, 2 * LANES + 2), 4 * LANES + 3, 129, 1000], [1, 2, 3, 10]):
        logits, target = case.logits(rng, dtype, (n, c)), case.targets[kind](rng, dtype, (n, c))
        truth = case.oracle(logits, target)
        assert_truth(case, case.loss_with_grad(logits, target), truth, "mean", dtype, f"n={n} c={c}")
        assert_close(
            case.loss(logits, target),
            truth.reduced("mean")[0],
            case.loss_rtol[dtype],
            floor=FLUSHED[dtype],
            note=f"n={n} c={c}",
        )


@each_dtype
@each_kind
def test_longer_rows(case: Case, kind: str, dtype: type) -> None:
    rng = np.random.default_rng(4)
    for c in (255, 256, 257, 1000, 1031):
        logits, target = case.logits(rng, dtype, (3, c)), case.targets[kind](rng, dtype, (3, c))
        truth = case.oracle(logits, target)
        assert_truth(case, case.loss_with_grad(logits, target, reduction="none"), truth, "none", dtype, f"c={c}")


@each_dtype
@pytest.mark.parametrize("shape", [(40_000, 10), (1_500, 1_000), (40, 32_000)], ids=str)
def test_large_batches(shape: tuple[int, int], dtype: type) -> None:
    """Large enough for every thread, and against the textbook formula, which is good enough for these mild logits."""
    rng = np.random.default_rng(5)
    logits, target = rng.normal(scale=2.0, size=shape).astype(dtype), rng.integers(0, shape[1], shape[0])
    z = logits.astype(np.float64)
    lse = np.log(np.exp(z).sum(1))
    truth_loss = lse - z[np.arange(len(z)), target]
    truth_grad = np.exp(z - lse[:, None])
    truth_grad[np.arange(len(z)), target] -= 1

    loss, grad = xe.softmax_cross_entropy_with_grad(logits, target, reduction="none")
    rtol = 1e-5 if dtype is np.float32 else 1e-12
    assert_close(loss, truth_loss, rtol)
    assert_close(grad, truth_grad, rtol)
    mean, grad = xe.softmax_cross_entropy_with_grad(logits, target)
    assert_close(mean, truth_loss.mean(), 1e-6 if dtype is np.float32 else 1e-12)
    assert_close(grad, truth_grad / shape[0], rtol)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@each_kind
@pytest.mark.once
def test_gradient_is_the_finite_difference(case: Case, kind: str, reduction: str) -> None:
    rng = np.random.default_rng(6)
    shape, h = (4, 5), 1e-5
    for options in case.grid(rng, np.float64, shape):
        logits, target = case.mild(rng, np.float64, shape), case.targets[kind](rng, np.float64, shape)
        if options.get("ignore_index") == 0 and kind == "classes":
            target = target % shape[-1]
        _, grad = case.loss_with_grad(logits, target, reduction=reduction, **options)
        for index in np.ndindex(shape):
            step = np.zeros(shape)
            step[index] = h
            above = case.loss(logits + step, target, reduction=reduction, **options)
            below = case.loss(logits - step, target, reduction=reduction, **options)
            np.testing.assert_allclose(grad[index], (above - below) / (2 * h), rtol=1e-6, atol=1e-8)


@each_dtype
@pytest.mark.parametrize(("case", "kind"), CURVED_KINDS)
def test_hessian_under_every_combination_of_options(case: Case, kind: str, dtype: type) -> None:
    """Loss and gradient are those of `_with_grad` to the bit, the Hessian is that of the oracle."""
    rng = np.random.default_rng(15)
    shape = (23, 11)
    for options in case.grid(rng, dtype, shape):
        logits, target = case.logits(rng, dtype, shape), case.targets[kind](rng, dtype, shape)
        truth = case.oracle(logits, target, **options)
        for reduction in REDUCTIONS:
            expected = case.loss_with_grad(logits, target, reduction=reduction, **options)
            result = case.loss_with_hess(logits, target, reduction=reduction, **options)
            assert_same_bits(result.loss, expected.loss)
            assert_same_bits(result.grad, expected.grad)
            assert result.hess.dtype == dtype and result.hess.flags.owndata
            scale = truth.weight if reduction == "mean" else 1.0
            size = truth.hess_size / scale
            # A factor that is flushed to zero may have been multiplied by gamma^2 times the largest logit.
            floor = 2048 * FLUSHED[dtype]
            note = f"{reduction} {options}"
            assert_close(result.hess, truth.hess / scale, case.hess_rtol[dtype], size, floor, note)


@pytest.mark.parametrize(("case", "kind"), CURVED_KINDS)
@pytest.mark.once
def test_hessian_is_the_finite_difference_of_the_gradient(case: Case, kind: str) -> None:
    rng = np.random.default_rng(16)
    shape, h = (40, 5), 1e-5
    for options in case.grid(rng, np.float64, shape):
        logits, target = case.mild(rng, np.float64, shape), case.targets[kind](rng, np.float64, shape)
        above, below = (case.loss_with_grad(logits + step, target, **options).grad for step in (h, -h))
        hess = case.loss_with_hess(logits, target, **options).hess
        np.testing.assert_allclose(hess, (above - below) / (2 * h), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("half", HALVES, ids=lambda half: half.__name__)
@pytest.mark.parametrize(("case", "kind"), CURVED_KINDS)
def test_hessian_in_half_precision_and_where_it_goes(case: Case, kind: str, half: type) -> None:
    """Rounded once from that of the widened logits; of the gradient's type, wherever that is written."""
    rng = np.random.default_rng(17)
    for shape in [(3, 7), (300, 257)]:
        logits = case.logits(rng, np.float32, shape).astype(half)
        target = case.targets[kind](rng, np.float32, shape)
        wide = case.loss_with_hess(logits.astype(np.float32), target)
        for t in (target, target.astype(half) if kind == "floats" else target):
            same = wide if t is target else case.loss_with_hess(logits.astype(np.float32), t.astype(np.float32))
            result = case.loss_with_hess(logits, t)
            assert_same_bits(result.hess, same.hess.astype(half))
            out = np.empty(shape, np.float32)
            result = case.loss_with_hess(logits, t, out=out)
            assert result.grad is out
            assert_same_bits(out, same.grad)
            assert_same_bits(result.hess, same.hess)
        place = logits.copy()
        result = case.loss_with_hess(place, target, out=place)
        assert result.grad is place
        assert_same_bits(result.hess, wide.hess.astype(half))


@each_dtype
@pytest.mark.parametrize("case", CURVED, ids=lambda case: case.name)
def test_hessian_of_nothing_and_of_one(case: Case, dtype: type) -> None:
    result = case.loss_with_hess(np.empty((0, 3), dtype), np.empty((0, 3), dtype))
    assert result.loss == 0.0 and result.hess.shape == (0, 3)
    result = case.loss_with_hess(np.full((2, 3), np.nan, dtype), np.zeros((2, 3)), sample_weight=np.zeros((2, 3)))
    assert isinstance(result, xe.LossGradHess) and result.loss == 0.0
    assert_same_bits(result.hess, np.zeros((2, 3), dtype))
    result = case.loss_with_hess(dtype(0.5), 1)
    assert np.shape(result.hess) == () and float(result.hess) > 0
    with pytest.raises(ValueError, match="target must be in"):
        case.loss_with_hess(np.zeros(3, dtype), [0, 0.5, 2])
    columns = np.asfortranarray(case.logits(np.random.default_rng(18), dtype, (6, 5)))
    plain = case.loss_with_hess(np.ascontiguousarray(columns), np.eye(6, 5))
    assert_same_bits(case.loss_with_hess(columns, np.asfortranarray(np.eye(6, 5))).hess, plain.hess)


@each_dtype
@each_kind
def test_reductions_agree(case: Case, kind: str, dtype: type) -> None:
    rng = np.random.default_rng(7)
    shape = (50, 6)
    logits, target = case.logits(rng, dtype, shape), case.targets[kind](rng, dtype, shape)
    weight = rng.uniform(0.5, 2.0, case.row_shape(shape)).astype(dtype)
    each, each_grad = case.loss_with_grad(logits, target, sample_weight=weight, reduction="none")
    total, total_grad = case.loss_with_grad(logits, target, sample_weight=weight, reduction="sum")
    mean, mean_grad = case.loss_with_grad(logits, target, sample_weight=weight, reduction="mean")

    assert isinstance(total, float) and isinstance(mean, float)
    assert each.shape == case.row_shape(shape) and each.dtype == dtype
    assert_same_bits(each_grad, total_grad, "the gradient for none is that of the sum")
    rounding = 4 * float(np.finfo(dtype).eps)
    np.testing.assert_allclose(total, each.astype(np.float64).sum(), rtol=rounding)
    truth = case.oracle(logits, target, sample_weight=weight)
    np.testing.assert_allclose(mean, total / truth.weight, rtol=rounding)
    scaled = total_grad.astype(np.float64) / truth.weight
    assert_close(mean_grad, scaled, rounding, truth.size / truth.weight, FLUSHED[dtype])


@each_dtype
@pytest.mark.parametrize(("case", "kind"), AXIS_KINDS)
@pytest.mark.once
def test_every_axis(case: Case, kind: str, dtype: type) -> None:
    rng = np.random.default_rng(8)
    moved_shape = (4, 6, 5)
    moved, moved_target = case.logits(rng, dtype, moved_shape), case.targets[kind](rng, dtype, moved_shape)
    weight = rng.uniform(0.5, 2.0, moved_shape[:-1]).astype(dtype)
    truth = case.oracle(moved, moved_target, sample_weight=weight)
    for axis, reduction in itertools.product(range(-3, 3), REDUCTIONS):
        note = f"axis={axis} {reduction}"
        logits = np.ascontiguousarray(np.moveaxis(moved, -1, axis))
        target = moved_target
        if target.ndim == logits.ndim:
            target = np.ascontiguousarray(np.moveaxis(target, -1, axis))
        loss, grad = case.loss_with_grad(logits, target, sample_weight=weight, axis=axis, reduction=reduction)
        assert grad.shape == logits.shape
        result = xe.LossGrad(loss, np.moveaxis(grad, axis, -1))
        assert_truth(case, result, truth, reduction, dtype, note)
        alone = case.loss(logits, target, sample_weight=weight, axis=axis, reduction=reduction)
        floor = FLUSHED[dtype]
        assert_close(alone, truth.reduced(reduction)[0], case.loss_rtol[dtype], floor=floor, note=note)


@each_dtype
@each_kind
@pytest.mark.once
def test_leading_shape_does_not_matter(case: Case, kind: str, dtype: type) -> None:
    """(2, 3, 4, c) is 24 rows of c, and the losses come back as (2, 3, 4)."""
    rng = np.random.default_rng(9)
    shape, flat = (2, 3, 4, 5), (24, 5)
    logits, target = case.logits(rng, dtype, shape), case.targets[kind](rng, dtype, shape)
    flat_target = target.reshape(flat if target.ndim == 4 else 24)
    loss, grad = case.loss_with_grad(logits, target, reduction="none")
    flat_loss, flat_grad = case.loss_with_grad(logits.reshape(flat), flat_target, reduction="none")
    assert_same_bits(loss, flat_loss.reshape(case.row_shape(shape)))
    assert_same_bits(grad, flat_grad.reshape(shape))


@each_dtype
@each_kind
def test_one_row_without_a_batch(case: Case, kind: str, dtype: type) -> None:
    """1-D logits are one row; with a class axis the target of an integer is a scalar then."""
    rng = np.random.default_rng(10)
    logits, target = case.logits(rng, dtype, (1, 7)), case.targets[kind](rng, dtype, (1, 7))
    if kind == "classes":
        target = np.array([3])
    for reduction in REDUCTIONS:
        loss, grad = case.loss_with_grad(logits[0], target[0], reduction=reduction)
        expected, expected_grad = case.loss_with_grad(logits, target, reduction=reduction)
        assert grad.shape == (7,)
        assert_same_bits(grad, expected_grad[0])
        np.testing.assert_array_equal(loss, expected[0] if reduction == "none" else expected)
        np.testing.assert_array_equal(case.loss(logits[0], target[0], reduction=reduction), loss)


def test_class_weights_count_in_the_mean() -> None:
    """By hand: costs ln 4 and ln 2 with weights 1 and 3, divided by 4."""
    logits = np.log([[3.0, 1.0], [1.0, 1.0]])
    assert xe.softmax_cross_entropy(logits, [1, 0], class_weight=[3.0, 1.0]) == pytest.approx(
        (np.log(4) + 3 * np.log(2)) / 4, rel=1e-15
    )


def test_smoothing_by_hand() -> None:
    """p = (3/4, 1/4), e = 0.2: the target (1, 0) becomes (0.9, 0.1)."""
    logits = np.log([[3.0, 1.0]])
    loss, grad = xe.softmax_cross_entropy_with_grad(logits, [0], label_smoothing=0.2)
    assert loss == pytest.approx(-0.9 * np.log(0.75) - 0.1 * np.log(0.25), rel=1e-15)
    np.testing.assert_allclose(grad, [[0.75 - 0.9, 0.25 - 0.1]], rtol=1e-14)


def test_smoothing_spreads_the_sum_of_the_target() -> None:
    """Distributions need not sum to one: what is spread is e sum(t) / c."""
    logits = np.array([[1.0, 0.0, -2.0]])
    target = np.array([[2.0, 0.5, 0.0]])
    smooth = 0.7 * target + 0.3 * 2.5 / 3
    np.testing.assert_allclose(
        xe.softmax_cross_entropy(logits, target, label_smoothing=0.3, reduction="sum"),
        xe.softmax_cross_entropy(logits, smooth, reduction="sum"),
        rtol=1e-14,
    )


def test_pos_weight_by_hand() -> None:
    """p = 3/4: a positive costs ln(4/3) three times, a negative ln 4 once; "mean" divides by two elements."""
    x = np.log(3.0)
    loss, grad = xe.sigmoid_cross_entropy_with_grad([x, x], [1, 0], pos_weight=3.0)
    assert loss == pytest.approx((3 * np.log(4 / 3) + np.log(4)) / 2, rel=1e-15)
    np.testing.assert_allclose(grad, [-3 * 0.25 / 2, 0.75 / 2], rtol=1e-14)


@each_dtype
def test_classes_and_one_hot_rows_are_the_same(dtype: type) -> None:
    """Also at margins where a difference of log-sum-exp and logit would be lost."""
    rng = np.random.default_rng(11)
    logits = (rng.normal(size=(200, 6)) * 20).astype(dtype)
    target = rng.integers(0, 6, 200)
    one_hot = np.eye(6, dtype=dtype)[target]
    weight = rng.uniform(0.5, 2.0, 6)
    truth = softmax_cross_entropy_oracle(logits, target, class_weight=weight)
    for reduction in REDUCTIONS:
        for t in (target, one_hot):
            result = xe.softmax_cross_entropy_with_grad(logits, t, class_weight=weight, reduction=reduction)
            assert_truth(CASES[0], result, truth, reduction, dtype, f"{t.dtype} {reduction}")


@each_kind
def test_a_row_does_not_depend_on_its_neighbours(case: Case, kind: str) -> None:
    """The loss of a row is the same wherever it stands in the batch."""
    rng = np.random.default_rng(13)
    for c in (3, 10, 100):
        logits, target = case.logits(rng, np.float32, (70, c)), case.targets[kind](rng, np.float32, (70, c))
        loss, grad = case.loss_with_grad(logits, target, reduction="none")
        order = rng.permutation(70)
        shuffled, shuffled_grad = case.loss_with_grad(logits[order], target[order], reduction="none")
        assert_same_bits(shuffled, loss[order], f"c={c}")
        assert_same_bits(shuffled_grad, grad[order], f"c={c}")


@each_dtype
@each_kind
@pytest.mark.once
def test_inputs_are_not_modified(case: Case, kind: str, dtype: type) -> None:
    rng = np.random.default_rng(14)
    for shape in [(9, 7), (300, 500)]:
        options = {name: draws[-1](rng, dtype, shape) for name, draws in case.options.items() if name != "ignore_index"}
        inputs = {
            case.argument: case.logits(rng, dtype, shape),
            "target": case.targets[kind](rng, dtype, shape),
            **options,
        }
        before = copy.deepcopy(inputs)
        case.loss(**inputs)
        case.loss_with_grad(**inputs)
        for name, value in inputs.items():
            assert_same_bits(value, before[name], name)


@each_case
def test_options_are_keyword_only(case: Case) -> None:
    logits = np.zeros((2, 3))
    target = np.zeros((2, 3)) if not case.has_class_axis else np.zeros(2, int)
    for function in (case.loss, case.loss_with_grad):
        with pytest.raises(TypeError, match="positional argument"):
            function(logits, target, None)


@each_case
@pytest.mark.once
def test_the_result_is_a_named_pair(case: Case) -> None:
    target = np.zeros((2, 3)) if not case.has_class_axis else np.zeros(2, int)
    result = case.loss_with_grad(np.zeros((2, 3)), target)
    loss, grad = result
    assert isinstance(result, xe.LossGrad)
    assert result.loss is loss and result.grad is grad
