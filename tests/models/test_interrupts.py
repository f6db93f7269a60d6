"""Ctrl-C in the middle of a training: a KeyboardInterrupt, and an estimator as its last finished iteration left it."""

import pickle
import signal
import sys

import numpy as np
import pytest
from sklearn.base import clone, is_classifier
from sklearn.datasets import load_iris
from sklearn.preprocessing import scale
from test_models import ESTIMATORS, data

from refusals import state
from xentrs.models import LogisticRegression, MLPClassifier, TemperatureScaler, temperature

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.usefixtures("heeds_interrupts"),
]

EPOCHS = 4
TRAINED = [
    *ESTIMATORS,
    MLPClassifier((5, 3)),
    MLPClassifier((5, 3), solver="sgd", activation="tanh"),
]
TRAINED += [clone(model).set_params(early_stopping=True) for model in TRAINED if is_classifier(model)]


def short(estimator, n=EPOCHS):
    options = {"random_state": 0} if is_classifier(estimator) else {}
    if "schedule" in estimator.get_params():
        options["schedule"] = "constant"  # one that knows the end would be another with another end
    return clone(estimator).set_params(max_iter=n, tol=None, **options)


def samples(estimator):
    if isinstance(estimator, MLPClassifier):
        X, y = load_iris(return_X_y=True)
        return scale(X), y
    return data(estimator)


def fitted(model):
    """Everything that was learnt, to the last bit, but for the layout in memory."""
    given = model.get_params()
    return {name: value for name, value in bits(vars(model)).items() if name not in given}


def bits(value):
    if isinstance(value, np.ndarray):
        return value.dtype, value.shape, value.tobytes()
    if isinstance(value, dict):
        return {name: bits(item) for name, item in value.items()}
    if isinstance(value, list):
        return [bits(item) for item in value]
    return pickle.dumps(value)


def interrupt(signals_at, train):
    """Call `train`, with a SIGINT at the lines of xentrs with these numbers, counted from 0; how many there were."""
    lines = 0

    def trace(frame, event, argument):
        nonlocal lines
        if "/xentrs/" not in frame.f_code.co_filename.replace("\\", "/"):
            return None
        if event == "line":
            lines += 1
            if lines - 1 in signals_at:
                signal.raise_signal(signal.SIGINT)
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        train()
    finally:
        sys.settrace(before)
    return lines


@pytest.mark.parametrize("estimator", TRAINED, ids=repr)
def test_an_interrupt_in_a_callback_keeps_what_is_done(estimator):
    X, y = samples(estimator)
    for n in (1, 3):

        def stop(model, loss, n=n):
            if model.n_iter_ == n:
                raise KeyboardInterrupt

        model = short(estimator).set_params(callbacks=stop)
        with pytest.raises(KeyboardInterrupt):
            model.fit(X, y)
        model.set_params(callbacks=None)
        assert fitted(model) == fitted(short(estimator, n).fit(X, y))


