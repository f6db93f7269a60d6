"""How logistic regression is trained: by either solver, in batches, from streams, until when."""

from functools import partial

import numpy as np
import pytest
import scipy.sparse
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_digits, load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split

import xentrs as xe
from checks import never_rises
from datasets import objective, standardised
from xentrs.models import LogisticRegression
from xentrs.optim import SGD

sgd = partial(LogisticRegression, solver="sgd", max_iter=200)


@pytest.mark.parametrize("load", [load_digits, load_breast_cancer])
def test_the_same_seed_gives_the_same_bits(load):
    X, y = standardised(load)
    first, again, other = (sgd(random_state=seed, max_iter=5, tol=None).fit(X, y) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.coef_, again.coef_)
    assert first.loss_curve_ == again.loss_curve_
    assert (first.coef_ != other.coef_).any()


@pytest.mark.parametrize("form", ["dense", "sparse"])
@pytest.mark.parametrize(("n", "steps"), [(40, 1), (64, 1), (65, 2), (150, 3)])
def test_an_epoch_takes_a_step_a_batch(n, steps, form, rates):
    X, y = standardised(load_iris)
    order = np.random.default_rng(0).permutation(150)[:n]
    sgd(max_iter=1, tol=None).fit(scipy.sparse.csr_array(X[order]) if form == "sparse" else X[order], y[order])
    assert len(rates) == steps


