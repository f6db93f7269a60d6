"""What the linear classifiers share: fitting by either solver, step by step or at once, and their logits."""

import warnings
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from numbers import Real
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import Tags, check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from ..losses import FloatArray
from ..optim import SGD, constant, cosine, inverse_scaling, lipschitz
from .direction import logits_direction
from .objective import Objective, Penalty, l2_from_C
from .saving import SaveMixin
from .solvers import lbfgs, sgd_epoch
from .training import (
    CONSTRAINTS_OF_CLASSIFIERS,
    Callback,
    LossCurveMixin,
    Monitor,
    all_or_nothing,
    convergence_warning,
    has_stalled,
    hold_out,
    mean_one_factor,
)

__all__ = ["LinearClassifier", "trains_step_by_step"]


def trains_step_by_step(estimator: Any) -> bool:
    """Tell whether there is a `partial_fit`, in the words of scikit-learn's `MLPClassifier` if not."""
    if estimator.solver == "sgd":
        return True
    raise AttributeError(
        f"partial_fit is only available for stochastic optimizers. {estimator.solver} is not stochastic: "
        "solver='sgd' is."
    )


class LinearClassifier(SaveMixin, LossCurveMixin, ClassifierMixin, BaseEstimator):
    """A classifier whose logits are ``X @ coef_.T + intercept_``; `LogisticRegression` documents its parameters."""

    coef_: FloatArray
    intercept_: FloatArray
    classes_: NDArray[Any]
    _velocity: list[FloatArray]  # state of the optimiser, for the next call
    _step: int  # next step of the schedule
    _seen: NDArray[np.float64]  # number of samples and their total weight, for the penalty on the weights

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **CONSTRAINTS_OF_CLASSIFIERS,
        "C": [Interval(Real, 0, None, closed="right")],
        "penalty": [callable, None],
        "penalty_weight": [Interval(Real, 0, None, closed="left")],
        "solver": [StrOptions({"lbfgs", "sgd"})],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "schedule": [StrOptions({"constant", "invscaling", "cosine", "lipschitz"})],
        "power_t": [Interval(Real, 0, None, closed="left")],
    }

    # Set by the constructors below.
    C: float
    label_smoothing: float
    gamma: float
    penalty: Penalty | None
    penalty_weight: float
    solver: str
    max_iter: int
    tol: float | None
    learning_rate: float
    schedule: str
    power_t: float
    momentum: float
    nesterov: bool
    batch_size: int
    shuffle: bool
    early_stopping: bool
    validation_fraction: float
    n_iter_no_change: int
    warm_start: bool
    callbacks: Callback | Sequence[Callback] | None
    random_state: int | np.random.RandomState | None
    verbose: bool | None

    # ---------------------------------------------------------------------------------------- what the subclasses add

    @abstractmethod
    def _read(self, y: NDArray[Any], classes: ArrayLike | None, fresh: bool) -> tuple[NDArray[Any], NDArray[Any]]:
        """Tell the classes, those given or else those of `y`, and the target of the loss that `y` stands for.

        Unless `fresh`, they must be ``classes_``.
        """

    @abstractmethod
    def _objective(self, X: Any, target: NDArray[Any], sample_weight: FloatArray | None) -> Objective:
        """Loss of the samples by their weights and those of the classes; without either for None."""

    # ------------------------------------------------------------------------------------------------------- training

    def _fit(self, X: Any, y: Any, sample_weight: Any) -> Self:
        with all_or_nothing(self):
            self._check_params()
            fresh = not (self.warm_start and hasattr(self, "coef_"))
            rng = check_random_state(self.random_state)
            X, target, weight = self._check_data(X, y, sample_weight, classes=None, fresh=fresh)
            objective, held_out = self._objective(X, target, weight), None
            if self.early_stopping:
                labels = target if target.ndim == 1 else None
                train, test = hold_out(objective.sample_weight, self.validation_fraction, rng, labels)
                objective, held_out = objective.rows(train), objective.rows(test)
                held_out = held_out.scaled(mean_one_factor(len(test), held_out.total_weight()))
            objective = self._penalised(objective, seen=np.zeros(2))
            params = self._params(objective, fresh)
            self._step = 0

            by_lbfgs = self.solver == "lbfgs"
            with Monitor(
                self,
                params,
                total=self.max_iter,
                unit="iteration" if by_lbfgs else "epoch",
                verbose=self.verbose,
                callbacks=self.callbacks,
                validation_loss=None if held_out is None else lambda: held_out(*params)[0],
                penalty=lambda: 0.5 * float(objective.l2) * float(np.vdot(params[0], params[0])),
                stop=self._has_stalled if held_out is not None or not by_lbfgs else lambda curve: False,
            ) as monitor:
                if by_lbfgs:
                    self.__dict__.pop("_velocity", None)
                    failure = lbfgs(objective, params, monitor, max_iter=self.max_iter, tol=self.tol)
                else:
                    failure = self._sgd(objective, params, monitor, rng, fresh)
        if failure:
            warnings.warn(failure, ConvergenceWarning, stacklevel=3)
        return self

    def _partial_fit(self, X: Any, y: Any, classes: Any, sample_weight: Any) -> Self:
        with all_or_nothing(self):
            self._check_params()
            for option, value in [("early_stopping", True), ("schedule", "cosine")]:
                if getattr(self, option) == value:
                    raise ValueError(f"{option}={value!r} is not supported for partial_fit.")
            fresh = not hasattr(self, "coef_")
            if fresh:
                self._step, self._seen, self.loss_curve_ = 0, np.zeros(2), []
            elif classes is None:
                classes = self.classes_
            X, target, weight = self._check_data(X, y, sample_weight, classes=classes, fresh=fresh)
            objective = self._penalised(self._objective(X, target, weight), seen=self._seen)
            params = self._params(objective, fresh)
            epoch = self._epochs(objective, params, check_random_state(self.random_state), fresh)
            self.loss_curve_ = [*self.loss_curve_, epoch()]
            self.n_iter_ = len(self.loss_curve_)
        return self

    def _check_params(self) -> None:
        """Check each parameter by itself, and what does not go together."""
        self._validate_params()
        if self.penalty is not None and (self.solver == "sgd" or self.early_stopping):
            raise ValueError("penalty needs solver='lbfgs' and early_stopping=False: it is a function of all samples")

    def _check_data(
        self, X: Any, y: Any, sample_weight: Any, *, classes: Any, fresh: bool
    ) -> tuple[Any, NDArray[Any], FloatArray]:
        """Make samples, target and weights of what was given, checked in scikit-learn's ways and words."""
        dtype = [np.float64, np.float32] if fresh else self.coef_.dtype
        X, y = validate_data(self, X, y, dtype=dtype, accept_sparse="csr", multi_output=True, reset=fresh)
        self.classes_, target = self._read(y, classes, fresh)
        weight = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
        return X, target, weight

    def _penalised(self, objective: Objective, seen: NDArray[np.float64]) -> Objective:
        """Scale the weights to a mean of 1, so that they leave the size of a step alone, and add the penalties.

        `seen` is the number of samples in the calls before, and their total weight.
        """
        self._seen = seen + np.array([len(objective), objective.total_weight()])
        n, total = self._seen.tolist()
        return replace(
            objective.scaled(mean_one_factor(n, total)),
            l2=l2_from_C(self.C, total),
            penalty=self.penalty,
            penalty_weight=self.penalty_weight,
        )

    def _params(self, objective: Objective, fresh: bool) -> list[FloatArray]:
        """Make weights and intercepts of zero, or of what they are; arrays of their own in either case."""
        params = objective.zeros() if fresh else [self.coef_.copy(), self.intercept_.copy()]
        self.coef_, self.intercept_ = params
        return params

    def _sgd(
        self,
        objective: Objective,
        params: list[FloatArray],
        monitor: Monitor,
        rng: np.random.RandomState,
        fresh: bool,
    ) -> str | None:
        """Train by stochastic gradient descent, and tell what is to be complained of."""
        epoch = self._epochs(objective, params, rng, fresh)
        guessing = objective(*objective.zeros())[0]
        for _ in range(self.max_iter):
            if monitor(epoch()):
                break
        return convergence_warning(self, guessing=guessing, converged=monitor.stopped, learning_rate=self.learning_rate)

    def _epochs(
        self, objective: Objective, params: list[FloatArray], rng: np.random.RandomState, fresh: bool
    ) -> Callable[[], float]:
        """Return the function that trains for one epoch by stochastic gradient descent."""
        n_batches = -(-len(objective) // self.batch_size)
        if self.schedule == "constant":
            schedule = constant(self.learning_rate)
        elif self.schedule == "invscaling":
            schedule = inverse_scaling(self.learning_rate, power=self.power_t)
        elif self.schedule == "cosine":
            schedule = cosine(self.learning_rate, n_steps=n_batches * self.max_iter)
        else:
            schedule = lipschitz(objective.lipschitz_constant(in_batches=n_batches > 1))
        optimizer = SGD(
            params,
            learning_rate=schedule(0),
            momentum=self.momentum,
            nesterov=self.nesterov,
            weight_decay=[float(objective.l2), 0.0],
        )
        optimizer.n_steps = self._step
        if not fresh and hasattr(self, "_velocity"):
            optimizer.velocity = [velocity.copy() for velocity in self._velocity]
        self._velocity = optimizer.velocity

        def epoch() -> float:
            order = rng if self.shuffle else None
            loss = sgd_epoch(objective, optimizer, schedule=schedule, batch_size=self.batch_size, rng=order)
            self._step = optimizer.n_steps
            return loss

        return epoch

    def _has_stalled(self, curve: list[float]) -> bool:
        return has_stalled(curve, self.tol, self.n_iter_no_change)

    # ------------------------------------------------------------------------------------------------------ predicting

    def _logits(self, X: Any) -> FloatArray:
        check_is_fitted(self)
        samples = validate_data(self, X, dtype=[np.float64, np.float32], accept_sparse="csr", reset=False)
        logits: FloatArray = samples @ self.coef_.T + self.intercept_
        return logits

    def _input_gradient(self, X: Any, y: Any) -> FloatArray:
        check_is_fitted(self)
        X, y = validate_data(
            self, X, y, dtype=[np.float64, np.float32], accept_sparse="csr", multi_output=True, reset=False
        )
        _, target = self._read(y, self.classes_, fresh=False)
        return self._objective(X, target, None).input_gradient(self.coef_, self.intercept_)

    def input_direction(self, X: ArrayLike, y: ArrayLike) -> FloatArray:
        """Direction in which the loss of each sample rises most: `input_gradient`, but for a positive factor a row.

        Parameters
        ----------
        X : array_like or sparse matrix, shape (n_samples, n_features)
            The samples.
        y : array_like or sparse matrix
            What is to be told of them, as in `fit`.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            In double precision, the gradient to the logits divided by its largest entry on the way. It does not
            underflow, however sure the answer is: a row of zeros is a loss that has no slope.

        See Also
        --------
        xentrs.attacks.fgsm, xentrs.attacks.pgd : what it is good for.
        """
        check_is_fitted(self)
        samples, given = validate_data(
            self, X, y, dtype=np.float64, accept_sparse="csr", multi_output=True, reset=False
        )
        _, target = self._read(given, self.classes_, fresh=False)
        objective = self._objective(samples, target, None)
        weight, options = self.coef_.astype(np.float64), {"gamma": self.gamma} | objective.options
        logits = samples @ weight.T + self.intercept_
        direction: FloatArray = logits_direction(objective.loss_with_grad, logits, objective.target, **options) @ weight
        return direction

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags
