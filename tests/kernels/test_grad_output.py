"""`grad_output`, the chain rule in the sweep: a gradient is that without it, times a number or one for each loss."""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import xentrs as xe
from checks import FLUSHED, assert_close, assert_same_bits
from registry import CASES, DTYPES, HALVES, LINEARS, PROBABILITIES, QUANTITIES, REDUCTIONS, Case, Linear, Quantity

Array = np.ndarray[Any, Any]
ALL = [*CASES, *PROBABILITIES]
KINDS = [pytest.param(case, kind, id=f"{case.name}-{kind}") for case in ALL for kind in case.targets]

each_case = pytest.mark.parametrize("case", ALL, ids=lambda case: case.name)
each_kind = pytest.mark.parametrize(("case", "kind"), KINDS)
each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)


def factors(rng: np.random.Generator, shape: tuple[int, ...], dtype: Any = np.float64) -> Array:
    """Numbers of both signs, small and large, some of them 0."""
    sizes = rng.choice([0.0, 1e-3, 0.5, 1.0, 40.0], shape)
    return np.asarray(sizes * rng.choice([-1.0, 1.0], shape) * rng.uniform(0.5, 1.0, shape), dtype)


def over_classes(case: Case, factor: Any) -> Array:
    """The factors of the losses as factors of the gradient."""
    wide = np.asarray(factor, np.float64)
    return wide[..., np.newaxis] if case.has_class_axis and wide.ndim else wide


def assert_times(case: Case, grad: Array, plain: Array, factor: Any, dtype: type, note: str) -> None:
    """A gradient is another one times the factors of the losses: relative to the largest of a row, as both round."""
    scale = over_classes(case, factor)
    with np.errstate(invalid="ignore"):
        expected = np.where(scale == 0, 0.0, plain.astype(np.float64) * scale)
    size = np.abs(expected).max(-1, keepdims=True) if case.has_class_axis else np.abs(expected)
    rtol = 8 * case.grad_rtol[dtype]
    assert_close(grad, expected, rtol, np.broadcast_to(size, grad.shape), FLUSHED[dtype] * np.abs(scale), note)
    assert not grad[np.broadcast_to(expected == 0, grad.shape) & (np.broadcast_to(scale, grad.shape) == 0)].any(), note


@each_dtype
@each_kind
def test_the_gradient_is_multiplied_and_the_loss_is_not(case: Case, kind: str, dtype: type) -> None:
    """By lane, by group and by row; under every reduction, with a part of all combinations of options."""
    rng = np.random.default_rng(1)
    for shape in [(23, 11), (9, 70), (3, 1031)]:
        for i, options in enumerate(itertools.islice(case.grid(rng, dtype, shape), 0, None, 4)):
            logits, target = case.logits(rng, dtype, shape), case.targets[kind](rng, dtype, shape)
            if kind == "classes" and options.get("ignore_index") == 0:
                target = np.abs(target % shape[-1])
            options["reduction"] = REDUCTIONS[i % 3]
            plain = case.loss_with_grad(logits, target, **options)
            each = factors(rng, case.row_shape(shape))
            for factor in (-2.5, each, each.astype(np.float32), each[..., :1]):
                result = case.loss_with_grad(logits, target, grad_output=factor, **options)
                chosen = ", ".join(f"{name}={v if np.ndim(v) == 0 else '...'}" for name, v in options.items())
                note = f"{shape} {np.shape(factor)} {chosen}"
                assert_same_bits(result.loss, plain.loss, note)
                assert result.grad.dtype == dtype
                whole = np.broadcast_to(np.asarray(factor, np.float64), np.shape(factor) and each.shape)
                assert_times(case, result.grad, plain.grad, whole, dtype, note)
            if shape[-1] == 1031:
                break


