"""`xentrs.boosting` against the real packages: the same trees without options, and focal losses that learn.

Each test of a package is skipped where that is not installed. What takes a minute runs in `make test-bridges` alone.
"""

import copy
import doctest
import gc
import json
import pickle
import subprocess
import sys
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

import xentrs as xe
from boosting_bridge import average_precision, rare
from xentrs.boosting import Focal, Sigmoid, Softmax, SoftmaxFocal

OBJECTIVES = [
    Sigmoid(),
    Sigmoid(pos_weight=3.0, label_smoothing=0.1, curvature="gradient"),
    Focal(),
    Focal(gamma=0.5, alpha=0.3, pos_weight=2.0, label_smoothing=0.1, curvature="library"),
    Focal(gamma=5.0, curvature="exact"),
    Focal(gamma=1.5, curvature="convex"),
    Softmax(),
    Softmax(class_weight=[1.0, 2.0, 0.5], label_smoothing=0.1, curvature="exact"),
    Softmax(curvature="gradient"),
    SoftmaxFocal(),
    SoftmaxFocal(gamma=0.5, class_weight=[1.0, 2.0, 0.5], label_smoothing=0.1, curvature="exact"),
    SoftmaxFocal(gamma=5.0, curvature="library"),
    SoftmaxFocal(gamma=1.5, curvature="convex"),
]
BINARY = (Sigmoid, Focal)
THREADS = 1  # of a library: whatever runs beside, its threads do not wait for one another


def package(name: str) -> Any:
    return pytest.importorskip(name, reason=f"{name} is not installed: pip install 'xentrs[{name}]'")


def some_scores(objective: Any, dtype: type = np.float64, n: int = 40) -> tuple[Any, Any, Any]:
    """Labels, raw scores in the layout of the library that has this dtype, and weights."""
    rng = np.random.default_rng(0)
    if isinstance(objective, BINARY):
        y, raw = rng.integers(0, 2, n), 2 * rng.normal(size=n)
    else:
        y, raw = rng.integers(0, 3, n), 2 * rng.normal(size=(n, 3))
    order = "F" if dtype is np.float64 else "C"
    return y.astype(np.float32), raw.astype(dtype, order), rng.uniform(0.5, 2.0, n).astype(np.float32)


def summed(objective: Any, y: Any, raw: Any, weight: Any) -> float:
    """The sum of the losses of all samples, by the public losses."""
    options = {
        name: getattr(objective, name)
        for name in ("gamma", "alpha", "pos_weight", "class_weight", "label_smoothing")
        if name in vars(objective)
    }
    losses = {
        Sigmoid: xe.sigmoid_cross_entropy,
        Focal: xe.sigmoid_focal_loss,
        Softmax: xe.softmax_cross_entropy,
        SoftmaxFocal: xe.softmax_focal_loss,
    }
    target = y if isinstance(objective, BINARY) else y.astype(np.int64)
    loss: float = losses[type(objective)](raw, target, sample_weight=weight, reduction="sum", **options)
    return loss


# -------------------------------------------------------------------------------------------------- without any package


