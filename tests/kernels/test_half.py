"""float16 and bfloat16 are storage: every result is that of float32 on the widened logits, rounded once, to the bit.

So what the other tests say of float32 holds for them, and here it suffices to compare the two. The oracle has its say
about the loss and about a gradient in float32, which nothing rounds again.
"""

from typing import Any

import ml_dtypes
import numpy as np
import pytest

import xentrs as xe
from checks import FLUSHED, assert_close, assert_same_bits
from draws import as_it_is
from halves import SHAPES, Array, narrow, rough, target_of, wide, widened
from registry import CASES, FUNCTIONS, HALVES, REDUCTIONS, Case, Function

KINDS = [pytest.param(case, kind, id=f"{case.name}-{kind}") for case in CASES for kind in case.targets]
each_kind = pytest.mark.parametrize(("case", "kind"), KINDS)
each_half = pytest.mark.parametrize("half", HALVES, ids=lambda half: half.__name__)
each_function = pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.name)


def assert_as_float32(case: Case, half: type, logits: Array, target: Array, note: str = "", **options: Any) -> None:
    """Loss and gradient are those of the widened arguments, the gradient rounded once."""
    arguments = {name: widened(value) for name, value in options.items()}
    expected, expected_grad = case.loss_with_grad(wide(logits), widened(target), **arguments)
    loss, grad = case.loss_with_grad(logits, target, **options)
    assert_same_bits(loss, expected, f"{note} loss")
    assert_same_bits(grad, narrow(expected_grad, half), f"{note} grad")
    alone = case.loss(wide(logits), widened(target), **arguments)
    assert_same_bits(case.loss(logits, target, **options), alone, f"{note} loss alone")

    out = np.full(logits.shape, 77, np.float32)
    loss, grad = case.loss_with_grad(logits, target, **options, out=out)
    assert grad is out
    assert_same_bits(loss, expected, f"{note} loss, float32 out")
    assert_same_bits(out, expected_grad, f"{note} float32 out")


# --- Losses -----------------------------------------------------------------------------------------------------------


@each_half
@each_kind
def test_every_combination_of_options_as_in_float32(case: Case, kind: str, half: type) -> None:
    rng = np.random.default_rng(100)
    for shape in [(23, 11), (1, 3)]:
        for options in case.grid(rng, half, shape):
            logits, target = case.admit(rough(rng, half, shape)), target_of(case, kind, rng, half, shape)
            if kind == "classes" and options.get("ignore_index") == 0:
                target = np.abs(target % shape[-1])
            for reduction in REDUCTIONS:
                assert_as_float32(case, half, logits, target, f"{shape} {reduction}", reduction=reduction, **options)


@each_half
@each_kind
def test_every_shape_as_in_float32(case: Case, kind: str, half: type) -> None:
    rng = np.random.default_rng(101)
    for shape in [*SHAPES, *((5, c) for c in range(1, 68)), *((n, 10) for n in range(1, 40)), (0, 4), (2, 3, 4)]:
        logits, target = case.admit(rough(rng, half, shape)), target_of(case, kind, rng, half, shape)
        weight = rng.uniform(0.5, 2.0, case.row_shape(shape)).astype(np.float32)
        for reduction in ("mean", "none"):
            assert_as_float32(case, half, logits, target, str(shape), sample_weight=weight, reduction=reduction)


@each_half
@each_kind
def test_the_oracle_of_the_widened_logits(case: Case, kind: str, half: type) -> None:
    rng = np.random.default_rng(102)
    for shape in [(23, 11), (400, 10), (3, 257)]:
        logits = case.logits(rng, np.float32, shape).astype(half)
        target = target_of(case, kind, rng, half, shape)
        truth = case.oracle(wide(logits), widened(target))
        for reduction in REDUCTIONS:
            true_loss, true_grad, size = truth.reduced(reduction)
            loss, grad = case.loss_with_grad(logits, target, reduction=reduction, out=np.empty(shape, np.float32))
            assert_close(loss, true_loss, case.loss_rtol[np.float32], floor=FLUSHED[np.float32], note=reduction)
            assert_close(grad, true_grad, case.grad_rtol[np.float32], size, FLUSHED[np.float32], note=reduction)
            _, grad = case.loss_with_grad(logits, target, reduction=reduction)
            info = ml_dtypes.finfo(half)
            floor = float(info.smallest_subnormal) + FLUSHED[np.float32]
            assert_close(wide(grad), true_grad, 1e-5 + float(info.eps), size, floor, note=reduction)


@each_half
@pytest.mark.parametrize("case", [case for case in CASES if case.admit is as_it_is], ids=lambda case: case.name)
def test_a_sum_does_not_overflow(case: Case, half: type) -> None:
    """70 000 rows, each of which costs more than 10, and float16 ends at 65504; nor does it stagnate."""
    n = 70_000
    logits = np.zeros((n, 2), half)
    logits[:, 1] = 11
    target = np.zeros(case.row_shape((n, 2)), int)
    total, grad = case.loss_with_grad(logits, target, reduction="sum")
    (each,) = set(case.loss(logits, target, reduction="none").reshape(n, -1).sum(1).tolist())
    assert total == pytest.approx(n * each, rel=1e-6) and total > 700_000
    assert case.loss(logits, target) * (n if case.has_class_axis else 2 * n) == pytest.approx(total, rel=1e-6)
    assert np.isfinite(wide(grad)).all() and (wide(grad)[:, 1] > 0.99).all()


@each_half
def test_a_row_of_many_classes_does_not_overflow(half: type) -> None:
    logits = np.zeros((1, 200_000), half)
    assert xe.softmax_cross_entropy(logits, [7]) == pytest.approx(np.log(200_000), rel=1e-6)
    assert float(xe.logsumexp(logits)[0]) == pytest.approx(np.log(200_000), rel=0.01)


# --- Functions --------------------------------------------------------------------------------------------------------


@each_half
@each_function
def test_functions_as_in_float32(function: Function, half: type) -> None:
    rng = np.random.default_rng(109)
    for shape in [*SHAPES, *((5, c) for c in range(1, 68)), (0, 4), (2, 3, 4), (9,)]:
        x = rough(rng, half, shape)
        assert_same_bits(function.function(x), narrow(function.function(wide(x)), half), str(shape))
    if function.has_axis:
        x = rough(rng, half, (4, 6, 5))
        for axis in range(-3, 3):
            expected = narrow(function.function(wide(x), axis=axis), half)
            assert_same_bits(function.function(x, axis=axis), expected, f"axis={axis}")
    else:
        value = function.function(half(1.5))
        assert np.ndim(value) == 0 and value.dtype == half
