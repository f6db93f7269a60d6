"""float16 and bfloat16 as they come and go: beside other types, in any layout, where they are wanted."""

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import xentrs as xe
from checks import assert_same_bits
from halves import SHAPES, narrow, rough, target_of, wide
from layouts import LAYOUTS
from registry import CASES, FUNCTIONS, HALVES, REDUCTIONS, Case, Function

KINDS = [pytest.param(case, kind, id=f"{case.name}-{kind}") for case in CASES for kind in case.targets]
each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
each_kind = pytest.mark.parametrize(("case", "kind"), KINDS)
each_half = pytest.mark.parametrize("half", HALVES, ids=lambda half: half.__name__)
each_layout = pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS.keys())
each_function = pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.name)
each_function_with_out = pytest.mark.parametrize("function", [f for f in FUNCTIONS if f.has_out], ids=lambda f: f.name)


# --- Types, errors ----------------------------------------------------------------------------------------------------


@each_half
@each_case
def test_types_of_the_results(case: Case, half: type) -> None:
    logits, target = np.zeros((3, 4), half), np.zeros(case.row_shape((3, 4)), int)
    for reduction in ("mean", "sum"):
        loss, grad = case.loss_with_grad(logits, target, reduction=reduction)
        assert isinstance(loss, float) and isinstance(case.loss(logits, target, reduction=reduction), float)
        assert grad.dtype == half and grad.shape == (3, 4) and grad.flags.owndata
    loss, grad = case.loss_with_grad(logits, target, reduction="none")
    assert loss.dtype == np.float32 and grad.dtype == half
    assert case.loss(logits, target, reduction="none").dtype == np.float32


@each_half
@each_kind
@pytest.mark.parametrize("of", [*HALVES, np.float32, np.float64, np.longdouble], ids=lambda dtype: dtype.__name__)
def test_floats_of_any_type_beside_half_logits(case: Case, kind: str, half: type, of: type) -> None:
    """Targets and weights: whatever they are, they are taken as float32."""
    rng = np.random.default_rng(103)
    for shape in [(7, 5), (300, 130)]:
        logits = case.admit(rng.normal(size=shape).astype(half))
        target = case.targets[kind](rng, np.float32, shape)
        target = target.astype(of) if target.dtype == np.float32 else target
        weight = rng.uniform(0.5, 2.0, case.row_shape(shape)).astype(of)
        options = {"sample_weight": weight}
        for name in {"class_weight", "pos_weight"} & set(case.options):
            options[name] = rng.uniform(0.5, 2.0, shape[-1:]).astype(of)
        loss, grad = case.loss_with_grad(logits, target, **options)
        same = wide(target) if target.dtype == of else target
        expected, expected_grad = case.loss_with_grad(wide(logits), same, **{k: wide(v) for k, v in options.items()})
        assert loss == expected
        assert_same_bits(grad, narrow(expected_grad, half))


@each_half
@each_case
def test_half_targets_beside_wider_logits(case: Case, half: type) -> None:
    rng = np.random.default_rng(104)
    logits = case.admit(rng.normal(size=(7, 5)))
    target = [*case.targets.values()][-1](rng, np.float32, (7, 5)).astype(half)
    for dtype in (np.float32, np.float64):
        loss, grad = case.loss_with_grad(logits.astype(dtype), target)
        expected, expected_grad = case.loss_with_grad(logits.astype(dtype), target.astype(dtype))
        assert loss == expected
        assert_same_bits(grad, expected_grad)


@each_half
def test_errors_in_half_targets(half: type) -> None:
    """They name the place in the whole array, in whatever block it is; the first one."""
    logits, target = np.zeros((30_000, 4), half), np.zeros((30_000, 4), half)
    out = np.full(logits.shape, 77, half)
    for wrong, got in [(1.5, "1.5"), (-0.25, "-0.25"), (np.inf, "inf")]:
        for index in (0, 40_007, 119_999):
            bad = target.copy()
            bad.flat[index:] = wrong
            with pytest.raises(ValueError, match=rf"target must be in \[0, 1\], got {got} at index {index}$"):
                xe.sigmoid_cross_entropy_with_grad(logits, bad, out=out)
    for function in (xe.sigmoid_cross_entropy_with_grad, xe.softmax_cross_entropy_with_grad):
        with pytest.raises(ValueError, match=r"target must have shape \(30000, 4\), got \(30000, 3\)"):
            function(logits, target[:, :3].copy(), out=out)
        with pytest.raises(ValueError, match=r"sample_weight must be finite and non-negative, got -1\.0 at index 3"):
            function(logits, target, sample_weight=np.array([1.0, 1, 1, -1] * 7_500), out=out)
    assert (wide(out) == 77).all()
    for column in (np.nan, 1.0):
        target[:, 0] = column
        assert np.isnan(xe.sigmoid_cross_entropy(logits, target)) == np.isnan(column)


