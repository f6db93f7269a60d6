"""Linear classification into labels that do not exclude each other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array, csr_matrix, issparse, sparray
from sklearn.metrics import accuracy_score
from sklearn.utils import Tags, check_consistent_length
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import type_of_target, unique_labels
from sklearn.utils.validation import _check_sample_weight

from .._arrays import as_weights
from .._calls import readable_constructor
from .._seeds import Seed
from ..losses import FloatArray, log_sigmoid, sigmoid, sigmoid_cross_entropy_with_grad, sigmoid_focal_loss_with_grad
from .classification import Answers, answers_of, is_missing, join_answers, read_answers, read_labels, two_columns
from .linear_classifier import LinearClassifier, trains_step_by_step
from .objective import LogitPenalty, Objective
from .parts import Checked, Parts
from .training import Callback, read_samples

__all__ = ["MultiLabelClassifier"]

# What stands in a target, for the losses, where a label is not known.
IGNORED = -1

_NOT_BINARY = "Only binary classification is supported. The type of the target is {}."

_SPARSE = {"array": csr_array, "matrix": csr_matrix}


class MultiLabelClassifier(LinearClassifier):
    """A logistic regression for each of several labels, any number of which a sample may have, trained at once.

    With a logit for each label, ``z_i = W x_i + b``, it minimises, ``W`` being `coef_` and ``b`` `intercept_`::

        sum_i s_i sum_k loss(z_ik, y_ik) / n + ((1 - l1_ratio) ||W||^2 / 2 + l1_ratio ||W||_1) / (C n)
        loss(z, y) = -pos_weight y ln p - (1 - y) ln(1 - p)             p = sigmoid(z), n = sum_i s_i

    where the sample weights ``s`` are 1 unless given. So each label has the weights that `LogisticRegression` gives it,
    found in one pass over the samples for all of them.

    Parameters
    ----------
    C : float, default 1.0
        Inverse strength of the penalty on the weights; inf stands for none.
    l1_ratio, fit_intercept
        As in `LogisticRegression`.
    pos_weight : float, array_like of shape (n_labels,) or "balanced", default None
        A factor on the loss of the labels that a sample has, to be more than 1 for rare ones. None: 1. "balanced": for
        each label the weight of the samples without it, divided by that of those with it; 1 where all samples are
        alike. Samples whose label is not known count in neither.
    label_smoothing : float in [0, 1], default 0.0
        Share of each target that becomes 1/2.
    gamma : float in [0, 1e9], default 0.0
        The focus: above 0 the loss is the focal one, see `sigmoid_focal_loss`.
    logit_penalty, logit_penalty_weight
        As in `LogisticRegression`; the logits are of shape (n, n_labels), or (n,) for a single label.
    solver, max_iter, tol
        As in `LogisticRegression`.
    learning_rate, schedule, power_t, momentum, nesterov, batch_size, shuffle
        As in `LogisticRegression`.
    early_stopping, validation_fraction, n_iter_no_change
        As in `LogisticRegression`, but any samples are held out, whatever their labels.
    warm_start, callbacks, random_state, verbose
        As in `LogisticRegression`.

    Attributes
    ----------
    coef_ : ndarray of shape (n_labels, n_features)
        The weights ``W``, float32 if `X` was float32.
    intercept_ : ndarray of shape (n_labels,)
        The intercepts ``b``.
    classes_ : ndarray of shape (n_labels,)
        The names of the labels: the columns of `y`, if it was a data frame, else 0, 1, 2, ...; for a `y` of one
        dimension its two values.
    pos_weight_ : ndarray of shape (n_labels,) or None
        The factors that were used; None if `pos_weight` is None.
    sparse_output_ : {"array", "matrix"} or None
        The form of the sparse `y` of the first call, which `predict` answers in; None if it was dense.
    loss_curve_, validation_loss_curve_ : list of float
        As in `LogisticRegression`, per sample, summed over its labels.
    n_iter_ : ndarray of shape (1,)
        The number of iterations or epochs.
    n_features_in_ : int
        The number of features.
    feature_names_in_ : ndarray of shape (n_features,)
        Their names, if `X` was a data frame.

    See Also
    --------
    LogisticRegression : one label a sample.
    xentrs.sigmoid_cross_entropy_with_grad : the loss.

    Notes
    -----
    A `y` of shape (n_samples,) with two values is a single label, and is predicted as such.

    What is NaN in `y` (among objects also None, and pandas' NA) is not known, and has no loss. So each label has the
    weights that `LogisticRegression` gives it on the samples whose label is known. Where it is known of none, the
    penalty keeps its weights at 0.

    Sparse samples, scales of features, and what an exception leaves behind: as in `LogisticRegression`. Its weights are
    those of ``sklearn.multiclass.OneVsRestClassifier(LogisticRegression(C=C))``.

    Examples
    --------
    >>> import numpy as np
    >>> from xentrs.models import MultiLabelClassifier
    >>> X = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]).repeat(25, axis=0)
    >>> y = np.column_stack([X[:, 0], X.max(axis=1)]).astype(int)  # the first, and any of both
    >>> model = MultiLabelClassifier().fit(X, y)
    >>> model.predict([[0.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    array([[0, 0],
           [0, 1],
           [1, 1]])

    Half of the samples have not been looked at for the second label:

    >>> partly = np.where(np.arange(100)[:, np.newaxis] % 2 * [0, 1], np.nan, y)
    >>> MultiLabelClassifier().fit(X, partly).predict([[0.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    array([[0, 0],
           [0, 1],
           [1, 1]])
    """

    pos_weight: ArrayLike | None
    pos_weight_: NDArray[np.float64] | None
    sparse_output_: Literal["array", "matrix"] | None

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = LinearClassifier._parameter_constraints | {
        "pos_weight": [Interval(Real, 0, None, closed="left"), "array-like", StrOptions({"balanced"}), None],
    }

    @readable_constructor
    def __init__(
        self,
        *,
        C: float = 1.0,
        l1_ratio: float | None = 0.0,
        fit_intercept: bool = True,
        pos_weight: ArrayLike | None = None,
        label_smoothing: float = 0.0,
        gamma: float = 0.0,
        logit_penalty: LogitPenalty | None = None,
        logit_penalty_weight: float = 1.0,
        solver: str = "lbfgs",
        max_iter: int = 100,
        tol: float | None = 1e-4,
        learning_rate: float | str = "auto",
        schedule: str = "auto",
        power_t: float = 0.5,
        momentum: float = 0.9,
        nesterov: bool = True,
        batch_size: int = 64,
        shuffle: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        warm_start: bool = False,
        callbacks: Callback | Sequence[Callback] | None = None,
        random_state: Seed = None,
        verbose: bool | None = None,
    ) -> None:
        self.C = C
        self.l1_ratio = l1_ratio
        self.fit_intercept = fit_intercept
        self.pos_weight = pos_weight
        self.label_smoothing = label_smoothing
        self.gamma = gamma
        self.logit_penalty = logit_penalty
        self.logit_penalty_weight = logit_penalty_weight
        self.solver = solver
        self.max_iter = max_iter
        self.tol = tol
        self.learning_rate = learning_rate
        self.schedule = schedule
        self.power_t = power_t
        self.momentum = momentum
        self.nesterov = nesterov
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.warm_start = warm_start
        self.callbacks = callbacks
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Train until the minimum is reached, or the loss falls no longer, for `max_iter` iterations at most.

        Parameters
        ----------
        X : array_like or sparse matrix, shape (n_samples, n_features)
            The samples. Products with float32 are made in float32, all else in float64.
        y : array_like, data frame or sparse matrix, shape (n_samples, n_labels) or (n_samples,)
            Which labels they have: booleans, 0 and 1, or soft labels between; NaN where that is not known. The columns
            of a data frame are the names of the labels. Of one dimension: two values of any kind.
        sample_weight : array_like, shape (n_samples,), optional
            Non-negative weight ``s_i`` of each sample.

        Returns
        -------
        MultiLabelClassifier
            The estimator itself.

        Raises
        ------
        ValueError
            If a parameter, `X`, `y` or a weight is not as described here, or the loss overflows.

        Warns
        -----
        ConvergenceWarning
            As in `LogisticRegression`.
        """
        return self._fit(X, y, sample_weight)

    @available_if(trains_step_by_step)  # type: ignore[untyped-decorator]
    def partial_fit(
        self, X: ArrayLike, y: ArrayLike, classes: ArrayLike | None = None, sample_weight: ArrayLike | None = None
    ) -> Self:
        """Train for one epoch, silently, going on from where the last call of `fit` or `partial_fit` ended.

        The ``n`` of the penalty counts all samples seen so far. Only solver "sgd" has this method.

        Parameters
        ----------
        X : array_like or sparse matrix, shape (n_samples, n_features)
            The samples, which are trained in the precision of the first call.
        y : array_like, data frame or sparse matrix, shape (n_samples, n_labels) or (n_samples,)
            Which labels they have, as in `fit`. The names of the columns of a data frame are those of the first call.
        classes : array_like, shape (2,), optional
            For a `y` of one dimension its two values, if the first call may lack one of them.
        sample_weight : array_like, shape (n_samples,), optional
            Non-negative weight ``s_i`` of each sample.

        Returns
        -------
        MultiLabelClassifier
            The estimator itself.

        Raises
        ------
        ValueError
            As in `fit`, or if the labels have changed, or for early stopping, the schedule "cosine" or `pos_weight`
            "balanced", which need to know what is still to come.
        """
        if isinstance(self.pos_weight, str) and self.pos_weight == "balanced":
            raise ValueError(
                "pos_weight='balanced' is not supported for partial_fit: pass an array of a factor for each label"
            )
        return self._partial_fit(X, y, classes, sample_weight)

    def decision_function(self, X: ArrayLike) -> FloatArray:
        """Logits ``X @ coef_.T + intercept_``.

        Parameters
        ----------
        X : array_like or sparse matrix, shape (n_samples, n_features)
            The samples.

        Returns
        -------
        ndarray of shape (n_samples, n_labels) or (n_samples,)
            The log-odds of each label.
        """
        logits = self._logits(X)
        return logits[:, 0] if self._is_single() else logits

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Tell the labels of each sample that are more likely than not.

        Parameters
        ----------
        X : array_like or sparse matrix, shape (n_samples, n_features)
            The samples.

        Returns
        -------
        ndarray or sparse matrix of shape (n_samples, n_labels), or ndarray of shape (n_samples,)
            0 and 1, a column for each label in the order of ``classes_``; a sparse matrix (CSR) if the `y` of the first
            call was one. For a `y` of one dimension its values.
        """
        answers = (self.decision_function(X) > 0).astype(int)
        if self._is_single():
            answers = self.classes_[answers]
        labels: NDArray[Any] = _SPARSE[self.sparse_output_](answers) if self.sparse_output_ else answers
        return labels

    def score(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Share of the samples all of whose known labels are predicted right.

        Parameters
        ----------
        X : array_like or sparse matrix, shape (n_samples, n_features)
            The samples.
        y : array_like, data frame or sparse matrix, shape (n_samples, n_labels) or (n_samples,)
            Which labels they have, as in `fit`. Samples of which no label is known do not count.
        sample_weight : array_like, shape (n_samples,), optional
            Non-negative weight of each sample.

        Returns
        -------
        float
            ``sklearn.metrics.accuracy_score`` of what is known; NaN where nothing is.
        """
        predicted = (self._logits(X) > 0).astype(int)
        _, target = self._read(y, self.classes_, fresh=False)
        check_consistent_length(predicted, target)
        missing = is_missing(target)
        counts = ~missing.all(axis=1)
        weight = None if sample_weight is None else _check_sample_weight(sample_weight, predicted)[counts]
        if not counts.any() or (weight is not None and not weight.any()):
            return math.nan
        known = np.where(missing, predicted, target)[counts]
        return float(accuracy_score(known, predicted[counts], sample_weight=weight))

    def predict_proba(self, X: ArrayLike) -> FloatArray:
        """Probability of each label.

        Parameters
        ----------
        X : array_like or sparse matrix, shape (n_samples, n_features)
            The samples.

        Returns
        -------
        ndarray of shape (n_samples, n_labels) or (n_samples, 2)
            The probability that the sample has the label; for a single label those of both values.
        """
        logits = self.decision_function(X)
        return sigmoid(two_columns(logits) if logits.ndim == 1 else logits)

    def predict_log_proba(self, X: ArrayLike) -> FloatArray:
        """Log-probability of each label, exact even where the probability rounds to 0 or 1.

        Parameters
        ----------
        X : array_like or sparse matrix, shape (n_samples, n_features)
            The samples.

        Returns
        -------
        ndarray of shape (n_samples, n_labels) or (n_samples, 2)
            Nats, in the order of `predict_proba`.
        """
        logits = self.decision_function(X)
        return log_sigmoid(two_columns(logits) if logits.ndim == 1 else logits)

    def input_gradient(self, X: ArrayLike, y: ArrayLike) -> FloatArray:
        """Gradient of the loss of each sample with respect to the sample: ``d loss_i / d x_i = W^T (p_i - y_i)``.

        Parameters
        ----------
        X : array_like or sparse matrix, shape (n_samples, n_features)
            The samples.
        y : array_like or sparse matrix, shape (n_samples, n_labels) or (n_samples,)
            Which labels they have, as in `fit`.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            A row for each sample, of the loss summed over its labels, not divided by the number of samples. `gamma`,
            `label_smoothing` and `pos_weight` have their part in the loss; penalties have not.
        """
        return self._input_gradient(X, y)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        tags.classifier_tags.multi_class = False
        tags.target_tags.multi_output = True
        return tags

    def _is_single(self) -> bool:
        return len(self.classes_) != len(self.intercept_)

    def _check_arrays(self, X: Any, y: Any, dtype: Any, *, reset: bool) -> tuple[Any, Any]:
        samples = read_samples(self, X, None if y is None else "no_validation", dtype=dtype, reset=reset)
        return samples, y  # which `_read` reads

    def _check_data(
        self, X: Any, y: Any, sample_weight: Any, *, classes: Any, fresh: bool, may_be_idle: bool
    ) -> tuple[Any, NDArray[Any], FloatArray]:
        samples, target, weight = super()._check_data(
            X, y, sample_weight, classes=classes, fresh=fresh, may_be_idle=may_be_idle
        )
        if fresh:
            self.sparse_output_ = _kind_of_sparse(y)
        return samples, target, weight

    def _read(self, y: Any, classes: ArrayLike | None, fresh: bool) -> tuple[NDArray[Any], NDArray[Any]]:
        names, answers = read_answers(y)
        if answers.ndim == 1:
            found, target = _read_values(answers, classes if fresh or self._is_single() else None)
        else:
            target = answers
            found = np.arange(target.shape[1]) if names is None else names
        if not fresh:
            given, before, n = found, self.classes_, len(self.intercept_)
            numbers = np.arange(n)
            if answers.ndim == 2 and not self._is_single() and (names is None or np.array_equal(before, numbers)):
                found = before  # either has no names
            if target.shape[1] != n or not np.array_equal(found, before):
                raise ValueError(
                    f"y must have the labels of the last call, {_name_labels(before, n)}, "
                    f"got {_name_labels(given, target.shape[1])}"
                )
        return found, target

    def _objective(self, X: Any, target: NDArray[Any], sample_weight: FloatArray | None) -> Objective:
        weight = np.ones(len(target)) if sample_weight is None else sample_weight
        check_consistent_length(X, target)
        missing = is_missing(target)
        if sample_weight is not None:  # in training
            self.pos_weight_ = self._pos_weights(target, missing, weight)
        options = {"pos_weight": self.pos_weight_, "label_smoothing": self.label_smoothing}
        options |= {"gamma": self.gamma} if self.gamma else {}
        if missing.any():
            target, options["ignore_index"] = np.where(missing, IGNORED, target), IGNORED
        loss_with_grad = sigmoid_focal_loss_with_grad if self.gamma else sigmoid_cross_entropy_with_grad
        return Objective(X, target.astype(X.dtype), weight, loss_with_grad, target.shape[1], options)

    def _pos_weights(
        self, target: NDArray[Any], missing: NDArray[np.bool_], weight: FloatArray
    ) -> NDArray[np.float64] | None:
        """Return the factor of each label."""
        n = target.shape[1]
        if self.pos_weight is None:
            return None
        if isinstance(self.pos_weight, str):
            return _factors(
                *_without_and_with(target, missing, weight / (weight.max() or 1.0))
            )  # whose sums are finite
        given = as_weights(self.pos_weight, "pos_weight", np.dtype(np.float64))
        return np.full(n, given) if given.ndim == 0 else given

    def _answers(self, part: Checked) -> tuple[Answers, Literal["array", "matrix"] | None]:
        names, answers = read_answers(part.y)
        if answers.ndim == 1:
            known = answers[~is_missing(answers)]
            found = Answers(True, answers_of(known).found if len(known) else known)
        else:
            found = Answers(False, np.arange(answers.shape[1]) if names is None else names)
        return found, _kind_of_sparse(part.y)

    def _join_answers(
        self, answers: dict[int, tuple[Answers, Literal["array", "matrix"] | None]], fresh: bool
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        classes = join_answers({i: found for i, (found, _) in answers.items()})
        (is_labels, _), kind = next(iter(answers.values()))
        if is_labels and len(classes) > 2:
            raise ValueError(_NOT_BINARY.format("multiclass"))
        if fresh:
            self.sparse_output_ = kind
        return classes, np.zeros((0, 1 if is_labels else len(classes)))

    def _balance(self, remote: Any, parts: Parts) -> None:
        if isinstance(self.pos_weight, str):
            remote.pos_weight = _factors(*parts.fold(_without_and_with_of_part))


def _without_and_with(
    target: NDArray[Any], missing: NDArray[np.bool_], weight: FloatArray
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """For each label the weight of the samples without it, and of those with it."""
    known = np.where(missing, 0.0, weight[:, np.newaxis])
    positive = np.sum(known * np.where(missing, 0.0, target), axis=0)
    return known.sum(axis=0) - positive, positive


def _without_and_with_of_part(part: tuple[Any, NDArray[Any], FloatArray]) -> tuple[Any, Any]:
    _, target, weight = part
    return _without_and_with(target, is_missing(target), weight)


def _factors(negative: NDArray[np.float64], positive: NDArray[np.float64]) -> NDArray[np.float64]:
    """The factors that "balanced" stands for."""
    both = (positive > 0) & (negative > 0)
    return np.divide(negative, positive, out=np.ones(len(positive)), where=both)


def _kind_of_sparse(y: Any) -> Literal["array", "matrix"] | None:
    """What kind of sparse matrix it is, if it is one."""
    return ("array" if isinstance(y, sparray) else "matrix") if issparse(y) else None


def _name_labels(classes: NDArray[Any], n_outputs: int) -> str:
    """Say what the labels are: the two values of a single one, or the columns for each of several."""
    if len(classes) != n_outputs:
        return f"the values {classes.tolist()}"
    return f"{n_outputs} columns" if np.array_equal(classes, np.arange(n_outputs)) else f"{classes.tolist()}"


def _read_values(y: NDArray[Any], classes: ArrayLike | None) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Tell the two values of a single label, and which of them a sample has, NaN where that is not known."""
    known = ~is_missing(y)
    if not known.any():
        if classes is None:
            raise ValueError("y must have labels, got missing values alone")
        return unique_labels(classes), np.full((len(y), 1), np.nan)
    if (kind := type_of_target(y[known], input_name="y", raise_unknown=True)) == "multiclass":
        raise ValueError(_NOT_BINARY.format(kind))
    found, places = read_labels(y[known], classes)
    target = np.full((len(y), 1), np.nan)
    target[known, 0] = places
    return found, target
