"""Dask's arrays: the losses of arrays in memory, and fits whose bits no number of workers changes, nor a lost one.

Clusters are processes, which take seconds to start: one of two workers serves most tests. What takes more runs in
`make test-bridges` alone.
"""

import contextlib
import copy
import itertools
import logging
import os
import signal
import subprocess
import sys
import warnings
from functools import partial

import numpy as np
import pytest

dask = pytest.importorskip("dask", reason="Dask is not installed: pip install 'xentrs[dask]'")
distributed = pytest.importorskip("distributed", reason="distributed is not installed: pip install 'xentrs[dask]'")

import dask.array as da  # noqa: E402
import scipy.sparse  # noqa: E402

import xentrs as xe  # noqa: E402
import xentrs.dask  # noqa: E402
import xentrs.distributed  # noqa: E402
from docstrings import missing_in_docstring  # noqa: E402
from draws import booleans, classes, distributions, row_weights, weights  # noqa: E402
from registry import CASES, PROBABILITIES  # noqa: E402
from xentrs.dask import engine  # noqa: E402
from xentrs.dask.losses import NOT_OF_CHUNKS, TAKEN  # noqa: E402
from xentrs.distributed.engine import Worker  # noqa: E402
from xentrs.models import GaussianRegressor, LogisticRegression, MultiLabelClassifier  # noqa: E402

CHUNKS = (4, 0, 1, 6)
N, C = sum(CHUNKS), 5
REDUCTIONS = ["mean", "sum", "none"]
RTOL = {np.float32: 2e-6, np.float64: 1e-12}


@pytest.fixture(autouse=True)
def in_this_thread():
    with dask.config.set(scheduler="synchronous"):
        yield


def in_chunks(value, rows=CHUNKS, columns=None):
    """Dask's arrays of NumPy's, in chunks of rows."""
    if isinstance(value, tuple):
        return tuple(in_chunks(half, rows) for half in value)
    rest = (columns or value.shape[1],) if value.ndim == 2 else value.shape[1:]
    return da.from_array(value, chunks=(rows, *rest)) if value.ndim else value


def assert_same(name, arguments, lazy, dtype=np.float64, options=None, lazy_options=None, **others):
    """A loss of Dask's arrays is that of NumPy's, for every reduction."""
    ours, theirs = getattr(xe.dask, name), getattr(xe, name)
    options, lazy_options = (options or {}) | others, (lazy_options or options or {}) | others
    losses = [ours(*lazy, **lazy_options, reduction=reduction) for reduction in REDUCTIONS]
    for reduction, loss, found in zip(REDUCTIONS, losses, dask.compute(*losses), strict=True):
        truth = theirs(*arguments, **options, reduction=reduction)
        assert isinstance(loss, da.Array)
        assert loss.shape == np.shape(truth)
        assert found.dtype == loss.dtype == np.array(truth).dtype
        np.testing.assert_allclose(found, truth, rtol=RTOL[dtype], err_msg=f"{name} {reduction} {options}")


# --------------------------------------------------------------------------------------------------------------- losses


@pytest.mark.parametrize("case", CASES + PROBABILITIES, ids=lambda case: case.name)
def test_every_loss_with_every_reduction(case):
    rng = np.random.default_rng(0)
    for dtype in (np.float32, np.float64):
        for kind, draw in case.targets.items():
            for options in list(case.grid(rng, dtype, (N, C)))[:: 7 if dtype is np.float64 else 23]:
                logits = case.logits(rng, dtype, (N, C))
                target = draw(rng, dtype, (N, C))
                if kind == "classes" and options["ignore_index"] != -100:
                    target = np.abs(target % C)  # -100 is no class now, and nothing to ignore either
                lazy = in_chunks(logits, columns=3), in_chunks(target)
                chunked = {
                    key: in_chunks(value) if isinstance(value, np.ndarray) and value.shape[:1] == (N,) else value
                    for key, value in options.items()
                }
                assert_same(case.name, (logits, target), lazy, dtype, options, chunked)


