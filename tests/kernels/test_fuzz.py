"""Calls at random: types, shapes, layouts, axes, options, labels and places for results, usual and absurd.

What is valid is answered, as the oracle says, with the same bits wherever it lies in memory. What is not is a
TypeError, a ValueError or an IndexError, and nothing is written. The calls are the same on every run; with XENTRS_HARD
they are others each time, and a hundred times as many. The Rust API has a fuzzer of its own, in fuzz/.
"""

import inspect
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

import distribution_oracles
import xentrs as xe
from checks import FLUSHED, assert_close, assert_same_bits
from draws import Array, classes, rough_logits
from halves import narrow, wide
from layouts import LAYOUTS
from oracles import Truth, js_divergence_oracle, minus_log_softmax, token_logprobs_oracle, topk_kl_divergence_oracle
from registry import (
    CASES,
    CONTRASTIVES,
    DTYPES,
    FUNCTIONS,
    HALVES,
    LINEARS,
    PROBABILITIES,
    QUANTITIES,
    REDUCTIONS,
    TOKEN_OPTIONS,
    Case,
)

LOSSES = {case.name: case for case in [*CASES, *PROBABILITIES]}
FLOATS = [*DTYPES, *HALVES]
REFUSALS = (TypeError, ValueError, IndexError)
nan, inf = np.nan, np.inf

IS_LONG = bool(os.environ.get("XENTRS_HARD"))


def fuzz(examples: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """So many calls, always the same; or others each time, a hundred times as many."""

    def wrap(test: Callable[..., None]) -> Callable[..., None]:
        profile = settings(
            max_examples=examples * (100 if IS_LONG else 1),
            derandomize=not IS_LONG,
            suppress_health_check=list(HealthCheck),
        )
        limit = pytest.mark.timeout(3600 if IS_LONG else 600)
        return limit(pytest.mark.filterwarnings("ignore::UserWarning")(profile(given(st.data())(test))))

    return wrap


# --- What is drawn ----------------------------------------------------------------------------------------------------


class Chance:
    """Choices of an example, by name; the numbers of arrays are a generator's, which an example seeds."""

    def __init__(self, data: st.DataObject) -> None:
        self.data = data
        self.rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1), "seed"))

    def pick(self, values: Any, label: str = "") -> Any:
        return self.data.draw(st.sampled_from(list(values)), label)

    def rarely(self, label: str = "", one_in: int = 8) -> bool:
        return self.data.draw(st.integers(0, one_in - 1), label) == one_in - 1

    def shape(self, least: int = 1) -> tuple[int, ...]:
        """Few rows, on up to three axes, of few classes; now and then many."""
        c = self.pick([*range(1, 12), 16, 17, 31, 33, 63, 64, 65, 70, 130, 0], "classes")
        c = self.pick([257, 1025], "many classes") if self.rarely(one_in=24) else c
        rows = self.pick([(3,), (1,), (5,), (), (2, 3), (17,), (40,), (0,), (2, 1, 2), (0, 3)], "rows")
        if len(rows) + 1 < least or np.prod(rows) * c > 2000:
            rows = (2,)
        return (*rows, c)

    def layout(self, array: Array) -> Array:
        """The same numbers, elsewhere in memory."""
        if array.ndim == 0 or array.size == 0:
            return array
        names = [name for name in LAYOUTS if name not in ("broadcast", "memory_mapped")]
        name = self.pick(["as it is", "as it is", "some reversed", *names], "layout")
        if name == "some reversed":
            axes = tuple(slice(None, None, self.pick([1, -1])) for _ in array.shape)
            return array[axes].copy()[axes]
        if name == "byteswapped" and array.dtype in HALVES and array.dtype != np.float16:
            name = "strided"  # ml_dtypes knows no other order of bytes
        return array if name == "as it is" else LAYOUTS[name](array)

    def numbers(self, case: Case, dtype: type, shape: tuple[int, ...]) -> Array:
        """Numbers of a case, and now and then any bits at all."""
        style = self.pick(["of the case", "of the case", "mild", "bits", "edges"], "numbers")
        if style == "bits":
            return np.frombuffer(self.rng.bytes(int(np.prod(shape)) * np.dtype(dtype).itemsize), dtype).reshape(shape)
        if style == "edges":
            info = np.finfo(dtype)
            edges = [nan, -nan, inf, -inf, 0.0, -0.0, info.max, -info.max, info.tiny, info.smallest_subnormal, 1.0]
            signalling = {np.float32: 0x7F800001, np.float64: 0x7FF0000000000001}[dtype]
            loud = np.array([signalling], f"u{np.dtype(dtype).itemsize}").view(dtype)
            return self.rng.choice(np.concatenate([np.array(edges, dtype), loud]), shape)
        drawn: Array = (case.logits if style == "of the case" else case.mild)(self.rng, dtype, shape)
        return drawn.astype(dtype)

    def labels(self, target: Array, c: int, ignored: Any) -> tuple[Array, bool]:
        """The classes in another integer type, and whether they are valid; now and then with absurd ones."""
        types = [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64]
        dtype = self.pick([np.int64, *types], "labels")
        info = np.iinfo(dtype)
        if c - 1 > info.max:
            dtype, info = np.int64, np.iinfo(np.int64)
        target = np.where((target < info.min) | (target > info.max), 0, target).astype(dtype)
        if self.rarely("absurd labels") and target.size:
            absurd = [info.min, info.max, c, c + 1, -1, -c, 2**32, 2**62, 2**63]
            absurd = [x for x in absurd if info.min <= x <= info.max]
            target.flat[self.rng.integers(target.size)] = self.pick(absurd, "absurd")
        wrong = [x for x in target.ravel().tolist() if x != ignored and not 0 <= x < c]
        return target, not wrong


