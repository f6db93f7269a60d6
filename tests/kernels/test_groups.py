"""Rows of 65 to 1024 classes, whose sums are finished a group at a time, and long rows in half precision.

A group has as many rows as a register has lanes, or fewer where rows are long: every row must come out as if it were
alone, in whatever lane it is. Shorter and longer rows stand beside them, as they go another way.
"""

import itertools
from typing import Any

import numpy as np
import pytest

import xentrs as xe
from checks import FLUSHED, assert_close, assert_same_bits, assert_truth
from halves import narrow, wide
from layouts import LAYOUTS
from oracles import minus_log_softmax
from registry import CASES, DTYPES, FUNCTIONS, HALVES, REDUCTIONS, Case, Function

nan, inf = np.nan, np.inf
Array = np.ndarray[Any, Any]

BORDERS = [*range(63, 68), *range(127, 131)]
LONGER = [1000, *range(1022, 1027)]
ROWS = [1, 2, 3, 7, 15, 16, 17, 40]
HESS_OPTIONS = ("class_weight", "sample_weight", "ignore_index", "label_smoothing", "temperature")

FAMILY = [case for case in CASES if case.name.startswith("softmax_")]
ALONG_AN_AXIS = [function for function in FUNCTIONS if function.has_axis]
each_case = pytest.mark.parametrize("case", FAMILY, ids=lambda case: case.name)
each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)
each_half = pytest.mark.parametrize("half", HALVES, ids=lambda half: half.__name__)


def labels(case: Case, rng: np.random.Generator, dtype: type, shape: tuple[int, int], options: Any) -> Array:
    target = case.targets["classes"](rng, dtype, shape)
    return np.abs(target % shape[1]) if options["ignore_index"] == 0 else target


def everything(logits: Array, target: Array, weight: Array) -> dict[str, Array]:
    """What the package says of each row, first axis the rows."""
    options = {"sample_weight": weight, "reduction": "none"}
    results = {function.name: function.function(logits) for function in ALONG_AN_AXIS}
    for case in FAMILY:
        results |= {f"{case.name} alone": case.loss(logits, target, **options)}
        for name, value in case.loss_with_grad(logits, target, **options)._asdict().items():
            results[f"{case.name} {name}"] = value
    results["hess"] = xe.softmax_cross_entropy_with_hess(logits, target, **options).hess
    for name, value in xe.softmax_stats(logits, target, sample_weight=weight)._asdict().items():
        results[f"stats {name}"] = value
    return results


# --- Against the oracles ----------------------------------------------------------------------------------------------


@each_dtype
@each_case
def test_every_combination_of_options(case: Case, dtype: type) -> None:
    """Each combination at one of the widths: a full group of every type and a part of one."""
    rng = np.random.default_rng(300)
    for i, c in enumerate(BORDERS):
        shape = (19, c)
        for options in itertools.islice(case.grid(rng, dtype, shape), i, None, len(BORDERS)):
            logits, target = case.logits(rng, dtype, shape), labels(case, rng, dtype, shape, options)
            truth = case.oracle(logits, target, **options)
            assert truth.weight > 0, "the test data must have weight"
            for reduction in REDUCTIONS:
                note = f"c={c} {reduction} {options}"
                result = case.loss_with_grad(logits, target, reduction=reduction, **options)
                assert_truth(case, result, truth, reduction, dtype, note)
                expected, floor = truth.reduced(reduction)[0], FLUSHED[dtype] + truth.doubts(reduction)[0]
                loss = case.loss(logits, target, reduction=reduction, **options)
                assert_close(loss, expected, case.loss_rtol[dtype], floor=floor, note=f"{note} alone")


