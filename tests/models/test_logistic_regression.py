"""Logistic regression: scikit-learn's minimum, the mathematics by hand, soft labels, focus and penalties."""

from functools import partial

import numpy as np
import pytest
import scipy.sparse
import sklearn.linear_model
from scipy.optimize import check_grad
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine

import xentrs as xe
from datasets import DATA, objective, standardised
from xentrs.models import LogisticRegression
from xentrs.optim import SGD

sgd = partial(LogisticRegression, solver="sgd", max_iter=200)
exact = partial(LogisticRegression, tol=1e-10, max_iter=10_000)


# ------------------------------------------------------------------------------------------------------ the mathematics


def assert_same_minimum(model, peer, X):
    """Coefficients agree, and intercepts but for a shift of all, which the softmax does not see."""
    np.testing.assert_allclose(model.coef_, peer.coef_, atol=1e-5)
    shift = (model.intercept_ - peer.intercept_).mean() if len(model.classes_) > 2 else 0.0
    np.testing.assert_allclose(model.intercept_ - shift, peer.intercept_, atol=2e-5)
    np.testing.assert_allclose(model.predict_proba(X), peer.predict_proba(X), atol=1e-5)


@pytest.mark.parametrize("name", DATA)
def test_the_coefficients_are_scikit_learns(name):
    X, y = DATA[name]()
    peer = sklearn.linear_model.LogisticRegression(tol=1e-9, max_iter=10_000).fit(X, y)
    assert_same_minimum(exact(tol=1e-9).fit(X, y), peer, X)


@pytest.mark.parametrize("load", [load_iris, load_breast_cancer])
@pytest.mark.parametrize("C", [0.01, 1.0])
@pytest.mark.parametrize("weighting", ["balanced", "class and sample"])
def test_weights_are_scikit_learns(load, C, weighting):
    X, y = standardised(load)
    X, y = X[20:, :10], y[20:]  # no longer balanced
    sample_weight, options = None, {"class_weight": "balanced"}
    if weighting == "class and sample":
        options, sample_weight = {"class_weight": {0: 3.0, 1: 0.5}}, np.random.default_rng(0).integers(0, 4, len(y))
    peer = sklearn.linear_model.LogisticRegression(C=C, **options, tol=1e-10, max_iter=10_000).fit(X, y, sample_weight)
    assert_same_minimum(exact(C=C, **options).fit(X, y, sample_weight), peer, X)


def test_without_a_penalty_on_the_weights():
    X, y = standardised(load_iris)
    X, y = X[:, :1], y  # overlapping classes, whose minimum is finite
    peer = sklearn.linear_model.LogisticRegression(C=np.inf, tol=1e-10, max_iter=10_000).fit(X, y)
    assert_same_minimum(exact(C=np.inf).fit(X, y), peer, X)


@pytest.mark.parametrize("name", DATA)
def test_sgd_comes_within_one_percent_of_the_optimum(name):
    X, y = DATA[name]()
    best = objective(exact().fit(X, y), X, y)
    model = sgd(schedule="cosine", max_iter=20 if len(X) > 10_000 else 100, tol=None, random_state=0).fit(X, y)
    assert best <= objective(model, X, y) <= 1.01 * best
    assert model.loss_curve_[-1] == pytest.approx(objective(model, X, y), rel=0.02)


@pytest.mark.parametrize("load", [load_digits, load_breast_cancer, load_wine, load_iris])
def test_a_constant_step_comes_there_too(load):
    X, y = standardised(load)
    model = sgd(learning_rate=0.03, max_iter=1000, tol=1e-5, random_state=0).fit(X, y)
    best = objective(exact().fit(X, y), X, y)
    assert best <= objective(model, X, y) <= 1.01 * best


def test_full_batches_come_to_the_same_minimum():
    X, y = standardised(load_iris)
    model = sgd(batch_size=10**6, learning_rate=0.3, max_iter=20_000, tol=1e-13, n_iter_no_change=200).fit(X, y)
    np.testing.assert_allclose(model.coef_, exact().fit(X, y).coef_, atol=2e-4)


