"""Weights and options that single precision, or even double precision, cannot hold: ratios and limits.

Of the weights of a mean only the ratios matter, and an option too small or too large has the effect of its limit.
"""

from typing import Any

import numpy as np
import pytest

import xentrs as xe
from checks import assert_same_bits
from registry import CASES, DTYPES, GAUSSIANS, HALVES, LINEARS, PROBABILITIES, Case

ALL = [*CASES, *PROBABILITIES]
KINDS = [pytest.param(case, kind, id=f"{case.name}-{kind}") for case in ALL for kind in case.targets]
SHAPES = [(7, 3), (5, 70)]
"""Rows that go by lane, and by row."""

each_case = pytest.mark.parametrize("case", ALL, ids=lambda case: case.name)
each_kind = pytest.mark.parametrize(("case", "kind"), KINDS)
each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)
each_float = pytest.mark.parametrize("dtype", [*DTYPES, *HALVES], ids=lambda dtype: dtype.__name__)

inf, nan = np.inf, np.nan
SCALES = [2.0**-1060, 2.0**-1000, 2.0**-150, 2.0**-130, 2.0**100, 2.0**126, 2.0**1000, 2.0**1022]
"""Of weights from 0.5 to 1.5: powers of two, which change no digit."""


def derivatives(case: Case) -> list[Any]:
    return [f for f in (case.loss, case.loss_with_grad, case.loss_with_hess) if f is not None]


def same(ours: Any, expected: Any, note: str) -> None:
    """The same bits, of a loss alone or with its derivatives."""
    ours, expected = (x if isinstance(x, tuple) else (x,) for x in (ours, expected))
    for a, b in zip(ours, expected, strict=True):
        assert_same_bits(a, b, note)


# --- Weights ----------------------------------------------------------------------------------------------------------


def base_weights(shape: tuple[int, ...]) -> np.ndarray:
    return np.resize([0.5, 1.5, 0.0, 1.0, 0.75], shape)


@each_float
@each_kind
def test_only_ratios_of_weights_matter_to_a_mean(case: Case, kind: str, dtype: type) -> None:
    rng = np.random.default_rng(300)
    wide = np.float64 if dtype is np.float64 else np.float32
    for shape in SHAPES:
        z, t = case.logits(rng, wide, shape).astype(dtype), case.targets[kind](rng, wide, shape)
        names = {"sample_weight": base_weights(case.row_shape(shape))}
        if "class_weight" in case.options:
            names["class_weight"] = base_weights(shape[-1:])
        for name, weight in names.items():
            for f in derivatives(case):
                expected = f(z, t, **{name: weight})
                for scale in SCALES:
                    note = f"{shape} {name} {scale:g} {f.__name__}"
                    same(f(z, t, **{name: weight * scale}), expected, note)
                    if name == "sample_weight":
                        same(f(z, t, sample_weight=(weight * scale).tolist()), expected, note)
                # also where the type holds them, but not their sums and products
                for scale in (2.0**-140, 2.0**126) if wide is np.float32 else ():
                    same(f(z, t, **{name: (weight * scale).astype(np.float32)}), expected, f"{name} {scale:g} float32")


@each_kind
def test_weights_of_decimal_size(case: Case, kind: str) -> None:
    rng = np.random.default_rng(301)
    shape = (2, 3)
    z, t = case.logits(rng, np.float32, shape), case.targets[kind](rng, np.float32, shape)
    t = t % 3 if kind == "classes" else t
    weight = np.array([1.0, 3.0]) if case.has_class_axis else np.array([[1.0, 3.0, 2.0]] * 2)
    expected = case.loss_with_grad(z, t, sample_weight=weight)
    for scale in (1e-46, 1e-300, 1e38, 1e300):
        loss, grad = case.loss_with_grad(z, t, sample_weight=weight * scale)
        np.testing.assert_allclose(loss, expected.loss, rtol=1e-6)
        np.testing.assert_allclose(grad, expected.grad, rtol=1e-6, atol=1e-12)