@each_dtype
def test_hessians(dtype: type) -> None:
    """Combinations of its options, and all three results; loss and gradient are those of `_with_grad`."""
    case, rng = FAMILY[0], np.random.default_rng(301)
    for i, c in enumerate(BORDERS):
        shape = (19, c)
        for options in itertools.islice(case.grid(rng, dtype, shape), i, None, 2 * len(BORDERS)):
            options = {name: options[name] for name in HESS_OPTIONS}
            logits, target = case.logits(rng, dtype, shape), labels(case, rng, dtype, shape, options)
            truth = case.oracle(logits, target, **options)
            assert truth.hess is not None
            rounding = 16 * np.finfo(dtype).eps * 130 * (options["temperature"] != 1)
            for reduction in REDUCTIONS:
                note = f"c={c} {reduction} {options}"
                result = xe.softmax_cross_entropy_with_hess(logits, target, reduction=reduction, **options)
                expected = case.loss_with_grad(logits, target, reduction=reduction, **options)
                assert_same_bits(result.loss, expected.loss, note)
                assert_same_bits(result.grad, expected.grad, note)
                scale = truth.weight if reduction == "mean" else 1.0
                rtol = case.hess_rtol[dtype] + rounding
                assert_close(result.hess, truth.hess / scale, rtol, floor=FLUSHED[dtype], note=note)


@each_case
def test_rows_of_a_thousand(case: Case) -> None:
    """Groups of four rows, and beyond 1024 classes none. The oracle, which looks at all pairs, sees two rows of six."""
    rng = np.random.default_rng(302)
    seen = [1, 4]
    for c, smoothing in zip(LONGER, itertools.cycle([0.0, 0.1, 1.0]), strict=False):
        logits, target = case.logits(rng, np.float32, (6, c)), rng.integers(0, c, 6)
        options = {
            "label_smoothing": smoothing,
            "z_loss": 0.01,
            "class_weight": rng.uniform(0, 2, c).astype(np.float32),
        }
        truth = case.oracle(logits[seen], target[seen], **options)
        for dtype in DTYPES:
            loss, grad = case.loss_with_grad(logits.astype(dtype), target, reduction="none", **options)
            note = f"c={c} {dtype.__name__}"
            assert_truth(case, xe.LossGrad(loss[seen], grad[seen]), truth, "none", dtype, note)
            alone = case.loss(logits.astype(dtype), target, reduction="none", **options)
            assert_close(alone[seen], truth.loss, case.loss_rtol[dtype], note=f"{note} alone")


@each_dtype
@each_case
def test_a_class_is_a_distribution(case: Case, dtype: type) -> None:
    """Under every combination of options, as rows with distributions go one at a time."""
    rng = np.random.default_rng(303)
    for i, c in enumerate([200, 512, *LONGER]):
        shape = (9, c)
        for options in itertools.islice(case.grid(rng, dtype, shape), i, None, 8):
            logits, target = case.logits(rng, dtype, shape), labels(case, rng, dtype, shape, options)
            kept = target != options["ignore_index"]
            one_hot = ((target[:, None] == np.arange(c)) & kept[:, None]).astype(dtype)
            for reduction in REDUCTIONS:
                note = f"c={c} {reduction} {options}"
                loss, grad = case.loss_with_grad(logits, target, reduction=reduction, **options)
                expected = case.loss_with_grad(logits, one_hot, reduction=reduction, **options)
                assert_close(loss, expected.loss, 2 * case.loss_rtol[dtype], floor=FLUSHED[dtype], note=note)
                # What smoothing subtracts, at most 2 / c times its weights of at most 2 and the slope of a temperature.
                uniform = options["label_smoothing"] * 8 / c / options["temperature"]
                rtol = 2 * case.grad_rtol[dtype]
                assert_close(grad, expected.grad, rtol, floor=FLUSHED[dtype] + rtol * uniform, note=note)


