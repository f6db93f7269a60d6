"""Logits that stand a class at a time, in Fortran order or with the class axis first, are used where they lie."""

import itertools
from typing import Any

import numpy as np
import pytest

import xentrs as xe
from checks import assert_close, assert_same_bits
from draws import distributions, rough_logits
from registry import DTYPES

Array = np.ndarray[Any, Any]

each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)
LOSSES = {
    "cross_entropy": (xe.softmax_cross_entropy, xe.softmax_cross_entropy_with_grad, xe.softmax_cross_entropy_with_hess),
    "focal_loss": (xe.softmax_focal_loss, xe.softmax_focal_loss_with_grad, xe.softmax_focal_loss_with_hess),
}
OPTIONS: list[dict[str, Any]] = [
    {},
    {"reduction": "none"},
    {"class_weight": True, "sample_weight": True, "reduction": "sum"},
    {"label_smoothing": 0.1},
    {"label_smoothing": 0.1, "class_weight": True},
    {"temperature": 2.0},
    {"temperature": 1e-30},  # by rows alone
    {"softcap": 30.0, "temperature": 0.7, "z_loss": 0.01},
    {"soft": True, "sample_weight": True},
]


def drawn(rng: np.random.Generator, dtype: type, n: int, c: int, options: dict[str, Any]) -> tuple[Array, Any, dict]:
    """Logits in C order, some of them special, targets and options."""
    logits = rough_logits(rng, dtype, (n, c))
    logits[7 % n, 0], logits[11 % n], logits[13 % n] = np.inf, np.nan, -np.inf
    given = dict(options)
    target: Any = rng.integers(0, c, n)
    target[::9] = -100
    if given.pop("soft", False):
        target = distributions(rng, dtype, (n, c))
    if given.get("class_weight"):
        given["class_weight"] = rng.choice([0.0, 0.5, 2.0], c)
    if given.get("sample_weight"):
        given["sample_weight"] = rng.choice([0.0, 1.0, 3.0], n)
    return logits, target, given


def layouts(logits: Array) -> list[tuple[Array, int]]:
    """The same logits a class at a time, with their class axis."""
    return [(np.asfortranarray(logits), -1), (np.asfortranarray(logits), 1), (np.ascontiguousarray(logits.T), 0)]


def rows_of(array: Array, axis: int) -> Array:
    return np.ascontiguousarray(np.moveaxis(array, axis, -1))


@each_dtype
@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_the_bits_are_those_of_rows(name: str, options: dict[str, Any], dtype: type) -> None:
    rng = np.random.default_rng(1)
    loss, with_grad, with_hess = LOSSES[name]
    for n, c in [(4096, 2), (2053, 3), (1371, 10), (1003, 17), (500, 63), (300, 70)]:
        logits, target, given = drawn(rng, dtype, n, c, options)
        expected = with_grad(logits, target, **given)
        for turned, axis in layouts(logits):
            note = f"{n} x {c} axis {axis}"
            there = np.moveaxis(target, -1, axis) if target.ndim == 2 else target
            before = turned.copy(order="K")
            assert_same_bits(loss(turned, there, axis=axis, **given), expected.loss, note)
            result = with_grad(turned, there, axis=axis, **given)
            assert_same_bits(result.loss, expected.loss, note)
            assert_same_bits(rows_of(result.grad, axis), expected.grad, note)
            assert_same_bits(turned, before)
            if c <= 63 and options.get("temperature") != 1e-30:
                assert result.grad.strides == turned.strides, note
            each = rng.standard_normal(n)
            scaled = with_grad(turned, there, axis=axis, grad_output=each, **given)
            by_row = with_grad(logits, target, grad_output=each, **given)
            assert_same_bits(rows_of(scaled.grad, axis), by_row.grad, note)
            if "softcap" in options:
                continue
            for curvature, floor in [("exact", None), ("convex", 1e-6), ("gradient", None)]:
                how = {"curvature": curvature, "hess_floor": floor, "hess_scale": 1.25}
                by_row = with_hess(logits, target, **given, **how)
                result = with_hess(turned, there, axis=axis, **given, **how)
                assert_same_bits(rows_of(result.grad, axis), expected.grad, note)
                size = np.nan_to_num(np.abs(by_row.hess), posinf=0).max(-1, keepdims=True)
                rtol = 1e-5 if dtype is np.float32 else 1e-13
                assert_close(rows_of(result.hess, axis), by_row.hess, rtol, np.broadcast_to(size, (n, c)), 1e-35, note)


