"""Solvers that end at the optimum or say so: any units of the features, elastic net, no intercept, Newton's method."""

import inspect
import re
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.sparse
import sklearn.linear_model
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.exceptions import ConvergenceWarning

import unscaled
import xentrs as xe
from datasets import standardised
from estimator_checks import is_older_than
from refusals import state
from xentrs.models import GaussianRegressor, LogisticRegression, MultiLabelClassifier
from xentrs.models.convergence import end_of_linear_steps
from xentrs.models.solvers import lbfgs, newton_cholesky
from xentrs.models.standardised import SplitBySign, Standardised

SOLVERS = ["lbfgs", "newton-cholesky", "sgd"]
TIGHT = {"tol": 1e-9, "max_iter": 10_000}


def people(n=1000, seed=0):
    """Kelvins, seconds since 1970, prices; and a class that follows from them."""
    rng = np.random.default_rng(seed)
    Z = rng.normal(size=(n, 3))
    X = np.column_stack([298 + 5 * Z[:, 0], 1.7e9 + 1e7 * Z[:, 1], np.exp(10 + 0.5 * Z[:, 2])])
    return X, np.digitize(Z.sum(axis=1) + rng.logistic(size=n), [-1, 1])


def centred(X):
    """`scale` warns where the mean is large."""
    return (X - X.mean(axis=0)) / X.std(axis=0)


# ----------------------------------------------------------------------------------------- features as people have them


@pytest.mark.parametrize(("every", "fits"), [(4, 64), pytest.param(1, 200, marks=pytest.mark.thorough)])
def test_two_hundred_fits_of_unscaled_features(every, fits):
    """The script of the benchmarks, of which every data set with either type and each estimator is a fit."""
    found = list(unscaled.fits(every))
    assert len(found) >= fits
    assert not [fit for fit in found if fit.short and not fit.warned]
    assert sum(bool(fit.warned) for fit in found) <= len(found) / 20


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("form", [np.asarray, scipy.sparse.csr_array])
def test_units_change_nothing_but_units(solver, dtype, form):
    """Without a penalty the model of ``a X + b`` predicts what that of X does."""
    X, y = people()
    options = {"C": np.inf, "random_state": 0, "solver": solver}
    plain = LogisticRegression(**options).fit(centred(X), y)
    model = LogisticRegression(**options).fit(form(X.astype(dtype)), y)
    np.testing.assert_allclose(model.predict_proba(form(X.astype(dtype))), plain.predict_proba(centred(X)), atol=2e-3)
    assert model.coef_.dtype == dtype


@pytest.mark.parametrize("solver", SOLVERS)
def test_kelvins_in_single_precision_are_not_guessed_at(solver):
    for seed in range(30):
        X, y = people(seed=seed)
        X = X[:, :1].astype(np.float32)
        model = LogisticRegression(solver=solver, random_state=0).fit(X, y)
        guessing = -np.log(np.bincount(y) / len(y)) @ np.bincount(y) / len(y)
        assert model.loss_curve_[-1] < 0.97 * guessing


def test_the_objective_does_not_change_with_the_coordinates():
    X, y = people()
    model = LogisticRegression(C=0.3, fit_intercept=True)
    model.classes_, target = model._read(y, None, fresh=True)
    for samples in (X, scipy.sparse.csr_array(X)):
        objective = model._penalised(model._objective(samples, target, np.ones(len(y))), seen=np.zeros(2))
        problem = Standardised(objective)
        rng = np.random.default_rng(0)
        weight, bias = rng.normal(size=(3, 3)) / X.std(axis=0), rng.normal(size=3)
        bias -= weight @ X.mean(axis=0)
        state = problem.state(weight, bias)
        value, grad = problem(state)
        assert value == pytest.approx(objective(weight, bias)[0], rel=1e-9)
        step = rng.normal(size=state.size)
        for eps in (1e-6,):
            numeric = (problem(state + eps * step)[0] - problem(state - eps * step)[0]) / (2 * eps)
            assert grad @ step == pytest.approx(numeric, rel=1e-6)
        back = [np.empty_like(weight), np.empty_like(bias)]
        problem.write(state, *back)
        np.testing.assert_allclose(back[0], weight - weight.mean(axis=0), rtol=1e-9)


