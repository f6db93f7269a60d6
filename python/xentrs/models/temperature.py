"""Calibration: one number that makes a trained model as confident as it is right."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.utils import (
    Tags,
    TransformerTags,
    assert_all_finite,
    check_array,
    check_consistent_length,
    column_or_1d,
    gen_batches,
    get_tags,
)
from sklearn.utils._param_validation import HasMethods
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted, validate_data

from .._arrays import refuse_masked
from .._calls import readable_constructor
from ..evaluation import expected_calibration_error
from ..losses import FloatArray, softmax
from ..metrics.responses import METHODS, raw_scores
from .classification import LogitsMixin, read_labels
from .saving import SaveMixin
from .training import all_or_nothing, finish_iteration, mean_one_factor, read_sample_weight, total_weight

__all__ = ["TemperatureScaler"]

# Newton's method ends when a step, relative to the current value, is shorter than this.
PRECISION = 1e-10

# No known data take a dozen steps. The limit matters where a single gap of logits is 1e100 times as wide as others.
MOST_STEPS = 100

# Logits in a block of rows: they and their softmax, in double precision, fit into the second-level cache.
BLOCK = 2**16

# What a classifier's probability of 0 is taken for, as in scikit-learn's own temperature scaling.
ZERO = 1e-12


def takes_logits(scaler: Any) -> bool:
    """Tell whether there is no classifier in between: `transform` is for logits."""
    if scaler.estimator is None:
        return True
    raise AttributeError("transform is for logits: with an estimator, decision_function has what it would give")


class TemperatureScaler(SaveMixin, LogitsMixin, ClassifierMixin, BaseEstimator):
    """Temperature scaling: logits divided by the one number that suits held-out data best.

    With ``b = 1 / T``, it minimises the mean cross-entropy of samples that the model has not been trained on::

        sum_i s_i (lse(b z_i) - b z_{i, y_i}) / sum_i s_i          over b >= 0

    No prediction changes: the largest logit stays the largest. What changes is the confidence, the largest probability:
    a temperature above 1 lowers it.

    Parameters
    ----------
    estimator : classifier, default None
        A fitted classifier, which stays as it is: `X` are its samples then. Without one, `X` are logits.

    Attributes
    ----------
    temperature_ : float
        ``T``. Infinite if guessing would be better than the logits.
    classes_ : ndarray of shape (n_classes,)
        The labels, in the order of the columns of the logits.
    ece_before_, ece_after_ : float
        Expected calibration error of the samples held out, in 15 bins, see `xentrs.expected_calibration_error`.
    n_iter_ : int
        Number of Newton steps.
    n_features_in_ : int
        Number of columns of the logits or, of a classifier, of features.
    feature_names_in_ : ndarray of shape (n_features,)
        The names of the columns of the logits, if they were a data frame.

    See Also
    --------
    xentrs.expected_calibration_error : how far confidence is from accuracy.
    sklearn.calibration.CalibratedClassifierCV : fits a classifier too, by cross-validation, and knows other curves.

    Notes
    -----
    The objective is convex in ``b``. With ``p_i`` for the softmax of ``b z_i``, its derivatives are::

        f'(b)  = mean_i (E_{p_i}[z_i] - z_{i, y_i})          f''(b) = mean_i Var_{p_i}[z_i]

    Newton's method starts at ``T = 1``, or nearer where logits are tiny or huge. A step that leaves the interval in
    which the minimum must lie is replaced by its middle, and no step is longer than a factor of ten. It takes two
    passes over the logits a step, in double precision and in blocks of rows, so that nothing as large as the logits is
    made.

    A class whose logit is -inf is masked: it has no part in the softmax of its row, at any temperature.

    A classifier's logits are its `decision_function`; where it has none its `predict_log_proba` or the logarithm of its
    `predict_proba`, in which a probability of 0 is read as 1e-12: else a single wrong answer would cost infinity at any
    temperature. It must be fitted, on other samples than those that the
    scaler is given. What clones the scaler, such as a search, would clone the classifier into one that is not:
    ``sklearn.frozen.FrozenEstimator`` keeps it. `pickle` keeps the two together; `save` takes the scaler without a
    classifier alone, ``scaler.set_params(estimator=None)``, which then scales logits.

    ``CalibratedClassifierCV(FrozenEstimator(model), method="temperature")`` finds the same temperature for three
    classes or more. For two its logits are ``(-z, z)`` instead of ``(0, z)``, and its temperature twice this one; the
    probabilities are the same.

    `fit` is all or nothing: if it raises, the estimator is as it was before. Ctrl-C arrives as KeyboardInterrupt, and
    leaves it with the temperature after the last step finished.

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

    Around a classifier, with the labels that it knows:

    >>> from sklearn.datasets import load_iris
    >>> from xentrs.models import LogisticRegression
    >>> iris = load_iris()
    >>> X, y = iris.data[:, :2], iris.target_names[iris.target]
    >>> model = LogisticRegression(C=np.inf, max_iter=1000).fit(X[::3], y[::3])
    >>> scaler = TemperatureScaler(model).fit(X[1::3], y[1::3])
    >>> print(scaler.predict(X[2:5]), scaler.temperature_ > 1)
    ['setosa' 'setosa' 'setosa'] True
    """

    temperature_: float
    ece_before_: float
    ece_after_: float
    n_iter_: int

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "estimator": [*(HasMethods(method) for method in METHODS), None],
    }

    @readable_constructor
    def __init__(self, estimator: Any = None) -> None:
        self.estimator = estimator

    def fit(self, X: Any, y: Any, sample_weight: ArrayLike | None = None) -> Self:
        """Find the temperature.

        Parameters
        ----------
        X : array_like, shape (n_samples, n_classes) or (n_samples,)
            Logits of samples held out; of one dimension or one column for two classes: the log-odds of the second.
            With an `estimator` the samples, in a form that it takes.
        y : array_like, shape (n_samples,)
            Their labels. With an `estimator` those that it knows. Without one, integers in ``[0, n_classes)`` are the
            numbers of the columns, of which some may not occur; other labels (text, booleans, other integers) must be
            as many as there are columns, which they stand for in sorted order.
        sample_weight : array_like, shape (n_samples,), optional
            Non-negative weight ``s_i`` of each sample.

        Returns
        -------
        TemperatureScaler
            The estimator itself.

        Raises
        ------
        ValueError
            If an argument is not as described here, or the logit of a label is -inf; or if every sample is right, so
            that the loss falls for ever as the temperature goes to 0.
        sklearn.exceptions.NotFittedError
            If the `estimator` is not fitted.

        Warns
        -----
        ConvergenceWarning
            If the temperature is infinite, as guessing is better than the logits; or if it is not found.
        """
        complaint = None
        with all_or_nothing(self):
            self._validate_params()
            # 1. The logits, two columns at least, and the classes.
            if self.estimator is not None:
                _check_classifier(self.estimator)
            columns, _ = self._read_logits(X, reset=True)
            logits = _paired(columns)
            self.classes_, target = self._read_labels(y, logits.shape[1])
            check_consistent_length(logits, target)
            weight = read_sample_weight(sample_weight, logits)
            shares = weight * mean_one_factor(1, total_weight(weight))
            counts = weight > 0
            of_label = logits[np.arange(len(target)), target]
            if (wrong := counts & np.isneginf(of_label)).any():
                row = int(wrong.argmax())
                raise ValueError(
                    f"y must be classes that are not masked, got {self.classes_.tolist()[target[row]]!r} at row {row}, "
                    "whose logit is -inf"
                )

            # 2. The temperature, and what it is good for.
            unit = _widest_gap(logits[counts])
            derivatives = partial(_derivatives, logits, target, shares, unit)
            sensible = derivatives(0.0)[0] < 0
            if sensible and not (logits.max(axis=1) > of_label)[counts].any():
                raise ValueError(
                    "y must not be what the logits say for every sample: the temperature would be 0. "
                    "Hold out more samples, until some are of another class"
                )
            error = partial(expected_calibration_error, logits, target, sample_weight=weight)
            self.ece_before_, self.n_iter_ = error(), 0
            if sensible:
                for inverse, failure in _newton(derivatives, start=min(max(unit, 1.0), 1e3)):
                    complaint = failure
                    self.temperature_, self.n_iter_ = unit / inverse, self.n_iter_ + 1
                    self.ece_after_ = error(temperature=min(self.temperature_, 1e300))
                    finish_iteration(self, dict(vars(self)))
            else:
                self.temperature_, self.ece_after_ = math.inf, error(temperature=1e300)
                complaint = "Guessing is better than the logits: the temperature is infinite."
        if complaint:
            warnings.warn(complaint, ConvergenceWarning, stacklevel=2)
        return self

    @available_if(takes_logits)  # type: ignore[untyped-decorator]
    def transform(self, X: ArrayLike) -> FloatArray:
        """Divide logits by the temperature. There is no such method with an `estimator`.

        Parameters
        ----------
        X : array_like, shape (n_samples, n_classes) or (n_samples,)
            Logits, in as many columns as those of `fit`.

        Returns
        -------
        ndarray
            Of the same shape.
        """
        check_is_fitted(self)
        columns, shape = self._read_logits(X, reset=False)
        return self._scaled(columns).reshape(shape)

    @available_if(takes_logits)  # type: ignore[untyped-decorator]
    def fit_transform(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> FloatArray:
        """Find the temperature, and divide the same logits by it.

        Parameters
        ----------
        X, y, sample_weight
            As in `fit`.

        Returns
        -------
        ndarray
            Of the shape of the logits.
        """
        scaled: FloatArray = self.fit(X, y, sample_weight).transform(X)
        return scaled

    def decision_function(self, X: Any) -> FloatArray:
        """Logits divided by the temperature.

        Parameters
        ----------
        X : array_like, shape (n_samples, n_classes) or (n_samples,)
            Logits, in as many columns as those of `fit`. With an `estimator` the samples.

        Returns
        -------
        ndarray of shape (n_samples, n_classes) or (n_samples,)
            In the order of ``classes_``; of two classes the log-odds of the second.
        """
        check_is_fitted(self)
        columns, _ = self._read_logits(X, reset=False)
        if columns.shape[1] == 2:
            columns = columns[:, 1:] - columns[:, :1]
        scaled = self._scaled(columns)
        return scaled[:, 0] if scaled.shape[1] == 1 else scaled

    @property
    def n_features_in_(self) -> int:
        """Number of columns of the logits or, of a classifier, of features."""
        n: int = self._n_columns if self.estimator is None else self.estimator.n_features_in_
        return n

    @n_features_in_.setter
    def n_features_in_(self, n: int) -> None:
        self._n_columns = n

    def _scaled(self, columns: FloatArray) -> FloatArray:
        """Divide by the temperature; infinite logits stay what they are, even if it is infinite too."""
        temperature = columns.dtype.type(self.temperature_)
        if not 0 < temperature < math.inf:  # beyond the range of the type
            temperature = np.float64(self.temperature_)
        with np.errstate(invalid="ignore"):
            scaled: FloatArray = (columns / temperature).astype(columns.dtype, copy=False)
        infinite = np.isinf(columns)
        scaled[infinite] = columns[infinite]
        return scaled

    def _read_logits(self, X: Any, *, reset: bool) -> tuple[FloatArray, tuple[int, ...]]:
        """Make float32 or float64 logits in columns, as many as those of `fit` unless `reset`; tell their shape."""
        given = X if self.estimator is None else raw_scores(self.estimator, X, zero=ZERO)
        refuse_masked(given, "logits", "logits.filled(-numpy.inf) for classes that are left out")
        checked: FloatArray = check_array(
            given,
            dtype=[np.float64, np.float32],
            ensure_2d=not reset and self._n_columns > 1,
            ensure_all_finite=False,
            estimator=self,
            input_name="logits",
        )
        columns = checked if checked.ndim > 1 else checked.reshape(-1, 1)
        if self.estimator is None:
            validate_data(self, columns if checked.ndim == 1 else X, reset=reset, skip_check_array=True)
        else:
            self.n_features_in_ = columns.shape[1]
        _check_finite(columns)
        return columns, checked.shape

    def _read_labels(self, y: Any, n: int) -> tuple[NDArray[Any], NDArray[np.intp]]:
        """Tell the labels of `n` columns, and the column of each sample."""
        labels = column_or_1d(y, warn=True)
        assert_all_finite(labels, input_name="y", estimator_name="TemperatureScaler")
        if self.estimator is not None:
            classes = self.estimator.classes_
            if len(classes) != n:
                raise ValueError(f"estimator must have a logit for each of {len(classes)} classes, got {n}")
            _, places = read_labels(labels, classes)
            return classes, np.argsort(classes)[places]
        if labels.dtype.kind in "iuf" and ((labels >= 0) & (labels < n) & (labels == np.trunc(labels))).all():
            return np.arange(n, dtype=labels.dtype), labels.astype(np.intp)
        found, places = read_labels(labels, [False, True] if labels.dtype.kind == "b" else None)
        if len(found) != n:
            raise ValueError(
                f"y must have as many classes as the logits have columns, {n}, or be integers in [0, {n}), got "
                f"{len(found)}: {', '.join(map(str, found[:10].tolist()))}{', ...' if len(found) > 10 else ''}. "
                "Pass numpy.searchsorted(model.classes_, y), or wrap the model: TemperatureScaler(model)"
            )
        return found, places

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        if self.estimator is None:
            tags.transformer_tags = TransformerTags()
        else:
            tags.input_tags = get_tags(self.estimator).input_tags
        return tags


def _check_classifier(estimator: Any) -> None:
    """Refuse what is no classifier, or not fitted."""
    name = type(estimator).__name__
    try:
        check_is_fitted(estimator)
    except NotFittedError:
        raise NotFittedError(
            f"estimator must be a fitted classifier, got a {name} that is not, or was cloned: keep it as it is with "
            f"sklearn.frozen.FrozenEstimator, or let CalibratedClassifierCV(method='temperature') fit it"
        ) from None
    if not hasattr(estimator, "classes_"):
        raise ValueError(f"estimator must be a classifier, got a {name}, which has no classes_")


def _check_finite(columns: FloatArray) -> None:
    """Refuse what is no logit: NaN, and +inf but as a log-odds; and rows in which all classes are masked."""
    single = columns.shape[1] == 1
    infinite = np.isinf(columns) if single else np.isneginf(columns)
    if infinite.any():
        if not single and (alone := infinite.all(axis=1)).any():
            raise ValueError(f"logits must leave a class in every row, got -inf alone at row {alone.argmax()}")
        columns = np.where(infinite, 0.0, columns)
    assert_all_finite(columns, input_name="logits", estimator_name="TemperatureScaler")


def _paired(columns: FloatArray) -> FloatArray:
    """Two columns where there is one: the logits of either class, the larger of which is 0."""
    if columns.shape[1] > 1:
        return columns
    return np.hstack([np.minimum(-columns, 0.0), np.minimum(columns, 0.0)])


def _widest_gap(logits: FloatArray) -> float:
    """The largest difference of two finite logits in a row; 1 where there is none."""
    largest = logits.max(axis=1).astype(np.float64)
    smallest = np.min(logits, axis=1, where=logits > -math.inf, initial=math.inf)
    with np.errstate(over="ignore"):
        gap = np.max(largest - smallest)
    return min(float(gap), np.finfo(np.float64).max) or 1.0


def _newton(derivatives: Callable[[float], tuple[float, float]], start: float) -> Iterator[tuple[float, str | None]]:
    """The steps to where a convex function of ``b > 0`` is least, and what is to be complained of there."""
    b, low, high = start, 0.0, math.inf
    for n_steps in range(1, MOST_STEPS + 1):
        slope, curvature = derivatives(b)
        low, high = (b, high) if slope < 0 else (low, b)
        step = slope / curvature if curvature else math.copysign(math.inf, slope)
        if abs(step) <= PRECISION * b or high - low <= PRECISION * b:
            yield b, None
            return
        after = min(max(b - step, b / 10), b * 10)
        b, left = after if low < after < high else (low + high) / 2, abs(slope * b)
        failure = (
            f"The temperature is not found after {MOST_STEPS} steps: the derivative of the loss to its logarithm is "
            f"{left:.1e}. Clip or mask logits that are far wider apart in one row than in others."
        )
        yield b, failure if n_steps == MOST_STEPS else None


def _derivatives(
    logits: FloatArray, y: NDArray[np.intp], weight: FloatArray, unit: float, b: float
) -> tuple[float, float]:
    """First and second derivative of the weighted sum of cross-entropies to the factor `b` of the logits in `unit`s."""
    slope = curvature = 0.0
    for rows in gen_batches(len(logits), 1 + BLOCK // logits.shape[1]):
        z, s = logits[rows].astype(np.float64), weight[rows]
        z -= z.max(axis=1, keepdims=True)  # nothing cancels where the largest logit is that of the label
        z /= unit
        masked = np.isneginf(z)
        with np.errstate(invalid="ignore"):
            p = softmax(np.where(masked, z, b * z))
        z[masked] = 0.0
        mean = np.einsum("ij,ij->i", p, z)
        slope += s @ (mean - z[np.arange(len(z)), y[rows]])
        z -= mean[:, np.newaxis]
        curvature += s @ np.einsum("ij,ij,ij->i", p, z, z)
    return float(slope), float(curvature)
