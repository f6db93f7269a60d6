"""Labels that do not exclude each other: one logistic regression for each, trained at once."""

import numpy as np
import pytest
import scipy.sparse
from scipy.optimize import check_grad
from sklearn.datasets import load_iris, make_multilabel_classification
from sklearn.multiclass import OneVsRestClassifier
from sklearn.preprocessing import scale

import xentrs as xe
from xentrs.models import LogisticRegression, MultiLabelClassifier

TIGHT = {"tol": 1e-10, "max_iter": 10_000}


@pytest.fixture(scope="module")
def documents():
    X, y = make_multilabel_classification(400, 12, n_classes=4, random_state=0)
    return scale(X), y


def test_each_label_has_the_weights_of_a_logistic_regression(documents):
    X, y = documents
    sample_weight = np.random.default_rng(0).uniform(0.5, 2.0, size=len(y))
    model = MultiLabelClassifier(C=0.3, **TIGHT).fit(X, y, sample_weight)
    for label in range(4):
        alone = LogisticRegression(C=0.3, **TIGHT).fit(X, y[:, label], sample_weight)
        np.testing.assert_allclose(model.coef_[label], alone.coef_[0], atol=1e-6)
        np.testing.assert_allclose(model.intercept_[label], alone.intercept_[0], atol=1e-6)
        np.testing.assert_allclose(model.predict_proba(X)[:, label], alone.predict_proba(X)[:, 1], atol=1e-6)
        np.testing.assert_allclose(model.predict_log_proba(X)[:, label], alone.predict_log_proba(X)[:, 1], atol=1e-5)
    peer = OneVsRestClassifier(LogisticRegression(C=0.3, **TIGHT)).fit(X, y)
    plain = MultiLabelClassifier(C=0.3, **TIGHT).fit(X, y)
    np.testing.assert_array_equal(plain.predict(X), peer.predict(X))
    assert plain.score(X, y) == peer.score(X, y)
    np.testing.assert_array_equal(plain.classes_, [0, 1, 2, 3])


@pytest.mark.parametrize("pos_weight", [3.0, [1.0, 2.0, 3.0, 4.0], np.array([0.5, 1, 1, 2], np.float32)])
def test_pos_weight_repeats_the_labels_that_are_there(documents, pos_weight):
    X, y = documents
    model = MultiLabelClassifier(pos_weight=pos_weight, **TIGHT).fit(X, y)
    for label, factor in enumerate(np.broadcast_to(pos_weight, 4)):
        alone = LogisticRegression(**TIGHT).fit(X, y[:, label], np.where(y[:, label] == 1, factor, 1.0))
        np.testing.assert_allclose(model.coef_[label], alone.coef_[0], atol=1e-6)


@pytest.mark.parametrize("form", ["dense", "sparse"])
@pytest.mark.parametrize(
    "options", [{}, {"pos_weight": [1.0, 2.0, 0.5, 3.0]}, {"label_smoothing": 0.1, "gamma": 1.5, "pos_weight": 2.0}]
)
def test_value_and_gradient_of_the_objective(documents, form, options):
    X, y = documents[0][:50], documents[1][:50]
    s = np.random.default_rng(0).uniform(0.5, 2.0, size=50)
    model = MultiLabelClassifier(C=0.3, **options)
    samples = scipy.sparse.csr_array(X) if form == "sparse" else X
    function = model._penalised(model._objective(samples, y, s), seen=np.zeros(2))

    def value(params):
        return function(params[:48].reshape(4, 12), params[48:])[0]

    def grad(params):
        return np.concatenate(function(params[:48].reshape(4, 12), params[48:])[1:], axis=None)

    params = np.random.default_rng(1).normal(size=52)
    assert check_grad(value, grad, params) < 1e-5
    weight, bias = params[:48].reshape(4, 12), params[48:]
    losses = xe.sigmoid_focal_loss(X @ weight.T + bias, y, **{"gamma": 0.0} | options, reduction="none").sum(axis=1)
    assert value(params) == pytest.approx((s @ losses + 0.5 * np.sum(weight**2) / 0.3) / s.sum(), rel=1e-12)