@pytest.mark.parametrize("form", [np.asarray, scipy.sparse.csr_array])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("kind", ["softmax", "sigmoid"])
def test_the_hessian_is_the_derivative_of_the_gradient(kind, fit_intercept, form):
    X, y = people(200)
    model = LogisticRegression(C=0.1) if kind == "softmax" else MultiLabelClassifier(C=0.1, pos_weight=[1.0, 2.0])
    y = y if kind == "softmax" else np.column_stack([y > 0, y > 1]).astype(int)
    model.classes_, target = model._read(y, None, fresh=True)
    weights = np.random.default_rng(0).uniform(0.5, 2, len(y))
    objective = model._penalised(model._objective(form(centred(X)), target, weights), seen=np.zeros(2))
    problem = Standardised(objective, fit_intercept=fit_intercept)
    rng = np.random.default_rng(1)
    state, step = 0.5 * rng.normal(size=(2, problem.lower.size))
    blocks = problem.hessian(state)
    if kind == "softmax":  # along what is the same for all classes, and free, it has a curvature that is not there
        weight, bias = problem.split(step)
        step = problem.join(weight, bias - bias.mean())
    product = np.concatenate([b @ s for b, s in zip(blocks, np.split(step, len(blocks)), strict=True)])
    eps = 1e-6
    numeric = (problem(state + eps * step)[1] - problem(state - eps * step)[1]) / (2 * eps)
    np.testing.assert_allclose(product, numeric, rtol=1e-5, atol=1e-7)


# -------------------------------------------------------------------------------------------------------- who says what


@pytest.mark.parametrize("estimator", [LogisticRegression, MultiLabelClassifier, GaussianRegressor])
@pytest.mark.parametrize("solver", ["lbfgs", "newton-cholesky"])
def test_what_ends_short_says_so(estimator, solver):
    X, y = people()
    options = {"max_iter": 1} | ({} if estimator is GaussianRegressor else {"solver": solver})
    y = np.column_stack([y > 0, y > 1]).astype(int) if estimator is MultiLabelClassifier else y
    for dtype in (np.float32, np.float64):
        with pytest.warns(ConvergenceWarning, match=r"the largest derivative, .*, above .* for tol=0.0001. Increase"):
            estimator(**options).fit(X.astype(dtype), y)


def test_rounding_is_told_from_a_lack_of_iterations():
    """In single precision no derivative of 1e-12 can be had; the loss is at its optimum all the same."""
    X, y = people()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = LogisticRegression(tol=1e-12, max_iter=10_000).fit(X.astype(np.float32), y)
    best = LogisticRegression(tol=1e-10, max_iter=10_000, solver="newton-cholesky").fit(X, y)
    assert model.n_iter_[0] < 200
    assert model.loss_curve_[-1] == pytest.approx(best.loss_curve_[-1], abs=2e-7)


def test_a_tolerance_below_what_the_value_can_tell_is_met():
    for load in (load_iris, load_wine, load_breast_cancer):
        X, y = load(return_X_y=True)
        model = LogisticRegression(tol=1e-11, max_iter=10_000).fit(X, y)
        z = model.decision_function(X)
        p = np.eye(3)[y] - xe.softmax(z) if z.ndim == 2 else (y - xe.sigmoid(z))[:, np.newaxis]
        grad = p.T @ (X - X.mean(axis=0)) / len(y) - model.coef_ / len(y)
        assert np.abs(grad / X.std(axis=0)).max() < 1e-11


@pytest.mark.parametrize("solver", [lbfgs, newton_cholesky])
@pytest.mark.parametrize(("dtype", "remedy"), [(np.float32, "give X in float64, or raise tol."), (float, "raise tol.")])
def test_a_search_that_rounding_stops_far_from_the_optimum_says_so(solver, dtype, remedy):
    """An objective of which three decimals are left, with derivatives that are as wrong as that."""
    X, y = standardised(load_breast_cancer)
    model = LogisticRegression()
    model.classes_, target = model._read(y, None, fresh=True)
    objective = model._penalised(model._objective(X.astype(dtype), target, np.ones(len(y))), seen=np.zeros(2))
    noise = np.random.default_rng(0)

    class Coarse(Standardised):
        def __call__(self, state):
            value, grad = super().__call__(state)
            return round(value, 3), grad + 1e-2 * noise.normal(size=grad.shape)

    params, told = objective.zeros(), []
    message = solver(Coarse(objective), params, lambda loss: told.append(loss), max_iter=1000, tol=1e-4)
    assert message.endswith(f"Rounding errors stop the search: {remedy}")
    assert len(told) < 1000


