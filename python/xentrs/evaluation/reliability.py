"""How often predictions are right among those of like confidence: the sums in bins, and their picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._extras import need

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["ReliabilityBins", "bin_numbers", "draw_reliability"]

CALIBRATED = "as sure as right"
"""What the legend calls the diagonal."""


class ReliabilityBins(NamedTuple):
    """Sums over the rows whose confidence lies in each of `n` bins of equal width, the first from 0, the last to 1.

    With the weights ``s`` of the rows, the accuracy in a bin is ``correct / weight``, the mean confidence
    ``confidence / weight``. Any common factor of all three sums cancels.
    """

    weight: NDArray[np.float64]
    """``sum_i s_i``, of shape (n_bins,); 0 in a bin without rows."""

    confidence: NDArray[np.float64]
    """``sum_i s_i conf_i``."""

    correct: NDArray[np.float64]
    """``sum_i s_i [argmax z_i = y_i]``."""

    def error(self) -> float:
        """Tell the expected calibration error, ``sum |correct - confidence| / sum weight``; 0.0 without any weight."""
        total = self.weight.sum()
        return float(np.abs(self.correct - self.confidence).sum() / total) if total else 0.0


def bin_numbers(confidence: NDArray[Any], n_bins: int) -> NDArray[np.float64]:
    """Tell the bin of each row, 1 to `n_bins`: that of number b holds ``(b - 1) / n_bins < conf <= b / n_bins``."""
    numbers: NDArray[np.float64] = np.maximum(np.ceil(confidence.astype(np.float64) * n_bins), 1.0)
    return numbers


def draw_reliability(
    bins: ReliabilityBins, ax: Axes | None = None, *, name: str | None = None, ref_line: bool = True, **options: Any
) -> Axes:
    """Draw a reliability diagram: accuracy over mean confidence, a point for each bin that has rows.

    Beneath the line stands the share of the weight in each bin. Drawn again into the same axes, another model joins the
    first, and the diagonal stays one.

    Parameters
    ----------
    bins : ReliabilityBins
        The sums.
    ax : matplotlib.axes.Axes, optional
        Where to draw. Without one, in a new figure of pyplot.
    name : str, optional
        What the legend calls the model, before its calibration error.
    ref_line : bool, default True
        Whether to draw the diagonal, where confidence is accuracy.
    **options
        Of the line, for ``matplotlib.axes.Axes.plot``.

    Returns
    -------
    matplotlib.axes.Axes
        With the picture; its last line is that of the model.

    Raises
    ------
    ImportError
        Without matplotlib 3.8 or newer, the extra `plot`.
    """
    if ax is None:
        need("a reliability diagram", "matplotlib")
        from matplotlib import pyplot

        _, ax = pyplot.subplots()
    if ref_line and CALIBRATED not in ax.get_legend_handles_labels()[1]:
        ax.plot([0, 1], [0, 1], color="0.5", linestyle=":", label=CALIBRATED)
    weight, confidence, correct = bins
    there = weight > 0
    label = f"ECE = {bins.error():.3f}"
    style = {"marker": "o", "label": f"{name} ({label})" if name else label}
    (line,) = ax.plot(confidence[there] / weight[there], correct[there] / weight[there], **style | options)
    if there.any():
        edges = np.linspace(0, 1, len(weight) + 1)
        ax.stairs(weight / weight.sum(), edges, fill=True, color=line.get_color(), alpha=0.2, zorder=0)
    ax.set(xlabel="mean confidence in a bin", ylabel="accuracy in a bin; share of rows", xlim=(0, 1), ylim=(0, 1))
    ax.set_aspect("equal")
    ax.legend(loc="upper left")
    return ax