ABSURD: list[Any] = [
    *(nan, inf, -inf, -1.0, 0.0, 1e300, 1e-320, 5e-324, -0.0, 2.0, 1e38, True, None, "mean", b"x", 2**70, -(2**63), 1j),
    *([], [[]], {}, [nan], [-1.0], [1e300, 1.0], ("a",), object(), np.zeros(0), np.float16(inf), np.datetime64("now")),
    *(np.array([1, 2], object), np.ones((1, 1, 1, 1)), np.full(3, -1), np.array("s"), range(3), np.ma.masked, ...),
]
"""What no option is, or hardly."""


def outcome(call: Callable[[], Any]) -> Any:
    """What a call gives, or the refusal."""
    try:
        with np.errstate(all="ignore"):
            return call()
    except REFUSALS as error:
        return error


def stored(numbers: Array, dtype: type) -> Array:
    """In half precision, if that is the type."""
    return narrow(numbers, dtype) if dtype in HALVES else numbers


def moved(array: Any, axis: int) -> Any:
    return np.ascontiguousarray(np.moveaxis(array, -1, axis)) if isinstance(array, np.ndarray) else array


# --- Losses -----------------------------------------------------------------------------------------------------------


def tame(case: Case, logits: Array) -> Array:
    """Where the oracle holds: of each row, or of each element."""
    finite = np.isfinite(logits) & (np.abs(np.where(np.isfinite(logits), logits, 0)) < 1e6)
    if case.name in ("categorical_cross_entropy", "binary_cross_entropy"):
        low = logits > 1e-30 if case.has_class_axis else logits >= 0
        return (low & (logits <= 1) & finite).all(-1) if case.has_class_axis else low & (logits <= 1) & finite
    if not case.has_class_axis:
        return finite
    return (finite | np.isneginf(logits)).all(-1) & finite.any(-1)


def assert_tame_part(case: Case, result: Any, truth: Truth, good: Array, dtype: type) -> None:
    """Losses and gradients that are not reduced, where the oracle holds."""
    floor = 64 * FLUSHED[dtype]
    both = zip(truth.doubts("none"), (truth.loss, truth.grad), strict=True)
    doubts = [np.broadcast_to(doubt, of.shape)[good] for doubt, of in both]
    loss = np.asarray(result.loss)
    assert_close(loss[good], truth.loss[good], case.loss_rtol[dtype], floor=floor + doubts[0], note="loss")
    grad, most = np.asarray(result.grad), float(np.finfo(dtype).max)
    # Beyond the type, as -1 / p of the smallest p, is an infinity.
    expected = np.where(np.abs(truth.grad) > most, np.copysign(inf, truth.grad), truth.grad)
    assert_close(grad[good], expected[good], case.grad_rtol[dtype], truth.size[good], floor + doubts[1], "grad")


