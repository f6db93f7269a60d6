"""Evaluations in pieces: any split, any order, through pickles and text; what is refused, and adds nothing then."""

import copy
import json
import math
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import xentrs as xe
from draws import classes
from registry import DTYPES
from xentrs.evaluation import evaluation as evaluations
from xentrs.evaluation import sweep

nan, inf = np.nan, np.inf
OPTIONS = {"temperature": 1.5, "n_bins": 7, "top_k": (2, 3), "per_class": True}

each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)


def batch(dtype: type = np.float64, n: int = 60, c: int = 5) -> dict[str, Any]:
    """Rows whose losses and weights are of very different sizes, so that rounded sums show their order."""
    rng = np.random.default_rng(231)
    z = rng.normal(size=(n, c)) * 10.0 ** rng.integers(-3, 3, (n, 1))
    weight = 10.0 ** rng.uniform(-20, 20, n) * (rng.random(n) < 0.9)
    y = classes(rng, dtype, (n, c))
    y[rng.random(n) < 0.1] = -100
    return {"logits": z.astype(dtype), "target": y, "sample_weight": weight.astype(dtype)}


def rows_of(data: dict[str, Any], rows: Any) -> dict[str, Any]:
    return {name: array[rows] for name, array in data.items()}


@each_dtype
@pytest.mark.parametrize("options", [{}, OPTIONS], ids=["plain", "options"])
def test_any_split_and_any_order_give_the_same(
    dtype: type, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    rng, data = np.random.default_rng(232), batch(dtype)
    n = len(data["target"])
    whole = xe.Evaluation(**options).update(**data)
    for i in range(12):
        monkeypatch.setattr(sweep, "BLOCK", 1 << rng.integers(4, 14))
        monkeypatch.setattr(sweep, "ROWS", 1 << rng.integers(0, 8))
        order = rng.permutation(n)
        cuts = np.sort(rng.integers(0, n + 1, rng.integers(0, 8)))
        parts = [xe.Evaluation(**options).update(**rows_of(data, rows)) for rows in np.split(order, cuts)]
        while len(parts) > 1:
            a, b = parts.pop(rng.integers(len(parts))), parts.pop(rng.integers(len(parts)))
            parts.append(a.merge(b) if i % 2 else a + b)
        assert parts[0] == whole
        assert parts[0].to_json() == whole.to_json()
        assert str(parts[0].result()) == str(whole.result())


def test_every_row_counts() -> None:
    """Each row, each weight and each answer changes the sums: nothing that is compared above is left out of them."""
    data = batch(n=20)
    data["sample_weight"] = np.abs(data["sample_weight"]) + 1
    whole = xe.Evaluation(**OPTIONS).update(**data)
    for i in np.flatnonzero(data["target"] >= 0):
        assert xe.Evaluation(**OPTIONS).update(**rows_of(data, np.arange(20) != i)) != whole
        other = {**data, "target": data["target"].copy()}
        other["target"][i] = (other["target"][i] + 1) % 5
        assert xe.Evaluation(**OPTIONS).update(**other) != whole
        heavier = {**data, "sample_weight": data["sample_weight"].copy()}
        heavier["sample_weight"][i] *= 1 + 2.0**-50
        assert xe.Evaluation(**OPTIONS).update(**heavier) != whole


@pytest.mark.parametrize(
    "twin_of",
    [
        copy.copy,
        copy.deepcopy,
        lambda e: pickle.loads(pickle.dumps(e)),
        lambda e: e + xe.Evaluation(**OPTIONS),
        lambda e: sum([e]),
        lambda e: xe.Evaluation.from_json(e.to_json()),
    ],
    ids="copy deepcopy pickle add sum json".split(),
)
def test_twins_go_their_own_way(twin_of: Callable[[xe.Evaluation], xe.Evaluation]) -> None:
    data = batch()
    evaluation = xe.Evaluation(**OPTIONS).update(**data, n_bytes=3)
    text = evaluation.to_json()
    twin = twin_of(evaluation)
    assert twin == evaluation and twin is not evaluation and repr(twin) == repr(evaluation)
    twin.update(**data)
    assert twin != evaluation and evaluation.to_json() == text
    assert twin == twin_of(evaluation).update(**data)


def test_merge_into_what_has_seen_nothing_and_back() -> None:
    full = xe.Evaluation(**OPTIONS).update(**batch())
    assert xe.Evaluation(**OPTIONS).merge(full) == full
    assert copy.copy(full).merge(xe.Evaluation(**OPTIONS)) == full
    assert xe.Evaluation(**OPTIONS).merge(xe.Evaluation(**OPTIONS)) == xe.Evaluation(**OPTIONS)
    assert full.n_classes == 5 and full != "something else"
    with pytest.raises(TypeError, match="unhashable"):
        hash(full)


@pytest.mark.parametrize(
    ("name", "value"), [("temperature", 2.0), ("n_bins", 8), ("top_k", (2,)), ("per_class", False)]
)
def test_other_options_have_no_sum(name: str, value: Any) -> None:
    a, b = xe.Evaluation(**OPTIONS).update(**batch()), xe.Evaluation(**{**OPTIONS, name: value}).update(**batch())
    before = copy.copy(a)
    with pytest.raises(ValueError, match=f"an evaluation with {name}=.* has no sum with one with {name}="):
        a.merge(b)
    with pytest.raises(ValueError, match="has no sum"):
        a + b
    assert a == before and a != b


def test_other_classes_have_no_sum() -> None:
    a, b = (xe.Evaluation(**OPTIONS).update(**batch(c=c)) for c in (5, 6))
    with pytest.raises(ValueError, match="an evaluation of 5 classes has no sum with one of 6"):
        a.merge(b)
    with pytest.raises(TypeError, match="other must be an Evaluation, got LossAccumulator"):
        a.merge(xe.LossAccumulator())  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="unsupported operand"):
        a + 1  # type: ignore[operator]


