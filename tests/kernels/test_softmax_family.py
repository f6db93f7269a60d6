"""The softmax family beyond what the registry tests: sparse targets, maps of the logits, Hessians, the focus."""

import itertools
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import xentrs as xe
from checks import FLUSHED, assert_close, assert_same_bits, assert_truth
from layouts import LAYOUTS
from oracles import softmax_cross_entropy_oracle
from registry import CASES, DTYPES, HALVES, REDUCTIONS, Case

nan, inf = np.nan, np.inf
Array = np.ndarray[Any, Any]

FAMILY = [case for case in CASES if case.name.startswith("softmax_")]
each_case = pytest.mark.parametrize("case", FAMILY, ids=lambda case: case.name)
each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)

# --- Sparse targets ---------------------------------------------------------------------------------------------------


def sparse(
    rng: np.random.Generator, dtype: type, shape: tuple[int, ...], pairs: int, ignored: int = -100
) -> tuple[tuple[Array, Array], Array]:
    """Pairs, some ignored, some of no weight, classes twice where there are more pairs than classes; and as a whole."""
    n = (*shape[:-1], pairs)
    classes = rng.integers(0, shape[-1], n)
    classes[rng.random(n) < 1 / 8] = ignored
    weights = (rng.random(n) * (rng.random(n) < 0.8)).astype(dtype)
    counted = (classes[..., None] == np.arange(shape[-1])) & (classes != ignored)[..., None]
    return (classes, weights), (weights.astype(np.float64)[..., None] * counted).sum(-2)


@each_dtype
@each_case
def test_sparse_targets_under_every_combination_of_options(case: Case, dtype: type) -> None:
    rng = np.random.default_rng(110)
    for shape in [(23, 11), (5, 70)]:
        for pairs, options in zip(itertools.cycle([1, 2, 3, 30]), case.grid(rng, dtype, shape), strict=False):
            logits = case.logits(rng, dtype, shape)
            target, dense = sparse(rng, dtype, shape, pairs, options["ignore_index"])
            truth = case.oracle(logits, dense, **options)
            for reduction in REDUCTIONS:
                note = f"{shape} {pairs} pairs, {reduction} {options}"
                result = case.loss_with_grad(logits, target, reduction=reduction, **options)
                assert_truth(case, result, truth, reduction, dtype, note)
                expected, floor = truth.reduced(reduction)[0], FLUSHED[dtype] + truth.doubts(reduction)[0]
                loss = case.loss(logits, target, reduction=reduction, **options)
                assert_close(loss, expected, case.loss_rtol[dtype], floor=floor, note=f"{note} loss alone")


@each_dtype
@each_case
def test_sparse_targets_of_every_row_length(case: Case, dtype: type) -> None:
    rng = np.random.default_rng(111)
    for c in [*range(1, 70), 255, 1000, 1031, 5000]:
        shape = (7, c) if c < 200 else (3, c)
        logits = case.logits(rng, dtype, shape)
        for pairs in (0, 2) if c % 2 else (1, 5):
            target, dense = sparse(rng, dtype, shape, pairs)
            truth = case.oracle(logits, dense) if c < 1500 else None
            result = case.loss_with_grad(logits, target, reduction="none")
            if truth is not None:
                assert_truth(case, result, truth, "none", dtype, f"c={c} pairs={pairs}")
            else:
                expected = case.loss_with_grad(logits, dense.astype(dtype), reduction="none")
                assert_close(result.loss, expected.loss, 1e-5 if dtype is np.float32 else 1e-12)


@each_dtype
def test_one_pair_is_a_class_and_all_pairs_are_a_distribution(dtype: type) -> None:
    rng = np.random.default_rng(112)
    logits, target = (rng.normal(size=(50, 6)) * 20).astype(dtype), rng.integers(0, 6, 50)
    one = (target[:, None], np.ones((50, 1), dtype))
    for loss in (xe.softmax_cross_entropy_with_grad, xe.softmax_focal_loss_with_grad):
        for a, b in zip(loss(logits, one), loss(logits, target), strict=True):
            assert_close(a, b, 1e-5 if dtype is np.float32 else 1e-12)
    soft = rng.dirichlet(np.ones(6), 50).astype(dtype)
    whole = (np.broadcast_to(np.arange(6), (50, 6)), soft)
    a, b = (xe.softmax_cross_entropy_with_grad(logits, t, reduction="none") for t in (whole, soft))
    assert_close(a.loss, b.loss, 1e-6 if dtype is np.float32 else 1e-14)
    truth = softmax_cross_entropy_oracle(logits, soft)
    assert_close(a.grad, truth.grad, 1e-5 if dtype is np.float32 else 1e-12, truth.size)


