"""The coordinates in which solvers work: those of features that have the mean 0 and the spread 1.

With ``m`` the means of the features, and ``D = 1 / max(spread, sqrt(l2))``, a diagonal matrix, ``W`` and ``b`` become::

    W = V D        b = c - W m        so that        W x + b = V D (x - m) + c

The objective and its minimum stay what they are: the penalties are those on ``W``. But along no axis is it curved much
more than along others, whatever the units of the features, and products lose no digits to their distance from 0.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self

import numpy as np
from scipy.sparse import issparse
from sklearn.utils import gen_batches
from sklearn.utils.sparsefuncs import mean_variance_axis

from ..losses import FloatArray
from .convergence import overflow_of_features
from .hessian import Sums, blocks_of_hessian, rows_of_hessian, sums_of_hessian, sums_of_squares
from .objective import Objective

__all__ = ["Moments", "Problem", "SplitBySign", "Standardised", "StandardisedProblem", "units_of"]

_BLOCK = 2**15  # numbers that are widened to double precision at a time, 256 KiB
_CONSTANT = 4 * np.finfo(np.float64).eps  # the spread of equal numbers, over their size, as rounding leaves it


class Problem(Protocol):
    """What a solver minimises: a function of a vector, bounded from below."""

    lower: FloatArray

    def __call__(self, state: FloatArray) -> tuple[float, FloatArray]:
        """Value and gradient."""

    def units(self, state: FloatArray) -> FloatArray:
        """The length of a step along each axis that the curvature asks for."""

    def state(self, weight: FloatArray, bias: FloatArray) -> FloatArray:
        """The vector of a weight and a bias in units of the features."""

    def write(self, state: FloatArray, weight: FloatArray, bias: FloatArray) -> None:
        """Write what a vector stands for, in units of the features."""


@dataclass(frozen=True)
class Moments:
    """The total weight of samples, and mean and variance of each of their features by these weights.

    The sum of two is that of all their samples: what the variance gains by the distance of their means (T. F. Chan,
    G. H. Golub and R. J. LeVeque, "Algorithms for Computing the Sample Variance", The American Statistician 37, 1983).
    """

    weight: float
    mean: FloatArray
    variance: FloatArray

    @classmethod
    def of(cls, X: Any, sample_weight: FloatArray) -> Self:
        """Those of some samples, dense or sparse; 0 where they have no weight."""
        weight = sample_weight.astype(np.float64)
        total = float(weight.sum())
        if total == 0:
            return cls(0.0, *np.zeros((2, X.shape[1])))
        with np.errstate(over="ignore", invalid="ignore"):
            if issparse(X):
                mean, variance = mean_variance_axis(X, axis=0, weights=weight)
            else:
                weight /= total
                mean, shift, square = np.zeros((3, X.shape[1]))
                for rows in _blocks(X):
                    mean += weight[rows] @ X[rows]
                for rows in _blocks(X):
                    difference = X[rows] - mean
                    shift += weight[rows] @ difference  # what rounding has left of the mean
                    square += weight[rows] @ np.square(difference, out=difference)
                mean, variance = mean + shift, square - shift**2
        if not np.isfinite(variance).all():
            raise ValueError(overflow_of_features(X))
        return cls(total, mean, np.maximum(variance, 0.0))

    def __add__(self, other: Moments) -> Moments:
        total = self.weight + other.weight
        if total == 0:
            return self
        share = other.weight / total
        with np.errstate(over="ignore"):
            step = other.mean - self.mean
            apart = share * (1 - share) * np.square(step)
            variance = (1 - share) * self.variance + share * other.variance + apart
        return Moments(total, self.mean + share * step, variance)

    def centre_and_spread(self, centred: bool) -> tuple[FloatArray, FloatArray]:
        """Mean and standard deviation of each feature, or 0 and the root mean square; 1 in place of no spread."""
        mean = self.mean
        with np.errstate(over="ignore"):
            spread = np.sqrt(self.variance)
            if not centred:
                mean, spread = np.zeros_like(mean), np.hypot(mean, spread)
        spread[spread <= _CONSTANT * np.abs(mean)] = 1.0
        if not np.isfinite(spread).all():
            raise ValueError("The loss overflows. Scale X, as sklearn.preprocessing.MaxAbsScaler does.")
        return mean, spread


class StandardisedProblem:
    """An objective as a function of ``V`` and ``c``, in a vector of doubles: each ``c`` behind its row of ``V``.

    The coordinates alone: where the samples are, and how they are asked, is left to a subclass. Without an intercept
    ``m`` and ``c`` are 0, and the spread is the root mean square.

    Parameters
    ----------
    moments : Moments
        Those of the samples.
    l2, l1 : float or ndarray
        The penalties of the objective.
    n_outputs : int
        The number of logits of a sample.
    symmetric : bool
        Whether the loss is the same where the same number is added to all logits of a sample.
    fit_intercept : bool
        Whether there is ``b``.
    lowest : float or ndarray
        A bound of ``c``.

    Attributes
    ----------
    mean, scale : ndarray of shape (n_features,)
        ``m`` and ``D``.
    decay : ndarray
        ``l2 D^2``: the penalty is ``sum(decay * V^2) / 2``. At most 1.
    shrinkage : ndarray of shape (n_features,)
        ``l1 D``: the other penalty is ``sum(shrinkage * |V|)``. It has no part in values and gradients.
    """

    def __init__(
        self,
        moments: Moments,
        *,
        l2: FloatArray | float,
        l1: float,
        n_outputs: int,
        symmetric: bool,
        fit_intercept: bool,
        lowest: FloatArray | float,
    ) -> None:
        self.fit_intercept = fit_intercept
        self.mean, spread = moments.centre_and_spread(fit_intercept)
        root = np.sqrt(l2)
        self.scale = 1 / np.maximum(spread, np.max(root))
        self.decay = np.square(root * self.scale)
        self.shrinkage = l1 * self.scale
        # The softmax does not see what is added to all classes, and the penalty is least where they add up to 0.
        self._symmetric = symmetric and not l1
        shape = (n_outputs, len(self.scale))
        self.lower = self.join(np.full(shape, -np.inf), np.full(n_outputs, lowest))

    @abstractmethod
    def __call__(self, state: FloatArray) -> tuple[float, FloatArray]:
        """Value and gradient."""

    @abstractmethod
    def units(self, state: FloatArray) -> FloatArray:
        """By how much each number of the vector may change until the derivative by it has changed by as much."""

    @property
    @abstractmethod
    def hessian_rows(self) -> int:
        """The rows of the largest block of the Hessian; 0 where it is not known."""

    @abstractmethod
    def hessian(self, state: FloatArray) -> list[FloatArray]:
        """The blocks along the diagonal of the Hessian that are not 0."""

    @abstractmethod
    def mean_square(self, state: FloatArray) -> float:
        """The mean squared difference of the target and the first logit, by the weights of the samples."""

    def split(self, state: FloatArray) -> tuple[FloatArray, FloatArray]:
        """``V`` and ``c``."""
        n_features = len(self.scale)
        both = state.reshape(-1, n_features + self.fit_intercept)
        bias = both[:, n_features] if self.fit_intercept else np.zeros(len(both))
        return both[:, :n_features], bias

    def join(self, weight: FloatArray, bias: FloatArray | float = 0.0) -> FloatArray:
        """The way back, for these or their derivatives; without an intercept `bias` is left out."""
        return np.column_stack([weight, bias]).ravel() if self.fit_intercept else weight.flatten()

    def block_decay(self) -> FloatArray:
        """The curvature of the penalty along the axes of an output: 0 along that of ``c``."""
        return np.append(self.decay, [0.0] * self.fit_intercept)

    def state(self, weight: FloatArray, bias: FloatArray) -> FloatArray:
        """The vector of a weight and a bias in units of the features."""
        weight = weight.astype(np.float64)
        return self.join(weight / self.scale, bias + weight @ self.mean)

    def write(self, state: FloatArray, weight: FloatArray, bias: FloatArray) -> None:
        """Write what a vector stands for, in units of the features."""
        V, c = self.split(state)
        if self._symmetric:
            V, c = V - V.mean(axis=0), c - c.mean()
        weight[...] = V * self.scale
        bias[...] = c - weight @ self.mean  # of the weight as it is rounded


class Standardised(StandardisedProblem):
    """The problem of samples that are here.

    Dense samples are copied, centred and scaled, in their own precision. Sparse ones are scaled in double precision,
    but ``V D m`` is taken from their logits instead, so that they stay sparse.

    Parameters
    ----------
    objective : Objective
        The objective, in units of the features.
    fit_intercept, lowest
        As in `StandardisedProblem`.
    moments : Moments, optional
        Those to standardise by, where these samples are a part of all; their own if not given.

    Attributes
    ----------
    samples : Objective
        The loss of the standardised samples, without penalties on weights.
    shift : ndarray of shape (n_features,) or None
        What is to be taken from each of the samples as they are kept.
    """

    def __init__(
        self,
        objective: Objective,
        *,
        fit_intercept: bool = True,
        lowest: FloatArray | float = -np.inf,
        moments: Moments | None = None,
    ) -> None:
        X = objective.X.astype(np.float64) if issparse(objective.X) else objective.X
        super().__init__(
            Moments.of(X, objective.sample_weight) if moments is None else moments,
            l2=objective.l2,
            l1=objective.l1,
            n_outputs=objective.n_outputs,
            symmetric=objective.kind_of_loss == "softmax" and objective.logit_penalty is None,
            fit_intercept=fit_intercept,
            lowest=lowest,
        )
        self.shift: FloatArray | None = None
        if issparse(X):
            self.shift = self.mean * self.scale
            X.data *= self.scale[X.indices]
        else:
            X = _standardise(X, self.mean, self.scale)
        self.samples = replace(objective, X=X, l2=0.0, l1=0.0)

    def __call__(self, state: FloatArray) -> tuple[float, FloatArray]:
        """Value and gradient."""
        weight, _ = self.split(state)
        value, grad, grad_bias = self.samples(*self.inner(state))
        if self.shift is not None:
            grad -= np.outer(grad_bias, self.shift)
        decay = self.decay * weight
        grad += decay
        return value + 0.5 * float(np.vdot(decay, weight)), self.join(grad, grad_bias)

    def curvature(self, state: FloatArray) -> FloatArray | None:
        """Diagonal of the Hessian; None for a loss whose second derivatives are not known."""
        samples = self.samples
        curvature = samples.curvature(*self.inner(state))
        if curvature is None:
            return None
        n, squares = len(samples), sums_of_squares(samples.X, self.shift, curvature)
        return self.join(squares / n + self.decay, curvature.sum(axis=0) / n)

    def units(self, state: FloatArray) -> FloatArray:
        """By how much each number of the vector may change until the derivative by it has changed by as much."""
        return units_of(self.curvature(state), state)

    @property
    def hessian_rows(self) -> int:
        """The rows of the largest block of the Hessian; 0 where it is not known."""
        samples = self.samples
        kind = None if samples.logit_penalty is not None else samples.kind_of_loss
        return rows_of_hessian(kind, self.lower.size, samples.n_outputs)

    def hessian(self, state: FloatArray) -> list[FloatArray]:
        """The blocks along the diagonal of the Hessian that are not 0."""
        return blocks_of_hessian(self.hessian_sums(state), len(self.samples), self.block_decay())

    def hessian_sums(self, state: FloatArray) -> Sums:
        """What the Hessian is made of, summed over the samples."""
        return sums_of_hessian(self.samples, *self.inner(state), self.dense)

    def mean_square(self, state: FloatArray) -> float:
        """The mean squared difference of the target and the first logit, by the weights of the samples."""
        samples = self.samples
        left = samples.target - samples.logits(*self.inner(state))[:, 0]
        return float(samples.sample_weight.astype(np.float64) @ np.square(left.astype(np.float64))) / len(samples)

    def inner(self, state: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Weight and bias that make logits of the samples as they are kept."""
        weight, bias = self.split(state)
        return weight, bias if self.shift is None else bias - weight @ self.shift

    def copies(self, weight: FloatArray, bias: FloatArray) -> list[FloatArray]:
        """``V`` and ``c`` of a weight and a bias in units of the features, arrays in the dtype of the samples."""
        return [part.astype(self.samples.X.dtype, order="C") for part in self.split(self.state(weight, bias))]

    def dense(self, rows: slice) -> FloatArray:
        """Some of the standardised samples, a 1 behind each if there is an intercept."""
        X = self.samples.X[rows]
        X = X if self.shift is None else X.toarray() - self.shift
        return np.column_stack([X, np.ones(len(X))] if self.fit_intercept else [X]).astype(np.float64, copy=False)


