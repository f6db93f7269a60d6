"""Logistic regression: scikit-learn's optimum, the mathematics by hand, both solvers and how they are trained."""

import pickle
from functools import partial

import numpy as np
import pytest
import sklearn.linear_model
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import scale
from threadpoolctl import threadpool_limits

import xentrs as xe
from xentrs.models import LogisticRegression
from xentrs.models.solvers import batches
from xentrs.optim import SGD

sgd = partial(LogisticRegression, solver="sgd", max_iter=200)
exact = partial(LogisticRegression, tol=1e-10, max_iter=10_000)
FULL_BATCH = {"batch_size": 10**6, "learning_rate": 0.3, "max_iter": 20_000, "tol": 1e-13, "n_iter_no_change": 200}


@pytest.fixture(autouse=True, scope="module")
def one_blas_thread():
    """Matrices this small leave BLAS threads waiting for one another, for seconds where the machine is busy."""
    with threadpool_limits(1):
        yield


def standardised(load):
    X, y = load(return_X_y=True)
    return scale(X), y


def objective(model, X, y):
    """What `LogisticRegression` minimises, for our models and scikit-learn's, by the softmax of two or more logits."""
    logits = model.decision_function(X)
    if logits.ndim == 1:
        logits = np.column_stack([np.zeros_like(logits), logits])
    loss = xe.softmax_cross_entropy(logits, np.searchsorted(model.classes_, y))
    return loss + np.sum(model.coef_**2) / (2 * model.C * len(X))


# ------------------------------------------------------------------------------------------------------ the mathematics


@pytest.mark.parametrize("load", [load_digits, load_breast_cancer, load_wine, load_iris])
def test_the_loss_comes_within_one_percent_of_scikit_learns_optimum(load):
    X, y = standardised(load)
    model = sgd(learning_rate=0.03, max_iter=1000, tol=1e-5, random_state=0).fit(X, y)
    peer = sklearn.linear_model.LogisticRegression(tol=1e-8, max_iter=10_000).fit(X, y)
    assert objective(peer, X, y) <= objective(model, X, y) <= 1.01 * objective(peer, X, y)
    assert model.loss_curve_[-1] == pytest.approx(objective(model, X, y), rel=0.02)
    assert model.score(X, y) >= peer.score(X, y) - 0.005


@pytest.mark.parametrize("load", [load_iris, load_breast_cancer])
@pytest.mark.parametrize("C", [0.01, 1.0])
@pytest.mark.parametrize("weighting", ["none", "balanced", "class and sample"])
def test_the_minimum_is_scikit_learns(load, C, weighting):
    X, y = standardised(load)
    X, y = X[20:, :10], y[20:]  # no longer balanced
    sample_weight, options = None, {}
    if weighting == "balanced":
        options = {"class_weight": "balanced"}
    elif weighting == "class and sample":
        options, sample_weight = {"class_weight": {0: 3.0, 1: 0.5}}, np.random.default_rng(0).integers(0, 4, len(y))
    model = sgd(C=C, **options, **FULL_BATCH).fit(X, y, sample_weight)
    peer = sklearn.linear_model.LogisticRegression(C=C, **options, tol=1e-10, max_iter=10_000).fit(X, y, sample_weight)
    np.testing.assert_allclose(model.coef_, peer.coef_, atol=2e-4)
    # The softmax does not see a shift of all intercepts.
    shift = (model.intercept_ - peer.intercept_).mean() if len(model.classes_) > 2 else 0.0
    np.testing.assert_allclose(model.intercept_ - shift, peer.intercept_, atol=2e-4)
    np.testing.assert_allclose(model.predict_proba(X), peer.predict_proba(X), atol=1e-4)


@pytest.mark.parametrize("class_weight", [None, "balanced", {0: 5.0}])
def test_sample_weights_are_repetitions(class_weight):
    X, y = standardised(load_iris)
    repeats = np.random.default_rng(0).integers(0, 4, len(y))
    model = sgd(class_weight=class_weight, batch_size=len(X) * 4, max_iter=20, tol=None)
    weighted = clone(model).fit(X, y, repeats)
    repeated = clone(model).fit(X.repeat(repeats, axis=0), y.repeat(repeats))
    np.testing.assert_allclose(weighted.coef_, repeated.coef_, rtol=1e-10, atol=1e-13)


def test_a_class_without_weight_is_learnt_to_be_absent():
    X, y = standardised(load_iris)
    model = sgd(class_weight="balanced", random_state=0).fit(X, y, sample_weight=y != 2)
    assert set(model.predict(X)) == {0, 1}