def pairs(rng, dtype, k=3):
    return rng.integers(0, C, (N, k)), (rng.uniform(size=(N, k)) / k).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_losses_of_several_arguments(dtype):
    rng = np.random.default_rng(1)
    logits, x = rng.normal(size=(N, C)).astype(dtype), rng.normal(size=(N, 3)).astype(dtype)
    layer, bias = rng.normal(size=(C, 3)).astype(dtype), rng.normal(size=C).astype(dtype)
    labels, rows = classes(rng, dtype, (N, C)), row_weights(rng, dtype, (N, C))
    same = partial(assert_same, dtype=dtype)
    sparse = pairs(rng, dtype)
    sparse[0][2] = 1  # a row that is ignored, and some pairs
    for name in ("softmax_cross_entropy", "softmax_focal_loss", "topk_kl_divergence"):
        options = [{}, {"ignore_index": 1}, {"sample_weight": rows, "ignore_index": 1}]
        options += (
            [] if name == "topk_kl_divergence" else [{"class_weight": weights(rng, dtype, (C,)), "ignore_index": 0}]
        )
        for given in options:
            same(name, (logits, sparse), (in_chunks(logits), in_chunks(sparse)), **given)
    for target in (labels, distributions(rng, dtype, (N, C)), sparse):
        for given in ({}, {"bias": bias, "sample_weight": rows, "class_weight": weights(rng, dtype, (C,))}):
            same("linear_cross_entropy", (x, layer, target), (in_chunks(x), layer, in_chunks(target)), **given)
    answers = booleans(rng, dtype, (N, C))
    for given in ({}, {"sample_weight": rows}, {"sample_weight": weights(rng, dtype, (N, C)), "pos_weight": [2.0] * C}):
        arguments = x, layer, answers.astype(int)
        lazy = in_chunks(x), da.from_array(layer, chunks=2), in_chunks(answers.astype(int))
        same("linear_cross_entropy", arguments, lazy, kind="sigmoid", ignore_index=0, **given)
    var = np.exp(logits)
    for given in ({"var": 2.0}, {"var": var[:, :1]}, {"log_var": logits, "sample_weight": rows, "full": False}):
        same("gaussian_nll", (logits, var), (in_chunks(logits), in_chunks(var)), **given)
    for name, arguments in (("token_logprobs", (logits, labels)), ("linear_token_logprobs", (x, layer, labels))):
        truth = getattr(xe, name)(*arguments, temperature=0.5)
        found = getattr(xe.dask, name)(in_chunks(arguments[0]), *arguments[1:], temperature=0.5)
        assert type(found) is type(truth)
        for one, other in zip(found, truth, strict=True):
            np.testing.assert_array_equal(one.compute(), other)
            assert one.dtype == other.dtype and one.shape == other.shape


def test_every_loss_of_the_family_is_there_or_says_why_not():
    losses = {name for name in xe.losses.__all__ if f"{name}_with_grad" in xe.losses.__all__}
    assert losses - NOT_OF_CHUNKS.keys() == TAKEN.keys()
    assert {*TAKEN, "accumulate", "fit", "evaluate"} == set(xe.dask.__all__)
    for name, why in NOT_OF_CHUNKS.items():
        with pytest.raises(AttributeError, match=f"xentrs.dask has no {name}: {why[:20]}"):
            getattr(xe.dask, name)
    for name in ("accumulate", "fit", "evaluate"):
        assert missing_in_docstring(f"xentrs.dask.{name}") == []
    for name in TAKEN:
        assert f"xentrs.{name}" in getattr(xe.dask, name).__doc__


