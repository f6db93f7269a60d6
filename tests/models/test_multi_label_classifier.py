"""Labels that do not exclude each other: one logistic regression for each, trained at once."""

import numpy as np
import pytest
import scipy.sparse
from scipy.optimize import check_grad
from sklearn.datasets import load_iris, make_multilabel_classification
from sklearn.metrics import accuracy_score
from sklearn.multiclass import OneVsRestClassifier
from sklearn.preprocessing import scale

import xentrs as xe
from checks import never_rises
from xentrs.models import LogisticRegression, MultiLabelClassifier
from xentrs.optim import SGD

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
    for other in (y.astype(bool), y.astype(np.float32), y.tolist(), y.astype(object), y.astype(bool).astype(object)):
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
    assert never_rises(model.loss_curve_)


# ------------------------------------------------------------------------------------------ labels that are not known


def partly(y, share=0.3, seed=0):
    """The labels as numbers, with NaN for a share of them, drawn label by label."""
    return np.where(np.random.default_rng(seed).random(y.shape) < share, np.nan, y)


@pytest.mark.parametrize("samples", [np.asarray, scipy.sparse.csr_array])
@pytest.mark.parametrize("options", [{}, {"gamma": 1.5}, {"label_smoothing": 0.2}], ids=str)
def test_each_label_is_learnt_from_the_samples_whose_label_is_known(documents, options, samples):
    X, y = documents[0], partly(documents[1])
    sample_weight = np.random.default_rng(1).uniform(0.5, 2.0, size=len(y))
    model = MultiLabelClassifier(C=0.3, **options, **TIGHT).fit(samples(X), y, sample_weight)
    for label in range(4):
        known = ~np.isnan(y[:, label])
        alone = LogisticRegression(C=0.3, **options, **TIGHT)
        alone.fit(X[known], y[known, label], sample_weight[known])
        np.testing.assert_allclose(model.coef_[label], alone.coef_[0], atol=1e-6)
        np.testing.assert_allclose(model.intercept_[label], alone.intercept_[0], atol=1e-6)


@pytest.mark.parametrize("options", [{}, {"gamma": 1.5}], ids=str)
def test_what_stands_where_a_label_is_not_known_makes_no_difference(documents, options):
    """Steps too: those on labels of which half are hidden are the steps of a loss that weighs them 0."""
    X, y = documents[0], partly(documents[1], 0.5)
    model = MultiLabelClassifier(C=np.inf, solver="sgd", learning_rate=0.1, schedule="constant", shuffle=False)
    model.set_params(**options)
    weight, bias = np.zeros((4, 12)), np.zeros(4)
    loss = xe.sigmoid_focal_loss_with_grad if options else xe.sigmoid_cross_entropy_with_grad
    optimizer = SGD([weight, bias], momentum=0.9, nesterov=True)
    for _ in range(3):
        model.partial_fit(X, y)
        for start in range(0, 400, 64):
            rows = slice(start, min(start + 64, 400))
            known = ~np.isnan(y[rows])
            grad = loss(
                X[rows] @ weight.T + bias,
                np.where(known, y[rows], 0.5),
                sample_weight=known.astype(float),
                reduction="sum",
                **options,
            ).grad / len(known)
            optimizer.step([grad.T @ X[rows], grad.sum(axis=0)])
    np.testing.assert_allclose(model.coef_, weight, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    "hide",
    [
        lambda y: y,
        lambda y: y.astype(np.float32),
        lambda y: y.tolist(),
        lambda y: np.where(np.isnan(y), None, y),
        lambda y: np.where(np.isnan(y), None, y == 1),
        lambda y: np.where(np.isnan(y), np.nan, (y == 1).astype(object)),
        scipy.sparse.csr_array,
        scipy.sparse.coo_matrix,
    ],
)
def test_missing_labels_of_any_kind(documents, hide):
    X, y = documents[0], partly(documents[1])
    expected = MultiLabelClassifier().fit(X, y)
    given = hide(y)
    model = MultiLabelClassifier().fit(X, given)
    np.testing.assert_array_equal(model.coef_, expected.coef_)
    assert model.score(X, given) == expected.score(X, y)
    assert np.isnan(y).any(), "y itself must stay as it was"


def test_a_stream_may_lack_labels(documents):
    X, y = documents[0], partly(documents[1], 0.5)
    model = MultiLabelClassifier(solver="sgd", learning_rate=0.03, random_state=0)
    for _ in range(10):
        for start in range(0, 400, 100):
            model.partial_fit(X[start : start + 100], y[start : start + 100])
    before = model.coef_.copy()
    model.set_params(C=np.inf, momentum=0.0, nesterov=False).partial_fit(X, np.full(y.shape, np.nan))
    np.testing.assert_array_equal(model.coef_, before)
    best = MultiLabelClassifier().fit(X, y)
    assert (model.predict(X) == documents[1]).mean() > 0.98 * (best.predict(X) == documents[1]).mean()


