"""Every bad input: the type of the error, its message, and that nothing was written to `out`."""

from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
import pytest
from scipy.sparse import csr_array

import xentrs as xe
from registry import DTYPES, of_logits

nan, inf = np.nan, np.inf


class Bad(NamedTuple):
    """A call that must fail: the arguments that differ from four rows of three classes, and the error they raise."""

    name: str
    error: Any
    message: str
    wrong: dict[str, Any]


def bad(name: str, error: Any, message: str, **wrong: Any) -> Bad:
    return Bad(name, error, message, wrong)


SOFTMAX = [
    bad(
        "class too large",
        IndexError,
        r"target must be integers in \[0, 3\) or ignore_index=-100, got 3 at row 3",
        target=[0, 1, 2, 3],
    ),
    bad("class far too large", IndexError, "got 4611686018427387904 at row 1", target=[0, 2**62, 0, 0]),
    bad(
        "class negative",
        IndexError,
        r"target must be integers in \[0, 3\) or ignore_index=-100, got -1 at row 2",
        target=[0, 1, -1, 3],
    ),
    bad(
        "class -100 where another is ignored",
        IndexError,
        r"target must be integers in \[0, 3\) or ignore_index=1, got -100 at row 0",
        target=[-100, 1, 2, 0],
        ignore_index=1,
    ),
    bad(
        "class -100 where none is ignored",
        IndexError,
        r"target must be integers in \[0, 3\), got -100 at row 3",
        target=[0, 1, 2, -100],
        ignore_index=None,
    ),
    bad("class in a row of zero weight", IndexError, "got 9 at row 2", target=[0, 1, 9, 0], sample_weight=[1, 1, 0, 1]),
    bad("too few targets", ValueError, r"target must have shape \(4,\), got \(2,\)", target=[0, 1]),
    bad(
        "too many dimensions of classes",
        ValueError,
        r"target must have shape \(4,\), got \(4, 1\)",
        target=[[0], [1], [2], [0]],
    ),
    bad(
        "classes in the shape of the logits",
        ValueError,
        r"target must have shape \(4,\), got \(4, 3\)",
        target=np.zeros((4, 3), int),
    ),
    bad("one class for all rows", ValueError, r"target must have shape \(4,\), got \(\)", target=1),
    bad(
        "distribution of the wrong width",
        ValueError,
        r"target must have shape \(4, 3\), got \(4, 2\)",
        target=np.zeros((4, 2)),
    ),
    bad(
        "distribution without rows",
        ValueError,
        r"target must have shape \(4, 3\), got \(3,\)",
        target=np.zeros(3),
    ),
    bad("boolean target", TypeError, "target must be .*got bool", target=[True, False, True, False]),
    bad("complex target", TypeError, "target must be .*got complex128", target=np.zeros((4, 3), complex)),
    bad("text target", TypeError, "target must be .*got <U1", target=["a", "b", "c", "d"]),
    bad("object target", TypeError, "target must be .*got object", target=np.array([0, 1, None, 2], object)),
    bad("dates as target", TypeError, "target must be .*got datetime64", target=np.zeros(4, "datetime64[s]")),
    bad("logits without dimension", ValueError, "logits must have at least one dimension", logits=1.0, target=0),
    bad("axis too large", np.exceptions.AxisError, "axis 2 is out of bounds for array of dimension 2", axis=2),
    bad("axis too small", np.exceptions.AxisError, "axis -3 is out of bounds for array of dimension 2", axis=-3),
    bad(
        "class_weight too short",
        ValueError,
        r"class_weight must have shape \(3,\), got \(2,\)",
        class_weight=[1.0, 1.0],
    ),
    bad("class_weight a scalar", ValueError, r"class_weight must have shape \(3,\), got \(\)", class_weight=2.0),
    bad(
        "class_weight negative",
        ValueError,
        "class_weight must be finite and non-negative, got -1.* at index 2",
        class_weight=[1.0, 1.0, -1.0],
    ),
    bad(
        "class_weight NaN",
        ValueError,
        "class_weight must be finite and non-negative, got (?i:nan) at index 1",
        class_weight=[1.0, nan, 1.0],
    ),
    bad(
        "class_weight infinite",
        ValueError,
        "class_weight must be finite and non-negative, got inf at index 0",
        class_weight=[inf, 1.0, 1.0],
    ),
    bad("class_weight text", TypeError, "class_weight must be .*got <U1", class_weight=["a", "b", "c"]),
    bad("class_weight complex", TypeError, "class_weight must be .*got complex128", class_weight=[1j, 1j, 1j]),
    bad(
        "sample_weight too short",
        ValueError,
        r"sample_weight must have shape \(4,\), got \(2,\)",
        sample_weight=[1.0, 1.0],
    ),
    bad(
        "sample_weight per element",
        ValueError,
        r"sample_weight must have shape \(4,\), got \(4, 3\)",
        sample_weight=np.ones((4, 3)),
    ),
    bad(
        "sample_weight negative",
        ValueError,
        "sample_weight must be finite and non-negative, got -0.5 at index 1",
        sample_weight=[1.0, -0.5, 1.0, 1.0],
    ),
    bad(
        "sample_weight negative in an ignored row",
        ValueError,
        "sample_weight must be finite and non-negative, got -1.* at index 1",
        target=[0, -100, 1, 2],
        sample_weight=[1.0, -1.0, 1.0, 1.0],
    ),
    bad(
        "sample_weight NaN",
        ValueError,
        "sample_weight must be finite and non-negative, got (?i:nan) at index 3",
        sample_weight=[1.0, 1.0, 1.0, nan],
    ),
    bad(
        "sample_weight infinite",
        ValueError,
        "sample_weight must be finite and non-negative, got inf at index 2",
        sample_weight=[1.0, 1.0, inf, 1.0],
    ),
    bad("label_smoothing above one", ValueError, r"label_smoothing must be in \[0, 1\], got 1.5", label_smoothing=1.5),
    bad("label_smoothing negative", ValueError, r"label_smoothing must be in \[0, 1\], got -0.1", label_smoothing=-0.1),
    bad("label_smoothing NaN", ValueError, r"label_smoothing must be in \[0, 1\], got (?i:nan)", label_smoothing=nan),
    bad("label_smoothing text", TypeError, "label_smoothing must be a number, got '0.1'", label_smoothing="0.1"),
    bad("ignore_index not an integer", TypeError, "ignore_index must be an integer, got", ignore_index=1.5),
]