def test_axes_and_shapes():
    rng = np.random.default_rng(2)
    images, labels = rng.normal(size=(6, C, 4)), rng.integers(0, C, (6, 4))
    lazy = da.from_array(images, chunks=(2, 3, 3)), da.from_array(labels, chunks=(4, 2))
    assert_same("softmax_cross_entropy", (images, labels), lazy, axis=1, sample_weight=rng.uniform(size=4))
    assert_same("softmax_cross_entropy", (images, np.abs(images)), (lazy[0], np.abs(lazy[0])), axis=1)
    assert_same("sigmoid_cross_entropy", (images, images > 0), (lazy[0], lazy[0] > 0), pos_weight=np.ones((C, 1)))
    one = rng.normal(size=C)
    assert_same("softmax_cross_entropy", (one, 2), (da.from_array(one, chunks=2), 2))
    assert_same("hinge_loss", (one, one > 0), (da.from_array(one, chunks=2), da.from_array(one > 0, chunks=3)))
    half = one[:, np.newaxis].astype(np.float16)
    assert xe.dask.sigmoid_cross_entropy(da.from_array(half), half > 0, reduction="none").dtype == np.float32


def test_the_mean_of_nothing_and_of_the_infinite():
    logits, labels = np.zeros((N, C)), np.arange(N) % C
    lazy = in_chunks(logits), in_chunks(labels)
    assert xe.dask.softmax_cross_entropy(*lazy, sample_weight=0.0).compute() == 0.0
    logits[:4] = np.nan  # in a chunk without weight
    weight = np.where(np.arange(N) < 4, 0.0, 1e308)
    assert_same("softmax_cross_entropy", (logits, labels), (in_chunks(logits), lazy[1]), ignore_index=0)
    ignored = np.where(np.arange(N) < 4, -100, labels)
    found = xe.dask.softmax_cross_entropy(in_chunks(logits), in_chunks(ignored), sample_weight=in_chunks(weight / 10))
    assert found.compute() == pytest.approx(np.log(C))
    logits[5] = [-np.inf, 0, 0, 0, 0]
    assert_same("softmax_cross_entropy", (logits[4:], labels[4:]), (in_chunks(logits)[4:], in_chunks(labels)[4:]))


def test_chunks_of_unknown_length():
    rng = np.random.default_rng(3)
    logits, labels = rng.normal(size=(N, C)), rng.integers(0, C, N)
    lazy, places = in_chunks(logits), in_chunks(labels)
    some, of_them = lazy[places > 0], places[places > 0]
    found = xe.dask.softmax_cross_entropy(some, of_them).compute()
    assert found == pytest.approx(xe.softmax_cross_entropy(logits[labels > 0], labels[labels > 0]))
    with pytest.raises(
        ValueError, match=r"target must be in as many chunks as the rows, \(4,\), .* compute_chunk_sizes"
    ):
        xe.dask.softmax_cross_entropy(some, places.rechunk(N)[places.rechunk(N) > 0])


def test_wrong_arguments_are_told_before_anything_is_computed():
    logits, labels = da.zeros((N, C), chunks=4), da.zeros(N, dtype=int, chunks=4)
    for words, arguments, options in [
        (r"label_smoothing must be in \[0, 1\], got 2.0", (logits, labels), {"label_smoothing": 2.0}),
        ("reduction must be", (logits, labels), {"reduction": "average"}),
        (r"target must fit rows of shape \(11,\), got shape \(5,\)", (logits, labels[:5]), {}),
        (
            r"sample_weight must fit rows of shape \(11,\), got shape \(5,\)",
            (logits, labels),
            {"sample_weight": np.ones(5)},
        ),
        (r"class_weight", (logits, labels), {"class_weight": np.ones(C + 1)}),
    ]:
        with pytest.raises(ValueError, match=words):
            xe.dask.softmax_cross_entropy(*arguments, **options)
    with pytest.raises(
        TypeError, match=r"logits must be a Dask array, got ndarray: .* call xentrs.softmax_cross_entropy"
    ):
        xe.dask.softmax_cross_entropy(np.zeros((N, C)), labels)
    with pytest.raises(TypeError, match="unexpected keyword argument 'gamma'"):
        xe.dask.softmax_cross_entropy(logits, labels, gamma=1.0)
    with pytest.raises(IndexError, match=r"target must be integers in \[0, 5\)"):
        xe.dask.softmax_cross_entropy(logits, labels + 9).compute()


# ----------------------------------------------------------------------------------------------- fits, without a client

