"""Reliability diagrams: the sums in bins, and what is drawn of them."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

import xentrs as xe
from xentrs.evaluation.reliability import ReliabilityBins, draw_reliability

plt = pytest.importorskip("matplotlib.pyplot", reason="matplotlib is not installed")


@pytest.fixture
def ax():
    figure, axes = plt.subplots()
    yield axes
    plt.close(figure)


def rows(n: int = 500, c: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    return 2 * rng.normal(size=(n, c)), rng.integers(0, c, n), rng.exponential(size=n)


@pytest.mark.parametrize("n_bins", [1, 4, 15])
def test_the_picture_of_an_evaluation_shows_its_bins(ax: plt.Axes, n_bins: int) -> None:
    logits, target, weight = rows()
    evaluation = xe.Evaluation(n_bins=n_bins).update(logits, target, sample_weight=weight)
    line = evaluation.plot_reliability(ax, name="mine").get_lines()[-1]
    p = xe.softmax(logits)
    confidence, correct = p.max(axis=1), p.argmax(axis=1) == target
    bins = np.ceil(confidence * n_bins)
    points = [
        [np.average(values[bins == b], weights=weight[bins == b]) for values in (confidence, correct)]
        for b in np.unique(bins)
    ]
    assert_allclose(line.get_xydata(), points, rtol=1e-12)
    error = xe.expected_calibration_error(logits, target, n_bins=n_bins, sample_weight=weight)
    assert line.get_label() == f"mine (ECE = {error:.3f})"
    (shares,) = ax.patches
    assert_allclose(shares.get_data().values.sum(), 1.0)


def test_the_picture_shows_the_sums(ax: plt.Axes) -> None:
    bins = ReliabilityBins(np.array([0.0, 4.0, 1.0]), np.array([0.0, 2.0, 0.9]), np.array([0.0, 3.0, 1.0]))
    assert draw_reliability(bins, ax, name="mine", color="C3") is ax
    diagonal, line = ax.get_lines()
    assert diagonal.get_xdata().tolist() == diagonal.get_ydata().tolist() == [0, 1]
    assert_allclose(line.get_xydata(), [[0.5, 0.75], [0.9, 1.0]])
    assert (line.get_color(), line.get_label()) == ("C3", "mine (ECE = 0.220)")
    (shares,) = ax.patches
    assert_allclose(shares.get_data().values, [0.0, 0.8, 0.2])
    assert_allclose(shares.get_data().edges, [0, 1 / 3, 2 / 3, 1])


def test_two_models_share_a_diagonal(ax: plt.Axes) -> None:
    evaluation = xe.Evaluation().update(*rows()[:2])
    evaluation.plot_reliability(ax, name="a", ref_line=False)
    assert len(ax.get_lines()) == 1
    for name in "bc":
        evaluation.plot_reliability(ax, name=name)
    labels = [text.get_text().split(" (")[0] for text in ax.get_legend().get_texts()]
    assert sorted(labels) == ["a", "as sure as right", "b", "c"]


def test_a_figure_of_its_own_and_a_picture_of_nothing() -> None:
    ax = xe.Evaluation().plot_reliability()
    assert ax.figure.number in plt.get_fignums()
    assert ax.get_lines()[-1].get_xdata().size == 0 and not ax.patches
    plt.close(ax.figure)