@pytest.mark.parametrize(
    ("start", "curve", "advice"),
    [
        (0.95, [0.909, 0.89, 0.866], "It still falls: increase max_iter=60."),
        (0.95, [0.9], "It still falls: increase max_iter=60."),
        (0.75, [0.8, 5.0, 900.0], "Lower learning_rate=0.001."),
        (6.0, [5.0, 900.0, 4.0, 4.5], "Lower learning_rate=0.001."),
        (0.69, [90.0, 50.0, 30.0], "Lower learning_rate=0.001."),
    ],
)
def test_the_advice_is_not_the_opposite_of_what_helps(start, curve, advice):
    """Of a loss above guessing: features are standardised inside, and a loss that falls needs no smaller steps."""
    model = SimpleNamespace(loss_curve_=curve, max_iter=60, tol=1e-4, schedule="auto")
    message = end_of_linear_steps(model, start=start, guessing=np.log(2), converged=False, learning_rate=0.001)
    assert message == f"The loss of {curve[-1]:.3g} nats is above the 0.693 nats of guessing. {advice}"


ENDS_SHORT = [
    (LogisticRegression(max_iter=2), r"Increase max_iter\.$"),
    (LogisticRegression(l1_ratio=0.5, max_iter=2), r"Increase max_iter\.$"),
    (LogisticRegression(gamma=2.0, max_iter=2), r"Increase max_iter\.$"),
    (LogisticRegression(solver="newton-cholesky", max_iter=2), r"Increase max_iter\.$"),
    (LogisticRegression(solver="sgd", max_iter=2, tol=1e-6), r"Increase max_iter=2\.$"),
    (LogisticRegression(solver="sgd", max_iter=2, schedule="constant"), r"increasing max_iter, or tol\.$"),
    (LogisticRegression(solver="sgd", learning_rate=1e-7), r"Increase max_iter=100 or learning_rate=1e-07\.$"),
    (LogisticRegression(solver="sgd", learning_rate=1e-7, schedule="constant"), r"\. Increase learning_rate=1e-07\.$"),
    (
        LogisticRegression(
            solver="sgd", schedule="lipschitz", tol=0.01, n_iter_no_change=1, momentum=0, nesterov=False
        ),
        r"\. Lower tol=0\.01\.$",
    ),
    (
        LogisticRegression(solver="sgd", learning_rate=1.0, schedule="constant"),
        r"\. Let the steps fall to 0 by schedule",
    ),
    (LogisticRegression(solver="sgd", max_iter=9, learning_rate=1e3), r"of guessing\. Lower learning_rate=1000\.$"),
    (LogisticRegression(solver="sgd", learning_rate=1e300), r"overflows\. Lower learning_rate=1e\+300\.$"),
    (LogisticRegression(solver="sgd", learning_rate=1e300, gamma=1.0), r"overflows\. Lower learning_rate=1e\+300\.$"),
    (LogisticRegression(logit_penalty=lambda z: (np.inf, 0 * z)), r"overflows .* look at pos_weight, logit_penalty"),
    (MultiLabelClassifier(max_iter=2), r"Increase max_iter\.$"),
    (MultiLabelClassifier(pos_weight=1e308), r"overflows .* look at pos_weight, logit_penalty"),
    (MultiLabelClassifier(pos_weight=1e308, solver="sgd"), r"overflows\. Lower pos_weight\.$"),
    (GaussianRegressor(max_iter=2), r"Increase max_iter\.$"),
]


@pytest.mark.parametrize(("estimator", "advice"), ENDS_SHORT, ids=repr)
def test_no_linear_estimator_advises_what_it_does_itself(estimator, advice):
    """That is to standardise features, whatever their units are."""
    X, y = people()
    target = np.eye(3, dtype=int)[y] if isinstance(estimator, MultiLabelClassifier) else y
    seed = {"random_state": 0} if "random_state" in estimator.get_params() else {}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            clone(estimator).set_params(**seed).fit(X, target)
            said = [str(warning.message) for warning in caught]
        except ValueError as error:
            said = [str(error)]
    assert len(said) == 1
    assert re.search(advice, said[0])
    assert "tandardise X" not in said[0]