SIGMOID = [
    bad(
        "target above one",
        ValueError,
        r"target must be in \[0, 1\], got 1.5 at index 10",
        target=[[0, 0.5, 1]] * 3 + [[0, 1.5, 0]],
    ),
    bad("target negative", ValueError, r"target must be in \[0, 1\], got -0.5 at index 1", target=[[0, -0.5, 1]] * 4),
    bad("integer target of two", ValueError, "target must be .*got 2 at index 2", target=[[0, 1, 2]] * 4),
    bad("integer target of minus one", ValueError, "target must be .*got -1 at index 2", target=[[0, 1, -1]] * 4),
    bad("target infinite", ValueError, r"target must be in \[0, 1\], got inf at index 0", target=[[inf, 0.0, 0.0]] * 4),
    bad("target one per row", ValueError, r"target must have shape \(4, 3\), got \(4,\)", target=[0, 1, 0, 1]),
    bad("target a scalar", ValueError, r"target must have shape \(4, 3\), got \(\)", target=1),
    bad("complex target", TypeError, "target must be .*got complex128", target=np.zeros((4, 3), complex)),
    bad("text target", TypeError, "target must be .*got <U1", target=[["a", "b", "c"]] * 4),
    bad("pos_weight of the wrong width", ValueError, r"pos_weight must .*\(3,\), got \(2,\)", pos_weight=[1.0, 1.0]),
    bad("pos_weight of other rows", ValueError, r"pos_weight must .*\(3,\), got \(2, 3\)", pos_weight=np.ones((2, 3))),
    bad(
        "pos_weight negative in an element",
        ValueError,
        "pos_weight must be finite and non-negative, got -1.0 at index 11",
        pos_weight=[[1.0, 1.0, 1.0]] * 3 + [[1.0, 1.0, -1.0]],
    ),
    bad(
        "pos_weight negative",
        ValueError,
        "pos_weight must be finite and non-negative, got -2.* at index 1",
        pos_weight=[1.0, -2.0, 1.0],
    ),
    bad(
        "pos_weight a negative scalar",
        ValueError,
        "pos_weight must be finite and non-negative, got -2",
        pos_weight=-2.0,
    ),
    bad("pos_weight NaN", ValueError, "pos_weight must be finite and non-negative, got (?i:nan)", pos_weight=nan),
    bad("pos_weight infinite", ValueError, "pos_weight must be finite and non-negative, got inf", pos_weight=inf),
    bad("pos_weight text", TypeError, "pos_weight must be .*got <U5", pos_weight="heavy"),
    bad("sample_weight of the wrong shape", ValueError, r"sample_weight must .*got \(3,\)", sample_weight=np.ones(3)),
    bad(
        "sample_weight negative",
        ValueError,
        "sample_weight must be finite and non-negative, got -0.5 at index 1",
        sample_weight=[1.0, -0.5, 1.0, 1.0],
    ),
    bad(
        "sample_weight negative in an element",
        ValueError,
        "sample_weight must be finite and non-negative, got -1.* at index 11",
        sample_weight=[[1.0, 1.0, 1.0]] * 3 + [[1.0, 1.0, -1.0]],
    ),
    bad(
        "sample_weight NaN",
        ValueError,
        "sample_weight must be finite and non-negative, got (?i:nan) at index 3",
        sample_weight=[1.0, 1.0, 1.0, nan],
    ),
    bad(
        "sample_weight infinite",
        ValueError,
        "sample_weight must be finite and non-negative, got inf at index 2",
        sample_weight=[1.0, 1.0, inf, 1.0],
    ),
]

