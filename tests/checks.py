"""Comparisons the tests share: a tolerance with a yardstick, the same bits, and the distance in ULP."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from oracles import Truth
from registry import DTYPES, HALVES, Case

FLUSHED: dict[type, float] = {dtype: 64 * float(np.finfo(dtype).tiny) for dtype in DTYPES}
"""What may be lost where exponentials below the smallest normal number are flushed to zero, several in a row."""


def assert_close(
    actual: ArrayLike,
    truth: ArrayLike,
    rtol: float,
    size: ArrayLike | None = None,
    floor: ArrayLike = 0.0,
    note: str = "",
) -> None:
    """`|actual - truth| <= rtol * size + floor`, where `size` is the truth itself unless given.

    NaN equals NaN, an infinity itself. Prints the worst element.
    """
    a, t = np.asarray(actual), np.asarray(truth, np.float64)
    assert a.shape == t.shape, f"{note}: shape {a.shape} instead of {t.shape}"
    if a.size == 0:
        return
    a = a.astype(np.float64)
    same = (a == t) | (np.isnan(a) & np.isnan(t))
    with np.errstate(invalid="ignore"):
        error = np.where(same, 0.0, np.abs(a - t))
        allowed = rtol * np.abs(t if size is None else np.asarray(size, np.float64)) + np.asarray(floor)
        bad = ~same & ~(np.isfinite(error) & (error <= allowed))
    if bad.any():
        with np.errstate(invalid="ignore", divide="ignore"):
            ratio = np.nan_to_num(error / allowed, nan=np.inf)
        worst = np.unravel_index(np.argmax(np.where(bad, ratio, -1.0)), t.shape)
        place = tuple(int(i) for i in worst)
        raise AssertionError(
            f"{note}: {bad.sum()} of {bad.size} wrong, worst at {place}: {a[worst]!r} instead of {t[worst]!r}, "
            f"error {error[worst]:.3e}, allowed {allowed[worst]:.3e}"
        )


def assert_same_bits(actual: ArrayLike, expected: ArrayLike, note: str = "") -> None:
    """The same dtype, shape and bits. All NaN count as one."""
    a, e = np.asarray(actual), np.asarray(expected)
    assert a.dtype == e.dtype, f"{note}: dtype {a.dtype} instead of {e.dtype}"
    if a.shape == e.shape and a.tobytes() == e.tobytes():
        return
    if a.dtype in HALVES:  # widened exactly, as NumPy does not know a bfloat16's NaN when it sees one
        a, e = a.astype(np.float32), e.astype(np.float32)
    np.testing.assert_array_equal(a, e, err_msg=note)
    np.testing.assert_array_equal(np.signbit(a[~np.isnan(a)]), np.signbit(e[~np.isnan(e)]), err_msg=note)


def assert_truth(case: Case, result: Any, truth: Truth, reduction: str, dtype: type, note: str = "") -> None:
    """The `LossGrad` of a case agrees with its oracle."""
    loss, grad, size = truth.reduced(reduction)
    loss_doubt, grad_doubt = truth.doubts(reduction)
    assert_close(result.loss, loss, case.loss_rtol[dtype], floor=FLUSHED[dtype] + loss_doubt, note=f"{note} loss")
    assert_close(result.grad, grad, case.grad_rtol[dtype], size, FLUSHED[dtype] + grad_doubt, note=f"{note} grad")


def ulps(actual: float, truth: float) -> float:
    """The distance of two float64 numbers in units in the last place of the second."""
    return abs(actual - truth) / float(np.spacing(abs(truth)))


def never_rises(curve) -> bool:
    """Whether each loss is at most the one before it, but for its rounding, which is all that changes at the end."""
    curve = np.asarray(curve)
    return bool((np.diff(curve) <= 4 * np.spacing(curve[:-1])).all())