@pytest.mark.parametrize("name", LOSSES)
@fuzz(24)
def test_losses(name: str, data: st.DataObject) -> None:
    chance, case = Chance(data), LOSSES[name]
    dtype = chance.pick(FLOATS, "dtype")
    single = dtype if dtype in DTYPES else np.float32
    shape = chance.shape()
    options = {option: chance.pick(draws, option)(chance.rng, single, shape) for option, draws in case.options.items()}
    logits = stored(chance.numbers(case, single, shape), dtype)
    kind = chance.pick(case.targets, "target")
    is_valid, c = True, shape[-1]
    if kind == "classes":
        target = classes(chance.rng, single, shape) if c else np.full(shape[:-1], -100)
        ignored = options.get("ignore_index")
        target, is_valid = chance.labels(target if ignored != 0 else np.maximum(target, 0), c, ignored)
    elif kind == "distributions" and chance.rarely("sparse"):
        few = chance.pick([1, 2, 5])
        of_pairs = np.maximum(classes(chance.rng, single, (*shape[:-1], few, max(c, 1))), 0)
        pairs, is_valid = chance.labels(of_pairs, c, options.get("ignore_index"))
        target = (pairs, chance.rng.random(pairs.shape).astype(dtype))
    else:
        target = case.targets[kind](chance.rng, single, shape)
        target = target.astype(dtype) if target.dtype == single else target
    axis = chance.pick(range(-len(shape), len(shape)), "axis") if case.has_class_axis else -1
    reduction = chance.pick(REDUCTIONS, "reduction")
    given_options = dict(options)
    is_usual = True
    if chance.rarely("absurd option"):
        option = chance.pick([*options, "reduction", *(["axis"] if case.has_class_axis else [])], "absurd option")
        given_options[option], is_usual = chance.pick(ABSURD, "absurd value"), False
    keep = {"reduction": reduction, **({"axis": axis} if case.has_class_axis else {}), **given_options}
    upstream = chance.pick([None, None, 0.0, -2.5, 1e-3], "grad_output")

    along = moved(logits, axis)
    where = chance.layout(along)
    if isinstance(target, tuple):
        aim: Any = tuple(chance.layout(moved(part, axis)) for part in target)
    else:
        aim = chance.layout(moved(target, axis) if kind == "distributions" else target)
    plain = {name: value if np.ndim(value) == 0 else "..." for name, value in keep.items() if is_usual}
    note(f"{shape} {np.dtype(dtype)} {kind} {plain} grad_output={upstream}")

    # 1. Where results go, and what they overwrite.
    place = chance.pick(["none", "none", "out", "strided out", "in place", "wrong dtype", "wrong shape"], "out")
    out: Any = None
    if place in ("out", "wrong dtype"):
        out = np.full(along.shape, 77, np.int32 if place == "wrong dtype" else dtype)
    elif place == "strided out":
        out = np.full((*along.shape[:-1], 2 * along.shape[-1] + 1), 77, dtype)[..., 1::2]
    elif place == "in place":
        out = where = where.copy()
    elif place == "wrong shape":
        out = np.full((*along.shape, 2), 77, dtype)
    before = None if out is None else out.copy()
    # 2. The call, and the same without adornments.
    extra = {} if upstream is None else {"grad_output": upstream}
    result = outcome(lambda: case.loss_with_grad(where, aim, **keep, **extra, out=out))
    alone = outcome(lambda: case.loss(along, aim, **keep))
    if isinstance(result, Exception):
        assert place.startswith("wrong") or not is_usual or not is_valid or outside(case, logits), result
        assert out is None or out.tobytes() == before.tobytes(), "something was written"
        assert place.startswith("wrong") or outside(case, logits) or isinstance(alone, Exception), alone
        return
    assert not place.startswith("wrong") and (is_valid or not is_usual), "a wrong argument was taken"
    assert out is None or result.grad is out
    assert result.grad.shape == along.shape and result.grad.dtype == (dtype if out is None else out.dtype)
    result = result._replace(grad=result.grad.astype(dtype))  # in the machine's order of bytes
    same = case.loss_with_grad(along.copy(), aim, **keep, **extra)
    assert_same_bits(result.loss, same.loss, "the loss depends on the layout")
    assert_same_bits(result.grad, same.grad, "the gradient depends on the layout")
    if not is_usual:
        return
    # 3. Half precision is storage.
    if dtype in HALVES:
        wider = wide(aim) if isinstance(aim, np.ndarray) and aim.dtype == dtype else aim
        wider = (aim[0], wide(aim[1])) if isinstance(aim, tuple) else wider
        widened = case.loss_with_grad(wide(along), wider, **keep, **extra)
        assert_same_bits(result.loss, widened.loss, "half precision has changed the loss")
        assert_same_bits(result.grad, narrow(widened.grad, dtype), "half precision has changed the gradient")
        return
    # 4. The truth, where the oracle holds; without the upstream gradient, which the next lines hold against this one.
    if isinstance(target, tuple) or c == 0:
        return
    good = tame(case, logits)
    usual = logits.copy()
    usual[~good] = 0.5
    with np.errstate(all="ignore"):
        truth = case.oracle(usual, target, **options)
    each = case.loss_with_grad(along, aim, **{**keep, "reduction": "none"})
    back = each._replace(grad=np.moveaxis(each.grad, axis, -1) if case.has_class_axis else each.grad)
    assert_tame_part(case, back, truth, good, dtype)
    if upstream is not None and reduction == "none":
        with np.errstate(all="ignore"):
            scaled = np.where(back.grad == 0, 0, back.grad * upstream) if upstream else np.zeros_like(back.grad)
            size = np.where(
                good if good.ndim == scaled.ndim else good[..., None], truth.size * abs(upstream), np.abs(scaled)
            )
        grad = np.moveaxis(np.asarray(result.grad), axis, -1) if case.has_class_axis else np.asarray(result.grad)
        some = np.isfinite(scaled) & np.isfinite(grad)
        rtol = 1e-5 if dtype is np.float32 else 1e-13
        assert_close(grad[some], scaled[some], rtol, size[some], 64 * FLUSHED[dtype], "upstream")
    if good.all() and reduction != "none":
        loss, floor = truth.reduced(reduction)[0], FLUSHED[dtype] * (64 + good.size) + truth.doubts(reduction)[0]
        assert_close(result.loss, loss, case.loss_rtol[dtype], floor=floor, note="reduced")
    if not isinstance(alone, Exception):
        eps = float(np.finfo(dtype).eps)
        assert_close(alone, result.loss, 8 * eps, floor=FLUSHED[dtype], note="the loss alone")