def test_partial_fit_advises_it_where_the_steps_are_too_long():
    X, y = people()
    model = LogisticRegression(solver="sgd", learning_rate=1e300)
    with pytest.raises(ValueError, match=r"The loss overflows. Standardise X, or lower learning_rate=1e\+300.$"):
        model.partial_fit(X, y, classes=[0, 1, 2])


@pytest.mark.parametrize("load", [load_digits, load_breast_cancer, load_wine, load_iris])
def test_the_defaults_of_sgd_come_within_one_percent(load):
    X, y = standardised(load)
    best = LogisticRegression(**TIGHT).fit(X, y)
    for samples in (X, X.astype(np.float32), scipy.sparse.csr_array(X)):
        model = LogisticRegression(solver="sgd", random_state=0).fit(samples, y)
        reached = clone(best).set_params(warm_start=True, max_iter=1, tol=None)
        reached.classes_, reached.coef_, reached.intercept_ = best.classes_, model.coef_, model.intercept_
        z = X @ model.coef_.T.astype(float) + model.intercept_
        z = np.column_stack([np.zeros(len(y)), z]) if z.shape[1] == 1 else z
        objective = xe.softmax_cross_entropy(z, y) + np.sum(model.coef_.astype(float) ** 2) / (2 * len(y))
        assert best.loss_curve_[-1] <= objective <= 1.01 * best.loss_curve_[-1]


def test_sgd_far_from_the_optimum_says_so():
    X, y = load_breast_cancer(return_X_y=True)
    with pytest.warns(ConvergenceWarning, match=r"nats can be lowered by 0.0\d+ or more. Increase max_iter=100\."):
        LogisticRegression(solver="sgd", random_state=0).fit(X, y)
    with pytest.warns(ConvergenceWarning, match=r"or more\. Let the steps fall to 0 by schedule='cosine'\."):
        LogisticRegression(solver="sgd", schedule="constant", learning_rate=0.1, random_state=0).fit(X, y)


# ---------------------------------------------------------------------------------------------------------- elastic net


@pytest.mark.parametrize(("load", "fit_intercept"), [(load_wine, True), (load_breast_cancer, False)])
@pytest.mark.parametrize(("l1_ratio", "C"), [(1.0, 0.1), (0.5, 0.1), (0.5, 1.0)])
def test_elastic_net_has_sagas_coefficients(load, l1_ratio, C, fit_intercept):
    X, y = standardised(load)
    options = {"l1_ratio": l1_ratio, "C": C, "fit_intercept": fit_intercept}
    saga = {"solver": "saga", "tol": 1e-10, "max_iter": 100_000}
    if is_older_than("1.8"):
        saga["penalty"] = "elasticnet"
    peer = sklearn.linear_model.LogisticRegression(**options, **saga).fit(X, y)
    for samples in (X, scipy.sparse.csr_array(X)):
        model = LogisticRegression(**options, **TIGHT).fit(samples, y)
        np.testing.assert_allclose(model.coef_, peer.coef_, atol=2e-5)
        np.testing.assert_array_equal(model.coef_ == 0, peer.coef_ == 0)
    assert (model.coef_ == 0).any()


def test_no_share_of_absolute_values_is_the_plain_penalty():
    X, y = standardised(load_iris)
    tiny, plain = LogisticRegression(l1_ratio=1e-12, **TIGHT).fit(X, y), LogisticRegression(**TIGHT).fit(X, y)
    np.testing.assert_allclose(tiny.coef_, plain.coef_, atol=1e-5)
    huge = LogisticRegression(l1_ratio=1.0, C=1e12, **TIGHT).fit(X[:, :1], y)
    np.testing.assert_allclose(
        huge.predict_proba(X[:, :1]),
        LogisticRegression(C=np.inf, **TIGHT).fit(X[:, :1], y).predict_proba(X[:, :1]),
        atol=1e-5,
    )


