"""Linear classification into labels that do not exclude each other."""

from collections.abc import Sequence
from numbers import Real
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import issparse
from sklearn.utils import Tags
from sklearn.utils._param_validation import Interval
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import type_of_target

from ..losses import FloatArray, log_sigmoid, sigmoid, sigmoid_cross_entropy_with_grad, sigmoid_focal_loss_with_grad
from .classification import read_labels, two_columns
from .linear_classifier import LinearClassifier, trains_step_by_step
from .objective import LogitPenalty, Objective
from .training import Callback

__all__ = ["MultiLabelClassifier"]


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
    pos_weight : float or array_like of shape (n_labels,), default None
        A factor on the loss of the labels that a sample has, to be more than 1 for rare ones. None: 1.
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
        The numbers of the labels, 0, 1, 2, ...; for a `y` of one dimension its two values.
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
    """

    pos_weight: ArrayLike | None

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = LinearClassifier._parameter_constraints | {
        "pos_weight": [Interval(Real, 0, None, closed="left"), "array-like", None],
    }

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
        random_state: int | np.random.RandomState | None = None,
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
        y : array_like or sparse matrix, shape (n_samples, n_labels) or (n_samples,)
            Which labels they have: booleans, 0 and 1, or soft labels between. Of one dimension: two values of any kind.
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
        y : array_like or sparse matrix, shape (n_samples, n_labels) or (n_samples,)
            Which labels they have, as in `fit`.
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
            As in `fit`, or if the number of labels has changed, or for early stopping or the schedule "cosine", which
            need to know what is still to come.
        """
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
        ndarray of shape (n_samples, n_labels) or (n_samples,)
            0 and 1; for a single label its values.
        """
        answers = (self.decision_function(X) > 0).astype(int)
        labels: NDArray[Any] = self.classes_[answers] if self._is_single() else answers
        return labels

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

    def _read(self, y: Any, classes: ArrayLike | None, fresh: bool) -> tuple[NDArray[Any], NDArray[Any]]:
        if y.ndim == 1:
            if (kind := type_of_target(y, input_name="y", raise_unknown=True)) == "multiclass":
                raise ValueError(f"Only binary classification is supported. The type of the target is {kind}.")
            found, target = read_labels(y, classes if fresh or self._is_single() else None)
            target = target[:, np.newaxis]
        else:
            target = _read_answers(y)
            found = np.arange(target.shape[1])
        n = target.shape[1]
        if not fresh and (n != len(self.intercept_) or not np.array_equal(found, self.classes_)):
            before = _name_labels(self.classes_, len(self.intercept_))
            raise ValueError(f"y must have the labels of the last call, {before}, got {_name_labels(found, n)}")
        return found, target

    def _objective(self, X: Any, target: NDArray[Any], sample_weight: FloatArray | None) -> Objective:
        weight = np.ones(len(target)) if sample_weight is None else sample_weight
        pos_weight = np.full(target.shape[1], self.pos_weight) if isinstance(self.pos_weight, Real) else self.pos_weight
        options = {"pos_weight": pos_weight, "label_smoothing": self.label_smoothing}
        options |= {"gamma": self.gamma} if self.gamma else {}
        loss_with_grad = sigmoid_focal_loss_with_grad if self.gamma else sigmoid_cross_entropy_with_grad
        return Objective(X, target.astype(X.dtype), weight, loss_with_grad, target.shape[1], options)


def _name_labels(classes: NDArray[Any], n_outputs: int) -> str:
    """Say what the labels are: the two values of a single one, or a column for each of several."""
    return f"{n_outputs} columns" if len(classes) == n_outputs else f"the values {classes.tolist()}"


def _read_answers(y: Any) -> NDArray[Any]:
    """Make numbers in [0, 1], a column for each label, of an array or a sparse matrix."""
    answers: NDArray[Any] = y.toarray() if issparse(y) else y
    if answers.dtype.kind not in "biuf":
        raise ValueError(f"y must be labels, or numbers in [0, 1], got {answers.dtype}")
    if (wrong := (answers < 0) | (answers > 1)).any():
        row, label = np.argwhere(wrong)[0].tolist()
        raise ValueError(
            f"y must be labels, or numbers in [0, 1], got {answers[row, label]} at row {row}, label {label}"
        )
    return answers