@each_dtype
@pytest.mark.once
def test_results_in_any_layout_and_in_single_precision(dtype: type) -> None:
    rng = np.random.default_rng(2)
    for n, c in [(1371, 10), (4099, 3)]:
        logits, target, _ = drawn(rng, dtype, n, c, {})
        expected = xe.softmax_cross_entropy_with_hess(np.asfortranarray(logits), target)
        turned = np.asfortranarray(logits)
        for single in (False, True):
            kind = np.float32 if single else dtype
            places = [np.empty((n, c), kind, order=order) for order in ("F", "C")] + [
                np.empty((n, 2 * c), kind)[:, ::2]
            ]
            for out, hess in itertools.permutations(places, 2):
                result = xe.softmax_cross_entropy_with_hess(turned, target, out=out, hess_out=hess)
                assert result.loss == expected.loss or np.isnan(expected.loss)
                assert result.grad is out and result.hess is hess
                assert_same_bits(np.ascontiguousarray(out), np.ascontiguousarray(expected.grad).astype(kind))
                assert_same_bits(np.ascontiguousarray(hess), np.ascontiguousarray(expected.hess).astype(kind))
        place = turned.copy(order="F")
        result = xe.softmax_cross_entropy_with_grad(place, target, out=place)
        assert result.grad is place
        assert_same_bits(np.ascontiguousarray(place), np.ascontiguousarray(expected.grad))


@pytest.mark.once
def test_more_axes_and_what_is_refused() -> None:
    rng = np.random.default_rng(3)
    images = rng.standard_normal((5, 30, 40))  # classes first
    target = rng.integers(0, 5, (30, 40))
    expected = xe.softmax_cross_entropy_with_grad(np.ascontiguousarray(np.moveaxis(images, 0, -1)), target)
    result = xe.softmax_cross_entropy_with_grad(images, target, axis=0)
    assert result.loss == expected.loss and result.grad.flags.c_contiguous
    assert_same_bits(rows_of(result.grad, 0), expected.grad)
    none = xe.softmax_cross_entropy(images, target, axis=0, reduction="none")
    assert none.shape == (30, 40)
    turned, labels = np.asfortranarray(rng.standard_normal((1000, 8))), rng.integers(0, 8, 1000)
    out = np.full((1000, 8), 7.0, order="F")
    labels[77] = 8
    with pytest.raises(IndexError, match=r"target must be integers in .*, got 8 at row 77"):
        xe.softmax_cross_entropy_with_grad(turned, labels, out=out)
    with pytest.raises(ValueError, match=r"target must have shape \(1000,\), got \(999,\)"):
        xe.softmax_cross_entropy_with_grad(turned, labels[1:], out=out)
    labels[77] = 0
    weight = np.ones(1000)
    weight[3] = -1
    with pytest.raises(ValueError, match=r"sample_weight must be finite and non-negative, got -1\.0 at index 3"):
        xe.softmax_cross_entropy_with_grad(turned, labels, sample_weight=weight, out=out)
    read_only = out.copy(order="F")
    read_only.flags.writeable = False
    with pytest.raises(ValueError, match="out must be writeable"):
        xe.softmax_cross_entropy_with_grad(turned, labels, out=read_only)
    assert (out == 7.0).all()
    nothing = xe.softmax_cross_entropy_with_hess(turned, np.full(1000, -100), out=out)
    assert nothing.loss == 0.0 and not out.any() and not nothing.hess.any()
    zero = xe.softmax_cross_entropy_with_grad(turned, labels, grad_output=0.0)
    assert zero.loss > 0 and not zero.grad.any()