def test_split_by_sign_is_the_same_objective():
    X, y = standardised(load_iris)
    model = LogisticRegression(C=0.3, l1_ratio=0.7)
    model.classes_, target = model._read(y, None, fresh=True)
    objective = model._penalised(model._objective(X, target, np.ones(len(y))), seen=np.zeros(2))
    problem = SplitBySign(Standardised(objective))
    rng = np.random.default_rng(0)
    weight, bias = rng.normal(size=(3, 4)), rng.normal(size=3)
    state = problem.state(weight, bias)
    expected = objective(weight, bias)[0] + 0.7 / (0.3 * len(y)) * np.abs(weight).sum()
    assert problem(state)[0] == pytest.approx(expected, rel=1e-12)
    back = [np.empty_like(weight), np.empty_like(bias)]
    problem.write(state, *back)
    np.testing.assert_allclose(back[0], weight, rtol=1e-12)
    eps, step = 1e-6, rng.normal(size=state.size)
    numeric = (problem(state + eps * step)[0] - problem(state - eps * step)[0]) / (2 * eps)
    assert problem(state)[1] @ step == pytest.approx(numeric, rel=1e-7)


# --------------------------------------------------------------------------------------- what scikit-learn's users know


@pytest.mark.parametrize("solver", ["lbfgs", "newton-cholesky"])
@pytest.mark.parametrize("load", [load_iris, load_breast_cancer])
@pytest.mark.parametrize("form", [np.asarray, scipy.sparse.csr_array])
def test_without_an_intercept(load, solver, form):
    X, y = standardised(load)
    X = X + 0.5
    peer = sklearn.linear_model.LogisticRegression(fit_intercept=False, tol=1e-9, max_iter=10_000).fit(X, y)
    model = LogisticRegression(fit_intercept=False, solver=solver, **TIGHT).fit(form(X), y)
    np.testing.assert_allclose(model.coef_, peer.coef_, atol=1e-5)
    np.testing.assert_array_equal(model.intercept_, np.zeros_like(model.intercept_))


@pytest.mark.parametrize("estimator", [LogisticRegression, MultiLabelClassifier])
def test_sgd_without_an_intercept(estimator):
    X, y = standardised(load_iris)
    y = np.eye(3, dtype=int)[y] if estimator is MultiLabelClassifier else y
    best = estimator(fit_intercept=False, **TIGHT).fit(X, y)
    for form in (np.asarray, scipy.sparse.csr_array):
        model = estimator(fit_intercept=False, solver="sgd", random_state=0).fit(form(X), y)
        assert model.loss_curve_[-1] == pytest.approx(best.loss_curve_[-1], rel=0.01)
        model.partial_fit(form(X), y)
        assert not model.intercept_.any()


@pytest.mark.parametrize("solver", ["lbfgs", "newton-cholesky"])
def test_multi_label_by_either_solver(solver):
    X, y = people()
    y = np.column_stack([y > 0, y > 1]).astype(int)
    model = MultiLabelClassifier(solver=solver, **TIGHT).fit(X, y)
    for label in range(2):
        alone = LogisticRegression(solver=solver, **TIGHT).fit(X, y[:, label])
        np.testing.assert_allclose(model.predict_proba(X)[:, label], alone.predict_proba(X)[:, 1], atol=1e-7)


def test_wide_data_of_hardly_any_penalty_goes_from_newton_to_lbfgs():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(10, 20)), np.arange(10) % 2
    newton, lbfgs = (LogisticRegression(solver=solver, C=1e30).fit(X, y) for solver in ("newton-cholesky", "lbfgs"))
    np.testing.assert_array_equal(newton.coef_, lbfgs.coef_)
    assert newton.score(X, y) == 1.0


@pytest.mark.parametrize(
    ("penalty", "options", "write", "same"),
    [
        ("l2", {}, "l1_ratio=0, the default,", {}),
        ("l1", {}, "l1_ratio=1", {"l1_ratio": 1.0}),
        ("elasticnet", {"l1_ratio": 0.5}, "l1_ratio=0.5 alone", {"l1_ratio": 0.5}),
        (None, {}, "C=inf", {"C": np.inf}),
    ],
)
def test_the_old_penalty_means_what_it_did_and_says_what_to_write(penalty, options, write, same):
    X, y = standardised(load_iris)
    with pytest.warns(FutureWarning, match=f"'penalty' was deprecated by scikit-learn: write {write}"):
        model = LogisticRegression(penalty=penalty, **options).fit(X, y)
    np.testing.assert_array_equal(model.coef_, LogisticRegression(**same).fit(X, y).coef_)