@each_float
@each_kind
def test_sums_keep_the_scale_of_weights(case: Case, kind: str, dtype: type) -> None:
    """The loss is a Python float, and as large as that can be; losses and derivatives as far as their type goes."""
    rng = np.random.default_rng(302)
    wide = np.float64 if dtype is np.float64 else np.float32
    for shape in SHAPES:
        z, t = case.logits(rng, wide, shape).astype(dtype), case.targets[kind](rng, wide, shape)
        names = {"sample_weight": base_weights(case.row_shape(shape))}
        if "class_weight" in case.options:
            names["class_weight"] = base_weights(shape[-1:])
        for name, weight in names.items():
            for reduction in ("sum", "none"):
                loss, grad = case.loss_with_grad(z.astype(np.float64), t, reduction=reduction, **{name: weight})
                for scale in (2.0**-150, 2.0**-120, 2.0**70, 2.0**126, 2.0**900):
                    note = f"{shape} {reduction} {name} {scale:g}"
                    out = np.full(shape, 77, dtype)
                    ours = case.loss_with_grad(z, t, reduction=reduction, **{name: weight * scale}, out=out)
                    assert ours.grad is out and out.dtype == dtype, note
                    with np.errstate(over="ignore", under="ignore"):
                        true_grad = (grad * scale).astype(dtype)
                        true_loss = np.asarray(loss, np.float64) * scale
                        true_loss = true_loss.astype(np.asarray(ours.loss).dtype)
                    rtol = {np.float32: 1e-5, np.float64: 1e-12}.get(dtype, 0.02)
                    tiny = float(np.finfo(wide).smallest_subnormal) * 2 if dtype in DTYPES else 1e-7
                    # A gradient is as exact as the terms whose difference it is.
                    terms = min(float(np.abs(grad).max()) * scale, 1e36)
                    close(ours.loss, true_loss, 1e-5 if dtype is not np.float64 else 1e-12, tiny, note)
                    close(out, true_grad, rtol, tiny + rtol * terms, note)
                    alone = case.loss(z, t, reduction=reduction, **{name: weight * scale})
                    assert type(alone) is type(ours.loss), note
                    close(alone, ours.loss, 1e-6 if dtype is not np.float64 else 1e-14, tiny, note)


def close(ours: Any, true: Any, rtol: float, atol: float, note: str) -> None:
    """Close, or both infinite, or one infinite and the other nearly too large for the type."""
    ours, true = np.asarray(ours), np.asarray(true)
    most = float(np.finfo(np.float64 if ours.dtype == np.float64 else np.float32).max)
    if ours.dtype.itemsize == 2:
        most = 65504.0 if ours.dtype == np.float16 else most
    with np.errstate(invalid="ignore"):
        ours, true = (np.clip(x.astype(np.float64), -most, most) for x in (ours, true))
    np.testing.assert_allclose(ours, true, rtol=rtol, atol=atol, err_msg=note)


@pytest.mark.parametrize("case", [c for c in CASES if "pos_weight" in c.options], ids=lambda case: case.name)
def test_pos_weight_beyond_float32(case: Case) -> None:
    rng = np.random.default_rng(303)
    z, t = case.logits(rng, np.float32, (5, 4)), np.array([[0, 1, 1, 0]] * 5)
    if case.name == "binary_cross_entropy":
        z = rng.uniform(0.1, 0.9, (5, 4)).astype(np.float32)
    for pos_weight in (1e-46, 1e-300, 1e38, 1e40, 1e300, [1.0, 1e-46, 1e39, 2.0]):
        truth = case.oracle(z, t, pos_weight=pos_weight)
        for reduction in ("mean", "sum"):
            loss, grad = case.loss_with_grad(z, t, pos_weight=pos_weight, reduction=reduction)
            true_loss, true_grad, _ = truth.reduced(reduction)
            np.testing.assert_allclose(loss, true_loss, rtol=1e-6)
            with np.errstate(over="ignore"):
                np.testing.assert_allclose(grad, true_grad.astype(np.float32), rtol=1e-4, atol=1e-44)


@each_case
def test_a_weight_that_is_not_zero_counts(case: Case) -> None:
    """However small its share: the NaN of its row is not passed over. A row of weight 0 is."""
    rng = np.random.default_rng(304)
    z, t = case.logits(rng, np.float32, (2, 4)), case.targets[list(case.targets)[-1]](rng, np.float32, (2, 4))
    z[0] = nan
    for small in (1e-46, 1e-300):
        weight = np.array([small, 1.0]) if case.has_class_axis else np.array([[small] * 4, [1.0] * 4])
        assert np.isnan(case.loss(z, t, sample_weight=weight))
    assert not np.isnan(case.loss(z, t, sample_weight=np.where(weight == small, 0, weight)))


@each_case
@pytest.mark.once
def test_weights_that_are_wrong_are_refused_as_they_came(case: Case) -> None:
    rng = np.random.default_rng(305)
    z, t = case.logits(rng, np.float32, (2, 4)), case.targets[list(case.targets)[-1]](rng, np.float32, (2, 4))
    for wrong in (-1e-46, -1e300, inf, nan):
        weight = np.full(case.row_shape((2, 4)), 1e-46)
        weight.flat[1] = wrong
        for reduction in ("mean", "sum"):
            out = np.full((2, 4), 77, np.float32)
            words = f"(?i)sample_weight must be finite and non-negative, got {wrong}".replace("+", "")
            with pytest.raises(ValueError, match=words):
                case.loss_with_grad(z, t, sample_weight=weight, reduction=reduction, out=out)
            assert (out == 77).all()


