"""What the linear classifiers share: fitting by either solver, step by step or at once, and their logits."""

from __future__ import annotations

import math
import warnings
from abc import abstractmethod
from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from functools import partial
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_matrix, issparse
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import Tags
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.extmath import safe_sparse_dot
from sklearn.utils.validation import check_is_fitted

from .._blas import blas_threads_for
from .._seeds import Seed, random_state_of
from ..losses import FloatArray
from ..optim import SGD, constant, cosine, inverse_scaling, lipschitz
from ..optim.schedules import Schedule
from .convergence import end_of_linear_steps, overflow_of_features, overflow_of_linear_steps
from .direction import logits_direction
from .objective import LogitPenalty, Objective, l2_from_C
from .parts import Parts, ProblemOfParts, check_part, remote_copy, summarise_part, survey_parts
from .saving import SaveMixin
from .solvers import excess, lbfgs, newton_cholesky, sgd_epoch
from .standardised import SplitBySign, Standardised, StandardisedProblem
from .training import (
    CONSTRAINTS_OF_CLASSIFIERS,
    Callback,
    LossCurveMixin,
    Monitor,
    all_or_nothing,
    has_stalled,
    hold_out,
    mean_one_factor,
    read_sample_weight,
    read_samples,
)

__all__ = ["LinearClassifier", "trains_step_by_step"]