def outside(case: Case, logits: Array) -> bool:
    """Whether a number is none that the loss is of."""
    if not case.name.endswith(("categorical_cross_entropy", "binary_cross_entropy")):
        return False
    with np.errstate(invalid="ignore"):  # of signalling NaN
        z = logits.astype(np.float64)
    return bool(((z < 0) | (z > 1)).any())


# --- Functions and distributions --------------------------------------------------------------------------------------


@fuzz(60)
def test_functions(data: st.DataObject) -> None:
    chance = Chance(data)
    function, dtype = chance.pick(FUNCTIONS, "function"), chance.pick(FLOATS, "dtype")
    single, shape = dtype if dtype in DTYPES else np.float32, chance.shape()
    x = stored(chance.numbers(CASES[0], single, shape), dtype)
    axis = chance.pick(range(-len(shape), len(shape)), "axis")
    keep = {"axis": axis} if function.has_axis else {}
    along = moved(x, axis) if function.has_axis else x
    result = function.function(chance.layout(along), **keep)
    assert_same_bits(result, function.function(along, **keep), function.name)
    if function.has_out:
        place = np.full(along.shape, 77, dtype)
        assert function.function(along, **keep, out=place) is place
        assert_same_bits(place, result)
    if shape[-1] == 0:
        return
    if dtype in HALVES:
        widened = function.function(wide(along), **keep)
        assert_same_bits(result, narrow(widened, dtype) if np.asarray(result).dtype == dtype else widened)
        return
    back = np.moveaxis(result, axis, -1) if function.has_axis and function.has_out else np.asarray(result)
    good = tame(CASES[0], x) if function.has_axis else np.isfinite(x)
    usual = x.copy()
    usual[~good] = 0.5
    with np.errstate(all="ignore"):
        value, size = function.oracle(usual)
        size = np.where(np.isinf(size) & np.isinf(value), 0, size)
    where = np.broadcast_to(good[..., None], back.shape) if good.ndim < back.ndim else good
    finite = where & (np.abs(value) < np.finfo(dtype).max)
    floor = 64 * FLUSHED[dtype]
    assert_close(back[finite], value[finite], function.rtol[dtype], size[finite], floor, function.name)