@pytest.mark.parametrize("estimator", TRAINED, ids=repr)
def test_a_signal_at_any_line_leaves_whole_iterations(estimator):
    """At forty lines of all that are run: between the layers, the parameters, the batches, the curves."""
    X, y = samples(estimator)
    expected = [fitted(clone(estimator))] + [fitted(short(estimator, n).fit(X, y)) for n in range(1, EPOCHS + 1)]
    model = short(estimator)
    n_lines = interrupt((), lambda: model.fit(X, y))
    seen = set()
    for line in range(0, n_lines, max(1, n_lines // 40)):
        model = short(estimator)
        with pytest.raises(KeyboardInterrupt):
            interrupt((line,), lambda model=model: model.fit(X, y))
        n = int(np.max(getattr(model, "n_iter_", 0)))
        assert fitted(model) == expected[n], f"at line {line} of {n_lines}"
        seen.add(n)
    assert seen >= set(range(EPOCHS)), "no iteration was interrupted"


@pytest.mark.parametrize("estimator", TRAINED, ids=repr)
def test_training_goes_on_after_an_interrupt(estimator):
    X, y = samples(estimator)
    stopped, whole = short(estimator), short(estimator, 2).fit(X, y)
    n_lines = interrupt((), lambda: whole.fit(X, y))
    with pytest.raises(KeyboardInterrupt):
        interrupt((n_lines + 10,), lambda: stopped.fit(X, y))
    assert fitted(stopped) == fitted(whole)
    np.testing.assert_array_equal(stopped.predict(X), whole.predict(X))
    for model in (stopped, whole):
        model.set_params(max_iter=2, warm_start=True).fit(X, y)
    assert fitted(stopped) == fitted(whole)
    if hasattr(whole, "partial_fit") and not whole.early_stopping:
        for model in (stopped, whole):
            model.partial_fit(X, y)
        assert fitted(stopped) == fitted(whole)


@pytest.mark.parametrize("estimator", TRAINED, ids=repr)
def test_an_interrupt_before_the_first_iteration_changes_nothing(estimator):
    """Nor does one of `partial_fit`, which is one iteration."""
    X, y = samples(estimator)
    model = short(estimator, 2).fit(X, y)
    before = state(model)
    trainings = [model.fit]
    if hasattr(model, "partial_fit") and not model.early_stopping:
        trainings.append(model.partial_fit)
    for train in trainings:
        for line in (0, 20, 50):
            with pytest.raises(KeyboardInterrupt):
                interrupt((line,), lambda train=train: train(X, y))
            assert state(model) == before


@pytest.mark.parametrize("around", [False, True])
def test_a_signal_leaves_the_temperature_of_the_last_step(monkeypatch, around):
    X, y = load_iris(return_X_y=True)
    classifier = LogisticRegression(max_iter=5, tol=None).fit(X[::3], y[::3])
    given = X if around else classifier.decision_function(X)
    scaler = TemperatureScaler(classifier if around else None)
    expected = {0: {}}
    n_steps = clone_of(scaler).fit(given, y).n_iter_
    for n in range(1, n_steps + 1):
        monkeypatch.setattr(temperature, "MOST_STEPS", n)
        expected[n] = fitted(clone_of(scaler).fit(given, y))
    model, seen = clone_of(scaler), set()
    n_lines = interrupt((), lambda: model.fit(given, y))
    for line in range(0, n_lines, max(1, n_lines // 100)):
        model = clone_of(scaler)
        with pytest.raises(KeyboardInterrupt):
            interrupt((line,), lambda model=model: model.fit(given, y))
        n = getattr(model, "n_iter_", 0)
        assert fitted(model) == expected[n], f"at line {line} of {n_lines}"
        seen.add(n)
        if n:
            np.testing.assert_array_equal(model.predict(given), classifier.predict(X))
    assert seen >= set(range(n_steps)), "no step was interrupted"


def clone_of(scaler):
    """A clone would take the classifier for one that is to be fitted."""
    return TemperatureScaler(scaler.estimator)


def test_what_else_is_raised_keeps_nothing():
    X, y = samples(MLPClassifier())

    def fail(model, loss):
        if model.n_iter_ == 2:
            raise ZeroDivisionError

    model = short(MLPClassifier((3,))).fit(X, y)
    before = state(model)
    with pytest.raises(ZeroDivisionError):
        model.set_params(callbacks=fail).fit(X, y)
    assert state(model.set_params(callbacks=None)) == before


def test_a_fit_inside_a_callback_does_not_end_the_other():
    """Each of the two has its own last finished iteration."""
    X, y = samples(MLPClassifier())
    inner = short(MLPClassifier((3,)), 2)

    def look(model, loss):
        inner.fit(X, y)
        if model.n_iter_ == 3:
            raise KeyboardInterrupt

    model = short(MLPClassifier((3,))).set_params(callbacks=look)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, y)
    assert model.n_iter_ == 3
    assert inner.n_iter_ == 2