_WHY_NOT_IN_PARTS = {
    "solver": "it takes a step a batch, one after the other; 'newton-cholesky' works too",
    "early_stopping": "all samples are trained on",
    "logit_penalty": "it is a function of the logits of all samples",
}


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
    _velocity: list[FloatArray]  # state of the optimiser, for the next call, in units of the features
    _step: int  # next step of the schedule
    _seen: NDArray[np.float64]  # number of samples and their total weight, for the penalty on the weights

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **CONSTRAINTS_OF_CLASSIFIERS,
        "C": [Interval(Real, 0, None, closed="right")],
        "l1_ratio": [Interval(Real, 0, 1, closed="both"), None],
        "fit_intercept": ["boolean"],
        "logit_penalty": [callable, None],
        "logit_penalty_weight": [Interval(Real, 0, None, closed="left")],
        "solver": [StrOptions({"lbfgs", "newton-cholesky", "sgd"})],
        "max_iter": [Interval(Integral, 0, None, closed="left")],
        "learning_rate": [Interval(Real, 0, None, closed="neither"), StrOptions({"auto"})],
        "schedule": [StrOptions({"auto", "constant", "invscaling", "cosine", "lipschitz"})],
        "power_t": [Interval(Real, 0, None, closed="left")],
    }

    # Set by the constructors below.
    C: float
    l1_ratio: float | None
    fit_intercept: bool
    label_smoothing: float
    gamma: float
    logit_penalty: LogitPenalty | None
    logit_penalty_weight: float
    solver: str
    max_iter: int
    tol: float | None
    learning_rate: float | str
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
    random_state: Seed
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

    @abstractmethod
    def _answers(self, part: Any) -> Any:
        """Tell what a checked part says of the classes."""

    @abstractmethod
    def _join_answers(self, answers: dict[int, Any], fresh: bool) -> tuple[NDArray[Any], NDArray[Any]]:
        """Make the classes of what all parts say, and a target of no samples."""

    @abstractmethod
    def _balance(self, remote: Any, parts: Parts) -> None:
        """Give the copy for the parts the weights of classes that "balanced" stands for."""

    # ------------------------------------------------------------------------------------------------------- training

    @property
    def n_iter_(self) -> NDArray[np.int32]:
        """The number of iterations or epochs, in an array, as scikit-learn has it."""
        return np.array([len(self.loss_curve_)], np.int32)

    @n_iter_.setter
    def n_iter_(self, count: int) -> None:
        """Leave it to the curve, also where `Monitor` counts."""

    def _fit(self, X: Any, y: Any, sample_weight: Any) -> Self:
        with all_or_nothing(self):
            self._check_params()
            fresh = self._is_fresh()
            rng = random_state_of(self.random_state)
            X, target, weight = self._check_data(X, y, sample_weight, classes=None, fresh=fresh, may_be_idle=False)
            objective, held_out = self._objective(X, target, weight), None
            if self.early_stopping:
                labels = target if target.ndim == 1 else None
                train, test = hold_out(objective.sample_weight, self.validation_fraction, rng, labels)
                objective, held_out = objective.rows(train), objective.rows(test)
                held_out = held_out.scaled(mean_one_factor(len(test), held_out.total_weight()))
            objective = self._penalised(objective, seen=np.zeros(2))
            problem = Standardised(objective, fit_intercept=self.fit_intercept)
            failure = self._train(problem, objective, rng, fresh, held_out)
        if failure:
            warnings.warn(failure, ConvergenceWarning, stacklevel=3)
        return self

    def _fit_parts(self, parts: Parts) -> Self:
        """`fit` of samples that lie in parts: see `xentrs.distributed.fit`."""
        with all_or_nothing(self):
            self._check_params()
            for option, allowed in [("solver", "lbfgs"), ("early_stopping", False), ("logit_penalty", None)]:
                if (given := getattr(self, option)) != allowed and given != "newton-cholesky":
                    raise ValueError(
                        f"{option} must be {allowed!r} for samples in parts, got {given!r}: {_WHY_NOT_IN_PARTS[option]}"
                    )

            # 1. What the parts hold.
            fresh = self._is_fresh()
            remote = remote_copy(self)
            dtype = [np.float64, np.float32] if fresh else self.coef_.dtype
            parts, dtype, answers = survey_parts(self, parts.keep(partial(check_part, remote, dtype, fresh)))
            classes, no_target = self._join_answers(answers, fresh)
            parts = parts.keep(partial(_read_part, remote, classes, dtype, fresh))
            remote.classes_ = self.classes_ = classes
            self._balance(remote, parts)

            # 2. The objective, of no samples here.
            nothing = np.zeros((0, self.n_features_in_), dtype)
            objective = remote._objective(nothing, no_target, np.zeros(0))
            if hasattr(remote, "pos_weight_"):
                self.pos_weight_ = remote.pos_weight_
            parts = parts.keep(partial(_objective_of_part, remote))
            summary = parts.fold(summarise_part)
            factor = mean_one_factor(summary.rows, summary.moments.weight)
            self._seen = np.array([summary.rows, summary.moments.weight])
            objective = replace(objective, **self._penalty(summary.moments.weight))

            # 3. The search, which is here.
            problem = ProblemOfParts(parts, summary, objective, factor, fit_intercept=self.fit_intercept)
            del parts  # and the memory that what the problem was made of takes
            failure = self._train(problem, objective, np.random.RandomState(0), fresh)
        if failure:
            warnings.warn(failure, ConvergenceWarning, stacklevel=4)
        return self

    def _is_fresh(self) -> bool:
        """Whether a fit begins from nothing."""
        return not (self.warm_start and hasattr(self, "coef_"))

    def _train(
        self,
        problem: StandardisedProblem,
        objective: Objective,
        rng: np.random.RandomState,
        fresh: bool,
        held_out: Objective | None = None,
    ) -> str | None:
        """Minimise, and tell what is to be complained of."""
        params = self._params(objective, fresh)
        self._step = 0
        by_steps = self.solver == "sgd"
        if not by_steps:
            self.__dict__.pop("_velocity", None)
        n, n_features = objective.X.shape
        with (
            blas_threads_for(n, n_features, objective.n_outputs),
            Monitor(
                self,
                params,
                total=self.max_iter,
                unit="epoch" if by_steps else "iteration",
                verbose=self.verbose,
                callbacks=self.callbacks,
                validation_loss=None if held_out is None else lambda: held_out(*params)[0],
                penalty=lambda: objective.weight_penalty(params[0]),
                stop=self._has_stalled if held_out is not None or self._may_stall() else lambda curve: False,
            ) as monitor,
        ):
            if by_steps:
                assert isinstance(problem, Standardised)
                return self._sgd(problem, params, monitor, rng, fresh)
            if self.solver == "newton-cholesky":
                return newton_cholesky(problem, params, monitor, max_iter=self.max_iter, tol=self.tol)
            smooth = SplitBySign(problem) if objective.l1 else problem
            return lbfgs(smooth, params, monitor, max_iter=self.max_iter, tol=self.tol)

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
            X, target, weight = self._check_data(X, y, sample_weight, classes=classes, fresh=fresh, may_be_idle=True)
            objective = self._objective(X, target, weight)
            if objective.total_weight() == 0:  # there is nothing to learn
                if fresh:
                    self._params(objective, fresh)
                return self
            objective = self._penalised(objective, seen=self._seen)
            params = self._params(objective, fresh)
            optimizer = self._optimizer(params, self._velocity_of(params, fresh), float(objective.l2))
            schedule = self._schedule(objective, float(objective.l2), endless=True)
            order = random_state_of(self.random_state) if self.shuffle else None
            loss = sgd_epoch(objective, optimizer, schedule, self.batch_size, order)
            if not math.isfinite(loss):
                raise ValueError(overflow_of_linear_steps(float(schedule(0)), standardised=False))
            self._step = optimizer.n_steps
            self.loss_curve_ = [*self.loss_curve_, loss]
        return self

    def _check_params(self) -> None:
        """Check each parameter by itself, and what does not go together."""
        self._validate_params()
        if self.logit_penalty is not None and (self.solver != "lbfgs" or self.early_stopping):
            raise ValueError(
                "logit_penalty needs solver='lbfgs' and early_stopping=False: it is a function of all samples"
            )
        if self._penalties()[1] and self.solver != "lbfgs":
            raise ValueError(f"l1_ratio={self._penalties()[1]:g} needs solver='lbfgs', got {self.solver!r}")
        if self.gamma and self.solver == "newton-cholesky":
            raise ValueError(f"solver='newton-cholesky' needs gamma=0.0, got {self.gamma}")

    def _check_data(
        self, X: Any, y: Any, sample_weight: Any, *, classes: Any, fresh: bool, may_be_idle: bool
    ) -> tuple[Any, NDArray[Any], FloatArray]:
        """Make samples, target and weights of what was given, checked in scikit-learn's ways and words."""
        dtype = [np.float64, np.float32] if fresh else self.coef_.dtype
        X, y = self._check_arrays(X, y, dtype, reset=fresh)
        self.classes_, target = self._read(y, classes, fresh)
        idle = may_be_idle and sample_weight is not None and not np.any(sample_weight)
        given = np.ones(np.shape(sample_weight)) if idle else sample_weight  # scikit-learn refuses nothing but zeros
        weight = read_sample_weight(given, X)
        return X, target, 0 * weight if idle else weight

    def _penalties(self) -> tuple[float, float]:
        """Inverse strength of the penalty on the weights, and the share in it of their absolute values."""
        return self.C, self.l1_ratio or 0.0

    def _check_arrays(self, X: Any, y: Any, dtype: Any, *, reset: bool) -> tuple[Any, Any]:
        """Make arrays of samples and labels, as many of these as of those."""
        checked: tuple[Any, Any] = read_samples(self, X, y, dtype=dtype, multi_output=True, reset=reset)
        return checked

    def _penalised(self, objective: Objective, seen: NDArray[np.float64]) -> Objective:
        """Scale the weights to a mean of 1, so that they leave the size of a step alone, and add the penalties.

        `seen` is the number of samples in the calls before, and their total weight.
        """
        self._seen = seen + np.array([len(objective), objective.total_weight()])
        n, total = self._seen.tolist()
        return replace(
            objective.scaled(mean_one_factor(n, total)),
            **self._penalty(total),
            logit_penalty=self.logit_penalty,
            logit_penalty_weight=self.logit_penalty_weight,
        )

    def _penalty(self, total: float) -> dict[str, Any]:
        """The strength of the penalties on the weights, where the samples weigh so much."""
        C, l1_ratio = self._penalties()
        strength = l2_from_C(C, total)
        return {"l2": (1 - l1_ratio) * strength, "l1": l1_ratio * strength}

    def _params(self, objective: Objective, fresh: bool) -> list[FloatArray]:
        """Make weights and intercepts of zero, or of what they are; arrays of their own in either case."""
        params = objective.zeros() if fresh else [_dense(self.coef_).copy(), self.intercept_.copy()]
        self.coef_, self.intercept_ = params
        return params

    def _velocity_of(self, params: list[FloatArray], fresh: bool) -> list[FloatArray]:
        """Make the velocity zero, or what it is; arrays of their own in either case."""
        kept = [] if fresh else getattr(self, "_velocity", [])
        self._velocity = [velocity.copy() for velocity in kept] or [np.zeros_like(param) for param in params]
        return self._velocity

    def _sgd(
        self,
        problem: Standardised,
        params: list[FloatArray],
        monitor: Monitor,
        rng: np.random.RandomState,
        fresh: bool,
    ) -> str | None:
        """Train by stochastic gradient descent, and tell what is to be complained of."""
        velocity = self._velocity_of(params, fresh)
        inner = problem.copies(*params)
        optimizer = self._optimizer(inner, problem.copies(*velocity), problem.decay)
        schedule = self._schedule(problem.samples, float(problem.decay.max()), problem.shift)
        order = rng if self.shuffle else None
        start = problem(problem.state(*params))[0]
        for _ in range(self.max_iter):
            loss = sgd_epoch(problem.samples, optimizer, schedule, self.batch_size, order, problem.shift)
            if not math.isfinite(loss):
                raise ValueError(overflow_of_linear_steps(float(schedule(0)), standardised=True))
            problem.write(problem.join(*inner), *params)
            problem.write(problem.join(*optimizer.velocity), *velocity)
            self._step = optimizer.n_steps
            if monitor(loss):
                break
        if self.tol is None or not self.max_iter:
            return None
        stalled = monitor.stopped or not self._may_stall()
        asked = self.early_stopping or (monitor.stopped and not self._has_stalled(self.loss_curve_))
        return end_of_linear_steps(
            self,
            start=start,
            guessing=problem(np.zeros_like(problem.lower))[0],
            converged=stalled,
            learning_rate=float(schedule(0)),
            excess=0.0 if asked else excess(problem, params, min(20, 5 + self.max_iter // 5)),
        )

    def _optimizer(self, params: list[FloatArray], velocity: list[FloatArray], decay: float | FloatArray) -> SGD:
        """Make the rule of the step, in the state that the last call has left."""
        params = params if self.fit_intercept else params[:1]
        optimizer = SGD(
            params, momentum=self.momentum, nesterov=self.nesterov, weight_decay=[decay, 0.0][: len(params)]
        )
        optimizer.velocity, optimizer.n_steps = velocity[: len(params)], self._step
        return optimizer

    def _schedule(
        self, samples: Objective, decay: float, shift: FloatArray | None = None, *, endless: bool = False
    ) -> Schedule:
        """Tell the length of each step."""
        n_batches = -(-len(samples) // self.batch_size)
        with np.errstate(over="ignore", invalid="ignore"):
            of_rows = samples.smoothness_of_rows(shift)
        if not np.isfinite(of_rows).all():
            raise ValueError(overflow_of_features(samples.X) or "The loss overflows. Lower pos_weight.")
        if self.schedule == "lipschitz":
            if not samples.kind_of_loss or self.logit_penalty is not None:
                raise ValueError(
                    "schedule='lipschitz' needs a loss of bounded curvature: gamma=0.0, and no logit_penalty"
                )
            bound = samples.smoothness(shift) if n_batches == 1 else float(of_rows.max())
            return lipschitz(bound + decay)
        rate = self.learning_rate
        if isinstance(rate, str):  # the curvature of all samples, and what a batch has beyond it on average
            bound = samples.smoothness(shift)
            if n_batches > 1:
                bound += float(of_rows.mean()) / self.batch_size
            rate = 1 / (bound + decay)
        if self.schedule == "invscaling":
            return inverse_scaling(rate, power=self.power_t)
        if self.schedule == "constant" or (self.schedule == "auto" and endless):
            return constant(rate)
        return cosine(rate, n_steps=n_batches * max(self.max_iter, 1))

    def _may_stall(self) -> bool:
        """Whether `tol` ends the training: not that of L-BFGS, and not a schedule that has an end of its own."""
        return self.solver == "sgd" and self.schedule not in ("auto", "cosine")

    def _has_stalled(self, curve: list[float]) -> bool:
        return has_stalled(curve, self.tol, self.n_iter_no_change)

    # ------------------------------------------------------------------------------------------------------ predicting

    def _logits(self, X: Any) -> FloatArray:
        check_is_fitted(self)
        samples = read_samples(self, X, dtype=[np.float64, np.float32], reset=False)
        logits: FloatArray = safe_sparse_dot(samples, self.coef_.T, dense_output=True) + self.intercept_
        return logits

    def sparsify(self) -> Self:
        """Turn `coef_` into a sparse matrix: less memory where most of its numbers are 0, as after ``l1_ratio=1``.

        Returns
        -------
        estimator
            The estimator itself. It predicts as before; `fit` and `partial_fit` make `coef_` an array again.
        """
        check_is_fitted(self)
        self.coef_ = csr_matrix(self.coef_)
        return self

    def densify(self) -> Self:
        """Turn `coef_` into an array, which it is unless `sparsify` was called.

        Returns
        -------
        estimator
            The estimator itself.
        """
        check_is_fitted(self)
        self.coef_ = _dense(self.coef_)
        return self

    def _input_gradient(self, X: Any, y: Any) -> FloatArray:
        check_is_fitted(self)
        X, y = self._check_arrays(X, y, [np.float64, np.float32], reset=False)
        _, target = self._read(y, self.classes_, fresh=False)
        return self._objective(X, target, None).input_gradient(_dense(self.coef_), self.intercept_)

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
        samples, given = self._check_arrays(X, y, np.float64, reset=False)
        _, target = self._read(given, self.classes_, fresh=False)
        objective = self._objective(samples, target, None)
        weight, options = _dense(self.coef_).astype(np.float64), {"gamma": self.gamma} | objective.options
        logits = samples @ weight.T + self.intercept_
        direction: FloatArray = logits_direction(objective.loss_with_grad, logits, objective.target, **options) @ weight
        return direction

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


def _dense(coef: Any) -> FloatArray:
    """The coefficients as an array, which they are unless `sparsify` was called."""
    array: FloatArray = coef.toarray() if issparse(coef) else coef
    return array


def _read_part(model: Any, classes: NDArray[Any], dtype: Any, fresh: bool, part: Any) -> tuple[Any, Any, Any]:
    """Samples of the dtype of all, target and weights of a checked part."""
    return part.X.astype(dtype, copy=False), copy(model)._read(part.y, classes, fresh)[1], part.weight


def _objective_of_part(model: Any, part: tuple[Any, Any, Any]) -> Objective:
    objective: Objective = copy(model)._objective(*part)
    return objective