BOTH = [
    bad(
        "complex logits",
        TypeError,
        r"logits must be floating \(float16, bfloat16, float32 or float64\), got complex128",
        logits=np.zeros((4, 3), complex),
    ),
    bad("text logits", TypeError, "logits must be floating .*got <U1", logits=[["a", "b", "c"]] * 4),
    bad("object logits", TypeError, "logits must be floating .*got object", logits=np.full((4, 3), None)),
    bad(
        "dates as logits",
        TypeError,
        "logits must be floating .*got datetime64",
        logits=np.zeros((4, 3), "datetime64[s]"),
    ),
    bad(
        "extended-precision logits",
        TypeError,
        f"logits must be floating .*got {np.dtype(np.longdouble)}",
        logits=np.zeros((4, 3), np.longdouble),
    ),
    bad(
        "quarter-precision logits",
        TypeError,
        "logits must be floating .*got float8_e4m3fn",
        logits=np.zeros((4, 3), ml_dtypes.float8_e4m3fn),
    ),
    bad(
        "two bytes of no type as logits", TypeError, "logits must be floating .*got .V2", logits=np.zeros((4, 3), "V2")
    ),
    bad("no logits", TypeError, "logits must be floating .*got NoneType", logits=None),
    bad("sparse logits", TypeError, "logits must be floating .*got csr_array", logits=csr_array(np.eye(3))),
    bad("sparse target", TypeError, "target must be .*got csr_array", target=csr_array(np.eye(3))),
    bad("ragged logits", ValueError, "inhomogeneous", logits=[[1.0, 2.0, 3.0], [1.0]]),
    bad("unknown reduction", ValueError, 'reduction must be "mean", "sum" or "none", got "avg"', reduction="avg"),
    bad("reduction in capitals", ValueError, 'reduction must be "mean", "sum" or "none", got "Mean"', reduction="Mean"),
    bad("no reduction", (TypeError, ValueError), "reduction", reduction=None),
]

