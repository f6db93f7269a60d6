"""Logistic regression: linear logits, one label a sample."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.metaestimators import available_if

from .._calls import readable_constructor
from .._seeds import Seed
from ..losses import FloatArray
from .classification import (
    Answers,
    LogitsMixin,
    answers_of,
    as_target,
    balanced,
    encode,
    join_answers,
    loss_of,
    partial_fit_classes,
    totals_of_classes,
    weigh,
)
from .linear_classifier import LinearClassifier, trains_step_by_step
from .objective import LogitPenalty, Objective
from .parts import Checked, Parts
from .training import Callback

__all__ = ["LogisticRegression"]


class LogisticRegression(LogitsMixin, LinearClassifier):
    """Logistic regression for two or more classes.

    It minimises the mean cross-entropy plus a penalty on the weights ``W = coef_``, but not on ``b = intercept_``::

        sum_i s_i loss(W x_i + b, y_i) / n + ((1 - l1_ratio) ||W||^2 / 2 + l1_ratio ||W||_1) / (C n)     n = sum_i s_i

    where the sample weights ``s`` are 1 unless given. The objective of `sklearn.linear_model.LogisticRegression` is
    this one times ``C n``, so the same `C` and `l1_ratio` lead to the same weights.

    The loss is the softmax cross-entropy or, for two classes, where one logit is enough, the sigmoid cross-entropy. In
    both the gradient is ``p - t``, probability minus target, for the logits, hence ``(p - t).T @ X`` for the weights.

    Parameters
    ----------
    C : float, default 1.0
        Inverse strength of the penalty on the weights; inf stands for none.
    l1_ratio : float in [0, 1], default 0.0
        The share of absolute values in the penalty: 0 is its square alone, 1 the lasso, which leaves some weights at
        exactly 0, between them the elastic net. Above 0 for solver "lbfgs" alone.
    fit_intercept : bool, default True
        Whether there is ``b``; without, it is 0.
    class_weight : dict, "balanced" or None, default None
        A factor on the terms of each class, hence on the weights of its samples. "balanced" gives every class the same
        total weight.
    label_smoothing : float in [0, 1], default 0.0
        Share of each target spread evenly over all classes.
    gamma : float in [0, 1e9], default 0.0
        The focus: above 0 the loss is the focal one, in which what is right already counts less; see
        `softmax_focal_loss`. It is not convex then.
    logit_penalty : callable or None, default None
        A further penalty: ``logit_penalty(logits) -> (value, grad)``, called with the logits of all samples of `fit`,
        of shape (n,) for two classes, else (n, n_classes), returns a value that is added to the objective above, and
        its gradient with respect to the logits. The functions of xentrs whose names end in ``_with_grad`` do so: see
        the examples. For solver "lbfgs" alone.
    logit_penalty_weight : float, default 1.0
        A factor on that penalty.
    solver : {"lbfgs", "newton-cholesky", "sgd"}, default "lbfgs"
        The first two see all samples at every step, need no learning rate and come to the minimum to many digits.
        "newton-cholesky" takes few steps, of a price that grows with the square of ``n_classes * n_features``: for many
        samples of few features. It knows the plain loss alone: no `gamma`, no `logit_penalty`. "sgd" takes a step per
        batch: for very many samples, and for those that come in pieces, by `partial_fit`.
    max_iter : int, default 100
        The most iterations, or for "sgd" epochs, that is passes over the samples, that `fit` makes.
    tol : float or None, default 1e-4
        "lbfgs" and "newton-cholesky" stop when no derivative of the objective, by the weights of standardised features,
        is larger than a tenth of it, or with `l1_ratio` than it. "sgd" with a schedule that has no end, and early
        stopping, stop when the last `n_iter_no_change` values of the loss, that of the samples held out if there are
        such, have not lowered it by `tol` nats. None never stops, and never warns.
    learning_rate : float or "auto", default "auto"
        The (first) step size of "sgd", in units of standardised features for `fit`, of those given for `partial_fit`.
        "auto": one over a bound of the curvature of a batch's loss, found from the samples.
    schedule : {"auto", "constant", "invscaling", "cosine", "lipschitz"}, default "auto"
        How the step size changes from batch to batch: see `xentrs.optim.constant`, `xentrs.optim.inverse_scaling`,
        `xentrs.optim.cosine`, which comes to 0 after `max_iter` epochs, and `xentrs.optim.lipschitz`, which takes the
        step size from the data, not from `learning_rate`. "auto": "cosine" in `fit`, "constant" in `partial_fit`. `fit`
        begins it anew, `partial_fit` goes on.
    power_t : float, default 0.5
        The power of "invscaling".
    momentum : float in [0, 1), default 0.9
        Share of the last step that goes into the next, see `xentrs.optim.SGD`.
    nesterov : bool, default True
        Whether the momentum looks ahead; needs ``momentum > 0``.
    batch_size : int, default 64
        Samples per step. The last step of an epoch takes what is left.
    shuffle : bool, default True
        Whether every epoch visits the samples in another order.
    early_stopping : bool, default False
        Whether to hold out samples, to stop when their loss falls no longer, and to return to where it was least.
    validation_fraction : float in (0, 1), default 0.1
        The share of samples held out, the same of each class.
    n_iter_no_change : int, default 10
        The iterations that `tol` looks back on.
    warm_start : bool, default False
        Whether `fit` goes on from the weights of the last call and, for "sgd", its velocity.
    callbacks : callable, sequence of callables or None, default None
        Called as ``callback(estimator, loss)`` after every iteration of `fit`, when the estimator has the weights of
        that iteration (arrays that change in place) and the curves up to it. A true answer stops the training there.
    random_state : int, RandomState, Generator or None, default None
        The seed of order and of what is held out. The same seed gives the same bits.
    verbose : bool or None, default None
        Whether `fit` shows a progress bar, with loss and rate. None: in a terminal, once it takes more than a second.
    penalty : {"l1", "l2", "elasticnet"} or None
        As scikit-learn had it until 1.8, and with the meaning that it had: a FutureWarning says what to write instead.

    Attributes
    ----------
    coef_ : ndarray of shape (1, n_features) or (n_classes, n_features)
        The weights ``W``, float32 if `X` was float32, though searched for in float64. For two classes the one row
        belongs to ``classes_[1]``.
    intercept_ : ndarray of shape (1,) or (n_classes,)
        The intercepts ``b``.
    classes_ : ndarray of shape (n_classes,)
        The class labels, sorted; for soft labels 0, 1, 2, ...
    loss_curve_ : list of float
        The objective in nats, one value per iteration: after it for "lbfgs"; for "sgd" the mean over the batches of an
        epoch, each before its step.
    validation_loss_curve_ : list of float
        With early stopping the mean loss of the samples held out, after each iteration.
    n_iter_ : ndarray of shape (1,)
        The number of iterations or epochs.
    n_features_in_ : int
        The number of features.
    feature_names_in_ : ndarray of shape (n_features,)
        Their names, if `X` was a data frame.

    See Also
    --------
    MultiLabelClassifier : labels that do not exclude each other.
    xentrs.softmax_cross_entropy_with_grad, xentrs.sigmoid_cross_entropy_with_grad : the losses.
    xentrs.optim.SGD : the rule of the step.

    Notes
    -----
    `X` may be sparse: a SciPy matrix or array, turned into CSR, is never made dense (by "newton-cholesky" a thousand
    rows at a time).

    `fit` searches among the weights of standardised features, whatever their units are: kelvins and seconds since 1970
    train like any other. The objective stays the one above, with the penalty on the weights in units of the features,
    so whether to standardise them is a question of what is to be held back, not of convergence. `partial_fit` cannot
    know what is still to come: put `sklearn.preprocessing.StandardScaler` in front of it.

    `fit` and `partial_fit` are all or nothing: if one raises, the estimator is as it was before. Ctrl-C in `fit`
    arrives as KeyboardInterrupt, and leaves it as if the last iteration finished had been the last one asked for.

    "lbfgs" is that of SciPy [1]_, begun anew every few iterations in coordinates along which the objective is curved
    alike. One that takes more than fifty iterations goes on by Newton's method where the Hessian is small. Where values
    have no digits left to tell a step down from one up, it goes by the derivatives alone.

    Against scikit-learn: there are no solvers "liblinear", "newton-cg", "sag" and "saga", nor `dual` and
    `intercept_scaling`, which belong to the first, nor `n_jobs`. What "saga" is for, `l1_ratio`, "lbfgs" does.

    References
    ----------
    .. [1] R. H. Byrd, P. Lu, J. Nocedal and C. Zhu, "A Limited Memory Algorithm for Bound Constrained Optimization",
       SIAM Journal on Scientific Computing 16, 1995. https://doi.org/10.1137/0916069

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from xentrs.models import LogisticRegression
    >>> X, y = load_digits(return_X_y=True)
    >>> model = LogisticRegression().fit(X[:1200] / 16, y[:1200])
    >>> round(model.score(X[1200:] / 16, y[1200:]), 2)
    0.92
    >>> model.predict(X[1200:1205] / 16), y[1200:1205]
    (array([7, 7, 7, 5, 1]), array([7, 7, 3, 5, 1]))

    A penalty on unequal treatment of two groups:

    >>> from functools import partial
    >>> import numpy as np
    >>> import xentrs as xe
    >>> group = np.arange(400) % 2
    >>> rng = np.random.default_rng(0)
    >>> X = np.column_stack([group, rng.normal(size=400)])
    >>> y = X.sum(axis=1) + rng.normal(size=400) > 0.5
    >>> for weight in (0.0, 100.0):
    ...     parity = partial(xe.parity_penalty_with_grad, group=group)
    ...     p = LogisticRegression(logit_penalty=parity, logit_penalty_weight=weight).fit(X, y).predict_proba(X)[:, 1]
    ...     print(p[group == 0].mean().round(2), p[group == 1].mean().round(2))
    0.34 0.63
    0.48 0.49
    """

    class_weight: dict[Any, float] | str | None
    penalty: str | None

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = LinearClassifier._parameter_constraints | {
        "class_weight": [dict, StrOptions({"balanced"}), None],
        "penalty": [StrOptions({"deprecated", "l1", "l2", "elasticnet"}), None],
    }

    @readable_constructor
    def __init__(
        self,
        *,
        C: float = 1.0,
        l1_ratio: float | None = 0.0,
        fit_intercept: bool = True,
        class_weight: dict[Any, float] | str | None = None,
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
        penalty: str | None = "deprecated",
    ) -> None:
        self.C = C
        self.l1_ratio = l1_ratio
        self.fit_intercept = fit_intercept
        self.class_weight = class_weight
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
        self.penalty = penalty

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Train until the minimum is reached, or the loss falls no longer, for `max_iter` iterations at most.

        Parameters
        ----------
        X : array_like or sparse matrix, shape (n_samples, n_features)
            The samples. Products with float32 are made in float32, all else in float64.
        y : array_like, shape (n_samples,) or (n_samples, n_classes)
            Their labels, of at least two classes; or soft labels, rows of floats that sum to 1.
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
            If it ends short of the minimum: a derivative is left that is too large for `tol`, or some iterations of
            L-BFGS lower what "sgd" has come to by more than 1 %, and by more than `tol`.
        FutureWarning
            If `penalty` is given, or None for `l1_ratio`.
        """
        return self._fit(X, y, sample_weight)

    @available_if(trains_step_by_step)  # type: ignore[untyped-decorator]
    def partial_fit(
        self, X: ArrayLike, y: ArrayLike, classes: ArrayLike | None = None, sample_weight: ArrayLike | None = None
    ) -> Self:
        """Train for one epoch, silently, going on from where the last call of `fit` or `partial_fit` ended.

        The ``n`` of the penalty counts all samples seen so far. Samples of no weight at all change nothing. Only solver
        "sgd" has this method.

        Parameters
        ----------
        X : array_like or sparse matrix, shape (n_samples, n_features)
            The samples, which are trained in the precision of the first call.
        y : array_like, shape (n_samples,) or (n_samples, n_classes)
            Their labels, as in `fit`.
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
            As in `fit`, or if `y` has a label that is not among the classes, or for `class_weight` "balanced", early
            stopping or the schedule "cosine", which need to know what is still to come.
        """
        return self._partial_fit(X, y, partial_fit_classes(self, classes), sample_weight)

    def decision_function(self, X: ArrayLike) -> FloatArray:
        """Logits ``X @ coef_.T + intercept_``.

        Parameters
        ----------
        X : array_like or sparse matrix, shape (n_samples, n_features)
            The samples.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_classes)
            For two classes the log-odds of ``classes_[1]``, otherwise a logit for each class.
        """
        logits = self._logits(X)
        return logits[:, 0] if len(self.classes_) == 2 else logits

    def input_gradient(self, X: ArrayLike, y: ArrayLike) -> FloatArray:
        """Gradient of the loss of each sample with respect to the sample: ``d loss_i / d x_i = W^T (p_i - t_i)``.

        Parameters
        ----------
        X : array_like or sparse matrix, shape (n_samples, n_features)
            The samples.
        y : array_like, shape (n_samples,) or (n_samples, n_classes)
            Their labels, as in `fit`.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            A row for each sample, not divided by their number. `label_smoothing` and `gamma` have their part in the
            loss; the weights of classes, and penalties, have not.
        """
        return self._input_gradient(X, y)

    def _check_params(self) -> None:
        if callable(self.penalty):
            raise TypeError("penalty must be a name, got a function: a function of the logits is logit_penalty")
        super()._check_params()
        if self.penalty != "deprecated":
            write = {
                None: "C=inf",
                "l2": "l1_ratio=0, the default,",
                "l1": "l1_ratio=1",
                "elasticnet": f"l1_ratio={self.l1_ratio} alone",
            }[self.penalty]
            message = f"'penalty' was deprecated by scikit-learn: write {write} in place of penalty={self.penalty!r}."
            warnings.warn(message, FutureWarning, stacklevel=4)
            if self.penalty is None and self.C != 1.0:
                warnings.warn("Setting penalty=None will ignore the C", UserWarning, stacklevel=4)
        if self.l1_ratio is None:
            warnings.warn("'l1_ratio=None' was deprecated: write l1_ratio=0.", FutureWarning, stacklevel=4)

    def _penalties(self) -> tuple[float, float]:
        C, l1_ratio = super()._penalties()
        return (math.inf if self.penalty is None else C), {"l1": 1.0, "l2": 0.0}.get(str(self.penalty), l1_ratio)

    def _read(self, y: NDArray[Any], classes: ArrayLike | None, fresh: bool) -> tuple[NDArray[Any], NDArray[Any]]:
        return encode(y, classes, None if fresh else self.classes_)

    def _answers(self, part: Checked) -> Answers:
        return answers_of(part.y)

    def _join_answers(self, answers: dict[int, Answers], fresh: bool) -> tuple[NDArray[Any], NDArray[Any]]:
        return join_answers(answers), np.zeros(0, np.intp)

    def _balance(self, remote: Any, parts: Parts) -> None:
        if isinstance(self.class_weight, str):
            totals = parts.fold(partial(_totals_of_part, len(self.classes_)))
            remote.class_weight = dict(zip(self.classes_, balanced(totals), strict=True))

    def _objective(self, X: Any, target: NDArray[Any], sample_weight: FloatArray | None) -> Objective:
        n_classes, options, smoothing = len(self.classes_), {}, self.label_smoothing
        weight: FloatArray = np.ones(len(target)) if sample_weight is None else sample_weight
        class_weight = None if sample_weight is None else self.class_weight
        if target.ndim == 1 and n_classes > 2 and class_weight is None:
            options["label_smoothing"], smoothing = smoothing, 0.0  # the loss smooths the labels itself
        target, weight = weigh(target, self.classes_, class_weight, smoothing, weight)
        target = as_target(target, n_classes, X.dtype)
        n_outputs = 1 if n_classes == 2 else n_classes
        return Objective(X, target, weight, loss_of(n_classes, self.gamma), n_outputs, options)


def _totals_of_part(n_classes: int, part: tuple[Any, NDArray[Any], FloatArray]) -> FloatArray:
    """The total weight of each class."""
    _, target, weight = part
    return totals_of_classes(target, weight, n_classes)