@pytest.mark.parametrize("gaussian", GAUSSIANS, ids=lambda gaussian: gaussian.name)
@each_dtype
def test_weights_of_gaussians(gaussian: Any, dtype: type) -> None:
    rng = np.random.default_rng(306)
    mean, target = rng.normal(size=(2, 5, 3)).astype(dtype)
    var = rng.uniform(0.5, 2, (5, 3)).astype(dtype)
    weight = base_weights((5, 3))
    for form in ({"var": var}, {"log_var": np.log(var)}, {"var": dtype(2.0)}):
        expected = gaussian.loss_with_grad(mean, target, sample_weight=weight, **form)
        for scale in SCALES:
            same(gaussian.loss_with_grad(mean, target, sample_weight=weight * scale, **form), expected, f"{scale:g}")
        expected = gaussian.loss_with_grad(mean, target, sample_weight=weight, reduction="sum", **form)
        for scale in (2.0**-140, 2.0**100):
            ours = gaussian.loss_with_grad(mean, target, sample_weight=weight * scale, reduction="sum", **form)
            assert type(ours.loss) is float
            for a, b in zip(ours, expected, strict=True):
                np.testing.assert_allclose(np.float64(a), np.float64(b) * scale, rtol=1e-5, atol=2e-45)
                assert np.asarray(a).dtype == np.asarray(b).dtype


@pytest.mark.parametrize("linear", LINEARS, ids=lambda linear: linear.kind)
@each_float
def test_weights_of_linear_layers(linear: Any, dtype: type) -> None:
    """Small layers, tiles, and strips of very many classes."""
    rng = np.random.default_rng(307)
    wide = np.float64 if dtype is np.float64 else np.float32
    for n, d, c in [(9, 4, 3), (9, 70, 300)]:
        x, weight = (rng.normal(size=shape).astype(dtype) for shape in [(n, d), (c, d)])
        t = linear.targets[next(iter(linear.targets))](rng, wide, (n, c))
        s = base_weights((n,) if linear.kind == "softmax" else (n, c))
        options = {"kind": linear.kind, "bias": np.zeros(c, dtype)}
        expected = linear.loss_with_grad(x, weight, t, sample_weight=s, **options)
        for scale in SCALES:
            same(linear.loss_with_grad(x, weight, t, sample_weight=s * scale, **options), expected, f"{scale:g}")
        expected = linear.loss_with_grad(x, weight, t, sample_weight=s, reduction="sum", **options)
        out = (None, np.zeros((c, d), dtype), None)
        ours = linear.loss_with_grad(x, weight, t, sample_weight=s * 2.0**80, reduction="sum", out=out, **options)
        assert type(ours.loss) is float and ours.grad_weight is out[1]
        np.testing.assert_allclose(ours.loss, expected.loss * 2.0**80, rtol=1e-4 if wide is np.float32 else 1e-12)
        for a, b in zip(ours[1:], expected[1:], strict=True):
            assert a.dtype == b.dtype == dtype
            if dtype in DTYPES:
                np.testing.assert_allclose(a, b * dtype(2.0**80), rtol=2e-4, atol=2.0**80 * 1e-5)


# --- Options of the softmax family ------------------------------------------------------------------------------------

SOFTMAX = [case for case in ALL if "temperature" in case.options]
each_softmax = pytest.mark.parametrize("case", SOFTMAX, ids=lambda case: case.name)
Z = np.array([[2.0, 1.0, -1.0], [0.5, 3.0, 3.0], [1.0, -4.0, 2.0], [1.0, -inf, 2.0]])


