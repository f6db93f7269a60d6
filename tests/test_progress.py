"""The progress bar: in a terminal, in a notebook with and without ipywidgets, and what it shows."""

import sys
import types
import warnings

import numpy as np
import pytest
from sklearn.datasets import load_iris

from xentrs import _progress as progress
from xentrs.models import LogisticRegression, MLPClassifier


class Widget:
    """Stands for any widget of ipywidgets."""

    def __init__(self, *args, **options):
        self.children, self.value, self.bar_style, self.pbar = options.get("children", ()), None, "", None
        self.layout = self.style = types.SimpleNamespace()
        vars(self).update(options)

    def close(self):
        pass


@pytest.fixture
def notebook(monkeypatch):
    """A kernel, to all that tqdm and we ask of one; tqdm is loaded anew, as it decides while it is imported."""
    shown = []

    class Shell:
        config = {"IPKernelApp": {}}  # noqa: RUF012

    ipython, display = types.ModuleType("IPython"), types.ModuleType("IPython.display")
    ipython.get_ipython, display.display = Shell, shown.append
    for name in [name for name in sys.modules if name.split(".")[0] in ("tqdm", "ipywidgets")]:
        monkeypatch.delitem(sys.modules, name)
    modules = {"IPython": ipython, "IPython.display": display, "ipykernel.zmqshell": types.ModuleType("zmqshell")}
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    progress._tqdm.cache_clear()
    yield shown
    progress._tqdm.cache_clear()


def bar(verbose, total=3):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return progress.progress_bar(total=total, desc="Model", unit="epoch", verbose=verbose)


def test_a_notebook_shows_its_own_bar(notebook, monkeypatch):
    widgets = types.ModuleType("ipywidgets")
    widgets.HTML = widgets.FloatProgress = widgets.HBox = Widget
    monkeypatch.setitem(sys.modules, "ipywidgets", widgets)
    made = bar(verbose=True)
    assert notebook == [made.container]
    made.update()
    made.refresh()
    assert made.container.children[1].value == 1
    made.close()
    late = bar(verbose=None)
    assert not late.disable
    assert len(notebook) == 1, "within a second nothing is shown"
    late.close()
    assert bar(verbose=False).disable


def test_a_notebook_without_ipywidgets_shows_characters_and_does_not_warn(notebook, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    made = bar(verbose=True)
    made.update()
    made.close()
    assert "Model" in capsys.readouterr().err
    assert not bar(verbose=None).disable
    assert bar(verbose=False).disable
    assert notebook == []


def test_a_file_shows_nothing_unless_told_to(capsys):
    assert bar(verbose=None).disable
    assert capsys.readouterr() == ("", "")


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("model", [LogisticRegression(), LogisticRegression(solver="sgd"), MLPClassifier()], ids=repr)
def test_the_held_out_loss_is_shown_where_it_decides(model, capsys):
    X, y = load_iris(return_X_y=True)
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    model.set_params(verbose=True, max_iter=3, tol=None, random_state=0).fit(X, y)
    shown = capsys.readouterr().err
    assert f"loss={model.loss_curve_[-1]:.4f}" in shown
    assert "held out" not in shown
    model.set_params(early_stopping=True).fit(X, y)
    shown = capsys.readouterr().err
    assert f"loss={model.loss_curve_[-1]:.4f}, held out={model.validation_loss_curve_[-1]:.4f}" in shown


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    "model", [LogisticRegression(), LogisticRegression(solver="sgd"), MLPClassifier((3,), solver="lbfgs")], ids=repr
)
def test_curves_of_training_and_held_out_are_of_the_same_terms(model):
    """A penalty so strong that no weight moves: what is left of the curves is the loss, the same on both sides."""
    from matplotlib.figure import Figure

    X, y = load_iris(return_X_y=True)
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    weight = np.where(y == 0, 3.0, 0.5)
    strong = {"alpha": 1e4} if isinstance(model, MLPClassifier) else {"C": 1e-4, "learning_rate": 1e-3}
    options = {"early_stopping": True, "max_iter": 40, "tol": None, "random_state": 0, "validation_fraction": 0.5}
    model.set_params(**options, **strong).fit(X, y, weight)
    training, held_out = model.plot_loss_curve(Figure().subplots()).get_lines()
    assert training.get_ydata()[-1] == pytest.approx(held_out.get_ydata()[-1], abs=0.05)
    np.testing.assert_allclose(training.get_ydata() + model.penalty_curve_, model.loss_curve_, rtol=1e-12)
    assert min(model.penalty_curve_) >= 0
