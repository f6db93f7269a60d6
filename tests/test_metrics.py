"""Scorers of raw scores and the display of reliability, as scikit-learn calls them, on its estimators and on ours."""

import pickle
from collections.abc import Iterator
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
import sklearn.linear_model
import sklearn.metrics
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.ensemble import IsolationForest, RandomForestClassifier
from sklearn.exceptions import UnsetMetadataPassedError
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GridSearchCV, cross_val_score, cross_validate
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

import xentrs as xe
from xentrs.metrics import ReliabilityDisplay, get_scorer, get_scorer_names
from xentrs.models import LogisticRegression, MultiLabelClassifier, TemperatureScaler

NAMES = ["neg_brier_score", "neg_calibration_error", "neg_cross_entropy", "neg_perplexity"]
IRIS = load_iris()
X, SPECIES = IRIS.data[:, :2], IRIS.target_names[IRIS.target]
WEIGHT = np.random.default_rng(6).exponential(size=len(X))
MODELS = [LogisticRegression(), sklearn.linear_model.LogisticRegression(), GaussianNB()]


@pytest.fixture
def routing() -> Iterator[None]:
    with sklearn.config_context(enable_metadata_routing=True):
        yield


@pytest.fixture
def ax() -> Iterator[Any]:
    figure, axes = plt.subplots()
    yield axes
    plt.close(figure)


def by_hand(name: str, p: np.ndarray, y: np.ndarray, weight: np.ndarray) -> float:
    """The formula of `get_scorer`, of probabilities and the numbers of their columns."""
    of_label = p[np.arange(len(y)), y]
    if name == "neg_brier_score":
        terms = ((p - np.eye(p.shape[1])[y]) ** 2).sum(axis=1) / (2 if p.shape[1] == 2 else 1)
        return -float(np.average(terms, weights=weight))
    if name == "neg_calibration_error":
        bins = np.ceil(p.max(axis=1) * 15)
        gaps = [(weight * ((p.argmax(axis=1) == y) - p.max(axis=1)))[bins == b].sum() for b in range(1, 16)]
        return -float(np.abs(gaps).sum() / weight.sum())
    loss = float(np.average(-np.log(of_label), weights=weight))
    return -loss if name == "neg_cross_entropy" else -float(np.exp(loss))


def test_the_names() -> None:
    assert get_scorer_names() == NAMES


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__module__)
def test_scores_are_those_of_the_formulas(model: Any, n_classes: int) -> None:
    """Of logits of either shape and of logarithms of probabilities, with labels that are text."""
    rows = SPECIES != "setosa" if n_classes == 2 else np.ones(len(X), bool)
    samples, labels, weight = X[rows], SPECIES[rows], WEIGHT[rows]
    fitted = clone(model).fit(samples, labels)
    y = np.searchsorted(fitted.classes_, labels)
    for name in NAMES:
        expected = by_hand(name, fitted.predict_proba(samples), y, weight)
        assert get_scorer(name)(fitted, samples, labels, sample_weight=weight) == pytest.approx(expected, rel=1e-12)
    theirs = sklearn.metrics.get_scorer("neg_log_loss")(fitted, samples, labels)
    assert get_scorer("neg_cross_entropy")(fitted, samples, labels) == pytest.approx(theirs, rel=1e-12)
    if n_classes == 2:  # of more scikit-learn tells it from 1.7 on
        p = fitted.predict_proba(samples)[:, 1]
        theirs = -sklearn.metrics.brier_score_loss(labels, p, pos_label=fitted.classes_[1])
        assert get_scorer("neg_brier_score")(fitted, samples, labels) == pytest.approx(theirs, rel=1e-12)


def test_nothing_is_rounded_to_probabilities_and_back() -> None:
    """The loss of samples 40 off the border is that of the logits, not 0."""
    model = LogisticRegression().fit([[-1.0], [1.0]], [False, True])
    far = np.array([[50.0 / model.coef_[0, 0]]])
    score = get_scorer("neg_cross_entropy")(model, far, [True])
    assert score == pytest.approx(-np.log1p(np.exp(-model.decision_function(far)[0])), rel=1e-9) and score < 0


def test_a_label_that_is_missing_in_the_fold() -> None:
    model = LogisticRegression().fit(X, SPECIES)
    rows = SPECIES == "virginica"
    expected = -np.log(model.predict_proba(X[rows])[:, 2]).mean()
    assert get_scorer("neg_cross_entropy")(model, X[rows], SPECIES[rows]) == pytest.approx(-expected, rel=1e-12)