@each_dtype
@pytest.mark.parametrize("function", ALONG_AN_AXIS, ids=lambda function: function.name)
def test_functions(function: Function, dtype: type) -> None:
    rng = np.random.default_rng(304)
    for c in BORDERS:
        x = FAMILY[0].logits(rng, dtype, (19, c))
        truth, size = function.oracle(x)
        assert_close(function.function(x), truth, function.rtol[dtype], size, FLUSHED[dtype], f"c={c}")
    for c in (1000, 1024):
        x = FAMILY[0].logits(rng, dtype, (5, c))
        truth, size = function.oracle(x[3:])
        assert_close(function.function(x)[3:], truth, function.rtol[dtype], size, FLUSHED[dtype], f"c={c}")


# --- One row among others ---------------------------------------------------------------------------------------------


@each_dtype
def test_every_number_of_rows(dtype: type) -> None:
    """The bits of a row are those of the row alone, however many stand beside it, and where some do not count."""
    rng = np.random.default_rng(305)
    for c in [*BORDERS, *LONGER]:
        logits, target = FAMILY[0].logits(rng, dtype, (max(ROWS), c)), FAMILY[0].targets["classes"](rng, dtype, (40, c))
        weight = rng.integers(0, 3, len(logits)).astype(dtype)
        singles = [everything(logits[i : i + 1], target[i : i + 1], weight[i : i + 1]) for i in range(len(logits))]
        for n in ROWS:
            for name, value in everything(logits[-n:], target[-n:], weight[-n:]).items():
                expected = np.concatenate([single[name] for single in singles[-n:]])
                assert_same_bits(value, expected, f"{name} of {n} rows, c={c}")


def special_rows(dtype: type) -> tuple[Array, Array, Array]:
    """Rows of 130 logits, their classes, and which of them are finite or -inf, one of them finite."""
    rng = np.random.default_rng(306)
    c, rows = 130, []
    places = rng.permuted(np.tile(np.arange(c), (18, 1)), axis=1)
    for i, (values, fine) in enumerate(
        [
            ({}, True),
            ({0: nan}, False),  # place 0 is that of the label
            ({1: nan}, False),
            ({0: inf}, False),
            ({1: inf}, False),
            ({1: inf, 2: inf}, False),
            ({1: inf, 2: nan}, False),
            (dict.fromkeys(range(c), -inf), False),
            (dict.fromkeys(range(1, c), -inf), True),
            (dict.fromkeys(range(60, c), -inf), True),
            ({0: -inf}, True),
            ({1: 300.0}, True),
            ({1: -5000.0}, True),
            ({1: 1e30, 2: -1e30}, True),
            (dict.fromkeys([1, 2, 129], 9.0), True),  # ties
            (dict.fromkeys([0, 64], 9.0), True),
            (dict.fromkeys([0, 1, 65], 3e3), True),
            (dict.fromkeys(range(c), -1e4), True),
        ]
    ):
        row = rng.normal(size=c)
        for place, value in values.items():
            row[places[i, place]] = value
        rows.append((row, places[i, 0], fine))
    logits, target, fine = zip(*rows, strict=True)
    return np.array(logits, dtype), np.array(target), np.array(fine)


