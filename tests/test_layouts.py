"""The numbers do not depend on how an input lies in memory, which integers hold the classes, or what kind of sequence
the input is."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import xentrs as xe
from checks import assert_same_bits
from draws import as_it_is
from layouts import LAYOUTS
from registry import CASES, DTYPES, FUNCTIONS, PROBABILITIES, Case, Function

Array = np.ndarray[Any, Any]
Layout = Callable[[Array], Array]

KINDS = [pytest.param(case, kind, id=f"{case.name}-{kind}") for case in CASES for kind in case.targets]
MORE_KINDS = [pytest.param(case, kind, id=f"{case.name}-{kind}") for case in PROBABILITIES for kind in case.targets]
each_kind = pytest.mark.parametrize(("case", "kind"), KINDS)
each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)
each_layout = pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS.keys())


def plain(a: Array) -> Array:
    """The same values in native byte order and C order."""
    return np.array(a, a.dtype.newbyteorder("="), order="C", copy=True)


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_layouts_are_what_they_say(name: str) -> None:
    a = np.arange(12.0).reshape(3, 4)
    b = LAYOUTS[name](a)
    assert b.shape == a.shape
    if name != "broadcast":
        np.testing.assert_array_equal(a, b)
    flags = b.flags
    odd = {
        "fortran": not flags.c_contiguous and flags.f_contiguous,
        "strided": b.strides[1] == 24,
        "padded_rows": b.strides == (72, 8),
        "reversed_axes": b.strides == (-32, -8),
        "byteswapped": not b.dtype.isnative,
        "misaligned": not flags.aligned,
        "read_only": not flags.writeable,
        "memory_mapped": isinstance(b, np.memmap) and not flags.writeable,
        "broadcast": b.strides[0] == 0,
    }
    assert odd[name]


@each_layout
@each_dtype
@pytest.mark.parametrize(("case", "kind"), KINDS + MORE_KINDS)
def test_every_layout_of_every_input(case: Case, kind: str, dtype: type, layout: Layout) -> None:
    rng = np.random.default_rng(20)
    for shape in [(6, 5), (37, 19), (300, 70)]:
        arrays = {
            case.argument: case.logits(rng, dtype, shape),
            "target": case.targets[kind](rng, dtype, shape),
            "sample_weight": rng.uniform(0.5, 2.0, case.row_shape(shape)).astype(dtype),
        }
        if "class_weight" in case.options:
            arrays["class_weight"] = rng.uniform(0.5, 2.0, shape[-1:]).astype(dtype)
        if "pos_weight" in case.options:
            arrays["pos_weight"] = rng.uniform(0.5, 2.0, shape[-1:]).astype(dtype)
        for chosen in [*arrays, None]:  # each input alone, then all of them at once
            laid = {name: layout(array) if chosen in (name, None) else array for name, array in arrays.items()}
            same = {name: plain(array) for name, array in laid.items()}
            note = f"{chosen or 'all'} {shape}"
            loss, grad = case.loss_with_grad(**laid)
            expected, expected_grad = case.loss_with_grad(**same)
            assert_same_bits(grad, expected_grad, f"{note} grad")
            assert_same_bits(loss, expected, f"{note} loss")
            each = case.loss(**laid, reduction="none")
            assert_same_bits(each, case.loss(**same, reduction="none"), f"{note} loss alone")


@each_layout
@each_dtype
@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.name)
def test_every_layout_of_the_functions(function: Function, dtype: type, layout: Layout) -> None:
    rng = np.random.default_rng(21)
    for shape in [(6, 5), (37, 19)]:
        laid = layout((rng.normal(size=shape) * 10).astype(dtype))
        assert_same_bits(function.function(laid), function.function(plain(laid)), str(shape))


@each_layout
@each_dtype
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_layouts_along_every_axis(axis: int, dtype: type, layout: Layout) -> None:
    rng = np.random.default_rng(22)
    laid = layout(rng.normal(size=(3, 4, 5)).astype(dtype))
    target = rng.integers(0, 3, [n for i, n in enumerate((3, 4, 5)) if i != axis])
    loss, grad = xe.softmax_cross_entropy_with_grad(laid, target, axis=axis)
    expected, expected_grad = xe.softmax_cross_entropy_with_grad(plain(laid), target, axis=axis)
    assert loss == expected
    assert_same_bits(grad, expected_grad)


@each_kind
def test_lists_of_lists(case: Case, kind: str) -> None:
    rng = np.random.default_rng(23)
    logits, target = case.logits(rng, np.float64, (6, 5)), case.targets[kind](rng, np.float64, (6, 5))
    weight = rng.uniform(0.5, 2.0, case.row_shape((6, 5)))
    loss, grad = case.loss_with_grad(logits.tolist(), target.tolist(), sample_weight=weight.tolist())
    expected, expected_grad = case.loss_with_grad(logits, target, sample_weight=weight)
    assert loss == expected
    assert_same_bits(grad, expected_grad)
    assert case.loss(tuple(map(tuple, logits.tolist())), target.tolist()) == case.loss(logits, target)


class Wrapped:
    """An object that NumPy only knows how to convert."""

    def __init__(self, array: Array) -> None:
        self.array = array

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return self.array if dtype is None else self.array.astype(dtype)


@each_dtype
@each_kind
def test_objects_that_convert_to_arrays(case: Case, kind: str, dtype: type) -> None:
    rng = np.random.default_rng(24)
    logits, target = case.logits(rng, dtype, (6, 5)), case.targets[kind](rng, dtype, (6, 5))
    loss, grad = case.loss_with_grad(Wrapped(logits), Wrapped(target))
    expected, expected_grad = case.loss_with_grad(logits, target)
    assert loss == expected
    assert_same_bits(grad, expected_grad)


@each_kind
def test_subclasses_of_arrays(case: Case, kind: str) -> None:
    """A matrix stays two-dimensional under reductions and indexing; none of that may leak in."""
    rng = np.random.default_rng(25)
    logits, target = case.logits(rng, np.float64, (6, 5)), case.targets[kind](rng, np.float64, (6, 5))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        matrix = np.asmatrix(logits)
    loss, grad = case.loss_with_grad(matrix, target)
    expected, expected_grad = case.loss_with_grad(logits, target)
    assert loss == expected
    np.testing.assert_array_equal(np.asarray(grad), expected_grad)


@pytest.mark.parametrize("dtype", ["bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"])
@each_kind
def test_integer_logits_become_float64(case: Case, kind: str, dtype: str) -> None:
    rng = np.random.default_rng(26)
    logits = rng.integers(0, 9 if case.admit is as_it_is else 2, (6, 5)).astype(dtype)
    target = case.targets[kind](rng, np.float64, (6, 5))
    loss, grad = case.loss_with_grad(logits, target)
    expected, expected_grad = case.loss_with_grad(logits.astype(np.float64), target)
    assert loss == expected
    assert_same_bits(grad, expected_grad)


INTEGERS = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "intp", "longlong", ">i2", ">u8"]


@pytest.mark.parametrize("dtype", INTEGERS)
def test_classes_of_any_integer_dtype(dtype: str) -> None:
    rng = np.random.default_rng(27)
    for n, c in [(5, 3), (300, 100), (2_000, 10)]:
        logits, target = rng.normal(size=(n, c)).astype(np.float32), rng.integers(0, c, n)
        if np.dtype(dtype).kind == "i":
            target[::4] = -100
        loss, grad = xe.softmax_cross_entropy_with_grad(logits, target.astype(dtype))
        expected, expected_grad = xe.softmax_cross_entropy_with_grad(logits, target)
        assert loss == expected
        assert_same_bits(grad, expected_grad)


@pytest.mark.parametrize("dtype", ["bool", *INTEGERS])
def test_answers_of_any_integer_dtype(dtype: str) -> None:
    rng = np.random.default_rng(28)
    logits, target = rng.normal(size=(40, 5)).astype(np.float32), rng.integers(0, 2, (40, 5))
    loss, grad = xe.sigmoid_cross_entropy_with_grad(logits, target.astype(dtype))
    expected, expected_grad = xe.sigmoid_cross_entropy_with_grad(logits, target.astype(np.float32))
    assert loss == expected
    assert_same_bits(grad, expected_grad)


@pytest.mark.parametrize("target_dtype", DTYPES, ids=lambda dtype: f"target_{dtype.__name__}")
@pytest.mark.parametrize("weight_dtype", [np.float32, np.float64, np.int64], ids=lambda dtype: dtype.__name__)
@each_dtype
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_logits_decide_the_dtype(case: Case, dtype: type, target_dtype: type, weight_dtype: type) -> None:
    rng = np.random.default_rng(29)
    logits = case.admit(rng.normal(size=(6, 5)).astype(dtype))
    target = [*case.targets.values()][-1](rng, target_dtype, (6, 5))
    weight = rng.integers(1, 4, case.row_shape((6, 5))).astype(weight_dtype)
    loss, grad = case.loss_with_grad(logits, target, sample_weight=weight, reduction="none")
    expected, expected_grad = case.loss_with_grad(
        logits, target.astype(dtype), sample_weight=weight.astype(dtype), reduction="none"
    )
    assert loss.dtype == grad.dtype == dtype
    assert_same_bits(loss, expected)
    assert_same_bits(grad, expected_grad)


def test_an_unsigned_class_is_not_mistaken_for_ignore_index() -> None:
    """156 is -100 as an unsigned byte, and class 156 must not be ignored for it."""
    logits = np.random.default_rng(30).normal(size=(1, 200))
    target = np.array([156], np.uint8)
    assert xe.softmax_cross_entropy(logits, target) == xe.softmax_cross_entropy(logits, [156]) > 0
    with pytest.raises(IndexError, match="got 18446744073709551516 at row 0"):
        xe.softmax_cross_entropy(logits, np.array([2**64 - 100], np.uint64))


def test_a_class_is_not_mistaken_for_a_wide_ignore_index() -> None:
    """256 + 3 is 3 as a byte, and class 3 must not be ignored for it."""
    logits = np.random.default_rng(31).normal(size=(1, 5))
    for dtype in (np.int8, np.uint8):
        loss = xe.softmax_cross_entropy(logits, np.array([3], dtype), ignore_index=259)
        assert loss == xe.softmax_cross_entropy(logits, [3]) > 0