@each_dtype
@each_case
def test_every_number_of_rows_and_classes(case: Case, dtype: type) -> None:
    rng = np.random.default_rng(2)
    kind = next(iter(case.targets))
    for n, c in [*((n, 3) for n in range(1, 36)), *((5, c) for c in range(1, 70, 3)), (300, 10), (40, 257)]:
        logits, target = case.logits(rng, dtype, (n, c)), case.targets[kind](rng, dtype, (n, c))
        plain, each = case.loss_with_grad(logits, target), factors(rng, case.row_shape((n, c)), dtype)
        for factor in (each, 3.0):
            result = case.loss_with_grad(logits, target, grad_output=factor)
            assert_same_bits(result.loss, plain.loss)
            assert_times(case, result.grad, plain.grad, factor, dtype, f"{n} x {c}")


@pytest.mark.parametrize("dtype", [*DTYPES, *HALVES], ids=lambda dtype: dtype.__name__)
@pytest.mark.parametrize("shape", [(1030, 8200), (2, 70_000), (40, 2000)], ids=str)
def test_long_rows(shape: tuple[int, int], dtype: Any) -> None:
    """Gradients that bypass the caches, rows shared among threads, rows widened in registers."""
    if shape[0] > 1000 and dtype not in (np.float32, HALVES[0]):
        pytest.skip("the road depends on the size in bytes, which the other types have tested")
    rng = np.random.default_rng(3)
    logits = rng.standard_normal(shape, dtype=np.float32).astype(dtype)
    target, each = rng.integers(0, shape[1], shape[0]), factors(rng, shape[:1])
    target[1] = -100
    out = np.empty(shape, np.float32) if dtype in HALVES else np.empty(shape, dtype)
    for place in (None, out):
        plain = xe.softmax_cross_entropy_with_grad(logits, target, out=place, reduction="sum")
        before = plain.grad.astype(np.float32, copy=True)
        for factor in (each, -3.0):
            loss, grad = xe.softmax_cross_entropy_with_grad(
                logits, target, out=place, reduction="sum", grad_output=factor
            )
            assert loss == plain.loss
            scale = factor[:, None].astype(np.float32) if isinstance(factor, np.ndarray) else np.float32(factor)
            rtol = (
                {2: 2e-3, 4: 1e-6, 8: 1e-6}[grad.dtype.itemsize]
                if dtype is not HALVES[1] or place is not None
                else 2e-2
            )
            floor = 2e-6 if grad.dtype == np.float16 else 1e-36
            assert np.all(np.abs(grad.astype(np.float32) - before * scale) <= rtol * np.abs(before * scale) + floor)
            assert not grad[1].any()


@each_case
@pytest.mark.once
def test_in_place_and_in_every_layout(case: Case) -> None:
    rng = np.random.default_rng(4)
    kind = next(iter(case.targets))
    for shape, dtype in itertools.product([(41, 6), (6, 80)], [np.float32, np.float64, *HALVES]):
        logits = case.logits(rng, np.float32, shape).astype(dtype)
        target = case.targets[kind](rng, np.float32, shape)
        each = factors(rng, case.row_shape(shape))
        expected = case.loss_with_grad(logits, target, grad_output=each)
        place = logits.copy()
        result = case.loss_with_grad(place, target, grad_output=each, out=place)
        assert result.grad is place
        assert_same_bits(place, expected.grad)
        turned = case.loss_with_grad(np.asfortranarray(logits), target, grad_output=np.asfortranarray(each))
        assert_same_bits(np.ascontiguousarray(turned.grad), expected.grad)
        strided = np.repeat(each, 2, axis=-1)[..., ::2]
        assert_same_bits(case.loss_with_grad(logits, target, grad_output=strided).grad, expected.grad)
        assert_same_bits(case.loss_with_grad(logits, target, grad_output=each.tolist()).grad, expected.grad)
        wide = np.empty(shape, np.float32)
        if dtype in HALVES:
            result = case.loss_with_grad(logits, target, grad_output=each, out=wide)
            assert_same_bits(wide.astype(dtype), expected.grad)


