"""Entropy, cross-entropy and divergences: every quantity of the registry, in every form, and what they share."""

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import distribution_oracles as oracles
import xentrs as xe
from checks import assert_close, assert_same_bits
from layouts import LAYOUTS
from registry import DTYPES, HALVES, QUANTITIES, Quantity

Array = np.ndarray[Any, Any]
inf, nan = np.inf, np.nan

FORMS = ("probabilities", "normalize", "logits")
TINY = {dtype: float(np.finfo(dtype).tiny) for dtype in DTYPES}

each_quantity = pytest.mark.parametrize("quantity", QUANTITIES, ids=lambda quantity: quantity.name)
each_pair = pytest.mark.parametrize("quantity", [q for q in QUANTITIES if q.arguments == 2], ids=lambda q: q.name)
each_form = pytest.mark.parametrize("form", FORMS)
each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)


def options_of(form: str) -> dict[str, bool]:
    return {} if form == "probabilities" else {"normalize": True} if form == "normalize" else {"from_logits": True}


def draw(rng: np.random.Generator, form: str, dtype: type, shape: tuple[int, ...], near: Array | None = None) -> Array:
    """Rows of a form; nearly those of another array where one is given."""
    if form == "logits":
        z = rng.normal(scale=4.0, size=shape) if near is None else near + 1e-3 * rng.normal(size=shape)
        return z.astype(dtype)
    p = rng.exponential(size=shape) ** 2 if near is None else near * (1 + 1e-3 * rng.normal(size=shape))
    if form == "normalize":
        return (7 * p).astype(dtype)
    return (p / p.sum(-1, keepdims=True)).astype(dtype)


def arguments(
    quantity: Quantity, rng: np.random.Generator, form: str, dtype: type, shape: tuple[int, ...]
) -> list[Array]:
    return [draw(rng, form, dtype, shape) for _ in range(quantity.arguments)]


def widened(row: Array, fill: float, c: int = 80) -> Array:
    """The same with more classes, as rows of many are not taken together."""
    return np.concatenate([row, np.full((*row.shape[:-1], c - row.shape[-1]), fill, row.dtype)], axis=-1)


def grads(result: Any) -> tuple[Array, ...]:
    return tuple(result)[1:]


# --- Values -----------------------------------------------------------------------------------------------------------


@each_dtype
@each_form
@each_quantity
def test_values_against_sixty_digits(quantity: Quantity, form: str, dtype: type) -> None:
    """Every length of a row up to four registers and a tail, far apart and nearly equal."""
    rng, eps = np.random.default_rng(80), float(np.finfo(dtype).eps)
    for c, options in itertools.product([*range(1, 10), 15, 16, 17, 31, 33, 67], quantity.grid()):
        first = draw(rng, form, dtype, (2, c))
        for near in [None, first][: quantity.arguments]:
            given = [first, draw(rng, form, dtype, (2, c), near)][: quantity.arguments]
            truth = oracles.rows(quantity.oracle, form, *given, **options)
            value = quantity.function(*given, **options, **options_of(form))
            assert value.dtype == dtype
            # Quotients of normalised rows are rounded, to float64, before they are compared.
            floor = TINY[dtype] + (1e-19 if form == "normalize" else 0) + (4 * eps if c == 1 else 0)
            assert_close(value, truth, 10 * eps, floor=floor, note=f"c={c} {options} near={near is not None}")


@each_dtype
@each_form
@each_quantity
@pytest.mark.parametrize("c", [2, 3, 10, 70])
def test_nearly_sure_rows_keep_their_digits(quantity: Quantity, form: str, dtype: type, c: int) -> None:
    """The information in a row that is nearly sure is in the small numbers beside the large one."""
    rng, eps = np.random.default_rng(81), float(np.finfo(dtype).eps)
    rest = 10.0 ** -np.linspace(1, 18, 35)[:, None] / c
    given = []
    for _ in range(quantity.arguments):
        z = np.log(rest * rng.uniform(0.5, 2, (35, c)))
        z[:, 0] = 0
        if form == "probabilities":  # what is left of 1, in the type
            p = np.exp(z).astype(dtype)
            p[:, 0] = 1 - p[:, 1:].sum(-1, dtype=np.float64)
            given.append(p)
        else:
            given.append((np.exp(z) * 7 if form == "normalize" else z).astype(dtype))
    for options in quantity.grid():
        truth = oracles.rows(quantity.oracle, form, *given, **options)
        value = quantity.function(*given, **options, **options_of(form))
        assert_close(
            value, truth, 12 * eps, floor=TINY[dtype] + (1e-19 if form == "normalize" else 0), note=f"{options}"
        )
        assert_same_bits(quantity.with_grad(*given, **options, **options_of(form))[0], value)


LANES = 16
"""Of the widest register."""