@each_dtype
def test_a_confident_row_keeps_its_digits(dtype: type) -> None:
    """A class in two pieces, 17 above the other: the complement of its probability is 4.1e-8."""
    target = ([[0, 1, 0]], np.array([[0.25, 0.0, 0.75]], dtype))
    loss, grad = xe.softmax_cross_entropy_with_grad(np.array([[17, 0]], dtype), target)
    assert loss == pytest.approx(np.log1p(np.exp(-17)), rel=1e-6)
    p = 1 / (1 + np.exp(17.0))
    assert_close(grad, [[-p, p]], 1e-6)


@each_dtype
@each_case
def test_sparse_rows_that_do_not_count(case: Case, dtype: type) -> None:
    """All pairs ignored, all weights 0, or class weights 0: nothing, whatever stands in the logits."""
    logits = np.array([[nan, inf, 0], [-inf, -inf, -inf], [nan, nan, nan], [1, 2, 3]], dtype)
    target = ([[-100, -100], [0, 1], [2, 2], [0, 1]], [[1.0, 2.0], [0.0, 0.0], [3.0, 1.0], [0.5, 0.5]])
    loss, grad = case.loss_with_grad(logits, target, class_weight=[1, 1, 0], reduction="none")
    np.testing.assert_array_equal(loss[:3], 0)
    np.testing.assert_array_equal(grad[:3], 0)
    expected = case.loss_with_grad(logits[3:], (target[0][3:], target[1][3:]), class_weight=[1, 1, 0])
    mean, grad = case.loss_with_grad(logits, target, class_weight=[1, 1, 0])
    assert mean == expected.loss
    assert_same_bits(grad[3:], expected.grad)


@each_dtype
@each_case
def test_special_logits_under_sparse_targets(case: Case, dtype: type) -> None:
    logits = np.array([[0, -inf, 1], [inf, 0, 1], [0, nan, 1], [inf, inf, 0], [-inf] * 3, [0, 1, 2]], dtype)
    target = ([[0, 1]] * 6, [[0.5, 0.5]] * 6)
    loss, grad = case.loss_with_grad(logits, target, reduction="none")
    dense = np.array([[0.5, 0.5, 0.0]] * 6, dtype)
    expected, expected_grad = case.loss_with_grad(logits, dense, reduction="none")
    assert_close(loss, expected, 1e-5 if dtype is np.float32 else 1e-13)
    assert_close(grad, expected_grad, 1e-5 if dtype is np.float32 else 1e-13, floor=1e-30)
    np.testing.assert_array_equal(np.isnan(loss), [False, False, True, True, True, False])
    np.testing.assert_array_equal(loss[:2], inf)
    zero = ([[0, 1]], [[1.0, 0.0]])
    assert case.loss(logits[:1], zero) == pytest.approx(float(case.loss(logits[:1, [0, 2]], [0])), rel=1e-6)