# --- out --------------------------------------------------------------------------------------------------------------


@each_half
@each_kind
def test_out_and_in_place(case: Case, kind: str, half: type) -> None:
    rng = np.random.default_rng(105)
    for shape in SHAPES:
        logits, target = case.admit(rough(rng, half, shape)), target_of(case, kind, rng, half, shape)
        for reduction in REDUCTIONS:
            expected, expected_grad = case.loss_with_grad(logits, target, reduction=reduction)
            place = logits.copy()
            for out in (np.full(shape, 77, half), place):
                loss, grad = case.loss_with_grad(
                    place if out is place else logits, target, reduction=reduction, out=out
                )
                assert grad is out
                assert_same_bits(loss, expected, str(shape))
                assert_same_bits(out, expected_grad, str(shape))


@each_half
@each_case
@pytest.mark.parametrize("of", ["half", "float32"])
def test_out_in_any_layout(case: Case, half: type, of: str) -> None:
    rng = np.random.default_rng(106)
    logits = case.admit(rng.normal(size=(40, 30)).astype(half))
    target = case.targets["classes" if case.has_class_axis else "integers"](rng, np.float32, (40, 30))
    dtype = half if of == "half" else np.float32
    swapped = np.dtype(dtype).newbyteorder("S")
    expected, expected_grad = case.loss_with_grad(logits, target, out=np.empty(logits.shape, dtype))
    gaps = np.full((80, 90), 77, dtype)
    outs = [np.empty((30, 40), dtype).T, gaps[::2, ::3], np.empty((40, 30), dtype)[::-1], np.empty((40, 30), swapped)]
    for out in outs:
        loss, grad = case.loss_with_grad(logits, target, out=out)
        assert grad is out and loss == expected
        assert_same_bits(out.astype(dtype), expected_grad)
    gaps[::2, ::3] = 77
    assert (wide(gaps) == 77).all()
    axis = {"axis": 0} if case.has_class_axis else {}
    out = np.empty((30, 40), dtype)
    loss, grad = case.loss_with_grad(np.ascontiguousarray(logits.T), target if axis else target.T, out=out, **axis)
    assert grad is out
    assert_same_bits(out.T, expected_grad)


@each_half
@each_case
def test_out_that_does_not_fit_is_refused(case: Case, half: type) -> None:
    logits, target = np.zeros((3, 4), half), np.zeros(case.row_shape((3, 4)), int)
    (other,) = (dtype for dtype in HALVES if dtype is not half)
    name = np.dtype(half).name
    for wrong in (other, np.float64, np.uint16, np.int64, np.complex64, "V2"):
        out = np.zeros((3, 4), wrong)
        with pytest.raises(TypeError, match=f"out must have the dtype of the logits, {name} or float32, got "):
            case.loss_with_grad(logits, target, out=out)
    for dtype in (half, np.float32):
        with pytest.raises(ValueError, match=r"out .*\(3, 4\), got \(4, 3\)"):
            case.loss_with_grad(logits, target, out=np.zeros((4, 3), dtype))
        locked = np.zeros((3, 4), dtype)
        locked.flags.writeable = False
        with pytest.raises(ValueError, match=r"out .*read-only"):
            case.loss_with_grad(logits, target, out=locked)


@each_half
@each_case
def test_out_that_overlaps_an_input_is_refused(case: Case, half: type) -> None:
    buffer = np.zeros(64, np.float32)
    logits, target = buffer.view(half)[:16].reshape(4, 4), np.zeros(case.row_shape((4, 4)), int)
    for out in (buffer[:16].reshape(4, 4), buffer[4:20].reshape(4, 4), buffer.view(half)[1:17].reshape(4, 4)):
        with pytest.raises(ValueError, match=r"out .*overlap"):
            case.loss_with_grad(logits, target, out=out)
    soft = np.full((5, 4), 0.25, half)
    with pytest.raises(ValueError, match=r"out .*overlap"):
        case.loss_with_grad(logits, soft[:4], out=soft[1:])
    _, grad = case.loss_with_grad(logits, target, out=buffer[8:24].reshape(4, 4))  # the neighbour in one buffer
    assert_same_bits(grad, case.loss_with_grad(logits.copy(), target, out=np.empty((4, 4), np.float32)).grad)