def awkward(rng: np.random.Generator, form: str, dtype: type, shape: tuple[int, int]) -> Array:
    """Rows of which some are at the edge of what is defined, or beyond it."""
    x, (n, c) = draw(rng, form, dtype, shape), shape
    kinds, places = rng.integers(0, 9, n), rng.integers(0, c, n)
    most = 88 if dtype is np.float32 else 709
    for i, (kind, k) in enumerate(zip(kinds, places, strict=True)):
        if form == "logits":
            if kind < 4:
                x[i, k] = (nan, inf, -inf, most)[kind]
            elif kind < 7:
                x[i] = (most * rng.choice([-1, 1], c), np.full(c, -inf), np.round(x[i]))[kind - 4]
        elif kind == 0:
            x[i, k] = nan
        elif kind < 4:
            x[i] = (np.eye(c)[k], np.full(c, 1 / c), np.where(np.arange(c) <= k, 1 / (k + 1), 0))[kind - 1]
    return x


@each_dtype
@each_form
@each_quantity
def test_a_row_is_what_it_is_alone(quantity: Quantity, form: str, dtype: type) -> None:
    """Rows of few classes are taken together, as many as a register has lanes; the last ones are fewer."""
    rng, options, most = np.random.default_rng(95), options_of(form), 4 * LANES + 3
    for c in [*range(1, 12), *rng.choice(np.arange(12, 60), 3, replace=False), 16, 17, 32, 33, 63, 64, 65]:
        given = [awkward(rng, form, dtype, (most, int(c))) for _ in range(quantity.arguments)]
        whole = quantity.with_grad(*given, **options)
        for n in range(1, most + 1) if c in (3, 10) else (1, 2, 15, 16, 17, 33, 66):
            part = [x[most - n :] for x in given]
            assert_same_bits(quantity.function(*part, **options), whole[0][most - n :], f"c={c} n={n}")
            for ours, theirs in zip(quantity.with_grad(*part, **options), whole, strict=True):
                assert_same_bits(ours, theirs[most - n :], f"c={c} n={n}")


@each_dtype
@each_quantity
def test_logits_far_apart_and_tied_against_many_digits(quantity: Quantity, dtype: type) -> None:
    """Margins at which exponentials under- and overflow, classes that are ruled out, ties: any number of classes."""
    rng, eps = np.random.default_rng(96), float(np.finfo(dtype).eps)
    most = 88.0 if dtype is np.float32 else 709.0
    for c in [*range(1, 6), 8, 9, 16, 17, 33, 63, 65]:
        rows = [
            most * rng.choice([-1, 1], c),
            most * rng.uniform(-1, 1, c),
            rng.integers(-2, 3, c),
            np.where(rng.random(c) < 0.5, -inf, rng.normal(size=c)),
            most - np.arange(c),
        ]
        first = np.array(rows).astype(dtype)
        first[3, rng.integers(c)] = 1.0
        given = [first, np.where(np.isinf(first), -inf, np.roll(first, 1, axis=0))[:, ::-1]][: quantity.arguments]
        given = [x.astype(dtype) for x in given]
        given[-1][3] = given[0][3]
        truth = oracles.rows(quantity.oracle, "logits", *given, digits=80 if dtype is np.float32 else 700)
        # What is below the normal numbers is flushed to 0, a class at a time.
        floor = c * most * TINY[dtype] + (4 * eps if c == 1 else 0)
        assert_close(quantity.function(*given, from_logits=True), truth, 16 * eps, floor=floor, note=f"c={c}")


@each_dtype
@each_quantity
def test_long_rows_and_many(quantity: Quantity, dtype: type) -> None:
    rng, eps = np.random.default_rng(81), float(np.finfo(dtype).eps)
    for form in FORMS:
        given = arguments(quantity, rng, form, dtype, (1, 1100))  # more than a block
        truth = oracles.rows(quantity.oracle, form, *given)
        assert_close(quantity.function(*given, **options_of(form)), truth, 16 * eps, note=form)
    given = arguments(quantity, rng, "probabilities", dtype, (20_000, 11))
    value = quantity.function(*given)
    some = np.arange(0, 20_000, 1999)
    assert_close(value[some], oracles.rows(quantity.oracle, "probabilities", *(x[some] for x in given)), 8 * eps)
    for threads in (1, 3):
        with xe.threads(threads):
            assert_same_bits(quantity.function(*given), value)


@each_quantity
def test_a_base_divides_by_its_logarithm(quantity: Quantity) -> None:
    rng = np.random.default_rng(82)
    given = arguments(quantity, rng, "probabilities", np.float64, (5, 7))
    if not quantity.has_base:
        with pytest.raises(TypeError, match="base"):
            quantity.function(*given, base=2)
        return
    nats = quantity.with_grad(*given)
    for base in (2, 10, 1.5, np.e):
        result = quantity.with_grad(*given, base=base)
        for ours, theirs in zip(result, nats, strict=True):
            np.testing.assert_allclose(ours, theirs / np.log(base), rtol=1e-14)
        assert_same_bits(quantity.function(*given, base=base), result[0])


def test_confident_logits_keep_their_digits() -> None:
    """What a formula on rounded probabilities loses: H = ln(1 + e^-m) + m e^-m / (1 + e^-m) at any margin m."""
    for dtype, most in [(np.float32, 80), (np.float64, 700)]:
        for margin in (1.0, 17.0, 40.0, float(most)):
            z = np.array([margin, 0.0], dtype)
            e = np.exp(-margin)
            truth = np.log1p(e) + margin * e / (1 + e)
            assert_close(xe.entropy(z, from_logits=True), truth, 4 * float(np.finfo(dtype).eps))
        # q underflows, its logarithm does not.
        far = np.array([[0.0, 0.0], [0.0, -3.0 * most]], dtype)
        half = xe.kl_divergence(far[0], far[1], from_logits=True)
        assert_close(half, -np.log(2) + 0.5 * 3 * most, 4 * float(np.finfo(dtype).eps))


