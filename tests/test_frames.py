"""Frames and series of pandas with nullable or Arrow's columns, and of polars and pyarrow, are arrays."""

from typing import Any

import numpy as np
import pytest

import xentrs as xe

pd = pytest.importorskip("pandas", reason="pandas is not installed")

Z = np.array([[2.0, 1.0, 0.0], [0.0, 3.0, 0.0]])
FLOATS = ["Float64", "Float32", "double[pyarrow]", "float[pyarrow]", "float64", "float32"]
INTEGERS = ["Int64", "Int8", "UInt16", "int64[pyarrow]", "uint8[pyarrow]", "int64"]
BOOLEANS = ["boolean", "bool[pyarrow]", "bool"]


def column(values: Any, dtype: str) -> Any:
    if "pyarrow" in dtype:
        pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    return pd.Series(values).astype(dtype)


def frame(values: Any, dtype: str) -> Any:
    return pd.DataFrame({i: column(part, dtype) for i, part in enumerate(np.asarray(values).T)})


@pytest.mark.parametrize("integers", INTEGERS)
@pytest.mark.parametrize("floats", FLOATS)
def test_losses_of_frames(floats: str, integers: str) -> None:
    plain = Z.astype(np.float32 if "32" in floats or floats == "float[pyarrow]" else np.float64)
    for function, labels in ((xe.softmax_cross_entropy_with_grad, [0, 2]), (xe.softmax_stats, [0, 2])):
        ours = function(frame(Z, floats), column(labels, integers), sample_weight=column([1, 3], floats))
        theirs = function(plain, labels, sample_weight=[1, 3])
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(a, b)
            assert getattr(a, "dtype", None) == getattr(b, "dtype", None)


@pytest.mark.parametrize("labels", BOOLEANS + INTEGERS)
def test_labels_of_frames(labels: str) -> None:
    target = np.array([[1, 0, 1], [0, 0, 1]])
    expected = xe.sigmoid_cross_entropy(Z, target)
    assert xe.sigmoid_cross_entropy(frame(Z, "Float64"), frame(target, labels)) == expected
    odds, yes = column(Z[:, 0], "Float64"), column([1, 0], labels)
    assert xe.expected_calibration_error(odds, yes) == xe.expected_calibration_error(Z[:, 0].copy(), [1, 0])
    assert xe.LossAccumulator().update(odds, yes) == xe.LossAccumulator().update(Z[:, 0].copy(), [1, 0])


def test_columns_of_several_types() -> None:
    mixed = pd.DataFrame({"a": column([1, 2], "Int64"), "b": column([0.5, 1.5], "Float32"), "c": [0.0, 1.0]})
    expected = xe.logsumexp([[1, 0.5, 0.0], [2, 1.5, 1.0]])
    np.testing.assert_array_equal(xe.logsumexp(mixed), expected)
    assert xe.logsumexp(frame([[1, 2], [3, 4]], "Int64")).dtype == np.float64


@pytest.mark.parametrize("dtype", ["Float64", "Float32", "Int64", "double[pyarrow]", "int64[pyarrow]", "boolean"])
def test_a_missing_logit_is_nan(dtype: str) -> None:
    table = frame(Z if dtype != "boolean" else Z > 0, dtype)
    table.iloc[1, 0] = pd.NA
    for function in (xe.softmax, xe.sigmoid):
        result = function(table)
        assert np.isnan(result[1, 0]) and not np.isnan(result[0]).any()
    loss = xe.softmax_cross_entropy(table, [0, 1], reduction="none")
    assert np.isnan(loss[1]) and not np.isnan(loss[0])


@pytest.mark.parametrize("labels", ["Int64", "UInt8", "int64[pyarrow]", "boolean", "bool[pyarrow]"])
def test_a_missing_label_is_named_by_its_row(labels: str) -> None:
    target = column([1, 0, 1, 1], labels)
    target[2] = pd.NA
    z = np.zeros((4, 3))
    for call in (
        xe.softmax_cross_entropy,
        xe.softmax_cross_entropy_with_grad,
        xe.softmax_stats,
        xe.expected_calibration_error,
    ):
        with pytest.raises(
            TypeError, match=r"target must be .*got object, with <NA> at row 2; write a number for what is"
        ):
            call(z, target)
    for call in (xe.sigmoid_cross_entropy, xe.hinge_loss, xe.binary_cross_entropy):
        with pytest.raises(TypeError, match=r"target must be .*got object, with <NA> at row 2; .*sample_weight of 0"):
            call(z[:, 0].copy(), target)
        with pytest.raises(TypeError, match="<NA> at row 2"):
            call(z, pd.DataFrame({0: target, 1: target, 2: target}))


def test_wide_integers_of_frames_are_exact() -> None:
    for label in (2**53 + 1, 2**62 + 1):
        with pytest.raises(IndexError, match=f"got {label} at row 1"):
            xe.softmax_cross_entropy(Z, column([0, label], "Int64"))
        loss = xe.softmax_cross_entropy(Z, column([0, label], "Int64"), ignore_index=label)
        assert loss == xe.softmax_cross_entropy(Z, [0, -100])


@pytest.mark.parametrize("kind", ["str", "category", "object"])
def test_labels_that_are_text(kind: str) -> None:
    with pytest.raises(TypeError, match=r"write the number of each label, numpy.unique"):
        xe.softmax_cross_entropy(Z, pd.Series(["a", "b"], dtype=kind))
    with pytest.raises(TypeError, match="write booleans"):
        xe.sigmoid_cross_entropy(Z[:, 0].copy(), pd.Series(["a", "b"], dtype=kind))


def test_weights_of_a_series_are_repeated() -> None:
    z = np.zeros((2, 3, 4))
    weight = column([1.0, 2.0, 3.0], "Float64")
    expected = xe.softmax_cross_entropy(z, np.zeros((2, 3), int), sample_weight=np.tile(weight.to_numpy(), (2, 1)))
    assert xe.softmax_cross_entropy(z, np.zeros((2, 3), int), sample_weight=weight) == expected


def test_polars_and_arrow() -> None:
    pl, pa = (pytest.importorskip(name, reason=f"{name} is not installed") for name in ("polars", "pyarrow"))
    expected = xe.softmax_cross_entropy(Z, [0, 2])
    assert xe.softmax_cross_entropy(pl.DataFrame(Z), pl.Series([0, 2])) == expected
    assert xe.softmax_cross_entropy(Z, pa.array([0, 2])) == expected
    for missing in (pl.Series([0, None]), pa.array([0, None])):
        with pytest.raises(ValueError, match=r"the label at row 1 is missing \(NaN\)"):
            xe.softmax_cross_entropy(Z, missing)
