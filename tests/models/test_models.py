"""What all linear models keep to: scikit-learn's checks, sparse samples, what a failed call leaves behind, files."""

import pickle
from functools import partial

import numpy as np
import pytest
import scipy.sparse
from scipy.optimize import approx_fprime
from sklearn.base import clone, is_classifier
from sklearn.datasets import load_digits, load_iris, load_wine
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, scale

import xentrs as xe
from estimator_checks import is_older_than, with_checks
from refusals import refused, with_nan
from xentrs.models import GaussianRegressor, LogisticRegression, MLPClassifier, MultiLabelClassifier

# Every estimator with every solver.
ESTIMATORS = [
    LogisticRegression(),
    LogisticRegression(solver="newton-cholesky"),
    LogisticRegression(l1_ratio=0.5),
    LogisticRegression(solver="sgd"),
    MultiLabelClassifier(),
    MultiLabelClassifier(solver="newton-cholesky"),
    MultiLabelClassifier(solver="sgd"),
    GaussianRegressor(),
]
CLASSIFIERS = [estimator for estimator in ESTIMATORS if is_classifier(estimator)]
OF_OTHER_SOLVERS = [ESTIMATORS[1], *ESTIMATORS[5:7]]
"""Whose way to the solver is that of the estimators before them."""
STEP_BY_STEP = [estimator for estimator in CLASSIFIERS if estimator.solver == "sgd"]

# Both fit 15 samples of 30 features, through all of which a line goes. There a Gaussian likelihood has no maximum,
# and what is predicted depends on the rounding errors that stop the search for one.
WEIGHTS = ["check_sample_weight_equivalence_on_dense_data", "check_sample_weight_equivalence_on_sparse_data"]
UNBOUNDED = dict.fromkeys(WEIGHTS, "a line goes through all samples, so the likelihood has no maximum")

# scikit-learn 1.6 makes three labels two by setting the first sample's against the others. One fit is given the samples
# in another order than the other fit, so it is asked for another label.
OTHER_LABELS = dict.fromkeys(WEIGHTS, "scikit-learn 1.6 gives the two fits that it compares different labels")


def expected_failures(estimator):
    if isinstance(estimator, GaussianRegressor):
        return UNBOUNDED
    if isinstance(estimator, MultiLabelClassifier) and is_older_than("1.7"):
        return OTHER_LABELS
    return {}


def data(estimator, load=load_iris):
    """Samples, standardised, and targets of the kind that the estimator learns."""
    X, y = load(return_X_y=True)
    if isinstance(estimator, MultiLabelClassifier):
        y = np.column_stack([y == 0, y > 0, X[:, 0] > np.median(X[:, 0])]).astype(int)
    return scale(X), y


def short(estimator):
    """What trains a little, always the same, and without warnings."""
    options = {"random_state": 0} if is_classifier(estimator) else {}
    options |= {"schedule": "constant"} if hasattr(estimator, "schedule") else {}
    return clone(estimator).set_params(max_iter=5, tol=None, **options)


# ------------------------------------------------------------------------------------------- scikit-learn's conventions


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # of data that is not standardised
@with_checks(
    [estimator for estimator in ESTIMATORS if estimator not in OF_OTHER_SOLVERS],
    expected_failed_checks=expected_failures,
)
def test_scikit_learns_checks(estimator, check):
    check(estimator)


@pytest.mark.thorough
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # as above
@with_checks(OF_OTHER_SOLVERS, expected_failed_checks=expected_failures)
def test_scikit_learns_checks_of_other_solvers(estimator, check):
    check(estimator)


def test_lives_in_pipelines_and_searches():
    X, y = load_wine(return_X_y=True)
    pipeline = make_pipeline(StandardScaler(), LogisticRegression())
    search = GridSearchCV(pipeline, {"logisticregression__C": [0.0001, 1.0]}, cv=3).fit(X, y)
    assert search.best_params_ == {"logisticregression__C": 1.0}
    assert search.best_score_ > 0.95