@each_dtype
def test_nearly_equal_distributions(dtype: type) -> None:
    """One unit in the last place apart: the divergence is x^2, of which a difference of logarithms knows nothing."""
    eps = float(np.finfo(dtype).eps)
    p = np.array([0.5, 0.5], dtype)
    q = np.array([0.5 + eps / 2, 0.5 - eps / 2], dtype)
    x = float(q[0] - p[0])
    assert_close(xe.kl_divergence(p, q), 2 * x * x, 2 * eps)
    assert_close(xe.js_divergence(p, q), x * x / 2, 4 * eps)
    z, y = np.array([1.0, 1.0], dtype), np.array([1.0 + eps, 1.0], dtype)
    assert_close(xe.kl_divergence(z, y, from_logits=True), eps * eps / 8, 1e-6)
    assert_close(xe.js_divergence(z, y, from_logits=True), eps * eps / 32, 1e-6)
    shifted = xe.kl_divergence(z, y + dtype(2), from_logits=True)  # exact, as the sum is
    assert_close(shifted, float(dtype(y[0] + dtype(2)) - dtype(3)) ** 2 / 8, 1e-6, floor=eps**3)


# --- Gradients --------------------------------------------------------------------------------------------------------


@each_form
@each_quantity
@pytest.mark.once
def test_gradients_are_finite_differences(quantity: Quantity, form: str) -> None:
    rng, h = np.random.default_rng(83), 1e-6
    for options in quantity.grid():
        given = arguments(quantity, rng, form, np.float64, (3, 5))
        if form != "logits":  # not so near 0 that a step would matter
            given = [x + 0.1 * x.sum(-1, keepdims=True) for x in given]
        if form == "probabilities":
            given = [x / x.sum(-1, keepdims=True) for x in given]

            # No step may leave the distributions: a number takes from another, and the gradients are compared so.
            def steps(i: int, k: int) -> Array:
                step = np.zeros((3, 5))
                step[i, k], step[i, (k + 1) % 5] = h, -h
                return step
        else:

            def steps(i: int, k: int) -> Array:
                step = np.zeros((3, 5))
                step[i, k] = h
                return step

        value, *gradients = quantity.with_grad(*given, **options, **options_of(form))
        assert_same_bits(quantity.function(*given, **options, **options_of(form)), value)
        for which, (i, k) in itertools.product(range(quantity.arguments), np.ndindex(3, 5)):
            step, moved = steps(i, k), [list(given), list(given)]
            for side, sign in zip(moved, (1, -1), strict=True):
                side[which] = given[which] + sign * step
            above, below = (quantity.function(*side, **options, **options_of(form)).sum() for side in moved)
            slope = (gradients[which] * step).sum() / h
            assert slope == pytest.approx((above - below) / (2 * h), rel=1e-6, abs=2e-8), (options, which, i, k)


def test_free_variables_by_hand() -> None:
    """The part of the gradient that a step within the distributions does not see."""
    p, q = np.array([0.5, 0.125, 0.375]), np.array([0.25, 0.25, 0.5])
    m = 0.25 * p + 0.75 * q
    np.testing.assert_allclose(xe.entropy_with_grad(p).grad, -(np.log(p) + 1), rtol=1e-14)
    np.testing.assert_allclose(xe.perplexity_with_grad(p).grad, -np.exp(xe.entropy(p)) * (np.log(p) + 1), rtol=1e-14)
    for result, grad_p, grad_q in [
        (xe.cross_entropy_with_grad(p, q), -np.log(q), -p / q),
        (xe.kl_divergence_with_grad(p, q), np.log(p / q), 1 - p / q),
        (xe.js_divergence_with_grad(p, q, weight=0.25), 0.25 * np.log(p / m), 0.75 * np.log(q / m)),
    ]:
        np.testing.assert_allclose(result.grad_p, grad_p, rtol=1e-13)
        np.testing.assert_allclose(result.grad_q, grad_q, rtol=1e-13)


