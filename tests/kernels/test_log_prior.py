"""A number for each class, added to its logits: the same as logits to which it was added before, on every road."""

from typing import Any

import numpy as np
import pytest

import xentrs as xe
from checks import assert_close
from draws import classes, distributions, log_shares, mild_logits
from registry import DTYPES, HALVES

nan, inf = np.nan, np.inf

each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)

RTOL = {np.float32: 1e-6, np.float64: 1e-14}
SHAPES = [(1, 2), (67, 10), (5, 63), (20, 100), (3, 1025), (2, 70_000), (130, 66_000)]
"""The last two without an option are split among threads, and bypass the caches."""


@each_dtype
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_it_is_added(shape: tuple[int, int], dtype: type) -> None:
    rng = np.random.default_rng(0)
    z, prior = mild_logits(rng, dtype, shape), log_shares(rng, dtype, shape)
    y = classes(rng, dtype, shape)
    targets: list[Any] = [y] if shape[1] > 2000 else [y, distributions(rng, dtype, shape)]
    if shape[1] == 66_000 and dtype is np.float64:
        pytest.skip("the same as in float32, and as large again")
    for target in targets:
        for function in (xe.softmax_cross_entropy_with_grad, xe.softmax_focal_loss_with_grad):
            if shape[1] > 2000 and function is xe.softmax_focal_loss_with_grad:
                continue
            expected = function(z + prior, target)
            for place in (None, z.copy()):
                given = z if place is None else place
                result = function(given, target, log_prior=prior, out=place)
                assert_close(result.loss, expected.loss, RTOL[dtype])
                assert_close(result.grad, expected.grad, 10 * RTOL[dtype], floor=np.finfo(dtype).eps * 1e-3)
        if shape[1] <= 2000:
            hess = xe.softmax_cross_entropy_with_hess(z, target, log_prior=prior, temperature=2.0).hess
            expected_hess = xe.softmax_cross_entropy_with_hess(z / 2 + prior, target).hess / 4
            assert_close(hess, expected_hess, 100 * RTOL[dtype], floor=np.finfo(dtype).eps * 1e-3)


@pytest.mark.parametrize("half", HALVES, ids=lambda half: half.__name__)
def test_it_is_added_in_float32_to_halves(half: type) -> None:
    rng = np.random.default_rng(1)
    for shape in [(9, 10), (9, 100), (5, 5000)]:
        z, prior, y = mild_logits(rng, np.float32, shape).astype(half), log_shares(rng, np.float32, shape), classes
        target = y(rng, np.float32, shape)
        wide = xe.softmax_cross_entropy_with_grad(z.astype(np.float32), target, log_prior=prior)
        for given in (prior, prior.astype(np.float64), prior.tolist()):
            result = xe.softmax_cross_entropy_with_grad(z, target, log_prior=given)
            assert_close(result.loss, wide.loss, 1e-6)
            assert_close(result.grad.astype(np.float32), wide.grad, 0.0, floor=np.abs(wide.grad) * 2.0**-8 + 1e-7)


@each_dtype
def test_special_values(dtype: type) -> None:
    for c in (3, 100, 1100):
        z, prior = np.zeros((3, c), dtype), np.zeros(c, dtype)
        prior[0] = -inf
        loss, grad = xe.softmax_cross_entropy_with_grad(z, [0, 1, -100], log_prior=prior, reduction="none")
        assert_close(loss, [inf, np.log(c - 1), 0], 1e-6)
        assert grad[1, 0] == 0 and np.isfinite(grad).all()
        assert np.isnan(xe.softmax_cross_entropy(z[0], 1, log_prior=np.full(c, -inf)))
        far = xe.softmax_cross_entropy(z[0], 1, log_prior=[-1e300, 1e300] + [0.0] * (c - 2))
        assert far == 0
        # In a row that does not count it has no part.
        assert xe.softmax_cross_entropy(z[:1], [-100], log_prior=prior) == 0


def test_behind_a_layer_it_is_a_bias() -> None:
    rng = np.random.default_rng(2)
    for n, d, c in [(30, 5, 4), (40, 20, 3000), (70, 3, 170_000)]:
        x, weight = rng.standard_normal((n, d), np.float32), rng.standard_normal((c, d), np.float32) / np.float32(d)
        prior, target = log_shares(rng, np.float32, (n, c)), rng.integers(0, c, n)
        expected = xe.linear_cross_entropy_with_grad(x, weight, target, bias=prior)
        result = xe.linear_cross_entropy_with_grad(x, weight, target, log_prior=prior)
        assert_close(result.loss, expected.loss, 1e-5)
        assert_close(result.grad_x, expected.grad_x, 1e-4, 1.0)
        assert_close(result.grad_weight, expected.grad_weight, 1e-4, 0.01)
        both = xe.linear_token_logprobs(x, weight, target, log_prior=prior)
        for one, other in zip(both, xe.linear_token_logprobs(x, weight, target, bias=prior), strict=True):
            assert_close(one, other, 1e-5, 1 + np.abs(other))


def test_it_may_not_be_overwritten() -> None:
    shared = np.zeros((3, 3))
    for with_grad in (xe.softmax_cross_entropy_with_grad, xe.token_logprobs_with_grad):
        with pytest.raises(ValueError, match="out must not overlap an input"):
            with_grad(np.zeros((3, 3)), [0, 1, 2], log_prior=shared[0], out=shared)
    with pytest.raises(ValueError, match="log_prior must be left alone, as an option of the other kind"):
        xe.linear_cross_entropy(shared, shared, shared, kind="sigmoid", log_prior=shared[0])