# ------------------------------------------------------------------------------------------------------- masked arrays


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # after five epochs of a network
@pytest.mark.parametrize("name", ["X", "y", "sample_weight"])
@pytest.mark.parametrize("estimator", [*ESTIMATORS, MLPClassifier(4)], ids=repr)
def test_masked_arrays_are_refused(estimator, name):
    """scikit-learn's `check_array` takes the mask off, and what it hides would count."""
    X, y = data(estimator)
    given = {"X": X, "y": y, "sample_weight": np.ones(len(X))}
    masked = given | {name: np.ma.masked_where(np.arange(given[name].size).reshape(given[name].shape) < 2, given[name])}
    with pytest.raises(ValueError, match=rf"^{name} must not be masked, got 2 of \d+ elements masked; write {name}"):
        short(estimator).fit(**masked)
    if name == "X":
        with pytest.raises(ValueError, match=r"^X must not be masked"):
            short(estimator).fit(**given).predict(masked["X"])
    unmasked = given | {name: np.ma.array(given[name])}
    assert short(estimator).fit(**unmasked).score(X, y) == short(estimator).fit(**given).score(X, y)


# ------------------------------------------------------------------------------------------------------- sparse samples


@pytest.mark.parametrize("form", [scipy.sparse.csr_array, scipy.sparse.csc_matrix, scipy.sparse.coo_array])
@pytest.mark.parametrize("estimator", ESTIMATORS, ids=repr)
def test_sparse_samples_give_what_dense_ones_give(estimator, form):
    X, y = data(estimator)
    X = np.where(np.abs(X) > 0.5, X, 0.0)
    dense, sparse = short(estimator).fit(X, y), short(estimator).fit(form(X), y)
    np.testing.assert_allclose(sparse.coef_, dense.coef_, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(sparse.loss_curve_, dense.loss_curve_, rtol=1e-9)
    np.testing.assert_allclose(sparse.predict(form(X)), dense.predict(X), rtol=1e-7)
    gradient = sparse.input_gradient(form(X), y)
    assert isinstance(gradient, np.ndarray)
    np.testing.assert_allclose(gradient, dense.input_gradient(X, y), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("schedule", ["constant", "lipschitz"])
@pytest.mark.parametrize("batch_size", [50, 1000])
def test_sparse_samples_of_many_features_are_never_made_dense(schedule, batch_size):
    rng = np.random.default_rng(0)
    rows, columns = np.arange(400).repeat(20), rng.integers(200_000, size=8000)
    X = scipy.sparse.csr_array((rng.uniform(size=8000), (rows, columns)), shape=(400, 200_000))  # dense 640 MB
    y = X[:, :100_000].sum(axis=1) > 5
    options = {"schedule": schedule, "batch_size": batch_size, "tol": None, "max_iter": 2}
    assert LogisticRegression(solver="sgd", **options).fit(X, y).coef_.shape == (1, 200_000)
    assert LogisticRegression(max_iter=50, C=100.0).fit(X, y).score(X, y) > 0.95


# ------------------------------------------------------------------------------------------------------ input gradients


@pytest.mark.parametrize("options", [{}, {"label_smoothing": 0.2}, {"gamma": 1.5}], ids=str)
@pytest.mark.parametrize("estimator", ESTIMATORS, ids=repr)
def test_the_input_gradient_is_that_of_the_loss_of_each_row(estimator, options):
    if not is_classifier(estimator) or (estimator.solver == "newton-cholesky" and "gamma" in options):
        options = {}
    X, y = data(estimator)
    X, y = X[::7], y[::7]
    model = short(estimator).set_params(**options).fit(X, y)
    gradient = model.input_gradient(X, y)
    assert gradient.shape == X.shape

    def loss(x, target):
        """The loss of one sample, from the public functions."""
        logits = x @ np.atleast_2d(model.coef_).T + model.intercept_
        if isinstance(model, LogisticRegression):
            if "gamma" in options:
                return xe.softmax_focal_loss(logits, target, **options)
            return xe.softmax_cross_entropy(logits, target, **options)
        if isinstance(model, MultiLabelClassifier):
            if "gamma" in options:
                return xe.sigmoid_focal_loss(logits, target, **options, reduction="sum")
            return xe.sigmoid_cross_entropy(logits, target, **options, reduction="sum")
        return xe.gaussian_nll(logits, target, log_var=x @ model.log_var_coef_ + model.log_var_intercept_)

    for row, x, target in zip(gradient, X, y, strict=True):
        np.testing.assert_allclose(row, approx_fprime(x, partial(loss, target=target)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=repr)
def test_input_gradients_know_no_weights_and_ask_for_the_right_target(estimator):
    X, y = data(estimator)
    model = short(estimator).fit(X, y)
    before = model.input_gradient(X, y)
    if isinstance(model, LogisticRegression):
        model.set_params(class_weight={0: 5.0})
    np.testing.assert_array_equal(model.input_gradient(X, y), before)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        model.input_gradient(X, y[1:])
    if is_classifier(model):
        with pytest.raises(ValueError, match=r"y contains previously unseen labels|y must be labels, or numbers"):
            model.input_gradient(X, y + 7)
    with pytest.raises(NotFittedError):
        clone(model).input_gradient(X, y)


# ------------------------------------------------------------------------------------------------------------- training


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=repr)
def test_callbacks_see_every_iteration_and_may_stop(estimator):
    X, y = data(estimator)
    seen = []

    def look(model, loss):
        seen.append((model.n_iter_, loss, model.predict(X[:1]).tolist(), model.coef_.copy()))
        return model.n_iter_ == 3

    model = short(estimator).set_params(callbacks=[look]).fit(X, y)
    assert [n for n, *_ in seen] == [1, 2, 3]
    assert [loss for _, loss, *_ in seen] == model.loss_curve_
    np.testing.assert_array_equal(seen[-1][-1], model.coef_)
    np.testing.assert_array_equal(seen[0][-1], short(estimator).set_params(max_iter=1).fit(X, y).coef_)


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=repr)
def test_shows_progress_when_asked(estimator, capsys):
    X, y = data(estimator)
    for verbose in (None, False):
        short(estimator).set_params(verbose=verbose).fit(X, y)
    assert capsys.readouterr() == ("", "")
    model = short(estimator).set_params(verbose=True).fit(X, y)
    shown = capsys.readouterr().err
    assert "5/5" in shown
    assert f"{'epoch' if estimator in STEP_BY_STEP else 'iteration'}/s" in shown
    assert f"loss={model.loss_curve_[-1]:.4f}" in shown
    if hasattr(model, "partial_fit"):
        model.partial_fit(X, y)
        assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=repr)