@each_dtype
@pytest.mark.parametrize("c", [130, 1024])
def test_special_rows_in_every_lane(c: int, dtype: type) -> None:
    logits, target, fine = special_rows(dtype)
    label, n = np.arange(len(logits)), len(logits)
    # 1. what is true of each row; of classes that are masked too
    cost = np.full(logits.shape, nan)
    cost[fine] = minus_log_softmax(logits[fine])
    with np.errstate(invalid="ignore"):
        lse = np.logaddexp.reduce(logits.astype(np.float64), axis=1)
    loss, p = cost[label, target], np.exp(-cost)
    grad = p - np.eye(130)[target]
    right = fine & (logits.argmax(1) == target)
    grad[label[right], target[right]] = [-np.delete(p[i], target[i]).sum() for i in label[right]]  # from the complement
    infinite = (np.isposinf(logits).sum(1) == 1) & ~np.isnan(logits).any(1)
    p[infinite] = np.isposinf(logits[infinite])
    grad[infinite] = p[infinite] - np.eye(130)[target[infinite]]
    loss[infinite] = np.where(np.isposinf(logits[label, target][infinite]), 0, inf)
    if c > 130:
        places = np.random.default_rng(307).permutation(c)
        logits = np.pad(logits, [(0, 0), (0, c - 130)], constant_values=-inf)[:, places]
        target = np.argsort(places)[target]
        fill = np.where(fine | infinite, 0, nan)[:, None]
        p, grad = (np.hstack([a, np.broadcast_to(fill, (n, c - 130))])[:, places] for a in (p, grad))
    # 2. alone
    singles = [everything(logits[i : i + 1], target[i : i + 1], np.ones(1, dtype)) for i in label]
    alone = {name: np.concatenate([single[name] for single in singles]) for name in singles[0]}
    rtol, floor = (1e-5 if dtype is np.float32 else 1e-12), 130 * FLUSHED[dtype]
    for name in ("softmax_cross_entropy loss", "softmax_cross_entropy alone", "stats loss"):
        assert_close(alone[name], loss, rtol, floor=floor, note=name)
    assert_close(alone["softmax_cross_entropy grad"], grad, rtol, floor=floor, note="grad")
    assert_close(alone["softmax"], p, rtol, floor=floor, note="softmax")
    hess = np.where(p <= 0.5, p * (1 - p), 0)
    large = (p > 0.5) & fine[:, None]
    hess[np.isnan(p)] = nan
    hess[large] = [p[i, k] * np.delete(p[i], k).sum() for i, k in zip(*np.nonzero(large), strict=True)]
    assert_close(alone["hess"], hess, rtol, floor=floor, note="hess")
    for name in ("logsumexp", "stats logsumexp"):
        assert_close(alone[name], lse, rtol, note=name)
    np.testing.assert_array_equal(alone["stats argmax"], np.where(fine | infinite, logits.argmax(1), -1))
    focal = alone["softmax_focal_loss loss"]
    np.testing.assert_array_equal(np.isfinite(focal), np.isfinite(loss))
    np.testing.assert_array_equal(np.isnan(focal), np.isnan(loss))
    # 3. in every lane, beside every other
    for first in label:
        order = (first + np.arange(40)) % n
        for name, value in everything(logits[order], target[order], np.ones(40, dtype)).items():
            assert_same_bits(value, alone[name][order], f"{name}, row {first} first")


@each_dtype
@each_case
def test_rows_that_do_not_count(case: Case, dtype: type) -> None:
    """They have no loss and no derivatives, whatever their logits are and whatever the options would add."""
    rng = np.random.default_rng(312)
    for c in (65, 129, 1024):
        logits, target = rng.normal(size=(40, c)).astype(dtype), rng.integers(6, c, 40)
        class_weight, sample_weight = rng.uniform(0.5, 2, c).astype(dtype), np.ones(40, dtype)
        out = rng.random(40) < 0.5
        target[out] = np.resize([-100, 0, 5], out.sum())
        class_weight[0] = 0
        sample_weight[target == 5] = 0
        logits[out] = rng.choice([nan, inf, -inf, 1e30, 1.0], (out.sum(), c))
        some = {"sample_weight": sample_weight, "class_weight": class_weight, "reduction": "none", "temperature": 2.0}
        for options in (some, some | {"z_loss": 0.1, "softcap": 30.0}):
            kept = options | {"sample_weight": sample_weight[~out]}
            loss, grad = case.loss_with_grad(logits, target, **options)
            expected = case.loss_with_grad(logits[~out], target[~out], **kept)
            assert not loss[out].any() and not grad[out].any() and not case.loss(logits, target, **options)[out].any()
            assert_same_bits(loss[~out], expected.loss, f"c={c}")
            assert_same_bits(grad[~out], expected.grad, f"c={c}")
        hess = xe.softmax_cross_entropy_with_hess(logits, target, **some).hess
        assert not hess[out].any() and hess[~out].all()
        stats = xe.softmax_stats(logits, target, sample_weight=sample_weight)
        assert not stats.loss[(target == -100) | (target == 5)].any()