@each_dtype
@each_case
def test_numbers_at_the_edge_of_single_precision(case: Case, dtype: type) -> None:
    """A factor of 1e-30 before a mean over many rows, and others whose products only double precision can hold."""
    rng = np.random.default_rng(5)
    kind = next(iter(case.targets))
    shape = (20_000, 3)
    logits, target = case.mild(rng, dtype, shape).astype(dtype), case.targets[kind](rng, dtype, shape)
    plain = case.loss_with_grad(logits.astype(np.float64), target)
    tiny = float(np.finfo(dtype).tiny)
    for size in (1e-30, 1e-37, 1e30, 1e38, 1e41):
        for factor in (-size, np.full(case.row_shape(shape), -size)):
            result = case.loss_with_grad(logits, target, grad_output=factor)
            with np.errstate(over="ignore"):
                expected = (plain.grad * -size).astype(dtype)
            rows = np.abs(expected).max(-1, keepdims=True) if case.has_class_axis else np.abs(expected)
            assert_close(result.grad, expected, 1e-5, np.broadcast_to(rows, shape), tiny, f"{size}")


@each_dtype
@each_case
def test_what_does_not_count_has_no_gradient(case: Case, dtype: type) -> None:
    """Whatever the factor, and whatever stands there; and a factor of 0 leaves none."""
    rng = np.random.default_rng(6)
    kind = next(iter(case.targets))
    for shape in [(19, 5), (19, 80), (19, 1100)]:
        logits = case.admit(case.mild(rng, dtype, shape).astype(dtype))
        target = case.targets[kind](rng, dtype, shape)
        weight = np.ones(case.row_shape(shape))
        weight[3] = 0
        for bad in (np.nan, np.inf, -np.inf):
            for factor in (bad, np.full(weight.shape, bad)):
                grad = case.loss_with_grad(logits, target, sample_weight=weight, grad_output=factor).grad
                assert not grad[3].any(), f"{shape} {bad}"
                # As a product would have it: a finite gradient that is not 0 becomes infinite or NaN.
                plain = case.loss_with_grad(logits, target, sample_weight=weight).grad
                where = plain != 0
                where[3] = False
                assert not np.isfinite(grad[where]).any()
        logits[2] = np.nan
        for factor in (0.0, np.zeros(weight.shape)):
            result = case.loss_with_grad(logits, target, grad_output=factor)
            assert np.isnan(result.loss) and not result.grad.any()
        mixed = np.ones(weight.shape)
        mixed[2] = 0
        grad = case.loss_with_grad(logits, target, grad_output=mixed, reduction="sum").grad
        assert not grad[2].any() and np.isfinite(grad).all()
        place = logits.copy()
        assert not case.loss_with_grad(place, target, grad_output=0.0, out=place).grad.any()


def test_an_infinite_z_loss_has_the_sign_of_the_factor() -> None:
    for shape, dtype in itertools.product([(4, 5), (4, 80), (4, 2000)], DTYPES):
        logits = np.zeros(shape, dtype)
        logits[:, 1] = np.inf
        for target in (np.array([0, 1, 2, 1]), np.full(shape, 1 / shape[1], dtype)):
            for loss in (xe.softmax_cross_entropy_with_grad, xe.softmax_focal_loss_with_grad):
                grad = loss(logits, target, z_loss=0.1, reduction="sum", grad_output=[1.0, -1.0, 2.0, 0.0]).grad
                np.testing.assert_array_equal(grad[:, 1], [np.inf, -np.inf, np.inf, 0.0])


