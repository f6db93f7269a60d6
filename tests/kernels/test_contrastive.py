"""Losses of pairs of rows, against the oracle of logits that are stored, on all roads and at all edges."""

from typing import Any

import numpy as np
import pytest

import layouts
import xentrs as xe
from checks import assert_close, assert_same_bits
from registry import CONTRASTIVES, DTYPES, HALVES, REDUCTIONS, Contrastive

Array = np.ndarray[Any, Any]

SHAPES = [(1, 3), (2, 1), (9, 5), (70, 40), (130, 16), (400, 350)]
"""Few rows, a small matrix in blocks, and one in tiles."""
RTOL: dict[type, float] = {np.float32: 3e-5, np.float64: 1e-12}

each_contrastive = pytest.mark.parametrize("case", CONTRASTIVES, ids=lambda case: case.name)
each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)
each_half = pytest.mark.parametrize("half", HALVES, ids=lambda half: half.__name__)


def views(n: int, d: int, dtype: Any, normalised: bool = True) -> tuple[Array, Array]:
    rng = np.random.default_rng(n * d)
    x = rng.standard_normal((n, d))
    y = x + rng.standard_normal((n, d))
    if normalised:
        x, y = (a / np.linalg.norm(a, axis=1, keepdims=True) for a in (x, y))
    return x.astype(dtype), y.astype(dtype)


def assert_pairs(
    case: Contrastive, result: Any, x: Array, y: Array, rtol: float, reduction: str, **options: Any
) -> None:
    """Loss and gradients agree with the oracle, and products in double precision."""
    loss, grad, z = case.oracle(x, y, **options)
    factor = options.get("factor", 1.0)
    temperature, divisor = options["temperature"], len(x) if reduction == "mean" else 1
    x, y = x.astype(np.float64), y.astype(np.float64)
    reduced = loss if reduction == "none" else loss.sum() / divisor
    terms = np.abs(x) @ np.abs(y).T / temperature  # a logit is off by a rounding of its terms, and so is the loss
    assert_close(result.loss, reduced, rtol, 1 + np.abs(reduced) + terms.max() * len(x) / divisor, note="loss")
    wide = (np.abs(grad) + np.abs(grad).sum(0) + np.abs(grad).sum(1, keepdims=True)) * (1 + terms.max())
    wide += rtol * np.abs(factor).max() * 0.01
    for actual, expected, size, note in [
        (result.grad_x, grad @ y, wide @ np.abs(y), "grad_x"),
        (result.grad_y, grad.T @ x, wide.T @ np.abs(x), "grad_y"),
    ]:
        scale = temperature * divisor
        assert_close(np.asarray(actual, np.float64), expected / scale, rtol, size / scale, note=note)
    yardstick = (wide * terms).sum() / temperature / divisor
    assert_close(
        result.grad_temperature, -(grad * z).sum() / temperature / divisor, rtol, yardstick, note="temperature"
    )
    if "bias" in options:
        assert_close(result.grad_bias, grad.sum() / divisor, rtol, wide.sum() / divisor, note="bias")


@each_contrastive
@each_dtype
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_values_and_gradients(case: Contrastive, dtype: type, shape: tuple[int, int]) -> None:
    for options in case.options:
        for normalised, temperature in [(True, 0.1), (True, 1.0), (False, 3.0)][: 1 if shape[0] > 200 else 3]:
            x, y = views(*shape, dtype, normalised)
            for reduction in REDUCTIONS:
                result = case.loss_with_grad(x, y, temperature=temperature, reduction=reduction, **options)
                assert result.grad_x.dtype == result.grad_y.dtype == dtype
                assert_pairs(case, result, x, y, RTOL[dtype], reduction, temperature=temperature, **options)
                loss = case.loss(x, y, temperature=temperature, reduction=reduction, **options)
                assert_close(loss, result.loss, RTOL[dtype], 1 + np.abs(result.loss))
                assert (
                    isinstance(loss, float) if reduction != "none" else loss.dtype == dtype and loss.shape == shape[:1]
                )


