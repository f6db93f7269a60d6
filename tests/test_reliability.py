"""Reliability diagrams: the sums in bins, and what is drawn of them."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

import xentrs as xe
from xentrs.evaluation.calibration import reliability_bins
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
def test_bins_are_those_of_the_calibration_error(n_bins: int) -> None:
    logits, target, weight = rows()
    bins = reliability_bins(logits, target, n_bins=n_bins, sample_weight=weight)
    p = xe.softmax(logits)
    confidence, correct, share = p.max(axis=1), p.argmax(axis=1) == target, weight / weight.max()
    for b, sums in enumerate(zip(*bins, strict=True)):
        inside = (confidence > b / n_bins) & (confidence <= (b + 1) / n_bins)
        by_hand = [(share * factor)[inside].sum() for factor in (1.0, confidence, correct)]
        assert_allclose(sums, by_hand, rtol=1e-12)
    error = xe.expected_calibration_error(logits, target, n_bins=n_bins, sample_weight=weight)
    assert bins.error() == pytest.approx(error, rel=1e-12)


def test_a_row_at_the_edge_of_two_bins_belongs_to_the_lower() -> None:
    assert reliability_bins([[0.0, 0.0]], [0], n_bins=2).weight.tolist() == [1.0, 0.0]
    assert reliability_bins([[9e9, 0.0]], [0], n_bins=2).weight.tolist() == [0.0, 1.0]


def test_nothing_has_no_error() -> None:
    assert reliability_bins(np.zeros((0, 3)), []).error() == 0.0


def test_what_has_no_confidence_has_no_place() -> None:
    with pytest.raises(ValueError, match="logits must define a distribution in every row, got none at row 2"):
        reliability_bins([[0.0, 1.0], [np.nan, 0.0], [np.nan, 0.0]], [0, 1, 1], sample_weight=[1, 0, 1])


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
    logits, target, _ = rows()
    draw_reliability(reliability_bins(logits, target), ax, name="a", ref_line=False)
    assert len(ax.get_lines()) == 1
    for name in "bc":
        draw_reliability(reliability_bins(logits, target), ax, name=name)
    labels = [text.get_text().split(" (")[0] for text in ax.get_legend().get_texts()]
    assert sorted(labels) == ["a", "as sure as right", "b", "c"]


def test_a_figure_of_its_own_and_a_picture_of_nothing() -> None:
    ax = draw_reliability(reliability_bins(np.zeros((0, 3)), []))
    assert ax.figure.number in plt.get_fignums()
    assert ax.get_lines()[-1].get_xdata().size == 0 and not ax.patches
    plt.close(ax.figure)