@pytest.mark.parametrize("linear", LINEARS, ids=lambda linear: linear.kind)
@pytest.mark.parametrize("shape", [(9, 5, 4), (70, 40, 60), (5, 3400, 40), (300, 6, 20_000), (40, 3, 170_000)], ids=str)
def test_through_a_linear_layer(linear: Linear, shape: tuple[int, int, int]) -> None:
    """Few classes, blocks, tiles, strips: the gradients are those of the logits, times the factors, and products."""
    rng, (n, d, c) = np.random.default_rng(7), shape
    if linear.kind == "sigmoid" and n * c > 1e6:
        shape = (n, d, c) = (n, d, c // 50)
    x, weight = rng.standard_normal((n, d)), rng.standard_normal((c, d)) * 2 / np.sqrt(d)
    target = rng.integers(0, c, n) if linear.kind == "softmax" else rng.integers(0, 2, (n, c))
    if linear.kind == "softmax":
        target[::7] = -100
    each = factors(rng, (n,) if linear.kind == "softmax" else (n, c))
    logits_grad = {"softmax": xe.softmax_cross_entropy_with_grad, "sigmoid": xe.sigmoid_cross_entropy_with_grad}
    for factor in (each, -1.5, 0.0):
        grad = logits_grad[linear.kind](x @ weight.T, target, grad_output=factor).grad
        bias = np.zeros(c)
        result = linear.loss_with_grad(x, weight, target, bias=bias, kind=linear.kind, grad_output=factor)
        plain = linear.loss_with_grad(x, weight, target, bias=bias, kind=linear.kind)
        assert result.loss == plain.loss
        for actual, expected, size in [
            (result.grad_x, grad @ weight, np.abs(grad) @ np.abs(weight)),
            (result.grad_weight, grad.T @ x, np.abs(grad).T @ np.abs(x)),
            (result.grad_bias, grad.sum(0), np.abs(grad).sum(0)),
        ]:
            assert_close(actual, expected, 1e-11, size, 1e-18)


@pytest.mark.parametrize("quantity", QUANTITIES, ids=lambda quantity: quantity.name)
@pytest.mark.parametrize("given", [{}, {"from_logits": True}, {"normalize": True}], ids=str)
def test_functions_of_distributions(quantity: Quantity, given: dict[str, bool]) -> None:
    rng = np.random.default_rng(8)
    for n, c, dtype in [(37, 5, np.float64), (37, 5, np.float32), (6, 200, np.float64), (4, 3000, np.float32)]:
        rows = rng.standard_normal((quantity.arguments, n, c))
        if not given.get("from_logits"):
            rows = np.exp(rows) / np.exp(rows).sum(-1, keepdims=True)
        arguments = list(rows.astype(dtype))
        each = factors(rng, (n,))
        plain = quantity.with_grad(*arguments, **given)
        for factor in (each, -2.0, 0.0):
            result = quantity.with_grad(*arguments, grad_output=factor, **given)
            assert_same_bits(result[0], plain[0])
            for grad, before in zip(result[1:], plain[1:], strict=True):
                expected = before * np.asarray(factor)[..., np.newaxis]
                # What is normalised loses its mean, so the rounding is that of the row.
                size = np.abs(expected).max(-1, keepdims=True) if given.get("normalize") else expected
                assert_close(grad, expected, 1e-6 if dtype is np.float32 else 1e-14, size)
        if quantity.arguments == 2:  # a single distribution beside many rows: its gradients are summed
            one, many = arguments[0][0], arguments[1]
            result = quantity.with_grad(one, many, grad_output=each, **given)
            whole = quantity.with_grad(np.repeat(one[np.newaxis], n, 0), many, grad_output=each, **given)
            expected = whole[1].astype(np.float64).sum(0)
            size = np.abs(whole[1].astype(np.float64)).sum(0)
            assert_close(result[1], expected, 1e-6 if dtype is np.float32 else 1e-13, size)


@each_dtype
@pytest.mark.parametrize("form", ["var", "log_var"])
def test_gaussian_nll(form: str, dtype: type) -> None:
    rng = np.random.default_rng(9)
    for shape, spread in [((7, 13), (7, 13)), ((50, 40), ()), ((5, 6), (6,))]:
        mean, target = rng.standard_normal((2, *shape)).astype(dtype)
        width = {form: rng.uniform(0.5, 2.0, spread).astype(dtype)}
        each = factors(rng, shape)
        plain = xe.gaussian_nll_with_grad(mean, target, **width)
        for factor in (each, -0.5, 0.0, each[:, :1]):
            result = xe.gaussian_nll_with_grad(mean, target, grad_output=factor, **width)
            assert result.loss == plain.loss
            assert_close(result.grad_mean, plain.grad_mean * factor, 1e-6 if dtype is np.float32 else 1e-15)
            whole = {form: np.broadcast_to(width[form], shape)}
            by_point = xe.gaussian_nll_with_grad(mean, target, **whole)[2].astype(np.float64) * factor
            size = np.abs(by_point).sum(tuple(range(len(shape) - len(spread)))) if spread != shape else np.abs(by_point)
            total = by_point.sum(tuple(range(len(shape) - len(spread)))) if spread != shape else by_point
            assert_close(result[2], total, 1e-5 if dtype is np.float32 else 1e-12, size, 1e-30)


@each_dtype
@pytest.mark.parametrize("shape", [(2, 33, 4), (900, 3), (3, 7, 200), (40, 1030)], ids=str)
def test_smoothness_has_a_factor_for_each_pair(shape: tuple[int, ...], dtype: type) -> None:
    """The gradient of the weighted sum of the pairs' divergences, by the pairs one at a time."""
    rng = np.random.default_rng(10)
    logits = rng.standard_normal(shape).astype(dtype)
    pairs = (*shape[:-2], shape[-2] - 1)
    segments = np.sort(rng.integers(0, 3, shape[:-1]), axis=-1)
    each = factors(rng, pairs)
    rtol = 1e-4 if dtype is np.float32 else 1e-11
    for given in ({}, {"segments": segments}):
        plain = xe.js_smoothness_with_grad(logits, reduction="none", **given)
        result = xe.js_smoothness_with_grad(logits, reduction="none", grad_output=each, **given)
        assert_same_bits(result.loss, plain.loss)
        # Each pair alone, as two rows: their gradients, times the factor, add up.
        flat, expected = logits.reshape(-1, *shape[-2:]), np.zeros((np.prod(shape[:-2], dtype=int), *shape[-2:]))
        marks = None if not given else segments.reshape(-1, shape[-2])
        counts = np.ones((len(flat), shape[-2] - 1), bool) if marks is None else marks[:, 1:] == marks[:, :-1]
        two = np.stack([flat[:, :-1], flat[:, 1:]], axis=2)  # sequences of two rows
        alone = xe.js_smoothness_with_grad(two, reduction="sum").grad * counts[..., None, None]
        alone = alone * each.reshape(len(flat), -1)[..., None, None]
        expected[:, :-1] += alone[:, :, 0]
        expected[:, 1:] += alone[:, :, 1]
        size = np.abs(expected).max(-1, keepdims=True) + 1e-3
        assert_close(result.grad.reshape(expected.shape), expected, rtol, np.broadcast_to(size, expected.shape))
        number = xe.js_smoothness_with_grad(logits, grad_output=-3.0, **given)
        mean = xe.js_smoothness_with_grad(logits, **given)
        assert number.loss == mean.loss
        size = np.abs(mean.grad).max(-1, keepdims=True) + 0 * mean.grad
        assert_close(number.grad, mean.grad * -3.0, 1e-5 if dtype is np.float32 else 1e-13, 3 * size)
        assert not xe.js_smoothness_with_grad(logits, grad_output=0, **given).grad.any()


@each_dtype
@pytest.mark.parametrize("link", ["sigmoid", "identity"])
def test_parity(link: Any, dtype: type) -> None:
    rng = np.random.default_rng(11)
    logits, group = rng.standard_normal(200).astype(dtype), rng.integers(0, 4, 200)
    plain = xe.parity_penalty_with_grad(logits, group, link=link)
    for factor in (-2.0, 0, np.float32(0.5), np.array(7.0)):
        result = xe.parity_penalty_with_grad(logits, group, link=link, grad_output=factor)
        assert result.loss == plain.loss
        assert_close(result.grad, plain.grad * np.float64(factor), 1e-6 if dtype is np.float32 else 1e-14)


@each_case
def test_value_and_grad_takes_it(case: Case) -> None:
    rng = np.random.default_rng(12)
    kind = next(iter(case.targets))
    logits, target = case.logits(rng, np.float64, (4, 3)), case.targets[kind](rng, np.float64, (4, 3))
    function: Callable[..., Any] = getattr(xe, case.name)
    expected = case.loss_with_grad(logits, target, grad_output=2.0)
    assert_same_bits(xe.value_and_grad(function)(logits, target, grad_output=2.0).grad, expected.grad)


@each_case
@pytest.mark.once
def test_a_factor_that_does_not_fit_is_refused_and_nothing_is_written(case: Case) -> None:
    rng = np.random.default_rng(13)
    kind = next(iter(case.targets))
    logits, target = case.logits(rng, np.float64, (4, 3)), case.targets[kind](rng, np.float64, (4, 3))
    out, losses = np.full((4, 3), 7.0), case.row_shape((4, 3))
    for wrong, message in [
        (np.ones(5), r"grad_output must be a number or broadcast to the losses, of shape \(4,.*\), got shape \(5,\)"),
        (np.ones((4, 3, 1, 1)), r"got shape \(4, 3, 1, 1\)"),
        ("2", "grad_output must be a number, or floating, got <U1"),
        (1j, "grad_output must be a number, or floating, got complex128"),
        (np.ma.masked_array(np.ones(losses), np.ones(losses)), "grad_output must not be masked"),
    ]:
        with pytest.raises((ValueError, TypeError), match=message):
            case.loss_with_grad(logits, target, grad_output=wrong, out=out)
        assert (out == 7.0).all()
    if not case.has_class_axis:
        with pytest.raises(ValueError, match=r"for one a row write grad_output\[..., numpy.newaxis\]"):
            case.loss_with_grad(logits, target, grad_output=np.ones(4))
    shared = np.ones((4, 3))
    each = shared if losses == (4, 3) else shared.ravel()[:4]
    with pytest.raises(ValueError, match="out must not overlap an input"):
        case.loss_with_grad(logits, target, grad_output=each, out=shared)


@pytest.mark.once
def test_weights_by_place_are_folded_with_it() -> None:
    """A `pos_weight` along several axes takes another road, on which the factors go along."""
    rng = np.random.default_rng(14)
    logits, target = rng.standard_normal((5, 3, 4)), rng.integers(0, 2, (5, 3, 4))
    weight, each = rng.uniform(0.5, 2.0, (3, 4)), factors(rng, (5, 3, 4))
    plain = xe.sigmoid_cross_entropy_with_grad(logits, target, pos_weight=weight)
    for factor in (each, each[:, :1, :1], -2.0):
        result = xe.sigmoid_cross_entropy_with_grad(logits, target, pos_weight=weight, grad_output=factor)
        assert_close(result.grad, plain.grad * factor, 1e-14)


@pytest.mark.parametrize("shape", [(2, 70_000), (4, 70_000), (4, 2000), (3, 100), (3, 10)])
def test_a_row_of_weight_0_has_gradient_0_whatever_it_is_multiplied_by(shape: tuple[int, int]) -> None:
    logits = np.random.default_rng(70).standard_normal(shape).astype(np.float32)
    class_weight, target = np.ones(shape[1]), np.full(shape[0], 1)
    class_weight[3], target[0] = 0, 3
    factors = np.array([np.inf, *[1.0] * (shape[0] - 1)])
    for loss_with_grad in (xe.softmax_cross_entropy_with_grad, xe.softmax_focal_loss_with_grad):
        grad = loss_with_grad(logits, target, class_weight=class_weight, reduction="none", grad_output=factors).grad
        np.testing.assert_array_equal(grad[0], 0)
        assert np.isfinite(grad).all()
