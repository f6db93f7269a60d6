"""Fits and evaluations of samples in parts: the numbers of one array, and the same bits whoever does the work."""

import copy
import itertools
import multiprocessing
import re
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
import scipy.sparse
from sklearn.exceptions import ConvergenceWarning

import xentrs as xe
import xentrs.distributed
from xentrs.distributed import engine
from xentrs.models import GaussianRegressor, LogisticRegression, MLPClassifier, MultiLabelClassifier
from xentrs.models.standardised import Moments

N, FEATURES = 600, 5
CUTS = [0, 90, 90, 300, 301, 560, N]  # a part of no samples, and one of a single one
rng = np.random.default_rng(0)
X = rng.normal(size=(N, FEATURES)) * [1, 10, 0.01, 1, 3] + [0, 50, 100, 0, 0]
SCORES = (X[:, [0, 3, 4]] + rng.gumbel(size=(N, 3))) / [1, 1, 2]
Y = np.sort(SCORES.argmax(axis=1))  # most parts lack a class
Y[:3], Y[-3:] = [2, 1, 0], [0, 1, 2]
WEIGHT = np.where(rng.uniform(size=N) < 0.1, 0.0, rng.uniform(size=N))
WEIGHT[300] = 0.0  # all the weight of a part
LABELS = (SCORES > 0.5).astype(float)
UNKNOWN = np.where(rng.uniform(size=LABELS.shape) < 0.1, np.nan, LABELS)
SOFT = rng.dirichlet([1.0, 1.0, 1.0], size=N)
NUMBERS = 1e4 + 300 * X[:, 0] + rng.normal(size=N) * np.exp(X[:, 3])
TEXT = np.array(["no", "perhaps", "yes"])[Y]
ISA = xe.build_info()["isa"]


def split(*arrays):
    return [tuple(array[i:j] for array in arrays) for i, j in itertools.pairwise(CUTS)]


def bits(model):
    names = ["coef_", "intercept_", "log_var_coef_", "log_var_intercept_", "loss_curve_"]
    return [np.array(getattr(model, name)).tobytes() for name in names if hasattr(model, name)]


FITS = [
    pytest.param(LogisticRegression(), (X, Y), id="classes"),
    pytest.param(LogisticRegression(class_weight="balanced", label_smoothing=0.1), (X, TEXT, WEIGHT), id="text"),
    pytest.param(LogisticRegression(class_weight={1: 3.0}, fit_intercept=False), (X, Y, WEIGHT), id="no intercept"),
    pytest.param(LogisticRegression(class_weight="balanced", C=0.1), (X, Y > 1), id="two classes"),
    pytest.param(LogisticRegression(class_weight="balanced"), (X, SOFT, WEIGHT), id="soft labels"),
    pytest.param(LogisticRegression(gamma=1.0, C=0.1), (X, Y), id="focal"),
    pytest.param(LogisticRegression(l1_ratio=0.5, C=0.05, max_iter=1000), (X, Y, WEIGHT), id="elastic net"),
    pytest.param(LogisticRegression(solver="newton-cholesky"), (X, Y, WEIGHT), id="newton"),
    pytest.param(LogisticRegression(max_iter=1000, C=1e6), (X, Y), id="newton behind lbfgs"),
    pytest.param(LogisticRegression(), (scipy.sparse.csr_array(X), Y, WEIGHT), id="sparse"),
    pytest.param(MultiLabelClassifier(pos_weight="balanced"), (X, UNKNOWN, WEIGHT), id="labels"),
    pytest.param(
        MultiLabelClassifier(solver="newton-cholesky"), (X, scipy.sparse.csr_matrix(LABELS)), id="sparse labels"
    ),
    pytest.param(MultiLabelClassifier(pos_weight=[2.0]), (X, TEXT == "yes", WEIGHT), id="one label"),
    pytest.param(GaussianRegressor(), (X, NUMBERS, WEIGHT), id="numbers"),
    pytest.param(GaussianRegressor(C=0.1), (X, 1e300 * NUMBERS), id="large numbers"),
]