@each_dtype
@each_form
@each_quantity
def test_gradients_of_every_row_length(quantity: Quantity, form: str, dtype: type) -> None:
    """Against float64, or, in float64, against the formula in NumPy's longer numbers."""
    rng, eps = np.random.default_rng(84), float(np.finfo(dtype).eps)
    for c in [*range(1, 36), 64, 67, 1000, 1030]:
        given = [draw(rng, form, np.float32, (3, c)).astype(dtype) for _ in range(quantity.arguments)]
        if form == "probabilities":
            given = [x.astype(np.float32).astype(dtype) for x in given]
        keep = options_of(form)
        if form == "probabilities" and dtype is np.float64:
            given = [x / x.sum(-1, keepdims=True) for x in given]
        result = quantity.with_grad(*given, **keep)
        reference = [x.astype(np.longdouble) for x in given]
        p, q = reference[0], reference[-1]
        sums = [np.longdouble(1)] * 2
        if form == "logits":
            p, q = (np.exp(z - z.max(-1, keepdims=True)) for z in (p, q))
        if form != "probabilities":
            sums = [x.sum(-1, keepdims=True) for x in (p, q)]
            p, q = p / sums[0], q / sums[1]
        m = (p + q) / 2
        slopes = {
            "entropy": [-np.log(p) - 1],
            "perplexity": [np.exp(-(p * np.log(p)).sum(-1, keepdims=True)) * (-np.log(p) - 1)],
            "cross_entropy": [-np.log(q), -p / q],
            "kl_divergence": [np.log(p / q), 1 - p / q],
            "js_divergence": [np.log(p / m) / 2, np.log(q / m) / 2],
        }[quantity.name]
        for grad, x, slope, total in zip(grads(result), (p, q), slopes, sums, strict=False):
            mean = (x * slope).sum(-1, keepdims=True)
            added = {"entropy": 1, "perplexity": np.asarray(result[0], np.longdouble)[:, None]}  # to the logarithm
            truth, size = slope, np.abs(slope) + added.get(quantity.name, 0)
            if form == "normalize":
                # Quotients are rounded before their logarithms are taken: by eps, where these may be near 0.
                truth, size = (slope - mean) / total, (1 + size + np.abs(mean)) / total
            elif form == "logits":
                truth, size = x * (slope - mean), x * (1 + size + np.abs(mean))
            assert grad.dtype == dtype and grad.shape == (3, c)
            assert_close(
                grad, truth.astype(np.float64), 32 * eps, np.asarray(size, np.float64), 64 * TINY[dtype], f"c={c}"
            )


@each_pair
def test_equal_distributions_are_a_minimum(quantity: Quantity) -> None:
    """Value and gradients of a divergence are exactly 0; of a cross-entropy only what a logit of q sees."""
    rng = np.random.default_rng(85)
    for form, dtype, c in itertools.product(FORMS, DTYPES, (1, 3, 40, 80)):
        p = draw(rng, form, dtype, (4, c))
        value, grad_p, grad_q = quantity.with_grad(p, p.copy(), **options_of(form))
        if quantity.name != "cross_entropy":
            for zero in (value, grad_p, grad_q):
                np.testing.assert_array_equal(zero, 0)
        elif form == "logits":
            np.testing.assert_array_equal(grad_q, 0)


def test_a_small_step_from_an_equal_distribution_in_float32() -> None:
    """q - p of logits that differ in the last place is not the difference of two rounded probabilities."""
    z = np.array([3.0, 0.0], np.float32)
    y = np.nextafter(z, np.float32(9))
    y[1] = 0
    step = float(y[0]) - 3.0
    truth = step * np.exp(-3.0) / (1 + np.exp(-3.0)) ** 2
    for function in (xe.cross_entropy_with_grad, xe.kl_divergence_with_grad):
        assert_close(function(z, y, from_logits=True).grad_q, [truth, -truth], 1e-5)


# --- Shapes, axes, layouts, dtypes ------------------------------------------------------------------------------------


@each_form
@each_quantity
@pytest.mark.parametrize("axis", range(-3, 3))
@pytest.mark.once
def test_every_axis(quantity: Quantity, form: str, axis: int) -> None:
    rng = np.random.default_rng(86)
    given = arguments(quantity, rng, form, np.float32, (4, 6, 5))
    expected = quantity.with_grad(*given, **options_of(form))
    moved = [np.ascontiguousarray(np.moveaxis(x, -1, axis)) for x in given]
    result = quantity.with_grad(*moved, axis=axis, **options_of(form))
    assert_same_bits(result[0], expected[0])
    assert_same_bits(quantity.function(*moved, axis=axis, **options_of(form)), expected[0])
    for ours, theirs in zip(grads(result), grads(expected), strict=True):
        assert_same_bits(ours, np.moveaxis(theirs, -1, axis))


@each_form
@each_pair
@pytest.mark.once
def test_one_distribution_beside_many(quantity: Quantity, form: str) -> None:
    """As if it stood in every row; its gradient is the sum."""
    rng, options = np.random.default_rng(87), options_of(form)
    for shape in [(1, 4), (5, 4), (2, 3, 4), (700, 211), (0, 4)]:
        for dtype in DTYPES:
            one, many = draw(rng, form, dtype, shape[-1:]), draw(rng, form, dtype, shape)
            repeated = np.broadcast_to(one, shape)
            for both, whole, which in [([one, many], [repeated, many], 0), ([many, one], [many, repeated], 1)]:
                value, *gradients = quantity.with_grad(*both, **options)
                expected, *expected_gradients = quantity.with_grad(*whole, **options)
                assert_same_bits(value, expected)
                assert_same_bits(quantity.function(*both, **options), expected)
                assert_same_bits(gradients[1 - which], expected_gradients[1 - which])
                total = expected_gradients[which].astype(np.float64).reshape(-1, shape[-1])
                assert gradients[which].shape == one.shape and gradients[which].dtype == dtype
                eps = float(np.finfo(dtype).eps)
                assert_close(gradients[which], total.sum(0), 2 * eps + 1e-13, np.abs(total).sum(0), TINY[dtype])
                with xe.threads(1):
                    assert_same_bits(quantity.with_grad(*both, **options)[1 + which], gradients[which])
    one, many = draw(rng, form, np.float64, (4,)), draw(rng, form, np.float64, (4, 3, 2)[::-1])
    turned = np.ascontiguousarray(np.moveaxis(many, -1, 0))
    value, grad_p, grad_q = quantity.with_grad(one, turned, axis=0, **options)
    expected = quantity.with_grad(one, many, **options)
    assert_same_bits(value, expected[0])
    assert_same_bits(grad_p, expected[1])
    assert_same_bits(np.moveaxis(grad_q, 0, -1), expected[2])