@each_contrastive
def test_upstream_gradients_are_those_of_each_pair(case: Contrastive) -> None:
    x, y = views(70, 40, np.float64)
    factor = np.random.default_rng(1).standard_normal(70)
    factor[3] = 0.0
    for options in case.options:
        result = case.loss_with_grad(x, y, temperature=0.2, reduction="none", grad_output=factor, **options)
        assert_pairs(case, result, x, y, 1e-12, "none", temperature=0.2, factor=factor, **options)
        once, twice = (
            case.loss_with_grad(x, y, temperature=0.2, grad_output=number, **options) for number in (None, -2.0)
        )
        assert_close(twice.grad_x, -2 * once.grad_x, 1e-12)
        assert twice.grad_temperature == pytest.approx(-2 * once.grad_temperature, rel=1e-12)
        nothing = case.loss_with_grad(x, y, temperature=0.2, grad_output=0.0, **options)
        assert not nothing.grad_x.any() and not nothing.grad_y.any() and nothing.grad_temperature == 0


@each_contrastive
@pytest.mark.once
def test_gradients_are_slopes_of_the_loss(case: Contrastive) -> None:
    x, y = views(9, 5, np.float64)
    step = 1e-6
    for options in case.options:
        result = case.loss_with_grad(x, y, temperature=0.3, **options)
        for grad, of in [(result.grad_x, 0), (result.grad_y, 1)]:
            ends = []
            for sign in (1, -1):
                moved = [x.copy(), y.copy()]
                moved[of][2, 3] += sign * step
                ends.append(case.loss(*moved, temperature=0.3, **options))
            assert grad[2, 3] == pytest.approx((ends[0] - ends[1]) / (2 * step), abs=1e-8)
        up, down = (case.loss(x, y, temperature=0.3 + sign * step, **options) for sign in (1, -1))
        assert result.grad_temperature == pytest.approx((up - down) / (2 * step), rel=1e-6)
        if "bias" in options:
            up, down = (case.loss(x, y, temperature=0.3, bias=options["bias"] + sign * step) for sign in (1, -1))
            assert result.grad_bias == pytest.approx((up - down) / (2 * step), rel=1e-5)


@each_contrastive
@each_half
def test_half_precision_is_storage(case: Contrastive, half: Any) -> None:
    """The bits are those of the widened rows, rounded once."""
    x, y = views(70, 40, half)
    wide_x, wide_y = x.astype(np.float32), y.astype(np.float32)
    out = (np.empty(x.shape, np.float32), np.empty(x.shape, half))
    for options in case.options:
        expected = case.loss_with_grad(wide_x, wide_y, temperature=0.1, **options)
        result = case.loss_with_grad(x, y, temperature=0.1, **options)
        assert result.loss == expected.loss
        assert_same_bits(result.grad_x, expected.grad_x.astype(half))
        assert_same_bits(result.grad_y, expected.grad_y.astype(half))
        assert result.grad_temperature == expected.grad_temperature
        result = case.loss_with_grad(x, y, temperature=0.1, out=out, **options)
        assert result.grad_x is out[0] and result.grad_y is out[1]
        assert_same_bits(out[0], expected.grad_x)
        assert_same_bits(out[1], expected.grad_y.astype(half))
        assert case.loss(x, y, temperature=0.1, reduction="none", **options).dtype == np.float32


@each_contrastive
@pytest.mark.once
def test_every_layout_gives_the_same_bits(case: Contrastive) -> None:
    x, y = views(70, 40, np.float64)
    expected = case.loss_with_grad(x, y, temperature=0.1)
    for layout in (
        layouts.fortran,
        layouts.strided,
        layouts.padded_rows,
        layouts.byteswapped,
        layouts.misaligned,
        layouts.read_only,
        list,
    ):
        result = case.loss_with_grad(layout(x), layout(y), temperature=0.1)
        assert result.loss == expected.loss
        for actual, wanted in zip(result[1:3], expected[1:3], strict=True):
            assert_same_bits(actual, wanted, layout.__name__)
    into = (layouts.strided(np.zeros_like(x)), np.asfortranarray(np.zeros_like(y)))
    result = case.loss_with_grad(x, y, temperature=0.1, out=into)
    assert_same_bits(np.ascontiguousarray(into[0]), expected.grad_x)
    assert_same_bits(np.ascontiguousarray(into[1]), expected.grad_y)