def test_soft_labels_are_shares(documents):
    X, y = documents
    shares = np.clip(0.8 * y + 0.1, 0, 1)
    soft = MultiLabelClassifier(**TIGHT).fit(X, shares)
    smoothed = MultiLabelClassifier(label_smoothing=0.2, **TIGHT).fit(X, y)
    np.testing.assert_allclose(soft.coef_, smoothed.coef_, atol=1e-7)


def test_indicators_of_any_kind(documents):
    X, y = documents
    expected = MultiLabelClassifier().fit(X, y)
    for other in (y.astype(bool), y.astype(np.float32), y.tolist(), scipy.sparse.csr_matrix(y)):
        model = MultiLabelClassifier().fit(X, other)
        np.testing.assert_array_equal(model.coef_, expected.coef_)
        np.testing.assert_array_equal(model.predict(X), expected.predict(X))


def test_sgd_comes_within_one_percent_of_the_optimum(documents):
    X, y = documents
    best = MultiLabelClassifier(**TIGHT).fit(X, y).loss_curve_[-1]
    model = MultiLabelClassifier(solver="sgd", schedule="cosine", max_iter=200, tol=None, random_state=0).fit(X, y)
    probe = MultiLabelClassifier()
    loss = probe._penalised(probe._objective(X, y, np.ones(len(y))), seen=np.zeros(2))(model.coef_, model.intercept_)[0]
    assert best <= loss <= 1.01 * best


def test_a_stream_needs_no_classes(documents):
    X, y = documents
    model = MultiLabelClassifier(solver="sgd", learning_rate=0.03, random_state=0)
    for _ in range(5):
        for start in range(0, 400, 100):
            model.partial_fit(X[start : start + 100], y[start : start + 100])
    assert (model.predict(X) == y).mean() > 0.98 * (MultiLabelClassifier().fit(X, y).predict(X) == y).mean()
    before = model.coef_
    for other, got in [(y[:, :3], "3 columns"), (y[:, 0], r"the values \[0, 1\]")]:
        with pytest.raises(ValueError, match=f"the labels of the last call, {y.shape[1]} columns, got {got}"):
            model.partial_fit(X, other)
    assert model.coef_ is before


def test_a_single_label_has_its_own_names():
    X, y = load_iris(return_X_y=True)
    names = np.where(y == 0, "setosa", "other")
    model = MultiLabelClassifier(**TIGHT).fit(X, names)
    peer = LogisticRegression(**TIGHT).fit(X, names)
    np.testing.assert_array_equal(model.classes_, ["other", "setosa"])
    np.testing.assert_array_equal(model.predict(X), names)
    np.testing.assert_allclose(model.predict_proba(X), peer.predict_proba(X), atol=1e-6)
    with pytest.raises(
        ValueError, match=r"Only binary classification is supported\. The type of the target is multicl"
    ):
        model.fit(X, y)
    column = MultiLabelClassifier(**TIGHT).fit(X, (y == 0)[:, np.newaxis])
    np.testing.assert_allclose(column.predict_proba(X)[:, 0], model.predict_proba(X)[:, 1], atol=1e-6)
    assert column.predict(X).shape == (150, 1)


@pytest.mark.parametrize("pos_weight", [-1.0, [1.0, 2.0], [1.0, -1.0, 1.0, 1.0], "heavy"])
def test_pos_weight_must_fit(documents, pos_weight):
    X, y = documents
    model = MultiLabelClassifier().fit(X, y)
    coef = model.coef_
    with pytest.raises(ValueError, match="pos_weight"):
        model.set_params(pos_weight=pos_weight).fit(X, y)
    assert model.coef_ is coef


@pytest.mark.parametrize(("pos_weight", "factor"), [(None, 1.0), (0.5, 1.0), ([1.0, 9.0, 0.1, 1.0], 9.0)])
def test_the_lipschitz_step_knows_pos_weight(documents, pos_weight, factor, rates):
    X, y = documents
    options = {"schedule": "lipschitz", "batch_size": 400, "momentum": 0.0, "nesterov": False}
    model = MultiLabelClassifier(solver="sgd", tol=None, max_iter=30, pos_weight=pos_weight, **options).fit(X, y)
    Z = np.column_stack([X, np.ones(400)])
    assert rates[0] == pytest.approx(1 / (factor / 4 * np.linalg.eigvalsh(Z.T @ Z)[-1] / 400 + 1 / 400), rel=1e-3)
    assert model.loss_curve_ == sorted(model.loss_curve_, reverse=True)