@each_dtype
@each_quantity
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.once
def test_every_layout(quantity: Quantity, dtype: type, layout: Any) -> None:
    rng = np.random.default_rng(88)
    for form in FORMS:
        given = [layout(x) for x in arguments(quantity, rng, form, dtype, (6, 5))]
        plain = [np.ascontiguousarray(x).astype(dtype) for x in given]
        before = [x.copy() for x in plain]
        expected = quantity.with_grad(*plain, **options_of(form))
        for ours, theirs in zip(quantity.with_grad(*given, **options_of(form)), expected, strict=True):
            assert_same_bits(ours, theirs)
        assert_same_bits(quantity.function(*given, **options_of(form)), expected[0])
        for now, then in zip(plain, before, strict=True):
            assert_same_bits(now, then)


@each_form
@each_quantity
@pytest.mark.parametrize("half", HALVES, ids=lambda half: half.__name__)
def test_half_precision_is_storage(quantity: Quantity, form: str, half: type) -> None:
    """The float32 result of the widened numbers; the gradients are rounded once."""
    rng = np.random.default_rng(89)
    for shape in [(3, 5), (7,), (40, 1000)]:
        given = [draw(rng, form, np.float32, shape).astype(half) for _ in range(quantity.arguments)]
        result = quantity.with_grad(*given, **options_of(form))
        wide = [x.astype(np.float32) for x in given]
        if form == "probabilities":  # the sums of the widened numbers are off by more than float32 explains
            if shape[-1] < 10:
                values = oracles.rows(quantity.oracle, form, *(np.atleast_2d(x) for x in wide)).reshape(shape[:-1])
                rounding = 2.0**-10 if half is np.float16 else 2.0**-7
                assert result[0].dtype == np.float32
                assert_close(result[0], values, rounding)
            continue
        value, *grads = quantity.with_grad(*wide, **options_of(form))
        assert_same_bits(result[0], value)
        assert_same_bits(quantity.function(*given, **options_of(form)), value)
        for ours, theirs in zip(result[1:], grads, strict=True):
            assert_same_bits(ours, theirs.astype(half))


@each_quantity
@pytest.mark.once
def test_lists_integers_and_one_row(quantity: Quantity) -> None:
    rows = [[0.5, 0.5, 0.0], [0.25, 0.5, 0.25]][: quantity.arguments]
    arrays = [np.array(row) for row in rows]
    assert_same_bits(quantity.function(*rows), quantity.function(*arrays))
    value = quantity.function(*arrays)
    assert np.ndim(value) == 0 and value.dtype == np.float64
    counts = [[3, 1], [1, 1]][: quantity.arguments]
    expected = quantity.function(*(np.array(row, float) / sum(row) for row in counts))
    np.testing.assert_allclose(quantity.function(*counts, normalize=True), expected, rtol=1e-15)


@each_pair
@pytest.mark.once
def test_the_wider_dtype_is_used(quantity: Quantity) -> None:
    import ml_dtypes

    p, q = np.array([0.5, 0.5]), np.array([0.25, 0.75])
    for one, two, dtype in [
        (np.float32, np.float64, np.float64),
        (np.float16, np.float32, np.float32),
        (np.float16, ml_dtypes.bfloat16, np.float32),
    ]:
        for a, b in [(one, two), (two, one)]:
            result = quantity.with_grad(p.astype(a), q.astype(b))
            for ours, theirs in zip(result, quantity.with_grad(p.astype(dtype), q.astype(dtype)), strict=True):
                assert_same_bits(ours, theirs)


@each_quantity
def test_no_rows_and_one_class(quantity: Quantity) -> None:
    for dtype in DTYPES:
        result = quantity.with_grad(*[np.empty((0, 3), dtype)] * quantity.arguments)
        assert result[0].shape == (0,) and all(grad.shape == (0, 3) for grad in grads(result))
        one = [np.ones((4, 1), dtype)] * quantity.arguments
        np.testing.assert_array_equal(quantity.function(*one), 1 if quantity.name == "perplexity" else 0)
        with pytest.raises(ValueError, match=r"p must sum to 1, got 0\.0 at row 0"):
            quantity.function(*[np.empty((2, 0), dtype)] * quantity.arguments)


# --- Special values ---------------------------------------------------------------------------------------------------