ROWS, FEATURES = 4000, 6
rng = np.random.default_rng(4)
X = rng.normal(size=(ROWS, FEATURES))
SCORES = X[:, :4] + rng.gumbel(size=(ROWS, 4))
Y = SCORES.argmax(axis=1)
WEIGHT = rng.uniform(size=ROWS)
TEXT = np.array(["a", "b", "c", "d"])[Y]
LABELS = (SCORES > 1).astype(float)
NUMBERS = X[:, 0] + rng.normal(size=ROWS) * np.exp(X[:, 1])
STEP = 500
MODELS = [
    (LogisticRegression(class_weight="balanced"), TEXT),
    (MultiLabelClassifier(pos_weight="balanced"), LABELS),
    (GaussianRegressor(), NUMBERS),
]


def bits(model):
    names = ["coef_", "intercept_", "log_var_coef_", "log_var_intercept_", "loss_curve_"]
    return [np.array(getattr(model, name)).tobytes() for name in names if hasattr(model, name)]


def here(model, y):
    """The fit of one process."""
    parts = [(X[i : i + STEP], y[i : i + STEP], WEIGHT[i : i + STEP]) for i in range(0, ROWS, STEP)]
    return xe.distributed.fit(copy.deepcopy(model), parts)


def lazily(y):
    return da.from_array(X, chunks=(STEP, 2)), da.from_array(y, chunks=999), WEIGHT


@pytest.mark.parametrize(("model", "y"), MODELS, ids=lambda value: type(value).__name__)
def test_fits_without_a_client(model, y):
    assert bits(xe.dask.fit(copy.deepcopy(model), *lazily(y))) == bits(here(model, y))


def test_sparse_chunks_and_chunks_of_unknown_length():
    kept = X[:, 0] > -1
    samples, answers = da.from_array(X, chunks=(STEP, FEATURES)), da.from_array(Y, chunks=STEP)
    keeps = samples[:, 0] > -1
    truth = LogisticRegression(tol=1e-8).fit(X[kept], Y[kept]).coef_
    model = xe.dask.fit(LogisticRegression(tol=1e-8), samples[keeps], answers[keeps])
    np.testing.assert_allclose(model.coef_, truth, rtol=1e-5)
    sparse = samples.map_blocks(scipy.sparse.csr_array)
    model = xe.dask.fit(LogisticRegression(tol=1e-8), sparse, answers)
    np.testing.assert_allclose(model.coef_, LogisticRegression(tol=1e-8).fit(X, Y).coef_, rtol=1e-5)
    with pytest.raises(ValueError, match="y must be in 8 chunks, where their lengths are not known, got 1"):
        xe.dask.fit(LogisticRegression(), samples[keeps], Y[kept])


def test_wrong_arrays():
    lazy = da.from_array(X, chunks=STEP)
    for error, words, arguments in [
        (TypeError, "X must be a Dask array, or a list of parts, got ndarray: for arrays in memory", (X, Y)),
        (TypeError, "y must be given where X is a Dask array", (lazy,)),
        (TypeError, "y must be left out where X is a list of parts", ([(X, Y)], Y)),
        (ValueError, "y must have 4000 rows, got 10", (lazy, Y[:10])),
        (
            ValueError,
            "part 3: Input X contains NaN",
            (da.where(da.from_array(X[1700, 2] == X, chunks=STEP), np.nan, lazy), Y),
        ),
    ]:
        with pytest.raises(error, match=words):
            xe.dask.fit(LogisticRegression(), *arguments)
    with pytest.raises(TypeError, match="model must be a LogisticRegression"):
        xe.dask.fit(dask, lazy, Y)


def test_evaluation_without_a_client():
    whole = xe.Evaluation().update(SCORES, Y, sample_weight=WEIGHT, ignore_index=1)
    lazy = da.from_array(SCORES, chunks=(STEP, 2)), Y, da.from_array(WEIGHT, chunks=700)
    assert xe.dask.evaluate(*lazy, ignore_index=1) == whole
    parts = [
        dask.delayed(tuple)((SCORES[i : i + STEP], Y[i : i + STEP], WEIGHT[i : i + STEP])) for i in range(0, ROWS, STEP)
    ]
    assert xe.dask.evaluate(parts, ignore_index=1) == whole


