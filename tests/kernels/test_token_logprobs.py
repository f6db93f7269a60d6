"""Log-probabilities of tokens and entropies, with their gradient, of logits and behind a linear layer."""

import warnings
from typing import Any

import numpy as np
import pytest

import xentrs as xe
from checks import FLUSHED, assert_close, assert_same_bits
from draws import classes, mild_logits, rough_logits
from layouts import LAYOUTS
from oracles import TokenTruth, token_logprobs_oracle
from registry import DTYPES, HALVES, TOKEN_OPTIONS, some_combinations

Array = np.ndarray[Any, Any]
nan, inf = np.nan, np.inf

each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)
each_half = pytest.mark.parametrize("half", HALVES, ids=lambda half: half.__name__)

RTOL = {np.float32: 1e-6, np.float64: 1e-12}
GRAD_RTOL = {np.float32: 1e-5, np.float64: 1e-12}
SHAPES = [(7, 1), (9, 2), (40, 3), (67, 10), (5, 63), (5, 64), (9, 100), (2, 1025), (2, 3, 4)]


def assert_tokens(result: Any, truth: TokenTruth, dtype: type, note: str = "") -> None:
    rtol, floor = RTOL[dtype], 800 * FLUSHED[dtype]
    assert result.logprob.dtype == result.entropy.dtype == dtype
    assert_close(result.logprob, truth.logprob, rtol, floor=floor + truth.doubt[0], note=f"{note} logprob")
    assert_close(result.entropy, truth.entropy, rtol, floor=floor + truth.doubt[1], note=f"{note} entropy")
    assert (np.asarray(result.logprob) <= 0).all() and (np.asarray(result.entropy) >= 0).all(), note
    if hasattr(result, "grad"):
        assert result.grad.dtype == dtype
        bound = floor + truth.doubt[2]
        assert_close(result.grad, truth.grad, GRAD_RTOL[dtype], truth.size, bound, f"{note} grad")


@each_dtype
def test_every_option_and_every_width_agrees_with_the_oracle(dtype: type) -> None:
    rng = np.random.default_rng(0)
    for shape in SHAPES:
        for draws in some_combinations(list(TOKEN_OPTIONS.values()), many=12 if shape[-1] < 500 else 3):
            options = {name: draw(rng, dtype, shape) for name, draw in zip(TOKEN_OPTIONS, draws, strict=True)}
            z, token = rough_logits(rng, dtype, shape), classes(rng, dtype, shape)
            if options["ignore_index"] == 0:
                token = np.maximum(token, 0)
            truth, note = token_logprobs_oracle(z, token, **options), f"{shape} {options}"
            result = xe.token_logprobs_with_grad(z, token, **options)
            assert_tokens(result, truth, dtype, note)
            values = {name: option for name, option in options.items() if not name.startswith("grad_")}
            for alone, beside in zip(xe.token_logprobs(z, token, **values), result, strict=False):
                assert_close(alone, beside, RTOL[dtype], floor=FLUSHED[dtype], note=note)