@fuzz(36)
def test_distributions(data: st.DataObject) -> None:
    chance = Chance(data)
    quantity, dtype = chance.pick(QUANTITIES, "quantity"), chance.pick(FLOATS, "dtype")
    form = chance.pick(["probabilities", "normalize", "logits"], "form")
    single, rng = dtype if dtype in DTYPES else np.float32, chance.rng
    c, n = chance.pick([1, 2, 3, 5, 8, 17, 33, 64, 65, 70, 0], "classes"), chance.pick([1, 2, 4, 0], "rows")
    options = {name: chance.pick(values, name) for name, values in quantity.options.items()}
    options |= {"base": chance.pick([None, 2, 10.0, 1.5], "base")} if quantity.has_base else {}
    options |= {} if form == "probabilities" else {"normalize": True} if form == "normalize" else {"from_logits": True}
    style = chance.pick(["usual", "usual", "usual", "bits", "zeros"], "style")

    def drawn() -> Array:
        if style == "bits":
            return np.frombuffer(rng.bytes(n * c * np.dtype(dtype).itemsize), dtype).reshape(n, c)
        if form == "logits":
            return np.clip(rough_logits(rng, single, (n, c)), -90, 90).astype(dtype)
        p = rng.exponential(size=(n, c)) ** 2 * (rng.random((n, c)) < (0.6 if style == "zeros" else 1))
        p[:, :1] += 1e-3
        return (p if form == "normalize" else p / np.maximum(p.sum(-1, keepdims=True), 1e-3)).astype(dtype)

    given_arrays = [drawn() for _ in range(quantity.arguments)]
    weight = chance.pick([None, rng.integers(0, 3, n)], "weight")
    keep = {**options, **({} if weight is None else {"sample_weight": weight})}
    if chance.rarely("absurd option"):
        keep[chance.pick([*keep, "axis"], "absurd option")] = chance.pick(ABSURD, "absurd value")
    note(f"{quantity.name} {np.dtype(dtype)} {(n, c)} {keep}")
    if weight is not None and "sample_weight" not in inspect.signature(quantity.function).parameters:
        keep.pop("sample_weight", None)
        weight = None
    result = outcome(lambda: quantity.with_grad(*map(chance.layout, given_arrays), **keep))
    value = outcome(lambda: quantity.function(*given_arrays, **keep))
    is_usual = all(keep.get(name) is option for name, option in options.items()) and "axis" not in keep
    if isinstance(result, Exception) or isinstance(value, Exception):
        assert isinstance(value, Exception) and isinstance(result, Exception), (value, result)
        rows_of_none = style == "bits" or c == 0 or (dtype in HALVES and form == "probabilities")
        assert not is_usual or rows_of_none or keep.get("sample_weight") is not weight, result
        return
    plain = quantity.with_grad(*given_arrays, **keep)
    assert_same_bits(result[0], value, quantity.name)
    for ours, same in zip(result, plain, strict=True):
        assert_same_bits(ours, same, "the layout counts")
    if style == "bits" or c == 0 or not is_usual or dtype in HALVES or keep.get("sample_weight") is not weight:
        return
    own = {name: option for name, option in options.items() if name in quantity.options}
    truth = distribution_oracles.rows(quantity.oracle, form, *given_arrays, digits=120, **own)
    truth = truth / np.log(options.get("base") or np.e)
    eps, tiny = float(np.finfo(dtype).eps), float(np.finfo(dtype).tiny)
    # An exponential below the smallest normal number is 0, whatever margin it is multiplied by.
    flushed = c * -np.log(tiny) * tiny * (1 if weight is None else 2)
    floor = flushed + (1e-19 if form == "normalize" else 0) + (4 * eps if c == 1 else 0)
    expected = truth if weight is None else np.where(weight == 0, 0, truth) * weight
    good = np.abs(expected) < 1e300
    assert_close(value[good], expected[good], 24 * eps, floor=floor, note=quantity.name)