class SplitBySign:
    """The same with the penalty ``l1 ||W||_1``, smooth within bounds.

    ``V`` is the difference of two matrices that are not negative, the second of which stands behind the vector.
    """

    def __init__(self, problem: StandardisedProblem) -> None:
        self._problem = problem
        weight, bias = problem.split(problem.lower)
        self._size = weight.size
        self._l1 = np.tile(problem.shrinkage, len(weight))
        self.lower = np.append(problem.join(np.zeros(weight.shape), bias), np.zeros(self._size))

    def __call__(self, state: FloatArray) -> tuple[float, FloatArray]:
        """Value and gradient."""
        value, grad = self._problem(self._difference(state))
        weight, bias = self._problem.split(grad)
        positive, _ = self._problem.split(state[: -self._size])
        value += float(self._l1 @ (positive.ravel() + state[-self._size :]))
        return value, np.append(self._problem.join(weight + self._problem.shrinkage, bias), self._l1 - weight.ravel())

    def units(self, state: FloatArray) -> FloatArray:
        """Those of the difference, twice."""
        units = self._problem.units(self._difference(state))
        return np.append(units, self._problem.split(units)[0])

    def state(self, weight: FloatArray, bias: FloatArray) -> FloatArray:
        """The vector of a weight and a bias in units of the features."""
        V, c = self._problem.split(self._problem.state(weight, bias))
        return np.append(self._problem.join(np.maximum(V, 0), c), np.maximum(-V, 0))

    def write(self, state: FloatArray, weight: FloatArray, bias: FloatArray) -> None:
        """Write what a vector stands for, in units of the features."""
        self._problem.write(self._difference(state), weight, bias)

    def _difference(self, state: FloatArray) -> FloatArray:
        positive, bias = self._problem.split(state[: -self._size])
        return self._problem.join(positive - state[-self._size :].reshape(positive.shape), bias)


def units_of(curvature: FloatArray | None, state: FloatArray) -> FloatArray:
    """The length of a step along each axis that a curvature asks for; 1 where it is not known."""
    return np.ones_like(state) if curvature is None else 1 / np.sqrt(curvature + 1e-6)


def _standardise(X: FloatArray, mean: FloatArray, scale: FloatArray) -> FloatArray:
    standardised = np.empty(X.shape, X.dtype)
    for rows in _blocks(X):
        standardised[rows] = (X[rows] - mean) * scale
    return standardised


def _blocks(X: FloatArray) -> Iterator[slice]:
    """Rows that in double precision stay in a cache."""
    blocks: Iterator[slice] = gen_batches(len(X), max(_BLOCK // X.shape[1], 1))
    return blocks