SMOOTHED = [
    bad("label_smoothing above one", ValueError, r"label_smoothing must be in \[0, 1\], got 1.5", label_smoothing=1.5),
    bad("label_smoothing NaN", ValueError, r"label_smoothing must be in \[0, 1\], got (?i:nan)", label_smoothing=nan),
    bad("ignore_index not an integer", TypeError, "ignore_index must be an integer, got", ignore_index=0.5),
    bad(
        "integer target that is not the ignored one",
        ValueError,
        r"target must be in \[0, 1\] or ignore_index, got -1 at index 2",
        target=[[0, -100, -1]] * 4,
        ignore_index=-100,
    ),
    bad(
        "target that is not the ignored one",
        ValueError,
        r"target must be in \[0, 1\] or ignore_index, got -1.0 at index 2",
        target=[[0.5, -100.0, -1.0]] * 4,
        ignore_index=-100,
    ),
    bad(
        "bad target in an element of zero weight",
        ValueError,
        "target must be .*got 2.0 at index 3",
        target=[[0.5, 1.0, 0.0], [2.0, 0.0, 0.0], [0.0] * 3, [0.0] * 3],
        sample_weight=[1.0, 0.0, 1.0, 1.0],
    ),
    bad(
        "bad target where nothing has weight",
        ValueError,
        "target must be .*got 2.0 at index 3",
        target=[[0.5, 1.0, 0.0], [2.0, 0.0, 0.0], [0.0] * 3, [0.0] * 3],
        sample_weight=[0.0] * 4,
    ),
]

FOCAL = [
    bad("gamma negative", ValueError, r"gamma must be in \[0, 1e9\], got -1.0", gamma=-1.0),
    bad("gamma NaN", ValueError, r"gamma must be in \[0, 1e9\], got (?i:nan)", gamma=nan),
    bad("gamma infinite", ValueError, r"gamma must be in \[0, 1e9\], got inf", gamma=inf),
    bad("gamma text", TypeError, "gamma must be a number, got '2'", gamma="2"),
    bad("alpha above one", ValueError, r"alpha must be in \[0, 1\], got 1.5", alpha=1.5),
    bad("alpha NaN", ValueError, r"alpha must be in \[0, 1\], got (?i:nan)", alpha=nan),
]

HINGE = [
    bad("target of two", ValueError, "target must be 1, 0 or -1, got 2 at index 2", target=[[0, 1, 2]] * 4),
    bad("target of minus two", ValueError, "target must be 1, 0 or -1, got -2 at index 1", target=[[0, -2, 1]] * 4),
    bad(
        "soft target", ValueError, "target must be 1, 0 or -1, got 0.5 at index 4", target=[[0.0] * 3, [1, 0.5, 0]] * 2
    ),
    bad("infinite target", ValueError, "target must be 1, 0 or -1, got -inf at index 0", target=[[-inf, 0.0, 0.0]] * 4),
    bad("target one per row", ValueError, r"target must have shape \(4, 3\), got \(4,\)", target=[0, 1, 0, 1]),
    bad(
        "sample_weight negative",
        ValueError,
        "sample_weight must be finite and non-negative, got -0.5 at index 1",
        sample_weight=[1.0, -0.5, 1.0, 1.0],
    ),
    bad("complex scores", TypeError, "scores must be floating .*got complex128", logits=np.zeros((4, 3), complex)),
    bad("squared text", TypeError, "squared must be True or False, got 'yes'", squared="yes"),
]

