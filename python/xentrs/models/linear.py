"""Linear models: logits are ``X @ coef_.T + intercept_``, the loss is a cross-entropy, training is gradient descent."""

import math
import warnings
from collections.abc import Callable
from functools import partial
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import LabelEncoder
from sklearn.utils import check_random_state, compute_class_weight, gen_batches
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.multiclass import check_classification_targets, unique_labels
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from ..losses import (
    FloatArray,
    LossGrad,
    log_sigmoid,
    log_softmax,
    sigmoid,
    sigmoid_cross_entropy_with_grad,
    softmax,
    softmax_cross_entropy_with_grad,
)
from ..optim import SGD
from .training import LossCurveMixin, Monitor, all_or_nothing, has_stalled

__all__ = ["LogisticRegression"]


class LogisticRegression(LossCurveMixin, ClassifierMixin, BaseEstimator):
    """Logistic regression for two or more classes, trained by stochastic gradient descent on mini-batches.

    It minimises the mean cross-entropy plus a penalty on the weights ``W = coef_``, but not on ``b = intercept_``::

        sum_i s_i loss(W x_i + b, y_i) / n + ||W||^2 / (2 C n)          n = sum_i s_i

    where the sample weights ``s`` are 1 unless given. The objective of `sklearn.linear_model.LogisticRegression` is
    this one times ``C n``, so the same `C` leads to the same weights.

    The loss is the softmax cross-entropy or, for two classes, where one logit is enough, the sigmoid cross-entropy. In
    both the gradient is ``p - t``, probability minus target, for the logits, hence ``(p - t).T @ X`` for the weights.

    Parameters
    ----------
    C : float, default 1.0
        Inverse strength of the penalty; inf stands for none.
    learning_rate : float, default 0.1
        The constant step size. The smaller it is, the closer to the minimum the weights settle, and the later.
    momentum : float in [0, 1), default 0.9
        Share of the last step that goes into the next, see `xentrs.optim.SGD`.
    nesterov : bool, default True
        Whether the momentum looks ahead; needs ``momentum > 0``.
    batch_size : int, default 64
        Samples per step. A remainder of less than half a batch joins the batch before it.
    max_iter : int, default 200
        The most epochs, that is passes over the samples, that `fit` makes.
    tol : float or None, default 1e-4
        `fit` stops when the last `n_iter_no_change` epochs have not lowered the loss by `tol` nats. None never stops.
    n_iter_no_change : int, default 10
        The epochs that `tol` looks back on.
    class_weight : dict, "balanced" or None, default None
        A factor on the sample weights of each class. "balanced" gives every class the same total weight.
    label_smoothing : float in [0, 1], default 0.0
        Share of each target spread evenly over all classes.
    shuffle : bool, default True
        Whether every epoch visits the samples in another order.
    random_state : int, RandomState or None, default None
        The seed of that order. The same seed gives the same bits.
    warm_start : bool, default False
        Whether `fit` goes on from the weights and the velocity of the last call.
    verbose : bool or None, default None
        Whether `fit` shows a progress bar, with loss and rate. None: in a terminal, once it takes more than a second.

    Attributes
    ----------
    coef_ : ndarray of shape (1, n_features) or (n_classes, n_features)
        The weights ``W``, float32 if `X` was float32. For two classes the one row belongs to ``classes_[1]``.
    intercept_ : ndarray of shape (1,) or (n_classes,)
        The intercepts ``b``.
    classes_ : ndarray of shape (n_classes,)
        The class labels, sorted.
    loss_curve_ : list of float
        The objective in nats, one value per epoch: the mean over its batches, each before its step.
    n_iter_ : int
        The number of epochs.
    n_features_in_ : int
        The number of features.
    feature_names_in_ : ndarray of shape (n_features,)
        Their names, if `X` was a data frame.

    See Also
    --------
    xentrs.softmax_cross_entropy_with_grad, xentrs.sigmoid_cross_entropy_with_grad : the losses.
    xentrs.optim.SGD : the rule of the step.

    Notes
    -----
    Gradient descent needs features of similar scale: put `sklearn.preprocessing.StandardScaler` in front.

    `fit` and `partial_fit` are all or nothing: if one raises, the estimator is as it was before.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from xentrs.models import LogisticRegression
    >>> X, y = load_digits(return_X_y=True)
    >>> model = LogisticRegression(random_state=0).fit(X[:1200] / 16, y[:1200])
    >>> round(model.score(X[1200:] / 16, y[1200:]), 2)
    0.92
    >>> model.predict(X[1200:1205] / 16), y[1200:1205]
    (array([7, 7, 7, 5, 1]), array([7, 7, 3, 5, 1]))
    """

    coef_: FloatArray
    intercept_: FloatArray
    classes_: NDArray[Any]
    _velocity: list[FloatArray]  # of the optimiser, for the next call
    _seen: NDArray[np.float64]  # number of samples, and their total weight, that the penalty counts

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "C": [Interval(Real, 0, None, closed="right")],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "momentum": [Interval(Real, 0, 1, closed="left")],
        "nesterov": ["boolean"],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left"), None],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
        "class_weight": [dict, StrOptions({"balanced"}), None],
        "label_smoothing": [Interval(Real, 0, 1, closed="both")],
        "shuffle": ["boolean"],
        "random_state": ["random_state"],
        "warm_start": ["boolean"],
        "verbose": ["verbose", None],
    }

    def __init__(
        self,
        *,
        C: float = 1.0,
        learning_rate: float = 0.1,
        momentum: float = 0.9,
        nesterov: bool = True,
        batch_size: int = 64,
        max_iter: int = 200,
        tol: float | None = 1e-4,
        n_iter_no_change: int = 10,
        class_weight: dict[Any, float] | str | None = None,
        label_smoothing: float = 0.0,
        shuffle: bool = True,
        random_state: int | np.random.RandomState | None = None,
        warm_start: bool = False,
        verbose: bool | None = None,
    ) -> None:
        self.C = C
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.nesterov = nesterov
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.tol = tol
        self.n_iter_no_change = n_iter_no_change
        self.class_weight = class_weight
        self.label_smoothing = label_smoothing
        self.shuffle = shuffle
        self.random_state = random_state
        self.warm_start = warm_start
        self.verbose = verbose

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Train until the loss stops falling, for `max_iter` epochs at most.

        Parameters
        ----------
        X : array_like, shape (n_samples, n_features)
            The samples. float32 is trained in float32, everything else in float64.
        y : array_like, shape (n_samples,)
            Their labels, of at least two classes.
        sample_weight : array_like, shape (n_samples,), optional
            Non-negative weight ``s_i`` of each sample.

        Returns
        -------
        LogisticRegression
            The estimator itself.

        Raises
        ------
        ValueError
            If a parameter, `X`, `y` or a weight is not as described here, or the loss overflows.

        Warns
        -----
        ConvergenceWarning
            If the loss ends above that of guessing, or still falls after `max_iter` epochs.
        """
        with all_or_nothing(self):
            fresh = not (self.warm_start and hasattr(self, "coef_"))
            epoch = self._prepare(X, y, sample_weight, classes=None, fresh=fresh, seen=np.zeros(2))
            with Monitor(
                self,
                [self.coef_, self.intercept_],
                total=self.max_iter,
                unit="epoch",
                verbose=self.verbose,
                stop=lambda curve: has_stalled(curve, self.tol, self.n_iter_no_change),
            ) as monitor:
                for _ in range(self.max_iter):
                    if monitor(epoch()):
                        break

        loss, guessing = self.loss_curve_[-1], math.log(len(self.classes_))
        if loss > 1.1 * guessing:
            warnings.warn(
                f"The loss of {loss:.3g} nats is above the {guessing:.3g} nats of guessing. "
                f"Standardise X or lower learning_rate={self.learning_rate}.",
                ConvergenceWarning,
                stacklevel=2,
            )
        elif self.tol is not None and not monitor.stopped:
            warnings.warn(
                f"Maximum number of iterations ({self.max_iter}) reached before convergence. "
                "Consider increasing max_iter, or tol.",
                ConvergenceWarning,
                stacklevel=2,
            )
        return self

    def partial_fit(
        self, X: ArrayLike, y: ArrayLike, classes: ArrayLike | None = None, sample_weight: ArrayLike | None = None
    ) -> Self:
        """Train for one epoch, silently, going on from where the last call of `fit` or `partial_fit` ended.

        The ``n`` of the penalty counts all samples seen so far.

        Parameters
        ----------
        X : array_like, shape (n_samples, n_features)
            The samples, which are trained in the precision of the first call.
        y : array_like, shape (n_samples,)
            Their labels.
        classes : array_like, shape (n_classes,), optional
            All the labels that there are; the first call needs them.
        sample_weight : array_like, shape (n_samples,), optional
            Non-negative weight ``s_i`` of each sample.

        Returns
        -------
        LogisticRegression
            The estimator itself.

        Raises
        ------
        ValueError
            As in `fit`, or if `y` has a label that is not among the classes, or `class_weight` is "balanced".
        """
        with all_or_nothing(self):
            fresh = not hasattr(self, "coef_")
            if self.class_weight == "balanced":
                raise ValueError(
                    "class_weight 'balanced' is not supported for partial_fit. In order to use 'balanced' weights, "
                    "use compute_class_weight('balanced', classes=classes, y=y) and pass the result as a dict."
                )
            if classes is None:
                if fresh:
                    raise ValueError("classes must be passed on the first call to partial_fit.")
                classes = self.classes_
            seen = np.zeros(2) if fresh else self._seen
            epoch = self._prepare(X, y, sample_weight, classes=classes, fresh=fresh, seen=seen)
            self.loss_curve_ = [*([] if fresh else self.loss_curve_), epoch()]
            self.n_iter_ = len(self.loss_curve_)
        return self

    def decision_function(self, X: ArrayLike) -> FloatArray:
        """Logits ``X @ coef_.T + intercept_``.

        Parameters
        ----------
        X : array_like, shape (n_samples, n_features)
            The samples.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_classes)
            For two classes the log-odds of ``classes_[1]``, otherwise a logit for each class.
        """
        check_is_fitted(self)
        samples: FloatArray = validate_data(self, X, dtype=[np.float64, np.float32], reset=False)
        logits: FloatArray = samples @ self.coef_.T + self.intercept_
        return logits[:, 0] if len(self.classes_) == 2 else logits

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

    def _prepare(
        self, X: Any, y: Any, sample_weight: Any, *, classes: Any, fresh: bool, seen: NDArray[np.float64]
    ) -> Callable[[], float]:
        """Check everything, set up weights and optimiser, and return the function that trains for one epoch.

        `classes` are those in `y` if None. `fresh` starts from weights of zero. `seen` is the number of samples in the
        calls before, and their total weight.
        """
        # 1. The data, checked in scikit-learn's ways and words.
        self._validate_params()
        dtype = [np.float64, np.float32] if fresh else self.coef_.dtype
        X, y = validate_data(self, X, y, dtype=dtype, reset=fresh)
        check_classification_targets(y)
        classes = unique_labels(y if classes is None else classes)
        if len(classes) < 2:
            raise ValueError(f"y must have at least 2 classes, got only one class: {classes.tolist()[0]!r}")
        if not fresh and not np.array_equal(classes, self.classes_):
            raise ValueError(f"`classes={classes!r}` is not the same as on last call, was: {self.classes_!r}")
        labels = LabelEncoder().fit(classes).transform(y)

        # 2. The weights of the samples, scaled to a mean of 1 so that they leave the size of a step alone.
        weight = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
        if self.class_weight == "balanced":
            totals = np.bincount(labels, weight)
            weight = weight * weight.sum() / (len(classes) * np.where(totals > 0, totals, 1.0))[labels]
        else:
            weight = weight * compute_class_weight(self.class_weight, classes=classes, y=y)[labels]
        seen = seen + [len(weight), weight.sum()]
        n_seen, weight_seen = seen
        if not weight_seen > 0:
            raise ValueError("sample_weight must have a positive sum, got only zeros")
        weight = (weight * n_seen / weight_seen).astype(X.dtype)

        # 3. The loss: one logit and the sigmoid for two classes, else a logit for each class and the softmax.
        loss_with_grad: Callable[..., LossGrad]
        if len(classes) == 2:
            outputs, loss_with_grad = 1, sigmoid_cross_entropy_with_grad
            target = (labels * (1 - self.label_smoothing) + self.label_smoothing / 2)[:, np.newaxis].astype(X.dtype)
        else:
            outputs, target = len(classes), labels
            loss_with_grad = partial(softmax_cross_entropy_with_grad, label_smoothing=self.label_smoothing)

        # 4. The optimiser, on arrays of its own: those of an earlier call stay as they are.
        if fresh:
            params = [np.zeros((outputs, X.shape[1]), X.dtype), np.zeros(outputs, X.dtype)]
        else:
            params = [self.coef_.copy(), self.intercept_.copy()]
        optimizer = SGD(params, learning_rate=self.learning_rate, momentum=self.momentum, nesterov=self.nesterov)
        if not fresh:
            optimizer.velocity = [velocity.copy() for velocity in self._velocity]

        self.classes_, self._seen = classes, seen
        self.coef_, self.intercept_ = params
        self._velocity = optimizer.velocity
        return partial(
            _epoch,
            optimizer,
            loss_with_grad,
            X,
            target,
            weight,
            penalty=float(1 / (self.C * weight_seen)),
            batch_size=self.batch_size,
            rng=check_random_state(self.random_state) if self.shuffle else None,
        )


def _epoch(
    optimizer: SGD,
    loss_with_grad: Callable[..., LossGrad],
    X: FloatArray,
    target: NDArray[Any],
    weight: FloatArray,
    *,
    penalty: float,
    batch_size: int,
    rng: np.random.RandomState | None,
) -> float:
    """One pass over the samples, a step of `optimizer` per batch; the mean of the batches' objectives."""
    coef, intercept = optimizer.params
    order = np.arange(len(X)) if rng is None else rng.permutation(len(X))
    total = 0.0
    with np.errstate(over="ignore", invalid="ignore"):  # an overflow is reported once, below
        for batch in gen_batches(len(X), batch_size, min_batch_size=batch_size // 2):
            rows = order[batch]
            x, s = X[rows], weight[rows] / len(rows)
            logits = x @ coef.T + intercept
            loss, residual = loss_with_grad(logits, target[rows], sample_weight=s, reduction="sum", out=logits)
            total += len(rows) * (loss + penalty / 2 * float(np.vdot(coef, coef)))
            optimizer.step([residual.T @ x + penalty * coef, residual.sum(axis=0)])
    if not math.isfinite(total):
        raise ValueError(
            f"The loss overflows. Standardise X, lower learning_rate={optimizer.learning_rate} or raise C."
        )
    return total / len(X)