@pytest.mark.parametrize("label_smoothing", [0.0, 0.2])
def test_two_classes_are_the_softmax_of_two_logits(label_smoothing):
    X, y = standardised(load_breast_cancer)
    options = {"learning_rate": 0.1, "momentum": 0.9, "nesterov": True}
    model = sgd(
        C=0.5, label_smoothing=label_smoothing, shuffle=False, batch_size=len(X), max_iter=20, tol=None, **options
    ).fit(X, y)

    weight, bias = np.zeros(X.shape[1]), np.zeros(1)
    optimizer = SGD([weight, bias], **options)
    for _ in range(20):
        logits = np.column_stack([np.zeros(len(X)), X @ weight + bias])
        loss, grad = xe.softmax_cross_entropy_with_grad(logits, y, label_smoothing=label_smoothing)
        loss += weight @ weight / len(X)
        optimizer.step([grad[:, 1] @ X + 2 * weight / len(X), grad[:, 1:].sum(axis=0)])
    np.testing.assert_allclose(model.coef_[0], weight, rtol=1e-10)
    np.testing.assert_allclose(model.intercept_, bias, rtol=1e-10)
    assert model.loss_curve_[-1] == pytest.approx(loss, rel=1e-12)

    logits = np.column_stack([np.zeros(len(X)), model.decision_function(X)])
    np.testing.assert_allclose(model.predict_proba(X), xe.softmax(logits), rtol=1e-12)
    np.testing.assert_allclose(model.predict_log_proba(X), xe.log_softmax(logits), rtol=1e-12)
    np.testing.assert_array_equal(model.predict(X), logits.argmax(axis=1))


