"""`out=`: the gradient lands where the caller wants it, in place if it is the logits, and nowhere else."""

from typing import Any

import numpy as np
import pytest

import xentrs as xe
from checks import assert_same_bits
from registry import CASES, DTYPES, PROBABILITIES, REDUCTIONS, Case

KINDS = [
    pytest.param(case, kind, id=f"{case.name}-{kind}") for case in [*CASES, *PROBABILITIES] for kind in case.targets
]
each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
each_kind = pytest.mark.parametrize(("case", "kind"), KINDS)
each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)

SHAPES = [(1, 1), (7, 5), (3_000, 10), (400, 900)]


@each_dtype
@each_kind
def test_out_receives_the_gradient(case: Case, kind: str, dtype: type) -> None:
    rng = np.random.default_rng(50)
    for shape in SHAPES:
        logits, target = case.logits(rng, dtype, shape), case.targets[kind](rng, dtype, shape)
        for reduction in REDUCTIONS:
            expected, expected_grad = case.loss_with_grad(logits, target, reduction=reduction)
            out = np.full(shape, np.nan, dtype)
            loss, grad = case.loss_with_grad(logits, target, reduction=reduction, out=out)
            assert grad is out
            assert_same_bits(loss, expected)
            assert_same_bits(out, expected_grad)


@each_dtype
@each_kind
def test_in_place(case: Case, kind: str, dtype: type) -> None:
    rng = np.random.default_rng(51)
    for shape in SHAPES:
        logits, target = case.logits(rng, dtype, shape), case.targets[kind](rng, dtype, shape)
        for reduction in REDUCTIONS:
            expected, expected_grad = case.loss_with_grad(logits, target, reduction=reduction)
            place = logits.copy()
            loss, grad = case.loss_with_grad(place, target, reduction=reduction, out=place)
            assert grad is place
            assert_same_bits(loss, expected)
            assert_same_bits(place, expected_grad)


@each_dtype
@each_kind
def test_out_in_any_layout(case: Case, kind: str, dtype: type) -> None:
    """A Fortran-ordered, strided or reversed `out` is filled where it lies, and the gaps in between stay."""
    rng = np.random.default_rng(52)
    for n, c in [(7, 5), (400, 300)]:
        logits, target = case.logits(rng, dtype, (n, c)), case.targets[kind](rng, dtype, (n, c))
        expected, expected_grad = case.loss_with_grad(logits, target)
        gaps = np.full((2 * n, 3 * c), 77, dtype)
        for out in (np.empty((c, n), dtype).T, gaps[::2, ::3], np.empty((n, c), dtype)[::-1, ::-1]):
            loss, grad = case.loss_with_grad(logits, target, out=out)
            assert grad is out
            assert loss == expected
            assert_same_bits(np.ascontiguousarray(out), expected_grad)
        gaps[::2, ::3] = 77
        assert (gaps == 77).all()


@each_dtype
@each_kind
def test_in_place_in_any_layout(case: Case, kind: str, dtype: type) -> None:
    rng = np.random.default_rng(53)
    for n, c in [(7, 5), (400, 300)]:
        logits, target = case.logits(rng, dtype, (n, c)), case.targets[kind](rng, dtype, (n, c))
        expected, expected_grad = case.loss_with_grad(logits, target)
        for place in (np.empty((c, n), dtype).T, np.empty((2 * n, 3 * c), dtype)[::2, ::3]):
            place[...] = logits
            loss, grad = case.loss_with_grad(place, target, out=place)
            assert grad is place
            assert loss == expected
            assert_same_bits(np.ascontiguousarray(place), expected_grad)


@each_dtype
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_out_along_every_axis(axis: int, dtype: type) -> None:
    rng = np.random.default_rng(54)
    shape = (3, 4, 5)
    logits = rng.normal(size=shape).astype(dtype)
    target = rng.integers(0, 3, [n for i, n in enumerate(shape) if i != axis])
    expected, expected_grad = xe.softmax_cross_entropy_with_grad(logits, target, axis=axis)
    out = np.full(shape, np.nan, dtype)
    loss, grad = xe.softmax_cross_entropy_with_grad(logits, target, axis=axis, out=out)
    assert grad is out and loss == expected
    assert_same_bits(out, expected_grad)
    loss, grad = xe.softmax_cross_entropy_with_grad(logits, target, axis=axis, out=logits)
    assert grad is logits and loss == expected
    assert_same_bits(logits, expected_grad)


@each_case
def test_out_next_to_the_logits_in_one_buffer(case: Case) -> None:
    """Neighbours in memory do not overlap."""
    rng = np.random.default_rng(55)
    buffer = case.admit(rng.normal(size=(8, 5)))
    target = case.targets["classes" if case.has_class_axis else "integers"](rng, np.float64, (4, 5))
    expected, expected_grad = case.loss_with_grad(buffer[:4].copy(), target)
    loss, _ = case.loss_with_grad(buffer[:4], target, out=buffer[4:])
    assert loss == expected
    assert_same_bits(buffer[4:], expected_grad)


def refused(case: Case, error: Any, message: str, out: Any, logits: Any, target: Any, **options: Any) -> None:
    """The call fails with the message, and leaves `out` and the logits as they were."""
    before, logits_before = np.array(out), np.array(logits)
    with pytest.raises(error, match=message):
        case.loss_with_grad(logits, target, out=out, **options)
    np.testing.assert_array_equal(np.array(out), before)
    np.testing.assert_array_equal(np.array(logits), logits_before)


@each_case
def test_out_has_the_dtype_that_the_logits_become(case: Case) -> None:
    """A list becomes float64, so its gradient does, or float32."""
    target = np.zeros(case.row_shape((1, 2)), int).tolist()
    out = np.zeros((1, 2))
    assert case.loss_with_grad([[1, 0]], target, out=out).grad is out
    assert out.any()
    refused(case, TypeError, "out .*float64 or float32, got", np.zeros((1, 2), np.float16), [[1, 0]], target)


@each_dtype
@each_case
def test_out_that_overlaps_an_input_is_refused(case: Case, dtype: type) -> None:
    rng = np.random.default_rng(56)
    buffer = rng.normal(size=(6, 6)).astype(dtype)
    target = np.zeros(case.row_shape((4, 6)), int)
    refused(case, ValueError, "out .*overlap", buffer[1:5], buffer[:4], target)
    refused(case, ValueError, "out .*overlap", buffer[:4], buffer[1:5], target)
    square = np.zeros(case.row_shape((6, 6)), int)
    refused(case, ValueError, "out .*overlap", buffer.T, buffer, square)
    refused(case, ValueError, "out .*overlap", buffer[::-1], buffer, square)

    logits, soft = rng.normal(size=(4, 6)).astype(dtype), np.full((5, 6), 0.25, dtype)
    refused(case, ValueError, "out .*overlap", soft[:4], logits, soft[:4])
    refused(case, ValueError, "out .*overlap", soft[1:], logits, soft[:4])

    shared = np.ones((4, 6), dtype)
    weight = shared[:, 0] if case.has_class_axis else shared
    refused(case, ValueError, "out .*overlap", shared, logits, target, sample_weight=weight)
    for name in {"class_weight", "pos_weight"} & set(case.options):
        refused(case, ValueError, "out .*overlap", shared, logits, target, **{name: shared[2]})