def test_a_curve_that_no_line_fits():
    """XOR: at best a linear model guesses; the product of both features is all there is to know."""
    X = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], dtype=float).repeat(25, axis=0)
    y = X[:, 0] != X[:, 1]
    for train in (exact(), sgd(max_iter=100, tol=None, random_state=0, learning_rate=0.01)):
        model = train.fit(X, y)
        assert xe.sigmoid_cross_entropy(model.decision_function(X), y) == pytest.approx(np.log(2), abs=1e-3)
    X = np.column_stack([X, X[:, 0] * X[:, 1]])
    model = exact(C=1e4).fit(X, y)
    assert xe.sigmoid_cross_entropy(model.decision_function(X), y) < 0.05
    assert model.score(X, y) == 1.0


# ----------------------------------------------------------------------------- soft labels, smoothing, focus, penalties


@pytest.mark.parametrize("load", [load_iris, load_breast_cancer])
@pytest.mark.parametrize(
    "options",
    [{}, {"label_smoothing": 0.2}, {"class_weight": {0: 3.0}}, {"class_weight": "balanced"}, {"gamma": 1.0}]
    + [{"class_weight": {1: 0.5}, "label_smoothing": 0.3, "gamma": 2.0}],
    ids=str,
)
@pytest.mark.parametrize("solver", ["lbfgs", "sgd"])
def test_one_hot_rows_are_labels(load, options, solver):
    X, y = standardised(load)
    X, y = X[10:], y[10:]
    options = options | {"solver": solver, "max_iter": 10, "tol": None, "random_state": 0}
    sample_weight = np.random.default_rng(0).uniform(0.5, 2.0, len(y))
    hard = LogisticRegression(**options).fit(X, y, sample_weight)
    soft = LogisticRegression(**options).fit(X, np.eye(y.max() + 1)[y], sample_weight)
    np.testing.assert_allclose(soft.coef_, hard.coef_, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(soft.loss_curve_, hard.loss_curve_, rtol=1e-9)
    np.testing.assert_array_equal(soft.classes_, hard.classes_)


@pytest.mark.parametrize("n_classes", [2, 4])
@pytest.mark.parametrize("options", [{}, {"class_weight": {0: 3.0}}, {"label_smoothing": 0.2, "gamma": 1.0}], ids=str)
def test_a_soft_label_is_a_hard_one_of_each_class_by_its_share(n_classes, options):
    rng = np.random.default_rng(0)
    X, shares = rng.normal(size=(60, 3)), rng.dirichlet(np.ones(n_classes), size=60)
    soft = exact(**options).fit(X, shares)
    hard = exact(**options).fit(
        X.repeat(n_classes, axis=0), np.tile(np.arange(n_classes), len(X)), sample_weight=shares.ravel()
    )
    np.testing.assert_allclose(soft.coef_, hard.coef_, atol=1e-6)
    np.testing.assert_allclose(soft.loss_curve_[-1], hard.loss_curve_[-1], rtol=1e-9)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("form", ["dense", "sparse"])
@pytest.mark.parametrize(
    "options",
    [{}, {"label_smoothing": 0.1}, {"gamma": 2.0}, {"gamma": 0.5, "class_weight": {0: 2.0}, "label_smoothing": 0.1}]
    + [{"logit_penalty": True, "logit_penalty_weight": 3.0}],
    ids=str,
)
def test_value_and_gradient_of_the_objective(n_classes, form, options):
    """The value by hand from the public functions, the gradient by finite differences."""
    rng = np.random.default_rng(0)
    X, y, s = rng.normal(size=(40, 3)), np.arange(40) % n_classes, rng.uniform(0.5, 2.0, size=40)
    samples = scipy.sparse.csr_array(X) if form == "sparse" else X
    options = dict(options)
    if "logit_penalty" in options:
        options["logit_penalty"] = (
            partial(xe.parity_penalty_with_grad, group=np.arange(40) % 3)
            if n_classes == 2
            else partial(xe.js_smoothness_with_grad)
        )
    model = LogisticRegression(C=0.3, **options)
    model.classes_, target = model._read(y, None, fresh=True)
    function = model._penalised(model._objective(samples, target, s), seen=np.zeros(2))
    shape = function.zeros()[0].shape

    def value(params):
        return function(params[: -shape[0]].reshape(shape), params[-shape[0] :])[0]

    def grad(params):
        return np.concatenate(function(params[: -shape[0]].reshape(shape), params[-shape[0] :])[1:], axis=None)

    params = rng.normal(size=shape[0] * 4)
    assert check_grad(value, grad, params) < 1e-5

    weight, bias = params[: -shape[0]].reshape(shape), params[-shape[0] :]
    logits = X @ weight.T + bias
    whole = np.column_stack([np.zeros(40), logits]) if n_classes == 2 else logits
    smoothing, gamma = options.get("label_smoothing", 0.0), options.get("gamma", 0.0)
    weights = np.array([options.get("class_weight", {}).get(k, 1.0) for k in range(n_classes)])
    terms = weights * ((1 - smoothing) * np.eye(n_classes)[y] + smoothing / n_classes)
    p = xe.softmax(whole)
    losses = (terms * (1 - p) ** gamma * -np.log(p)).sum(axis=1)
    total = (s * terms.sum(axis=1)).sum()
    expected = (s @ losses + 0.5 * np.sum(weight**2) / 0.3) / total
    if "logit_penalty" in options:
        penalty = xe.js_smoothness(whole) if n_classes == 3 else xe.parity_penalty(logits[:, 0], np.arange(40) % 3)
        expected += 3.0 * penalty
    assert value(params) == pytest.approx(expected, rel=1e-12)


def test_focus_is_for_what_is_answered_badly():
    X, y = standardised(load_digits)
    plain, focal = exact(tol=1e-4).fit(X, y), exact(tol=1e-4, gamma=5.0).fit(X, y)
    assert focal.predict_proba(X).max(axis=1).mean() < plain.predict_proba(X).max(axis=1).mean() - 0.1
    assert focal.score(X, y) > 0.98


def test_a_penalty_on_unequal_treatment():
    rng = np.random.default_rng(0)
    group = np.arange(600) % 3
    X = np.column_stack([group + rng.normal(size=600), rng.normal(size=600)])
    y = (X.sum(axis=1) + rng.normal(size=600) > 1).astype(int)
    unfairness = []
    for weight in (0.0, 10.0, 1000.0):
        model = exact(logit_penalty=partial(xe.parity_penalty_with_grad, group=group), logit_penalty_weight=weight).fit(
            X, y
        )
        unfairness.append(xe.parity_penalty(model.decision_function(X), group))
    assert unfairness[0] > 2 * unfairness[1] > 100 * unfairness[2]
    np.testing.assert_allclose(
        exact(logit_penalty=partial(xe.parity_penalty_with_grad, group=group), logit_penalty_weight=0.0)
        .fit(X, y)
        .coef_,
        exact().fit(X, y).coef_,
        atol=1e-6,
    )


@pytest.mark.parametrize(
    ("penalty", "error", "message"),
    [
        (lambda logits: 0.0, TypeError, r"logit_penalty must return a pair \(value, grad\), got float"),
        (
            lambda logits: ("a", logits),
            TypeError,
            "logit_penalty must return a number and a grad, got 'a' for the number",
        ),
        (lambda logits: (logits, logits), TypeError, "logit_penalty must return a number and a grad, got array"),
        (lambda logits: (0.0, logits[:-1]), ValueError, r"a grad of the logits' shape \(150, 3\), got \(149, 3\)"),
    ],
)
def test_a_penalty_that_is_none(penalty, error, message):
    X, y = standardised(load_iris)
    model = LogisticRegression(logit_penalty=penalty)
    with pytest.raises(error, match=message):
        model.fit(X, y)
    assert not hasattr(model, "coef_")


def test_a_penalty_may_change_the_logits_that_it_gets():
    X, y = standardised(load_iris)

    def penalty(logits):
        return 0.0, np.multiply(logits, 0.0, out=logits)

    np.testing.assert_allclose(exact(logit_penalty=penalty).fit(X, y).coef_, exact().fit(X, y).coef_, atol=1e-8)


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
        schedule="constant",
        C=0.5,
        label_smoothing=label_smoothing,
        shuffle=False,
        batch_size=len(X),
        max_iter=20,
        tol=None,
        **options,
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
    options = {"C": np.inf, "label_smoothing": 0.3}
    best = exact(**options).fit(X, y).predict_proba(X)
    assert 0.6 < best.max() < 0.91
    model = sgd(**options, random_state=0, max_iter=500).fit(X, y)
    np.testing.assert_allclose(model.predict_proba(X), best, atol=0.01)


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