BINARY = [
    bad(
        "p above one",
        ValueError,
        r"p must be in \[0, 1\], got 1.5 at index 10",
        logits=np.array([[0, 0.5, 1]] * 3 + [[0, 1.5, 0]]),
    ),
    bad("p negative", ValueError, r"p must be in \[0, 1\], got -0.5 at index 1", logits=np.array([[0, -0.5, 1]] * 4)),
    bad(
        "p bad in an element of zero weight",
        ValueError,
        r"p must be in \[0, 1\], got 2.0 at index 0",
        logits=np.full((4, 3), 2.0),
        sample_weight=[0.0, 1.0, 1.0, 1.0],
    ),
    bad("eps negative", ValueError, r"eps must be in \[0, 0.5\), got -0.1", eps=-0.1),
    bad("eps of a half", ValueError, r"eps must be in \[0, 0.5\), got 0.5", eps=0.5),
    bad("eps NaN", ValueError, r"eps must be in \[0, 0.5\), got (?i:nan)", eps=nan),
    bad("complex p", TypeError, "p must be floating .*got complex128", logits=np.zeros((4, 3), complex)),
]

SIGNS = [[0, 1, 0]] * 4
LOSSES = {
    "softmax": (xe.softmax_cross_entropy, xe.softmax_cross_entropy_with_grad, [0, 1, 2, 0]),
    "sigmoid": (xe.sigmoid_cross_entropy, xe.sigmoid_cross_entropy_with_grad, SIGNS),
    "sigmoid-hess": (xe.sigmoid_cross_entropy, xe.sigmoid_cross_entropy_with_hess, SIGNS),
    "focal": (xe.sigmoid_focal_loss, xe.sigmoid_focal_loss_with_grad, SIGNS),
    "hinge": (of_logits(xe.hinge_loss), of_logits(xe.hinge_loss_with_grad), SIGNS),
    "binary": (of_logits(xe.binary_cross_entropy), of_logits(xe.binary_cross_entropy_with_grad), SIGNS),
}
TABLES = {
    "softmax": SOFTMAX + BOTH,
    "sigmoid": SIGMOID + SMOOTHED + BOTH,
    "sigmoid-hess": SIGMOID + SMOOTHED + BOTH,
    "focal": SIGMOID + SMOOTHED + FOCAL + BOTH,
    "hinge": HINGE,
    "binary": SIGMOID + BINARY,
}
ROWS = [
    pytest.param(loss, row.wrong, row.error, row.message, id=f"{loss}-{row.name}".replace(" ", "-"))
    for loss, table in TABLES.items()
    for row in table
]


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)
@pytest.mark.parametrize(("loss", "wrong", "error", "message"), ROWS)
def test_bad_input(loss: str, wrong: dict[str, Any], error: Any, message: str, dtype: type) -> None:
    function, with_grad, target = LOSSES[loss]
    arguments: dict[str, Any] = {"logits": np.zeros((4, 3), dtype), "target": target, **wrong}
    if getattr(arguments["logits"], "dtype", None) == np.float64:  # wrong for what it holds, whatever the type
        arguments["logits"] = arguments["logits"].astype(dtype)
    with pytest.raises(error, match=message):
        function(**arguments)
    with pytest.raises(error, match=message):
        with_grad(**arguments)
    out = np.full((4, 3), 77, dtype)
    with pytest.raises(error, match=message):
        with_grad(**arguments, out=out)
    assert (out == 77).all(), "a refused call must not write to out"
    if "logits" not in wrong:
        with pytest.raises(error, match=message):
            with_grad(**arguments, out=arguments["logits"])
        assert not arguments["logits"].any(), "a refused call must not write to the logits"


@pytest.mark.parametrize("name", ["class_weight", "sample_weight", "label_smoothing", "axis", "reduction"])
def test_errors_are_found_in_an_empty_batch_too(name: str) -> None:
    wrong = {
        "class_weight": [-1.0] * 3,
        "sample_weight": [1.0] * 2,
        "label_smoothing": 2.0,
        "axis": 5,
        "reduction": "avg",
    }
    with pytest.raises((ValueError, IndexError), match=name):
        xe.softmax_cross_entropy(np.empty((0, 3)), np.empty(0, int), **{name: wrong[name]})