def test_a_single_label_may_be_missing_too():
    X, y = load_iris(return_X_y=True)
    names = np.where(y == 0, "setosa", "other").astype(object)
    names[::3] = None
    known = names != None  # noqa: E711
    model = MultiLabelClassifier(**TIGHT).fit(X, names)
    alone = LogisticRegression(**TIGHT).fit(X[known], names[known])
    np.testing.assert_allclose(model.coef_, alone.coef_, atol=1e-6)
    np.testing.assert_array_equal(model.classes_, ["other", "setosa"])
    assert model.score(X, names) == 1.0
    stream = MultiLabelClassifier(solver="sgd").partial_fit(X[:2], [None, None], classes=["other", "setosa"])
    assert np.array_equal(stream.predict_proba(X), np.full((150, 2), 0.5))


def test_a_label_that_is_known_of_no_sample_keeps_its_weights_at_zero(documents):
    X, y = documents[0], documents[1].astype(float)
    y[:, 2] = np.nan
    model = MultiLabelClassifier(pos_weight="balanced").fit(X, y)
    assert not model.coef_[2].any() and model.intercept_[2] == 0.0
    assert model.pos_weight_[2] == 1.0


def test_the_score_counts_what_is_known(documents):
    X, y = documents
    model = MultiLabelClassifier().fit(X, y)
    weight = np.random.default_rng(0).uniform(size=len(y))
    assert model.score(X, y, weight) == accuracy_score(y, model.predict(X), sample_weight=weight)
    hidden = partly(y, 0.6)
    right = ((model.predict(X) == hidden) | np.isnan(hidden)).all(axis=1)
    told = ~np.isnan(hidden).all(axis=1)
    assert 0 < told.sum() < len(told)
    assert model.score(X, hidden) == pytest.approx(right[told].mean(), rel=1e-12)
    assert model.score(X, hidden, weight) == pytest.approx(np.average(right[told], weights=weight[told]), rel=1e-12)
    assert np.isnan(model.score(X, np.full(y.shape, np.nan)))
    assert np.isnan(model.score(X, hidden, ~told))
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        model.score(X, y[1:])


def test_the_input_gradient_of_what_is_not_known_is_zero(documents):
    X, y = documents
    model = MultiLabelClassifier(pos_weight="balanced").fit(X, y)
    hidden = y.astype(float)
    hidden[:, 1:] = np.nan
    pull = xe.sigmoid_cross_entropy_with_grad(
        model.decision_function(X)[:, 0], y[:, 0], pos_weight=model.pos_weight_[0], reduction="sum"
    )
    np.testing.assert_allclose(model.input_gradient(X, hidden), np.outer(pull.grad, model.coef_[0]), rtol=1e-12)


# -------------------------------------------------------------------------------------------------- balanced weights


@pytest.mark.parametrize("soft", [False, True])
def test_balanced_weights_give_both_answers_the_same_weight(documents, soft):
    X, y = documents[0], partly(0.8 * documents[1] + 0.1 if soft else documents[1])
    weight = np.random.default_rng(2).uniform(0.1, 2.0, size=len(y))
    model = MultiLabelClassifier(pos_weight="balanced", **TIGHT).fit(X, y, weight)
    for label in range(4):
        known = ~np.isnan(y[:, label])
        positive = np.sum(weight[known] * y[known, label])
        negative = np.sum(weight[known] * (1 - y[known, label]))
        assert model.pos_weight_[label] == pytest.approx(negative / positive, rel=1e-12)
    given = MultiLabelClassifier(pos_weight=model.pos_weight_, **TIGHT).fit(X, y, weight)
    np.testing.assert_array_equal(model.coef_, given.coef_)
    tiny = MultiLabelClassifier(pos_weight="balanced", **TIGHT).fit(X, y, weight * 2.0**-1000)
    np.testing.assert_array_equal(tiny.pos_weight_, model.pos_weight_)


def test_balanced_weights_are_those_of_class_weight(documents):
    """Up to a factor on the loss of the label, which a penalty would notice."""
    X, y = documents
    model = MultiLabelClassifier(pos_weight="balanced", C=np.inf, **TIGHT).fit(X, y)
    for label in range(4):
        alone = LogisticRegression(class_weight="balanced", C=np.inf, **TIGHT).fit(X, y[:, label])
        np.testing.assert_allclose(model.coef_[label], alone.coef_[0], rtol=1e-5, atol=1e-6)


