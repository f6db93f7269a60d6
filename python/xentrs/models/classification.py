"""What a classifier is trained on, and what it answers: labels or distributions, weights, logits."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.model_selection import train_test_split
from sklearn.utils import column_or_1d, compute_class_weight
from sklearn.utils.multiclass import check_classification_targets, unique_labels

from ..losses import (
    FloatArray,
    LossGrad,
    log_sigmoid,
    log_softmax,
    sigmoid,
    sigmoid_cross_entropy,
    sigmoid_focal_loss,
    softmax,
    softmax_cross_entropy,
    softmax_focal_loss,
    value_and_grad,
)

__all__ = ["CrossEntropy", "LogitsMixin", "Samples", "encode", "read_labels", "smooth", "weigh"]


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
        return sigmoid(np.column_stack([-logits, logits])) if logits.ndim == 1 else softmax(logits)

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
        return log_sigmoid(np.column_stack([-logits, logits])) if logits.ndim == 1 else log_softmax(logits)


class Samples(NamedTuple):
    """What a classifier is trained on."""

    X: FloatArray
    """The samples, one a row."""

    target: NDArray[Any]
    """Numbers of their classes, shape (n,), or distributions over the classes, shape (n, c)."""

    weight: FloatArray
    """Their weights."""

    def rows(self, index: Any) -> Self:
        """Some of the samples."""
        return type(self)(*(array[index] for array in self))

    def split(self, share: float, random: np.random.RandomState, labels: NDArray[Any] | None) -> tuple[Self, Self]:
        """Samples to train on and, about this share, to hold out; in proportion of the labels, if there are any."""
        rows = train_test_split(np.arange(len(self.X)), test_size=share, random_state=random, stratify=labels)
        train, held_out = (self.rows(index) for index in rows)
        for part, name in ((train, "to train on"), (held_out, "held out")):
            if not part.weight.any():
                raise ValueError(f"sample_weight must have a positive sum over the samples {name}, got only zeros")
        return train, held_out


class CrossEntropy:
    """The loss of logits in columns: for two classes of the sigmoid, with one column, for more of the softmax.

    Targets are numbers of classes or distributions over them. With `gamma` it is the focal loss.
    """

    def __init__(self, n_classes: int, gamma: float) -> None:
        self._two = n_classes == 2
        if self._two:
            self._loss: Callable[..., Any] = sigmoid_focal_loss if gamma else sigmoid_cross_entropy
        else:
            self._loss = softmax_focal_loss if gamma else softmax_cross_entropy
        self._options = {"gamma": gamma} if gamma else {}

    def mean(self, logits: FloatArray, target: NDArray[Any], weight: FloatArray) -> float:
        """The weighted mean over the rows."""
        value: float = self._loss(logits, self._target(logits, target), sample_weight=weight, **self._options)
        return value

    def sum_with_grad(self, logits: FloatArray, target: NDArray[Any], weight: FloatArray | None = None) -> LossGrad:
        """The weighted sum over the rows, and its gradient, which is written over the logits."""
        target = self._target(logits, target)
        options = {"sample_weight": weight, "reduction": "sum", "out": logits, **self._options}
        result: LossGrad = value_and_grad(self._loss)(logits, target, **options)
        return result

    def _target(self, logits: FloatArray, target: NDArray[Any]) -> NDArray[Any]:
        if self._two:  # the share of the second class
            target = target[:, np.newaxis] if target.ndim == 1 else target[:, 1:]
        floating: NDArray[Any] = target.astype(logits.dtype) if self._two or target.ndim == 2 else target
        return floating


def encode(y: Any, classes: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    """All classes, and the target that `y` stands for: their numbers, or distributions over them.

    `y` holds labels or, where it is floating and has as many columns as there are classes, a distribution in each row.
    `classes` are those in `y` if None.
    """
    if isinstance(y, np.ndarray) and y.ndim == 2 and y.shape[1] > 1 and y.dtype.kind == "f":
        _check_distributions(y)
        classes = np.arange(y.shape[1]) if classes is None else unique_labels(classes)
        if len(classes) != y.shape[1]:
            raise ValueError(f"y must have a column for each of {len(classes)} classes, got {y.shape[1]}")
        return classes, y.astype(np.float64, copy=False)
    return read_labels(column_or_1d(y, warn=True), classes)


def read_labels(y: NDArray[Any], classes: ArrayLike | None) -> tuple[NDArray[Any], NDArray[Any]]:
    """Tell the classes, those given or else those of the labels, sorted, and the place of each label among them."""
    check_classification_targets(y)
    found, places = np.unique(y, return_inverse=True)
    if classes is not None:
        seen, found = found, unique_labels(classes)
        if len(unseen := np.setdiff1d(seen, found)):
            raise ValueError(f"y contains previously unseen labels: {unseen.tolist()}")
        places = np.searchsorted(found, seen)[places]
    if len(found) < 2:
        raise ValueError(f"y must have at least 2 classes, got only one class: {found.tolist()[0]!r}")
    return found, places


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
        totals = np.bincount(target, weight, len(classes)) if target.ndim == 1 else weight @ target
        factors = weight.sum() / (len(classes) * np.where(totals > 0, totals, 1.0))
    else:
        factors = compute_class_weight(class_weight, classes=classes, y=classes)
    if not (np.isfinite(factors) & (factors >= 0)).all():
        raise ValueError(f"class_weight must be finite and non-negative, got {class_weight}")
    return factors


def _check_distributions(y: FloatArray) -> None:
    if (wrong := (y < 0).any(axis=1)).any():
        row = int(wrong.argmax())
        raise ValueError(f"y must be labels, or distributions in [0, 1], got {y[row].min()} at row {row}")
    sums = y.sum(axis=1, dtype=np.float64)
    if (wrong := np.abs(sums - 1) > np.sqrt(np.finfo(y.dtype).eps)).any():
        row = int(wrong.argmax())
        raise ValueError(f"y must be labels, or distributions whose rows sum to 1, got {sums[row]} at row {row}")
