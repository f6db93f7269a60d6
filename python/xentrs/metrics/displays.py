"""Pictures in the manner of scikit-learn's displays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self, SupportsIndex

import numpy as np
from numpy.typing import ArrayLike

from .._extras import need
from .._numbers import positive_integer
from ..evaluation import Evaluation
from .responses import evaluate_scores, evaluated

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure
    from matplotlib.lines import Line2D

__all__ = ["ReliabilityDisplay"]


class ReliabilityDisplay:
    """Reliability diagram: how often predictions are right among those of like confidence.

    Made by `from_estimator` or `from_predictions`, of any number of classes. A point for each bin of confidence that
    has samples shows their accuracy over their mean confidence; beneath stands the share of the samples in each bin. A
    calibrated model keeps to the diagonal, and below it is more sure than right.

    Parameters
    ----------
    evaluation : xentrs.Evaluation
        The sums of what is drawn.
    estimator_name : str, optional
        What the legend calls the model.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        Where it was drawn.
    figure_ : matplotlib.figure.Figure
        The figure around it.
    line_ : matplotlib.lines.Line2D
        The points of the bins.

    See Also
    --------
    get_scorer : the calibration error as a scorer.
    xentrs.models.TemperatureScaler : calibrates a model.
    sklearn.calibration.CalibrationDisplay : of two classes, the share of the second over its probability.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from xentrs.metrics import ReliabilityDisplay
    >>> from xentrs.models import LogisticRegression
    >>> X, y = load_iris(return_X_y=True)
    >>> model = LogisticRegression().fit(X[::2], y[::2])
    >>> display = ReliabilityDisplay.from_estimator(model, X[1::2], y[1::2], n_bins=5)
    >>> print(display.line_.get_label())
    LogisticRegression (ECE = 0.101)
    """

    ax_: Axes
    figure_: Figure | SubFigure
    line_: Line2D

    def __init__(self, evaluation: Evaluation, *, estimator_name: str | None = None) -> None:
        self.evaluation = evaluation
        self.estimator_name = estimator_name

    def plot(self, *, ax: Axes | None = None, name: str | None = None, ref_line: bool = True, **kwargs: Any) -> Self:
        """Draw the diagram.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw; several models may share it. By default a new figure of pyplot is made.
        name : str, optional
            What the legend calls the model, in place of `estimator_name`.
        ref_line : bool, default True
            Whether to draw the diagonal.
        **kwargs
            Of the line, for ``matplotlib.axes.Axes.plot``.

        Returns
        -------
        ReliabilityDisplay
            This display, with ``ax_``, ``figure_`` and ``line_``.

        Raises
        ------
        ImportError
            Without matplotlib 3.8 or newer, the extra `plot`.
        """
        name = self.estimator_name if name is None else name
        self.ax_ = self.evaluation.plot_reliability(ax, name=name, ref_line=ref_line, **kwargs)
        self.figure_, self.line_ = self.ax_.figure, self.ax_.get_lines()[-1]
        return self

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        *,
        sample_weight: ArrayLike | None = None,
        n_bins: SupportsIndex = 15,
        name: str | None = None,
        ax: Axes | None = None,
        ref_line: bool = True,
        **kwargs: Any,
    ) -> Self:
        """Draw the diagram of a fitted classifier.

        Parameters
        ----------
        estimator : classifier
            A fitted classifier, or a pipeline that ends in one. Its logits are taken as by `get_scorer`.
        X : array_like, shape (n_samples, n_features)
            Samples that it has not been trained on.
        y : array_like, shape (n_samples,)
            Their labels, out of its ``classes_``.
        sample_weight : array_like, shape (n_samples,), optional
            Non-negative weight of each sample.
        n_bins : int, default 15
            Bins of equal width.
        name : str, optional
            What the legend calls the model; by default the name of its class.
        ax, ref_line, **kwargs
            As in `plot`.

        Returns
        -------
        ReliabilityDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If `estimator` is no fitted classifier of one label a sample, or a label is none of its classes.
        ImportError
            Without matplotlib 3.8 or newer, the extra `plot`.
        """
        need(f"{cls.__name__}.from_estimator", "matplotlib")
        evaluation = evaluated(estimator, X, y, sample_weight, positive_integer("n_bins", n_bins))
        display = cls(evaluation, estimator_name=type(estimator).__name__ if name is None else name)
        return display.plot(ax=ax, ref_line=ref_line, **kwargs)

    @classmethod
    def from_predictions(
        cls,
        y_true: Any,
        y_score: ArrayLike,
        *,
        labels: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        n_bins: SupportsIndex = 15,
        name: str | None = None,
        ax: Axes | None = None,
        ref_line: bool = True,
        **kwargs: Any,
    ) -> Self:
        """Draw the diagram of logits.

        Parameters
        ----------
        y_true : array_like, shape (n_samples,)
            Labels.
        y_score : array_like, shape (n_samples, n_classes) or (n_samples,)
            Logits; of two classes, also the log-odds of the second. Of probabilities pass the logarithm.
        labels : array_like, shape (n_classes,), optional
            The labels that the columns stand for, a model's ``classes_``. By default the numbers from 0 on.
        sample_weight, n_bins, name, ax, ref_line, **kwargs
            As in `from_estimator`; without a name the legend has the calibration error alone.

        Returns
        -------
        ReliabilityDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If the shapes do not fit, or a label is none of `labels`.
        ImportError
            Without matplotlib 3.8 or newer, the extra `plot`.
        """
        need(f"{cls.__name__}.from_predictions", "matplotlib")
        if labels is None:
            labels = np.arange(2 if np.ndim(y_score) == 1 else np.shape(y_score)[-1])
        evaluation = evaluate_scores(
            y_true, y_score, labels, sample_weight, positive_integer("n_bins", n_bins), "y_score"
        )
        return cls(evaluation, estimator_name=name).plot(ax=ax, ref_line=ref_line, **kwargs)