@each_case
@pytest.mark.once
def test_sparse_targets_in_every_form(case: Case) -> None:
    rng = np.random.default_rng(113)
    for shape in [(5, 7), (300, 900), (7,), (2, 3, 4)]:
        for dtype in DTYPES:
            logits = case.logits(rng, dtype, shape)
            (classes, weights), _ = sparse(rng, dtype, shape, 3)
            expected = case.loss_with_grad(logits, (classes, weights))
            ways = [(classes.astype(np.int32), weights), (classes.tolist(), weights.tolist())]
            ways += [(layout(classes), layout(weights)) for name, layout in LAYOUTS.items() if name != "broadcast"]
            ways += [(np.where(classes < 0, 0, classes).astype(np.uint16), np.where(classes < 0, 0, weights))]
            for way in ways:
                result = case.loss_with_grad(logits, way)
                assert_same_bits(result.loss, expected.loss)
                assert_same_bits(result.grad, expected.grad)
            for axis in range(-len(shape), 0):
                moved = [np.moveaxis(a, -1, axis) for a in (logits, classes, weights)]
                result = case.loss_with_grad(moved[0], (moved[1], moved[2]), axis=axis)
                assert_same_bits(result.loss, expected.loss)
                assert_same_bits(np.moveaxis(result.grad, axis, -1), expected.grad)
            for out in (np.empty_like(logits), logits.copy()):
                np.copyto(out, logits)
                result = case.loss_with_grad(out, (classes, weights), out=out)
                assert result.grad is out
                assert_same_bits(out, expected.grad)
            assert_same_bits(case.loss(logits, (classes, weights)), case.loss(logits.copy(), ways[0]))


@pytest.mark.parametrize("half", HALVES, ids=lambda half: half.__name__)
@each_case
def test_sparse_targets_and_maps_in_half_precision(case: Case, half: type) -> None:
    rng = np.random.default_rng(114)
    for shape in [(23, 11), (70, 2_000)]:
        logits = case.logits(rng, np.float32, shape).astype(half)
        (classes, weights), _ = sparse(rng, np.float32, shape, 3)
        weights = weights.astype(half)
        options = {"temperature": 0.7, "softcap": 20.0, "z_loss": 0.01, "label_smoothing": 0.1}
        expected = case.loss_with_grad(logits.astype(np.float32), (classes, weights.astype(np.float32)), **options)
        result = case.loss_with_grad(logits, (classes, weights), **options)
        assert_same_bits(result.loss, expected.loss)
        assert_same_bits(result.grad, expected.grad.astype(half))


def test_a_tuple_that_is_no_pair_is_an_array() -> None:
    logits = np.array([[2.0, 1.0], [0.0, 3.0]])
    expected = xe.softmax_cross_entropy(logits, [0, 1])
    assert xe.softmax_cross_entropy(logits, (0, 1)) == expected
    assert xe.softmax_cross_entropy(logits, (np.int64(0), np.int32(1))) == expected
    soft = ([0.5, 0.5], [0.25, 0.75])
    assert xe.softmax_cross_entropy(logits, soft) == xe.softmax_cross_entropy(logits, np.array(soft))


@each_case
@pytest.mark.parametrize(
    ("target", "error", "message"),
    [
        (
            ([[0, 1], [2, 3]], [[0.5, 0.5]] * 2),
            IndexError,
            r"target must be integers in [0, 3) or ignore_index=-100, got 3 at row 1",
        ),
        (([[0, -1], [0, 1]], [[0.5, 0.0]] * 2), IndexError, "got -1 at row 0"),
        (([[0], [2**62]], [[0.0], [0.0]]), IndexError, "got 4611686018427387904 at row 1"),
        ((np.array([[0], [2**64 - 1]], np.uint64), [[1.0], [1.0]]), IndexError, "18446744073709551615"),
        (
            ([[0, 1], [0, 1]], [[0.5, 0.5], [-1.0, 0.5]]),
            ValueError,
            "target weights must be finite and non-negative, got -1.0 at index 2",
        ),
        (([[0, 1], [0, 1]], [[0.5, nan], [1.0, 0.5]]), ValueError, "got NaN at index 1"),
        (([[0, 1], [0, 1]], [[0.5, inf], [1.0, 0.5]]), ValueError, "got inf at index 1"),
        (
            ([[0, 1]], [[0.5, 0.5]] * 2),
            ValueError,
            "target classes must have shape (2, 2), got (1, 2)",
        ),
        (([[0, 1]] * 2, [[0.5]] * 2), ValueError, "target classes must have shape (2, 1), got (2, 2)"),
        (([[0, 1]] * 3, [[0.5, 0.5]] * 3), ValueError, "target classes must have shape (2, 2), got (3, 2)"),
        (([0, 1], [0.5, 0.5]), ValueError, "target classes must have shape (2, 2), got (2,)"),
        (([0, 1], ["a", "b"]), TypeError, "target must be"),
        (([[0, 1], [0]], [[0.5, 0.5], [1.0]]), ValueError, "target must be an array, got a tuple of uneven lengths"),
    ],
    ids=str,
)
@pytest.mark.once
def test_bad_sparse_targets(case: Case, target: Any, error: type[Exception], message: str) -> None:
    out = np.full((2, 3), 77.0)
    for function, kwargs in ((case.loss, {}), (case.loss_with_grad, {"out": out})):
        with pytest.raises(error, match=re.escape(message)):
            function(np.zeros((2, 3)), target, **kwargs)
    np.testing.assert_array_equal(out, 77)


