"""Calibration: one number that makes a trained model as confident as it is right."""

import math
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_array, check_consistent_length, column_or_1d, gen_batches
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from ..evaluation import expected_calibration_error
from ..losses import FloatArray, sigmoid, softmax
from .classification import two_columns
from .saving import SaveMixin
from .training import all_or_nothing, mean_one_factor, total_weight

__all__ = ["TemperatureScaler"]

# Newton's method ends when a step, relative to the current value, is shorter than this.
PRECISION = 1e-10

# No known data take a dozen steps. The limit matters where rounding keeps the steps from becoming that short.
MOST_STEPS = 100

# Logits in a block of rows: they and their softmax, in double precision, fit into the second-level cache.
BLOCK = 2**16


class TemperatureScaler(SaveMixin, TransformerMixin, BaseEstimator):
    """Temperature scaling: logits divided by the one number that suits held-out data best.

    With ``b = 1 / T``, it minimises the mean cross-entropy of samples that the model has not been trained on::

        sum_i s_i (lse(b z_i) - b z_{i, y_i}) / sum_i s_i          over b >= 0

    No prediction changes: the largest logit stays the largest. What changes is the confidence, the largest probability:
    a temperature above 1 lowers it.

    Attributes
    ----------
    temperature_ : float
        ``T``. Infinite if guessing would be better than the logits.
    ece_before_, ece_after_ : float
        Expected calibration error of the samples held out, in 15 bins, see `xentrs.expected_calibration_error`.
    n_iter_ : int
        Number of Newton steps.
    n_features_in_ : int
        Number of columns of the logits.

    See Also
    --------
    xentrs.expected_calibration_error : how far confidence is from accuracy.
    sklearn.calibration.CalibratedClassifierCV : wraps a classifier of scikit-learn, and scales by other curves too.

    Notes
    -----
    The objective is convex in ``b``. With ``p_i`` for the softmax of ``b z_i``, its derivatives are::

        f'(b)  = mean_i (E_{p_i}[z_i] - z_{i, y_i})          f''(b) = mean_i Var_{p_i}[z_i]

    Newton's method starts at ``T = 1``. A step that leaves the interval in which the minimum must lie is replaced by
    its middle, and no step is longer than a factor of ten. It takes two passes over the logits a step, in double
    precision and in blocks of rows, so that nothing as large as the logits is made.

    `fit` is all or nothing: if it raises, the estimator is as it was before.

    References
    ----------
    .. [1] C. Guo, G. Pleiss, Y. Sun and K. Q. Weinberger, "On calibration of modern neural networks", ICML 2017,
       section 4.2. https://arxiv.org/abs/1706.04599

    Examples
    --------
    A model whose logits are three times too large:

    >>> import numpy as np
    >>> import xentrs as xe
    >>> from xentrs.models import TemperatureScaler
    >>> rng = np.random.default_rng(0)
    >>> logits = rng.normal(size=(10_000, 5))
    >>> y = (xe.softmax(logits).cumsum(axis=1) < rng.random((10_000, 1))).sum(axis=1)
    >>> scaler = TemperatureScaler().fit(3 * logits, y)
    >>> print(f"{scaler.temperature_:.2f} {scaler.ece_before_:.3f} {scaler.ece_after_:.3f}")
    3.03 0.287 0.012
    """

    temperature_: float
    ece_before_: float
    ece_after_: float
    n_iter_: int
    n_features_in_: int

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {}

    def fit(self, logits: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Find the temperature.

        Parameters
        ----------
        logits : array_like, shape (n_samples, n_classes) or (n_samples,)
            Logits of samples held out; of one dimension for two classes: the log-odds of class 1.
        y : array_like of int, shape (n_samples,)
            Their classes, in ``[0, n_classes)``. Of other labels pass the places among the classes:
            ``numpy.searchsorted(model.classes_, y)``.
        sample_weight : array_like, shape (n_samples,), optional
            Non-negative weight ``s_i`` of each sample.

        Returns
        -------
        TemperatureScaler
            The estimator itself.

        Raises
        ------
        ValueError
            If an argument is not as described here; or if every sample is right, so that the loss falls for ever as the
            temperature goes to 0.

        Warns
        -----
        ConvergenceWarning
            If the temperature is infinite, as guessing is better than the logits.
        """
        with all_or_nothing(self):
            columns, _ = self._check(logits, reset=True)
            if columns.shape[1] == 1:
                columns = np.hstack([np.zeros_like(columns), columns])
            target = _classes(y, columns)
            weight = _check_sample_weight(sample_weight, columns, dtype=np.float64, ensure_non_negative=True)
            shares = weight * mean_one_factor(1, total_weight(weight))
            derivatives = partial(_derivatives, columns, target, shares)
            sensible = derivatives(0.0)[0] < 0
            wrong = columns.max(axis=1) > columns[np.arange(len(target)), target]
            if sensible and not wrong[weight > 0].any():
                raise ValueError("y must not be what the logits say for every sample: the temperature would be 0")
            inverse, self.n_iter_ = _newton(derivatives) if sensible else (0.0, 0)
            self.temperature_ = 1 / inverse if sensible else math.inf
            error = partial(expected_calibration_error, columns, target, sample_weight=weight)
            self.ece_before_, self.ece_after_ = error(), error(temperature=min(self.temperature_, 1e300))
        if not sensible:
            warnings.warn("Guessing is better than the logits: the temperature is infinite.", ConvergenceWarning, 2)
        return self

    def transform(self, logits: ArrayLike) -> FloatArray:
        """Divide logits by the temperature.

        Parameters
        ----------
        logits : array_like, shape (n_samples, n_classes) or (n_samples,)
            Logits, in as many columns as those of `fit`.

        Returns
        -------
        ndarray
            Of the same shape.
        """
        check_is_fitted(self)
        columns, shape = self._check(logits, reset=False)
        return (columns / columns.dtype.type(self.temperature_)).reshape(shape)

    def predict_proba(self, logits: ArrayLike) -> FloatArray:
        """Calibrated probabilities of the classes.

        Parameters
        ----------
        logits : array_like, shape (n_samples, n_classes) or (n_samples,)
            Logits, in as many columns as those of `fit`.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Rows that sum to one; two columns for logits of one dimension.
        """
        scaled = self.transform(logits)
        return sigmoid(two_columns(scaled)) if self.n_features_in_ == 1 else softmax(scaled)

    def _check(self, logits: ArrayLike, *, reset: bool) -> tuple[FloatArray, tuple[int, ...]]:
        """Finite float32 or float64 in columns, as many as those of `fit`, unless `reset`; and the shape they had."""
        checked: FloatArray = check_array(
            logits, dtype=[np.float64, np.float32], ensure_2d=False, estimator=self, input_name="logits"
        )
        columns = checked if checked.ndim > 1 else checked.reshape(-1, 1)
        validate_data(self, columns, reset=reset, skip_check_array=True)
        return columns, checked.shape


def _classes(y: Any, logits: FloatArray) -> NDArray[Any]:
    """The classes of the samples, if there is one for each, and a column for it."""
    classes: NDArray[Any] = column_or_1d(y, warn=True)
    check_consistent_length(logits, classes)
    n = logits.shape[1]
    if classes.dtype.kind not in "iu":
        raise ValueError(f"Unknown label type: y must be integers in [0, {n}), got {classes.dtype}")
    if (wrong := (classes < 0) | (classes >= n)).any():
        row = int(wrong.argmax())
        raise ValueError(f"y must be integers in [0, {n}), got {classes[row]} at row {row}")
    return classes


def _newton(derivatives: Callable[[float], tuple[float, float]]) -> tuple[float, int]:
    """Where a convex function of ``b > 0`` is least, and the number of steps to there."""
    b, low, high, n_steps = 1.0, 0.0, math.inf, 0
    while n_steps < MOST_STEPS:
        n_steps += 1
        slope, curvature = derivatives(b)
        low, high = (b, high) if slope < 0 else (low, b)
        step = slope / curvature if curvature else math.copysign(math.inf, slope)
        if abs(step) <= PRECISION * b:
            break
        after = min(max(b - step, b / 10), b * 10)
        b = after if low < after < high else (low + high) / 2
    return b, n_steps


def _derivatives(logits: FloatArray, y: NDArray[Any], weight: FloatArray, b: float) -> tuple[float, float]:
    """First and second derivative of the weighted sum of cross-entropies to the factor `b` of the logits."""
    slope = curvature = 0.0
    for rows in gen_batches(len(logits), 1 + BLOCK // logits.shape[1]):
        z, s = logits[rows].astype(np.float64), weight[rows]
        z -= z.max(axis=1, keepdims=True)  # nothing cancels where the largest logit is that of the label
        p = softmax(b * z)
        mean = np.einsum("ij,ij->i", p, z)
        slope += s @ (mean - z[np.arange(len(z)), y[rows]])
        z -= mean[:, np.newaxis]
        curvature += s @ np.einsum("ij,ij,ij->i", p, z, z)
    return float(slope), float(curvature)