def test_a_bad_class_in_a_large_batch_writes_nothing() -> None:
    """Classes are checked before the first row is computed, whatever thread would have come to the bad one."""
    logits = np.zeros((5_000, 200), np.float32)
    target = np.zeros(5_000, int)
    target[4_321] = 200
    out = np.full_like(logits, 77)
    with pytest.raises(
        IndexError, match=r"target must be integers in \[0, 200\) or ignore_index=-100, got 200 at row 4321"
    ):
        xe.softmax_cross_entropy_with_grad(logits, target, out=out)
    assert (out == 77).all()


def test_the_first_bad_class_is_named() -> None:
    with pytest.raises(IndexError, match="got 7 at row 1"):
        xe.softmax_cross_entropy(np.zeros((4, 3)), [0, 7, 8, -9])


def test_rows_are_counted_along_the_batch() -> None:
    """In more than two dimensions, and where the class axis is not the last."""
    target = np.zeros((2, 3), int)
    target[1, 2] = 9
    with pytest.raises(IndexError, match="got 9 at row 5"):
        xe.softmax_cross_entropy(np.zeros((2, 3, 4)), target)
    with pytest.raises(IndexError, match="got 9 at row 5"):
        xe.softmax_cross_entropy(np.zeros((4, 2, 3)), target, axis=0)


def test_no_class_is_right_where_there_is_none() -> None:
    with pytest.raises(IndexError, match=r"target must be integers in \[0, 0\) .*got 0 at row 0"):
        xe.softmax_cross_entropy(np.zeros((4, 0)), [0, 0, 0, 0])
    assert xe.softmax_cross_entropy(np.zeros((4, 0)), [-100] * 4) == 0.0


@pytest.mark.parametrize("dtype", [*DTYPES, np.float16], ids=lambda dtype: dtype.__name__)
def test_a_bad_target_far_inside_a_large_batch(dtype: type) -> None:
    """Found in the pass of the loss, and named; where there is an `out`, before that is written."""
    logits, target = np.zeros(300_000, dtype), np.zeros(300_000, dtype)
    target[[234_567, 250_000]] = 2, 3
    target[-1] = nan
    message = r"target must be in \[0, 1\], got 2.0 at index 234567"
    for options in ({}, {"reduction": "none"}, {"sample_weight": np.zeros(300_000)}):
        for f in (xe.sigmoid_cross_entropy, xe.sigmoid_cross_entropy_with_grad, xe.sigmoid_cross_entropy_with_hess):
            with pytest.raises(ValueError, match=message):
                f(logits, target, **options)
    out = np.full_like(logits, 77)
    for f in (xe.sigmoid_cross_entropy_with_grad, xe.sigmoid_cross_entropy_with_hess):
        for place in (out, logits):
            with pytest.raises(ValueError, match=message):
                f(logits, target, out=place)
    assert (out == 77).all() and not logits.any()
    with pytest.raises(ValueError, match=r"p must be in \[0, 1\], got 2.0 at index 234567"):
        xe.binary_cross_entropy(target, logits)
    with pytest.raises(ValueError, match=r"p must be in \[0, 1\], got 2.0 at index 234567"):
        xe.binary_cross_entropy_with_grad(target, logits, out=target)
    assert np.isnan(target[-1]) and target[0] == 0


def test_missing_target() -> None:
    for function, with_grad, _ in list(LOSSES.values())[:4]:
        for f in (function, with_grad):
            with pytest.raises(TypeError, match="missing 1 required positional argument: 'target'"):
                f(np.zeros((4, 3)))
            with pytest.raises(TypeError, match="unexpected keyword argument 'weight'"):
                f(np.zeros((4, 3)), [0] * 4, weight=None)