# --- Layers, pairs, tokens, teachers, penalties, statistics -----------------------------------------------------------


@fuzz(24)
def test_layers(data: st.DataObject) -> None:
    chance = Chance(data)
    linear, dtype = chance.pick(LINEARS, "kind"), chance.pick(DTYPES, "dtype")
    n, d, c = chance.pick([1, 3, 9, 0], "n"), chance.pick([1, 4, 17, 64], "d"), chance.pick([1, 2, 5, 40, 130], "c")
    rng = chance.rng
    x, weight = rng.standard_normal((n, d)).astype(dtype), (rng.standard_normal((c, d)) / np.sqrt(d)).astype(dtype)
    bias = chance.pick([None, rng.standard_normal(c).astype(dtype)], "bias")
    kind = chance.pick(linear.targets, "target")
    target = linear.targets[kind](rng, dtype, (n, c))
    options = {name: chance.pick(draws, name)(rng, dtype, (n, c)) for name, draws in linear.options.items()}
    is_valid = True
    if kind == "classes":
        ignored = options.get("ignore_index")
        target, is_valid = chance.labels(target if ignored != 0 else np.maximum(target, 0), c, ignored)
    reduction = chance.pick(REDUCTIONS, "reduction")
    keep = {"bias": bias, "kind": linear.kind, "reduction": reduction, **options}
    places = (np.full((n, d), 77, dtype), None, None) if chance.rarely("out") else None
    note(f"{linear.name} {(n, d, c)} {np.dtype(dtype)} {kind} {keep}")
    layer = chance.layout(x), chance.layout(weight), chance.layout(target)
    result = outcome(lambda: linear.loss_with_grad(*layer, **keep, out=places))
    if isinstance(result, Exception):
        assert not is_valid, result
        assert places is None or (places[0] == 77).all()
        return
    assert is_valid
    logits = x.astype(np.float64) @ weight.astype(np.float64).T + (0 if bias is None else bias.astype(np.float64))
    truth = linear.oracle(logits, target, **options)
    rtol = 3e-5 if dtype is np.float32 else 1e-11
    loss, grad, size = truth.reduced(reduction)
    doubt, grad_doubt = truth.doubts(reduction)
    assert_close(result.loss, loss, rtol, 1 + np.abs(loss), doubt, "loss")
    yardstick = size + np.abs(grad).sum(-1, keepdims=True) + grad_doubt / rtol
    assert_close(result.grad_x, grad @ weight, rtol, yardstick @ np.abs(weight) + 1e-4, note="grad_x")
    assert_close(result.grad_weight, grad.T @ x, rtol, yardstick.T @ np.abs(x) + 1e-4, note="grad_weight")


@fuzz(16)
def test_pairs(data: st.DataObject) -> None:
    chance = Chance(data)
    case, dtype = chance.pick(CONTRASTIVES, "loss"), chance.pick(DTYPES, "dtype")
    n, d = chance.pick([1, 2, 5, 17, 40], "n"), chance.pick([1, 3, 16, 33], "d")
    x, y = (chance.rng.standard_normal((n, d)).astype(dtype) / np.sqrt(d).astype(dtype) for _ in range(2))
    temperature, options = chance.pick([1.0, 0.2, 3.0], "temperature"), chance.pick(case.options, "options")
    loss, grad, _ = case.oracle(x, y, temperature=temperature, **options)
    laid = chance.layout(x), chance.layout(y)
    result = case.loss_with_grad(*laid, temperature=temperature, reduction="none", **options)
    terms = (np.abs(x) @ np.abs(y).T).max() / temperature
    rtol = (3e-5 if dtype is np.float32 else 1e-12) * n * (1 + terms)
    assert_close(result.loss, loss, rtol, 1 + np.abs(loss), note=case.name)
    wide_grad = np.abs(grad) + np.abs(grad).sum(0) + np.abs(grad).sum(1, keepdims=True) + 1e-4
    assert_close(result.grad_x, grad @ y / temperature, rtol, wide_grad @ np.abs(y) / temperature, note="grad_x")
    absurd = chance.pick(ABSURD, "absurd temperature")
    outcome(lambda: case.loss_with_grad(*laid, temperature=absurd))


