"""What a classifier is trained on, and what it answers: labels or distributions, weights, logits."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from functools import partial
from numbers import Real
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray
from scipy.sparse import issparse
from sklearn.utils import check_array, column_or_1d, compute_class_weight
from sklearn.utils.multiclass import check_classification_targets, unique_labels

from .._arrays import refuse_masked
from ..losses import (
    FloatArray,
    LossGrad,
    log_sigmoid,
    log_softmax,
    sigmoid,
    sigmoid_cross_entropy_with_grad,
    sigmoid_focal_loss_with_grad,
    softmax,
    softmax_cross_entropy_with_grad,
    softmax_focal_loss_with_grad,
)

__all__ = [
    "Answers",
    "LogitsMixin",
    "LossWithGrad",
    "answers_of",
    "as_target",
    "balanced",
    "encode",
    "has_columns",
    "is_missing",
    "join_answers",
    "loss_of",
    "partial_fit_classes",
    "read_answers",
    "read_columns",
    "read_labels",
    "smooth",
    "totals_of_classes",
    "two_columns",
    "weigh",
]

LossWithGrad = Callable[..., LossGrad]

_TOO_FEW = "y must have at least 2 classes, got only one class: {!r}"


class LogitsMixin:
    """Classifiers whose `decision_function` gives logits: the log-odds of the second of two classes, or one a class."""

    classes_: NDArray[Any]

    @abstractmethod
    def decision_function(self, X: ArrayLike) -> FloatArray:
        """Logits of the samples."""

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Most probable class of each sample.

        Parameters
        ----------
        X : array_like, shape (n_samples, n_features)
            The samples.

        Returns
        -------
        ndarray of shape (n_samples,)
            Labels out of ``classes_``.
        """
        logits = self.decision_function(X)
        best = (logits > 0).astype(int) if logits.ndim == 1 else logits.argmax(axis=1)
        labels: NDArray[Any] = self.classes_[best]
        return labels

    def predict_proba(self, X: ArrayLike) -> FloatArray:
        """Probabilities of the classes.

        Parameters
        ----------
        X : array_like, shape (n_samples, n_features)
            The samples.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Rows that sum to one, in the order of ``classes_``.
        """
        logits = self.decision_function(X)
        return sigmoid(two_columns(logits)) if logits.ndim == 1 else softmax(logits)

    def predict_log_proba(self, X: ArrayLike) -> FloatArray:
        """Log-probabilities of the classes, exact even where the probability rounds to 0 or 1.

        Parameters
        ----------
        X : array_like, shape (n_samples, n_features)
            The samples.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Nats, in the order of ``classes_``.
        """
        logits = self.decision_function(X)
        return log_sigmoid(two_columns(logits)) if logits.ndim == 1 else log_softmax(logits)


def two_columns(log_odds: FloatArray) -> FloatArray:
    """Log-odds of either of two classes, a column each, from those of the second."""
    return np.column_stack([-log_odds, log_odds])


def loss_of(n_classes: int, gamma: float) -> LossWithGrad:
    """The loss of logits in columns: for two classes, with one column, of the sigmoid, for more of the softmax.

    With `gamma` it is the focal loss.
    """
    if gamma:
        return partial(sigmoid_focal_loss_with_grad if n_classes == 2 else softmax_focal_loss_with_grad, gamma=gamma)
    return sigmoid_cross_entropy_with_grad if n_classes == 2 else softmax_cross_entropy_with_grad


def as_target(target: NDArray[Any], n_classes: int, dtype: DTypeLike) -> NDArray[Any]:
    """What that loss takes for numbers of classes or distributions: of two classes the share of the second."""
    if n_classes == 2:
        target = target[:, np.newaxis] if target.ndim == 1 else target[:, 1:]
    return target.astype(dtype) if target.ndim == 2 else target


