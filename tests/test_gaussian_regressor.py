"""Mean and variance, both linear: what was planted is found, in any units, and the objective is the one in the docs."""

import numpy as np
import pytest
import scipy.sparse
from scipy.optimize import minimize
from sklearn.base import clone
from sklearn.datasets import load_diabetes
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score

import xentrs as xe
from xentrs.models import GaussianRegressor

TIGHT = {"tol": 1e-9, "max_iter": 10_000}


@pytest.fixture(scope="module")
def planted():
    """Samples, numbers, and the means and standard deviations that these were drawn from."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(20_000, 3))
    mean, std = X @ [1.0, -2.0, 0.5] + 3.0, np.exp(0.5 * (X @ [0.5, 0.0, -1.0] - 1.0))
    return X, rng.normal(mean, std), mean, std


def objective(model, X, y, s):
    log_var = X @ model.log_var_coef_ + model.log_var_intercept_
    loss = xe.gaussian_nll(model.predict(X), y, log_var=log_var, sample_weight=s)
    return loss + (np.sum(model.coef_**2) + np.sum(model.log_var_coef_**2)) / (2 * model.C * np.sum(s))


def test_finds_what_was_planted(planted):
    X, y, mean, std = planted
    model = GaussianRegressor().fit(X, y)
    np.testing.assert_allclose(model.coef_, [1.0, -2.0, 0.5], atol=0.02)
    np.testing.assert_allclose(model.intercept_, 3.0, atol=0.02)
    np.testing.assert_allclose(model.log_var_coef_, [0.5, 0.0, -1.0], atol=0.03)
    np.testing.assert_allclose(model.log_var_intercept_, -1.0, atol=0.03)
    predicted, predicted_std = model.predict(X, return_std=True)
    np.testing.assert_allclose(predicted, mean, atol=0.1)
    np.testing.assert_allclose(predicted_std, std, rtol=0.15)
    np.testing.assert_array_equal(model.predict(X), predicted)
    assert model.score(X, y) == r2_score(y, predicted)
    within = np.abs(y - predicted) < 1.959964 * predicted_std
    assert within.mean() == pytest.approx(0.95, abs=0.005)


@pytest.mark.parametrize("form", [np.array, scipy.sparse.csr_array])
@pytest.mark.parametrize("C", [0.1, np.inf])
def test_it_is_the_minimum_of_the_objective(form, C):
    X, y = load_diabetes(return_X_y=True)
    X, s = 20 * X[:, :4], np.random.default_rng(0).uniform(0.5, 2.0, size=len(y))
    model = GaussianRegressor(C=C, **TIGHT).fit(form(X), y, s)
    assert model.loss_curve_ == sorted(model.loss_curve_, reverse=True)
    assert model.loss_curve_[-1] == pytest.approx(objective(model, X, y, s), rel=1e-12)

    def value(params):
        probe = clone(model)
        probe.n_features_in_ = 4
        probe.coef_, probe.log_var_coef_ = params[:4], params[4:8]
        probe.intercept_, probe.log_var_intercept_ = params[8:]
        return objective(probe, X, y, s)

    found = [*model.coef_, *model.log_var_coef_, model.intercept_, model.log_var_intercept_]
    best = minimize(value, found, method="Nelder-Mead", options={"maxfev": 500})
    assert best.fun >= model.loss_curve_[-1] - 1e-9


@pytest.mark.parametrize(("factor", "shift"), [(1e-6, 0.0), (1e8, -1e9)])
def test_units_do_not_matter(planted, factor, shift):
    X, y, *_ = planted
    X, y = X[:500], y[:500]
    one = GaussianRegressor(C=np.inf, **TIGHT).fit(X, y)
    other = GaussianRegressor(C=np.inf, **TIGHT).fit(X, factor * y + shift)
    np.testing.assert_allclose(other.coef_, factor * one.coef_, rtol=1e-5)
    np.testing.assert_allclose(other.log_var_coef_, one.log_var_coef_, atol=1e-5)
    np.testing.assert_allclose(other.loss_curve_[-1], one.loss_curve_[-1] + np.log(factor), rtol=1e-6)


def test_sample_weights_are_repetitions(planted):
    X, y, *_ = planted
    X, y = X[:200], y[:200]
    repeats = np.random.default_rng(0).integers(0, 4, size=200)
    weighted = GaussianRegressor(**TIGHT).fit(X, y, repeats)
    repeated = GaussianRegressor(**TIGHT).fit(X.repeat(repeats, axis=0), y.repeat(repeats))
    np.testing.assert_allclose(weighted.coef_, repeated.coef_, rtol=1e-7)
    np.testing.assert_allclose(weighted.log_var_coef_, repeated.log_var_coef_, rtol=1e-6, atol=1e-8)
    assert weighted.loss_curve_[-1] == pytest.approx(repeated.loss_curve_[-1], rel=1e-10)


def test_equal_noise_is_least_squares(planted):
    X, *_ = planted
    X = X[:1000]
    y = X @ [1.0, 2.0, 3.0] + np.tile([1.0, -1.0], 500)
    model = GaussianRegressor(C=np.inf, **TIGHT).fit(np.tile(X[:500], (2, 1)), np.r_[y[:500] + 1, y[:500] - 1])
    peer = Ridge(alpha=1e-12).fit(X[:500], y[:500])
    np.testing.assert_allclose(model.coef_, peer.coef_, atol=0.1)


def test_single_precision_stays_single(planted):
    X, y, *_ = planted
    double, single = GaussianRegressor().fit(X, y), GaussianRegressor().fit(X.astype(np.float32), y)
    assert single.coef_.dtype == single.log_var_coef_.dtype == np.float32
    assert all(part.dtype == np.float32 for part in single.predict(X.astype(np.float32), return_std=True))
    np.testing.assert_allclose(single.coef_, double.coef_, atol=1e-3)
    np.testing.assert_allclose(single.log_var_coef_, double.log_var_coef_, atol=1e-3)


def test_warm_start_goes_on_from_where_it_was(planted):
    X, y, *_ = planted
    model = GaussianRegressor(warm_start=True, **TIGHT).fit(X, y)
    loss, coef = model.loss_curve_[-1], model.coef_
    model.fit(X, y)
    assert model.n_iter_ <= 3
    assert model.loss_curve_[0] == pytest.approx(loss, rel=1e-9)
    np.testing.assert_allclose(model.coef_, coef, atol=1e-6)
    assert np.isfinite(model.fit(X, 1000 * y).loss_curve_[-1])  # other numbers, from the old weights


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("y", [np.full(50, 7.0), np.zeros(50)])
def test_numbers_without_noise_have_a_variance_above_their_rounding(y):
    X = np.random.default_rng(0).normal(size=(50, 2))
    model = GaussianRegressor().fit(X, y)
    mean, std = model.predict(X, return_std=True)
    np.testing.assert_allclose(mean, y, atol=1e-9)
    assert np.all((std > 0) & (std < 1e-6))
    assert np.isfinite(model.loss_curve_).all()


def test_warns_of_too_few_iterations(planted):
    X, y, *_ = planted
    with pytest.warns(ConvergenceWarning, match=r"lbfgs failed to converge after 2 iteration\(s\)"):
        GaussianRegressor(max_iter=2).fit(X, y)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.int16, ">f8", object])
def test_numbers_of_any_kind(planted, dtype):
    """The squares of numbers beyond 256 overflow float16."""
    X, y, *_ = planted
    y = (100 * y[:200]).round()
    double, other = GaussianRegressor().fit(X[:200], y), GaussianRegressor().fit(X[:200], y.astype(dtype))
    np.testing.assert_allclose(other.coef_, double.coef_, rtol=0 if dtype != np.float16 else 1e-2)


def test_far_from_all_samples_the_deviation_may_be_infinite(planted):
    X, y, *_ = planted
    mean, std = (
        GaussianRegressor().fit(X, y).predict(np.vstack([X[:2], 1e5 * np.eye(3), -1e5 * np.eye(3)]), return_std=True)
    )
    assert np.isfinite(mean).all()
    assert np.isinf(std).any() and np.isfinite(std[:2]).all()