def test_warm_starts_go_on_and_cold_ones_do_not(estimator):
    X, y = data(estimator)
    model = short(estimator).fit(X, y)
    first, coef = model.loss_curve_, model.coef_
    model.set_params(warm_start=True).fit(X, y)
    assert model.loss_curve_[0] < first[-1]
    assert coef is not model.coef_
    np.testing.assert_array_equal(model.set_params(warm_start=False).fit(X, y).coef_, coef)


def test_the_solver_may_change_between_calls():
    X, y = data(ESTIMATORS[0])
    model = LogisticRegression(C=1000, tol=1e-8, max_iter=1000).fit(X, y)
    loss = model.loss_curve_[-1]
    model.set_params(solver="sgd", learning_rate=1e-4).partial_fit(X, y)
    assert model.loss_curve_[-1] == pytest.approx(loss, rel=0.02)
    assert model.set_params(solver="lbfgs", warm_start=True).fit(X, y).loss_curve_[-1] == pytest.approx(loss)


def test_lbfgs_forgets_the_velocity_of_sgd():
    X, y = data(ESTIMATORS[0])
    model = LogisticRegression(solver="sgd", max_iter=2, tol=None, random_state=0).fit(X, y)
    model.set_params(solver="lbfgs").fit(X, y)
    other = LogisticRegression(max_iter=2, tol=None, random_state=0).fit(X, y)
    for one in (model, other):
        one.set_params(solver="sgd").partial_fit(X, y)
    np.testing.assert_array_equal(model.coef_, other.coef_)