def test_classes_in_another_order() -> None:
    class Turned:
        classes_ = np.array(["b", "a"])

        def decision_function(self, X: Any) -> Any:
            return np.array([[3.0, 0.0]] * len(X))

    score = get_scorer("neg_cross_entropy")
    assert score(Turned(), [[0]], ["b"]) == pytest.approx(-np.log1p(np.exp(-3)))
    assert score(Turned(), [[0]], ["a"]) == pytest.approx(-3 - np.log1p(np.exp(-3)))


def test_a_probability_of_zero_costs_all() -> None:
    forest = RandomForestClassifier(5, random_state=0).fit(X, SPECIES)
    assert get_scorer("neg_cross_entropy")(forest, X[:1], ["virginica"]) == -np.inf
    assert get_scorer("neg_brier_score")(forest, X[:1], ["virginica"]) == pytest.approx(-2.0)
    assert np.isfinite(TemperatureScaler(forest).fit(X, SPECIES).temperature_)


def test_searches_and_validations_in_other_processes() -> None:
    scoring = {name: get_scorer(name) for name in NAMES}
    pipeline = make_pipeline(StandardScaler(), LogisticRegression())
    search = GridSearchCV(
        pipeline, {"logisticregression__C": [1e-3, 1.0]}, scoring=scoring, refit="neg_perplexity", cv=2
    )
    alone = search.fit(X, SPECIES).cv_results_
    shared = clone(search).set_params(n_jobs=2).fit(X, SPECIES).cv_results_
    for name in NAMES:
        np.testing.assert_array_equal(shared[f"mean_test_{name}"], alone[f"mean_test_{name}"])
    assert search.best_params_ == {"logisticregression__C": 1.0}
    folds = cross_validate(pipeline, X, SPECIES, scoring=scoring, cv=3)
    np.testing.assert_allclose(folds["test_neg_perplexity"], -np.exp(-folds["test_neg_cross_entropy"]), rtol=1e-12)


def test_weights_go_where_they_are_asked_for(routing: None) -> None:
    model = LogisticRegression().set_fit_request(sample_weight=False)
    scorer = get_scorer("neg_cross_entropy").set_score_request(sample_weight="importance")
    routed = cross_val_score(model, X, SPECIES, scoring=scorer, cv=3, params={"importance": WEIGHT})
    with sklearn.config_context(enable_metadata_routing=False):
        folds = cross_validate(model, X, SPECIES, cv=3, return_estimator=True, return_indices=True)
    for score, fitted, rows in zip(routed, folds["estimator"], folds["indices"]["test"], strict=True):
        expected = get_scorer("neg_cross_entropy")(fitted, X[rows], SPECIES[rows], sample_weight=WEIGHT[rows])
        assert score == pytest.approx(expected, rel=1e-12)
    plain = cross_val_score(model, X, SPECIES, scoring=get_scorer("neg_cross_entropy"), cv=3)
    assert not np.allclose(routed, plain)
    search = GridSearchCV(model, {"C": [1.0]}, scoring=scorer, cv=3).fit(X, SPECIES, importance=WEIGHT)
    assert search.best_score_ == pytest.approx(routed.mean(), rel=1e-12)
    with pytest.raises(UnsetMetadataPassedError, match="neg_cross_entropy"):
        cross_val_score(model, X, SPECIES, scoring=get_scorer("neg_cross_entropy"), params={"sample_weight": WEIGHT})


def test_a_request_that_is_none(routing: None) -> None:
    scorer = get_scorer("neg_perplexity")
    with pytest.raises(ValueError, match="given value is: `3`"):
        scorer.set_score_request(sample_weight=3)  # type: ignore[arg-type]
    assert scorer.get_metadata_routing().score.requests == {"sample_weight": None}
    with sklearn.config_context(enable_metadata_routing=False), pytest.raises(RuntimeError, match="metadata routing:"):
        scorer.set_score_request(sample_weight=True)