@pytest.mark.parametrize("objective", OBJECTIVES, ids=repr)
def test_gradients_are_those_of_the_weighted_sum_of_losses(objective: Any) -> None:
    y, raw, weight = some_scores(objective)
    grad, hess = objective.sklearn(y, raw, weight)
    assert grad.dtype == hess.dtype == np.float32 and grad.shape == hess.shape == raw.shape
    step = 1e-5
    for place in [(0,), (3,)] if raw.ndim == 1 else [(0, 0), (3, 2), (7, 1)]:
        up, down = raw.copy(), raw.copy()
        up[place] += step
        down[place] -= step
        slope = (summed(objective, y, up, weight) - summed(objective, y, down, weight)) / (2 * step)
        assert grad[place] == pytest.approx(slope, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("objective", OBJECTIVES, ids=repr)
def test_each_curvature_is_what_it_says(objective: Any) -> None:
    y, raw, weight = some_scores(objective)
    plain = {Focal: Sigmoid, SoftmaxFocal: Softmax}
    for library, dtype in [("lightgbm", np.float64), ("xgboost", np.float32)]:
        y, raw, weight = some_scores(objective, dtype)
        grad, hess = objective.sklearn(y, raw, weight)
        if objective.curvature == "gradient":
            np.testing.assert_allclose(hess, np.maximum(np.abs(grad) / 2, 1e-16), rtol=1e-6)
            continue
        if objective.curvature == "convex":  # of a label the gradient is v (p - 1), and of others v p
            p = objective.predict_proba(raw)
            own = p[np.arange(len(y)), y.astype(int)]
            v = np.abs(grad if raw.ndim == 1 else grad[np.arange(len(y)), y.astype(int)]) / (1 - own)
            expected = v * own * (1 - own) if raw.ndim == 1 else v[:, np.newaxis] * p * (1 - p)
            np.testing.assert_allclose(hess, expected, rtol=1e-4, atol=1e-7)
            continue
        options = {name: value for name, value in vars(objective).items() if name != "curvature"}
        kind, times = type(objective), 1.0
        if objective.curvature == "library":  # the second derivative without focus, times what the library says
            alpha = options.pop("alpha", None)
            options.pop("gamma", None)
            kind = plain.get(kind, kind)
            if kind is Softmax:
                times = 2.0 if library == "xgboost" else 3 / 2
            elif alpha is not None:
                kind, options = Focal, options | {"gamma": 0.0, "alpha": alpha}
        reference = kind(**options, curvature="exact")
        exact = raw.astype(np.float64)
        for place in [(0,), (3,)] if raw.ndim == 1 else [(0, 0), (3, 2), (7, 1)]:
            ends = [exact.copy(), exact.copy()]
            ends[0][place] += 1e-2
            ends[1][place] -= 1e-2
            up, down = (float(reference.sklearn(y, end, weight)[0][place]) for end in ends)
            assert hess[place] == pytest.approx(max(times * (up - down) / 2e-2, 1e-16), rel=2e-3, abs=2e-4)
    assert hess.min() >= np.float32(1e-16)


@pytest.mark.parametrize("objective", OBJECTIVES, ids=repr)
def test_training_starts_where_no_constant_is_better(objective: Any) -> None:
    y, _, weight = some_scores(objective, n=200)
    y[:150] = 0
    start = objective.init_score(y, weight)
    assert start.shape == (200,) if isinstance(objective, BINARY) else (200, 3)
    grad, _ = objective.sklearn(y, start, weight)
    np.testing.assert_allclose(grad.sum(axis=0), 0, atol=2e-6 * np.abs(grad).sum())
    best = summed(objective, y, start, weight)
    for shift in np.eye(3) if start.ndim == 2 else [1.0]:
        assert (
            summed(objective, y, start + 0.01 * shift, weight)
            > best
            < summed(objective, y, start - 0.01 * shift, weight)
        )
    base = objective.base_score(y, weight)
    np.testing.assert_allclose(base, start[0] - (start[0].mean() if start.ndim == 2 else 0))
    assert objective.init_score(y, weight, rows=7).shape == (7, *start.shape[1:])


def test_the_best_constant_of_focal_losses_is_not_the_log_odds() -> None:
    y = np.repeat([1.0, 0.0], [1, 199])
    log_odds = np.log(1 / 199)
    assert Sigmoid().base_score(y) == pytest.approx(log_odds) == Focal(gamma=0.0).base_score(y)
    for gamma in (0.5, 1.0, 2.0, 5.0):
        assert Focal(gamma=gamma).base_score(y) > log_odds + 1.0
        two = SoftmaxFocal(gamma=gamma).base_score(y.astype(np.int64))
        assert two[1] - two[0] == pytest.approx(Focal(gamma=gamma).base_score(y))  # the same loss


def test_classes_that_never_occur_start_low_but_finite() -> None:
    for objective in (Sigmoid(), Focal(), Softmax(class_weight=np.ones(3)), SoftmaxFocal(class_weight=np.ones(3))):
        for y in (np.zeros(5, int), np.ones(5, int)):
            start = objective.init_score(y)
            assert np.isfinite(start).all()
            assert objective.predict_proba(start)[0, y[0]] > 1 - 1e-4
    assert np.isfinite(Softmax().base_score(np.array([], int))).all()


def test_soft_labels_are_mixtures() -> None:
    rng = np.random.default_rng(1)
    soft, raw, weight = rng.dirichlet(np.ones(3), 20), np.asfortranarray(rng.normal(size=(20, 3))), rng.random(20)
    for kind in (Softmax, SoftmaxFocal):
        objective = kind(target=soft, label_smoothing=0.1)
        grad, _ = objective.sklearn(np.arange(20.0), raw, weight)
        parts = [kind(label_smoothing=0.1).sklearn(np.full(20, k), raw, weight)[0] for k in range(3)]
        np.testing.assert_allclose(grad, sum(soft[:, k, None] * parts[k] for k in range(3)), atol=1e-6)
        np.testing.assert_array_equal(
            objective.sklearn([7.0, 3.0], raw[:2])[0], kind(label_smoothing=0.1).sklearn(soft[[7, 3]], raw[:2])[0]
        )
        rows = objective.init_score(np.arange(20))
        np.testing.assert_allclose(objective.sklearn(np.arange(20), rows)[0].sum(axis=0), 0, atol=1e-5)
    for kind in (Sigmoid, Focal):
        grad, _ = kind().sklearn(soft[:, 0], raw[:, 0])
        parts = [kind().sklearn(np.full(20, k), raw[:, 0])[0] for k in range(2)]
        np.testing.assert_allclose(grad, (1 - soft[:, 0]) * parts[0] + soft[:, 0] * parts[1], atol=1e-6)


def test_probabilities() -> None:
    raw = np.array([[0.0, 1.0], [2.0, -1.0]])
    np.testing.assert_allclose(Softmax().predict_proba(raw).sum(axis=1), 1)
    np.testing.assert_allclose(Sigmoid().predict_proba(raw), xe.sigmoid(raw))
    np.testing.assert_allclose(Focal().predict_proba(raw[0]), np.stack([xe.sigmoid(-raw[0]), xe.sigmoid(raw[0])], -1))


@pytest.mark.parametrize("objective", OBJECTIVES, ids=repr)
def test_objectives_pickle_with_what_is_bound_to_them(objective: Any) -> None:
    y, raw, weight = some_scores(objective)
    expected = objective.sklearn(y, raw, weight)
    for method in (pickle.loads(pickle.dumps(objective)).sklearn, pickle.loads(pickle.dumps(objective.sklearn))):
        np.testing.assert_array_equal(method(y, raw, weight), expected)
    assert copy.deepcopy(objective.sklearn).__self__ is objective


def test_the_package_imports_no_library() -> None:
    extras = {"lightgbm", "xgboost", "catboost", "sklearn", "scipy"}
    program = f"import sys, xentrs.boosting; print(sorted({extras!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("library", "old", "ways"),
    [
        ("lightgbm", "3.3.5", ["lightgbm", "lightgbm_metric"]),
        ("xgboost", "3.0.5", ["xgboost", "xgboost_metric"]),
        ("catboost", "1.1.1", ["catboost"]),
    ],
)
def test_a_library_that_is_missing_or_too_old_is_named(
    library: str, old: str, ways: list[str], monkeypatch: Any
) -> None:
    for way in ways:
        monkeypatch.setitem(sys.modules, library, None)
        with pytest.raises(
            ImportError, match=rf"needs {library} \d.* or newer, .* not installed: .*xentrs\[{library}\]"
        ):
            getattr(Focal(), way)
        monkeypatch.setitem(sys.modules, library, SimpleNamespace(__version__=old))
        with pytest.raises(ImportError, match=rf"needs {library} \d.* or newer, got {old}: .*xentrs\[{library}\]"):
            getattr(Focal(), way)
        monkeypatch.setitem(sys.modules, library, SimpleNamespace(__version__="10.0.0rc1"))
        assert callable(getattr(Focal(), way)) or way == "catboost"


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Sigmoid(curvature="newton"), ValueError, '"library", "exact", "convex" or "gradient", got \'newton\''),
        (lambda: Focal(gamma=-1.0), ValueError, r"gamma must be in \[0, .*got -1"),
        (lambda: SoftmaxFocal(gamma=np.nan), ValueError, "gamma must be"),
        (lambda: Focal(alpha=1.5), ValueError, "alpha must be .*got 1.5"),
        (lambda: Sigmoid(pos_weight=[1.0, 2.0]), TypeError, "pos_weight must be a number"),
        (lambda: Sigmoid(label_smoothing=2.0), ValueError, "label_smoothing must be .*got 2"),
        (lambda: Softmax(class_weight=[1.0, -1.0]), ValueError, "class_weight must be .*got -1"),
        (lambda: Softmax(class_weight="balanced"), TypeError, "class_weight must be .*; write a number for each class"),
        (lambda: Softmax(class_weight={0: 1.0}), TypeError, "class_weight must be .*; write a number for each class"),
        (lambda: Softmax(target=[0.5, 0.5]), ValueError, r"target must be .*\(n, c\).*got .*\(2,\)"),
        (lambda: Softmax(target=[[0, 1]]), ValueError, "target must be floats .*got int64"),
        (
            lambda: Softmax(target=np.eye(2), class_weight=[1, 1, 1]),
            ValueError,
            r"class_weight must .*\(2,\), got \(3,\)",
        ),
        (lambda: Softmax().base_score([0, 1, 1.5]), ValueError, "y must be whole numbers.*got 1.5 at row 2"),
        (lambda: Softmax().base_score([0, -1]), IndexError, r"y must be integers in \[0, .*got -1 at row 1"),
        (lambda: Softmax().base_score(["a", "b"]), TypeError, "y must be numbers"),
        (lambda: Softmax(class_weight=[1, 1]).base_score([0, 2]), IndexError, r"y must be .*\[0, 2\), got 2 at row 1"),
        (lambda: Sigmoid().base_score([0, 2]), ValueError, r"y must be in \[0, 1\], got 2 at row 1"),
        (lambda: Sigmoid().base_score([0, np.nan]), ValueError, r"y must be in \[0, 1\], got nan at row 1"),
        (lambda: Sigmoid().base_score([0, 1], [1, -1]), ValueError, "sample_weight must be .*got -1 at row 1"),
        (lambda: Sigmoid().base_score([0, 1], [1]), ValueError, r"sample_weight must have shape \(2,\), got \(1,\)"),
        (lambda: Sigmoid().init_score([0, 1], rows=0), ValueError, "rows must be at least 1"),
        (lambda: Softmax().sklearn([0.0, 3.0], np.zeros((2, 3))), IndexError, r"\[0, 3\).*got 3 at row 1"),
        (lambda: Softmax().sklearn([0.0, -100.0], np.zeros((2, 3))), IndexError, r"\[0, 3\).*got -100 at row 1"),
        (lambda: Softmax().sklearn([0.0, 0.5], np.zeros((2, 3))), ValueError, "label .*got 0.5 at row 1"),
        (
            lambda: Softmax().sklearn([0.0, 1.0], np.zeros(2)),
            ValueError,
            r'have shape \(n, c\), got \(2,\): .*"num_class"',
        ),
        (
            lambda: Focal().sklearn([0.0, 1.0], np.zeros((2, 3))),
            ValueError,
            r"label must have shape \(2, 3\).*SoftmaxFocal",
        ),
        (
            lambda: Focal().sklearn(np.zeros(2), Data([0.0, 1.0])),
            TypeError,
            "y_pred must be .*got Data; .*and .xgboost",
        ),
        (
            lambda: Focal()._lightgbm(np.zeros(2), np.zeros(2)),
            TypeError,
            "must be a lightgbm.Dataset, .*objective .sklearn",
        ),
        (
            lambda: Softmax().catboost,
            AttributeError,
            "Softmax has no attribute 'catboost'; CatBoost takes Sigmoid and Focal",
        ),
        (lambda: Sigmoid().sklearn([0.0, 1.5], np.zeros(2)), ValueError, "target must be .*got 1.5 at"),
        (
            lambda: Sigmoid().sklearn([0.0, 1.0], np.zeros(2), [-1, 1]),
            ValueError,
            "sample_weight must be .*got -1.0 at",
        ),
        (
            lambda: Softmax(target=np.eye(3)).sklearn([0.0, 3.0], np.zeros((2, 3))),
            IndexError,
            r"label must be a row of target, in \[0, 3\), got 3 at row 1",
        ),
    ],
)
def test_bad_input_is_refused(call: Callable[[], object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


class Data:
    """A data set, as far as objectives ask."""

    def __init__(self, label: Any) -> None:
        self.get_label = lambda: label
        self.get_weight = lambda: None


@pytest.mark.parametrize("library", ["lightgbm", "xgboost"])
def test_a_thread_writes_the_derivatives_of_a_data_set_to_the_same_places(library: str) -> None:
    package(library)
    objective = Softmax()
    y, raw, _ = some_scores(objective, np.float64 if library == "lightgbm" else np.float32)
    data, other = Data(y), Data(y[::-1])
    call = getattr(objective, library)
    first = call(raw, data)
    expected = [place.copy() for place in first]
    np.testing.assert_array_equal(expected, objective.sklearn(y, raw))
    assert first[0].flags.f_contiguous == raw.flags.f_contiguous
    with ThreadPoolExecutor(1) as pool:
        elsewhere = pool.submit(call, 2 * raw, data).result()
    beside = call(2 * raw, other)
    assert not any(np.shares_memory(place, mine) for place in (*elsewhere, *beside) for mine in first)
    np.testing.assert_array_equal(first, expected)
    again = call(2 * raw, data)
    assert again[0] is first[0] and again[1] is first[1] and not np.array_equal(first, expected)
    np.testing.assert_array_equal(again, elsewhere)
    fewer = call(np.asarray(raw[:9], order="F" if library == "lightgbm" else "C"), Data(y[:9]))
    assert fewer[0].shape == (9, 3)
    place = weakref.ref(first[0])
    del data, first, again
    gc.collect()
    assert place() is None  # they go with the data set


@pytest.mark.parametrize("library", ["lightgbm", "xgboost"])
def test_what_is_no_data_set_is_refused(library: str) -> None:
    package(library)
    for way in (library, f"{library}_metric"):
        with pytest.raises(TypeError, match=f"data must be a {library}.*, got ndarray"):
            getattr(Sigmoid(), way)(np.zeros(2), np.zeros(2))


# ------------------------------------------------------------------------------------------------------- the same trees


def some_samples(classes: int, n: int = 2000) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(classes)
    X = rng.normal(size=(n, 6))
    f = 1.5 * X[:, 0] * X[:, 1] + X[:, 2] + 0.5 * rng.normal(size=n)
    y = np.digitize(f, np.quantile(f, np.arange(1, classes) / classes))
    return X, y.astype(np.float64), rng.uniform(0.5, 2.0, n)


def lightgbm_trees(booster: Any) -> list[tuple[Any, ...]]:
    """Feature, threshold, and value of each leaf, of all nodes of all trees in order."""

    def walk(node: dict[str, Any]) -> list[tuple[Any, ...]]:
        if "leaf_value" in node:
            return [("leaf", node["leaf_value"])]
        here = (node["split_feature"], node["threshold"])
        return [here, *walk(node["left_child"]), *walk(node["right_child"])]

    return [tuple(walk(tree["tree_structure"])) for tree in booster.dump_model()["tree_info"]]


def xgboost_trees(booster: Any) -> list[tuple[Any, ...]]:
    def walk(node: dict[str, Any]) -> list[tuple[Any, ...]]:
        if "leaf" in node:
            return [("leaf", node["leaf"])]
        here = (node["split"], node["split_condition"])
        return [here, *(step for child in node["children"] for step in walk(child))]

    return [tuple(walk(json.loads(tree))) for tree in booster.get_dump(dump_format="json")]


def assert_same_trees(ours: list[tuple[Any, ...]], theirs: list[tuple[Any, ...]], at_least: int) -> None:
    """The same features and thresholds, exactly, and values of leaves but for rounding."""
    splits = [[[step for step in tree if step[0] != "leaf"] for tree in trees] for trees in (ours, theirs)]
    leaves = [np.array([step[1] for tree in trees for step in tree if step[0] == "leaf"]) for trees in (ours, theirs)]
    assert sum(map(len, splits[0])) >= at_least
    assert splits[0] == splits[1]
    np.testing.assert_allclose(leaves[0], leaves[1], rtol=1e-4, atol=1e-6)


LIGHTGBM = {"verbose": -1, "num_threads": THREADS, "deterministic": True, "seed": 0, "num_leaves": 15}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("classes", [2, 3])
def test_the_trees_are_those_of_lightgbm(classes: int, weighted: bool) -> None:
    lgb = package("lightgbm")
    X, y, weight = some_samples(classes)
    weight = weight if weighted else None
    objective = Sigmoid() if classes == 2 else Softmax()
    several = {} if classes == 2 else {"num_class": classes}
    theirs = {"objective": "binary" if classes == 2 else "multiclass"}
    built_in = lgb.train(LIGHTGBM | several | theirs, lgb.Dataset(X, y, weight=weight), 8)
    data = lgb.Dataset(X, y, weight=weight, init_score=objective.init_score(y, weight))
    history: dict[str, Any] = {}
    ours = lgb.train(
        LIGHTGBM | several | {"objective": objective.lightgbm, "metric": "None"},
        data,
        8,
        valid_sets=[data],
        feval=objective.lightgbm_metric,
        callbacks=[lgb.record_evaluation(history)],
    )
    start = objective.init_score(y, weight)
    raw = built_in.predict(X, raw_score=True)
    np.testing.assert_allclose(ours.predict(X) + start, raw, atol=1e-6)
    np.testing.assert_allclose(
        objective.predict_proba(ours.predict(X) + start)[:, -1],
        built_in.predict(X).reshape(len(X), -1)[:, -1],
        atol=1e-6,
    )
    # The built-in objective's first tree of each class has the start in its leaves.
    first = [
        tuple((name, value - start[0].item(k) if name == "leaf" else value) for name, value in tree)
        for k, tree in enumerate(lightgbm_trees(built_in)[: start[0].size])
    ]
    assert_same_trees(lightgbm_trees(ours), first + lightgbm_trees(built_in)[len(first) :], at_least=100)
    (curve,) = history["training"].values()
    assert list(history["training"]) == ["sigmoid_cross_entropy" if classes == 2 else "softmax_cross_entropy"]
    target = y if classes == 2 else y.astype(np.int64)
    loss = xe.sigmoid_cross_entropy if classes == 2 else xe.softmax_cross_entropy
    assert curve[-1] == pytest.approx(loss(raw, target, sample_weight=weight), abs=1e-6)


XGBOOST = {"nthread": THREADS, "tree_method": "hist", "max_depth": 4, "seed": 0}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("classes", [2, 3])
def test_the_trees_are_those_of_xgboost(classes: int, weighted: bool) -> None:
    xgb = package("xgboost")
    X, y, weight = some_samples(classes)
    weight = weight if weighted else None
    objective = Sigmoid() if classes == 2 else Softmax()
    several = {} if classes == 2 else {"num_class": classes}
    theirs = {"objective": "binary:logistic" if classes == 2 else "multi:softprob"}
    data = xgb.DMatrix(X, y, weight=weight)
    built_in = xgb.train(XGBOOST | several | theirs, data, 8)
    history: dict[str, Any] = {}
    ours = xgb.train(
        XGBOOST | several | {"base_score": objective.base_score(y, weight), "disable_default_eval_metric": True},
        data,
        8,
        obj=objective.xgboost,
        custom_metric=objective.xgboost_metric,
        evals=[(data, "train")],
        evals_result=history,
        verbose_eval=False,
    )
    assert_same_trees(xgboost_trees(ours), xgboost_trees(built_in), at_least=100)
    raw = ours.predict(data, output_margin=True)
    expected = built_in.predict(data)
    proba = objective.predict_proba(raw)
    np.testing.assert_allclose(proba[:, 1] if classes == 2 else proba, expected, atol=1e-5)
    target = y if classes == 2 else y.astype(np.int64)
    loss = xe.sigmoid_cross_entropy if classes == 2 else xe.softmax_cross_entropy
    (name,) = history["train"]
    assert name == loss.__name__
    assert history["train"][name][-1] == pytest.approx(loss(raw, target, sample_weight=weight), abs=1e-5)


@pytest.mark.filterwarnings("ignore:Failed to import numba:UserWarning")  # CatBoost's own, about a speed-up of its own
@pytest.mark.parametrize("weighted", [False, True])
def test_the_scores_are_those_of_catboost(weighted: bool) -> None:
    catboost = package("catboost")
    X, y, weight = some_samples(2)
    objective = Sigmoid()
    settings = {
        "iterations": 8,
        "depth": 4,
        "thread_count": THREADS,
        "random_seed": 0,
        "verbose": False,
        "allow_writing_files": False,
        "leaf_estimation_method": "Newton",
        "leaf_estimation_iterations": 1,
        "boost_from_average": False,
        "learning_rate": 0.1,
        "eval_metric": "Logloss",
    }
    weight = weight if weighted else None
    pool = catboost.Pool(X, y, weight=weight, baseline=objective.init_score(y, weight))
    built_in = catboost.CatBoostClassifier(loss_function="Logloss", **settings).fit(pool)
    ours = catboost.CatBoostClassifier(loss_function=objective.catboost, **settings).fit(pool)
    raw = ours.predict(pool, prediction_type="RawFormulaVal")
    assert np.ptp(raw) > 1.0
    np.testing.assert_allclose(raw, built_in.predict(pool, prediction_type="RawFormulaVal"), atol=1e-12)


# ------------------------------------------------------------------------------------------------ the scikit-learn APIs


@pytest.mark.parametrize("objective", [Sigmoid(), Focal(), Softmax(), SoftmaxFocal()], ids=repr)
def test_lightgbms_classifier(objective: Any) -> None:
    lgb = package("lightgbm")
    X, y, weight = some_samples(2 if isinstance(objective, BINARY) else 3)
    start = objective.init_score(y, weight)
    several = {} if isinstance(objective, BINARY) else {"num_class": 3}
    native = lgb.train(
        LIGHTGBM | several | {"objective": objective.lightgbm, "learning_rate": 0.1},
        lgb.Dataset(X, y, weight=weight, init_score=start),
        5,
    )
    model = lgb.LGBMClassifier(
        objective=objective.sklearn, n_estimators=5, num_leaves=15, n_jobs=THREADS, verbose=-1, random_state=0
    ).fit(X, y, sample_weight=weight, init_score=start)
    model = pickle.loads(pickle.dumps(model))
    raw = model.predict(X, raw_score=True)
    np.testing.assert_allclose(raw, native.predict(X), atol=1e-12)
    proba = objective.predict_proba(raw + start)
    assert np.mean(proba.argmax(axis=1) == y) > 0.7


@pytest.mark.parametrize("objective", [Sigmoid(), Focal(), Softmax(), SoftmaxFocal()], ids=repr)
def test_xgboosts_classifier(objective: Any) -> None:
    xgb = package("xgboost")
    from sklearn.base import clone

    X, y, weight = some_samples(2 if isinstance(objective, BINARY) else 3)
    base = objective.base_score(y, weight)
    several = {} if isinstance(objective, BINARY) else {"num_class": 3}
    data = xgb.DMatrix(X, y, weight=weight)
    native = xgb.train(XGBOOST | several | {"base_score": base}, data, 5, obj=objective.xgboost)
    start = objective.base_score(y, weight, probability=isinstance(objective, BINARY))
    model = clone(
        xgb.XGBClassifier(
            objective=objective.sklearn,
            base_score=start,
            n_estimators=5,
            max_depth=4,
            tree_method="hist",
            n_jobs=THREADS,
        )
    ).fit(X, y, sample_weight=weight)
    model = pickle.loads(pickle.dumps(model))
    raw = model.predict(X, output_margin=True)
    np.testing.assert_allclose(raw, native.predict(data, output_margin=True), atol=1e-5)
    np.testing.assert_allclose(model.predict_proba(X), objective.predict_proba(raw), atol=1e-6)
    assert np.mean(objective.predict_proba(raw).argmax(axis=1) == y) > 0.7


def test_soft_labels_reach_the_libraries() -> None:
    """Half of each class and half of the next: what is learnt is that, not the class."""
    lgb, xgb = package("lightgbm"), package("xgboost")
    X, y, _ = some_samples(3)
    soft = 0.5 * (np.eye(3)[y.astype(int)] + np.eye(3)[(y.astype(int) + 1) % 3])
    objective, rows = Softmax(target=soft), np.arange(len(X))
    start = objective.init_score(rows)
    booster = lgb.train(
        LIGHTGBM | {"objective": objective.lightgbm, "num_class": 3}, lgb.Dataset(X, rows, init_score=start), 60
    )
    by_rows = xgb.train(
        XGBOOST | {"num_class": 3, "base_score": objective.base_score(rows)},
        xgb.DMatrix(X, rows),
        30,
        obj=objective.xgboost,
    )
    labels = Softmax()
    by_labels = xgb.train(
        XGBOOST | {"base_score": labels.base_score(soft)}, xgb.DMatrix(X, soft), 30, obj=labels.xgboost
    )
    margins = [model.predict(xgb.DMatrix(X), output_margin=True) for model in (by_rows, by_labels)]
    np.testing.assert_allclose(margins[0], margins[1], atol=1e-5)
    for raw in (booster.predict(X) + start, margins[0]):
        assert np.abs(objective.predict_proba(raw) - soft).mean() < 0.12


def test_independent_labels_in_xgboost() -> None:
    xgb = package("xgboost")
    X, y, weight = some_samples(3)
    labels = np.stack([y > 0, y > 1], axis=-1).astype(float)
    objective = Sigmoid()
    base = objective.base_score(labels, weight)
    data = xgb.DMatrix(X, labels, weight=weight)
    model = xgb.train(XGBOOST | {"base_score": base}, data, 30, obj=objective.xgboost)
    proba = objective.predict_proba(model.predict(data, output_margin=True))
    assert np.mean((proba > 0.5) == labels) > 0.9


@pytest.mark.parametrize("library", ["lightgbm", "xgboost"])
def test_a_wrong_label_ends_training_by_name(library: str) -> None:
    module = package(library)
    X, y, _ = some_samples(3, 50)
    y[7] = 3.0
    if library == "lightgbm":
        arguments = [LIGHTGBM | {"objective": Softmax().lightgbm, "num_class": 3}, module.Dataset(X, y), 2]
    else:
        arguments = [XGBOOST | {"num_class": 3}, module.DMatrix(X, y), 2]
    with pytest.raises(IndexError, match=r"\[0, 3\).*got 3 at row 7"):
        module.train(*arguments, **({} if library == "lightgbm" else {"obj": Softmax().xgboost}))


# ---------------------------------------------------------------------------------------------- focal losses that learn


@pytest.mark.parametrize("library", ["lightgbm", "xgboost"])
@pytest.mark.parametrize(
    ("odds", "n", "held_out"),
    [(200, 40_000, 50_000), pytest.param(1000, 150_000, 300_000, marks=pytest.mark.thorough)],
)
def test_focal_losses_learn_what_is_rare(library: str, odds: int, n: int, held_out: int) -> None:
    """As well as the log loss; and not by the exact curvature from the log-odds, which is what one tries first."""
    package(library)
    samples = rare(odds, n, held_out)
    least = max(average_precision(library, samples) - 0.02, 0.5)  # a constant has 1 / odds
    for gamma in (0.5, 2.0, 5.0):
        assert average_precision(library, samples, Focal(gamma=gamma)) >= least, gamma
    log_odds = Sigmoid().base_score(samples[1])
    assert average_precision(library, samples, Focal(gamma=2.0, curvature="exact"), start=log_odds) < 0.1


@pytest.mark.parametrize("library", ["lightgbm", "xgboost"])
def test_softmax_focal_losses_learn_what_is_rare(library: str) -> None:
    """Of three classes, two of which are rare."""
    module = package(library)
    from sklearn.metrics import average_precision_score

    X, y, X_new, y_new = rare(50, 10_000, 20_000)
    y, y_new = y * (1 + (X[:, 4] > 0)), y_new * (1 + (X_new[:, 4] > 0))
    objective = SoftmaxFocal(gamma=2.0)
    if library == "lightgbm":
        start = objective.init_score(y)
        settings = LIGHTGBM | {"objective": objective.lightgbm, "num_class": 3}
        raw = module.train(settings, module.Dataset(X, y, init_score=start), 40).predict(X_new) + start[0]
    else:
        settings = XGBOOST | {"num_class": 3, "base_score": objective.base_score(y)}
        model = module.train(settings, module.DMatrix(X, y), 40, obj=objective.xgboost)
        raw = model.predict(module.DMatrix(X_new), output_margin=True)
    proba = objective.predict_proba(raw)
    for k in (1, 2):
        assert average_precision_score(y_new == k, proba[:, k]) > 0.5


# ------------------------------------------------------------------------------------------------------------- the page


@pytest.mark.filterwarnings("ignore::UserWarning")  # of CatBoost and LightGBM, about what the page says too
def test_the_examples_of_the_page() -> None:
    for library in ("lightgbm", "xgboost", "catboost"):
        package(library)
    page = Path(__file__).parents[2] / "docs" / "boosting.md"
    with threadpool_limits(THREADS):
        assert doctest.testfile(str(page), module_relative=False).failed == 0
