"""What a classifier says of samples, as logits, and the columns that labels stand for."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_consistent_length, column_or_1d

from ..evaluation import Evaluation
from ..losses import FloatArray

__all__ = ["METHODS", "evaluate_scores", "evaluated", "raw_scores"]

# What a classifier may answer with, the most exact first.
METHODS = ["decision_function", "predict_log_proba", "predict_proba"]


def raw_scores(estimator: Any, X: Any, *, zero: float = 0.0) -> FloatArray:
    """Ask a classifier for logits, of probabilities the logarithms; one of 0 is taken for `zero`."""
    method = next(method for method in METHODS if hasattr(estimator, method))
    with np.errstate(divide="ignore"):  # of forests, which take the logarithm of 0, and of that here
        answer: FloatArray = getattr(estimator, method)(X)
        if method == "predict_proba":
            answer = np.log(np.maximum(answer, zero))
        elif method == "predict_log_proba":
            answer = np.where(np.isneginf(answer), np.log(zero), answer)
    return answer


def evaluated(estimator: Any, X: Any, y: Any, sample_weight: ArrayLike | None, n_bins: int = 15) -> Evaluation:
    """Judge the raw scores of a fitted classifier; its `classes_` say which column a label stands for."""
    name = type(estimator).__name__
    if not hasattr(estimator, "classes_") or not any(hasattr(estimator, method) for method in METHODS):
        raise ValueError(
            f"estimator must be a fitted classifier with classes_ and one of {', '.join(METHODS)}, got a {name}"
        )
    if isinstance(estimator.classes_, list):
        raise ValueError(f"estimator must be a classifier of one label a sample, got a {name} of several")
    scores = raw_scores(estimator, X)
    return evaluate_scores(y, scores, estimator.classes_, sample_weight, n_bins, f"estimator, a {name},")


def evaluate_scores(
    y: Any, scores: Any, labels: Any, sample_weight: ArrayLike | None, n_bins: int, who: str
) -> Evaluation:
    """Judge raw scores, of shape (n,) or with a column for each of the `labels`."""
    check_consistent_length(scores, y, sample_weight)
    shape, expected = np.shape(scores), (len(y), len(labels))
    if shape != expected and not (shape == expected[:1] and len(labels) == 2):
        kinds = f"{expected} or {expected[:1]}" if len(labels) == 2 else f"{expected}"
        advice = ": SVC needs decision_function_shape='ovr'" if shape[1:] > expected[1:] else ""
        raise ValueError(f"{who} must give scores of shape {kinds} for the {len(labels)} classes, got {shape}{advice}")
    columns = columns_of(y, labels)
    return Evaluation(n_bins=n_bins).update(scores, columns, sample_weight=sample_weight, ignore_index=None)


def columns_of(y: Any, labels: Any) -> NDArray[np.intp]:
    """Tell the columns that labels stand for, which may be in any order."""
    column_of = {label: column for column, label in enumerate(np.array(labels).tolist())}
    columns = np.full(len(y), -1, np.intp)
    for row, label in enumerate(column_or_1d(y).tolist()):
        if label not in column_of:
            known = ", ".join(map(repr, [*column_of][:10])) + (", ..." if len(column_of) > 10 else "")
            raise ValueError(f"y must be labels out of the classes {known}, got {label!r} at row {row}")
        columns[row] = column_of[label]
    return columns
