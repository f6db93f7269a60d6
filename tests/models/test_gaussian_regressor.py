"""Mean and variance, both linear: what was planted is found, in any units, and the objective is the one in the docs."""

import numpy as np
import pytest
import scipy.sparse
from scipy.optimize import minimize
from sklearn.base import clone
from sklearn.datasets import load_diabetes, make_regression
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score
from sklearn.model_selection import cross_val_score
from sklearn.preprocessing import scale

import xentrs as xe
from checks import never_rises
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
    spread = np.sqrt(np.average((y - np.average(y, weights=s)) ** 2, weights=s))
    return loss + (np.sum((model.coef_ / spread) ** 2) + np.sum(model.log_var_coef_**2)) / (2 * model.C * np.sum(s))


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
    assert never_rises(model.loss_curve_)
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


UNITS = [(1e-6, 3e-6), (1e6, -1e7), (-3.0, 7.0), (1e30, 1e31), (1e200, -1e201), (1e-200, 0.0)]


@pytest.mark.parametrize("C", [1.0, 0.01, np.inf])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("factor", "shift"), UNITS)
def test_units_do_not_matter(planted, factor, shift, weighted, C):
    """Iteration by iteration, up to the rounding of `y`."""
    X, y, *_ = planted
    X, y = X[:500], y[:500]
    weight = np.random.default_rng(0).uniform(0, 2, size=500) if weighted else None
    one, other = GaussianRegressor(C=C).fit(X, y, weight), GaussianRegressor(C=C).fit(X, factor * y + shift, weight)
    assert other.n_iter_ == one.n_iter_
    (mean, std), (other_mean, other_std) = (model.predict(X, return_std=True) for model in (one, other))
    np.testing.assert_allclose((other_mean - shift) / factor, mean, rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(other_std / abs(factor), std, rtol=1e-8)
    np.testing.assert_allclose(np.subtract(other.loss_curve_, np.log(abs(factor))), one.loss_curve_, rtol=1e-8)


@pytest.mark.parametrize(("factor", "shift"), [(1e-3, 0.0), (-1e4, 1e4), (1e30, 0.0)])
def test_units_do_not_matter_in_single_precision(planted, factor, shift):
    X, y, *_ = planted
    X, y = X[:500].astype(np.float32), y[:500]
    one, other = GaussianRegressor().fit(X, y), GaussianRegressor().fit(X, factor * y + shift)
    (mean, std), (other_mean, other_std) = (model.predict(X, return_std=True) for model in (one, other))
    np.testing.assert_allclose((other_mean.astype(float) - shift) / factor, mean, atol=2e-5)
    np.testing.assert_allclose(other_std / abs(factor), std, rtol=2e-5)


@pytest.mark.parametrize("factor", [1e200, 1e-200])
def test_units_that_single_precision_does_not_hold(planted, factor):
    X, y, *_ = planted
    with pytest.raises(ValueError, match="y must have mean and standard deviation within float32, the type of X, got "):
        GaussianRegressor().fit(X[:100].astype(np.float32), factor * y[:100])


def test_numbers_of_no_weight_have_no_part(planted):
    X, y, *_ = planted
    X, y, weight = X[:200], y[:200].copy(), np.ones(200)
    weight[:20] = 0.0
    without = GaussianRegressor(**TIGHT).fit(X[20:], y[20:])
    for wild in (1e6, 1e300, -1.7e308):
        y[:20] = wild
        np.testing.assert_allclose(GaussianRegressor(**TIGHT).fit(X, y, weight).coef_, without.coef_, rtol=1e-6)


def test_real_data_with_defaults():
    X, y = load_diabetes(return_X_y=True)
    model = GaussianRegressor().fit(scale(X), y)
    assert model.score(scale(X), y) > 0.51
    assert cross_val_score(GaussianRegressor(), scale(X), y).mean() > 0.47
    assert GaussianRegressor().fit(X, y).score(X, y) > 0.49  # columns of a spread of 0.05
    X, y = make_regression(1000, 10, noise=10, random_state=0)
    assert GaussianRegressor().fit(X, y).score(X, y) > 0.99


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # the likelihood has no maximum
@pytest.mark.parametrize("seed", range(3))
def test_the_means_come_first_where_variance_could_explain_all(seed):
    """As many features as samples: whoever learns both at once blames some samples on the noise."""
    X, y = make_regression(noise=10, random_state=seed)
    assert GaussianRegressor(max_iter=50).fit(X, y).score(X, y) > 0.99


# Features as people have them: their means and spreads.
FEATURES = {
    "kelvins": ([298.0, 310.0], [5.0, 0.1]),
    "seconds since 1970": ([1.7e9, 300.0], [3e7, 20.0]),
    "prices": ([2e5, 3.5], [1e5, 0.5]),
    "tiny": ([0.0, 1.0], [1e-9, 1e-4]),
    "years": ([2010.0, 1e6], [8.0, 1e6]),
}


@pytest.mark.parametrize("form", ["dense", "sparse", "float32"])
@pytest.mark.parametrize("C", [1.0, np.inf])
@pytest.mark.parametrize("name", FEATURES)
def test_features_in_any_unit_lead_to_the_minimum(name, C, form):
    """Told by the objective itself, which is looked at in standardised coordinates."""
    center, width = map(np.array, FEATURES[name])
    rng = np.random.default_rng(1)
    Z = rng.normal(size=(400, 2))
    y = 100 * (Z @ [1.0, -2.0] + np.exp(0.4 * Z[:, 0]) * rng.normal(size=400))
    X = center + width * Z
    samples = {"dense": X, "sparse": scipy.sparse.csr_array(X), "float32": X.astype(np.float32)}[form]
    model = GaussianRegressor(C=C).fit(samples, y)
    if form == "float32":
        X = samples.astype(np.float64)
    Z = (X - X.mean(axis=0)) / X.std(axis=0)

    def value(params):
        w, u, b, a = params[:2], params[2:4], params[4], params[5]
        penalty = (np.sum((w / X.std(axis=0)) ** 2) / y.std() ** 2 + np.sum((u / X.std(axis=0)) ** 2)) / (2 * C * 400)
        return xe.gaussian_nll(Z @ w + b, y, log_var=Z @ u + a) + penalty

    w, u = model.coef_ * X.std(axis=0), model.log_var_coef_ * X.std(axis=0)
    b = model.intercept_ + X.mean(axis=0) @ model.coef_.astype(float)
    a = model.log_var_intercept_ + X.mean(axis=0) @ model.log_var_coef_.astype(float)
    found = np.array([*w, *u, b, a])
    unit = np.array([y.std(), y.std(), 1, 1, y.std(), 1])
    best = minimize(lambda p: value(p * unit), found / unit, method="Powell", options={"xtol": 1e-9, "ftol": 1e-14})
    assert value(found) <= best.fun + (1e-8 if form != "float32" else 1e-4)
    assert model.loss_curve_[-1] == pytest.approx(value(found), abs=1e-9 if form != "float32" else 1e-3)


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


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n", [1, 50])
@pytest.mark.parametrize("number", [7.0, 0.0, 0.1, -1e-5, 1e300])
def test_numbers_that_are_all_the_same(number, n, weighted):
    """The mean is exact, and the variance above its rounding error."""
    X = np.random.default_rng(0).normal(size=(n, 2))
    weight = np.random.default_rng(1).uniform(0.1, 2.0, size=n) if weighted else None
    model = GaussianRegressor().fit(X, np.full(n, number), weight)
    mean, std = model.predict(X, return_std=True)
    np.testing.assert_array_equal(mean, number)
    np.testing.assert_allclose(std, np.finfo(float).eps * (abs(number) or 1.0), rtol=1e-9)
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
