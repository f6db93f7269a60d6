"""What all estimators keep to: scikit-learn's own checks, what a failed call leaves behind, files."""

import pickle
import sys

import numpy as np
import pytest
import sklearn.linear_model
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, scale
from sklearn.utils.estimator_checks import parametrize_with_checks
from threadpoolctl import threadpool_limits

import xentrs as xe
from xentrs.models import LogisticRegression
from xentrs.optim import SGD

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


# ------------------------------------------------------------------------------------------- scikit-learn's conventions


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # of data that is not standardised
@parametrize_with_checks([LogisticRegression()])
def test_scikit_learns_checks(estimator, check):
    check(estimator)


def test_lives_in_pipelines_and_searches():
    X, y = load_wine(return_X_y=True)
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(random_state=0))
    search = GridSearchCV(pipeline, {"logisticregression__C": [0.01, 1.0]}, cv=3).fit(X, y)
    assert search.best_params_ == {"logisticregression__C": 1.0}
    assert search.best_score_ > 0.95


def test_labels_may_be_strings():
    X, y = standardised(load_iris)
    names = np.array(["setosa", "versicolor", "virginica"])
    model = LogisticRegression(random_state=0).fit(X, names[y])
    np.testing.assert_array_equal(model.classes_, names)
    assert model.score(X, names[y]) > 0.95


# ------------------------------------------------------------------------------------------------------- all or nothing


def state(model):
    return {name: pickle.dumps(value) for name, value in vars(model).items()}


def with_nan(X):
    X = X.copy()
    X[3, 1] = np.nan
    return X


BAD_DATA = [
    (lambda X, y: (with_nan(X), y), "Input X contains NaN"),
    (lambda X, y: (X[:, 0], y), "Expected 2D array, got 1D array instead"),
    (lambda X, y: (X[:-1], y), "Found input variables with inconsistent numbers of samples"),
    (lambda X, y: (X, y + 0.5), "Unknown label type: continuous"),
    (lambda X, y: (X, y, -np.ones(len(y))), "Negative values in data passed to `sample_weight`"),
    (lambda X, y: (X, y, np.ones(3)), "sample_weight.shape == "),
    (lambda X, y: (1e300 * X, y), "The loss overflows. Standardise X, lower learning_rate=0.1 or raise C"),
]

BAD_PARAMETERS = [
    ({"C": 0.0}, "The 'C' parameter of LogisticRegression must be"),
    ({"learning_rate": -0.1}, "The 'learning_rate' parameter of LogisticRegression must be"),
    ({"learning_rate": np.inf}, "The 'learning_rate' parameter of LogisticRegression must be"),
    ({"momentum": 1.0}, "The 'momentum' parameter of LogisticRegression must be"),
    ({"momentum": 0.0}, "nesterov needs momentum > 0"),
    ({"batch_size": 0}, "The 'batch_size' parameter of LogisticRegression must be"),
    ({"max_iter": 1.5}, "The 'max_iter' parameter of LogisticRegression must be"),
    ({"tol": -1.0}, "The 'tol' parameter of LogisticRegression must be"),
    ({"n_iter_no_change": 0}, "The 'n_iter_no_change' parameter of LogisticRegression must be"),
    ({"class_weight": "auto"}, "The 'class_weight' parameter of LogisticRegression must be"),
    ({"class_weight": {7: 2.0}}, r"The classes, \[0, 1, 2\], are not in class_weight"),
    ({"class_weight": {0: -1.0}}, "must be finite and non-negative"),
    ({"label_smoothing": 1.5}, "The 'label_smoothing' parameter of LogisticRegression must be"),
    ({"random_state": "seed"}, "The 'random_state' parameter of LogisticRegression must be"),
    ({"verbose": "yes"}, "The 'verbose' parameter of LogisticRegression must be"),
]


@pytest.mark.parametrize("fitted", [False, True])
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize(("spoil", "message"), BAD_DATA)
def test_bad_data_changes_nothing(spoil, message, method, fitted):
    X, y = standardised(load_iris)
    model = LogisticRegression(max_iter=3, tol=None)
    if fitted:
        model.fit(X, y)
    before = state(model)
    X, y, *sample_weight = spoil(X, y)
    options = {"classes": [0, 1, 2]} if method == "partial_fit" else {}
    with pytest.raises(ValueError, match=message):
        getattr(model, method)(X, y, sample_weight=sample_weight[0] if sample_weight else None, **options)
    assert state(model) == before


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize(("options", "message"), BAD_PARAMETERS)
def test_bad_parameters_change_nothing(options, message, method):
    X, y = standardised(load_iris)
    model = LogisticRegression(max_iter=3, tol=None).fit(X, y).set_params(**options)
    before = state(model)
    with pytest.raises(ValueError, match=message):
        getattr(model, method)(X, y)
    assert state(model) == before


def test_no_weight_at_all_is_refused():
    X, y = standardised(load_iris)
    with pytest.raises(ValueError, match="sample_weight must have a positive sum"):
        LogisticRegression(class_weight=dict.fromkeys(range(3), 0.0)).fit(X, y)
    with pytest.raises(ValueError, match=r"[Ss]ample.weight"):  # scikit-learn's words, or ours where it has none
        LogisticRegression().fit(X, y, sample_weight=np.zeros(len(y)))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda model, X, y: model.partial_fit(X, y + 1), r"y contains previously unseen labels: \[.*3.*\]"),
        (lambda model, X, y: model.partial_fit(X, y, classes=[0, 1]), "`classes=.*` is not the same as on last call"),
        (lambda model, X, y: model.partial_fit(X[:, 1:], y), "X has 3 features, but LogisticRegression is expecting 4"),
        (lambda model, X, y: model.predict(X[:, 1:]), "X has 3 features, but LogisticRegression is expecting 4"),
        (lambda model, X, y: model.predict_proba(with_nan(X)), "Input X contains NaN"),
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
            "classes must be passed on the first call to partial_fit",
        ),
    ],
)
def test_refusals_of_a_fitted_model_leave_its_weights(call, message):
    X, y = standardised(load_iris)
    model = LogisticRegression(max_iter=3, tol=None).fit(X, y)
    before = state(model)
    with pytest.raises(ValueError, match=message):
        call(model, X, y)
    after = state(model)
    assert {name for name in before if before[name] != after[name]} <= {"warm_start", "class_weight"}
    assert before.keys() == after.keys()


def test_an_interrupt_leaves_the_model_as_it_was(monkeypatch):
    X, y = standardised(load_iris)
    model = LogisticRegression(max_iter=3, tol=None).fit(X, y)
    before = state(model)
    step, calls = SGD.step, []

    def interrupted(optimizer, grads):
        calls.append(step(optimizer, grads))
        if len(calls) == 5:
            raise KeyboardInterrupt

    monkeypatch.setattr(SGD, "step", interrupted)
    for train in (model.fit, model.set_params(batch_size=10).partial_fit):
        calls.clear()
        with pytest.raises(KeyboardInterrupt):
            train(X, y)
    assert state(model.set_params(batch_size=64)) == before


def test_predicting_needs_fitting():
    with pytest.raises(NotFittedError, match="This LogisticRegression instance is not fitted yet"):
        LogisticRegression().predict([[1.0]])


# ----------------------------------------------------------------------------------------------------------- the extras


@pytest.mark.parametrize("package", ["sklearn", "scipy", "tqdm"])
def test_a_missing_extra_says_what_to_install(package, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("xentrs.models")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=rf"xentrs.models needs {package}: pip install 'xentrs\[models\]'"):
        __import__("xentrs.models")
