"""Linear regression that predicts how sure it is."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from functools import partial
from numbers import Real
from typing import Any, ClassVar, Literal, Self, cast, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import Tags
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import check_is_fitted

from .._calls import readable_constructor
from ..losses import FloatArray, LossGrad, LossGradHess, gaussian_nll_with_grad
from .objective import Objective, l2_from_C
from .parts import Checked, Parts, ProblemOfParts, check_part, remote_copy, summarise_part, survey_parts
from .saving import SaveMixin
from .solvers import lbfgs
from .standardised import Moments, Standardised, StandardisedProblem
from .training import (
    CONSTRAINTS,
    Callback,
    LossCurveMixin,
    Monitor,
    all_or_nothing,
    mean_one_factor,
    read_sample_weight,
    read_samples,
    total_weight,
)

__all__ = ["GaussianRegressor"]

# The search for the start is over after so many iterations, or where no derivative is larger: it need not be exact.
STEPS_TO_START, CLOSE = 50, 1e-3


class GaussianRegressor(SaveMixin, LossCurveMixin, RegressorMixin, BaseEstimator):
    """Linear regression of the mean and of the logarithm of the variance, by maximum likelihood.

    A sample ``x`` has the Gaussian of mean ``m`` and variance ``v``::

        m = w x + b                 w = coef_,          b = intercept_
        ln v = u x + a              u = log_var_coef_,  a = log_var_intercept_

    so that noise may differ from sample to sample. What is minimised is the mean `gaussian_nll` plus a penalty::

        sum_i s_i loss(m_i, v_i, y_i) / n + (||w / r||^2 + ||u||^2) / (2 C n)       n = sum_i s_i

    where the sample weights ``s`` are 1 unless given, and ``r`` is the standard deviation of `y`, by these weights. So
    the units of `y` make no difference: ``a y + b`` has the means ``a m + b`` and the variances ``a^2 v``. Those of the
    features do, as in `LogisticRegression`: standardise them, or set `C` to inf.

    Parameters
    ----------
    C : float, default 10.0
        Inverse strength of the penalty; inf stands for none. The default is weak enough for features of a spread of
        0.05, such as scikit-learn's diabetes data.
    max_iter : int, default 1000
        The most iterations that `fit` makes.
    tol : float or None, default 1e-4
        `fit` stops when no derivative of the objective is larger, features and `y` being standardised. None never
        stops.
    warm_start : bool, default False
        Whether `fit` goes on from where the last call ended.
    callbacks, verbose
        As in `LogisticRegression`.

    Attributes
    ----------
    coef_, log_var_coef_ : ndarray of shape (n_features,)
        The weights ``w`` and ``u``, float32 if `X` was float32.
    intercept_, log_var_intercept_ : float
        The intercepts ``b`` and ``a``.
    loss_curve_ : list of float
        The objective in nats after each iteration.
    n_iter_ : int
        The number of iterations.
    n_features_in_ : int
        The number of features.
    feature_names_in_ : ndarray of shape (n_features,)
        Their names, if `X` was a data frame.

    See Also
    --------
    xentrs.gaussian_nll_with_grad : the loss.
    sklearn.linear_model.Ridge : the means alone.

    Notes
    -----
    The objective is not convex in the weights of mean and variance together. As in [1]_ the means come first: `fit`
    starts from ridge regression, and from the variance of what that leaves. Mean and variance together are then trained
    by L-BFGS.

    Where a line goes through all of `y`, as with more features than samples, the likelihood grows without bound as the
    variance falls, and a fit means little. The variance of a mean sample stays above the rounding errors of `y` even
    then. A `y` that is always the same has no standard deviation, and is measured by its magnitude.

    Inside, features are centred and scaled, so that features in any unit (kelvins, prices, seconds since 1970) lead to
    the minimum; the objective is the one above.

    `X` may be sparse, and `fit` is all or nothing, as in `LogisticRegression`.

    References
    ----------
    .. [1] D. A. Nix and A. S. Weigend, "Estimating the Mean and Variance of the Target Probability Distribution",
       ICNN 1994. https://doi.org/10.1109/ICNN.1994.374138

    Examples
    --------
    Noise that grows with ``x``:

    >>> import numpy as np
    >>> from xentrs.models import GaussianRegressor
    >>> rng = np.random.default_rng(0)
    >>> X = rng.uniform(0, 4, size=(1000, 1))
    >>> y = 3 * X[:, 0] + rng.normal(scale=np.exp(X[:, 0] / 2 - 1))
    >>> model = GaussianRegressor().fit(X, y)
    >>> mean, std = model.predict([[0.0], [2.0], [4.0]], return_std=True)
    >>> mean.round(1), std.round(1)
    (array([ 0. ,  6. , 11.9]), array([0.4, 1. , 2.7]))
    """

    coef_: FloatArray
    intercept_: float
    log_var_coef_: FloatArray
    log_var_intercept_: float

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **CONSTRAINTS,
        "C": [Interval(Real, 0, None, closed="right")],
    }

    @readable_constructor
    def __init__(
        self,
        *,
        C: float = 10.0,
        max_iter: int = 1000,
        tol: float | None = 1e-4,
        warm_start: bool = False,
        callbacks: Callback | Sequence[Callback] | None = None,
        verbose: bool | None = None,
    ) -> None:
        self.C = C
        self.max_iter = max_iter
        self.tol = tol
        self.warm_start = warm_start
        self.callbacks = callbacks
        self.verbose = verbose

    def fit(self, X: Any, y: Any, sample_weight: ArrayLike | None = None) -> Self:
        """Train until the minimum is reached, for `max_iter` iterations at most.

        Parameters
        ----------
        X : array_like or sparse matrix, shape (n_samples, n_features)
            The samples. float32 is trained in float32, everything else in float64.
        y : array_like, shape (n_samples,)
            The numbers to predict.
        sample_weight : array_like, shape (n_samples,), optional
            Non-negative weight ``s_i`` of each sample.

        Returns
        -------
        GaussianRegressor
            The estimator itself.

        Raises
        ------
        ValueError
            If a parameter, `X`, `y` or a weight is not as described here, or the loss overflows.

        Warns
        -----
        ConvergenceWarning
            If `max_iter` iterations were not enough.
        """
        with all_or_nothing(self):
            # 1. The arguments, checked as scikit-learn checks them.
            self._validate_params()
            fresh = not (self.warm_start and hasattr(self, "coef_"))
            dtype = [np.float64, np.float32] if fresh else self.coef_.dtype
            X, y = self._check_arrays(X, y, dtype, reset=fresh)
            weight = read_sample_weight(sample_weight, X)
            total = total_weight(weight)
            weight = weight * mean_one_factor(len(y), total)

            # 2. Standardise y: z = (y - center) / spread. That takes the constant ln spread from the objective.
            units = _center_and_spread(y[weight > 0], weight[weight > 0])
            _check_units(*units, X.dtype)
            objective = _objective(*units, l2_from_C(self.C, total), X, y, weight)
            problem = Standardised(objective, lowest=_lowest(X.dtype))
            message = self._train(problem, objective.zeros(), units, fresh)
        if message:
            warnings.warn(message, ConvergenceWarning, stacklevel=2)
        return self

    def _fit_parts(self, parts: Parts) -> Self:
        """`fit` of samples that lie in parts: see `xentrs.distributed.fit`."""
        with all_or_nothing(self):
            # 1. The arguments, and what the parts hold.
            self._validate_params()
            fresh = not (self.warm_start and hasattr(self, "coef_"))
            dtype = [np.float64, np.float32] if fresh else self.coef_.dtype
            checked = parts.keep(partial(check_part, remote_copy(self), dtype, fresh))
            parts, dtype, ends = survey_parts(self, checked)
            total = parts.fold(_weight_of_part)
            mean_one_factor(1, total)  # which refuses samples without weight
            least, most = min(low for low, _ in ends.values()), max(high for _, high in ends.values())

            # 2. Standardise y.
            size = max(abs(least), abs(most)) / 2  # of which differences are finite
            if least == most:
                units = least, abs(least) or 1.0
            else:
                moments = parts.fold(partial(_moments_of_part, size))
                units = size * float(moments.mean[0]), size * math.sqrt(moments.variance[0])
            _check_units(*units, dtype)
            l2 = l2_from_C(self.C, total)
            parts = parts.keep(partial(_objective_of_part, units, l2, dtype))
            summary = parts.fold(summarise_part)
            factor = mean_one_factor(summary.rows, summary.moments.weight)
            objective = _objective(*units, l2, np.zeros((0, self.n_features_in_), dtype), *np.zeros((2, 0)))

            # 3. The search, which is here.
            problem = ProblemOfParts(parts, summary, objective, factor, lowest=_lowest(dtype))
            del checked, parts  # and the memory that what the problem was made of takes
            message = self._train(problem, objective.zeros(), units, fresh)
        if message:
            warnings.warn(message, ConvergenceWarning, stacklevel=4)
        return self

    def _train(
        self, problem: StandardisedProblem, params: list[FloatArray], units: tuple[float, float], fresh: bool
    ) -> str | None:
        """Minimise, for a `y` of this center and spread, and tell what is to be complained of."""
        (slopes, offsets), (center, spread) = params, units
        log_spread = float(np.log(spread))
        if not fresh:
            slopes[:] = self.coef_ / spread, self.log_var_coef_
            offsets[:] = (self.intercept_ - center) / spread, self.log_var_intercept_ - 2 * log_spread
        else:
            _start(problem, params)

        def tell(*_: object) -> None:
            """Bring what was learnt back to the units of y."""
            self.coef_, self.log_var_coef_ = spread * slopes[0], slopes[1].copy()
            self.intercept_ = float(spread * offsets[0] + center)
            self.log_var_intercept_ = float(offsets[1] + 2 * log_spread)

        # L-BFGS; the variance of a mean sample is kept above the squared rounding error of y.
        with _Monitor(
            self,
            params,
            total=self.max_iter,
            unit="iteration",
            verbose=self.verbose,
            callbacks=self.callbacks,
            publish=tell,
        ) as monitor:
            monitor.constant = log_spread
            message = lbfgs(problem, params, monitor, max_iter=self.max_iter, tol=self.tol)
            tell()
        return message

    def _check_arrays(self, X: Any, y: Any, dtype: Any, *, reset: bool) -> tuple[Any, NDArray[np.float64]]:
        """Make arrays of samples and of the numbers to predict."""
        X, y = read_samples(self, X, y, dtype=dtype, y_numeric=True, reset=reset)
        return X, _as_numbers(y)

    def _answers(self, part: Checked) -> tuple[float, float]:
        """Tell the least and the largest `y` of the samples that have weight."""
        y = part.y[part.weight > 0]
        return float(y.min(initial=np.inf)), float(y.max(initial=-np.inf))

    @overload
    def predict(self, X: ArrayLike, return_std: Literal[False] = False) -> FloatArray: ...

    @overload
    def predict(self, X: ArrayLike, return_std: Literal[True]) -> tuple[FloatArray, FloatArray]: ...

    def predict(self, X: ArrayLike, return_std: bool = False) -> FloatArray | tuple[FloatArray, FloatArray]:
        """Mean of each sample and, when asked, its standard deviation.

        Parameters
        ----------
        X : array_like or sparse matrix, shape (n_samples, n_features)
            The samples.
        return_std : bool, default False
            Whether to return the standard deviations too.

        Returns
        -------
        ndarray of shape (n_samples,), or a pair of such
            The means, or means and standard deviations, in the units of `y`.
        """
        mean, log_var = self._mean_and_log_var(X)
        with np.errstate(over="ignore"):  # the standard deviation may be infinite far from all samples
            return (mean, np.exp(0.5 * log_var)) if return_std else mean

    def input_gradient(self, X: ArrayLike, y: ArrayLike) -> FloatArray:
        """Gradient of the loss of each sample with respect to the sample.

        With the residual ``r = (y - m) / sqrt(v)`` it is ``-(r / sqrt(v)) w + (1 - r^2) u / 2``.

        Parameters
        ----------
        X : array_like or sparse matrix, shape (n_samples, n_features)
            The samples.
        y : array_like, shape (n_samples,)
            The numbers to predict.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            A row for each sample, not divided by their number. Penalties have no part in it.
        """
        return self._gradient(X, y, [np.float64, np.float32])

    def input_direction(self, X: ArrayLike, y: ArrayLike) -> FloatArray:
        """Direction in which the loss of each sample rises most: `input_gradient` in double precision.

        Parameters
        ----------
        X : array_like or sparse matrix, shape (n_samples, n_features)
            The samples.
        y : array_like, shape (n_samples,)
            The numbers to predict.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            A row for each sample, which does not underflow where single precision would.
        """
        return self._gradient(X, y, np.float64)

    def _gradient(self, X: Any, y: Any, dtype: Any) -> FloatArray:
        check_is_fitted(self)
        X, y = self._check_arrays(X, y, dtype, reset=False)
        mean, log_var = self._moments(X)
        _, pull, widen = gaussian_nll_with_grad(mean, y, log_var=log_var, reduction="sum")
        grad: FloatArray = np.column_stack([pull, widen]) @ np.stack([self.coef_, self.log_var_coef_])
        return grad

    def _mean_and_log_var(self, X: Any) -> tuple[FloatArray, FloatArray]:
        check_is_fitted(self)
        return self._moments(read_samples(self, X, dtype=[np.float64, np.float32], reset=False))

    def _moments(self, samples: Any) -> tuple[FloatArray, FloatArray]:
        return (
            samples @ self.coef_ + samples.dtype.type(self.intercept_),
            samples @ self.log_var_coef_ + samples.dtype.type(self.log_var_intercept_),
        )

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


class _Means:
    """The problem of the means alone, at the variance that `y` has: ridge regression."""

    def __init__(self, problem: StandardisedProblem) -> None:
        self._problem = problem
        self._rest = problem.lower.size // 2
        self.lower = problem.lower[: self._rest]

    def __call__(self, state: FloatArray) -> tuple[float, FloatArray]:
        """Value and gradient."""
        value, grad = self._problem(self.whole(state, 0.0))
        return value, grad[: self._rest]

    def units(self, state: FloatArray) -> FloatArray:
        """Those of the means."""
        return self._problem.units(self.whole(state, 0.0))[: self._rest]

    def state(self, weight: FloatArray, bias: FloatArray) -> FloatArray:
        """The part of the means."""
        return self._problem.state(weight, bias)[: self._rest]

    def write(self, state: FloatArray, weight: FloatArray, bias: FloatArray) -> None:
        """Write the means."""
        self._problem.write(self.whole(state, 0.0), weight, bias)

    def whole(self, means: FloatArray, log_var: float) -> FloatArray:
        """The vector of the whole problem, where all variances are the same."""
        whole: FloatArray = np.append(means, np.zeros(self._rest))
        whole[-1] = log_var
        return whole


class _Start:
    """What a search for the start tells its iterations to."""

    stopped = False

    def __call__(self, loss: float) -> bool:
        return False


def _start(problem: StandardisedProblem, params: list[FloatArray]) -> None:
    """Start from the means of ridge regression, and the variance of what they leave, the same for all samples."""
    means, quiet = _Means(problem), cast(Monitor, _Start())
    lbfgs(means, params, quiet, max_iter=STEPS_TO_START, tol=CLOSE)
    found = means.state(*params)
    with np.errstate(divide="ignore"):
        log_var = float(np.log(problem.mean_square(means.whole(found, 0.0))))
    problem.write(np.maximum(means.whole(found, log_var), problem.lower), *params)


class _Monitor(Monitor):
    """One that is told the losses less a constant."""

    constant = 0.0

    def __call__(self, loss: float) -> bool:
        return super().__call__(loss + self.constant)


def _objective(
    center: float, spread: float, l2: float, X: Any, y: NDArray[np.float64], weight: FloatArray
) -> Objective:
    """The objective of a `y` in units of its spread, from its center."""
    with np.errstate(over="ignore"):  # of samples without weight
        z = ((y - center) / spread).astype(X.dtype)
    z[weight == 0] = 0.0
    return Objective(
        X,
        z,
        weight.astype(X.dtype),
        _gaussian_loss_with_grad,
        n_outputs=2,
        l2=l2,
        loss_with_hess=_gaussian_loss_with_hess,
    )


def _lowest(dtype: Any) -> FloatArray:
    """The least mean and the least logarithm of a variance, of a mean sample."""
    return np.array([-np.inf, 2 * np.log(np.finfo(dtype).eps)])


def _check_units(center: float, spread: float, dtype: Any) -> None:
    tiny, largest = (float(limit) for limit in (np.finfo(dtype).tiny, np.finfo(dtype).max))
    if not (spread > tiny and spread + abs(center) < largest):
        raise ValueError(
            f"y must have mean and standard deviation within {dtype}, the type of X, got {center:g} and {spread:g}"
        )


def _weight_of_part(part: Checked) -> float:
    return total_weight(part.weight)


def _moments_of_part(size: float, part: Checked) -> Moments:
    """Those of `y` in units of a size."""
    counts = part.weight > 0
    return Moments.of(part.y[counts, np.newaxis] / size, part.weight[counts])


def _objective_of_part(units: tuple[float, float], l2: float, dtype: Any, part: Checked) -> Objective:
    return _objective(*units, l2, part.X.astype(dtype, copy=False), part.y, part.weight)


def _center_and_spread(y: NDArray[np.float64], weight: NDArray[np.float64]) -> tuple[float, float]:
    """Weighted mean and standard deviation; without any, the magnitude in place of it. No square overflows."""
    if (y == y[0]).all():
        return float(y[0]), float(abs(y[0])) or 1.0
    half = np.abs(y).max() / 2  # of which differences are finite
    center = half * np.average(y / half, weights=weight)
    with np.errstate(over="ignore"):
        deviations = y / 2 - center / 2
        widest = np.abs(deviations).max()
        spread = 2 * widest * np.sqrt(np.average((deviations / widest) ** 2, weights=weight))
    return float(center), float(spread)


def _as_numbers(y: Any) -> NDArray[np.float64]:
    """`y` in double precision, whatever it came in."""
    if y.dtype.kind not in "biuf":
        raise ValueError(f"y must be numbers, got {y.dtype}")
    numbers: NDArray[np.float64] = y.astype(np.float64)
    return numbers


def _gaussian_loss_with_hess(
    logits: FloatArray, target: NDArray[Any], *, reduction: Literal["sum"], sample_weight: ArrayLike = 1.0
) -> LossGradHess:
    """The same with the curvature that is to be expected: ``1 / v`` along the mean, 1/2 along the log-variance."""
    loss, grad = _gaussian_loss_with_grad(
        logits, target, out=np.empty_like(logits), reduction=reduction, sample_weight=sample_weight
    )
    with np.errstate(over="ignore"):
        hess = np.column_stack([np.exp(-logits[:, 1]), np.full(len(logits), 0.5)])
    return LossGradHess(loss, grad, hess * np.reshape(sample_weight, (-1, 1)))


def _gaussian_loss_with_grad(
    logits: FloatArray,
    target: NDArray[Any],
    *,
    out: FloatArray,
    reduction: Literal["sum"],
    sample_weight: ArrayLike | None = None,
) -> LossGrad:
    """Gaussian loss of the columns mean and log-variance."""
    loss, out[:, 0], out[:, 1] = gaussian_nll_with_grad(
        logits[:, 0].copy(),
        target,
        log_var=logits[:, 1].copy(),
        sample_weight=sample_weight,
        reduction=reduction,
    )
    return LossGrad(loss, out)