@pytest.mark.parametrize("options", [None, {"top_k": 2, "per_class": True}], ids=str)
def test_promised_accumulators(options, monkeypatch):
    start = xe.LossAccumulator() if options is None else xe.Evaluation(**options)
    monkeypatch.setattr(engine, "_FAN", 2)  # a tree of three levels
    start.update(SCORES[:7], Y[:7])
    before, whole = copy.copy(start), copy.copy(start).update(SCORES, Y, sample_weight=WEIGHT, ignore_index=1)
    logits = da.from_array(SCORES, chunks=(STEP, 2))
    total = xe.dask.accumulate(start, logits, Y, da.from_array(WEIGHT, chunks=700), ignore_index=1)
    found, loss = dask.compute(total, xe.dask.softmax_cross_entropy(logits, Y))
    assert type(found) is type(start) and found == whole
    assert loss == pytest.approx(xe.softmax_cross_entropy(SCORES, Y))
    assert start == before
    parts = [dask.delayed(loaded)(i) for i in range(0, ROWS, STEP)]
    assert xe.dask.accumulate(start, parts).compute() == copy.copy(start).update(SCORES, Y)
    with pytest.raises(TypeError, match=r"accumulator must be a LossAccumulator or an Evaluation, got \w+, the class"):
        xe.dask.accumulate(type(start), logits, Y)
    with pytest.raises(ValueError, match="target must have 4000 rows, got 10"):
        xe.dask.accumulate(start, logits, Y[:10])
    with pytest.raises(ValueError, match="parts must hold one or more parts, got none"):
        xe.dask.accumulate(start, [])
    with pytest.raises(IndexError, match=r"part \d: target must be integers in \[0, 4\)"):
        xe.dask.accumulate(start, logits, Y + 4).compute()
    kinds = itertools.cycle([Worker.here()._replace(isa=isa) for isa in ("avx2", "other")])
    monkeypatch.setattr(Worker, "here", lambda: next(kinds))
    mixed = xe.dask.accumulate(start, parts)
    with pytest.raises(RuntimeError, match=r"workers must have the same instruction set, .* got \w+ for part \d and"):
        mixed.compute()
    assert xe.dask.accumulate(start, parts, same_bits=False).compute() == copy.copy(start).update(SCORES, Y)


# --------------------------------------------------------------------------------------------------------- on a cluster