@pytest.mark.parametrize(("model", "data"), FITS)
def test_parts_have_the_model_of_the_whole(model, data):
    model = model.set_params(tol=1e-8)
    whole, parts = copy.deepcopy(model).fit(*data), copy.deepcopy(model)
    assert xe.distributed.fit(parts, split(*data)) is parts
    assert vars(parts).keys() == vars(whole).keys()
    for name, value in vars(whole).items():
        if name.endswith("_") and name != "loss_curve_" and isinstance(value, np.ndarray | float):
            found = getattr(parts, name)
            assert np.array(found).dtype == np.array(value).dtype, name
            if np.array(value).dtype.kind == "f":
                np.testing.assert_allclose(found, value, rtol=2e-5, atol=1e-6 * np.abs(value).max(), err_msg=name)
            else:
                np.testing.assert_array_equal(found, value, err_msg=name)
    assert parts.loss_curve_[-1] == pytest.approx(whole.loss_curve_[-1], rel=1e-10)
    np.testing.assert_array_equal(parts.predict(X[:50]).shape, whole.predict(X[:50]).shape)


def test_single_precision_stays_where_all_parts_have_it():
    single = X.astype(np.float32)
    model = xe.distributed.fit(LogisticRegression(), split(single, Y))
    assert model.coef_.dtype == np.float32
    np.testing.assert_allclose(model.coef_, LogisticRegression().fit(single, Y).coef_, rtol=0.02, atol=0.01)
    mixed = split(single, Y)
    mixed[2] = (mixed[2][0].astype(np.float64), mixed[2][1])
    assert xe.distributed.fit(LogisticRegression(), mixed).coef_.dtype == np.float64


# ------------------------------------------------------------------------------------------------------- the same bits


def backwards(function, items):
    return [function(item) for item in list(items)[::-1]]


def saved(directory, arrays):
    """The parts in files, by their names."""
    names = []
    for i, part in enumerate(split(*arrays)):
        names.append(tuple(directory / f"{i}-{j}.npy" for j in range(len(part))))
        for name, array in zip(names[-1], part, strict=True):
            np.save(name, array)
    return names


def pool(monkeypatch, isa, processes):
    """Processes that have an instruction set of their own, and one thread each."""
    monkeypatch.setenv("XENTRS_ISA", isa)
    monkeypatch.setenv("XENTRS_NUM_THREADS", "1")
    started = ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn"))
    list(started.map(abs, range(processes)))  # while the settings are
    return started


MODELS = [
    (LogisticRegression(class_weight="balanced"), (X, Y, WEIGHT)),
    (LogisticRegression(gamma=1.0, max_iter=5, tol=None), (X, Y, WEIGHT)),
    (MultiLabelClassifier(solver="newton-cholesky"), (X, LABELS, WEIGHT)),
    (GaussianRegressor(), (X, NUMBERS, WEIGHT)),
]


def test_any_map_gives_the_same_bits(tmp_path, monkeypatch):
    mapped, logits = [], saved(tmp_path, (X, Y, WEIGHT))
    with ThreadPoolExecutor(3) as threads, pool(monkeypatch, ISA, 2) as processes:
        for i, (model, data) in enumerate(MODELS):
            model = copy.deepcopy(model).set_params(max_iter=4, tol=None)
            (tmp_path / str(i)).mkdir()
            files = saved(tmp_path / str(i), data)
            truth = bits(xe.distributed.fit(copy.deepcopy(model), split(*data)))
            columns = split(*map(np.asfortranarray, data))
            wide = split(np.repeat(data[0], 2, axis=1)[:, ::2], *data[1:])
            delayed = [partial(tuple, part) for part in split(*data)]
            for how, parts in [
                (map, columns), (map, wide), (backwards, delayed), (threads.map, delayed), (processes.map, files)
            ]:  # fmt: skip
                mapped.append((model, bits(xe.distributed.fit(copy.deepcopy(model), parts, map=how)) == truth))
        whole = xe.Evaluation().update(X, Y, sample_weight=WEIGHT)
        for how in (map, backwards, threads.map, processes.map):
            assert xe.distributed.evaluate(logits, map=how) == whole
    assert all(same for _, same in mapped), mapped