def partial_fit_classes(estimator: Any, classes: ArrayLike | None) -> ArrayLike:
    """All classes there are, for `partial_fit`: those given, which the first call needs, or those of the last call."""
    if isinstance(estimator.class_weight, str) and estimator.class_weight == "balanced":
        raise ValueError(
            "class_weight 'balanced' is not supported for partial_fit. In order to use 'balanced' weights, "
            "use compute_class_weight('balanced', classes=classes, y=y) and pass the result as a dict."
        )
    if classes is not None:
        return classes
    if not hasattr(estimator, "classes_"):
        raise ValueError("classes must be passed on the first call to partial_fit.")
    known: NDArray[Any] = estimator.classes_
    return known


def encode(y: Any, classes: Any, known: NDArray[Any] | None = None) -> tuple[NDArray[Any], NDArray[Any]]:
    """All classes, and the target that `y` stands for: their numbers, or distributions over them.

    `y` holds labels or, where it is floating and has as many columns as there are classes, a distribution in each row.
    `classes` are those in `y` if None. They must be those `known` from the last call, if there was one.
    """
    if _is_distributions(y):
        _check_distributions(y)
        found = np.arange(y.shape[1]) if classes is None else unique_labels(classes)
        if len(found) != y.shape[1]:
            raise ValueError(f"y must have a column for each of {len(found)} classes, got {y.shape[1]}")
        target = y.astype(np.float64, copy=False)
    else:
        found, target = read_labels(column_or_1d(y, warn=True), classes)
    if known is not None and not np.array_equal(found, known):
        raise ValueError(f"`classes={found!r}` is not the same as on last call, was: {known!r}")
    return found, target


def _is_distributions(y: Any) -> bool:
    """Whether it has a column for each class, where labels have none."""
    return isinstance(y, np.ndarray) and y.ndim == 2 and y.shape[1] > 1 and y.dtype.kind == "f"


def read_labels(y: NDArray[Any], classes: ArrayLike | None) -> tuple[NDArray[Any], NDArray[Any]]:
    """Tell the classes, those given or else those of the labels, sorted, and the place of each label among them."""
    found, places = _sorted_labels(y)
    if classes is not None:
        seen, found = found, unique_labels(classes)
        if len(unseen := np.setdiff1d(seen, found)):
            raise ValueError(f"y contains previously unseen labels: {unseen.tolist()}")
        places = np.searchsorted(found, seen)[places]
    if len(found) < 2:
        raise ValueError(_TOO_FEW.format(found.tolist()[0]))
    return found, places