@pytest.mark.parametrize(
    ("error", "message", "wrong"),
    [
        (
            IndexError,
            r"target must be integers in \[0, 3\) or ignore_index=-100, got 3 at row 4",
            {"target": [0, 1, 2, 0, 3]},
        ),
        (
            IndexError,
            r"target must be integers in \[0, 3\), got -100 at row 0",
            {"target": [-100] * 5, "ignore_index": None},
        ),
        (
            ValueError,
            "sample_weight must be finite and non-negative, got -1.0 at row 3",
            {"sample_weight": [1, 1, 1, -1.0, 1]},
        ),
        (ValueError, "sample_weight must be finite and non-negative, got nan at row 0", {"sample_weight": nan}),
        (
            ValueError,
            r"target must have shape \(5,\), that of logits without the class axis, got \(4,\)",
            {"target": [0] * 4},
        ),
        (
            ValueError,
            r"sample_weight must have shape \(5,\) or broadcast to it, got \(4,\)",
            {"sample_weight": [1.0] * 4},
        ),
        (ValueError, "logits must have 3 classes, as before, got 4", {"logits": np.zeros((5, 4))}),
        (TypeError, "logits must be floating", {"logits": np.zeros((5, 3), complex)}),
        (TypeError, "target must be integers", {"target": [0.5] * 5}),
        (ValueError, "n_bytes must be at least 0, got -1", {"n_bytes": -1}),
        (np.exceptions.AxisError, "axis 3 is out of bounds", {"axis": 3}),
    ],
)
def test_a_refused_batch_adds_nothing(
    error: Any, message: str, wrong: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep, "BLOCK", 50)  # two rows
    evaluation = xe.Evaluation(per_class=True).update(np.zeros((2, 3)), [0, 1])
    before = copy.copy(evaluation)
    with pytest.raises(error, match=message):
        evaluation.update(**{"logits": np.zeros((5, 3)), "target": [0] * 5, **wrong})
    assert evaluation == before


@pytest.mark.parametrize(
    ("error", "message", "options"),
    [
        (ValueError, "temperature must be positive and finite, got 0", {"temperature": 0}),
        (ValueError, "temperature must be positive and finite, got nan", {"temperature": nan}),
        (TypeError, "temperature must be a number, got 'hot'", {"temperature": "hot"}),
        (ValueError, "n_bins must be at least 1, got 0", {"n_bins": 0}),
        (TypeError, "top_k must be an integer, got 1.5", {"top_k": [1.5]}),
        (ValueError, "top_k must be at least 1, got 0", {"top_k": 0}),
    ],
)
def test_options_that_make_no_sense(error: Any, message: str, options: dict[str, Any]) -> None:
    with pytest.raises(error, match=message):
        xe.Evaluation(**options)


def test_nothing_and_nearly_nothing() -> None:
    empty = xe.Evaluation(top_k=2)
    assert (empty.loss, empty.perplexity, empty.brier_score, empty.calibration_error) == (0.0, 1.0, 0.0, 0.0)
    assert math.isnan(empty.accuracy) and math.isnan(empty.top_k_accuracy[2]) and math.isnan(empty.bits_per_byte)
    assert (empty.weight, empty.rows, empty.n_classes) == (0.0, 0, None)
    seen = copy.copy(empty).update([[nan, 1.0]], [-100]).update(np.empty((0, 2)), [])
    assert seen.update([[nan, inf]], [1], sample_weight=[0.0]).to_json() == empty.to_json().replace(
        'null, "sums', '2, "sums'
    )