# ------------------------------------------------------------------------------------------------------- all or nothing


BAD_DATA = [
    (lambda X, y: (with_nan(X), y), "Input X contains NaN"),
    (lambda X, y: (X[:, 0], y), "Expected 2D array, got 1D array instead"),
    (lambda X, y: (X[:-1], y), "Found input variables with inconsistent numbers of samples"),
    (lambda X, y: (X, np.where(y == y.max(), np.inf, y)), "Input y contains infinity"),
    (lambda X, y: (X, y, -np.ones(len(y))), "Negative values in data passed to `sample_weight`"),
    (lambda X, y: (X, y, np.ones(3)), "sample_weight.shape == "),
    (lambda X, y: (X, y, np.zeros(len(y))), "[Ss]ample.weight"),  # scikit-learn's words, or ours where it has none
    (lambda X, y: (1e300 * X, y), r"The loss overflows. X reaches \S+e\+300: divide it by that, as .*MaxAbsScaler"),
]
BAD_TARGETS = {
    LogisticRegression: [
        (lambda y: np.where(y == 2, np.nan, y), "Input y contains NaN"),
        (lambda y: y + 0.5, "Unknown label type: continuous"),
        (lambda y: np.eye(3, dtype=int)[y], "y should be a 1d array, got an array of shape"),
        (lambda y: np.eye(3)[y] - 0.1, r"y must be labels, or distributions in \[0, 1\], got -0.1 at row 0"),
        (lambda y: np.eye(3)[y] * 0.9, "y must be labels, or distributions whose rows sum to 1, got 0.9 at row 0"),
    ],
    MultiLabelClassifier: [
        (lambda y: y[:, 0] + 0.5 * y[:, 1], "Only binary classification is supported|Unknown label type"),
        (
            lambda y: y + y[:, 1:2],
            r"y must be labels, or numbers in \[0, 1\], got 2 at row \d+, column \d. Several labels",
        ),
        (lambda y: y.astype(str), "y must be labels, or numbers in|could not convert string"),
        (lambda y: y.astype(str).astype(object), r"y must be labels, or numbers in \[0, 1\], got str"),
        (
            lambda y: np.ma.masked_equal(y, 1),
            r"y must not be masked, got \d+ of \d+ elements masked; write y\.astype\(float\)\.filled\(numpy\.n",
        ),
        (lambda y: np.full(len(y), np.nan), "y must have labels, got missing values alone"),
        (lambda y: np.where(np.arange(len(y)) % 2, np.nan, 1.0), "y must have at least 2 classes, got only one class"),
    ],
    GaussianRegressor: [
        (lambda y: np.where(y == 2, np.nan, y), "Input y contains NaN"),
        (lambda y: np.column_stack([y, y]), "y should be a 1d array"),
        (lambda y: y.astype(str), "y must be numbers, got <U"),
    ],
}
BAD_PARAMETERS = {
    "C": [-1.0, 0.0, "1"],
    "max_iter": [-1, 1.5],
    "tol": [-1.0],
    "verbose": ["yes"],
    "callbacks": [3],
    "warm_start": ["no"],
}
BAD_PARAMETERS_OF_CLASSIFIERS = {
    "label_smoothing": [1.5],
    "gamma": [-1.0, np.inf],
    "l1_ratio": [-0.1, 1.5],
    "fit_intercept": ["no"],
    "logit_penalty": ["l2"],
    "logit_penalty_weight": [-1.0],
    "solver": ["adam"],
    "learning_rate": [-0.1, np.inf],
    "schedule": ["adaptive"],
    "power_t": [-0.5],
    "momentum": [1.0],
    "nesterov": [2],
    "batch_size": [0],
    "shuffle": ["yes"],
    "early_stopping": ["yes"],
    "validation_fraction": [0.0, 1.0],
    "n_iter_no_change": [0],
    "random_state": ["seed"],
}


def cases(table):
    return [(name, value) for name, values in table.items() for value in values]


