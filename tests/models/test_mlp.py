"""MLPClassifier: scikit-learn's own checks, its gradients, every option against its formula, and all or nothing."""

import inspect
import pickle

import numpy as np
import pytest
import scipy.sparse
import sklearn.neural_network
from matplotlib.figure import Figure
from scipy.optimize import approx_fprime
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_digits, load_iris
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import LogisticRegression

import xentrs as xe
from checks import never_rises
from datasets import standardised
from estimator_checks import is_older_than, with_checks
from refusals import refused, state, with_nan
from xentrs.models import MLPClassifier

FEW = {"hidden_layer_sizes": (7, 5), "max_iter": 3, "tol": None, "random_state": 0}
XOR = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]), np.array([0, 1, 1, 0])

UNTRAINED = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@UNTRAINED
@with_checks(
    [
        MLPClassifier(),
        # Ten iterations: two checks ask for the same seven digits of two fits that round otherwise, by weights and
        # by repetitions, and far from an end L-BFGS lets such an error grow with every step (to 1.5e-7 in 200).
        MLPClassifier((5,), solver="lbfgs", max_iter=10),
    ]
)
def test_scikit_learns_checks(estimator, check):
    check(estimator)


@UNTRAINED
@pytest.mark.thorough
@with_checks([MLPClassifier((5, 3), solver="sgd", activation="gelu", gamma=1.0)])
def test_scikit_learns_checks_of_other_options(estimator, check):
    check(estimator)


# --------------------------------------------------------------------------------------------------- what it learns


@pytest.mark.parametrize("activation", ["relu", "gelu", "tanh", "logistic"])
def test_the_exclusive_or_is_learnt(activation):
    """What no linear model can: its loss stays at ln 2."""
    X, y = XOR
    model = MLPClassifier(16, activation=activation, learning_rate_init=0.1, tol=None, random_state=0).fit(X, y)
    assert xe.sigmoid_cross_entropy(model.decision_function(X), y) < 0.05
    np.testing.assert_array_equal(model.predict(X), y)
    linear = MLPClassifier((), alpha=0.0, learning_rate_init=0.3, tol=None, random_state=0).fit(X, y)
    assert xe.sigmoid_cross_entropy(linear.decision_function(X), y) == pytest.approx(np.log(2), abs=1e-3)
    product = np.column_stack([X, X[:, 0] * X[:, 1]])
    assert xe.sigmoid_cross_entropy(linear.fit(product, y).decision_function(product), y) < 0.05


@pytest.mark.parametrize("load", [load_digits, load_breast_cancer])
@pytest.mark.parametrize("solver", ["adam", "sgd"])
@UNTRAINED
def test_learns_as_well_as_scikit_learns(load, solver):
    X, y = standardised(load)
    train, test = np.arange(len(X)) % 3 > 0, np.arange(len(X)) % 3 == 0
    model = MLPClassifier(50, solver=solver, batch_size=50, random_state=0).fit(X[train], y[train])
    peer = sklearn.neural_network.MLPClassifier(50, batch_size=50, random_state=0).fit(X[train], y[train])
    assert model.score(X[test], y[test]) >= peer.score(X[test], y[test]) - 0.02


@pytest.mark.parametrize("load", [load_iris, load_breast_cancer])
def test_without_hidden_layers_it_is_logistic_regression(load):
    X, y = standardised(load)
    X = X[:, :10]
    step = {"solver": "sgd", "batch_size": 10**6, "learning_rate_init": 0.3, "tol": 1e-13, "n_iter_no_change": 200}
    peer = LogisticRegression(tol=1e-10, max_iter=10_000).fit(X, y)
    for options in (step, {"solver": "lbfgs", "tol": 1e-7}):
        model = MLPClassifier((), alpha=1.0, max_iter=20_000, **options).fit(X, y)
        np.testing.assert_allclose(model.coefs_[0], peer.coef_.T, atol=2e-4)
        np.testing.assert_allclose(model.predict_proba(X), peer.predict_proba(X), atol=1e-4)


@UNTRAINED
@pytest.mark.parametrize("load", [load_iris, load_breast_cancer])
@pytest.mark.parametrize(
    "options",
    [{}, {"gamma": 1.5}, {"label_smoothing": 0.2}, {"class_weight": {1: 3.0}}]
    + [{"gamma": 0.5, "label_smoothing": 0.1, "class_weight": {1: 0.0}}],
)
@pytest.mark.parametrize("soft", [False, True])
def test_the_first_step_goes_down_the_gradient_of_the_objective(load, options, soft):
    """By finite differences of the formula in the docstring, with everything that the loss can be."""
    X, y = standardised(load)
    X, n_classes, rng = X[:, :4], y.max() + 1, np.random.default_rng(0)
    sample_weight = rng.uniform(0.5, 2.0, len(X))
    target = rng.dirichlet(np.ones(n_classes), len(X)) if soft else np.eye(n_classes)[y]
    step = {
        "solver": "sgd",
        "momentum": 0.0,
        "nesterovs_momentum": False,
        "learning_rate_init": 0.5,
        "batch_size": len(X),
    }
    model = MLPClassifier(3, activation="tanh", alpha=20.0, max_iter=1, tol=None, random_state=0, **step, **options)
    still = clone(model).set_params(learning_rate_init=1e-300).fit(X, target if soft else y, sample_weight)
    moved = clone(model).fit(X, target if soft else y, sample_weight)

    factors = np.ones(n_classes)
    factors[1] = options.get("class_weight", {1: 1.0})[1]
    smoothing, gamma = options.get("label_smoothing", 0.0), options.get("gamma", 0.0)
    smooth = (1 - smoothing) * target + smoothing / n_classes

    def objective():
        logits = still.decision_function(X)
        logp = xe.log_softmax(np.column_stack([np.zeros(len(X)), logits]) if logits.ndim == 1 else logits)
        losses = -np.sum(factors * smooth * (-np.expm1(logp)) ** gamma * logp, axis=1)
        total = sample_weight @ smooth @ factors
        return (sample_weight @ losses + 10.0 * sum(np.sum(coef**2) for coef in still.coefs_)) / total

    assert still.loss_curve_ == [pytest.approx(objective(), rel=1e-12)]
    params = zip(still.coefs_ + still.intercepts_, moved.coefs_ + moved.intercepts_, strict=True)
    for param, after in params:
        for i in list(np.ndindex(param.shape))[::5]:
            kept = param[i]
            param[i] = kept + 1e-5
            above = objective()
            param[i] = kept - 1e-5
            slope = (above - objective()) / 2e-5
            param[i] = kept
            assert (kept - after[i]) / 0.5 == pytest.approx(slope, rel=1e-5, abs=1e-8)