def test_weights_that_are_too_large() -> None:
    """A product that overflows counts as infinite, as in an accumulator; what is at most 2 has a sum all the same."""
    heavy = {"logits": [[0.0, 1e10], [0.0, -3.0]], "target": [0, 0], "sample_weight": [1e300, 1.7e308]}
    evaluation = xe.Evaluation(per_class=True).update(**heavy)
    assert evaluation.loss == xe.LossAccumulator().update(**heavy).result().loss == inf
    assert evaluation.infinite_rows == 1 and evaluation.per_class.loss[0] == inf
    assert evaluation.brier_score == pytest.approx(0.0045, abs=1e-3)
    wrong = xe.Evaluation().update([[9.0, 0.0]] * 2, [1, 1], sample_weight=1.7e308)
    assert wrong.brier_score == pytest.approx(2, abs=1e-3) and wrong.calibration_error == pytest.approx(1, abs=1e-3)


def test_few_rows_are_summed_as_many_are(monkeypatch: pytest.MonkeyPatch) -> None:
    data = batch(np.float32)
    data["sample_weight"] = data["sample_weight"].astype(np.float64)
    data["sample_weight"][:4] = 5e-324, 2.3e-308, 1.7e308, 1e300
    data["logits"][4:6] = [[0, inf, 0, 0, 0], [nan] * 5]
    data["target"][:6] = 0
    few = []
    for most in (0, 3, 16, 1000):
        monkeypatch.setattr(evaluations, "_FEW", most)
        few.append(xe.Evaluation(**OPTIONS).update(**data))
    assert few[0] == few[1] == few[2] == few[3] and few[0].infinite_rows and few[0].undefined_rows


def test_rows_that_are_infinite_or_define_nothing() -> None:
    evaluation = xe.Evaluation(per_class=True).update([[0.0, -inf], [3.0, 0.0]], [1, 0])
    assert (evaluation.loss, evaluation.perplexity, evaluation.bits_per_byte) == (
        inf,
        inf,
        pytest.approx(nan, nan_ok=True),
    )
    assert (evaluation.brier_score, evaluation.infinite_rows) == (pytest.approx(1.0023, abs=1e-3), 1)
    assert json.loads(evaluation.to_json())["loss"] is None
    np.testing.assert_array_equal(evaluation.per_class.loss, [pytest.approx(math.log1p(math.exp(-3))), inf])
    evaluation.update([[nan, 1.0]], [0], n_bytes=3)
    for name in ("loss", "perplexity", "calibration_error", "brier_score", "bits_per_byte"):
        assert math.isnan(getattr(evaluation, name)), name
    assert (evaluation.undefined_rows, evaluation.rows, evaluation.accuracy) == (1, 3, 1 / 3)
    assert math.isnan(evaluation.per_class.loss[0])
    assert xe.Evaluation.from_json(evaluation.to_json()) == evaluation


def test_layouts_give_the_same() -> None:
    rng = np.random.default_rng(233)
    z, y = rng.normal(size=(4, 6, 3)), rng.integers(0, 3, (4, 6))
    weight = rng.random((4, 6))
    whole = xe.Evaluation(top_k=2).update(z.reshape(-1, 3), y.ravel(), sample_weight=weight.ravel())
    for logits, axis in [(z, -1), (np.asfortranarray(z), 2), (np.moveaxis(z, -1, 0), 0), (np.moveaxis(z, -1, 1), 1)]:
        for layout in (logits, np.ascontiguousarray(logits)):
            assert xe.Evaluation(top_k=2).update(layout, y, sample_weight=weight, axis=axis) == whole
    single = xe.Evaluation(top_k=2)
    for row, label, w in zip(z.reshape(-1, 3), y.ravel(), weight.ravel(), strict=True):
        single.update(row.tolist(), int(label), sample_weight=w)
    assert single == whole


def test_log_odds_are_two_logits() -> None:
    z, y = np.array([3.0, -2.0, 0.5]), np.array([True, False, False])
    evaluation = xe.Evaluation(temperature=2.0).update(z, y)
    assert evaluation == xe.Evaluation(temperature=2.0).update(np.stack([0 * z, z], axis=1), y.astype(int))
    assert evaluation.n_classes == 2 and evaluation.accuracy == 2 / 3


def test_bytes_add_up() -> None:
    evaluation = xe.Evaluation().update([[0.0, 0.0]] * 3, [0, 1, 1], n_bytes=2).update([[0.0, 0.0]], [0], n_bytes=2)
    assert (evaluation.bits_per_token, evaluation.bits_per_byte) == (1.0, 1.0)