@each_dtype
def test_sure_rows_keep_their_digits(dtype: type) -> None:
    """The log-probability, the entropy and both gradients of rows of which one class is nearly certain."""
    for c in (2, 10, 100, 1100):
        margin = np.array([5.0, 17.0, 80.0])
        for place, token in ((0, 0), (0, 1), (c - 1, c - 1), (c // 2, 0)):
            z = np.zeros((len(margin), c), dtype)
            z[:, place] = margin
            y = np.full(len(margin), token)
            truth = token_logprobs_oracle(z, y, grad_logprob=0.5, grad_entropy=-2.0)
            assert_tokens(
                xe.token_logprobs_with_grad(z, y, grad_logprob=0.5, grad_entropy=-2.0), truth, dtype, f"{c} {place}"
            )


@pytest.mark.parametrize("c", [2, 5, 70, 1100])
@pytest.mark.once
def test_gradients_are_slopes(c: int) -> None:
    rng = np.random.default_rng(1)
    z, token = mild_logits(rng, np.float64, (3, c)), rng.integers(0, c, 3)
    a, b, step = rng.normal(size=3), rng.normal(size=3), 1e-5
    for options in ({}, {"temperature": 0.6, "softcap": 4.0}):
        grad = xe.token_logprobs_with_grad(z, token, grad_logprob=a, grad_entropy=b, **options).grad
        for k in {0, 1, c // 2, c - 1, *token.tolist()}:
            ends = []
            for sign in (1, -1):
                moved = z.copy()
                moved[:, k] += sign * step
                logprob, entropy = xe.token_logprobs(moved, token, **options)
                ends.append(a * logprob + b * entropy)
            np.testing.assert_allclose(grad[:, k], (ends[0] - ends[1]) / (2 * step), rtol=1e-6, atol=1e-8)


@each_dtype
@pytest.mark.parametrize("c", [3, 10, 70, 1200])
def test_special_values(c: int, dtype: type) -> None:
    """Masked classes, an infinite logit, rows without a distribution, ignored rows: alone and beside others."""
    rng = np.random.default_rng(2)
    z, token = mild_logits(rng, dtype, (15, c)), np.full(15, 1)
    z[0, 2:] = -inf  # masked
    z[1, 1] = -inf  # the token is
    z[2, 0] = inf  # certain, and not the token
    z[3, 1] = inf  # the token is certain
    z[4, 2] = nan
    z[5] = -inf
    z[6, :2] = inf
    z[7] = nan
    token[7] = -100
    z[8] = -inf
    z[8, 1] = 0
    z[9] = 3e38  # alike, and large
    a, b = rng.normal(size=15).astype(dtype), rng.normal(size=15).astype(dtype)  # as they are computed with
    logprob, entropy, grad = xe.token_logprobs_with_grad(z, token, grad_logprob=a, grad_entropy=b)
    fine = [0, 8, 9, *range(10, 15)]
    truth = token_logprobs_oracle(z[fine], token[fine], grad_logprob=a[fine], grad_entropy=b[fine])
    assert_tokens(xe.TokenLogprobsGrad(logprob[fine], entropy[fine], grad[fine]), truth, dtype)
    assert logprob[1] == -inf and np.isfinite(grad[1]).all() and entropy[1] > 0
    assert_close(grad[1, 1], a[1], 1e-6)
    assert logprob[2] == -inf and entropy[2] == 0
    assert_close(grad[2], np.r_[-a[2], a[2], np.zeros(c - 2)], 1e-6)
    assert logprob[3] == entropy[3] == 0 and not grad[3].any()
    for row in (4, 5, 6):
        assert np.isnan([logprob[row], entropy[row]]).all() and np.isnan(grad[row]).all(), row
    assert logprob[7] == entropy[7] == 0 and not grad[7].any()
    assert logprob[8] == entropy[8] == 0 and not grad[8].any()
    assert not np.signbit([logprob[8], logprob[7], logprob[3]]).any()
    for row in range(len(z)):
        alone = xe.token_logprobs_with_grad(z[row], token[row], grad_logprob=a[row], grad_entropy=b[row])
        for one, all_ in zip(alone, (logprob, entropy, grad), strict=True):
            assert_same_bits(one, all_[row], f"row {row}")


@each_dtype
def test_far_options_have_their_limits(dtype: type) -> None:
    """A temperature that the type cannot hold, and upstream gradients near the end of its range."""
    z, token = np.array([[1.0, 2.0, 0.5]] * 2, dtype), np.array([1, 0])
    cold = xe.token_logprobs_with_grad(z, token, temperature=1e-300, grad_entropy=1.0)
    assert cold.logprob[0] == 0 and cold.logprob[1] < -1e38 and cold.entropy.tolist() == [0, 0]
    assert not cold.grad[0].any()
    assert cold.grad[1, 1] < -1e37 and cold.grad[1, 0] > 1e37 and cold.grad[1, 2] == 0
    hot = xe.token_logprobs_with_grad(z, token, temperature=1e300, grad_logprob=1e300)
    assert_close(hot.logprob, [-np.log(3)] * 2, 1e-6)
    assert_close(hot.grad, [[-1 / 3, 2 / 3, -1 / 3], [2 / 3, -1 / 3, -1 / 3]], 1e-6)
    large = xe.token_logprobs_with_grad(z, token, grad_logprob=3e38, grad_entropy=-3e38).grad
    assert np.isfinite(large).all() and (np.abs(large).max(-1) > 1e36).all()


@each_half
def test_half_precision_is_float32_rounded_once(half: type) -> None:
    rng = np.random.default_rng(3)
    for shape in [(40, 5), (20, 100), (3, 3000)]:
        z = mild_logits(rng, np.float32, shape).astype(half)
        token, a, b = classes(rng, np.float32, shape), rng.normal(size=shape[0]), rng.normal(size=shape[0])
        wide = xe.token_logprobs_with_grad(z.astype(np.float32), token, grad_logprob=a, grad_entropy=b)
        for out in (None, z.copy(), np.empty(shape, np.float32)):
            result = xe.token_logprobs_with_grad(z, token, grad_logprob=a, grad_entropy=b, out=out)
            assert_same_bits(result.logprob, wide.logprob)
            assert_same_bits(result.entropy, wide.entropy)
            wanted = wide.grad if out is not None and out.dtype == np.float32 else wide.grad.astype(half)
            assert_same_bits(result.grad, wanted)


@each_dtype
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.once
def test_every_layout_and_axis(layout: str, dtype: type) -> None:
    rng = np.random.default_rng(4)
    for shape in [(8, 10), (6, 200), (3, 1500)]:
        laid = LAYOUTS[layout](mild_logits(rng, dtype, shape))
        z, token, a = np.ascontiguousarray(laid), rng.integers(0, shape[1], shape[0]), rng.normal(size=shape[0])
        expected = xe.token_logprobs_with_grad(z, token, grad_logprob=a, grad_entropy=0.5)
        results = [
            xe.token_logprobs_with_grad(laid, token, grad_logprob=a, grad_entropy=0.5),
            xe.token_logprobs_with_grad(laid.T, token[::-1][::-1], grad_logprob=a, grad_entropy=0.5, axis=0),
        ]
        results[1] = results[1]._replace(grad=results[1].grad.T)
        for result in results:
            for one, other in zip(result, expected, strict=True):
                assert_same_bits(np.ascontiguousarray(one), other)
        for one, other in zip(xe.token_logprobs(laid, token), xe.token_logprobs(z, token), strict=True):
            assert_same_bits(one, other)


@each_dtype
def test_out_in_place_and_past_the_caches(dtype: type) -> None:
    """The gradient is the same wherever it goes: in a new array, beside, over the logits, and for any threads."""
    rng = np.random.default_rng(5)
    for shape, options in [
        ((300, 10), {}),
        ((50, 700), {}),
        ((5, 9000), {"softcap": 5.0}),
        ((70, 131_072 if dtype is np.float32 else 65_536), {}),  # which bypasses the caches
        ((70, 131_072 if dtype is np.float32 else 65_536), {"temperature": 0.7}),
    ]:
        z, token = mild_logits(rng, dtype, shape), classes(rng, dtype, shape)
        given: dict[str, Any] = {"grad_logprob": -1.5, "grad_entropy": rng.normal(size=shape[0]), **options}
        expected = xe.token_logprobs_with_grad(z, token, **given)
        with xe.threads(1):
            results = [xe.token_logprobs_with_grad(z, token, **given)]
        beside = np.full_like(z, nan)
        results.append(xe.token_logprobs_with_grad(z, token, **given, out=beside))
        results.append(xe.token_logprobs_with_grad(z, token, **given, out=z))
        assert results[1].grad is beside and results[2].grad is z
        for result in results:
            for one, other in zip(result, expected, strict=True):
                assert_same_bits(one, other, f"{shape}")


@pytest.mark.once
def test_numbers_and_shapes() -> None:
    """One row, no rows, lists, upstream gradients of any type that NumPy repeats."""
    logprob, entropy = xe.token_logprobs([0.0, 0.0], 1)
    assert isinstance(logprob, np.float64) and logprob == -np.log(2) and entropy == np.log(2)
    empty = xe.token_logprobs_with_grad(np.empty((0, 3)), np.empty(0, int), grad_entropy=np.empty(0))
    assert [x.shape for x in empty] == [(0,), (0,), (0, 3)]
    z, token = np.random.default_rng(6).normal(size=(2, 3, 4)), np.array([[0, 1, 2], [3, 3, -100]])
    expected = xe.token_logprobs_with_grad(z, token, grad_logprob=np.array([[1.0] * 3, [-2.0] * 3]))
    for a in ([[1], [-2]], np.array([[1], [-2]], np.int8), np.array([[1], [-2]], np.float16)):
        assert_same_bits(xe.token_logprobs_with_grad(z, token, grad_logprob=a).grad, expected.grad)
    assert_same_bits(
        xe.token_logprobs_with_grad(z, token, grad_logprob=2, grad_entropy=np.float32(1)).grad,
        xe.token_logprobs_with_grad(z, token, grad_logprob=2.0, grad_entropy=1.0).grad,
    )


def test_upstream_gradients_of_0_give_0_even_without_a_distribution() -> None:
    for c in (3, 100, 1100):
        z = np.full((2, c), nan)
        result = xe.token_logprobs_with_grad(z, [0, 1], grad_logprob=[0.0, 1.0], grad_entropy=0.0)
        assert np.isnan(result.logprob).all() and not result.grad[0].any() and np.isnan(result.grad[1]).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("c", [2, 3, 10, 70, 1_100])
def test_an_upstream_gradient_of_nan_is_no_0(c: int, dtype: type) -> None:
    rng = np.random.default_rng(31)
    logits, token = mild_logits(rng, dtype, (20, c)), rng.integers(0, c, 20)
    x, weight = mild_logits(rng, dtype, (20, 4)), mild_logits(rng, dtype, (c, 4))
    for name in ("grad_logprob", "grad_entropy"):
        each = {"grad_logprob": np.zeros(20), "grad_entropy": np.zeros(20)}
        each[name][::2] = 1.5
        grad = xe.token_logprobs_with_grad(logits, token, **each).grad
        grad_x = xe.linear_token_logprobs_with_grad(x, weight, token, **each).grad_x
        each[name][3] = np.nan
        found = xe.token_logprobs_with_grad(logits, token, **each).grad
        found_x = xe.linear_token_logprobs_with_grad(x, weight, token, **each).grad_x
        assert np.isnan(found[3]).all() and np.isnan(found_x[3]).all(), name
        assert_same_bits(np.delete(found, 3, 0), np.delete(grad, 3, 0), name)
        assert_same_bits(np.delete(found_x, 3, 0), np.delete(grad_x, 3, 0), name)


def test_an_upstream_gradient_may_not_be_overwritten() -> None:
    shared = np.zeros((3, 3))
    with pytest.raises(ValueError, match="out must not overlap an input"):
        xe.token_logprobs_with_grad(np.zeros((3, 3)), [0, 1, 2], grad_entropy=shared[0], out=shared)


@pytest.mark.once
def test_probabilities_are_warned_of() -> None:
    with pytest.warns(UserWarning, match="logits are probabilities"):
        xe.token_logprobs(np.full((4, 4), 0.25) + np.eye(4) * 0.25 - 0.0625, [0, 1, 2, 3])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        xe.token_logprobs(np.zeros((4, 4)), [0, 1, 2, 3])


# ------------------------------------------------------------------------------------------------ behind a linear layer


@each_dtype
@pytest.mark.parametrize("shape", [(30, 5, 4), (200, 33, 10), (70, 40, 60), (2, 200, 1030)], ids=str)
def test_a_layer_agrees_with_the_oracle(shape: tuple[int, int, int], dtype: type) -> None:
    rng = np.random.default_rng(7)
    n, d, c = shape
    weight, bias = (rng.standard_normal((c, d)) * 2 / np.sqrt(d)).astype(dtype), rng.standard_normal(c).astype(dtype)
    for draws in some_combinations(list(TOKEN_OPTIONS.values()), many=6 if c < 1000 else 1):
        options = {name: draw(rng, dtype, (n, c)) for name, draw in zip(TOKEN_OPTIONS, draws, strict=True)}
        token = np.maximum(classes(rng, dtype, (n, c)), 0 if options["ignore_index"] == 0 else -100)
        x = rng.standard_normal((n, d)).astype(dtype)
        x[token == options["ignore_index"]] = nan
        kept = token != options["ignore_index"]
        wide_x = np.where(kept[:, None], x, 0).astype(np.float64)
        z = wide_x @ weight.astype(np.float64).T + bias
        truth = token_logprobs_oracle(z, token, **options)
        result = xe.linear_token_logprobs_with_grad(x, weight, token, bias=bias, **options)
        # A logit that is off by a rounding of its terms moves all that follows from it.
        rtol = 3e-5 if dtype is np.float32 else 1e-12
        doubt = rtol * (truth.size + np.abs(truth.grad).sum(-1, keepdims=True))
        doubt += rtol * np.abs(np.broadcast_to(options["grad_entropy"], n))[:, None]
        assert_close(result.logprob, truth.logprob, rtol, floor=rtol, note=f"{options} logprob")
        assert_close(result.entropy, truth.entropy, rtol, floor=rtol, note=f"{options} entropy")
        for name, actual, expected, bound in [
            ("grad_x", result.grad_x, truth.grad @ weight, doubt @ np.abs(weight)),
            ("grad_weight", result.grad_weight, truth.grad.T @ wide_x, doubt.T @ np.abs(wide_x)),
            ("grad_bias", result.grad_bias, truth.grad.sum(0), doubt.sum(0)),
        ]:
            assert_close(actual, expected, 0.0, floor=bound + 1e-14, note=f"{options} {name}")
        assert not result.grad_x[~kept].any() and not result.logprob[~kept].any()
        values = {name: option for name, option in options.items() if not name.startswith("grad_")}
        for alone, beside in zip(xe.linear_token_logprobs(x, weight, token, bias=bias, **values), result, strict=False):
            assert_close(alone, beside, rtol, floor=rtol)


@pytest.mark.once
def test_a_layer_of_any_shape_type_and_place() -> None:
    rng = np.random.default_rng(8)
    x, weight, token = rng.normal(size=(2, 5, 6)), rng.normal(size=(7, 6)), rng.integers(0, 7, (2, 5))
    expected = xe.linear_token_logprobs_with_grad(x, weight, token, grad_entropy=1.0, wrt=("x", "weight"))
    assert expected.grad_bias is None and expected.logprob.shape == (2, 5) and expected.grad_x.shape == x.shape
    grad = xe.token_logprobs_with_grad(x @ weight.T, token, grad_entropy=1.0).grad
    assert_close(expected.grad_weight, np.einsum("abk,abd->kd", grad, x), 1e-12, 10.0)
    out = (np.empty_like(x), None, None)
    result = xe.linear_token_logprobs_with_grad(x, weight, token, grad_entropy=1.0, wrt="x", out=out)
    assert result.grad_x is out[0] and result.grad_weight is None
    assert_same_bits(result.grad_x, expected.grad_x)
    for half in HALVES:
        rounded = xe.linear_token_logprobs_with_grad(x.astype(half), weight.astype(half), token)
        assert rounded.logprob.dtype == np.float32 and rounded.grad_weight.dtype == half
        assert_close(rounded.logprob, expected.logprob, 0.05, floor=0.05)
    with xe.threads(1):
        alone = xe.linear_token_logprobs_with_grad(x, weight, token, grad_entropy=1.0)
    for one, other in zip(alone, expected, strict=True):
        if other is not None:
            assert_same_bits(one, other)