@pytest.mark.parametrize("fitted", [False, True])
@pytest.mark.parametrize(("spoil", "message"), BAD_DATA)
@pytest.mark.parametrize("estimator", ESTIMATORS, ids=repr)
def test_bad_data_changes_nothing(estimator, spoil, message, fitted):
    X, y = data(estimator)
    model = short(estimator)
    if fitted:
        model.fit(X, y)
    X, y, *weight = spoil(X, y)
    weight = weight[0] if weight else None
    refused(model, "fit", message, X, y, sample_weight=weight)
    if hasattr(model, "partial_fit") and (weight is None or weight.any()):  # a batch of no weight changes nothing
        classes = [0, 1, 2] if isinstance(model, LogisticRegression) else None
        refused(model, "partial_fit", message, X, y, sample_weight=weight, classes=classes)


@pytest.mark.parametrize(("weight", "total"), [(1e308, "inf"), (1e-320, "1.49998e-318")])
@pytest.mark.parametrize("estimator", ESTIMATORS, ids=repr)
def test_weights_whose_sum_overflows_change_nothing(estimator, weight, total):
    X, y = data(estimator)
    message = f"sample_weight must have a positive, finite sum to divide by, got {total}"
    refused(short(estimator).fit(X, y), "fit", message, X, y, sample_weight=np.full(len(y), weight))


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=repr)
def test_penalties_of_any_strength(estimator):
    X, y = data(estimator)
    largest = short(estimator).set_params(C=1e308).fit(X, y)
    none = short(estimator).set_params(C=np.inf).fit(X, y)
    if not getattr(estimator, "l1_ratio", 0):  # with l1 the way is another, in twice as many coordinates
        np.testing.assert_allclose(largest.coef_, none.coef_, rtol=1e-9)
    smallest = short(estimator).set_params(C=5e-324)
    refused(smallest, "fit", r"C must be large enough for 1 / \(C n\) to be finite, got 5e-324 and n = 150", X, y)


@pytest.mark.parametrize(
    ("rows", "share", "message"),
    [
        (
            slice(0, 150, 10),
            0.1,
            r"=0.1 of 15 samples of 3 classes: 2 would be .* fraction of 0.2 to 0.8, or set early",
        ),
        (slice(0, 150, 10), 0.9, r"=0.9 of 15 samples of 3 classes: 14 would be held out and 1 trained on"),
        (slice(40, 101), 0.2, "=0.2 of every class: the rarest has a single sample. Leave that out, or set early_stop"),
        ([0, 1, 50, 51], 0.2, "=0.2 of 4 samples of 2 classes: 1 .* fraction of 0.5 to 0.5, or set early"),
    ],
)
@pytest.mark.parametrize("estimator", CLASSIFIERS + [MLPClassifier((3,))], ids=repr)
def test_a_share_that_cannot_be_held_out(estimator, rows, share, message):
    """scikit-learn's words name neither what was asked for nor what to write."""
    X, y = load_iris(return_X_y=True)
    model = short(estimator).set_params(early_stopping=True, validation_fraction=share)
    if isinstance(estimator, MultiLabelClassifier):  # whose labels are in no proportion: it needs one sample a side
        Y, few = np.eye(3, dtype=int)[y][:3], "=0.9 of 3 samples: 3 would be held out and 0 trained on"
        refused(model.set_params(validation_fraction=0.9), "fit", few, X[:3], Y)
    else:
        refused(model, "fit", "early_stopping cannot hold out validation_fraction" + message, X[rows], y[rows])


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=repr)
def test_callbacks_that_cannot_be_called(estimator):
    X, y = data(estimator)
    model = short(estimator).set_params(callbacks=(print, 3))
    refused(model, "fit", r"callbacks\[1\] must be callable, got 3", X, y, error=TypeError)


@pytest.mark.parametrize(
    ("estimator", "spoil", "message"),
    [(estimator, *case) for estimator in ESTIMATORS for case in BAD_TARGETS[type(estimator)]],
)
def test_bad_targets_change_nothing(estimator, spoil, message):
    X, y = data(estimator)
    refused(short(estimator).fit(X, y), "fit", message, X, spoil(y))


