"""What every training shares: the monitor, its curve and its picture."""

import sys

import matplotlib as mpl
import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError

from xentrs.models.training import LossCurveMixin, Monitor, all_or_nothing, has_stalled


class Countdown(LossCurveMixin, BaseEstimator):
    """Its parameter is 5, 4, 3, ..., and so is its loss; held out, the loss is least at 3."""

    def fit(self, **options):
        weight = np.array([6.0])
        with all_or_nothing(self), Monitor(self, [weight], total=10, unit="epoch", **options) as monitor:
            for _ in range(10):
                weight -= 1
                if monitor(float(weight[0])):
                    break
        self.weight_, self.stopped_ = weight, monitor.stopped
        return self

    def fit_held_out(self):
        weight = np.array([6.0])
        held_out = {
            "validation_loss": lambda: float(abs(weight[0] - 3)),
            "stop": lambda curve: has_stalled(curve, 0.1, 2),
        }
        with Monitor(self, [weight], total=10, unit="epoch", **held_out) as monitor:
            for _ in range(10):
                weight -= 1
                if monitor(float(weight[0])):
                    break
        self.weight_ = weight
        return self


def test_the_curve_is_kept_and_callbacks_see_it():
    seen = []
    model = Countdown().fit(callbacks=lambda model, loss: seen.append((model.n_iter_, model.loss_curve_[-1], loss)))
    assert model.loss_curve_ == [5, 4, 3, 2, 1, 0, -1, -2, -3, -4]
    assert seen == [(i + 1, loss, loss) for i, loss in enumerate(model.loss_curve_)]
    assert not model.stopped_
    assert not hasattr(model, "validation_loss_curve_")


def test_any_callback_stops_and_all_are_asked():
    asked = []
    callbacks = [lambda model, loss: np.bool_(loss < 4), lambda model, loss: asked.append(loss)]
    model = Countdown().fit(callbacks=callbacks)
    assert model.loss_curve_ == asked == [5, 4, 3]
    assert model.stopped_


def test_early_stopping_goes_back_to_the_best():
    model = Countdown().fit_held_out()
    assert model.validation_loss_curve_ == [2, 1, 0, 1, 2]
    assert model.weight_ == 3
    assert not hasattr(model.fit(), "validation_loss_curve_")


@pytest.mark.parametrize(
    ("curve", "tol", "n", "stalled"),
    [([], 0.1, 1, False), ([1, 1], 0.1, 2, False), ([1, 1], 0.1, 1, True), ([1, 0.8], 0.1, 1, False)]
    + [([1, 1], None, 1, False), ([3, 2, 1, 2, 3], 0.1, 2, True), ([1, 1], 0.0, 1, False), ([1, 2], 0.0, 1, True)],
)
def test_stalls_when_the_last_are_no_lower(curve, tol, n, stalled):
    assert has_stalled(curve, tol, n) == stalled


def test_what_a_callback_raises_leaves_the_estimator_as_it_was():
    model = Countdown().fit()
    before = {name: id(value) for name, value in vars(model).items()}

    def fail(model, loss):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        model.fit(callbacks=[fail])
    assert {name: id(value) for name, value in vars(model).items()} == before


def test_plots_the_curves():
    mpl.use("Agg")
    from matplotlib import pyplot

    model = Countdown().fit_held_out()
    ax = model.plot_loss_curve()
    assert model.plot_loss_curve(ax) is ax
    assert [line.get_label() for line in ax.get_lines()] == ["training", "held out"] * 2
    np.testing.assert_array_equal(ax.get_lines()[0].get_xydata(), [[1, 5], [2, 4], [3, 3], [4, 2], [5, 1]])
    assert ax.get_ylabel() == "loss (nats)"
    assert model.fit().plot_loss_curve().get_ylabel() == "objective (nats)"
    pyplot.close("all")


def test_a_picture_needs_training_and_matplotlib(monkeypatch):
    with pytest.raises(NotFittedError, match="This Countdown instance is not fitted yet"):
        Countdown().plot_loss_curve()
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(
        ImportError, match=r"plot_loss_curve needs matplotlib 3.8 or newer, .*: pip install 'xentrs\[plot\]'"
    ):
        Countdown().fit().plot_loss_curve()