def test_a_scorer_survives_pickling_with_its_request(routing: None) -> None:
    scorer = get_scorer("neg_calibration_error", n_bins=4).set_score_request(sample_weight=True)
    again = pickle.loads(pickle.dumps(scorer))
    assert repr(again) == repr(scorer) == "get_scorer('neg_calibration_error', n_bins=4)"
    assert again.get_metadata_routing().score.requests == {"sample_weight": True}
    model = LogisticRegression().fit(X, SPECIES)
    expected = xe.expected_calibration_error(model.decision_function(X), IRIS.target, n_bins=4)
    assert again(model, X, SPECIES) == pytest.approx(-expected, rel=1e-12)
    assert get_scorer("neg_calibration_error")(model, X, SPECIES) != again(model, X, SPECIES)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"scoring": "neg_log_loss"}, ValueError, "scoring must be .neg_brier_score., .*, got 'neg_log_loss'"),
        ({"scoring": "neg_perplexity", "n_bins": 3}, ValueError, "n_bins must be None for neg_perplexity, .*, got 3"),
        ({"scoring": "neg_calibration_error", "n_bins": 0}, ValueError, "n_bins must be at least 1, got 0"),
        ({"scoring": "neg_calibration_error", "n_bins": 1.5}, TypeError, "n_bins must be an integer, got 1.5"),
    ],
)
def test_what_is_no_scorer(arguments: dict[str, Any], error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        get_scorer(**arguments)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (LinearRegression(), "must be a fitted classifier with classes_ and one of .*, got a LinearRegression"),
        (
            IsolationForest(n_estimators=2),
            "must be a fitted classifier with classes_ and one of .*, got a IsolationForest",
        ),
    ],
    ids=str,
)
def test_what_is_no_classifier(model: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        get_scorer("neg_cross_entropy")(model.fit(X, IRIS.target), X, IRIS.target)


def test_classifiers_that_do_not_answer_with_a_score_a_class() -> None:
    digits = np.arange(len(X)) % 4
    pairs = SVC(decision_function_shape="ovo").fit(X, digits)
    message = r"a SVC, must give scores of shape \(150, 4\) for the 4 classes, got \(150, 6\): SVC needs"
    with pytest.raises(ValueError, match=message):
        get_scorer("neg_cross_entropy")(pairs, X, digits)
    several = MultiLabelClassifier().fit(X, np.eye(3, dtype=int)[IRIS.target])
    with pytest.raises(ValueError, match="y should be a 1d array"):
        get_scorer("neg_cross_entropy")(several, X, np.eye(3, dtype=int)[IRIS.target])
    forest = RandomForestClassifier(2).fit(X, np.column_stack([digits, digits]))
    with pytest.raises(ValueError, match="one label a sample, got a RandomForestClassifier of several"):
        get_scorer("neg_cross_entropy")(forest, X, digits)
    with pytest.raises(ValueError, match=r"y must be labels out of the classes 'setosa', .*, got 'rose' at row 0"):
        get_scorer("neg_cross_entropy")(LogisticRegression().fit(X, SPECIES), X[:1], ["rose"])


# --- The display ------------------------------------------------------------------------------------------------------


def test_a_display_of_an_estimator_is_that_of_its_predictions(ax: Any) -> None:
    model = LogisticRegression().fit(X, SPECIES)
    options: dict[str, Any] = {"n_bins": 6, "sample_weight": WEIGHT, "ax": ax}
    first = ReliabilityDisplay.from_estimator(model, X, SPECIES, color="C3", ref_line=False, **options)
    assert ax.get_lines() == [first.line_]
    scores = model.decision_function(X)
    second = ReliabilityDisplay.from_predictions(SPECIES, scores, labels=model.classes_, **options)
    third = ReliabilityDisplay.from_predictions(IRIS.target, scores, name="numbers", **options)
    for display in (second, third):
        np.testing.assert_array_equal(display.line_.get_xydata(), first.line_.get_xydata())
    p = model.predict_proba(X)
    inside = np.ceil(p.max(axis=1) * 6) == 4
    right = p.argmax(axis=1) == IRIS.target
    point = [np.average(values[inside], weights=WEIGHT[inside]) for values in (p.max(axis=1), right)]
    np.testing.assert_allclose(first.line_.get_xydata()[np.abs(first.line_.get_xdata() - point[0]).argmin()], point)
    assert (first.line_.get_color(), first.ax_, first.figure_) == ("C3", ax, ax.figure)
    assert len(ax.get_lines()) == 4, "one diagonal"
    error = xe.expected_calibration_error(scores, IRIS.target, n_bins=6, sample_weight=WEIGHT)
    labels = [display.line_.get_label() for display in (first, second, third)]
    assert labels == [f"LogisticRegression (ECE = {error:.3f})", f"ECE = {error:.3f}", f"numbers (ECE = {error:.3f})"]


def test_a_display_of_log_odds_is_drawn_again(ax: Any) -> None:
    display = ReliabilityDisplay.from_predictions([True, False, True], [2.0, -1.0, -0.5], ref_line=False)
    assert display.ax_.get_lines() == [display.line_]
    plt.close(display.figure_)
    assert display.ax_ is not ax
    assert display.plot(ax=ax, name="again").line_.get_label().startswith("again (ECE = ")
    assert display.ax_ is ax


def test_predictions_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match=r"y_score must give scores of shape \(2, 3\) for the 3 classes, got \(2, 2\)"):
        ReliabilityDisplay.from_predictions([0, 1], np.zeros((2, 2)), labels=[0, 1, 2])
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        ReliabilityDisplay.from_predictions([0, 1, 1], np.zeros((2, 2)))
    with pytest.raises(ValueError, match="y must be labels out of the classes 0, 1, got 'a' at row 0"):
        ReliabilityDisplay.from_predictions(["a", "b"], np.zeros((2, 2)))