@each_dtype
@pytest.mark.parametrize("c", [4, 80])
def test_the_boundary(dtype: type, c: int) -> None:
    """Probabilities of 0, alone and against each other: values, and the derivatives' one-sided truth."""
    p = np.array([[0.5, 0.5, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]], dtype)
    q = np.array([[0.5, 0.0, 0.5, 0.0], [0.25, 0.25, 0.25, 0.25]], dtype)
    p, q = widened(p, 0.0, c), widened(q, 0.0, c)
    ln2, ln4 = np.log(2.0), np.log(4.0)
    eps = 4 * float(np.finfo(dtype).eps)

    def answers(function: Any, *given: Array) -> list[Array]:
        value, *gradients = function(*given)
        return [value, *(grad[:, :4] for grad in gradients)]

    value, grad = answers(xe.entropy_with_grad, p)
    assert_close(value, [ln2, 0.0], eps)
    assert_close(grad, [[ln2 - 1, ln2 - 1, inf, inf], [-1, inf, inf, inf]], eps)
    value, grad_p, grad_q = answers(xe.cross_entropy_with_grad, p, q)
    assert_close(value, [inf, ln4], eps)
    assert_close(grad_p, [[ln2, inf, ln2, 0], [ln4] * 4], eps)
    assert_close(grad_q, [[-1, -inf, 0, 0], [-4, 0, 0, 0]], eps)
    value, grad_p, grad_q = answers(xe.kl_divergence_with_grad, p, q)
    assert_close(value, [inf, ln4], eps)
    assert_close(grad_p, [[0, inf, -inf, 0], [ln4, -inf, -inf, -inf]], eps)
    assert_close(grad_q, [[0, -inf, 1, 0], [-3, 1, 1, 1]], eps)
    value, grad_p, grad_q = answers(xe.js_divergence_with_grad, p, q)
    assert_close(value[0], ln2 / 2, eps)
    assert_close(grad_p[0], [0, ln2 / 2, -inf, 0], eps)
    assert_close(grad_q[0], [0, -inf, ln2 / 2, 0], eps)


@each_dtype
@each_quantity
@pytest.mark.parametrize("c", [5, 80])
def test_masked_classes_and_infinite_logits(quantity: Quantity, dtype: type, c: int) -> None:
    """-inf in both rows is a class that is not there; one +inf has all the probability."""
    rng = np.random.default_rng(90)
    given = arguments(quantity, rng, "logits", dtype, (3, c))
    masked = [np.insert(x, [0, 2, 5], -inf, axis=1) for x in given]
    value, *gradients = quantity.with_grad(*masked, from_logits=True)
    expected, *expected_gradients = quantity.with_grad(*given, from_logits=True)
    eps = 8 * float(np.finfo(dtype).eps)
    assert_close(value, expected, eps, floor=TINY[dtype])
    for ours, theirs in zip(gradients, expected_gradients, strict=True):
        np.testing.assert_array_equal(ours[:, [0, 3, 7]], 0)
        assert_close(np.delete(ours, [0, 3, 7], axis=1), theirs, 8 * eps, np.ones_like(theirs))
    sure = np.array([1.0, inf, -inf, 2.0], dtype)
    one_hot = np.array([-inf, 0.0, -inf, -inf], dtype)
    sure, one_hot = widened(sure, 0.0, c), widened(one_hot, -inf, c)
    rows = [[sure, sure], [sure, one_hot], [one_hot, sure]]
    for row in rows[: 3 if quantity.arguments == 2 else 1]:
        value, *gradients = quantity.with_grad(*row[: quantity.arguments], from_logits=True)
        assert value == (1 if quantity.name == "perplexity" else 0)
        for grad in gradients:
            np.testing.assert_array_equal(grad, 0)


@each_dtype
@pytest.mark.parametrize("c", [2, 80])
def test_an_infinite_value_of_logits(dtype: type, c: int) -> None:
    """What p allows and q does not: the gradient that training needs, with respect to q, is finite."""
    z, y = (widened(np.array(row, dtype), -inf, c) for row in ([0.0, 0.0], [0.0, -inf]))
    for function in (xe.cross_entropy_with_grad, xe.kl_divergence_with_grad):
        value, grad_p, grad_q = function(z, y, from_logits=True)
        assert value == inf
        assert np.isnan(grad_p).all()
        assert_close(grad_q, [0.5, -0.5, *[0] * (c - 2)], 1e-6)
    value, grad_p, grad_q = xe.js_divergence_with_grad(z, y, from_logits=True)
    assert np.isfinite([value, *grad_p, *grad_q]).all()


@each_dtype
@each_form
@each_quantity
def test_a_nan_makes_its_row_nan_and_no_other(quantity: Quantity, form: str, dtype: type) -> None:
    rng = np.random.default_rng(91)
    for c in (1, 2, 17, 40, 80):
        for which in range(quantity.arguments):
            given = arguments(quantity, rng, form, dtype, (c + 2, c))
            clean = quantity.with_grad(*given, **options_of(form))
            given[which][1 + np.arange(c), np.arange(c)] = nan
            result = quantity.with_grad(*given, **options_of(form))
            assert_same_bits(quantity.function(*given, **options_of(form)), result[0])
            for ours, theirs in zip(result, clean, strict=True):
                assert np.isnan(ours[1:-1]).all()
                assert_same_bits(ours[[0, -1]], theirs[[0, -1]])


def test_a_nan_beside_a_probability_of_zero() -> None:
    assert np.isnan(xe.cross_entropy([1.0, 0.0], [1.0, nan]))
    assert np.isnan(xe.cross_entropy_with_grad([1.0, 0.0], [1.0, nan]).value)