@pytest.mark.thorough
def test_joblib_gives_the_same_bits():
    joblib = pytest.importorskip("joblib", reason="joblib comes with scikit-learn")

    def parallel(function, items):
        return joblib.Parallel(2)(joblib.delayed(function)(item) for item in items)

    truth = bits(xe.distributed.fit(LogisticRegression(), split(X, Y)))
    assert bits(xe.distributed.fit(LogisticRegression(), split(X, Y), map=parallel)) == truth


def test_workers_of_two_kinds_are_refused(tmp_path, monkeypatch):
    if ISA == "portable":
        pytest.skip("there is no other instruction set here")
    parts = saved(tmp_path, (X, Y))
    with pool(monkeypatch, "portable", 1) as others:

        def mixed(function, items):
            return [others.submit(function, item).result() if i % 2 else function(item) for i, item in enumerate(items)]

        words = (
            f"same instruction set, .* got {ISA} for part 0 and portable for part 1: start all with the same XENTRS_ISA"
        )
        model = LogisticRegression()
        for refused in (partial(xe.distributed.fit, model), xe.distributed.evaluate):
            with pytest.raises(RuntimeError, match=words):
                refused(parts, map=mixed)
        assert not hasattr(model, "coef_")
        xe.distributed.fit(model, parts, map=mixed, same_bits=False)
        np.testing.assert_allclose(model.coef_, LogisticRegression().fit(X, Y).coef_, atol=1e-3)
        xe.distributed.fit(model, parts, map=others.map)  # all of one kind


@pytest.mark.parametrize("field", engine.Worker._fields)
def test_whatever_changes_the_bits_is_compared(field):
    here = engine.Worker.here()
    other = here._replace(**{field: ("another",) if field == "blas" else "another"})
    with pytest.raises(RuntimeError, match=r"got .* for part 3 and another for part 5"):
        engine.agreed([{here: 3}, {here: 4}, {other: 5}], {}, True)
    engine.agreed([{here: 3}, {other: 5}], {}, False)


@pytest.mark.parametrize("n", [1, 2, 3, 5, 16, 17, 31, 33, 64, 100])
def test_the_tree_may_be_folded_in_groups(n):
    values = list(10.0 ** rng.uniform(-8, 8, n))
    once = engine.tree_sum(values)
    groups = values
    while len(groups) > 1:
        groups = [engine.tree_sum(groups[i : i + 16]) for i in range(0, len(groups), 16)]
    assert groups[0] == once
    assert engine.tree_sum([(value, None) for value in values]) == (once, None)


def test_the_moments_of_parts_add_up():
    weight = np.where(np.arange(N) < 90, 0.0, WEIGHT)  # a part that has none
    whole = Moments.of(X, weight)
    total = engine.tree_sum([Moments.of(*part) for part in split(X, weight)])
    assert total.weight == pytest.approx(whole.weight, rel=1e-14)
    np.testing.assert_allclose(total.mean, whole.mean, rtol=1e-12)
    np.testing.assert_allclose(total.variance, whole.variance, rtol=1e-10)


# ----------------------------------------------------------------------------------------------- where and how it works


def test_parts_are_loaded_once_and_forgotten():
    calls = []

    def load(i):
        calls.append(i)
        return split(X, Y)[i]

    xe.distributed.fit(LogisticRegression(), [partial(load, i) for i in range(len(CUTS) - 1)])
    assert sorted(calls) == list(range(len(CUTS) - 1))
    assert not engine._KEPT
    with pytest.raises(ValueError, match="part 1: no such thing"):
        xe.distributed.fit(LogisticRegression(), [split(X, Y)[0], partial(failing, "no such thing")])
    assert not engine._KEPT