def _sorted_labels(y: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """The labels that there are, sorted, and the place of each among them."""
    try:
        check_classification_targets(y)
        found, places = np.unique(y, return_inverse=True)
    except TypeError:  # objects without an order, such as None beside text
        kinds = sorted({type(label).__name__ for label in y.tolist()})
        raise TypeError(f"y must hold labels that have an order, got {', '.join(kinds)}") from None
    return found, places


class Answers(NamedTuple):
    """What some samples say of the classes."""

    is_labels: bool
    """Whether `found` are the labels that are among them, or else the names of their columns."""
    found: NDArray[Any]


def answers_of(y: Any) -> Answers:
    """What the `y` of some samples says, whose labels or distributions `encode` reads."""
    if _is_distributions(y):
        return Answers(False, np.arange(y.shape[1]))
    return Answers(True, _sorted_labels(column_or_1d(y, warn=True))[0])


def join_answers(answers: Mapping[int, Answers]) -> NDArray[Any]:
    """All classes, of what each of several parts says, by its place."""
    first, one = next(iter(answers.items()))
    for i, other in answers.items():
        if other.is_labels != one.is_labels:
            kinds = [("columns", "labels")[answer.is_labels] for answer in (one, other)]
            raise ValueError(f"y must be of one kind, got {kinds[0]} in part {first} and {kinds[1]} in part {i}")
        if not one.is_labels and not np.array_equal(one.found, other.found):
            raise ValueError(
                f"y must have the same columns in all parts, got {one.found.tolist()} in part {first} and "
                f"{other.found.tolist()} in part {i}"
            )
    if not one.is_labels:
        return one.found
    said = [answer.found for answer in answers.values() if len(answer.found)]
    if not said:
        raise ValueError("y must have labels, got missing values alone")
    if len({isinstance(labels.tolist()[0], str) for labels in said}) > 1:
        raise ValueError("y must hold labels of one kind, got numbers in some parts and text in others")
    found: NDArray[Any] = np.unique(np.concatenate(said))
    if len(found) < 2:
        raise ValueError(_TOO_FEW.format(found.tolist()[0]))
    return found


def read_answers(y: Any) -> tuple[NDArray[Any] | None, NDArray[Any]]:
    """Names of the columns of `y`, if it has any, and `y` as an array that may have missing values.

    Of two dimensions it has a column for each label: numbers in [0, 1], and NaN where a label is not known. Of one it
    is what it was.
    """
    refuse_masked(y, "y", "y.astype(float).filled(numpy.nan) for labels that are not known")
    names, array = _column_names(y), _as_array(y)
    if array.ndim == 1:
        return None, array
    if array.dtype == object:
        array = _numbers(array)
    _check_columns(array)
    return names, array


def has_columns(y: Any) -> bool:
    """Whether `y` has a column for each of several labels that do not exclude each other."""
    if issparse(y):
        return True
    array = np.array(y)
    return array.ndim == 2 and array.shape[1] > 1 and array.dtype.kind in "biu"


def read_columns(y: Any, n: int | None) -> NDArray[np.float64]:
    """Which labels the samples have, in a column each; as many as in the last call, if there was one."""
    array: NDArray[Any] = y.toarray() if issparse(y) else y
    if array.ndim != 2 or (n is not None and array.shape[1] != n):
        raise ValueError(f"y must have a column for each of {n} labels, as in the last call, got shape {array.shape}")
    _check_columns(array)
    columns: NDArray[np.float64] = array.astype(np.float64)
    return columns


def _check_columns(answers: NDArray[Any]) -> None:
    """Refuse what is no answer to yes or no, a column for each label, nor a share of it; NaN is left to others."""
    if answers.dtype.kind not in "biuf":
        raise ValueError(f"y must be labels, or numbers in [0, 1], got {answers.dtype}")
    if (wrong := (answers < 0) | (answers > 1)).any():
        row, column = np.argwhere(wrong)[0].tolist()
        raise ValueError(
            f"y must be labels, or numbers in [0, 1], got {answers[row, column]} at row {row}, column {column}. "
            "Several labels of more than two values each are not supported: train a model for each."
        )


def is_missing(y: NDArray[Any]) -> NDArray[np.bool_]:
    """Tell where nothing is known: NaN, NaT, and among objects also None and pandas' NA."""
    missing: NDArray[np.bool_]
    if y.dtype.kind == "f":
        missing = np.isnan(y)
    elif y.dtype.kind in "mM":
        missing = np.isnat(y)
    elif y.dtype == object:
        missing = np.fromiter(map(_is_unknown, y.flat), bool, y.size).reshape(y.shape)
    else:
        missing = np.zeros(y.shape, bool)
    return missing


def _is_unknown(value: Any) -> bool:
    """Whether an object is None, or not equal to itself: NaN, NaT and NA."""
    if value is None:
        return True
    same = value == value
    return not (isinstance(same, bool | np.bool_) and same)


def _as_array(y: Any) -> NDArray[Any]:
    """Make an array of one or two dimensions, in which NaN is allowed; of a sparse matrix a dense one."""
    checked = check_array(
        y, accept_sparse=True, dtype=None, ensure_2d=False, ensure_all_finite="allow-nan", input_name="y"
    )
    array: NDArray[Any] = checked.toarray() if issparse(checked) else checked
    return array


def _numbers(answers: NDArray[Any]) -> FloatArray:
    """Numbers of objects, NaN for those that are missing."""
    missing = is_missing(answers)
    for kind in {type(value) for value in answers[~missing].tolist()}:
        if not issubclass(kind, Real | np.bool_):
            raise ValueError(f"y must be labels, or numbers in [0, 1], got {kind.__name__}")
    numbers: FloatArray = np.where(missing, np.nan, answers).astype(np.float64)
    return numbers


def _column_names(y: Any) -> NDArray[Any] | None:
    """The names of the columns of a data frame: an array of objects or, where all are integers, of these."""
    names = getattr(y, "column_names", None)  # of pyarrow, whose `columns` are the columns themselves
    names = getattr(y, "columns", None) if names is None else names
    if names is None:
        return None
    named = np.empty(len(names), object)
    named[:] = list(names)
    return named.astype(np.int64) if all(isinstance(name, int | np.integer) for name in named) else named


def smooth(target: NDArray[Any], n_classes: int, label_smoothing: float) -> NDArray[Any]:
    """The target with a share of it spread evenly; without any, labels stay labels."""
    if not label_smoothing:
        return target
    shares = np.eye(n_classes)[target] if target.ndim == 1 else target
    smoothed: FloatArray = (1 - label_smoothing) * shares + label_smoothing / n_classes
    return smoothed


def weigh(
    target: NDArray[Any], classes: NDArray[Any], class_weight: Any, label_smoothing: float, weight: FloatArray
) -> tuple[NDArray[Any], FloatArray]:
    """The smoothed target, and the weights of the samples with those of the classes in them.

    The loss of a distribution is ``sum_k w_k t_k loss_k``: that of the distribution ``w_k t_k / W`` with the weight
    ``W = sum_k w_k t_k``.
    """
    smoothed = smooth(target, len(classes), label_smoothing)
    with np.errstate(over="ignore", invalid="ignore"):  # an overflow shows in the sum of the weights
        factors = _class_factors(target, classes, class_weight, weight)
        if factors is None:
            return smoothed, weight
        if smoothed.ndim == 1:
            return smoothed, weight * factors[smoothed]
        terms = smoothed * factors
        sums: FloatArray = terms.sum(axis=1)
        return terms / np.where(sums > 0, sums, 1.0)[:, np.newaxis], weight * sums


def _class_factors(
    target: NDArray[Any], classes: NDArray[Any], class_weight: Any, weight: FloatArray
) -> FloatArray | None:
    """Weights of the classes in their order; those that "balanced" finds none of get 1."""
    if class_weight is None:
        return None
    factors: FloatArray
    if class_weight == "balanced":
        factors = balanced(totals_of_classes(target, weight, len(classes)))
    else:
        factors = compute_class_weight(class_weight, classes=classes, y=classes)
    if not (np.isfinite(factors) & (factors >= 0)).all():
        raise ValueError(f"class_weight must be finite and non-negative, got {class_weight}")
    return factors


def totals_of_classes(target: NDArray[Any], weight: FloatArray, n_classes: int) -> FloatArray:
    """The total weight of the samples of each class."""
    return np.bincount(target, weight, n_classes).astype(np.float64) if target.ndim == 1 else weight @ target


def balanced(totals: FloatArray) -> FloatArray:
    """Factors that give classes of these total weights the same one, and leave the sum of all as it is."""
    factors: FloatArray = totals.sum() / (len(totals) * np.where(totals > 0, totals, 1.0))
    return factors


def _check_distributions(y: FloatArray) -> None:
    if (wrong := (y < 0).any(axis=1)).any():
        row = int(wrong.argmax())
        raise ValueError(f"y must be labels, or distributions in [0, 1], got {y[row].min()} at row {row}")
    sums = y.sum(axis=1, dtype=np.float64)
    # Distributions in float64 may come from float32.
    if (wrong := np.abs(sums - 1) > np.sqrt(np.finfo(np.float32).eps)).any():
        row = int(wrong.argmax())
        raise ValueError(f"y must be labels, or distributions whose rows sum to 1, got {sums[row]} at row {row}")