def test_bins_have_the_sums_of_their_rows() -> None:
    data = batch()
    stats = xe.softmax_stats(**data)
    weight, confidence, correct = xe.Evaluation(n_bins=4).update(**data).reliability
    for b in range(4):
        here = (stats.confidence > b / 4) & (stats.confidence <= (b + 1) / 4)
        assert weight[b] == pytest.approx(stats.weight[here].sum())
        assert confidence[b] == pytest.approx(stats.weight[here] @ stats.confidence[here])
        assert correct[b] == pytest.approx(stats.weight[here] @ stats.correct[here])


def test_the_loss_is_that_of_an_accumulator() -> None:
    data = batch(np.float32)
    evaluation, accumulator = xe.Evaluation().update(**data), xe.LossAccumulator().update(**data)
    result = accumulator.result()
    assert (evaluation.loss, evaluation.perplexity, evaluation.accuracy) == result[:3]
    assert (evaluation.weight, evaluation.rows) == result[3:]


def test_figures_of_classes_that_were_not_kept() -> None:
    with pytest.raises(ValueError, match=r"write Evaluation\(per_class=True\)"):
        xe.Evaluation().per_class  # noqa: B018


def spoiled(change: Callable[[Any], Any]) -> str:
    content = json.loads(xe.Evaluation(**OPTIONS).update(**batch()).to_json())
    changed = change(content)
    return json.dumps(content if changed is None else changed)


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ("expected the JSON that to_json writes: Expecting property", "{"),
        ("expected the JSON of an Evaluation, got another one", "[1]"),
        ("expected the JSON of an Evaluation, got another one", "{}"),
        ("expected an Evaluation of format 1, got 2: update xentrs", spoiled(lambda c: c.update(format=2))),
        ("damaged: 'sums' is missing", spoiled(lambda c: c.pop("sums") and c)),
        ("damaged: 'bin_weight' is missing", spoiled(lambda c: c["sums"].pop("bin_weight") and c)),
        (
            "damaged: expected a list of 7 non-negative",
            spoiled(lambda c: c["sums"]["bin_weight"]["values"].pop() * 0 or c),
        ),
        ("damaged: expected a list of 1 non-negative", spoiled(lambda c: c["counts"].update(rows=[-1]))),
        ("damaged: expected a list of 1 non-negative", spoiled(lambda c: c["counts"].update(rows=[1.5]))),
        ("damaged: expected a list of 1 non-negative", spoiled(lambda c: c["counts"].update(rows=7))),
        ("damaged: an exponent must be", spoiled(lambda c: c["sums"]["loss"].update(exponent=-2000))),
        ("damaged: an exponent must be", spoiled(lambda c: c["sums"].update(loss=3))),
        ("damaged: n_classes must be at least 1", spoiled(lambda c: c.update(n_classes=0))),
        ("damaged: .*hotness", spoiled(lambda c: c["options"].update(hotness=0))),
        ("damaged: temperature must be", spoiled(lambda c: c["options"].update(temperature=-1))),
    ],
)
def test_text_that_is_no_evaluation(message: str, text: str) -> None:
    with pytest.raises(ValueError, match=message):
        xe.Evaluation.from_json(text)


def test_pictures() -> None:
    figure = pytest.importorskip("matplotlib.figure", reason="matplotlib is not installed").Figure
    evaluation = xe.Evaluation(per_class=True, n_bins=4).update([[1.0, 0.0], [0.0, 2.0], [0.0, 9.0]], [0, 0, 1])
    ax = figure().subplots()
    assert evaluation.plot_reliability(ax) is ax
    weight, confidence, correct = (sums[2:] for sums in evaluation.reliability)
    accuracy = correct / weight
    assert ax.lines[-1].get_xdata().tolist() == (confidence / weight).tolist()
    assert ax.lines[-1].get_ydata().tolist() == accuracy.tolist() == [1.0, 0.5]
    ax = figure().subplots()
    assert evaluation.plot_per_class(ax) is ax
    assert [bar.get_height() for bar in ax.patches] == list(evaluation.per_class.loss)
    many = xe.Evaluation(per_class=True).update(np.zeros((100, 100)) + np.eye(100), np.arange(100))
    assert len(many.plot_per_class(figure().subplots()).patches) == 40
    assert not xe.Evaluation().plot_reliability(figure().subplots()).patches


@pytest.mark.parametrize("label", [-(2**63), 2**63 - 1])
def test_any_integer_of_64_bits_may_be_ignored(label: int) -> None:
    logits, target = np.eye(3), np.array([0, label, 2])
    assert xe.Evaluation().update(logits, target, ignore_index=label).rows == 2
    assert xe.LossAccumulator().update(logits, target, ignore_index=label).result().rows == 2