@contextlib.contextmanager
def cluster_of(workers):
    """Processes of one thread each, and their client."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what Dask says of ports, and of what it closes
        logging.getLogger("distributed").setLevel(logging.CRITICAL)  # of workers that die
        made = distributed.LocalCluster(
            n_workers=workers, threads_per_worker=1, dashboard_address=None, silence_logs=logging.CRITICAL
        )
        with made, distributed.Client(made) as client:
            yield client


@pytest.fixture(scope="module")
def client():
    with cluster_of(2) as client:
        yield client


def kill_one(client, iteration, model, loss):
    """Kill a worker after some iterations of a fit."""
    if len(model.loss_curve_) == iteration:
        os.kill(sorted(client.run(os.getpid).values())[0], signal.SIGKILL)


def loaded(i, flag=None):
    """A part; the first time that it is asked for the worker dies of it."""
    if flag is not None and not os.path.exists(flag):
        open(flag, "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    return SCORES[i : i + STEP], Y[i : i + STEP]


def check_fit(client, model, y):
    """A fit of which a worker is killed in the middle has the bits of one process."""
    fitted = copy.deepcopy(model).set_params(callbacks=partial(kill_one, client, 2))
    assert bits(xe.dask.fit(fitted, *lazily(y))) == bits(here(model, y))
    assert len(fitted.loss_curve_) > 3


def check_evaluation(flag):
    parts = [dask.delayed(loaded)(i, flag if i == 3 * STEP else None) for i in range(0, ROWS, STEP)]
    assert xe.dask.evaluate(parts) == xe.Evaluation().update(SCORES, Y)
    assert os.path.exists(flag)


def test_a_killed_worker_changes_no_bit(client):
    check_fit(client, *MODELS[0])  # those that come after it need not wait for another worker


@pytest.mark.thorough
@pytest.mark.parametrize("workers", [2, 3])
def test_killed_workers_of_other_clusters(workers, tmp_path):
    with cluster_of(workers) as client:
        for model, y in MODELS:
            check_fit(client, model, y)
            client.wait_for_workers(workers)
        check_evaluation(str(tmp_path / "killed"))


@pytest.mark.thorough  # tests/test_distributed.py folds the same tree in groups
def test_many_parts_are_summed_by_the_workers(client, monkeypatch):
    monkeypatch.setattr(engine, "_FAN", 2)
    sums = []
    monkeypatch.setattr(
        client, "submit", lambda *args, **kwargs: sums.append(args) or type(client).submit(client, *args, **kwargs)
    )
    model = LogisticRegression(max_iter=1, tol=None)
    assert bits(xe.dask.fit(copy.deepcopy(model), *lazily(TEXT))) == bits(here(model, TEXT))
    assert len(sums) % 4 == 0 and sums  # eight parts, two at a time


def test_a_map_of_dask(client):
    def by_hand(function, items):
        return client.gather(client.map(function, items))

    parts = [(X[i : i + 1000], Y[i : i + 1000]) for i in range(0, ROWS, 1000)]
    assert xe.distributed.evaluate(parts, map=by_hand) == xe.distributed.evaluate(parts)


@pytest.mark.filterwarnings("ignore:Running on a single-machine scheduler")  # which is asked for here
def test_losses_and_errors_of_workers(client):
    with dask.config.set(scheduler=None):
        logits, labels = da.from_array(SCORES, chunks=(STEP, 4)), da.from_array(Y, chunks=STEP)
        loss = xe.dask.softmax_cross_entropy(logits, labels)
        found = loss.compute()
        assert found == pytest.approx(xe.softmax_cross_entropy(SCORES, Y), rel=1e-13)
        assert found == loss.compute(scheduler="threads")
    with pytest.raises(ValueError, match="part 2: Input X contains NaN"):
        xe.dask.fit(LogisticRegression(), da.where(da.arange(ROWS, chunks=STEP)[:, None] == 1200, np.nan, X), Y)
    with pytest.raises(IndexError, match=r"part \d: target must be integers in \[0, 4\)"):
        xe.dask.evaluate(logits, labels + 4)


@pytest.mark.thorough  # tests/test_distributed.py has workers of two kinds, which are no cluster
def test_a_cluster_of_two_instruction_sets_is_refused():
    isa = xe.build_info()["isa"]
    if isa == "portable":
        pytest.skip("there is no other instruction set here")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        spec = {
            i: {
                "cls": distributed.Nanny,
                "options": {"nthreads": 1, "env": {"XENTRS_ISA": name}, "dashboard_address": None},
            }
            for i, name in enumerate([isa, "portable"])
        }
        scheduler = {"cls": distributed.Scheduler, "options": {"dashboard": False, "port": 0}}
        made = distributed.SpecCluster(workers=spec, scheduler=scheduler, silence_logs=logging.CRITICAL)
        with made, distributed.Client(made, set_as_default=True) as client:
            client.wait_for_workers(2)
            parts = [
                client.submit(loaded, i, workers=[name]) for name, i in zip(client.nthreads(), (0, STEP), strict=True)
            ]
            parts = [dask.delayed(part) for part in parts]
            for refused in (partial(xe.dask.fit, LogisticRegression()), xe.dask.evaluate):
                with pytest.raises(RuntimeError, match="same instruction set, for a sum of other bits else, got"):
                    refused(parts)
            assert xe.dask.evaluate(parts, same_bits=False).rows == 2 * STEP


def test_import_without_distributed():
    program = "import sys; sys.modules['distributed'] = None; import xentrs.dask, dask.array as da, numpy as np; " + (
        "print(xentrs.dask.evaluate(da.eye(3, chunks=2), np.arange(3)).rows)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "3"
