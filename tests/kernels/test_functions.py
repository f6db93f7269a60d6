"""The functions underneath: logsumexp, softmax, log_softmax, sigmoid, log_sigmoid, softplus."""

import numpy as np
import pytest

import xentrs as xe
from checks import FLUSHED, assert_close, assert_same_bits
from draws import rough_logits
from registry import DTYPES, FUNCTIONS, Function

each_function = pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.name)
along_an_axis = pytest.mark.parametrize("function", [f for f in FUNCTIONS if f.has_axis], ids=lambda f: f.name)
by_element = pytest.mark.parametrize("function", [f for f in FUNCTIONS if not f.has_axis], ids=lambda f: f.name)
each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)


@each_dtype
@each_function
def test_every_row_length(function: Function, dtype: type) -> None:
    rng = np.random.default_rng(40)
    for c in [*range(1, 68), 255, 256, 257, 1000]:
        x = rough_logits(rng, dtype, (5, c))
        truth, size = function.oracle(x)
        value = function.function(x)
        assert value.dtype == dtype
        assert_close(value, truth, function.rtol[dtype], size, FLUSHED[dtype], f"c={c}")


@each_dtype
@along_an_axis
def test_every_number_of_rows(function: Function, dtype: type) -> None:
    """Few classes go across the lanes, and more of them in groups along the lanes.

    A row is the same, whatever stands beside it.
    """
    rng = np.random.default_rng(39)
    for c in (1, 2, 3, 4, 5, 10, 31, 32, 33, 47, 48, 63, 64, 65, 200):
        x = rough_logits(rng, dtype, (67, c))
        x[5::7] += dtype(1e4)  # exponentials of differences
        x[::9, 0] = -np.inf
        x[3::17, c // 2] = np.inf
        x[6::19, c - 1] = np.nan
        expected = np.stack([function.function(row) for row in x])
        finite = np.isfinite(x).all(-1)
        truth, size = function.oracle(x[finite])
        assert_close(expected[finite], truth, function.rtol[dtype], size, FLUSHED[dtype], f"c={c}")
        for n in range(1, len(x) + 1):
            assert_same_bits(function.function(x[-n:]), expected[-n:], f"{n} rows, c={c}")


@each_dtype
@each_function
def test_large_arrays(function: Function, dtype: type) -> None:
    """Large enough for every thread; a few classes, so that the oracle can look at all pairs."""
    x = rough_logits(np.random.default_rng(41), dtype, (60_000, 5))
    truth, size = function.oracle(x)
    assert_close(function.function(x), truth, function.rtol[dtype], size, FLUSHED[dtype])
    assert_same_bits(function.function(x), function.function(x.copy()))


@each_dtype
@along_an_axis
@pytest.mark.parametrize("axis", range(-3, 3))
@pytest.mark.once
def test_every_axis(function: Function, dtype: type, axis: int) -> None:
    x = rough_logits(np.random.default_rng(42), dtype, (4, 6, 5))
    expected = function.function(np.ascontiguousarray(np.moveaxis(x, axis, -1)))
    value = function.function(x, axis=axis)
    assert_same_bits(value if function.name == "logsumexp" else np.moveaxis(value, axis, -1), expected)


@pytest.mark.parametrize("axis", range(-3, 3))
@pytest.mark.once
def test_keepdims_leaves_an_axis_of_length_one(axis: int) -> None:
    x = np.random.default_rng(43).normal(size=(4, 6, 5))
    kept = xe.logsumexp(x, axis=axis, keepdims=True)
    assert_same_bits(kept, np.expand_dims(xe.logsumexp(x, axis=axis), axis))
    np.testing.assert_allclose(xe.softmax(x, axis=axis), np.exp(x - kept), rtol=1e-13)


@each_dtype
def test_logsumexp_of_one_row_is_a_scalar(dtype: type) -> None:
    value = xe.logsumexp(np.zeros(8, dtype))
    assert np.ndim(value) == 0 and value.dtype == dtype
    assert float(value) == pytest.approx(np.log(8), rel=1e-6)


@each_dtype
@by_element
@pytest.mark.once
def test_any_number_of_dimensions(function: Function, dtype: type) -> None:
    x = rough_logits(np.random.default_rng(44), dtype, (24,))
    expected = function.function(x)
    for shape in [(2, 3, 4), (24, 1), (1, 24), (2, 2, 2, 3)]:
        assert_same_bits(function.function(x.reshape(shape)), expected.reshape(shape))
    for i in range(24):
        value = function.function(x[i])
        assert np.ndim(value) == 0
        assert_same_bits(value, expected[i])


@each_function
@pytest.mark.once
def test_integers_and_lists_become_float64(function: Function) -> None:
    x = np.array([[1, -2, 3], [0, 0, 7]])
    expected = function.function(x.astype(np.float64))
    assert expected.dtype == np.float64
    assert_same_bits(function.function(x), expected)
    assert_same_bits(function.function(x.tolist()), expected)
    assert_same_bits(function.function(x.astype(np.int8)), expected)


@each_dtype
@each_function
@pytest.mark.once
def test_no_rows(function: Function, dtype: type) -> None:
    value = function.function(np.empty((0, 3), dtype))
    assert value.shape == ((0,) if function.name == "logsumexp" else (0, 3))
    assert value.dtype == dtype


@each_dtype
@pytest.mark.once
def test_no_columns(dtype: type) -> None:
    """The sum of no exponentials is 0, and its logarithm -inf."""
    assert_same_bits(xe.logsumexp(np.empty((2, 0), dtype)), np.full(2, -np.inf, dtype))
    assert xe.softmax(np.empty((2, 0), dtype)).shape == (2, 0)
    assert xe.log_softmax(np.empty((2, 0), dtype)).shape == (2, 0)


@each_dtype
def test_special_values_along_an_axis(dtype: type) -> None:
    inf, nan = np.inf, np.nan
    rows = [
        # x                 logsumexp  softmax           log_softmax
        ([0.0, inf, 1.0], inf, [0.0, 1.0, 0.0], [-inf, 0.0, -inf]),
        ([-inf, inf, 1.0], inf, [0.0, 1.0, 0.0], [-inf, 0.0, -inf]),
        ([inf, inf, 1.0], inf, [nan, nan, nan], [nan, nan, nan]),
        ([-inf, -inf, -inf], -inf, [nan, nan, nan], [nan, nan, nan]),
        ([-inf, 3.0, -inf], 3.0, [0.0, 1.0, 0.0], [-inf, 0.0, -inf]),
        ([nan, 1.0, 2.0], nan, [nan, nan, nan], [nan, nan, nan]),
        ([1.0, nan, inf], nan, [nan, nan, nan], [nan, nan, nan]),
        ([-inf, -inf, nan], nan, [nan, nan, nan], [nan, nan, nan]),
        ([1000.0, 0.0, 0.0], 1000.0, [1.0, 0.0, 0.0], [0.0, -1000.0, -1000.0]),
        ([-1000.0, -2000.0, -2000.0], -1000.0, [1.0, 0.0, 0.0], [0.0, -1000.0, -1000.0]),
    ]
    x, lse, p, log_p = (np.array(column, dtype) for column in zip(*rows, strict=True))
    np.testing.assert_array_equal(xe.logsumexp(x), lse)
    np.testing.assert_array_equal(xe.softmax(x), p)
    np.testing.assert_array_equal(xe.log_softmax(x), log_p)
    for i in range(len(rows)):  # each alone too, so that no row can hide behind its neighbours
        np.testing.assert_array_equal(xe.logsumexp(x[i]), lse[i])
        np.testing.assert_array_equal(xe.softmax(x[i]), p[i])
        np.testing.assert_array_equal(xe.log_softmax(x[i]), log_p[i])
    for more in (1, 2, 61, 62, 200):  # classes without probability, so that they are few and no longer few
        wide = np.pad(x, [(0, 0), (0, more)], constant_values=-inf)
        undefined = np.isnan(p[:, :1])
        np.testing.assert_array_equal(xe.logsumexp(wide), lse)
        np.testing.assert_array_equal(xe.softmax(wide), np.hstack([p, np.where(undefined, nan, [[0.0] * more])]))
        np.testing.assert_array_equal(
            xe.log_softmax(wide), np.hstack([log_p, np.where(undefined, nan, [[-inf] * more])])
        )


@each_dtype
@along_an_axis
def test_a_nan_anywhere_makes_its_row_nan_and_no_other(function: Function, dtype: type) -> None:
    """Wherever it stands among the lanes: a maximum that drops NaN passes for most positions."""
    rng = np.random.default_rng(45)
    for c in (1, 2, 5, 16, 33, 67, 300):
        x = rng.normal(size=(c + 2, c)).astype(dtype)
        clean = function.function(x)
        x[1 + np.arange(c), np.arange(c)] = np.nan
        value = function.function(x)
        assert np.isnan(value[1:-1]).all(), f"c={c}"
        np.testing.assert_array_equal(value[[0, -1]], clean[[0, -1]], err_msg=f"c={c}")


@each_dtype
def test_special_values_by_element(dtype: type) -> None:
    inf, nan, tiny = np.inf, np.nan, np.finfo(dtype).smallest_subnormal
    ln2 = np.log(2.0)
    x, sigmoid, log_sigmoid, softplus = np.array(
        [
            (-inf, 0.0, -inf, 0.0),
            (-1e30, 0.0, -1e30, 0.0),
            (0.0, 0.5, -ln2, ln2),
            (-0.0, 0.5, -ln2, ln2),
            (tiny, 0.5, -ln2, ln2),
            (-tiny, 0.5, -ln2, ln2),
            (1e30, 1.0, 0.0, 1e30),
            (inf, 1.0, 0.0, inf),
            (nan, nan, nan, nan),
        ],
        dtype,
    ).T
    rtol = 2 * float(np.finfo(dtype).eps)
    for repeats in (1, 2, 9):  # every value meets the vector loop and the tail
        for function, value in [(xe.sigmoid, sigmoid), (xe.log_sigmoid, log_sigmoid), (xe.softplus, softplus)]:
            assert_close(function(np.tile(x, repeats)), np.tile(value, repeats), rtol)


@each_dtype
def test_identities(dtype: type) -> None:
    x = rough_logits(np.random.default_rng(46), dtype, (500, 7))
    eps = float(np.finfo(dtype).eps)
    assert_close(xe.softmax(x).sum(-1), np.ones(500), 16 * eps)
    assert_same_bits(xe.log_sigmoid(x) + 0, -xe.softplus(-x) + 0)
    np.testing.assert_allclose(xe.sigmoid(x) + xe.sigmoid(-x), 1, rtol=2 * eps)
    assert (xe.log_softmax(x) <= 0).all()
    assert (xe.logsumexp(x) >= x.max(-1)).all()


@pytest.mark.parametrize("function", [f for f in FUNCTIONS if f.has_out], ids=lambda f: f.name)
@each_dtype
def test_out(function: Function, dtype: type) -> None:
    rng = np.random.default_rng(47)
    for shape in [(4, 5), (500, 600)]:
        x = rough_logits(rng, dtype, shape)
        expected = function.function(x)
        for out in (
            np.empty(shape, dtype),
            np.empty(shape[::-1], dtype).T,
            np.empty((2 * shape[0], shape[1]), dtype)[::2],
        ):
            assert function.function(x, out=out) is out
            assert_same_bits(out, expected)
        place = x.copy()
        assert function.function(place, out=place) is place
        assert_same_bits(place, expected)


@pytest.mark.parametrize("function", [f for f in FUNCTIONS if f.has_out], ids=lambda f: f.name)
def test_out_that_does_not_fit(function: Function) -> None:
    x = np.arange(12.0, dtype=np.float32).reshape(3, 4)
    read_only = np.zeros((3, 4), np.float32)
    read_only.flags.writeable = False
    twice = np.zeros((4, 4), np.float32)
    twice[:3] = x
    for data, out, error, message in [
        (x, np.zeros((3, 5), np.float32), ValueError, r"out .*\(3, 4\), got \(3, 5\)"),
        (x, np.zeros((3, 4), np.float64), (TypeError, ValueError), "out .*float32, got float64"),
        (x, read_only, ValueError, "out .*read-only"),
        (x, x.tolist(), TypeError, "out .*list"),
        (twice[:3], twice[1:], ValueError, "out .*overlap"),
    ]:
        before = np.array(out)
        with pytest.raises(error, match=message):
            function.function(data, out=out)
        np.testing.assert_array_equal(out, before)