@pytest.mark.parametrize(("name", "value"), cases(BAD_PARAMETERS))
@pytest.mark.parametrize("estimator", ESTIMATORS, ids=repr)
def test_bad_parameters_change_nothing(estimator, name, value):
    X, y = data(estimator)
    model = short(estimator).fit(X, y).set_params(**{name: value})
    refused(model, "fit", f"The '{name}' parameter of {type(model).__name__} must be", X, y)


@pytest.mark.parametrize(("name", "value"), cases(BAD_PARAMETERS_OF_CLASSIFIERS))
@pytest.mark.parametrize("estimator", STEP_BY_STEP, ids=repr)
def test_bad_parameters_of_classifiers_change_nothing(estimator, name, value):
    X, y = data(estimator)
    model = short(estimator).fit(X, y).set_params(**{name: value})
    message = f"The '{name}' parameter of {type(model).__name__} must be"
    refused(model, "fit", message, X, y)
    if name != "solver":
        refused(model, "partial_fit", message, X, y)


@pytest.mark.parametrize(
    ("options", "method", "message"),
    [
        ({"momentum": 0.0}, "fit", "nesterov needs momentum > 0, got 0.0"),
        (
            {"logit_penalty": lambda logits: (0.0, logits)},
            "fit",
            "logit_penalty needs solver='lbfgs' and early_stopping=False",
        ),
        (
            {"logit_penalty": lambda logits: (0.0, logits), "solver": "lbfgs", "early_stopping": True},
            "fit",
            "logit_penalty needs solver='lbfgs' and early_stopping=False",
        ),
        ({"early_stopping": True}, "partial_fit", "early_stopping=True is not supported for partial_fit"),
        ({"schedule": "cosine"}, "partial_fit", "schedule='cosine' is not supported for partial_fit"),
        ({"schedule": "lipschitz", "gamma": 1.0}, "fit", "schedule='lipschitz' needs a loss of bounded curvature"),
    ],
)
@pytest.mark.parametrize("estimator", STEP_BY_STEP, ids=repr)
def test_what_does_not_go_together_is_refused(estimator, options, method, message):
    X, y = data(estimator)
    model = short(estimator).fit(X, y).set_params(**options)
    kept = {name: value for name, value in vars(model).items() if name != "logit_penalty"}  # a lambda does not pickle
    with pytest.raises(ValueError, match=message):
        getattr(model, method)(X, y)
    assert all(vars(model)[name] is value for name, value in kept.items())


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=repr)
def test_other_features_and_no_training_are_refused(estimator):
    X, y = data(estimator)
    name = type(estimator).__name__
    with pytest.raises(NotFittedError, match=f"This {name} instance is not fitted yet"):
        clone(estimator).predict(X)
    model = short(estimator).fit(X, y)
    for method in ("predict", "predict_proba", "decision_function"):
        if hasattr(model, method):
            refused(model, method, f"X has 3 features, but {name} is expecting 4", X[:, 1:])
            refused(model, method, "Input X contains NaN", with_nan(X))
    refused(model.set_params(warm_start=True), "fit", f"X has 3 features, but {name} is expecting 4", X[:, 1:], y)


# ---------------------------------------------------------------------------------------------------------------- files


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=repr)
def test_files_and_pickles_hold_all_there_is(estimator, tmp_path):
    X, y = data(estimator, load_digits if is_classifier(estimator) else load_iris)
    model = short(estimator).fit(X, y)
    model.save(tmp_path / "model.npz")
    for again in (type(model).load(tmp_path / "model.npz"), pickle.loads(pickle.dumps(model))):
        assert vars(again).keys() == vars(model).keys()
        np.testing.assert_array_equal(again.predict(X), model.predict(X))
        assert again.loss_curve_ == model.loss_curve_
        if hasattr(model, "partial_fit"):
            again.set_params(shuffle=False).partial_fit(X, y)
            same = clone(model).set_params(shuffle=False)
            vars(same).update(vars(type(model).load(tmp_path / "model.npz")) | {"shuffle": False})
            np.testing.assert_array_equal(again.coef_, same.partial_fit(X, y).coef_)
