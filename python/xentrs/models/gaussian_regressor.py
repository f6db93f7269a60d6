"""Linear regression that predicts how sure it is."""

import warnings
from collections.abc import Sequence
from functools import partial
from numbers import Real
from typing import Any, ClassVar, Literal, Self, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import Tags
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from ..losses import FloatArray, LossGrad, gaussian_nll_with_grad
from .objective import Objective, l2_from_C
from .saving import SaveMixin
from .solvers import lbfgs
from .training import (
    CONSTRAINTS,
    Callback,
    LossCurveMixin,
    Monitor,
    all_or_nothing,
    mean_one_factor,
    total_weight,
)

__all__ = ["GaussianRegressor"]


class GaussianRegressor(SaveMixin, LossCurveMixin, RegressorMixin, BaseEstimator):
    """Linear regression of the mean and of the logarithm of the variance, by maximum likelihood.

    A sample ``x`` has the Gaussian of mean ``m`` and variance ``v``::

        m = w x + b                 w = coef_,          b = intercept_
        ln v = u x + a              u = log_var_coef_,  a = log_var_intercept_

    so that noise may differ from sample to sample. What is minimised is the mean `gaussian_nll` plus a penalty::

        sum_i s_i loss(m_i, v_i, y_i) / n + (||w||^2 + ||u||^2) / (2 C n)       n = sum_i s_i

    where the sample weights ``s`` are 1 unless given.

    Parameters
    ----------
    C : float, default 1.0
        Inverse strength of the penalty; inf stands for none.
    max_iter : int, default 1000
        The most iterations that `fit` makes.
    tol : float or None, default 1e-4
        `fit` stops when no derivative of the objective is larger, `y` being measured in standard deviations. None never
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
    It starts from mean and variance of `y`, and is trained by L-BFGS. The objective is not convex in the weights of
    mean and variance together.

    Where a line goes through all of `y`, as with more features than samples, the likelihood grows without bound as the
    variance falls, and a fit means little. The intercept of ``ln v`` stays above the rounding errors of `y` even then.

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

    def __init__(
        self,
        *,
        C: float = 1.0,
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
            X, y = validate_data(self, X, y, dtype=dtype, accept_sparse="csr", y_numeric=True, reset=fresh)
            weight = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
            y, total = _as_numbers(y), total_weight(weight)
            weight = weight * mean_one_factor(len(y), total)

            # 2. Standardise y: z = (y - center) / scale. The objective does not change.
            with np.errstate(over="ignore", invalid="ignore"):
                center = float(np.average(y, weights=weight))
                scale = float(np.sqrt(np.average((y - center) ** 2, weights=weight))) or 1.0
            if not scale < np.inf:
                raise ValueError(f"y must have a finite variance, got numbers up to {np.abs(y).max():g}")
            with np.errstate(over="ignore"):  # an overflow shows in the loss
                l2 = np.array([[scale**2], [1.0]]) * l2_from_C(self.C, total)
            objective = Objective(
                X,
                ((y - center) / scale).astype(X.dtype),
                weight.astype(X.dtype),
                partial(_gaussian_loss_with_grad, log_scale=np.log(scale)),
                n_outputs=2,
                l2=l2,
            )
            params = slopes, offsets = objective.zeros()
            if not fresh:
                slopes[:] = self.coef_ / scale, self.log_var_coef_
                offsets[:] = (self.intercept_ - center) / scale, self.log_var_intercept_ - 2 * np.log(scale)

            def tell(*_: object) -> None:
                """Bring what was learnt back to the units of y."""
                self.coef_, self.log_var_coef_ = scale * slopes[0], slopes[1].copy()
                self.intercept_ = float(scale * offsets[0] + center)
                self.log_var_intercept_ = float(offsets[1] + 2 * np.log(scale))

            # 3. L-BFGS; the variance is kept above the squared rounding error of y.
            lowest = 2 * np.log(np.finfo(X.dtype).eps)
            with Monitor(
                self,
                params,
                total=self.max_iter,
                unit="iteration",
                verbose=self.verbose,
                callbacks=self.callbacks,
                publish=tell,
            ) as monitor:
                message = lbfgs(
                    objective,
                    params,
                    monitor,
                    max_iter=self.max_iter,
                    tol=self.tol,
                    bounds=[(None, None)] * (slopes.size + 1) + [(lowest, None)],
                )
                tell()
        if message:
            warnings.warn(message, ConvergenceWarning, stacklevel=2)
        return self

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
        X, y = validate_data(self, X, y, dtype=dtype, accept_sparse="csr", y_numeric=True, reset=False)
        mean, log_var = self._moments(X)
        _, pull, widen = gaussian_nll_with_grad(mean, _as_numbers(y), log_var=log_var, reduction="sum")
        grad: FloatArray = np.column_stack([pull, widen]) @ np.stack([self.coef_, self.log_var_coef_])
        return grad

    def _mean_and_log_var(self, X: Any) -> tuple[FloatArray, FloatArray]:
        check_is_fitted(self)
        return self._moments(validate_data(self, X, dtype=[np.float64, np.float32], accept_sparse="csr", reset=False))

    def _moments(self, samples: Any) -> tuple[FloatArray, FloatArray]:
        return (
            samples @ self.coef_ + samples.dtype.type(self.intercept_),
            samples @ self.log_var_coef_ + samples.dtype.type(self.log_var_intercept_),
        )

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


def _as_numbers(y: Any) -> NDArray[np.float64]:
    """`y` in double precision, whatever it came in."""
    if y.dtype.kind not in "biuf":
        raise ValueError(f"y must be numbers, got {y.dtype}")
    numbers: NDArray[np.float64] = y.astype(np.float64)
    return numbers


def _gaussian_loss_with_grad(
    logits: FloatArray,
    target: NDArray[Any],
    *,
    log_scale: float,
    out: FloatArray,
    reduction: Literal["sum"],
    sample_weight: ArrayLike | None = None,
) -> LossGrad:
    """Gaussian loss of the columns mean and log-variance, of targets divided by a scale, with weights of mean 1."""
    loss, out[:, 0], out[:, 1] = gaussian_nll_with_grad(
        logits[:, 0].copy(),
        target,
        log_var=logits[:, 1].copy(),
        sample_weight=sample_weight,
        reduction=reduction,
    )
    return LossGrad(loss + len(target) * log_scale, out)