def rows(dtype: type, c: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows whose label is the largest, one of two largest, not the largest, and masked; with more classes far below."""
    z = np.full((4, c), -5.0)
    z[:, :3] = Z
    return z.astype(dtype), np.array([0, 1, 1, 1])


def mapped(z: np.ndarray, temperature: float, softcap: float | None = None) -> np.ndarray:
    """The logits that a temperature and a softcap make, all less the largest of their row."""
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        z = z.astype(np.float64)
        z = z if softcap is None else np.where(np.abs(z / softcap) < 1e-9, z, softcap * np.tanh(z / softcap))
        return (z - z.max(-1, keepdims=True)) / temperature


@each_softmax
@each_dtype
@pytest.mark.parametrize("temperature", [1e-310, 1e-300, 1e-100, 1e-40, 1e-12, 1e12, 1e30, 1e100, 1e300])
def test_a_temperature_far_from_1_has_its_limit(case: Case, dtype: type, temperature: float) -> None:
    for c in (3, 70):
        z, y = rows(dtype, c)
        soft = np.zeros((4, c), dtype)
        soft[:, 0], soft[:, 2] = 0.25, 0.75
        w = np.linspace(0.5, 2, c)
        for t, options in [(y, {}), (soft, {}), (y, {"class_weight": w}), (soft, {"class_weight": w})]:
            for softcap in (None, 30.0, 1e300):
                note = f"c={c} {t.ndim} {list(options)} {softcap}"
                with np.errstate(over="ignore", invalid="ignore", divide="ignore", under="ignore"):
                    truth = case.oracle(mapped(z, temperature, softcap), t, **options)
                    # A type that cannot hold a softcap, or its quotient where it uses that, has none.
                    most = float(np.finfo(dtype).max)
                    is_near = temperature > (1e-9 if dtype is np.float32 else 1e-76)
                    flat = softcap is None or softcap > most or (is_near and softcap / temperature > most)
                    slope = 1.0 if flat else 1 / np.cosh(z.astype(np.float64) / softcap) ** 2
                    grad = (truth.grad * slope / temperature).astype(dtype)
                    loss = truth.loss.astype(dtype)
                ours = case.loss_with_grad(z, t, temperature=temperature, softcap=softcap, reduction="none", **options)
                rtol = 2e-5 if dtype is np.float32 else 1e-11
                np.testing.assert_allclose(ours.loss, loss, rtol=rtol, err_msg=note)
                floor = 0.0 if temperature < 1 else 1e-6 / temperature + 2 * float(np.finfo(dtype).smallest_subnormal)
                np.testing.assert_allclose(ours.grad, grad, rtol=rtol, atol=floor, err_msg=note)
                alone = case.loss(z, t, temperature=temperature, softcap=softcap, reduction="none", **options)
                np.testing.assert_allclose(alone, loss, rtol=rtol, err_msg=note)


@each_softmax
def test_a_certain_row_at_temperature_0(case: Case) -> None:
    """Loss and gradient are exactly 0 where the label is the largest, in every reduction and in place."""
    for temperature in (1e-40, 1e-300):
        for reduction in ("mean", "sum", "none"):
            z = np.array([[2.0, 1, 0]], np.float32)
            loss, grad = case.loss_with_grad(z, [0], temperature=temperature, reduction=reduction, out=z)
            assert np.all(loss == 0) and grad is z and np.array_equal(grad, np.zeros((1, 3)))
        assert case.loss([[2.0, 1, 0]], [1], temperature=temperature) in (inf, pytest.approx(1 / temperature))
        assert case.loss(np.array([[2.0, 1, 0]], np.float16), [1], temperature=temperature, reduction="none")[0] == inf


def test_hessians_at_far_temperatures() -> None:
    for dtype in DTYPES:
        for c in (3, 70):
            z, y = rows(dtype, c)
            for temperature in (1e-300, 1e-40, 1e30, 1e300):
                with np.errstate(over="ignore", invalid="ignore", divide="ignore", under="ignore"):
                    truth = CASES[0].oracle(mapped(z, temperature), y)
                    hess = (truth.hess / temperature / temperature).astype(dtype)
                ours = xe.softmax_cross_entropy_with_hess(z, y, temperature=temperature, reduction="sum").hess
                np.testing.assert_allclose(ours, hess, rtol=1e-5, atol=1e-44)


@each_softmax
@each_dtype
def test_z_loss_at_far_temperatures(case: Case, dtype: type) -> None:
    """The level of the logits, which the loss alone does not depend on, is not lost."""
    z, y = rows(dtype, 3)
    for temperature in (1e-20, 1e20, 1e30):
        truth = case.oracle(z.astype(np.float64)[:3], y[:3], temperature=temperature, z_loss=0.01)
        loss = case.loss(z[:3], y[:3], temperature=temperature, z_loss=0.01, reduction="sum")
        np.testing.assert_allclose(loss, truth.loss.sum(), rtol=1e-6)


@each_softmax
@each_float
def test_a_softcap_far_away_is_none(case: Case, dtype: type) -> None:
    wide = np.float64 if dtype is np.float64 else np.float32
    for c in (3, 70):
        z, y = rows(wide, c)
        z = z[:3].astype(dtype)
        for temperature in (1.0, 0.1, 50.0):
            plain = case.loss_with_grad(z, y[:3], temperature=temperature, reduction="none")
            for softcap in (1e20, 1e28, 1e30, 1e35, 1e38, 1e39, 1e300, 1e308):
                ours = case.loss_with_grad(z, y[:3], temperature=temperature, softcap=softcap, reduction="none")
                # 4 ULP of a logit of up to 50
                rtol = {np.float64: 1e-11, np.float32: 5e-5}.get(dtype, 2e-2)
                note = f"{c} {temperature} {softcap}"
                np.testing.assert_allclose(ours.loss, plain.loss, rtol=min(rtol, 5e-5), err_msg=note)
                ours_grad, grad = (np.asarray(x.grad, np.float64) for x in (ours, plain))
                np.testing.assert_allclose(ours_grad, grad, rtol=rtol, atol=1e-6, err_msg=note)
        # a class that is masked stays so
        masked = np.where(np.arange(c) == 1, -inf, z.astype(wide)).astype(dtype)
        for softcap in (1e38, 1e300):
            loss, grad = case.loss_with_grad(masked, [0, 2, 0], softcap=softcap, reduction="none")
            plain = case.loss_with_grad(masked, [0, 2, 0], reduction="none")
            np.testing.assert_allclose(loss, plain.loss, rtol=5e-5)
            assert np.isfinite(np.asarray(grad, np.float64)).all()


@each_softmax
@each_dtype
def test_a_softcap_near_0_makes_logits_alike(case: Case, dtype: type) -> None:
    for c in (3, 70):
        z, y = rows(dtype, c)
        even = case.loss(np.zeros_like(z), y, reduction="none")
        for softcap in (1e-30, 1e-40, 1e-300, 1e-310):
            loss, grad = case.loss_with_grad(z, y, softcap=softcap, reduction="none")
            np.testing.assert_allclose(loss, even, rtol=1e-6)
            assert (grad == 0).all()
            zero, slope = case.loss_with_grad(np.zeros_like(z), y, softcap=softcap, reduction="none")
            plain = case.loss_with_grad(np.zeros_like(z), y, reduction="none")
            np.testing.assert_allclose(zero, plain.loss, rtol=1e-6)
            np.testing.assert_allclose(slope, plain.grad, rtol=1e-5)


@each_softmax
@pytest.mark.parametrize("weighted", [False, True])
def test_smoothing_and_z_loss_near_0_are_none(case: Case, weighted: bool) -> None:
    for c in (3, 70):
        z, y = rows(np.float32, c)
        y = np.array([0, 1, 2, 2])  # classes that are not masked
        options = {"class_weight": np.linspace(0.5, 2, c)} if weighted else {}
        soft = np.eye(c, dtype=np.float32)[y]
        for t in (y, soft):
            plain = case.loss_with_grad(z, t, reduction="none", **options)
            for name in ("label_smoothing", "z_loss"):
                for small in (1e-40, 1e-46, 1e-300):
                    ours = case.loss_with_grad(z, t, reduction="none", **{name: small}, **options)
                    note = f"c={c} {t.ndim} {name}={small}"
                    np.testing.assert_allclose(ours.loss, plain.loss, rtol=1e-6, atol=1e-38, err_msg=note)
                    np.testing.assert_allclose(ours.grad, plain.grad, rtol=1e-5, atol=1e-38, err_msg=note)
        # an infinite logit, whose log-partition is infinite, makes no NaN
        z[0, 0] = inf
        assert case.loss(z, y, z_loss=1e-46, reduction="none")[0] == inf


@each_softmax
def test_a_large_z_loss(case: Case) -> None:
    for c in (3, 70):
        z, y = rows(np.float32, c)
        z, y = z[:3], y[:3]
        for z_loss in (1e20, 1e30, 1e38, 1e300):
            with np.errstate(over="ignore"):
                truth = case.oracle(z, y, z_loss=z_loss)
                ours = case.loss_with_grad(z, y, z_loss=z_loss, reduction="sum")
                np.testing.assert_allclose(ours.loss, truth.loss.sum(), rtol=1e-6)
                np.testing.assert_allclose(ours.grad, truth.grad.astype(np.float32), rtol=1e-5)


@pytest.mark.parametrize("case", [c for c in ALL if "gamma" in c.options and c.has_class_axis], ids=lambda c: c.name)
def test_a_focus_near_0_and_a_large_one(case: Case) -> None:
    rng = np.random.default_rng(308)
    for c in (3, 70):
        z = rng.normal(size=(6, c)) * 10
        z[0, :2] = [80, -8]  # probabilities of 1e-38, for which a large focus makes a difference
        y, soft = rng.integers(0, c, 6), rng.dirichlet(np.ones(c), 6)
        for t in (y, soft):
            plain = xe.softmax_cross_entropy_with_grad(z, t, reduction="none")
            for gamma in (1e-40, 1e-300):
                ours = case.loss_with_grad(z, t, gamma=gamma, reduction="none")
                np.testing.assert_allclose(ours.loss, plain.loss, rtol=1e-12)
                np.testing.assert_allclose(ours.grad, plain.grad, rtol=1e-10, atol=1e-15)
            for gamma in (100.0, 1e4, 1e9):
                truth = case.oracle(z.astype(np.float32), t, gamma=gamma)
                loss, grad = case.loss_with_grad(z.astype(np.float32), t, gamma=gamma, reduction="none")
                # the exponent of the power has the rounding of p, times gamma
                np.testing.assert_allclose(loss, truth.loss, rtol=1e-3, atol=1e-6)
                assert np.isfinite(grad).all()
            for gamma in (1e30, 1e300):
                for dtype in DTYPES:
                    loss, grad = case.loss_with_grad(z.astype(dtype), t, gamma=gamma, reduction="none")
                    assert np.isfinite(loss).all() and (loss >= 0).all() and np.isfinite(grad).all()


# --- Options of the others --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", [c for c in ALL if "alpha" in c.options], ids=lambda case: case.name)
def test_small_options_of_the_sigmoid_focal_loss(case: Case) -> None:
    rng = np.random.default_rng(309)
    z, t = case.logits(rng, np.float32, (9, 5)), rng.integers(0, 2, (9, 5))
    for name, none in [("gamma", {"gamma": 0.0}), ("alpha", {"alpha": 0.0}), ("label_smoothing", {})]:
        plain = case.loss_with_grad(z, t, **none)
        for small in (1e-40, 1e-46, 1e-300):
            ours = case.loss_with_grad(z, t, **{name: small})
            np.testing.assert_allclose(ours.loss, plain.loss, rtol=1e-6, err_msg=f"{name}={small}")
            np.testing.assert_allclose(ours.grad, plain.grad, rtol=1e-5, atol=1e-37, err_msg=f"{name}={small}")


@pytest.mark.parametrize("case", [c for c in ALL if "eps" in c.options], ids=lambda case: case.name)
@each_dtype
@pytest.mark.parametrize("eps", [1e-300, 1e-46, 1e-40, 1e-17, 1e-9, 1e-4])
def test_eps_is_what_it_says(case: Case, dtype: type, eps: float) -> None:
    """Also where the type can hold neither eps nor 1 - eps: costs are clipped, and so is the gradient."""
    p = np.array([[0.0, 1.0, 0.5, 1e-30, 0.25]] * 2, dtype)
    for t in ([1, 0], [0, 1]) if case.has_class_axis else ([[1, 1, 1, 1, 0]] * 2, [[0, 0, 1, 1, 0]] * 2):
        target = np.array(t)
        for soft in (False, True):
            if soft:
                target = np.eye(5)[target] if case.has_class_axis else target.astype(dtype)
            one = np.broadcast_to(target if target.ndim == 2 else np.eye(5)[target], (2, 5)).astype(np.float64)
            wide = p.astype(np.float64)
            inside = (wide >= eps) & (1 - wide >= eps)
            with np.errstate(divide="ignore", invalid="ignore"):
                yes, no = (np.clip(-cost, -np.log1p(-eps), -np.log(eps)) for cost in (np.log(wide), np.log1p(-wide)))
                grad = np.where(inside & (one > 0), -one / wide, 0)
                true = one * yes
                if not case.has_class_axis:
                    grad = grad + np.where(inside & (one < 1), (1 - one) / (1 - wide), 0)
                    true = true + (1 - one) * no
            true = true.sum(-1) if case.has_class_axis else true
            ours = case.loss_with_grad(p, target, eps=eps, reduction="none")
            with np.errstate(over="ignore"):
                np.testing.assert_allclose(ours.loss, true.astype(dtype), rtol=1e-6 if dtype is np.float32 else 1e-14)
                np.testing.assert_allclose(ours.grad, grad.astype(dtype), rtol=1e-6)


@pytest.mark.parametrize("case", [c for c in ALL if "eps" in c.options], ids=lambda case: case.name)
def test_eps_mends_what_rounding_put_outside(case: Case) -> None:
    p = np.array([[1.0000001, -1e-7, 0.5], [0.25, 1.0000002, 1.0]], np.float32)
    t = np.eye(3)[[0, 1]] if case.has_class_axis else np.array([[1.0, 0, 1], [1, 1, 0]])
    expected = case.loss_with_grad(np.clip(p, 0, 1), t, eps=1e-7)
    given = p.copy()
    for form in (given, given.astype(np.float64), given.tolist()):
        ours = case.loss_with_grad(form, t, eps=1e-7)
        np.testing.assert_allclose(ours.loss, expected.loss, rtol=1e-6)
        np.testing.assert_allclose(ours.grad, expected.grad, rtol=1e-6)
        np.testing.assert_allclose(case.loss(form, t, eps=1e-7), expected.loss, rtol=1e-6)
    assert np.array_equal(given, p)
    out = given
    assert case.loss_with_grad(given, t, eps=1e-7, out=out).grad is out
    np.testing.assert_allclose(out, expected.grad, rtol=1e-6)
    # half precision has a coarser rounding; nobody else does
    half = np.array([[1.0009766, -0.0009766, 0.5], [0.25, 1.0, 1.0]], np.float16)
    assert np.isfinite(case.loss(half, t, eps=1e-3))
    for wrong, eps in [(p, 0.0), (half.astype(np.float32), 1e-3), (p + np.float32(1e-5), 1e-3), (p - 0.5, 1e-3)]:
        out = np.full((2, 3), 77, wrong.dtype)
        with pytest.raises(ValueError, match=r"^p must be in \[0, 1\], got -?[\d.]+(e-\d+)? at index \d$"):
            case.loss_with_grad(wrong, t, eps=eps, out=out)
        assert (out == 77).all()


@pytest.mark.parametrize(
    "case", [c for c in CASES if "floats" in c.targets and c.name != "hinge_loss"], ids=lambda c: c.name
)
@pytest.mark.parametrize("ignore_index", [None, 0])
def test_soft_labels_that_rounding_put_outside(case: Case, ignore_index: int | None) -> None:
    """0.1 + 0.9 in float32, wherever it is kept."""
    options = {"ignore_index": ignore_index} if "ignore_index" in case.options else {}
    z = np.full((2, 3), 0.25, np.float32)
    t = np.array([[1.0000001, -5e-8, 0.5], [0.25, 1.0, 1.0000002]], np.float32)
    expected = case.loss_with_grad(z, np.clip(t, 0, 1), **options)
    for form in (t, t.astype(np.float64), t.tolist(), t.astype(np.float64).astype(">f8")):
        same(case.loss_with_grad(z, form, **options), expected, "")
    with pytest.raises(ValueError, match=r"^target must be in \[0, 1\]( or ignore_index)?, got 1.00001"):
        case.loss(z, t + np.float32(1e-5), **options)


# --- Distributions ----------------------------------------------------------------------------------------------------


def test_distributions_of_coarser_types() -> None:
    rng = np.random.default_rng(310)
    for c in (3, 10, 500):
        z = rng.normal(size=(50, c)) * 3
        fine, single = xe.softmax(z), xe.softmax(z.astype(np.float32))
        wide = single.astype(np.float64)
        exact = wide / wide.sum(-1, keepdims=True)
        for f in (xe.entropy, xe.perplexity):
            np.testing.assert_allclose(f(wide), f(exact), rtol=1e-5)
            np.testing.assert_allclose(f(single.tolist()), f(exact), rtol=1e-5)
        for f, with_grad in [
            (xe.cross_entropy, xe.cross_entropy_with_grad),
            (xe.kl_divergence, xe.kl_divergence_with_grad),
            (xe.js_divergence, xe.js_divergence_with_grad),
        ]:
            for p, q in [(single, fine), (fine, single), (wide, fine), (fine.tolist(), wide.tolist())]:
                as_exact = [exact if np.array_equal(x, wide) else fine for x in (p, q)]
                np.testing.assert_allclose(f(p, q), f(*as_exact), rtol=1e-5, atol=1e-11)
                assert f(p, q).dtype == np.float64
                assert_same_bits(with_grad(p, q).value, f(p, q))
            for half in HALVES:
                coarse = xe.softmax((z / 4).astype(half))  # none of which is 0
                for p, q in [(coarse, fine), (fine, coarse), (coarse, single), (single, coarse)]:
                    assert np.isfinite(f(p, q)).all() and np.isfinite(with_grad(p, q).grad_p).all()
                    with pytest.raises(ValueError, match="must sum to 1"):
                        f(p * p.dtype.type(1.5), q)


# --- Evaluation -------------------------------------------------------------------------------------------------------


@each_float
def test_weights_of_statistics(dtype: type) -> None:
    rng = np.random.default_rng(311)
    for c in (3, 70):
        z, y = rng.normal(size=(9, c)).astype(dtype), rng.integers(0, c, 9)
        weight = base_weights((9,))
        expected = xe.LossAccumulator().update(z, y, sample_weight=weight).result()
        calibration = xe.expected_calibration_error(z, y, sample_weight=weight)
        for scale in (2.0**-1000, 2.0**-150, 2.0**127, 2.0**1000):
            stats = xe.softmax_stats(z, y, sample_weight=weight * scale)
            assert stats.weight.dtype == np.float64
            np.testing.assert_array_equal(stats.weight, weight * scale)
            np.testing.assert_array_equal(stats.loss == 0, weight == 0)
            ours = xe.LossAccumulator().update(z[:4], y[:4], sample_weight=weight[:4] * scale)
            ours = ours.update(z[4:], y[4:], sample_weight=weight[4:] * scale).result()
            np.testing.assert_allclose(ours.loss, expected.loss, rtol=1e-14)
            assert (ours.accuracy, ours.rows) == (expected.accuracy, expected.rows)
            assert ours.weight == expected.weight * scale
            assert xe.expected_calibration_error(z, y, sample_weight=weight * scale) == calibration


# --- Labels -----------------------------------------------------------------------------------------------------------

INTEGERS = [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64]


@pytest.mark.parametrize("integer", INTEGERS, ids=lambda integer: integer.__name__)
def test_labels_of_every_width(integer: type) -> None:
    """Every reader of classes, and of labels of points, takes them as they are."""
    rng = np.random.default_rng(312)
    info = np.iinfo(integer)
    for c in (3, 127):
        z, y = rng.normal(size=(6, c)).astype(np.float32), np.array([0, 1, 2, 2, 1, 0])
        labels = y.astype(integer)
        for form in (labels, labels.astype(labels.dtype.newbyteorder()), np.repeat(labels, 2)[::2]):
            for case in (case for case in ALL if case.has_class_axis):
                x = case.admit(z) if case in CASES else rng.uniform(0.1, 1, z.shape).astype(np.float32)
                same(case.loss_with_grad(x, form), case.loss_with_grad(x, y), case.name)
            pairs = (form[:, None], np.ones((6, 1), np.float32))
            assert xe.softmax_cross_entropy(z, pairs) == xe.softmax_cross_entropy(z, (y[:, None], pairs[1]))
            assert xe.LossAccumulator().update(z, form) == xe.LossAccumulator().update(z, y)
            assert xe.parity_penalty(z[:, 0], form) == xe.parity_penalty(z[:, 0], y)
            assert xe.js_smoothness(z, segments=form) == xe.js_smoothness(z, segments=y)
        # labels that are not classes: as they are in the message, and ignored only where they are the ignored one
        for wrong in {int(info.max), int(info.max) - 1, int(info.min)} - {0, 127 if c > 127 else -1}:
            if 0 <= wrong < c:
                continue
            bad = labels.copy()
            bad[3] = wrong
            with pytest.raises(IndexError, match=rf"got {wrong} at row 3"):
                xe.softmax_cross_entropy(z, bad)
            if -(2**63) <= wrong < 2**63:
                keep = np.arange(6) != 3
                ignoring = xe.softmax_cross_entropy(z, bad, ignore_index=wrong)
                assert ignoring == pytest.approx(xe.softmax_cross_entropy(z[keep], y[keep]), rel=1e-6)
                with pytest.raises(IndexError, match=rf"got {wrong} at row 3"):
                    xe.softmax_cross_entropy(z, bad, ignore_index=wrong - 1 if wrong > 0 else wrong + 1)


@pytest.mark.parametrize("case", [c for c in CASES if not c.has_class_axis], ids=lambda case: case.name)
def test_labels_of_points_of_every_width(case: Case) -> None:
    rng = np.random.default_rng(313)
    z, t = case.admit(case.logits(rng, np.float32, (4, 3))), rng.integers(0, 2, (4, 3))
    for integer in INTEGERS:
        same(case.loss_with_grad(z, t.astype(integer)), case.loss_with_grad(z, t), integer.__name__)
        big = t.astype(integer)
        big[1, 1] = np.iinfo(integer).max
        with pytest.raises(ValueError, match=rf"got {np.iinfo(integer).max} at index 4"):
            case.loss(z, big)
    if "ignore_index" in case.options:
        for ignored in (2**53 + 1, 2**62 + 1, -(2**53) - 1):
            some = t.copy()
            some[1, 1] = ignored
            expected = case.loss_with_grad(z, t, sample_weight=(some == t).astype(float))
            ours = case.loss_with_grad(z, some, ignore_index=ignored)
            np.testing.assert_allclose(ours.loss, expected.loss, rtol=1e-6)
            np.testing.assert_allclose(ours.grad, expected.grad, rtol=1e-6)
            with pytest.raises(ValueError, match=rf"got {ignored} at index 4"):
                case.loss(z, some, ignore_index=ignored - 1)


def test_weights_beyond_float32_and_logits_of_the_other_byte_order() -> None:
    z = np.array([[0.5], [np.nan], [-2.0]], np.float32)
    z.view(np.uint32)[1] = 0x7F80_0001  # signalling NaN, of which NumPy warns where it is converted
    target = np.array([[True], [False], [True]])
    for logits in (z, z.astype(z.dtype.newbyteorder())):
        loss, grad = xe.hinge_loss_with_grad(logits, target, sample_weight=1e300, reduction="none")
        np.testing.assert_array_equal(grad, [[-inf], [nan], [-inf]])
        assert loss.dtype == grad.dtype == np.float32


def test_probabilities_beyond_1_beside_a_signalling_nan() -> None:
    p = np.array([1 + 2.0**-23, 0.5, 0.0], np.float32)
    p.view(np.uint32)[2] = 0x7F80_0001
    loss = xe.binary_cross_entropy(p, [1, 0, 1], eps=0.125, reduction="none")
    np.testing.assert_allclose(loss, [-np.log(0.875), np.log(2), nan], rtol=1e-6)