# --- Layouts and places -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [*DTYPES, *HALVES], ids=lambda dtype: dtype.__name__)
def test_layouts_and_places(dtype: type) -> None:
    """Rows with gaps, and results beside the logits or over them; half precision is storage alone."""
    rng = np.random.default_rng(308)
    for shape in [(19, 66), (19, 130), (6, 1023), (3, 1025), (2, 4097)]:
        logits, target = rng.normal(scale=4, size=shape).astype(dtype), rng.integers(0, shape[1], shape[0])
        target[1] = -100
        weight = rng.integers(0, 3, shape[0]).astype(np.float32)
        expected = everything(logits, target, weight)
        if dtype in HALVES:
            for name, value in everything(wide(logits), target, weight).items():
                rounded = narrow(value, dtype) if expected[name].dtype == dtype else value
                assert_same_bits(expected[name], rounded, f"{name} {shape} widened")
        for layout in ("strided", "padded_rows", "reversed_axes", "fortran", "misaligned"):
            for name, value in everything(LAYOUTS[layout](logits), target, weight).items():
                assert_same_bits(value, expected[name], f"{name} {shape} {layout}")
        for place in (np.full(shape, 77, dtype), LAYOUTS["strided"](np.full(shape, 77, dtype)), logits.copy()):
            into = {"out": place, "sample_weight": weight, "reduction": "none"}
            calls = [(f"{case.name} grad", case.loss_with_grad, (target,), into) for case in FAMILY]
            calls += [("softmax_cross_entropy grad", xe.softmax_cross_entropy_with_hess, (target,), into)]
            calls += [(f.name, f.function, (), {"out": place}) for f in ALONG_AN_AXIS if f.has_out]
            is_over = np.array_equal(place, logits)
            for name, function, arguments, options in calls:
                if is_over:
                    place[...] = logits
                function(place if is_over else logits, *arguments, **options)
                assert_same_bits(place, expected[name], f"{name} {shape}")