def test_balanced_weights_where_all_are_alike(documents):
    X, y = documents[0], documents[1].copy()
    y[:, 0], y[:, 1] = 0, 1
    model = MultiLabelClassifier(pos_weight="balanced").fit(X, y)
    np.testing.assert_array_equal(model.pos_weight_[:2], 1.0)
    assert not model.predict(X)[:, 0].any() and model.predict(X)[:, 1].all()


def test_balanced_weights_need_all_samples(documents):
    X, y = documents
    model = MultiLabelClassifier(solver="sgd", pos_weight="balanced", random_state=0).fit(X, y)
    coef = model.coef_
    with pytest.raises(ValueError, match="pos_weight='balanced' is not supported for partial_fit: pass an array"):
        model.partial_fit(X, y)
    assert model.coef_ is coef


# ------------------------------------------------------------------------------------- names of labels, sparse labels


@pytest.mark.parametrize("form", ["csr_array", "csc_array", "coo_array", "csr_matrix", "lil_matrix"])
def test_sparse_labels_are_answered_with_sparse_ones(documents, form, tmp_path):
    X, y = documents
    model, dense = MultiLabelClassifier().fit(X, getattr(scipy.sparse, form)(y)), MultiLabelClassifier().fit(X, y)
    np.testing.assert_array_equal(model.coef_, dense.coef_)
    model.save(tmp_path / "model.npz")
    for one in (model, MultiLabelClassifier.load(tmp_path / "model.npz")):
        answers = one.predict(X)
        assert isinstance(answers, scipy.sparse.csr_array if "array" in form else scipy.sparse.csr_matrix)
        np.testing.assert_array_equal(answers.toarray(), dense.predict(X))
    assert model.score(X, getattr(scipy.sparse, form)(y)) == model.score(X, y) == dense.score(X, y)
    assert isinstance(model.fit(X, y).predict(X), np.ndarray)


class Frame:
    """What a data frame is to an estimator: columns with names, and an array of objects."""

    def __init__(self, array, columns):
        self.array, self.columns = array, columns

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.array, dtype)

    def __len__(self):
        return len(self.array)

    @property
    def shape(self):
        return self.array.shape


NAMES = ["rare", "toxic", "new", "4"]


@pytest.mark.parametrize("names", [NAMES, [10, 20, 30, 40], [("a", 1), ("a", 2), ("b", 1), ("b", 2)]], ids=str)
def test_columns_of_a_frame_name_the_labels(documents, names, tmp_path):
    X, y = documents
    model = MultiLabelClassifier(solver="sgd", random_state=0).fit(X, Frame(partly(y), names))
    assert model.classes_.tolist() == names
    assert model.predict(X).shape == y.shape
    model.save(tmp_path / "model.npz")
    assert MultiLabelClassifier.load(tmp_path / "model.npz").classes_.tolist() == names
    for method in (model.partial_fit, model.score, model.input_gradient):
        method(X, Frame(y, names))
        method(X, y)  # whose columns have no names
        with pytest.raises(ValueError, match=r"y must have the labels of the last call, .* got "):
            method(X, Frame(y, names[::-1]))
        with pytest.raises(ValueError, match=r"y must have the labels of the last call, .* got "):
            method(X, Frame(y[:, :3], names[:3]))
    assert model.classes_.tolist() == names


def test_names_that_come_later_are_not_taken(documents):
    X, y = documents
    model = MultiLabelClassifier(solver="sgd", random_state=0).fit(X, y).partial_fit(X, Frame(y, NAMES))
    np.testing.assert_array_equal(model.classes_, np.arange(4))


@pytest.mark.parametrize("kind", ["Float64", "Int64", "boolean", "object", "int8[pyarrow]", "polars", "pyarrow"])
def test_frames_of_other_libraries(documents, kind):
    X, y = documents[0], partly(documents[1])
    expected = MultiLabelClassifier().fit(X, y)
    if kind in ("polars", "pyarrow"):
        polars = pytest.importorskip("polars", reason="polars is no dependency")
        frame = polars.DataFrame(y, schema=NAMES).fill_nan(None).cast(polars.Boolean)
        if kind == "pyarrow":
            pytest.importorskip("pyarrow", reason="pyarrow is no dependency")
            frame = frame.to_arrow()
    else:
        pandas = pytest.importorskip("pandas", reason="pandas is no dependency")
        if "pyarrow" in kind:
            pytest.importorskip("pyarrow", reason="pyarrow is no dependency")
        frame = pandas.DataFrame(y, columns=NAMES).astype("Int64" if "pyarrow" in kind else "Float64").astype(kind)
    model = MultiLabelClassifier().fit(X, frame)
    np.testing.assert_array_equal(model.coef_, expected.coef_)
    assert model.classes_.tolist() == NAMES
    assert model.score(X, frame) == expected.score(X, y)
