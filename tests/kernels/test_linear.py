"""The loss of a linear layer's outputs, against the oracle of logits that are stored, on all roads and at all edges."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest

import xentrs as xe
from checks import assert_close, assert_same_bits
from oracles import Truth
from registry import DTYPES, HALVES, LINEARS, REDUCTIONS, Draw, Linear, some_combinations

Array = np.ndarray[Any, Any]

SHAPES = [
    (9, 5, 4),  # few classes, by kernels of their own
    (200, 33, 10),
    (70, 40, 60),  # a small weight, in blocks
    (5, 3400, 40),  # a large one, in a tile
    (7, 3, 1),  # one class
    (1, 784, 10),
]
RTOL: dict[type, float] = {np.float32: 3e-5, np.float64: 1e-12}

each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)
each_half = pytest.mark.parametrize("half", HALVES, ids=lambda half: half.__name__)
each_linear = pytest.mark.parametrize("linear", LINEARS, ids=lambda linear: linear.kind)


def layer(rng: np.random.Generator, shape: tuple[int, int, int], dtype: Any) -> tuple[Array, Array, Array]:
    """Inputs, weight and bias whose logits are a few units wide."""
    n, d, c = shape
    x, weight = rng.standard_normal((n, d)), rng.standard_normal((c, d)) * 2 / np.sqrt(max(d, 1))
    return x.astype(dtype), weight.astype(dtype), rng.standard_normal(c).astype(dtype)


def in_double(x: Array, weight: Array, bias: Array | None) -> Array:
    logits: Array = x.astype(np.float64) @ weight.astype(np.float64).T
    return logits if bias is None else logits + bias.astype(np.float64)


def assert_linear(
    result: xe.LinearLossGrad, truth: Truth, x: Array, weight: Array, reduction: str, rtol: float, note: str = ""
) -> None:
    """Loss and gradients agree with the truth about the logits, and products in double precision."""
    loss, grad, size = truth.reduced(reduction)
    loss_doubt, grad_doubt = truth.doubts(reduction)
    # A logit that is off by a rounding of its terms moves the loss by as much, and every gradient of its row.
    assert_close(result.loss, loss, rtol, 1 + np.abs(loss), loss_doubt, f"{note} loss")
    wide, spread = size + grad_doubt / rtol, np.abs(grad).sum(-1, keepdims=True)
    x, weight = x.astype(np.float64), weight.astype(np.float64)
    pairs = [
        (result.grad_x, grad @ weight, (wide + spread) @ np.abs(weight), "grad_x"),
        (result.grad_weight, grad.T @ x, (wide + spread).T @ np.abs(x), "grad_weight"),
        (result.grad_bias, grad.sum(0), (wide + spread).sum(0), "grad_bias"),
    ]
    for actual, expected, yardstick, name in pairs:
        if actual is not None:
            assert_close(actual, expected, rtol, yardstick, 1e-15, f"{note} {name}")


def some_options(
    linear: Linear, rng: np.random.Generator, dtype: type, shape: tuple[int, int]
) -> Iterator[dict[str, Any]]:
    draws: Sequence[Sequence[Draw]] = list(linear.options.values())
    for combination in some_combinations(draws, many=24):
        yield {name: draw(rng, dtype, shape) for name, draw in zip(linear.options, combination, strict=True)}


@each_dtype
@each_linear
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_option_agrees_with_the_oracle(linear: Linear, shape: tuple[int, int, int], dtype: type) -> None:
    rng = np.random.default_rng(1)
    n, _, c = shape
    x, weight, bias = layer(rng, shape, dtype)
    ways = itertools.cycle([bias, None])
    for draw in linear.targets.values():
        for options, bias in zip(some_options(linear, rng, dtype, (n, c)), ways, strict=False):
            target = draw(rng, dtype, (n, c))
            if options["ignore_index"] == 0 and linear.kind == "softmax":
                target = np.maximum(target, 0)  # -100 is no class then
            truth = linear.oracle(in_double(x, weight, bias), target, **options)
            given = {"bias": bias, "kind": linear.kind, **options}
            results = {how: linear.loss_with_grad(x, weight, target, reduction=how, **given) for how in REDUCTIONS}
            for reduction, result in results.items():
                note = f"{reduction} {options}"
                loss = linear.loss(x, weight, target, reduction=reduction, **given)
                assert_close(loss, result.loss, RTOL[dtype], 1 + np.abs(result.loss), note=f"{note} the loss alone")
                if reduction == "none":  # whose gradients are those of the sum
                    truth_loss, doubt = truth.reduced(reduction)[0], truth.doubts(reduction)[0]
                    assert_close(result.loss, truth_loss, RTOL[dtype], 1 + np.abs(truth_loss), doubt, f"{note} loss")
                    for grad, same in zip(result[1:], results["sum"][1:], strict=True):
                        assert (grad is None) == (same is None)
                        if grad is not None:
                            assert_same_bits(grad, same, note)
                else:
                    assert_linear(result, truth, x, weight, reduction, RTOL[dtype], note)
                    assert (result.grad_bias is None) == (bias is None)


@each_dtype
def test_tiles_of_many_rows_and_rows_of_many_classes(dtype: type) -> None:
    """Three tiles, of which some rows do not count; few rows, each shared among threads; tiles of classes."""
    rng, rtol = np.random.default_rng(2), 1e-5 if dtype is np.float32 else 1e-12
    for n, d, c in [(1300, 20, 20_000), (3, 5, 70_000), (90, 3, 170_000)]:
        x, weight, bias = layer(rng, (n, d, c), dtype)
        target = np.where(rng.random(n) < 0.3, -100, rng.integers(0, c, n))
        target[0] = 0
        x[target == -100] = np.nan
        kept = target >= 0
        loss, grad = xe.softmax_cross_entropy_with_grad(in_double(x[kept], weight, bias), target[kept])
        result = xe.linear_cross_entropy_with_grad(x, weight, target, bias=bias)
        assert_close(result.loss, loss, rtol, 1 + loss)
        assert_close(result.grad_weight, grad.T @ x[kept], rtol, np.abs(grad).T @ np.abs(x[kept]) + 1e-4)
        assert_close(result.grad_bias, grad.sum(0), rtol, np.abs(grad).sum(0) + 1e-4)
        assert result.grad_x is not None
        assert_close(result.grad_x[kept], grad @ weight, rtol, np.abs(grad) @ np.abs(weight) + 1e-4)
        assert not result.grad_x[~kept].any()
        each = xe.linear_cross_entropy(x, weight, target, bias=bias, reduction="none")
        assert not each[~kept].any()
        assert_close(each.sum(dtype=np.float64) / kept.sum(), loss, rtol)


@each_linear
@pytest.mark.parametrize("shape", [(6, 4, 3), (6, 4, 40)], ids=str)
@pytest.mark.once
def test_gradients_are_slopes(linear: Linear, shape: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(3)
    n, _, c = shape
    given = dict(zip(("x", "weight", "bias"), layer(rng, shape, np.float64), strict=True))
    target = next(iter(linear.targets.values()))(rng, np.float64, (n, c))
    result = linear.loss_with_grad(**given, target=target, kind=linear.kind)._asdict()
    step = 1e-5
    for name, array in given.items():
        slopes = np.empty_like(array)
        for at in np.ndindex(array.shape):
            sides = []
            for sign in (1, -1):
                moved = array.copy()
                moved[at] += sign * step
                sides.append(linear.loss(**{**given, name: moved}, target=target, kind=linear.kind))
            slopes[at] = (sides[0] - sides[1]) / (2 * step)
        np.testing.assert_allclose(result[f"grad_{name}"], slopes, rtol=1e-6, atol=1e-9)


def test_a_sparse_target_is_its_dense_one() -> None:
    rng = np.random.default_rng(4)
    x, weight, _ = layer(rng, (20, 6, 50), np.float64)
    classes, shares = rng.integers(0, 50, (20, 3)), rng.random((20, 3))
    dense = np.zeros((20, 50))
    np.add.at(dense, (np.arange(20)[:, None], classes), shares)
    ours = xe.linear_cross_entropy_with_grad(x, weight, (classes, shares))
    for a, b in zip(ours[:3], xe.linear_cross_entropy_with_grad(x, weight, dense)[:3], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-15)


@each_half
@pytest.mark.parametrize("shape", [(33, 17, 5), (20, 400, 600)], ids=str)
def test_half_precision_is_storage(half: type, shape: tuple[int, int, int]) -> None:
    """The same as of the widened arrays to the bit, gradients rounded once, or in float32 where `out` is."""
    rng = np.random.default_rng(5)
    x, weight, bias = layer(rng, shape, half)
    target = rng.integers(0, shape[2], shape[0])
    wide = [array.astype(np.float32) for array in (x, weight, bias)]
    expected = xe.linear_cross_entropy_with_grad(wide[0], wide[1], target, bias=wide[2])
    result = xe.linear_cross_entropy_with_grad(x, weight, target, bias=bias)
    assert result.loss == expected.loss
    for actual, truth in zip(result[1:], expected[1:], strict=True):
        assert_same_bits(actual, truth.astype(half))
    out = (np.empty_like(wide[0]), np.empty_like(weight), np.empty_like(wide[2]))
    into = xe.linear_cross_entropy_with_grad(x, weight, target, bias=wide[2], out=out)
    assert all(a is b for a, b in zip(into[1:], out, strict=True))
    assert_same_bits(out[0], expected.grad_x)
    assert_same_bits(out[1], result.grad_weight)
    assert_same_bits(out[2], expected.grad_bias)


LAYOUTS: list[Callable[[Array], Any]] = [
    lambda a: np.asfortranarray(a),
    lambda a: a[::-1].copy()[::-1],
    lambda a: a.astype(a.dtype.newbyteorder()),
    lambda a: np.repeat(a, 2, axis=0)[::2],
    lambda a: a.tolist(),
]


@pytest.mark.parametrize("change", range(len(LAYOUTS)), ids=["fortran", "backwards", "swapped", "strided", "lists"])
@pytest.mark.parametrize("shape", [(8, 5, 4), (8, 400, 500)], ids=str)
@pytest.mark.once
def test_every_layout_gives_the_same_bits(shape: tuple[int, int, int], change: int) -> None:
    rng = np.random.default_rng(6)
    x, weight, bias = layer(rng, shape, np.float64)
    for array in (x, weight, bias):
        array.flags.writeable = False
    target = rng.integers(0, shape[2], shape[0])
    expected = xe.linear_cross_entropy_with_grad(x, weight, target, bias=bias)
    changed = [LAYOUTS[change](array) for array in (x, weight, bias)]
    result = xe.linear_cross_entropy_with_grad(changed[0], changed[1], target, bias=changed[2])
    for actual, truth in zip(result, expected, strict=True):
        assert_same_bits(actual, truth)


@pytest.mark.once
def test_inputs_of_any_shape_are_rows() -> None:
    rng = np.random.default_rng(7)
    x, weight, bias = layer(rng, (24, 5, 4), np.float32)
    target = rng.integers(0, 4, 24)
    flat = xe.linear_cross_entropy_with_grad(x, weight, target, bias=bias, reduction="none")
    deep = xe.linear_cross_entropy_with_grad(
        x.reshape(2, 3, 4, 5), weight, target.reshape(2, 3, 4), bias=bias, reduction="none"
    )
    assert deep.loss.shape == (2, 3, 4) and deep.grad_x is not None and deep.grad_x.shape == (2, 3, 4, 5)
    for a, b in zip(flat, deep, strict=True):
        assert_same_bits(np.ravel(a), np.ravel(b))
    one = xe.linear_cross_entropy_with_grad(x[0], weight, int(target[0]), bias=bias)
    assert isinstance(one.loss, float) and one.grad_x is not None and one.grad_x.shape == (5,)
    binary = xe.linear_cross_entropy(x.reshape(2, 12, 5), weight, np.ones((2, 12, 4)), kind="sigmoid", reduction="none")
    assert binary.shape == (2, 12, 4)


@pytest.mark.parametrize("wrt", [(), "x", "weight", ("bias",), ["weight", "bias"], ("bias", "x")], ids=str)
@pytest.mark.parametrize("shape", [(30, 5, 4), (30, 300, 500)], ids=str)
@pytest.mark.once
def test_only_what_is_wanted_is_there(shape: tuple[int, int, int], wrt: Any) -> None:
    rng = np.random.default_rng(8)
    x, weight, bias = layer(rng, shape, np.float32)
    target = rng.integers(0, shape[2], shape[0])
    whole = xe.linear_cross_entropy_with_grad(x, weight, target, bias=bias)
    some = xe.linear_cross_entropy_with_grad(x, weight, target, bias=bias, wrt=wrt)
    assert_close(some.loss, whole.loss, 1e-6)
    for name, expected, actual in zip(("x", "weight", "bias"), whole[1:], some[1:], strict=True):
        if name in ([wrt] if isinstance(wrt, str) else wrt):
            assert_same_bits(actual, expected)
        else:
            assert actual is None
    assert xe.linear_cross_entropy_with_grad(x, weight, target).grad_bias is None


@each_dtype
@pytest.mark.parametrize("shape", [(50, 6, 4), (50, 300, 500)], ids=str)
def test_what_counts_for_nothing_reaches_no_gradient(shape: tuple[int, int, int], dtype: type) -> None:
    rng = np.random.default_rng(9)
    x, weight, bias = layer(rng, shape, dtype)
    target = rng.integers(0, shape[2], shape[0])
    sample_weight = np.ones(shape[0])
    target[[0, 7, 8]], sample_weight[[3, 8, 49]] = -100, 0
    gone = [0, 3, 7, 8, 49]
    kept = np.setdiff1d(np.arange(shape[0]), gone)
    expected = xe.linear_cross_entropy_with_grad(x[kept], weight, target[kept], bias=bias)
    x[gone] = [[np.nan], [np.inf], [-np.inf], [np.nan], [1e30]]
    result = xe.linear_cross_entropy_with_grad(x, weight, target, bias=bias, sample_weight=sample_weight)
    assert_close(result.loss, expected.loss, RTOL[dtype])
    for actual, truth in zip(result[2:], expected[2:], strict=True):
        assert_close(actual, truth, RTOL[dtype], np.abs(truth) + 1e-2)
    assert result.grad_x is not None and expected.grad_x is not None
    assert not result.grad_x[gone].any()
    assert_close(result.grad_x[kept], expected.grad_x, RTOL[dtype], np.abs(expected.grad_x) + 1e-2)


@pytest.mark.parametrize("shape", [(5, 6, 4), (5, 300, 500)], ids=str)
def test_a_nan_that_counts_spoils_its_loss_and_what_all_rows_add_to(shape: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(10)
    x, weight, bias = layer(rng, shape, np.float32)
    x[2, 1] = np.nan
    target = rng.integers(0, shape[2], shape[0])
    result = xe.linear_cross_entropy_with_grad(x, weight, target, bias=bias, reduction="none")
    assert np.isnan(result.loss).tolist() == [False, False, True, False, False]
    assert result.grad_x is not None and result.grad_weight is not None and result.grad_bias is not None
    assert np.isnan(result.grad_x).any(1).tolist() == [False, False, True, False, False]
    assert np.isnan(result.grad_weight).all() and np.isnan(result.grad_bias).all()


@pytest.mark.parametrize("kind", ["softmax", "sigmoid"])
@pytest.mark.parametrize("shape", [(0, 3, 4), (0, 300, 500), (3, 0, 4), (3, 0, 40), (4, 3, 1)], ids=str)
def test_nothing_and_one(shape: tuple[int, int, int], kind: Any) -> None:
    n, _, c = shape
    x, weight, bias = layer(np.random.default_rng(11), shape, np.float64)
    target: Any = np.zeros(n, np.int64) if kind == "softmax" else np.zeros((n, c))
    function = xe.softmax_cross_entropy_with_grad if kind == "softmax" else xe.sigmoid_cross_entropy_with_grad
    loss, grad = function(in_double(x, weight, bias), target)
    result = xe.linear_cross_entropy_with_grad(x, weight, target, bias=bias, kind=kind)
    np.testing.assert_allclose(result.loss, loss, rtol=1e-12)
    for actual, truth in zip(result[1:], (grad @ weight, grad.T @ x, grad.sum(0)), strict=True):
        assert actual.shape == truth.shape
        np.testing.assert_allclose(actual, truth, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("shape", [(9, 6, 4), (9, 300, 500)], ids=str)
def test_the_mean_of_nothing_is_zero(shape: tuple[int, int, int]) -> None:
    x, weight, bias = layer(np.random.default_rng(12), shape, np.float32)
    x[:] = np.nan
    for options in ({}, {"reduction": "sum"}, {"reduction": "none"}):
        result = xe.linear_cross_entropy_with_grad(x, weight, np.full(9, -100), bias=bias, **options)
        assert not np.any(result.loss)
        assert not any(grad.any() for grad in result[1:])


@each_dtype
@pytest.mark.parametrize("shape", [(5000, 30, 10), (3000, 40, 60), (300, 64, 9000), (90, 3, 170_000)], ids=str)
@pytest.mark.once
def test_any_number_of_threads_gives_the_same_bits(shape: tuple[int, int, int], dtype: type) -> None:
    rng = np.random.default_rng(13)
    x, weight, bias = layer(rng, shape, dtype)
    target = np.where(rng.random(shape[0]) < 0.1, -100, rng.integers(0, shape[2], shape[0]))
    with xe.threads(1):
        alone = xe.linear_cross_entropy_with_grad(x, weight, target, bias=bias)
        loss = xe.linear_cross_entropy(x, weight, target, bias=bias)
    for threads in (2, 3, 7):
        with xe.threads(threads):
            together = xe.linear_cross_entropy_with_grad(x, weight, target, bias=bias)
            assert xe.linear_cross_entropy(x, weight, target, bias=bias) == loss
        for actual, expected in zip(together, alone, strict=True):
            assert_same_bits(actual, expected, f"{threads} threads")


# ------------------------------------------------------------------------------------------------------------- errors

X, W, Y = np.ones((3, 4)), np.ones((5, 4)), np.array([0, 1, 2])


@pytest.mark.parametrize(
    ("error", "message", "changed"),
    [
        (ValueError, r"weight must have shape \(5, 4\), got \(5, 3\)", {"weight": W[:, :3]}),
        (
            ValueError,
            r"weight must be of shape \(c, d\), a row of features a class, got shape \(4,\)",
            {"weight": W[0]},
        ),
        (TypeError, r"weight must have the dtype of x, float64, got float32", {"weight": W.astype(np.float32)}),
        (TypeError, r"weight must have the dtype of x, float32, got float64", {"x": X.astype(np.float32)}),
        (TypeError, r"weight must have the dtype of x, float64, got <U1", {"weight": np.full((5, 4), "a")}),
        (TypeError, r"x must be floating .*, got complex128", {"x": X + 1j}),
        (ValueError, r"x must have at least one dimension, got a scalar", {"x": 1.0}),
        (ValueError, r"bias must have shape \(5,\), got \(4,\)", {"bias": np.ones(4)}),
        (TypeError, r"bias must have the dtype of x, float64, got float32", {"bias": np.ones(5, np.float32)}),
        (ValueError, r"target must have shape \(3,\), got \(2,\)", {"target": Y[:2]}),
        (ValueError, r"target must have shape \(3, 5\), got \(3, 4\)", {"target": np.ones((3, 4))}),
        (
            IndexError,
            r"target must be integers in \[0, 5\) or ignore_index=-100, got 5 at row 1",
            {"target": [0, 5, 1]},
        ),
        (ValueError, r"class_weight must have shape \(5,\), got \(4,\)", {"class_weight": np.ones(4)}),
        (ValueError, r"sample_weight must have shape \(3,\), got \(5,\)", {"sample_weight": np.ones(5)}),
        (
            ValueError,
            r"sample_weight must be finite and non-negative, got -1.0 at index 1",
            {"sample_weight": [1, -1, 1]},
        ),
        (ValueError, r'kind must be "softmax" or "sigmoid", got "probit"', {"kind": "probit"}),
        (ValueError, r'kind must be "softmax" or "sigmoid", got 3', {"kind": 3}),
        (ValueError, r"pos_weight must be left alone, .*, got it with kind=\"softmax\"", {"pos_weight": np.ones(5)}),
        (
            ValueError,
            r"softcap must be left alone, .*, got it with kind=\"sigmoid\"",
            {"kind": "sigmoid", "softcap": 3.0},
        ),
        (ValueError, r"temperature must be left alone", {"kind": "sigmoid", "temperature": 2.0}),
        (ValueError, r"target must have shape \(3, 5\), got \(3,\)", {"kind": "sigmoid", "target": [0, 1, 0]}),
        (
            ValueError,
            r"target must be in \[0, 1\].*, got 1.5 at index 3",
            {"kind": "sigmoid", "target": [[0, 1, 1, 1.5, 0]] * 3},
        ),
        (ValueError, r'reduction must be "mean", "sum" or "none", got "max"', {"reduction": "max"}),
        (ValueError, r"label_smoothing must be in \[0, 1\]", {"label_smoothing": 2.0}),
        (ValueError, r'wrt must be some of "x", "weight" and "bias", got \'y\'', {"wrt": ("x", "y")}),
        (ValueError, 'wrt must be some of "x", "weight" and "bias", got None', {"wrt": None}),
        (TypeError, r"out must be a tuple \(grad_x, grad_weight, grad_bias\), got ndarray", {"out": np.ones((5, 4))}),
        (TypeError, r"out must be a tuple .*, got 2 of them", {"out": (None, None)}),
        (ValueError, r"out\[0\] must have shape \(3, 4\), got \(4, 3\)", {"out": (np.ones((4, 3)), None, None)}),
        (
            TypeError,
            r"out\[1\] must have the dtype of x, float64, got float32",
            {"out": (None, W.astype(np.float32), None)},
        ),
        (TypeError, r"out\[0\] must be a NumPy array, got list", {"out": ([1.0], None, None)}),
        (
            ValueError,
            r"out\[2\] must be None, as this gradient is not wanted, got ndarray",
            {"out": (None, None, np.ones(5))},
        ),
        (ValueError, r"out\[0\] must not overlap an input or another gradient", {"out": (X, None, None)}),
    ],
)
@pytest.mark.once
def test_what_does_not_fit_is_refused(error: type[Exception], message: str, changed: dict[str, Any]) -> None:
    given = {"x": X, "weight": W, "target": Y, **changed}
    with pytest.raises(error, match=message):
        xe.linear_cross_entropy_with_grad(**given)
    if not {"wrt", "out"} & set(changed):
        with pytest.raises(error, match=message):
            xe.linear_cross_entropy(**given)


@pytest.mark.once
def test_nothing_is_written_when_something_is_wrong() -> None:
    out = (np.full_like(X, 7), np.full_like(W, 7), np.full(5, 7.0))
    wrong = [
        {"target": [0, 1, 9]},
        {"target": Y, "sample_weight": [1, 1, np.nan]},
        {"target": Y, "weight": np.ones((5, 3))},
        {"target": [[0, 1, 1, 1.5, 0]] * 3, "kind": "sigmoid"},
    ]
    for changed in wrong:
        with pytest.raises((ValueError, IndexError)):
            xe.linear_cross_entropy_with_grad(**{"x": X, "weight": W, "bias": np.ones(5), "out": out, **changed})
        assert all((grad == 7).all() for grad in out)
    both = np.ones((3, 4))
    with pytest.raises(ValueError, match=r"out\[1\] must not overlap"):
        xe.linear_cross_entropy_with_grad(X, np.ones((3, 4)), Y, out=(both, both, None))


@pytest.mark.parametrize("shape", [(12, 5, 4), (12, 300, 500)], ids=str)
@pytest.mark.once
def test_gradients_go_where_they_are_wanted(shape: tuple[int, int, int]) -> None:
    """In place where that can be, and otherwise by a copy: read backwards, swapped, strided."""
    rng = np.random.default_rng(14)
    x, weight, bias = layer(rng, shape, np.float32)
    target = rng.integers(0, shape[2], shape[0])
    expected = xe.linear_cross_entropy_with_grad(x, weight, target, bias=bias)
    plain = (np.empty_like(x), np.empty_like(weight), np.empty_like(bias))
    odd = (np.empty_like(x)[::-1], np.asfortranarray(weight), np.empty(shape[2], ">f4"))
    for out in (plain, odd, (None, plain[1], None)):
        result = xe.linear_cross_entropy_with_grad(x, weight, target, bias=bias, out=out)
        for actual, place, truth in zip(result[1:], out, expected[1:], strict=True):
            assert place is None or actual is place
            assert_same_bits(np.asarray(actual, np.float32), truth)