@pytest.mark.parametrize("row", [[-inf, -inf], [inf, inf], [nan, 0.0]])
@each_quantity
def test_logits_without_a_softmax(quantity: Quantity, row: list[float]) -> None:
    for c in (2, 80):
        result = quantity.with_grad(*[widened(np.array(row), -inf, c)] * quantity.arguments, from_logits=True)
        assert all(np.isnan(x).all() for x in result)


@each_dtype
def test_subnormal_probabilities(dtype: type) -> None:
    """Their logarithms and quotients have all the digits that they have."""
    tiny = np.array([float(np.finfo(dtype).smallest_subnormal) * k for k in (1, 3, 7, 1000)], dtype)
    p = np.concatenate([[1.0], tiny]).astype(dtype)
    q = np.concatenate([[1.0], tiny[::-1]]).astype(dtype)
    eps = float(np.finfo(dtype).eps)
    wide_p, wide_q = p.astype(np.longdouble), q.astype(np.longdouble)
    _, grad_p, grad_q = xe.kl_divergence_with_grad(p, q)
    assert_close(grad_p, np.log(wide_p / wide_q).astype(float), 8 * eps, floor=eps)
    assert_close(grad_q, (1 - wide_p / wide_q).astype(float), 8 * eps)
    m = (wide_p + wide_q) / 2
    assert_close(xe.js_divergence_with_grad(p, q).grad_p, (np.log(wide_p / m) / 2).astype(float), 8 * eps, np.ones(5))
    assert_close(xe.entropy_with_grad(p).grad, (-np.log(wide_p) - 1).astype(float), 2 * eps)


# --- Errors -----------------------------------------------------------------------------------------------------------


@each_dtype
@each_quantity
def test_rows_that_are_no_distributions(quantity: Quantity, dtype: type) -> None:
    rng = np.random.default_rng(92)
    for shape in [(5, 4), (3000, 70)]:
        for which, name in list(enumerate("pq"))[: quantity.arguments]:
            for bad, message in [
                (
                    0.125,
                    rf"{name} must sum to 1, got [\d.]+ at row 3, off by .*e-?\d+; normalize=True divides each row",
                ),
                (-0.5, rf"{name} must be non-negative, got -0.5 at row 3, class 2"),
                (inf, rf"{name} must sum to 1, got inf at row 3"),
            ]:
                given = arguments(quantity, rng, "probabilities", dtype, shape)
                given[which][3, 2] += 0.125 if bad == 0.125 else 0
                given[which][3, 2] = given[which][3, 2] if bad == 0.125 else bad
                given[which][4, 1] += 0.25
                for function in (quantity.function, quantity.with_grad):
                    with pytest.raises(ValueError, match=message):
                        function(*given)
                if bad == 0.125:
                    assert np.isfinite(quantity.function(*given, normalize=True)).all()
                elif bad == -0.5:
                    for function in (quantity.function, quantity.with_grad):
                        with pytest.raises(ValueError, match=message):
                            function(*given, normalize=True)
            given = arguments(quantity, rng, "normalize", dtype, shape)
            given[which][2] = 0
            for function in (quantity.function, quantity.with_grad):
                with pytest.raises(ValueError, match=rf"{name} must have a positive, finite sum, got 0\.0 at row 2"):
                    function(*given, normalize=True)


@each_dtype
def test_the_tolerance_of_a_sum(dtype: type) -> None:
    """4 eps (1 + sqrt(c)), on both sides; of float32, where numbers in float64 may come from."""
    eps = float(np.finfo(np.float32).eps)
    for c in (1, 4, 100):
        allowed = 4 * eps * (1 + np.sqrt(c))
        for sign in (1, -1):
            p = np.full(c, 1 / c, np.float64)
            p[0] += sign * allowed * 0.9
            assert np.isfinite(xe.entropy(p.astype(dtype)))
            p[0] += sign * allowed * 0.5
            with pytest.raises(ValueError, match="sum to 1"):
                xe.entropy(p.astype(dtype))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, *HALVES], ids=lambda dtype: dtype.__name__)
def test_what_softmax_gives_is_a_distribution(dtype: type) -> None:
    rng = np.random.default_rng(93)
    for shape in [(1000, 2), (200, 1000), (2, 128_256)]:
        for scale in (0.0, 1.0, 5.0):
            p = xe.softmax((scale * rng.normal(size=shape)).astype(dtype))
            assert np.isfinite(xe.entropy(p).astype(np.float32)).all()


def test_cross_entropy_points_to_the_loss() -> None:
    hint = "for logits and labels use softmax_cross_entropy"
    logits, labels = np.random.default_rng(94).normal(size=(4, 3)), [0, 1, 2, 0]
    for p, q in [(logits, labels), (labels, logits), (logits, np.eye(3)[labels]), (np.eye(3)[labels], logits)]:
        for function in (xe.cross_entropy, xe.cross_entropy_with_grad):
            with pytest.raises(ValueError, match=hint):
                function(p, q)


# --- Properties -------------------------------------------------------------------------------------------------------