def test_the_first_step_goes_along_target_minus_probability():
    X, y = standardised(load_iris)
    model = sgd(momentum=0.0, nesterov=False, learning_rate=0.5, batch_size=150, max_iter=1, tol=None)
    model.fit(X, y)
    difference = np.eye(3)[y] - 1 / 3
    np.testing.assert_allclose(model.coef_, 0.5 * difference.T @ X / 150, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(model.intercept_, 0.0, atol=1e-15)
    assert model.loss_curve_ == [pytest.approx(np.log(3), rel=1e-15)]


def test_smoothed_labels_are_never_certain():
    X, y = standardised(load_iris)
    model = sgd(C=np.inf, label_smoothing=0.3, random_state=0, max_iter=500).fit(X, y)
    assert 0.6 < model.predict_proba(X).max() < 0.9


@pytest.mark.parametrize("load", [load_digits, load_breast_cancer])
def test_single_precision_stays_single(load):
    X, y = standardised(load)
    double = sgd(random_state=0, max_iter=20, tol=None)
    single = clone(double).fit(X.astype(np.float32), y)
    double.fit(X, y)
    samples = X.astype(np.float32)
    for array in [
        single.coef_,
        single.intercept_,
        *(getattr(single, name)(samples) for name in ["decision_function", "predict_proba", "predict_log_proba"]),
    ]:
        assert array.dtype == np.float32
    np.testing.assert_allclose(single.coef_, double.coef_, atol=1e-4)
    assert single.partial_fit(X, y).coef_.dtype == np.float32


def test_confident_log_probabilities_are_exact():
    X, y = np.array([[-1.0], [1.0]]), np.array([0, 1])
    model = sgd(max_iter=1, tol=None).fit(X, y)
    model.coef_, model.intercept_ = np.array([[50.0]]), np.array([0.0])
    np.testing.assert_allclose(model.predict_log_proba([[1.0]]), [[-50.0, -np.exp(-50.0)]], rtol=1e-15)


# ------------------------------------------------------------------------------------------------------------- training


@pytest.mark.parametrize("load", [load_digits, load_breast_cancer])
def test_the_same_seed_gives_the_same_bits(load):
    X, y = standardised(load)
    first, again, other = (sgd(random_state=seed, max_iter=5, tol=None).fit(X, y) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.coef_, again.coef_)
    assert first.loss_curve_ == again.loss_curve_
    assert (first.coef_ != other.coef_).any()


@pytest.mark.parametrize(("n", "sizes"), [(40, [40]), (64, [64]), (95, [95]), (96, [64, 32]), (150, [64, 86])])
def test_no_batch_is_much_smaller_than_the_others(n, sizes, monkeypatch):
    assert [batch.stop - batch.start for batch in batches(n, 64)] == sizes
    steps, step = [], SGD.step
    monkeypatch.setattr(SGD, "step", lambda *args: steps.append(step(*args)))
    X, y = standardised(load_iris)
    order = np.random.default_rng(0).permutation(150)[:n]
    sgd(max_iter=1, tol=None).fit(X[order], y[order])
    assert len(steps) == len(sizes)


def test_stops_when_the_loss_no_longer_falls():
    X, y = standardised(load_iris)
    model = sgd(random_state=0, max_iter=10_000).fit(X, y)
    assert model.n_iter_ == len(model.loss_curve_) < 1000
    before, recent = model.loss_curve_[:-10], model.loss_curve_[-10:]
    assert min(before) - min(recent) < model.tol
    assert min(before[:-1]) - min(model.loss_curve_[-11:-1]) >= model.tol
    assert sgd(max_iter=7, tol=None).fit(X, y).n_iter_ == 7


def test_warns_of_too_few_epochs_and_of_too_long_steps():
    X, y = standardised(load_digits)
    with pytest.warns(ConvergenceWarning, match=r"iterations \(3\) reached before convergence. Consider increasing"):
        sgd(max_iter=3).fit(X, y)
    with pytest.warns(ConvergenceWarning, match=r"is above the 2.3 nats of guessing. Standardise X or lower"):
        sgd(max_iter=3).fit(1000 * X, y)


def test_warm_start_goes_on():
    X, y = standardised(load_digits)
    options = {"C": np.inf, "tol": None, "shuffle": False}
    model = sgd(**options, max_iter=4, warm_start=True).fit(X, y)
    first = model.loss_curve_
    model.fit(X, y)
    whole = sgd(**options, max_iter=8).fit(X, y)
    np.testing.assert_array_equal(model.coef_, whole.coef_)
    assert first + model.loss_curve_ == whole.loss_curve_


def test_partial_fit_is_an_epoch_of_fit():
    X, y = standardised(load_digits)
    options = {"C": np.inf, "tol": None, "shuffle": False}  # without penalty and order nothing else differs
    whole = sgd(**options, max_iter=3).fit(X, y)
    model = sgd(**options)
    for _ in range(3):
        model.partial_fit(X, y, classes=np.arange(10))
    np.testing.assert_array_equal(model.coef_, whole.coef_)
    assert model.loss_curve_ == whole.loss_curve_
    assert model.n_iter_ == 3


def test_partial_fit_counts_all_samples_and_weights_seen():
    X, y = standardised(load_breast_cancer)
    sample_weight = np.random.default_rng(0).uniform(0.5, 2.0, len(X))
    model = sgd(C=0.01, momentum=0.0, nesterov=False, batch_size=len(X), class_weight={0: 2.0})
    weight, bias = np.zeros(X.shape[1]), np.zeros(1)
    optimizer = SGD([weight, bias])
    s = sample_weight * np.where(y == 0, 2.0, 1.0)
    for end in (100, 300):
        rows = slice(end - 100, end)
        model.partial_fit(X[rows], y[rows], classes=[0, 1], sample_weight=sample_weight[rows])
        seen = s[:100].sum() + (s[rows].sum() if end > 100 else 0)
        n_seen = 100 if end == 100 else 200
        residual = s[rows] * (xe.sigmoid(X[rows] @ weight + bias) - y[rows]) / 100 * n_seen / seen
        optimizer.step([residual @ X[rows] + weight / (0.01 * seen), residual.sum(keepdims=True)])
        np.testing.assert_allclose(model.coef_[0], weight, rtol=1e-9)


def test_partial_fit_learns_from_a_stream():
    X, y = standardised(load_digits)
    order = np.random.default_rng(0).permutation(len(X))
    X, y = X[order], y[order]
    model = sgd(random_state=0)
    for _ in range(3):
        for start in range(0, 1500, 100):
            model.partial_fit(X[start : start + 100], y[start : start + 100], classes=range(10))
    assert model.score(X[1500:], y[1500:]) > 0.93
    assert model.n_iter_ == len(model.loss_curve_) == 45


def test_pickles_and_goes_on_to_the_same_bits():
    X, y = standardised(load_digits)
    model = sgd(random_state=0).partial_fit(X, y, classes=range(10))
    copy = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(copy.predict_proba(X), model.predict_proba(X))
    np.testing.assert_array_equal(copy.partial_fit(X, y).coef_, model.partial_fit(X, y).coef_)


def test_shows_progress_when_asked(capsys):
    X, y = standardised(load_iris)
    for verbose in (None, False):
        sgd(max_iter=5, tol=None, verbose=verbose).fit(X, y)
    sgd(verbose=True).partial_fit(X, y, classes=[0, 1, 2])
    assert capsys.readouterr() == ("", "")
    model = sgd(max_iter=5, tol=None, verbose=True).fit(X, y)
    shown = capsys.readouterr().err
    assert "5/5" in shown
    assert "epoch/s" in shown
    assert f"loss={model.loss_curve_[-1]:.4f}" in shown