@each_contrastive
@pytest.mark.once
def test_the_bits_do_not_depend_on_threads(case: Contrastive) -> None:
    x, y = views(400, 350, np.float32)
    results = []
    for threads in (1, 2, 3):
        with xe.threads(threads):
            results.append(case.loss_with_grad(x, y, temperature=0.07))
    for result in results[1:]:
        assert result.loss == results[0].loss and result.grad_temperature == results[0].grad_temperature
        assert_same_bits(result.grad_x, results[0].grad_x)
        assert_same_bits(result.grad_y, results[0].grad_y)


def test_pairs_that_are_told_apart_keep_their_digits() -> None:
    """In float32 a margin of 40 leaves no trace in 1 - p; the loss and the gradient have one."""
    x = np.eye(3, dtype=np.float32)
    loss, grad_x, grad_y, grad_temperature = xe.info_nce_with_grad(x, x, temperature=1 / 40, reduction="sum")
    truth = 2 * np.exp(-40.0)  # of each of three
    assert loss == pytest.approx(3 * truth, rel=1e-5)
    np.testing.assert_allclose(np.diag(grad_x), -40 * truth, rtol=1e-5)
    np.testing.assert_allclose(np.diag(grad_y), -40 * truth, rtol=1e-5)
    assert grad_temperature == pytest.approx(3 * 40**2 * truth, rel=1e-5)
    assert xe.siglip_loss(x, x, temperature=1 / 80, bias=-40.0) == pytest.approx(3 * np.exp(-40.0), rel=1e-5)


@each_contrastive
def test_special_rows(case: Contrastive) -> None:
    empty = np.empty((0, 3))
    result = case.loss_with_grad(empty, empty, temperature=0.1)
    assert result.loss == 0.0 == case.loss(empty, empty, temperature=0.1) and result.grad_x.shape == (0, 3)
    assert case.loss(empty, empty, temperature=0.1, reduction="none").shape == (0,)
    featureless = np.empty((4, 0))
    assert case.loss_with_grad(featureless, featureless, temperature=0.1).grad_x.shape == (4, 0)
    x, y = views(9, 5, np.float64)
    x[4, 2] = np.nan
    loss = case.loss(x, y, temperature=0.1, reduction="none")
    assert np.isnan(loss[4])
    assert np.isnan(loss).all() == (case.name == "info_nce")


def test_alike_pairs_cost_the_logarithm_of_their_number() -> None:
    x = np.ones((7, 3))
    assert xe.info_nce(x, x, temperature=0.5) == pytest.approx(np.log(7))
    assert xe.siglip_loss(np.zeros((7, 3)), x, temperature=0.5) == pytest.approx(7 * np.log(2))


@each_contrastive
@pytest.mark.once
def test_an_out_that_overlaps_is_refused_and_left_alone(case: Contrastive) -> None:
    x, y = views(4, 5, np.float64)
    before = x.copy()
    with pytest.raises(ValueError, match=r"out\[0\] must not overlap an input"):
        case.loss_with_grad(x, y, temperature=0.1, out=(x, None))
    place = np.full((4, 5), 7.0)
    with pytest.raises(ValueError, match=r"out\[1\] must not overlap an input or another gradient"):
        case.loss_with_grad(x, y, temperature=0.1, out=(place, place))
    with pytest.raises(ValueError, match="temperature"):
        case.loss_with_grad(x, y, temperature=-1.0, out=(place, None))
    assert (place == 7.0).all()
    np.testing.assert_array_equal(x, before)


@each_dtype
def test_upstream_gradients_of_many_blocks_belong_to_their_rows(dtype: type) -> None:
    """The gradient of a row's own inputs is that of its loss, times what comes from above."""
    rng = np.random.default_rng(41)
    x, y = (rng.standard_normal((1_500, 6)).astype(dtype) / 3 for _ in range(2))
    each = rng.normal(size=1_500)
    options: dict[str, Any] = {"temperature": 0.5, "bias": -2.0, "reduction": "none"}
    plain = xe.siglip_loss_with_grad(x, y, **options).grad_x
    scaled = xe.siglip_loss_with_grad(x, y, grad_output=each, **options).grad_x
    rtol = 1e-4 if dtype is np.float32 else 1e-12
    np.testing.assert_allclose(scaled, each[:, None] * plain, rtol=rtol, atol=rtol * np.abs(plain).max())