@st.composite
def pairs(draw: st.DrawFn, most: int = 40) -> tuple[Array, Array]:
    """Two batches of distributions, some of whose numbers are 0."""
    dtype = draw(st.sampled_from(DTYPES))
    n, c = draw(st.integers(1, 4)), draw(st.integers(1, most))
    weights = st.one_of(st.just(0.0), st.floats(2.0**-20, 1, width=32))
    both = []
    for _ in range(2):
        x = draw(hnp.arrays(np.float64, (n, c), elements=weights))
        x[:, draw(st.integers(0, c - 1))] += 0.5
        both.append((x / x.sum(-1, keepdims=True)).astype(dtype))
    return both[0], both[1]


def eps_of(p: Array) -> float:
    return float(np.finfo(p.dtype).eps)


@given(pairs())
def test_cross_entropy_is_entropy_and_divergence(pair: tuple[Array, Array]) -> None:
    """But for the sums, which are off 1 by rounding, and which the divergence leaves out."""
    p, q = pair
    off = np.abs(p.sum(-1, dtype=float) - 1) + np.abs(q.sum(-1, dtype=float) - 1)
    whole, parts = xe.cross_entropy(p, q), xe.entropy(p) + xe.kl_divergence(p, q)
    assert_close(parts, whole, 8 * eps_of(p), floor=float(off.max()) + 8 * eps_of(p))


@given(pairs())
def test_gibbs_inequality(pair: tuple[Array, Array]) -> None:
    p, q = pair
    divergence, own = xe.kl_divergence(p, q), xe.kl_divergence(p, p)
    assert (divergence >= 0).all() and (own == 0).all()
    assert (divergence[(p != q).any(-1)] > 0).all()


@pytest.mark.parametrize("weight", [0.0, 1.0])
@pytest.mark.parametrize("from_logits", [False, True])
def test_a_mixture_of_one_tells_nothing(weight: float, from_logits: bool) -> None:
    p, q = np.array([[0.0, 1.0], [0.25, 0.75]]), np.array([[0.5, 0.5], [1.0, 0.0]])
    for answer in xe.js_divergence_with_grad(p, q, weight=weight, from_logits=from_logits):
        np.testing.assert_array_equal(answer, 0)


@given(pairs(), st.integers(0, 64).map(lambda k: k / 64))
def test_jensen_shannon(pair: tuple[Array, Array], weight: float) -> None:
    p, q = pair
    assert_same_bits(xe.js_divergence(p, q), xe.js_divergence(q, p))
    assert (xe.js_divergence(p, q) <= p.dtype.type(np.log(2))).all()
    assert (xe.js_divergence(p, q, weight=weight) >= 0).all()
    assert_close(
        xe.js_divergence(p, q, weight=weight), xe.js_divergence(q, p, weight=1 - weight), 64 * eps_of(p), floor=1e-37
    )
    mixture = 0.5 * p.astype(float) + 0.5 * q.astype(float)
    direct = xe.entropy(mixture, normalize=True) - 0.5 * (
        xe.entropy(p.astype(float), normalize=True) + xe.entropy(q.astype(float), normalize=True)
    )
    # The floor is what the difference of entropies loses, and the division by sums that are off 1 by rounding.
    assert_close(xe.js_divergence(p, q), direct, 8 * eps_of(p), floor=32 * eps_of(p))


@given(pairs(most=80))  # rows of more than 64 logits are not taken together
def test_jensen_shannon_of_logits_is_symmetric(pair: tuple[Array, Array]) -> None:
    with np.errstate(divide="ignore"):
        z, y = (np.log(x) * 3 + 1 for x in pair)
    first, second = (
        xe.js_divergence_with_grad(z, y, from_logits=True),
        xe.js_divergence_with_grad(y, z, from_logits=True),
    )
    assert_same_bits(first.value, second.value)
    assert_same_bits(first.grad_p + 0, second.grad_q + 0)
    assert (first.value <= z.dtype.type(np.log(2))).all() and (first.value >= 0).all()


@given(pairs())
def test_bounds_of_the_entropy(pair: tuple[Array, Array]) -> None:
    p, c = pair[0], pair[0].shape[-1]
    slack = 16 * eps_of(p) * (1 + np.log(c))
    assert (xe.entropy(p) <= np.log(c) + slack).all() and (xe.entropy(p) >= -slack).all()
    one_hot = np.eye(c, dtype=p.dtype)
    np.testing.assert_array_equal(xe.entropy(one_hot), 0)
    np.testing.assert_array_equal(xe.perplexity(one_hot), 1)
    assert_close(xe.perplexity(p), 2.0 ** xe.entropy(p, base=2).astype(float), 16 * eps_of(p))


@given(pairs(most=80))  # rows of more than 64 logits are not taken together
def test_logits_are_logarithms(pair: tuple[Array, Array]) -> None:
    """ln p is a row of logits for p, of which nothing is lost but the rounding of the logarithms."""
    p, q = (x.astype(np.float64) for x in pair)
    with np.errstate(divide="ignore"):
        z, y = np.log(p), np.log(q)
    for quantity in QUANTITIES:
        given = [(p, z), (q, y)][: quantity.arguments]
        values = quantity.function(*(x for x, _ in given), normalize=True)
        assert_close(quantity.function(*(x for _, x in given), from_logits=True), values, 1e-12, floor=1e-14)