def failing(words):
    raise ValueError(words)


def test_what_is_lost_is_made_again():
    """A process that keeps nothing, as one that has taken the place of another."""
    truth = bits(xe.distributed.fit(LogisticRegression(), split(X, Y)))

    def forgetful(function, items):
        engine._KEPT.clear()
        return map(function, items)

    assert bits(xe.distributed.fit(LogisticRegression(), split(X, Y), map=forgetful)) == truth
    assert not engine._KEPT


def test_callbacks_warm_starts_and_warnings_are_those_of_fit():
    losses = []
    model = LogisticRegression(max_iter=3, callbacks=lambda model, loss: losses.append(loss))
    with pytest.warns(ConvergenceWarning, match=r"lbfgs failed to converge after 3 iteration\(s\)") as caught:
        xe.distributed.fit(model, split(X, Y))
    assert losses == model.loss_curve_ and len(losses) == 3
    assert caught[0].filename == __file__
    model.set_params(warm_start=True, max_iter=1000)
    assert xe.distributed.fit(model, split(X, Y)).n_iter_ > 1
    assert xe.distributed.fit(model, split(X, Y)).n_iter_ == 1
    model.set_params(callbacks=lambda model, loss: True, warm_start=False)
    assert xe.distributed.fit(model, split(X, Y)).n_iter_ == 1
    regressor = xe.distributed.fit(GaussianRegressor(), split(X, NUMBERS))
    assert xe.distributed.fit(regressor.set_params(warm_start=True), split(X, NUMBERS)).n_iter_ <= 2


def test_frames_give_their_names():
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    frames = [(pandas.DataFrame(part, columns=list("abcde")), y) for part, y in split(X, Y)]
    model = xe.distributed.fit(LogisticRegression(), frames)
    assert model.feature_names_in_.tolist() == list("abcde")
    frames[3] = (frames[3][0].rename(columns={"b": "z"}), frames[3][1])
    with pytest.raises(ValueError, match=r"same names of features, got .*'b'.* in part 0 and .*'z'.* in part 3"):
        xe.distributed.fit(LogisticRegression(), frames)


# ----------------------------------------------------------------------------------------------------------- bad input


def changed(place, *others):
    parts = split(X, Y)
    parts[place] = tuple(other(part) for other, part in zip(others, parts[place], strict=True))
    return parts


def same(part):
    return part


def with_nan(part):
    part = part.copy()
    part[2, 1] = np.nan
    return part


@pytest.mark.parametrize(
    ("parts", "error", "words"),
    [
        (changed(2, lambda x: x[:, 1:], same), ValueError, "same features, got 5 of them in part 0 and 4 in part 2"),
        (changed(4, with_nan, same), ValueError, "part 4: Input X contains NaN"),
        (changed(4, same, lambda y: y[1:]), ValueError, "part 4: .*inconsistent numbers of samples"),
        (changed(4, same, lambda y: y.astype(str)), ValueError, "labels of one kind, got numbers in some parts"),
        (changed(4, same, lambda y: SOFT[: len(y)]), ValueError, "got labels in part 0 and columns in part 4"),
        (split(X, 0 * Y), ValueError, "y must have at least 2 classes, got only one class: 0"),
        (split(X, Y, 0 * WEIGHT), ValueError, "sample_weight must have a positive, finite sum to divide by, got 0"),
        (split(X, Y, -WEIGHT), ValueError, "part 0: .*[Nn]egative"),
        ([(X[:0], Y[:0])], ValueError, "parts must hold samples, got no rows"),
        ([], ValueError, "parts must hold one or more parts, got none"),
        (X, TypeError, "parts must be a sequence of parts, .* got ndarray"),
        (3, TypeError, "parts must be a sequence of parts, .* got int"),
        ([X], TypeError, r"part 0: a part must be \(X, y\) .*, got ndarray"),
        ([(X,)], TypeError, "part 0: a part must be .*, got tuple of 1"),
        ([(X, Y), ("nowhere.npy", Y)], OSError, "part 1: .*nowhere.npy"),
    ],
)  # fmt: skip
def test_bad_parts(parts, error, words):
    model = LogisticRegression().fit(X, Y)
    before = copy.deepcopy(vars(model))
    with pytest.raises(error, match=words):
        xe.distributed.fit(model, parts)
    assert vars(model).keys() == before.keys() and bits(model) == bits(LogisticRegression().fit(X, Y))