@pytest.mark.parametrize("options", [{}, {"label_smoothing": 0.1}, {"momentum": 0.0, "nesterov": False}])
@pytest.mark.parametrize("load", [load_breast_cancer, load_iris])
def test_sparse_samples_train_as_dense_ones_do(load, options):
    X, y = standardised(load)
    weight = np.random.default_rng(0).uniform(0.5, 2, len(y))
    models = [
        sgd(max_iter=5, tol=None, random_state=0, batch_size=20, class_weight="balanced", **options).fit(
            samples, y, weight
        )
        for samples in (X, scipy.sparse.csr_array(X))
    ]
    np.testing.assert_allclose(models[0].coef_, models[1].coef_, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(models[0].loss_curve_, models[1].loss_curve_, rtol=1e-9)


@pytest.mark.parametrize("solver", ["lbfgs", "sgd"])
@pytest.mark.parametrize("load", [load_digits, load_breast_cancer])
def test_early_stopping_keeps_what_suits_the_samples_held_out(solver, load):
    X, y = standardised(load)
    X = np.column_stack([X, np.random.default_rng(0).normal(size=(len(X), 200))])  # to overfit on
    options = {"C": np.inf, "solver": solver, "n_iter_no_change": 5, "random_state": 0, "validation_fraction": 0.25}
    model = LogisticRegression(early_stopping=True, max_iter=1000, **options).fit(X, y)
    held_out = model.validation_loss_curve_
    best = int(np.argmin(held_out))
    assert len(held_out) == len(model.loss_curve_) == model.n_iter_ < 1000
    assert best < len(held_out) - 1
    assert model.loss_curve_[-1] < model.loss_curve_[best]

    rows = np.random.RandomState(0)
    _, test = train_test_split(np.arange(len(X)), test_size=0.25, random_state=rows, stratify=y)
    logits = model.decision_function(X[test])
    loss = xe.sigmoid_cross_entropy if logits.ndim == 1 else xe.softmax_cross_entropy
    assert loss(logits, y[test]) == pytest.approx(held_out[best], rel=1e-9)


def test_lbfgs_stops_by_the_gradient():
    X, y = standardised(load_iris)
    for tol in (1e-2, 1e-6):
        model = LogisticRegression(tol=tol, max_iter=1000).fit(X, y)
        p = model.predict_proba(X) - np.eye(3)[y]
        grad = p.T @ X / len(X) + model.coef_ / len(X)
        assert np.abs(grad).max() <= tol
        assert np.abs(grad).max() > tol / 1000
        assert never_rises(model.loss_curve_)
        assert model.loss_curve_[-1] == pytest.approx(objective(model, X, y), rel=1e-12)
    assert model.set_params(warm_start=True).fit(X, y).n_iter_ == 1  # nothing is left to do


def test_lbfgs_warns_of_too_few_iterations():
    X, y = standardised(load_digits)
    with pytest.warns(
        ConvergenceWarning,
        match=r"lbfgs failed to converge after 3 iteration\(s\): the largest derivative, .*, is 0\.0\d+, above 1e-05 "
        r"for tol=0\.0001\. Increase max_iter\.",
    ):
        LogisticRegression(max_iter=3).fit(X, y)
    LogisticRegression(max_iter=3, tol=None).fit(X, y)  # asked for, so nothing to warn of


@pytest.mark.parametrize(
    ("schedule", "options", "expected"),
    [
        ("constant", {}, lambda t: 0.1),
        ("invscaling", {"power_t": 0.25}, lambda t: 0.1 / (t + 1) ** 0.25),
        ("cosine", {}, lambda t: 0.05 * (1 + np.cos(np.pi * t / 6))),
    ],
)
def test_schedules_count_the_batches(schedule, options, expected, rates):
    X, y = standardised(load_iris)
    model = sgd(schedule=schedule, learning_rate=0.1, **options, batch_size=75, max_iter=3, tol=None).fit(X, y)
    assert rates == pytest.approx([expected(t) for t in range(6)])
    rates.clear()
    if schedule != "cosine":
        model.partial_fit(X, y)  # goes on
        assert rates == pytest.approx([expected(t) for t in (6, 7)])
        rates.clear()
    model.fit(X, y)  # begins anew
    assert rates == pytest.approx([expected(t) for t in range(6)])


@pytest.mark.parametrize("form", ["dense", "sparse"])
@pytest.mark.parametrize("load", [load_breast_cancer, load_iris])
def test_the_lipschitz_step_is_one_over_the_curvature(load, form, rates):
    """At weights of zero the curvature of the sigmoid is its bound; plain descent never rises."""
    X, y = standardised(load)
    n = len(X)
    samples = scipy.sparse.csr_array(X) if form == "sparse" else X
    Z = np.column_stack([X, np.ones(n)])
    h = 1 / 4 if y.max() == 1 else 1 / 2
    options = {"schedule": "lipschitz", "C": 0.5, "tol": None, "learning_rate": 1e9, "random_state": 0}
    model = sgd(**options, batch_size=n, momentum=0.0, nesterov=False, max_iter=50).fit(samples, y)
    assert rates[0] == pytest.approx(1 / (h * np.linalg.eigvalsh(Z.T @ Z)[-1] / n + 2 / n), rel=1e-3)
    assert never_rises(model.loss_curve_)
    rates.clear()
    sgd(**options, batch_size=10, max_iter=1).fit(samples, y)
    assert rates[0] == pytest.approx(1 / (h * (Z**2).sum(axis=1).max() + 2 / n))
    rates.clear()
    sample_weight = np.where(np.arange(n) == 7, n, n / (n - 1))  # one weighs as much as all others
    sgd(**options, batch_size=10, max_iter=1).fit(samples, y, sample_weight)
    s = sample_weight / sample_weight.mean()
    mean = np.average(X, weights=s, axis=0)
    variance = np.average((X - mean) ** 2, weights=s, axis=0)
    lengths = ((X - mean) ** 2 / variance).sum(axis=1) + 1
    decay = 2 / sample_weight.sum() / variance.min()
    assert rates[0] == pytest.approx(1 / (h * (s * lengths).max() + decay))


def test_stops_when_the_loss_no_longer_falls():
    X, y = standardised(load_iris)
    model = sgd(random_state=0, max_iter=10_000, schedule="constant", learning_rate=0.01).fit(X, y)
    assert model.n_iter_ == len(model.loss_curve_) < 1000
    before, recent = model.loss_curve_[:-10], model.loss_curve_[-10:]
    assert min(before) - min(recent) < model.tol
    assert min(before[:-1]) - min(model.loss_curve_[-11:-1]) >= model.tol
    assert sgd(max_iter=7, tol=None).fit(X, y).n_iter_ == 7


def test_warns_of_too_few_epochs_and_of_too_long_steps():
    X, y = standardised(load_digits)
    with pytest.warns(ConvergenceWarning, match=r"iterations \(3\) reached before convergence. Consider increasing"):
        sgd(max_iter=3, schedule="constant", random_state=0).fit(X, y)
    with pytest.warns(ConvergenceWarning, match=r"nats can be lowered by 0\.\d+ or more. Increase max_iter=3\."):
        sgd(max_iter=3, random_state=0).fit(X, y)
    # A schedule may end lower than it began: what was given is named, and never to be raised.
    for seed in range(10):
        with pytest.warns(ConvergenceWarning, match=r"the 2.3 nats of guessing. Lower learning_rate=100\.$"):
            sgd(max_iter=3, learning_rate=100.0, random_state=seed).fit(X, y)


def test_warm_start_goes_on():
    X, y = standardised(load_digits)
    options = {"C": np.inf, "tol": None, "shuffle": False, "schedule": "constant"}
    model = sgd(**options, max_iter=4, warm_start=True).fit(X, y)
    first = model.loss_curve_
    model.fit(X, y)
    whole = sgd(**options, max_iter=8).fit(X, y)
    np.testing.assert_allclose(model.coef_, whole.coef_, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(first + model.loss_curve_, whole.loss_curve_, rtol=1e-12)


def test_partial_fit_is_an_epoch_of_fit():
    X, y = standardised(load_digits)
    """Of standardised samples; only `fit` can know how others are spread."""
    options = {"C": np.inf, "tol": None, "shuffle": False, "schedule": "constant", "learning_rate": 0.1}
    whole = sgd(**options, max_iter=3).fit(X, y)
    model = sgd(**options)
    for _ in range(3):
        model.partial_fit(X, y, classes=np.arange(10))
    np.testing.assert_allclose(model.coef_, whole.coef_, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(model.loss_curve_, whole.loss_curve_, rtol=1e-12)
    assert model.n_iter_ == 3


def test_partial_fit_counts_all_samples_and_weights_seen():
    X, y = standardised(load_breast_cancer)
    sample_weight = np.random.default_rng(0).uniform(0.5, 2.0, len(X))
    model = sgd(C=0.01, learning_rate=0.1, momentum=0.0, nesterov=False, batch_size=len(X), class_weight={0: 2.0})
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


def test_labels_may_be_strings():
    X, y = standardised(load_iris)
    names = np.array(["setosa", "versicolor", "virginica"])
    for solver in ("lbfgs", "sgd"):
        model = LogisticRegression(solver=solver, max_iter=300, random_state=0).fit(X, names[y])
        np.testing.assert_array_equal(model.classes_, names)
        assert model.score(X, names[y]) > 0.95
    assert model.partial_fit(X[:50], names[y][:50]).score(X, names[y]) > 0.9  # of one class alone


def test_any_number_of_threads_gives_the_same_bits():
    X, y = standardised(load_digits)
    coefs = []
    for n in (1, 2, 3, 7):
        with xe.threads(n):
            coefs.append(sgd(random_state=0, batch_size=1797, max_iter=5, tol=None).fit(X, y).coef_)
    for coef in coefs[1:]:
        np.testing.assert_array_equal(coef, coefs[0])


# ------------------------------------------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda model, X, y: model.partial_fit(X, y + 1), r"y contains previously unseen labels: \[3\]"),
        (lambda model, X, y: model.partial_fit(X, y, classes=[0, 1]), r"y contains previously unseen labels: \[2\]"),
        (
            lambda model, X, y: model.partial_fit(X, y, classes=[0, 1, 2, 3]),
            r"`classes=.*` is not the same as on last call, was: array\(\[0, 1, 2\]\)",
        ),
        (lambda model, X, y: model.partial_fit(X, np.eye(4)[y]), "y must have a column for each of 3 classes, got 4"),
        (lambda model, X, y: model.fit(X, np.zeros_like(y)), "y must have at least 2 classes, got only one class: 0"),
        (
            lambda model, X, y: model.set_params(warm_start=True).fit(X, y % 2),
            "`classes=.*` is not the same as on last call",
        ),
        (
            lambda model, X, y: model.set_params(class_weight="balanced").partial_fit(X, y),
            "class_weight 'balanced' is not supported for partial_fit",
        ),
        (
            lambda model, X, y: clone(model).partial_fit(X, y),
            r"classes must be passed on the first call to partial_fit\.",
        ),
        (
            lambda model, X, y: model.set_params(class_weight={7: 2.0}).fit(X, y),
            r"The classes, \[0, 1, 2\], are not in class_weight",
        ),
        (
            lambda model, X, y: model.set_params(class_weight={0: -1.0}).fit(X, y),
            "class_weight must be finite and non-negative, got {0: -1.0}",
        ),
        (
            lambda model, X, y: model.set_params(class_weight=dict.fromkeys(range(3), 0.0)).fit(X, y),
            "sample_weight must have a positive, finite sum to divide by, got 0",
        ),
        (
            lambda model, X, y: model.set_params(class_weight=dict.fromkeys(range(3), 1e308)).fit(X, y),
            "sample_weight must have a positive, finite sum to divide by, got inf",
        ),
        (
            lambda model, X, y: model.set_params(early_stopping=True, validation_fraction=0.001).fit(X, y),
            "validation_fraction=0.001 ",
        ),
    ],
)
def test_refusals_leave_the_weights(call, message):
    X, y = standardised(load_iris)
    model = sgd(max_iter=3, tol=None).fit(X, y)
    before = dict(vars(model))
    with pytest.raises(ValueError, match=message):
        call(model, X, y)
    options = {"warm_start", "class_weight", "early_stopping", "validation_fraction"}
    assert vars(model).keys() == before.keys()
    assert all(vars(model)[name] is value for name, value in before.items() if name not in options)


def test_only_sgd_trains_step_by_step():
    assert not hasattr(LogisticRegression(), "partial_fit")
    with pytest.raises(AttributeError, match="has no attribute 'partial_fit'"):
        LogisticRegression().partial_fit([[0.0], [1.0]], [0, 1], classes=[0, 1])
    assert hasattr(sgd(), "partial_fit")