@each_case
@pytest.mark.once
def test_out_that_overlaps_a_sparse_target_is_refused(case: Case) -> None:
    shared, classes = np.ones((4, 6)), np.zeros((4, 6), int)
    with pytest.raises(ValueError, match=r"out .*overlap"):
        case.loss_with_grad(np.zeros((4, 6)), (classes, shared), out=shared)
    with pytest.raises(ValueError, match=r"out .*overlap"):
        case.loss_with_grad(np.zeros((4, 6)), (classes, shared[::-1]), out=shared)
    out = np.empty((4, 6))
    with pytest.raises(ValueError, match=r"out .*overlap"):
        case.loss_with_grad(np.zeros((4, 6)), (out.view(np.int64), shared), out=out)


# --- Temperature, softcap and z-loss ----------------------------------------------------------------------------------


MAPPED = [(case, shape) for case in FAMILY for shape in [(40, 10), (5, 70), (3, 3_000)]]
# Gradients past the caches take a way of their own, which knows nothing of the loss: one of them will do.
MAPPED += [(case, (3, 3_000_000)) for case in FAMILY if case.name == "softmax_cross_entropy"]  # 36 MB of float32


@each_dtype
@pytest.mark.parametrize(("case", "shape"), MAPPED, ids=lambda part: getattr(part, "name", str(part)))
def test_maps_are_those_of_the_formula(case: Case, dtype: type, shape: tuple[int, int]) -> None:
    """A temperature is a division, also past the caches; and the gradient is that of what stands before it."""
    rng = np.random.default_rng(115)
    if shape[1] > 10_000 and dtype is np.float64:
        shape = (shape[0], shape[1] // 2)  # as many bytes
    logits, target = (rng.normal(size=shape) * 4).astype(dtype), rng.integers(0, shape[1], shape[0])
    rtol = 2e-5 if dtype is np.float32 else 1e-12
    maps = [{"softcap": 7.0, "temperature": 1.7}, {"softcap": 5.0}, {"temperature": 2.0}, {"temperature": 0.3}]
    for options in maps if logits.nbytes < 2**25 else maps[:1]:  # the large ones take seconds
        t, cap = options.get("temperature", 1.0), options.get("softcap")
        z = logits.astype(np.float64)
        mapped = ((z if cap is None else cap * np.tanh(z / cap)) / t).astype(dtype)
        slope = (1.0 if cap is None else np.cosh(z / cap) ** -2.0) / t
        expected, expected_grad = case.loss_with_grad(mapped, target, reduction="none")
        for out in (None, np.empty_like(logits), logits.copy()):
            source = out if out is not None and np.array_equal(out, logits) else logits
            loss, grad = case.loss_with_grad(source, target, reduction="none", out=out, **options)
            assert_close(loss, expected, rtol)
            assert_close(grad, slope * expected_grad, rtol, floor=1e-30)
        assert_close(case.loss(logits, target, reduction="none", **options), expected, rtol)


@each_dtype
@each_case
def test_rows_do_not_depend_on_their_neighbours(case: Case, dtype: type) -> None:
    """Alone or among others, in rows of few classes or many: the bits are the same, whatever way the softcap takes."""
    rng = np.random.default_rng(121)
    for shape in ((70, 10), (5, 1_500)):
        logits = (rng.normal(size=shape) * np.where(rng.random(shape) < 0.01, 40, 2)).astype(dtype)
        target = rng.integers(0, shape[1], shape[0])
        options = {"softcap": 8.0, "temperature": 1.7, "z_loss": 1e-3, "reduction": "none"}
        loss, grad = case.loss_with_grad(logits, target, **options)
        for i in range(shape[0]):
            alone = case.loss_with_grad(logits[i : i + 1], target[i : i + 1], **options)
            assert_same_bits(alone.loss, loss[i : i + 1])
            assert_same_bits(alone.grad, grad[i : i + 1])


@each_dtype
@each_case
@pytest.mark.parametrize("soft", [False, True], ids=["classes", "distributions"])
def test_few_classes_agree_with_many(case: Case, dtype: type, soft: bool) -> None:
    """Classes that are masked make rows too long to be taken across the lanes, and change nothing."""
    rng = np.random.default_rng(122)
    few, many = 7, 90
    logits = np.concatenate([rng.normal(size=(50, few)) * scale for scale in (1, 8, 30)]).astype(dtype)
    n = len(logits)
    target = rng.dirichlet(np.ones(few), n).astype(dtype) if soft else rng.integers(0, few, n)
    masked = np.full((n, many), -inf, dtype)
    masked[:, :few] = logits
    padded = np.pad(target, [(0, 0), (0, many - few)]) if soft else target
    weight = rng.random(many) + 0.5
    focuses: list[dict[str, Any]] = [{"gamma": g} for g in (0.5, 1.0, 2.0, 3.3, 7.0)] if "focal" in case.name else [{}]
    for focus, z_loss in itertools.product(focuses, (0.0, 0.3)):
        options = {**focus, "z_loss": z_loss, "temperature": 0.8, "reduction": "none"}
        loss, grad = case.loss_with_grad(logits, target, class_weight=weight[:few], **options)
        same = case.loss_with_grad(masked, padded, class_weight=weight, **options)
        rtol = 5e-6 if dtype is np.float32 else 1e-13
        assert_close(loss, same.loss, rtol, floor=FLUSHED[dtype])
        size = np.abs(same.grad).max(1, keepdims=True) + (soft * 0.1)
        assert_close(grad, same.grad[:, :few], 2 * rtol, floor=2 * rtol * size)
        np.testing.assert_array_equal(same.grad[:, few:], 0)


@each_dtype
@each_case
def test_special_logits_under_maps(case: Case, dtype: type) -> None:
    logits = np.array([[0, -inf, 1], [inf, 0, 1], [0, nan, 1], [-inf] * 3], dtype)
    loss, grad = case.loss_with_grad(logits, [0] * 4, temperature=2.0, reduction="none")
    expected, half = case.loss_with_grad(logits / 2, [0] * 4, reduction="none")
    assert_same_bits(loss, expected)
    assert_same_bits(grad, half / 2)
    loss, grad = case.loss_with_grad(logits, [0] * 4, softcap=2.0, reduction="none")
    capped = np.where(np.isinf(logits), np.sign(logits) * 2, 2 * np.tanh(logits / 2)).astype(dtype)
    assert_close(loss, case.loss(capped, [0] * 4, reduction="none"), 1e-5 if dtype is np.float32 else 1e-14)
    np.testing.assert_array_equal(np.isnan(loss), [False, False, True, False])
    np.testing.assert_array_equal(grad[[0, 1, 3, 3, 3], [1, 0, 0, 1, 2]], 0)


@each_dtype
@each_case
def test_rows_that_do_not_count_have_no_z_loss(case: Case, dtype: type) -> None:
    logits = np.array([[nan, 0, 0], [5, 6, 7], [1, 2, 3], [5, 6, 7]], dtype)
    options = {"sample_weight": [1, 0, 1, 1], "class_weight": [1, 1, 0], "z_loss": 0.5, "softcap": 30.0}
    loss, grad = case.loss_with_grad(logits, [-100, 0, 1, 2], reduction="none", **options)
    np.testing.assert_array_equal(loss[[0, 1, 3]], 0)
    np.testing.assert_array_equal(grad[[0, 1, 3]], 0)
    assert loss[2] > 0.5 * 9


@each_dtype
@each_case
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_z_loss_of_infinite_and_negative_logits(case: Case, dtype: type, smoothing: float) -> None:
    """The loss is +inf and pulls one logit without end; below 0 it pulls upwards."""
    options = {"z_loss": 0.25, "label_smoothing": smoothing, "reduction": "sum"}
    for c in (3, 50):
        logits = np.zeros((1, c), dtype)
        logits[0, 1] = inf
        loss, grad = case.loss_with_grad(logits, [1], **options)
        assert loss == inf and grad[0, 1] == inf
        assert np.isfinite(np.delete(grad, 1)).all()
    logits = np.array([[-50, -53, -51]], dtype)
    loss, grad = case.loss_with_grad(logits, [0], **options)
    truth = case.oracle(logits, np.array([0]), z_loss=0.25, label_smoothing=smoothing)
    assert_close(loss, truth.loss.sum(), 1e-6)
    assert_close(grad, truth.grad, 1e-5 if dtype is np.float32 else 1e-12, truth.size)
    assert (grad < 0).all()


BAD_OPTIONS: list[tuple[dict[str, float], str]] = [
    ({"temperature": 0.0}, "temperature must be positive and finite, got 0.0"),
    ({"temperature": -1.0}, "temperature must be positive and finite, got -1.0"),
    ({"temperature": nan}, "temperature must be positive and finite, got NaN"),
    ({"temperature": inf}, "temperature must be positive and finite, got inf"),
    ({"softcap": 0.0}, "softcap must be positive and finite, got 0.0"),
    ({"softcap": -30.0}, "softcap must be positive and finite, got -30.0"),
    ({"softcap": nan}, "softcap must be positive and finite, got NaN"),
    ({"z_loss": -0.1}, "z_loss must be finite and non-negative, got -0.1"),
    ({"z_loss": nan}, "z_loss must be finite and non-negative, got NaN"),
    ({"z_loss": inf}, "z_loss must be finite and non-negative, got inf"),
    ({"gamma": -1.0}, "gamma must be finite and non-negative, got -1.0"),
    ({"gamma": nan}, "gamma must be finite and non-negative, got NaN"),
    ({"gamma": inf}, "gamma must be finite and non-negative, got inf"),
]


# --- The Hessian ------------------------------------------------------------------------------------------------------

HESS_OPTIONS = ("class_weight", "sample_weight", "ignore_index", "label_smoothing", "temperature")


def targets(rng: np.random.Generator, dtype: type, shape: tuple[int, int]) -> list[tuple[Any, Any]]:
    """One of every kind, and what the oracle takes for it."""
    pairs, dense = sparse(rng, dtype, shape, 3)
    classes = FAMILY[0].targets["classes"](rng, dtype, shape)
    soft = FAMILY[0].targets["distributions"](rng, dtype, shape)
    return [(classes, classes), (soft, soft), (pairs, dense)]


@each_dtype
def test_hessian_under_every_combination_of_options(dtype: type) -> None:
    """Loss and gradient are those of `_with_grad` to the bit, the Hessian is that of the oracle."""
    rng = np.random.default_rng(116)
    for shape in [(23, 11), (5, 130)]:
        for options in FAMILY[0].grid(rng, dtype, shape):
            options = {name: options[name] for name in HESS_OPTIONS} | {"ignore_index": -100}
            rounding = 16 * np.finfo(dtype).eps * 130 * (options["temperature"] != 1)
            logits = FAMILY[0].logits(rng, dtype, shape)
            for target, dense in targets(rng, dtype, shape):
                truth = softmax_cross_entropy_oracle(logits, dense, **options)
                assert truth.hess is not None
                for reduction in REDUCTIONS:
                    result = xe.softmax_cross_entropy_with_hess(logits, target, reduction=reduction, **options)
                    assert isinstance(result, xe.LossGradHess)
                    expected = xe.softmax_cross_entropy_with_grad(logits, target, reduction=reduction, **options)
                    assert_same_bits(result.loss, expected.loss)
                    assert_same_bits(result.grad, expected.grad)
                    scale = truth.weight or 1.0 if reduction == "mean" else 1.0
                    rtol = (1e-5 if dtype is np.float32 else 1e-12) + rounding
                    note = f"{reduction} {options}"
                    assert_close(result.hess, truth.hess / scale, rtol, floor=FLUSHED[dtype], note=note)


@pytest.mark.once
def test_hessian_is_the_finite_difference_of_the_gradient() -> None:
    rng = np.random.default_rng(117)
    shape, h = (6, 5), 1e-5
    for options in FAMILY[0].grid(rng, np.float64, shape):
        options = {name: options[name] for name in HESS_OPTIONS} | {"ignore_index": -100}
        logits = rng.normal(scale=2.0, size=shape)
        for target, _ in targets(rng, np.float64, shape):
            hess = xe.softmax_cross_entropy_with_hess(logits, target, **options).hess
            for k in range(shape[1]):
                step = h * np.eye(shape[1])[k]
                above, below = (
                    xe.softmax_cross_entropy_with_grad(logits + sign * step, target, **options).grad for sign in (1, -1)
                )
                np.testing.assert_allclose(hess[:, k], (above - below)[:, k] / (2 * h), rtol=1e-6, atol=1e-9)


@each_dtype
@pytest.mark.once
def test_hessian_in_every_place(dtype: type) -> None:
    """In place, elsewhere, along another axis, in half precision; of a confident row; of rows that do not count."""
    rng = np.random.default_rng(118)
    logits, target = rng.normal(size=(40, 1_500)).astype(dtype), rng.integers(0, 1_500, 40)
    expected = xe.softmax_cross_entropy_with_hess(logits, target)
    out = logits.copy()
    result = xe.softmax_cross_entropy_with_hess(out, target, out=out)
    assert result.grad is out
    assert_same_bits(result.hess, expected.hess)
    moved = xe.softmax_cross_entropy_with_hess(np.ascontiguousarray(logits.T), target, axis=0)
    assert_same_bits(moved.hess.T, expected.hess)
    assert_same_bits(moved.grad.T, expected.grad)
    for half in HALVES:
        narrow, soft = logits.astype(half), rng.random(logits.shape).astype(half)
        for t, wide_t in ((target, target), (soft, soft.astype(np.float32))):
            wide = xe.softmax_cross_entropy_with_hess(narrow.astype(np.float32), wide_t)
            assert_same_bits(xe.softmax_cross_entropy_with_hess(narrow, t).hess, wide.hess.astype(half))
            place = np.empty(logits.shape, np.float32)
            assert_same_bits(xe.softmax_cross_entropy_with_hess(narrow, t, out=place).hess, wide.hess)
    hess = xe.softmax_cross_entropy_with_hess(np.array([[17, 0]], dtype), [0]).hess
    p = 1 / (1 + np.exp(17.0))
    assert_close(hess, [[p * (1 - p)] * 2], 1e-6)
    poison = np.array([[nan, 1, inf], [nan, 0, 1], [inf, 0, 1], [1, -inf, 1]], dtype)
    hess = xe.softmax_cross_entropy_with_hess(poison, [-100, 0, 0, 0], reduction="none").hess
    np.testing.assert_array_equal(hess[0], 0)
    assert np.isnan(hess[1]).all()
    np.testing.assert_array_equal(hess[2:], [[0, 0, 0], [0.25, 0, 0.25]])
    nothing = xe.softmax_cross_entropy_with_hess(poison, [-100] * 4)
    assert nothing.loss == 0.0 and not nothing.hess.any()
    assert xe.softmax_cross_entropy_with_hess(np.empty((0, 3), dtype), np.empty(0, int)).hess.shape == (0, 3)
    assert xe.softmax_cross_entropy_with_hess(np.zeros(3, dtype), 1).hess.shape == (3,)


def test_hessian_has_no_softcap_and_no_z_loss() -> None:
    for option in ({"softcap": 30.0}, {"z_loss": 0.1}):
        with pytest.raises(TypeError, match="unexpected keyword"):
            xe.softmax_cross_entropy_with_hess([[1.0, 2.0]], [0], **option)


# --- The focus --------------------------------------------------------------------------------------------------------


@each_dtype
def test_without_focus_it_is_cross_entropy_to_the_bit(dtype: type) -> None:
    rng = np.random.default_rng(119)
    for shape in [(40, 7), (9, 300)]:
        logits = FAMILY[0].logits(rng, dtype, shape)
        logits[3, 2], logits[5, :] = inf, nan
        for target, _ in targets(rng, dtype, shape):
            for options in FAMILY[0].grid(rng, dtype, shape):
                options["ignore_index"] = -100
                focal = xe.softmax_focal_loss_with_grad(logits, target, gamma=0.0, **options)
                plain = xe.softmax_cross_entropy_with_grad(logits, target, **options)
                assert_same_bits(focal.loss, plain.loss)
                assert_same_bits(focal.grad, plain.grad)


@each_dtype
@pytest.mark.parametrize("gamma", [1e-30, 0.25, 0.5, 1.0, 2.0, 3.7, 1e9])
def test_focus_far_out(gamma: float, dtype: type) -> None:
    """Finite, and the limit, where a power of 0 or a product of 0 and infinity would be neither."""
    for c in (2, 3, 20, 100):
        logits = np.zeros((4, c), dtype)
        logits[:, 1] = [1000, inf, -1000, -inf]
        one_hot = np.zeros((4, c), dtype)
        one_hot[:, 1] = 1
        for target in ([1] * 4, one_hot, ([[1, 0]] * 4, [[1.0, 0.0]] * 4)):
            loss, grad = xe.softmax_focal_loss_with_grad(logits, target, gamma=gamma, reduction="none")
            np.testing.assert_array_equal(loss[[0, 1, 3]], [0, 0, inf])
            np.testing.assert_array_equal(grad[:2], 0)
            assert loss[2] == pytest.approx(1000 + np.log(c - 1), rel=1e-6)
            expected = np.full((2, c), 1 / (c - 1))
            expected[:, 1] = -1
            assert_close(grad[2:], expected, 1e-6)


@each_dtype
def test_focus_keeps_its_digits(dtype: type) -> None:
    """Of two classes and many: against the formula with the complement as an exponential."""
    margin = np.linspace(0.5, 80.0, 160).astype(dtype)
    for c in (2, 300):
        logits = np.zeros((160, c), dtype)
        logits[:, 0] = margin
        rest = (c - 1) * np.exp(-margin.astype(np.float64))
        for gamma in (0.3, 1.0, 2.0, 2.5):
            loss = xe.softmax_focal_loss(logits, np.zeros(160, int), gamma=gamma, reduction="none")
            truth = (rest / (1 + rest)) ** gamma * np.log1p(rest)
            assert_close(loss, truth, 5e-6 if dtype is np.float32 else 1e-13, floor=FLUSHED[dtype])


# --- From a loss to its gradient --------------------------------------------------------------------------------------


def test_value_and_grad_of_every_loss() -> None:
    for case in CASES:
        twin = getattr(xe, f"{case.name}_with_grad")
        assert xe.value_and_grad(getattr(xe, case.name)) is twin


@pytest.mark.parametrize(
    "wrong",
    [
        xe.softmax,
        xe.softmax_cross_entropy_with_grad,
        lambda logits, target: 0.0,
        "softmax_cross_entropy",
        None,
        np.exp,
        xe,
    ],
    ids=lambda wrong: getattr(wrong, "__name__", repr(wrong)),
)
@pytest.mark.once
def test_value_and_grad_of_something_else(wrong: Callable[..., Any]) -> None:
    message = r"loss must be one of .*sigmoid_cross_entropy, .*softmax_cross_entropy, softmax_focal_loss.*, got "
    with pytest.raises(TypeError, match=message):
        xe.value_and_grad(wrong)


def test_value_and_grad_of_a_namesake() -> None:
    def softmax_cross_entropy() -> None: ...

    softmax_cross_entropy.__module__ = xe.softmax_cross_entropy.__module__
    with pytest.raises(TypeError, match="loss must be one of"):
        xe.value_and_grad(softmax_cross_entropy)