def test_bad_parts_of_other_models():
    parts = split(X, UNKNOWN)
    parts[2] = (parts[2][0], parts[2][1][:, :2])
    with pytest.raises(
        ValueError, match=r"same columns in all parts, got \[0, 1, 2\] in part 0 and \[0, 1\] in part 2"
    ):
        xe.distributed.fit(MultiLabelClassifier(), parts)
    with pytest.raises(
        ValueError, match=r"Only binary classification is supported\. The type of the target is multiclass"
    ):
        xe.distributed.fit(MultiLabelClassifier(), split(X, Y))
    with pytest.raises(ValueError, match="part 0: y must be numbers, got"):
        xe.distributed.fit(GaussianRegressor(), split(X, TEXT))
    with pytest.raises(ValueError, match="y must have mean and standard deviation within float64"):
        xe.distributed.fit(GaussianRegressor(), split(X, 0 * NUMBERS + 1e308))


@pytest.mark.parametrize(
    ("model", "error", "words"),
    [
        (
            LogisticRegression(solver="sgd"),
            ValueError,
            "solver must be 'lbfgs' for samples in parts, got 'sgd': .*'newton",
        ),
        (LogisticRegression(early_stopping=True), ValueError, "early_stopping must be False for samples in parts"),
        (LogisticRegression(logit_penalty=max), ValueError, "logit_penalty must be None for samples in parts"),
        (LogisticRegression(C=-1.0), ValueError, "'C' parameter"),
        (MLPClassifier(), TypeError, "model must be a LogisticRegression, .*, got MLPClassifier"),
        (LogisticRegression, TypeError, "got LogisticRegression, the class"),
    ],
)
def test_bad_models(model, error, words):
    with pytest.raises(error, match=words):
        xe.distributed.fit(model, split(X, Y))


def test_bad_maps():
    with ThreadPoolExecutor(1) as threads, pytest.raises(TypeError, match=r"write map=ThreadPoolExecutor\(...\).map"):
        xe.distributed.fit(LogisticRegression(), split(X, Y), map=threads)
    for wrong in (lambda function, items: [], lambda function, items: [None for _ in items]):
        with pytest.raises(TypeError, match="map must be called as map"):
            xe.distributed.evaluate(split(X, Y), map=wrong)


def test_bad_logits():
    with pytest.raises(IndexError, match=re.escape("part 1: target must be integers in [0, 5)")):
        xe.distributed.evaluate([(X[:5], Y[:5]), (X[:5], Y[:5] + 7)])
    with pytest.raises(ValueError, match="part 1: "):
        xe.distributed.evaluate([(X[:5], Y[:5]), (X[:5, 0, None, None], Y[:5])])
    with pytest.raises(ValueError, match="n_bins must be"):
        xe.distributed.evaluate([(X[:5], Y[:5])], n_bins=0)
    options = {"temperature": 2.0, "n_bins": 3, "top_k": (1, 2), "per_class": True}
    by_options = xe.Evaluation(**options).update(X, Y)
    assert xe.distributed.evaluate(split(X, Y), **options) == by_options != xe.Evaluation().update(X, Y)
    ignored = xe.distributed.evaluate([(X[:5], Y[:5]), (X[:5], 0 * Y[:5] + 7)], ignore_index=7)
    assert ignored == xe.Evaluation().update(X[:5], Y[:5])