@each_half
@each_function_with_out
def test_out_of_functions(function: Function, half: type) -> None:
    rng = np.random.default_rng(110)
    for shape in SHAPES:
        x = rough(rng, half, shape)
        expected = function.function(wide(x))
        for out in (np.full(shape, 77, half), np.full(shape, 77, np.float32), np.full(shape[::-1], 77, half).T):
            assert function.function(x, out=out) is out
            assert_same_bits(out, narrow(expected, out.dtype))
        assert function.function(x, out=x) is x
        assert_same_bits(x, narrow(expected, half))
    with pytest.raises(TypeError, match="or float32, got float64"):
        function.function(np.zeros((2, 2), half), out=np.zeros((2, 2)))


# --- Layouts ----------------------------------------------------------------------------------------------------------


@each_layout
@each_half
@each_kind
def test_every_layout_of_every_input(case: Case, kind: str, half: type, layout: Any) -> None:
    rng = np.random.default_rng(107)
    for shape in [(6, 5), (300, 130)]:
        arrays = {
            "logits": case.admit(rng.normal(scale=5.0, size=shape).astype(half)),
            "target": target_of(case, kind, rng, half, shape),
            "sample_weight": rng.uniform(0.5, 2.0, case.row_shape(shape)).astype(half),
        }
        for chosen in [*arrays, None]:
            laid = {name: layout(array) if chosen in (name, None) else array for name, array in arrays.items()}
            plain = {name: np.array(a, a.dtype.newbyteorder("="), order="C") for name, a in laid.items()}
            note = f"{chosen or 'all'} {shape}"
            loss, grad = case.loss_with_grad(**laid)
            expected, expected_grad = case.loss_with_grad(**plain)
            assert loss == expected and case.loss(**laid) == case.loss(**plain), note
            assert_same_bits(grad, expected_grad, note)


@each_layout
@each_half
@each_function
def test_every_layout_of_the_functions(function: Function, half: type, layout: Any) -> None:
    for shape in [(6, 5), (37, 19)]:
        laid = layout((np.random.default_rng(108).normal(size=shape) * 10).astype(half))
        expected = function.function(np.array(laid, half, order="C"))
        assert_same_bits(function.function(laid), expected, str(shape))


@each_half
def test_lists_of_scalars(half: type) -> None:
    row = [half(2), half(1), half(0)]
    loss, grad = xe.softmax_cross_entropy_with_grad([row, row], [0, 1])
    expected, expected_grad = xe.softmax_cross_entropy_with_grad(np.array([row, row], half), [0, 1])
    assert loss == expected and grad.dtype == half
    assert_same_bits(grad, expected_grad)


# --- Memory, and no ml_dtypes -----------------------------------------------------------------------------------------


def run(program: str) -> str:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.skipif(sys.platform != "linux", reason="reads what Linux says about memory")
@pytest.mark.parametrize("target", ["np.zeros(500, int)", "np.full((500, 32_000), 1 / 32_000, np.float16)"])
def test_nothing_as_large_as_the_logits_is_made(target: str) -> None:
    """32 MB of logits, beside 64 MB if they were widened as a whole; what is allowed is a few blocks a thread."""
    program = f"""
import resource, numpy as np, xentrs as xe
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
logits, target = np.zeros((500, 32_000), np.float16), {target}
logits[...] = 1
few = slice(0, 4)
xe.softmax_cross_entropy_with_grad(logits[few], target[few])
before = peak()
xe.softmax_cross_entropy(logits, target)
xe.softmax_cross_entropy_with_grad(logits, target, out=logits)
print(peak() - before)
"""
    assert float(run(program)) < 8


def test_without_ml_dtypes() -> None:
    """There is no bfloat16 then, and nobody asks for it."""
    program = """
import sys
sys.modules["ml_dtypes"] = None
import numpy as np, xentrs as xe
print(xe.softmax_cross_entropy_with_grad(np.zeros((2, 4), np.float16), [0, 1]).grad.dtype)
for dtype in ("V2", "V4", [("bfloat16", np.uint16)], np.longdouble, object, "S2", "M8[s]"):
    for function in (lambda x: xe.softmax(x), lambda x: xe.softmax_cross_entropy(x, [0, 1]), lambda x: xe.sigmoid(x)):
        try:
            function(np.zeros((2, 4), dtype))
        except TypeError:
            continue
        print("no TypeError for", dtype)
try:
    np.dtype("bfloat16")
except TypeError:
    print("no bfloat16")
"""
    assert run(program).split("\n") == ["float16", "no bfloat16"]