@pytest.mark.parametrize(("classes", "dtype"), [(101, np.float32), (1001, np.float64), (129, HALVES[0])], ids=str)
def test_results_that_bypass_the_caches(classes: int, dtype: type) -> None:
    """Results of 32 MiB and more are those of pieces of them."""
    rows = 2**25 // (classes * np.dtype(dtype).itemsize) + 100
    rng = np.random.default_rng(309)
    logits = rng.normal(size=(rows, classes)).astype(dtype)
    target = rng.integers(0, classes, rows)
    target[::5], logits[::5, 7] = -100, nan
    options = {"reduction": "sum", "softcap": 9.0, "label_smoothing": 0.1}
    results = [xe.softmax(logits), xe.log_softmax(logits)]
    results += [xe.softmax_cross_entropy_with_grad(logits, target, reduction="sum").grad]
    results += [xe.softmax_cross_entropy_with_grad(logits, target, **options).grad]
    for first in (0, rows // 2, rows - 50):
        piece, labels = logits[first : first + 50], target[first : first + 50]
        same = [xe.softmax(piece), xe.log_softmax(piece)]
        same += [xe.softmax_cross_entropy_with_grad(piece, labels, reduction="sum").grad]
        same += [xe.softmax_cross_entropy_with_grad(piece, labels, **options).grad]
        for whole, part in zip(results, same, strict=True):
            assert_same_bits(whole[first : first + 50], part)
    ignored = results[2][::5]
    assert ignored.dtype == dtype and not ignored.astype(np.float32).any()


# --- Long rows in half precision --------------------------------------------------------------------------------------


@each_half
def test_long_halves_are_widened_logits(half: type) -> None:
    """Loss and gradient to the bit, rounded once: beside the logits, over them, and in single precision."""
    rng = np.random.default_rng(310)
    for n, c in [(1, 1025), (5, 4097), (3, 33_000), (9, 2_001)]:
        logits, target = rng.normal(scale=5, size=(n, c)).astype(half), rng.integers(0, c, n)
        logits[0, c - 1] = 200.0  # in the last block, with the label elsewhere
        target[-1] = wide(logits[-1]).argmax()
        if n > 4:
            target[1], logits[1, 5] = -100, nan
            logits[3, [2, c // 2]] = inf
        options = {"sample_weight": np.arange(n, dtype=np.float32) + 1, "class_weight": rng.uniform(0, 2, c)}
        for reduction in REDUCTIONS:
            note = f"{(n, c)} {reduction}"
            expected = xe.softmax_cross_entropy_with_grad(wide(logits), target, reduction=reduction, **options)
            loss = xe.softmax_cross_entropy(logits, target, reduction=reduction, **options)
            assert_same_bits(loss, expected.loss, note)
            for place in (None, np.full((n, c), 77, half), logits.copy(), np.full((n, c), 77, np.float32)):
                is_over = place is not None and np.array_equal(wide(place), wide(logits), equal_nan=True)
                source = place if is_over else logits
                result = xe.softmax_cross_entropy_with_grad(source, target, reduction=reduction, out=place, **options)
                assert_same_bits(result.loss, expected.loss, note)
                rounded = expected.grad if result.grad.dtype == np.float32 else narrow(expected.grad, half)
                assert_same_bits(result.grad, rounded, note)


@pytest.mark.parametrize(
    ("dtype", "place"),
    [*itertools.product([*HALVES, *DTYPES], ["beside", "over"]), *((half, "float32") for half in HALVES)],
    ids=lambda part: getattr(part, "__name__", part),
)
def test_long_gradients_that_bypass_the_caches(dtype: type, place: str) -> None:
    """An odd number of classes: each row begins elsewhere in a register. Some rows do not count."""
    c, result = 33_001, np.dtype(np.float32 if place == "float32" else dtype)
    n = 2**25 // (c * result.itemsize) + 2
    rng = np.random.default_rng(311)
    logits = np.tile(rng.normal(scale=3, size=(10, c)).astype(dtype), (n // 10 + 1, 1))[:n]
    target = np.where(np.arange(n) % 5 == 1, -100, rng.integers(1, c, n))
    target[[0, 5, 6, n - 2]] = [c - 1, 1, 0, 0]
    out = logits.copy() if place == "over" else np.full((n, c), 77, result)
    weight = np.ones(c, dtype)
    weight[0] = 0
    options = {"class_weight": weight, "reduction": "none"}
    loss, _ = xe.softmax_cross_entropy_with_grad(out if place == "over" else logits, target, out=out, **options)
    for i in range(n):
        source = wide(logits[i]) if dtype in HALVES else logits[i]
        expected = xe.softmax_cross_entropy_with_grad(source, target[i], **options)
        assert_same_bits(loss[i], expected.loss, f"loss {i}")
        assert_same_bits(out[i], narrow(expected.grad, result.type), f"row {i}")
    assert not wide(out[1::5]).any() and not wide(out[[6, n - 2]]).any()


@pytest.mark.parametrize("dtype", [np.float32, *HALVES], ids=lambda dtype: dtype.__name__)
def test_a_mean_does_not_depend_on_where_the_gradient_goes(dtype: type) -> None:
    """Nor on whether there is one: the order of its sum is that of the shape, whatever bypasses the caches."""
    rng = np.random.default_rng(313)
    shape = (520, 33_001)
    logits = np.tile(rng.normal(scale=3, size=(10, shape[1])).astype(dtype), (52, 1))
    target = rng.integers(0, shape[1], shape[0])
    alone = xe.softmax_cross_entropy(logits, target)
    beside = xe.softmax_cross_entropy_with_grad(logits, target, out=np.empty_like(logits)).loss
    assert alone == beside == xe.softmax_cross_entropy_with_grad(logits, target, out=logits).loss