@fuzz(36)
def test_tokens_and_teachers(data: st.DataObject) -> None:
    chance = Chance(data)
    dtype, shape, rng = chance.pick(DTYPES, "dtype"), chance.shape(least=2), chance.rng
    c = shape[-1]
    if c == 0:
        return
    z, token = rough_logits(rng, dtype, shape), classes(rng, dtype, shape)
    options = {name: chance.pick(draws, name)(rng, dtype, shape) for name, draws in TOKEN_OPTIONS.items()}
    token = np.maximum(token, 0) if options["ignore_index"] == 0 else token
    token, is_valid = chance.labels(token, c, options["ignore_index"])
    note(f"{shape} {np.dtype(dtype)} {options}")
    result = outcome(lambda: xe.token_logprobs_with_grad(chance.layout(z), chance.layout(token), **options))
    assert is_valid != isinstance(result, IndexError), result
    if is_valid:
        truth = token_logprobs_oracle(z, token, **options)
        rtol, floor = (1e-6 if dtype is np.float32 else 1e-12), 800 * FLUSHED[dtype]
        assert_close(result.logprob, truth.logprob, rtol, floor=floor + truth.doubt[0], note="logprob")
        assert_close(result.entropy, truth.entropy, rtol, floor=floor + truth.doubt[1], note="entropy")
        assert_close(result.grad, truth.grad, 10 * rtol, truth.size, floor + truth.doubt[2], "grad")

    k = chance.pick([1, 2, 5, 30], "pairs")
    order = np.argsort(rng.random(shape), -1)[..., :k]
    p = rng.dirichlet(np.full(order.shape[-1] + 1, 0.4), shape[:-1])[..., :-1].astype(dtype)
    pairs, is_valid = chance.labels(np.where(rng.random(order.shape) < 1 / 6, -100, order), c, -100)
    keep = chance.pick([{}, {"temperature": 0.7, "softcap": 20.0}], "options")
    result = outcome(lambda: xe.topk_kl_divergence_with_grad(z, (pairs, p), reduction="none", **keep))
    if not is_valid:
        assert isinstance(result, IndexError), result
        return
    # Probabilities of a class that stands twice add, and may exceed 1.
    if isinstance(result, Exception):
        assert isinstance(result, ValueError) and "sum to at most 1" in str(result)
        return
    truth = topk_kl_divergence_oracle(z, (pairs, p), **keep)
    rtol, floor = (2e-6 if dtype is np.float32 else 1e-12), 8 * k * FLUSHED[dtype] + 1e-15
    doubts = truth.doubts("none")
    good = np.isfinite(truth.loss)
    assert_close(result.loss[good], truth.loss[good], rtol, floor=floor + doubts[0][good], note="teacher")