def test_a_function_for_the_old_penalty_says_what_to_write():
    X, y = standardised(load_iris)
    with pytest.raises(TypeError, match="a function of the logits is logit_penalty"):
        LogisticRegression(penalty=lambda logits: (0.0, logits)).fit(X, y)
    with pytest.raises(ValueError, match="The 'penalty' parameter of LogisticRegression must be"):
        LogisticRegression(penalty="l3").fit(X, y)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"l1_ratio": 0.5, "solver": "sgd"}, "l1_ratio=0.5 needs solver='lbfgs', got 'sgd'"),
        ({"l1_ratio": 1, "solver": "newton-cholesky"}, "l1_ratio=1 needs solver='lbfgs', got 'newton-cholesky'"),
        ({"gamma": 1.0, "solver": "newton-cholesky"}, "solver='newton-cholesky' needs gamma=0.0, got 1.0"),
        (
            {"logit_penalty": lambda logits: (0.0, logits), "solver": "newton-cholesky"},
            "logit_penalty needs solver='lbfgs'",
        ),
    ],
)
@pytest.mark.parametrize("estimator", [LogisticRegression, MultiLabelClassifier])
def test_what_a_solver_cannot_do_is_refused(estimator, options, message):
    X, y = standardised(load_iris)
    y = np.eye(3, dtype=int)[y] if estimator is MultiLabelClassifier else y
    with pytest.raises(ValueError, match=message):
        estimator(**options).fit(X, y)


@pytest.mark.parametrize("solver", SOLVERS)
def test_no_iterations_leave_the_zeros(solver):
    X, y = standardised(load_iris)
    model = LogisticRegression(solver=solver, max_iter=0, tol=None).fit(X, y)
    assert not model.coef_.any()
    np.testing.assert_array_equal(model.n_iter_, [0])
    assert model.loss_curve_ == []


def test_sparse_coefficients_predict_as_before():
    X, y = standardised(load_wine)
    model = LogisticRegression(l1_ratio=1.0, C=0.1).fit(X, y)
    dense = model.decision_function(X)
    assert scipy.sparse.issparse(model.sparsify().coef_)
    for samples in (X, scipy.sparse.csr_array(X)):
        np.testing.assert_allclose(model.decision_function(samples), dense, rtol=1e-12)
    warm = clone(model).set_params(warm_start=True)
    vars(warm).update({name: value for name, value in vars(model).items() if name.endswith("_")})
    assert isinstance(warm.fit(X, y).coef_, np.ndarray)
    assert isinstance(model.densify().coef_, np.ndarray)
    np.testing.assert_array_equal(model.decision_function(X), dense)


@pytest.mark.parametrize("estimator", [LogisticRegression, MultiLabelClassifier])
def test_a_batch_of_no_weight_changes_nothing(estimator):
    X, y = standardised(load_iris)
    y = np.eye(3, dtype=int)[y] if estimator is MultiLabelClassifier else y
    classes = {} if estimator is MultiLabelClassifier else {"classes": [0, 1, 2]}
    model = estimator(solver="sgd", random_state=0).partial_fit(X, y, **classes)
    before = state(model)
    model.partial_fit(X, y, sample_weight=np.zeros(len(y)))
    assert state(model) == before
    fresh = estimator(solver="sgd", random_state=0).partial_fit(X, y, sample_weight=np.zeros(len(y)), **classes)
    assert not fresh.coef_.any()
    np.testing.assert_array_equal(fresh.partial_fit(X, y).coef_, model.coef_)


def test_every_argument_of_scikit_learns_is_here_or_private_to_its_solvers():
    theirs = set(inspect.signature(sklearn.linear_model.LogisticRegression).parameters)
    ours = set(inspect.signature(LogisticRegression).parameters)
    assert theirs - ours - {"multi_class"} == {"dual", "intercept_scaling", "n_jobs"}  # they have dropped the first