@UNTRAINED
@pytest.mark.parametrize("load", [load_iris, load_breast_cancer])
@pytest.mark.parametrize("soft", [False, True])
def test_the_gradient_to_the_input(load, soft):
    X, y = standardised(load)
    model = MLPClassifier(activation="gelu", label_smoothing=0.1, gamma=2.0, alpha=1.0, **{**FEW, "max_iter": 20})
    names = np.array(["a", "b", "c"])[y]
    model.fit(X, names)
    X, target = X[:9].copy(), np.eye(y.max() + 1)[y[:9]]
    if soft:
        target = 0.7 * target + 0.3 / target.shape[1]
    grad = model.input_gradient(X, target if soft else names[:9])
    smooth = 0.9 * target + 0.1 / target.shape[1]

    def losses(X):
        logp = model.predict_log_proba(X)
        return -np.sum(smooth * np.expm1(logp) ** 2 * logp, axis=1)

    assert grad.shape == X.shape
    for j in range(X.shape[1]):
        step = 1e-6 * (np.arange(X.shape[1]) == j)
        np.testing.assert_allclose(grad[:, j], (losses(X + step) - losses(X - step)) / 2e-6, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("class_weight", [None, "balanced", {0: 5.0}])
def test_sample_weights_are_repetitions(class_weight):
    X, y = standardised(load_iris)
    repeats = np.random.default_rng(0).integers(0, 4, len(y))
    model = MLPClassifier(class_weight=class_weight, batch_size=len(X) * 4, solver="sgd", **FEW)
    weighted = clone(model).fit(X, y, repeats)
    repeated = clone(model).fit(X.repeat(repeats, axis=0), y.repeat(repeats))
    for one, other in zip(weighted.coefs_, repeated.coefs_, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)


@UNTRAINED
@pytest.mark.parametrize(("n", "steps"), [(40, 1), (149, 1), (150, 2), (200, 2), (249, 2), (250, 3)])
def test_less_than_half_a_batch_joins_the_batch_before_it(n, steps):
    X, y = standardised(load_breast_cancer)
    model = MLPClassifier(3, batch_size=100, max_iter=1, tol=None, random_state=0).fit(X[:n], y[:n])
    assert model._memory["n_steps"] == steps


@pytest.mark.parametrize("load", [load_iris, load_breast_cancer])
@pytest.mark.parametrize("options", [{}, {"class_weight": "balanced"}, {"label_smoothing": 0.1}, {"gamma": 1.0}])
def test_distributions_of_one_class_are_labels(load, options):
    X, y = standardised(load)
    hard = MLPClassifier(**FEW, **options).fit(X, y)
    soft = MLPClassifier(**FEW, **options).fit(X, np.eye(y.max() + 1, dtype=np.float32)[y])
    np.testing.assert_array_equal(soft.classes_, hard.classes_)
    np.testing.assert_allclose(soft.loss_curve_, hard.loss_curve_, rtol=1e-9)


@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_single_precision_stays_single(solver):
    X, y = standardised(load_digits)
    double = MLPClassifier(solver=solver, **FEW)
    single = clone(double).fit(X.astype(np.float32), y)
    double.fit(X, y)
    answers = (single.predict_proba(X), single.decision_function(X), single.input_gradient(X, y))
    assert {array.dtype for array in (*single.coefs_, *single.intercepts_, *answers)} == {np.dtype(np.float32)}
    for one, other in zip(single.coefs_, double.coefs_, strict=True):
        np.testing.assert_allclose(one, other, atol=2e-3)
    assert single.partial_fit(X, y).coefs_[0].dtype == np.float32


def test_shapes_are_scikit_learns():
    for load in (load_digits, load_breast_cancer):
        X, y = standardised(load)
        model, peer = MLPClassifier(**FEW).fit(X, y), sklearn.neural_network.MLPClassifier((7, 5), max_iter=1)
        with pytest.warns(ConvergenceWarning):
            peer.fit(X, y)
        assert [coef.shape for coef in model.coefs_] == [coef.shape for coef in peer.coefs_]
        assert [intercept.shape for intercept in model.intercepts_] == [one.shape for one in peer.intercepts_]
        assert model.predict_proba(X).shape == peer.predict_proba(X).shape


# ------------------------------------------------------------------------------------------------------------- training


@UNTRAINED
def test_a_seed_may_be_a_generator():
    X, y = standardised(load_iris)
    first, again, other = (
        MLPClassifier(**{**FEW, "random_state": np.random.default_rng(seed)}).fit(X, y).coefs_[0] for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


@pytest.mark.parametrize("early_stopping", [False, True])
def test_the_same_seed_gives_the_same_bits(early_stopping):
    X, y = standardised(load_digits)
    options = {**FEW, "early_stopping": early_stopping}
    first, again, other = (MLPClassifier(**{**options, "random_state": seed}).fit(X, y) for seed in (0, 0, 1))
    with xe.threads(1):
        alone = MLPClassifier(**options).fit(X, y)
    for model in (again, alone):
        assert pickle.dumps(model.coefs_) == pickle.dumps(first.coefs_)
        assert model.loss_curve_ == first.loss_curve_
    assert (first.coefs_[0] != other.coefs_[0]).any()


def test_early_stopping_ends_with_the_best_of_the_samples_held_out():
    X, y = standardised(load_digits)
    rng = np.random.default_rng(0)
    X, y = X[:300], np.where(rng.random(300) < 0.3, rng.integers(0, 10, 300), y[:300])  # noise to be learnt by heart
    options = {"learning_rate_init": 0.01, "n_iter_no_change": 5, "random_state": 0}
    model = MLPClassifier(early_stopping=True, **options).fit(X, y)
    curve = model.validation_loss_curve_
    assert 5 < len(curve) == model.n_iter_ < 200
    assert curve[-1] > min(curve)
    best = MLPClassifier(early_stopping=True, **{**options, "max_iter": 1 + int(np.argmin(curve)), "tol": None})
    np.testing.assert_array_equal(best.fit(X, y).coefs_[0], model.coefs_[0])
    with pytest.raises(ValueError, match="partial_fit does not support early_stopping=True"):
        model.partial_fit(X, y)


def test_warm_start_goes_on():
    X, y = standardised(load_digits)
    for solver in ("adam", "sgd"):
        options = {**FEW, "shuffle": False, "solver": solver}
        model = MLPClassifier(**{**options, "max_iter": 2}, warm_start=True).fit(X, y)
        first = model.loss_curve_
        kept = pickle.dumps(model.coefs_), model.coefs_
        model.fit(X, y)
        assert pickle.dumps(kept[1]) == kept[0]
        whole = MLPClassifier(**{**options, "max_iter": 4}).fit(X, y)
        np.testing.assert_array_equal(model.coefs_[0], whole.coefs_[0])
        assert first + model.loss_curve_ == whole.loss_curve_
    with pytest.raises(ValueError, match=r"hidden_layer_sizes must stay \(7, 5\) to go on training, got 3"):
        model.set_params(hidden_layer_sizes=3).fit(X, y)


@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_partial_fit_is_an_epoch_of_fit(solver):
    X, y = standardised(load_digits)
    options = {**FEW, "shuffle": False, "solver": solver}
    whole, model = MLPClassifier(**options).fit(X, y), MLPClassifier(**options)
    for _ in range(3):
        model.partial_fit(X, y, classes=np.arange(10))
    np.testing.assert_array_equal(model.coefs_[0], whole.coefs_[0])
    assert model.loss_curve_ == whole.loss_curve_


@pytest.mark.parametrize("solver", ["adam", "sgd"])
@pytest.mark.parametrize("way", ["pickle", "file"])
def test_goes_on_to_the_same_bits_from_a_file(solver, way, tmp_path):
    X, y = standardised(load_iris)
    names = np.array(["setosa", "versicolor", "virginica"])[y]
    model = MLPClassifier(**FEW, solver=solver).fit(X, names)
    if way == "pickle":
        copy = pickle.loads(pickle.dumps(model))
    else:
        model.save(tmp_path / "model.npz")
        copy = MLPClassifier.load(tmp_path / "model.npz")
    assert copy.get_params() == model.get_params()
    np.testing.assert_array_equal(copy.predict_proba(X), model.predict_proba(X))
    np.testing.assert_array_equal(copy.predict(X), model.predict(X))
    for one, other in zip(copy.partial_fit(X, names).coefs_, model.partial_fit(X, names).coefs_, strict=True):
        np.testing.assert_array_equal(one, other)


def test_callbacks_see_every_epoch_and_may_stop():
    X, y = standardised(load_iris)
    seen = []
    model = MLPClassifier(
        random_state=0,
        callbacks=[lambda model, loss: seen.append(loss), lambda model, loss: len(seen) == 4],
        learning_rate_init=0.05,
    )
    assert model.fit(X, y).loss_curve_ == seen
    assert model.n_iter_ == 4


WARNINGS = [
    (
        {"max_iter": 3},
        1.0,
        r"above the 2.3 nats of guessing; it still fell by 0\S+ in the last 2 epochs. Raise max_iter=3 or learning",
    ),
    (
        {"max_iter": 30},
        1.0,
        r"after max_iter=30 epochs, before the loss had stalled by tol=0.0001: at \S+ nats it still fell by 0\S+ in "
        r"the last 10 epochs. Raise max_iter=30 or learning_rate_init=0.001.",
    ),
    (
        {"max_iter": 1},
        1000.0,
        r"above the 2.3 nats of guessing; .* Standardise X, .* reach 1\S+ \(root .* or raise max_",
    ),
    (
        {"max_iter": 1, "solver": "sgd", "learning_rate_init": 1e-6},
        1.0,
        r"of guessing; it is that of one .* Raise max_it",
    ),
    (
        {"solver": "sgd", "learning_rate_init": 30.0, "tol": 0.01},
        1.0,
        r"of guessing. Lower learning_rate_init=30.$",
    ),
    (
        {"solver": "sgd", "learning_rate_init": 30.0, "tol": 0.01},
        0.2,
        r"of guessing. Standardise X, or lower learning_rate_init=30.$",
    ),
    (
        {"learning_rate_init": 1e-7},
        1.0,
        r"of guessing. Raise learning_rate_init=1e-07.$",
    ),
    (
        {"solver": "sgd", "learning_rate_init": 1e-7},
        0.2,
        r"on a slope: .* per unit of a feature's root mean square. Standardise X, or raise learning_rate_init=1e-07.$",
    ),
    (
        {"solver": "lbfgs", "max_iter": 3},
        1.0,
        r"lbfgs ended after max_iter=3 iterations: the largest derivative is 0\.\d+",
    ),
    (
        {"solver": "lbfgs", "max_fun": 4},
        1.0,
        r"after max_fun=4 evaluations: .* above tol=0.0001. Raise max_fun, or raise tol.$",
    ),
    (
        {"solver": "lbfgs", "max_fun": 4},
        100.0,
        r"above tol=0.0001. Standardise X, whose features reach \S+ \(root mean square\), or raise max_fun, or raise",
    ),
]


@pytest.mark.parametrize(("options", "factor", "message"), WARNINGS)
def test_what_ends_short_says_so(options, factor, message):
    """What was reached, what was asked for, and what helps."""
    X, y = standardised(load_digits)
    with pytest.warns(ConvergenceWarning, match=message) as caught:
        MLPClassifier((20,), random_state=0, **options).fit(factor * X[:400], y[:400])
    assert caught[0].filename == __file__
    assert len(caught) == 1


def test_a_rounding_floor_says_so():
    X, y = standardised(load_iris)
    with pytest.warns(
        ConvergenceWarning, match="no step lowers the loss further in float32: .* Pass X in float64, or raise tol"
    ):
        MLPClassifier((), solver="lbfgs", tol=1e-12, max_iter=10_000).fit(X.astype(np.float32), y)


def test_features_in_odd_units_are_blamed():
    """Seconds since 1970: the function between the layers is saturated, or off, and no better than none at all."""
    rng = np.random.default_rng(0)
    days = rng.uniform(0, 365, 300)
    X, y = (1.7e9 + 86400 * days)[:, np.newaxis], days > 180
    for solver in ("adam", "sgd", "lbfgs"):
        for activation in ("relu", "tanh"):
            with pytest.warns(ConvergenceWarning, match="[Ss]tandardise X"):
                MLPClassifier((20,), activation=activation, solver=solver, random_state=0).fit(X, y)


def test_a_slope_is_no_end():
    """The loss stalls at a multiple of what can be reached, as features stand far from 0."""
    X, y = standardised(load_iris)
    with pytest.warns(
        ConvergenceWarning, match=r"stalled by tol=0.0001 on a slope: its largest derivative is \d.* Stand"
    ):
        MLPClassifier((50,), random_state=0, n_iter_no_change=3).fit(X + 9, y)


# ------------------------------------------------------------------------------------------- scikit-learn's arguments


def test_arguments_are_scikit_learns():
    """By name, and by default but for two: a step size that suits the solver, and a bar that shows up by itself."""
    ours, theirs = (inspect.signature(cls).parameters for cls in (MLPClassifier, sklearn.neural_network.MLPClassifier))
    assert theirs.keys() - ours.keys() == set()
    assert {name for name in theirs if theirs[name].default != ours[name].default} == {"learning_rate_init", "verbose"}
    assert [name for name in ours if ours[name].kind is inspect.Parameter.POSITIONAL_OR_KEYWORD] == [
        "hidden_layer_sizes",
        "activation",
    ]


@pytest.mark.skipif(is_older_than("1.7"), reason="before 1.7 scikit-learn's networks take no weights of samples")
@UNTRAINED
@pytest.mark.filterwarnings("ignore:Got `batch_size` less than 1")
@pytest.mark.parametrize(
    ("solver", "activation"),
    [(solver, activation) for solver in ("adam", "sgd") for activation in ("identity", "tanh", "logistic", "relu")]
    + [("lbfgs", "tanh"), ("lbfgs", "logistic")],
)
def test_the_first_steps_are_scikit_learns(solver, activation):
    """From the same weights, with a strong penalty, in batches, with weights of samples."""
    X, y = standardised(load_iris)
    X, y, weight = X[::2], y[::2], np.random.default_rng(0).uniform(0.5, 2, 75)
    options = {"solver": solver, "activation": activation, "alpha": 3.0, "shuffle": False, "learning_rate_init": 0.01}
    options |= {"max_iter": 4, "tol": 1e-9, "batch_size": 25, "random_state": 0, "epsilon": 1e-20}
    if solver == "lbfgs":
        options["max_iter"] = 2000
    peer = sklearn.neural_network.MLPClassifier((7,), **options)
    start = sklearn.neural_network.MLPClassifier((7,), **options | {"solver": "sgd", "max_iter": 1}).set_params(
        learning_rate_init=1e-300, momentum=0.0
    )
    start.fit(X, y)
    model = MLPClassifier((7,), **options, warm_start=True).fit(X, y)
    peer.set_params(warm_start=True).fit(X, y)
    for one in (model, peer):
        one.coefs_, one.intercepts_ = [c.copy() for c in start.coefs_], [b.copy() for b in start.intercepts_]
    if solver != "lbfgs":
        model._memory = {}
        del peer._optimizer
        weight = np.ones(75)  # ours counts a batch by its size, theirs by its weights
        peer.loss_curve_ = []
    peer.t_ = 0
    model.fit(X, y, weight)
    peer.fit(X, y, weight)
    for ours, theirs in zip(model.coefs_ + model.intercepts_, peer.coefs_ + peer.intercepts_, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=0.02 if solver == "lbfgs" else 1e-9)
    if solver == "lbfgs":  # of steps the curve counts the penalty otherwise
        assert model.loss_curve_[-1] == pytest.approx(peer.loss_, rel=1e-6)


@pytest.mark.parametrize("alpha", [1e-4, 1e-2, 0.1, 1.0])
@UNTRAINED
def test_a_grid_of_alpha_means_what_it_means_there(alpha):
    X, y = load_digits(return_X_y=True)
    X = X / 16
    options = {"alpha": alpha, "max_iter": 40, "random_state": 0}
    model = MLPClassifier(**options).fit(X[:1200], y[:1200])
    peer = sklearn.neural_network.MLPClassifier(**options).fit(X[:1200], y[:1200])
    assert model.score(X[1200:], y[1200:]) == pytest.approx(peer.score(X[1200:], y[1200:]), abs=0.03)
    size, theirs = (sum(np.sum(coef**2) for coef in one.coefs_) for one in (model, peer))
    assert 0.4 < size / theirs < 2.5


@UNTRAINED
def test_the_step_size_goes_on_as_it_says(rates):
    X, y = standardised(load_iris)
    options = {"solver": "sgd", "batch_size": 75, "learning_rate_init": 0.5, "random_state": 0}
    MLPClassifier((3,), learning_rate="invscaling", power_t=0.3, max_iter=3, tol=None, **options).fit(X, y)
    np.testing.assert_allclose(rates, np.repeat([0.5, 0.5 / 151**0.3, 0.5 / 301**0.3], 2), rtol=1e-12)
    rates.clear()
    model = MLPClassifier((3,), learning_rate="adaptive", tol=10.0, n_iter_no_change=2, **options).fit(X, y)
    per_epoch = rates[::2]
    assert per_epoch == pytest.approx([0.5 / 5 ** ((i - 1) // 2) if i else 0.5 for i in range(model.n_iter_)])
    assert per_epoch[-1] <= 1e-6 < per_epoch[-4]


def test_adam_takes_its_own_arguments():
    X, y = standardised(load_iris)
    plain = MLPClassifier(**FEW).fit(X, y)
    for name, value in {"beta_1": 0.5, "beta_2": 0.9, "epsilon": 0.1}.items():
        assert (MLPClassifier(**FEW, **{name: value}).fit(X, y).coefs_[0] != plain.coefs_[0]).any()


# ---------------------------------------------------------------------------------------------------------- L-BFGS


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("load", [load_iris, load_breast_cancer])
def test_lbfgs_ends_where_no_derivative_is_larger_than_tol(load, soft):
    """Those to the first weights per unit of their feature: the odd unit of one changes nothing."""
    X, y = standardised(load)
    X = X[:, :5] * [1, 1, 1, 1e-3, 1] if load is load_breast_cancer else X
    scales = np.sqrt((X**2).mean(axis=0))
    target = np.eye(y.max() + 1)[y] if soft else y
    model = MLPClassifier((4,), activation="tanh", solver="lbfgs", alpha=0.5, max_iter=5000, tol=1e-5, random_state=0)
    model.fit(X, target)
    assert never_rises(model.loss_curve_)

    def objective(flat):
        coefs = [flat[: X.shape[1] * 4].reshape(-1, 4) / scales[:, np.newaxis], *model.coefs_[1:]]
        logits = np.tanh(X @ coefs[0] + model.intercepts_[0]) @ coefs[1] + model.intercepts_[1]
        logits = np.column_stack([np.zeros(len(X)), logits]) if logits.shape[1] == 1 else logits
        return xe.softmax_cross_entropy(logits, y) + 0.25 / len(X) * sum(np.sum(coef**2) for coef in coefs)

    flat = (model.coefs_[0] * scales[:, np.newaxis]).ravel()
    assert objective(flat) == pytest.approx(model.loss_curve_[-1], rel=1e-9)
    steps = 1e-6 * np.eye(flat.size)
    assert max(abs(objective(flat + step) - objective(flat - step)) / 2e-6 for step in steps) < 1.1e-5


@UNTRAINED
def test_lbfgs_goes_on_stops_early_and_has_no_partial_fit():
    X, y = standardised(load_iris)
    options = {"solver": "lbfgs", "random_state": 0, "tol": None}
    model = MLPClassifier((5,), warm_start=True, max_iter=20, **options).fit(X, y)
    loss = model.loss_curve_[-1]
    assert model.fit(X, y).loss_curve_[0] < loss
    seen = []
    early = MLPClassifier(
        (50,),
        early_stopping=True,
        max_iter=500,
        **options | {"tol": 1e-3},
        callbacks=lambda model, loss: seen.append(loss),
    )
    curve = early.fit(X, y).validation_loss_curve_
    assert seen == early.loss_curve_
    assert 10 < len(curve) == early.n_iter_ < 500
    assert not hasattr(model, "partial_fit")
    model.set_params(solver="adam").partial_fit(X, y)


# -------------------------------------------------------------------------------------------------- sparse samples


@pytest.mark.parametrize("form", [scipy.sparse.csr_array, scipy.sparse.csc_matrix, scipy.sparse.coo_array])
@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
@UNTRAINED
def test_sparse_samples_give_what_dense_ones_give(solver, form):
    X, y = standardised(load_iris)
    X = np.where(np.abs(X) > 0.7, X, 0.0)
    options = {**FEW, "solver": solver, "early_stopping": solver == "adam"}
    dense, sparse = (MLPClassifier(**options).fit(samples, y) for samples in (X, form(X)))
    for one, other in zip(dense.coefs_, sparse.coefs_, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-7, atol=1e-10)
    np.testing.assert_allclose(sparse.predict_proba(form(X)), dense.predict_proba(X), rtol=1e-7)
    for method in ("input_gradient", "input_direction"):
        answer = getattr(sparse, method)(form(X), y)
        assert isinstance(answer, np.ndarray)
        np.testing.assert_allclose(answer, getattr(dense, method)(X, y), rtol=1e-6, atol=1e-9)
    if solver != "lbfgs":
        model = MLPClassifier(**FEW, solver=solver).fit(X, y)
        going_on = pickle.loads(pickle.dumps(model)).partial_fit(form(X), y)
        np.testing.assert_allclose(going_on.coefs_[0], model.partial_fit(X, y).coefs_[0], rtol=1e-7, atol=1e-10)


def test_sparse_samples_of_many_features_are_never_made_dense():
    rng = np.random.default_rng(0)
    rows, columns = np.arange(400).repeat(20), rng.integers(200_000, size=8000)
    X = csr_array((rng.uniform(size=8000).astype(np.float32), (rows, columns)), shape=(400, 200_000))  # dense 320 MB
    y = X[:, :100_000].sum(axis=1) > 5
    model = MLPClassifier((4,), max_iter=15, tol=None, learning_rate_init=0.01, random_state=0).fit(X, y)
    assert model.score(X, y) > 0.95
    assert model.coefs_[0].dtype == np.float32


# ------------------------------------------------------------------------------------------------- several labels


def labels_of_iris():
    X, y = standardised(load_iris)
    return X, np.column_stack([y == 0, y > 0, X[:, 0] > 0]).astype(int)


@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
@UNTRAINED
def test_several_labels_a_sample(solver):
    X, Y = labels_of_iris()
    options = {"solver": solver, "random_state": 0, "learning_rate_init": 0.03}
    model = MLPClassifier((10,), **options).fit(X, Y)
    assert model.score(X, Y) > 0.9
    assert model.predict(X).tolist() == (model.predict_proba(X) > 0.5).astype(int).tolist()
    assert model.predict(X).shape == model.decision_function(X).shape == Y.shape
    np.testing.assert_allclose(np.exp(model.predict_log_proba(X)), model.predict_proba(X), rtol=1e-12)
    np.testing.assert_array_equal(model.classes_, [0, 1, 2])
    assert model.out_activation_ == "logistic"
    for same in (Y.astype(bool), csr_array(Y)):
        np.testing.assert_array_equal(MLPClassifier((10,), **options).fit(X, same).coefs_[0], model.coefs_[0])


@UNTRAINED
@pytest.mark.parametrize("options", [{}, {"gamma": 1.5}, {"label_smoothing": 0.2}])
def test_the_loss_of_several_labels_is_summed_over_them(options):
    X, Y = labels_of_iris()
    weight = np.random.default_rng(0).uniform(0.5, 2.0, len(X))
    still = {"solver": "sgd", "learning_rate_init": 1e-300, "batch_size": len(X), "alpha": 0.0}
    model = MLPClassifier(**{**FEW, "max_iter": 1}, **still, **options).fit(X, Y, weight)
    focal = {"gamma": options.get("gamma", 0.0), "label_smoothing": options.get("label_smoothing", 0.0)}
    losses = xe.sigmoid_focal_loss(model.decision_function(X), Y, reduction="none", **focal).sum(axis=1)
    assert model.loss_curve_ == [pytest.approx(np.average(losses, weights=weight), rel=1e-12)]
    early = MLPClassifier(**{**FEW, "max_iter": 1}, **still, **options, early_stopping=True).fit(X, Y)
    losses = xe.sigmoid_focal_loss(early.decision_function(X), Y, reduction="none", **focal).sum(axis=1)
    assert early.validation_loss_curve_[0] == pytest.approx(losses.mean(), rel=0.3)

    def loss(x, y):
        return xe.sigmoid_focal_loss(model.decision_function([x])[0], y, reduction="sum", **focal)

    gradient = model.input_gradient(X[:4], Y[:4])
    for row, x, y in zip(gradient, X, Y, strict=False):
        np.testing.assert_allclose(row, approx_fprime(x, lambda x, y=y: loss(x, y)), rtol=1e-4, atol=1e-6)


@UNTRAINED
def test_several_labels_go_on_and_keep_their_kind(tmp_path):
    X, Y = labels_of_iris()
    whole, model = MLPClassifier(**FEW, shuffle=False).fit(X, Y), MLPClassifier(**FEW, shuffle=False)
    for _ in range(3):
        model.partial_fit(X, Y)
    np.testing.assert_array_equal(model.coefs_[0], whole.coefs_[0])
    model.save(tmp_path / "model.npz")
    again = MLPClassifier.load(tmp_path / "model.npz")
    np.testing.assert_array_equal(again.partial_fit(X, Y).coefs_[0], model.partial_fit(X, Y).coefs_[0])
    refused(model, "partial_fit", r"y must have a column for each of 3 labels, .* got shape \(150, 2\)", X, Y[:, :2])
    refused(model, "partial_fit", r"y must have a column for each of 3 labels, .* got shape \(150,\)", X, Y[:, 0])
    single = MLPClassifier(**FEW).partial_fit(X, Y[:, 0], classes=[0, 1])
    refused(single, "partial_fit", "y should be a 1d array, got an array of shape", X, Y)
    refused(single, "partial_fit", "y must hold a label a sample, as in the last call", X, csr_array(Y))
    unfitted = MLPClassifier(**FEW)
    refused(unfitted, "partial_fit", "a column for each of 2 classes, got 3", X, Y, classes=[0, 1])
    weighty = MLPClassifier(**FEW, class_weight={0: 2.0})
    refused(weighty, "fit", "class_weight must be None where y has a column for each label", X, Y)


@UNTRAINED
def test_partial_fit_with_nothing_but_zero_weights_changes_nothing():
    X, y = standardised(load_iris)
    for target in (y, labels_of_iris()[1]):
        model = MLPClassifier(**FEW).fit(X, target)
        before = state(model)
        assert state(model.partial_fit(X, target, sample_weight=np.zeros(150))) == before
        refused(model, "partial_fit", "sample_weight.shape ==", X, target, sample_weight=np.zeros(3))


# ---------------------------------------------------------------------------------------------------- what is shown


@UNTRAINED
def test_plots_its_loss():
    X, y = standardised(load_iris)
    model = MLPClassifier(**FEW, early_stopping=True).fit(X, y)
    ax = Figure().subplots()
    assert model.plot_loss_curve(ax) is ax
    assert ax.get_xlabel() == "epoch"
    training, held_out = ax.get_lines()
    np.testing.assert_array_equal(held_out.get_xydata(), np.column_stack([[1, 2, 3], model.validation_loss_curve_]))
    np.testing.assert_array_equal(training.get_xdata(), [0.5, 1.5, 2.5])  # the mean over an epoch, in its middle
    without = np.subtract(model.loss_curve_, model.penalty_curve_)
    np.testing.assert_array_equal(training.get_ydata(), without)
    strong = MLPClassifier(**FEW, early_stopping=True, alpha=50.0, learning_rate_init=1e-12).fit(X, y)
    np.testing.assert_allclose(np.subtract(strong.loss_curve_, strong.penalty_curve_), without[0], rtol=1e-3)
    assert strong.loss_curve_[0] > 3 * without[0]


def test_progress_when_asked(capsys):
    X, y = standardised(load_iris)
    MLPClassifier(**FEW).fit(X, y)
    MLPClassifier(verbose=True).partial_fit(X, y, classes=[0, 1, 2])
    assert capsys.readouterr() == ("", "")
    model = MLPClassifier(verbose=True, **FEW).fit(X, y)
    shown = capsys.readouterr().err
    assert "3/3" in shown
    assert f"loss={model.loss_curve_[-1]:.4f}" in shown


# ------------------------------------------------------------------------------------------------------- all or nothing


def distributions(y, wrong):
    rows = np.eye(3)[y]
    rows[5] = wrong
    return rows


BAD_DATA = [
    (lambda X, y: (with_nan(X), y), "Input X contains NaN"),
    (lambda X, y: (X[:, 0], y), "Expected 2D array, got 1D array instead"),
    (lambda X, y: (X[:-1], y), "Found input variables with inconsistent numbers of samples"),
    (lambda X, y: (X, y + 0.5), "Unknown label type: continuous"),
    (lambda X, y: (X, np.array([["a", "b"]] * 150)), r"y should be a 1d array, got an array of shape \(150, 2\)"),
    (lambda X, y: (X, distributions(y, [0.5, 0.5, 0.1])), "distributions whose rows sum to 1, got 1.1 at row 5"),
    (lambda X, y: (X, distributions(y, [1.5, -0.5, 0])), r"distributions in \[0, 1\], got -0.5 at row 5"),
    (lambda X, y: (X, y, -np.ones(len(y))), "Negative values in data passed to `sample_weight`"),
    (lambda X, y: (X, y, np.zeros(len(y))), "at least one non-zero number|a positive, finite sum"),  # before 1.9 ours
    (lambda X, y: (X, y, np.ones(3)), "sample_weight.shape == "),
    (lambda X, y: (X, y, np.full(len(y), 1e308)), "a positive, finite sum to divide by, got inf"),
    (lambda X, y: (X, y, np.full(len(y), 1e-320)), "a positive, finite sum to divide by, got 1.49998e-318"),
    (lambda X, y: (1e300 * X, y), r"The loss overflows. X reaches \S+e\+300: divide it by that, as .*MaxAbsScaler"),
]

BAD_PARAMETERS = [
    ({"alpha": -1.0}, "The 'alpha' parameter of MLPClassifier must be"),
    ({"solver": "newton"}, "The 'solver' parameter of MLPClassifier must be"),
    ({"learning_rate": 0.05}, "learning_rate must be the name of a schedule, .* write learning_rate_init=0.05"),
    ({"learning_rate": "cosine"}, "The 'learning_rate' parameter of MLPClassifier must be"),
    ({"batch_size": "all"}, "The 'batch_size' parameter of MLPClassifier must be"),
    ({"beta_1": 1.0}, "The 'beta_1' parameter of MLPClassifier must be"),
    ({"max_fun": 0}, "The 'max_fun' parameter of MLPClassifier must be"),
    ({"activation": "sine"}, "The 'activation' parameter of MLPClassifier must be"),
    ({"learning_rate_init": 0.0}, "The 'learning_rate_init' parameter of MLPClassifier must be"),
    ({"gamma": -1.0}, "The 'gamma' parameter of MLPClassifier must be"),
    ({"gamma": np.inf}, "The 'gamma' parameter of MLPClassifier must be"),
    ({"random_state": "seed"}, "The 'random_state' parameter of MLPClassifier must be"),
    ({"validation_fraction": 1.0}, "The 'validation_fraction' parameter of MLPClassifier must be"),
    ({"callbacks": 3}, "The 'callbacks' parameter of MLPClassifier must be"),
    ({"hidden_layer_sizes": 0}, "The 'hidden_layer_sizes' parameter of MLPClassifier must be"),
    ({"hidden_layer_sizes": (7, 0)}, r"hidden_layer_sizes must be positive integers, got \(7, 0\)"),
    ({"hidden_layer_sizes": [7, 2.5]}, r"hidden_layer_sizes must be positive integers, got \[7, 2.5\]"),
    ({"class_weight": {7: 1.0}}, r"The classes, \[0, 1, 2\], are not in class_weight"),
    (
        {"class_weight": dict.fromkeys(range(3), 0.0)},
        "sample_weight must have a positive, finite sum to divide by, got 0",
    ),
    ({"class_weight": dict.fromkeys(range(3), 1e308)}, "a positive, finite sum to divide by, got inf"),
    (
        {"early_stopping": True, "validation_fraction": 1e-3},
        r"cannot hold out validation_fraction=0.001 of 150 samples of 3 classes: 1 would be held out",
    ),
]


@pytest.mark.parametrize(("data", "message"), BAD_DATA)
@pytest.mark.parametrize("warm_start", [False, True])
def test_bad_data_leaves_the_estimator_as_it_was(data, message, warm_start):
    X, y = standardised(load_iris)
    unfitted, fitted = MLPClassifier(**FEW), MLPClassifier(**FEW, warm_start=warm_start).fit(X, y)
    for model in (unfitted, fitted):
        refused(model, "fit", message, *data(X, y))
    with pytest.raises(NotFittedError):
        unfitted.predict(X)


@pytest.mark.parametrize(("params", "message"), BAD_PARAMETERS)
def test_bad_parameters_leave_the_estimator_as_it_was(params, message):
    X, y = standardised(load_iris)
    refused(MLPClassifier(**{**FEW, **params}), "fit", message, X, y)


def test_columns_of_more_than_yes_and_no_are_refused():
    X, y = standardised(load_iris)
    for wrong in (2, -1):
        columns = wrong * np.eye(3, dtype=int)[y]
        message = (
            rf"y must be labels, or numbers in \[0, 1\], got {wrong} at row 0, column 0. Several labels of more than"
        )
        refused(MLPClassifier(**FEW), "fit", message, X, columns)


def test_callbacks_and_labels_of_other_kinds_are_refused():
    X, y = standardised(load_iris)
    model = MLPClassifier(**FEW, callbacks=[print, 3])
    refused(model, "fit", r"callbacks\[1\] must be callable, got 3", X, y, error=TypeError)
    mixed = np.array(["a", None, 1] * 50, object)
    refused(model, "fit", "y must hold labels that have an order, got NoneType, int, str", X, mixed, error=TypeError)


def test_the_input_gradient_of_samples_far_away():
    """The gradients to the weights overflow there, which nobody asks for."""
    X, y = standardised(load_iris)
    model = MLPClassifier(**FEW).fit(X, y)
    assert np.isfinite(model.input_gradient(np.full(X.shape, 2e307), y)).all()


def test_partial_fit_refuses_what_it_cannot_use():
    X, y = standardised(load_iris)
    with pytest.raises(ValueError, match="classes must be passed on the first call to partial_fit"):
        MLPClassifier().partial_fit(X, y)
    with pytest.raises(ValueError, match="class_weight 'balanced' is not supported for partial_fit"):
        MLPClassifier(class_weight="balanced").partial_fit(X, y, classes=[0, 1, 2])
    with pytest.raises(ValueError, match=r"y contains previously unseen labels: .*2"):
        MLPClassifier().partial_fit(X, y, classes=[0, 1])
    model = MLPClassifier(**FEW).partial_fit(X, y, classes=[0, 1, 2])
    refused(model, "partial_fit", "is not the same as on last call", X, y, classes=[0, 1, 2, 3])
    four = np.full((len(X), 4), 0.25)
    refused(model, "partial_fit", "y must have a column for each of 3 classes, got 4", X, four)
    refused(model, "partial_fit", r"y contains previously unseen labels: .*3", X, y + 1)


def test_early_stopping_needs_weight_on_both_sides():
    X, y = standardised(load_iris)
    weight = np.zeros(len(y))
    weight[0] = 1.0
    with pytest.raises(ValueError, match=r"positive sum over the samples (held out|to train on), got only zeros"):
        MLPClassifier(**FEW, early_stopping=True).fit(X, y, weight)