@fuzz(36)
def test_penalties_and_statistics(data: st.DataObject) -> None:
    chance = Chance(data)
    dtype, shape, rng = chance.pick(DTYPES, "dtype"), chance.shape(least=2), chance.rng
    n, c = int(np.prod(shape[:-1])), shape[-1]
    if c == 0 or n == 0:
        return
    rtol = 1e-6 if dtype is np.float32 else 1e-12
    z = rough_logits(rng, dtype, (n, c))
    weight = chance.pick([None, rng.integers(0, 3, n).astype(float)], "weight")
    target, is_valid = chance.labels(classes(rng, dtype, (n, c)), c, -100)
    laid = chance.layout(z), chance.layout(target)
    stats = outcome(lambda: xe.softmax_stats(*laid, sample_weight=weight))
    error = outcome(lambda: xe.expected_calibration_error(*laid, sample_weight=weight, n_bins=10))
    accumulator = xe.LossAccumulator()
    total = outcome(lambda: accumulator.update(*laid, sample_weight=weight))
    if not is_valid:
        assert all(isinstance(x, IndexError) for x in (stats, error, total)), (stats, error, total)
        return
    assert not isinstance(stats, Exception) and not isinstance(error, Exception), (stats, error)
    kept = target != -100
    s = np.where(kept, 1.0 if weight is None else weight, 0.0)
    cost = minus_log_softmax(z)
    own = np.where(kept, target, 0).astype(np.int64)
    loss = np.take_along_axis(cost, own[:, None], -1)[:, 0]
    assert_close(stats.loss, np.where(s > 0, loss, 0), rtol, floor=800 * FLUSHED[dtype], note="loss")
    confidence = np.exp(-cost.min(-1))
    assert_close(stats.confidence, confidence, rtol, note="confidence")
    np.testing.assert_array_equal(stats.argmax, z.argmax(-1))
    if s.sum() > 0:
        right = kept & (z.argmax(-1) == own)
        # A confidence at the border of two bins may be rounded into either.
        bins = np.ceil(confidence * 10 - 1e-9)
        gaps = np.bincount(bins.astype(int), s * (right - confidence), 12)
        if not (np.abs(confidence * 10 - np.round(confidence * 10)) < 1e-5).any():
            assert error == pytest.approx(np.abs(gaps).sum() / s.sum(), rel=1e-5, abs=1e-6)
        elif not np.isinf(loss[s > 0]).any():
            assert 0 <= error <= 1 + 1e-6
        result = accumulator.result()
        assert_close(result.loss, (s * np.where(s > 0, loss, 0)).sum() / s.sum(), rtol, floor=FLUSHED[dtype])

    if n > 1 and c > 1 and np.isfinite(z).all():
        with np.errstate(all="ignore"):
            truth = js_divergence_oracle(z[:-1], z[1:])
        ours = xe.js_smoothness(chance.layout(z), reduction="none")
        far = np.sqrt(np.asarray(truth, float))
        assert_close(ours, np.asarray(truth, float), 20 * rtol, far + np.asarray(truth, float), 1e-15, "smoothness")
    x, group = z[:, 0], rng.integers(0, 3, n)
    if np.isfinite(x).all():
        p = np.exp(-np.logaddexp(0, -x.astype(np.float64)))
        means = np.array([p[group == g].mean() if (group == g).any() else p.mean() for g in range(3)])
        truth = (np.bincount(group, minlength=3) / n) @ (means - p.mean()) ** 2
        ours = xe.parity_penalty(chance.layout(x), chance.layout(group))
        assert ours == pytest.approx(truth, rel=100 * rtol, abs=rtol * 1e-3)


@fuzz(30)
def test_gaussians(data: st.DataObject) -> None:
    chance = Chance(data)
    dtype, shape, rng = chance.pick(DTYPES, "dtype"), chance.shape(), chance.rng
    mean, target, log_var = (rng.normal(scale=3, size=shape).astype(dtype) for _ in range(3))
    spread = chance.pick([{"log_var": log_var}, {"var": np.exp(log_var)}, {"var": dtype(2.0)}], "spread")
    name, given_spread = next(iter(spread.items()))
    full, reduction = chance.pick([True, False], "full"), chance.pick(REDUCTIONS, "reduction")
    laid = {name: chance.layout(np.asarray(given_spread)), "full": full, "reduction": reduction}
    result = xe.gaussian_nll_with_grad(chance.layout(mean), chance.layout(target), **laid)
    m, t, v = (np.asarray(x, np.longdouble) for x in (mean, target, given_spread))
    log_v = v if name == "log_var" else np.log(v)
    v = np.exp(log_v) if name == "log_var" else v
    constant, square = np.log(2 * np.longdouble(np.pi)) / 2 * full, (t - m) ** 2 / v
    loss, size = constant + log_v / 2 + square / 2, constant + np.abs(log_v) / 2 + square / 2
    count = max(mean.size, 1) if reduction == "mean" else 1
    if reduction != "none":
        loss, size = loss.sum() / count, size.sum() / count
    rtol = 16 * float(np.finfo(dtype).eps)
    assert_close(result.loss, np.asarray(loss, float), rtol, np.asarray(size, float), note="loss")
    grad = np.asarray((m - t) / v / count, float)
    assert_close(result.grad_mean, grad, rtol, note="grad_mean")
    if name == "var" and np.ndim(given_spread):
        var_q = np.exp(log_var[::-1])
        given_pair = (mean, given_spread, target, var_q)
        value = xe.gaussian_kl_divergence(*map(chance.layout, given_pair))
        mp, vp, mq, vq = (np.asarray(x, np.longdouble) for x in given_pair)
        truth = (vp / vq - 1 - np.log(vp / vq) + (mp - mq) ** 2 / vq) / 2
        assert_close(value, np.asarray(truth, float), rtol, floor=float(np.finfo(dtype).eps) ** 2, note="divergence")
