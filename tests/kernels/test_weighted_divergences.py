"""Divergences with a temperature and with weights of rows, as distillation asks for."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import xentrs as xe
from checks import assert_close, assert_same_bits
from draws import mild_logits
from registry import DTYPES, HALVES

Array = np.ndarray[Any, Any]
nan, inf = np.nan, np.inf

each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)
each_kind = pytest.mark.parametrize(
    ("function", "with_grad"),
    [(xe.kl_divergence, xe.kl_divergence_with_grad), (xe.js_divergence, xe.js_divergence_with_grad)],
    ids=["kl", "js"],
)
SHAPES = [(1, 2), (67, 10), (40, 3), (5, 100), (3, 1500), (2, 70_000)]


@each_dtype
@each_kind
def test_a_temperature_divides_logits(function: Callable[..., Any], with_grad: Callable[..., Any], dtype: type) -> None:
    rng = np.random.default_rng(0)
    for shape in SHAPES:
        p, q = mild_logits(rng, dtype, shape), mild_logits(rng, dtype, shape)
        for single in (False, True):
            other = q[0] if single else q
            expected = with_grad(p / dtype(4), other / dtype(4), from_logits=True)
            result = with_grad(p, other, from_logits=True, temperature=4.0)
            assert_same_bits(result.value, expected.value)
            assert_same_bits(function(p, other, from_logits=True, temperature=4.0), expected.value)
            for one, grad in ((result.grad_p, expected.grad_p), (result.grad_q, expected.grad_q)):
                assert_close(one, grad / 4, 1e-6, floor=1e-30)
        scaled = with_grad(p, q, from_logits=True, temperature=0.7)
        truth = function(p.astype(np.float64) / 0.7, q.astype(np.float64) / 0.7, from_logits=True)
        assert_close(scaled.value, truth, 1e-5 if dtype is np.float32 else 1e-13, 1e-2 + truth)
    cold = with_grad(np.array([[1.0, 2.0]], dtype), np.array([[3.0, 0.0]], dtype), from_logits=True, temperature=1e-300)
    assert cold.value[0] == (inf if function is xe.kl_divergence else dtype(np.log(2)))


@each_dtype
@each_kind
@pytest.mark.parametrize("form", ["probabilities", "normalize", "logits"])
def test_weights_multiply_and_0_leaves_out(
    function: Callable[..., Any], with_grad: Callable[..., Any], form: str, dtype: type
) -> None:
    """Whatever stands in a row of weight 0, it is neither read nor refused, and spoils no neighbour."""
    rng = np.random.default_rng(1)
    how: dict[str, Any] = {"from_logits": form == "logits", "normalize": form == "normalize"}
    for shape in SHAPES:
        p, q = mild_logits(rng, dtype, shape), mild_logits(rng, dtype, shape)
        if form != "logits":
            p, q = (xe.softmax(x.astype(np.float64)).astype(dtype) for x in (p, q))
        weight = rng.integers(0, 3, shape[0]).astype(float)
        upstream = rng.normal(size=shape[0])
        bare = with_grad(p, q, **how)
        p[weight == 0], q[weight == 0] = nan, -3.0
        for wrong in (weight == 0).nonzero()[0]:
            p[wrong, 0], q[wrong, 0] = inf, nan
        result = with_grad(p, q, **how, sample_weight=weight, grad_output=upstream)
        assert_close(result.value, weight * bare.value, 1e-6)
        assert_same_bits(function(p, q, **how, sample_weight=weight), result.value)
        factor = (weight * upstream)[:, None]
        for one, grad in ((result.grad_p, bare.grad_p), (result.grad_q, bare.grad_q)):
            assert_close(one, np.where(factor == 0, 0, factor * grad), 1e-5, floor=1e-35)
        with xe.threads(1):
            alone = with_grad(p, q, **how, sample_weight=weight, grad_output=upstream)
        for one, other in zip(alone, result, strict=True):
            assert_same_bits(one, other)
        single = with_grad(p, p[weight.argmax()], **how, sample_weight=weight)
        if weight.any():
            kept = weight > 0
            again = with_grad(p[kept], p[weight.argmax()], **how, sample_weight=weight[kept])
            assert_close(single.grad_q, again.grad_q, 1e-5, floor=1e-6)
            assert_same_bits(single.value[kept], again.value)


@each_kind
def test_weights_and_temperature_of_halves(function: Callable[..., Any], with_grad: Callable[..., Any]) -> None:
    rng = np.random.default_rng(2)
    for half in HALVES:
        for shape in [(9, 10), (3, 3000)]:
            p, q = (mild_logits(rng, np.float32, shape).astype(half) for _ in range(2))
            given: dict[str, Any] = {
                "from_logits": True,
                "temperature": 2.0,
                "sample_weight": np.arange(float(shape[0])),
            }
            wide = with_grad(p.astype(np.float32), q.astype(np.float32), **given)
            result = with_grad(p, q, **given)
            assert_same_bits(result.value, wide.value)
            for one, grad in ((result.grad_p, wide.grad_p), (result.grad_q, wide.grad_q)):
                assert_same_bits(one, grad.astype(half))


@each_kind
@pytest.mark.once
def test_errors_name_the_row_that_counts(function: Callable[..., Any], with_grad: Callable[..., Any]) -> None:
    p = np.array([[2.0, 3.0], [0.5, 0.5], [0.7, 0.7]])
    q = np.full((3, 2), 0.5)
    for call in (function, with_grad):
        with pytest.raises(ValueError, match=re.escape("p must sum to 1, got 1.4 at row 2")):
            call(p, q, sample_weight=[0.0, 1.0, 1.0])
        call(p, q, sample_weight=[0.0, 1.0, 0.0])
        with pytest.raises(
            ValueError, match=re.escape("sample_weight must be finite and non-negative, got -1.0 at index 1")
        ):
            call(q, q, sample_weight=[0.0, -1.0, 1.0])
        with pytest.raises(ValueError, match=r"sample_weight must have shape \(3,\), got \(2,\)"):
            call(q, q, sample_weight=[0.0, 1.0])
        with pytest.raises(ValueError, match=re.escape("temperature must be 1.0 where from_logits is False, got 2.0")):
            call(q, q, temperature=2.0)
        with pytest.raises(ValueError, match=re.escape("temperature must be positive and finite, got 0.0")):
            call(q, q, from_logits=True, temperature=0.0)
