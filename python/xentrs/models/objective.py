"""What linear models minimise, with its gradient: the mean loss of linear logits, plus penalties.

With the logits ``z_i = W x_i + b`` of ``n`` samples, dense or sparse, each of weight ``s_i``, the objective is::

    sum_i s_i loss(z_i, t_i) / n + l2 ||W||^2 / 2 + penalty_weight penalty(z)

and, where ``G`` is the gradient of the first and the last term with respect to the logits, the gradients are::

    d / d W = G^T X + l2 W              d / d b = sum_i G_i
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse
from scipy.sparse.linalg import LinearOperator, eigsh

from ..losses import (
    FloatArray,
    LossGrad,
    linear_cross_entropy_with_grad,
    sigmoid_cross_entropy_with_grad,
    softmax_cross_entropy_with_grad,
)
from ..losses.linear import Kind
from .classification import LossWithGrad
from .training import total_weight

__all__ = ["Objective", "Penalty", "l2_from_C"]

# Maps the logits of all samples to a value and its gradient with respect to them.
Penalty: TypeAlias = Callable[[FloatArray], tuple[float, FloatArray]]

_KINDS: dict[LossWithGrad, Kind] = {
    softmax_cross_entropy_with_grad: "softmax",
    sigmoid_cross_entropy_with_grad: "sigmoid",
}

# The largest second derivative of a loss along any direction of the logits (D. Böhning, "Multinomial logistic
# regression algorithm", Annals of the Institute of Statistical Mathematics 44, 1992).
_CURVATURE = {"softmax": 0.5, "sigmoid": 0.25}


@dataclass(frozen=True)
class Objective:
    """The objective of these samples, a function of weight and bias; see the head of this file."""

    X: Any
    target: NDArray[Any]
    sample_weight: FloatArray
    loss_with_grad: LossWithGrad
    n_outputs: int  # number of logits of a sample
    options: dict[str, Any] = field(default_factory=dict)
    l2: float | FloatArray = 0.0  # for all weights, or one for each row of them
    penalty: Penalty | None = None
    penalty_weight: float = 1.0

    def __call__(self, weight: FloatArray, bias: FloatArray) -> tuple[float, FloatArray, FloatArray]:
        """Value, and gradients with respect to weight and bias, which are of the dtype of ``X``."""
        n, options = len(self), self.weighted_options | {"reduction": "sum"}
        if self.kind is None:
            loss, grad_weight, grad_bias = self._by_logits(weight, bias, options)
        else:
            answer: Any = linear_cross_entropy_with_grad(
                self.X, weight, self.target, bias=bias, kind=self.kind, wrt=("weight", "bias"), **options
            )
            loss, _, grad_weight, grad_bias = answer
        decay = (self.l2 * weight).astype(weight.dtype, copy=False)
        return loss / n + 0.5 * float(np.vdot(decay, weight)), grad_weight / n + decay, grad_bias / n

    def _by_logits(
        self, weight: FloatArray, bias: FloatArray, options: dict[str, Any]
    ) -> tuple[float, FloatArray, FloatArray]:
        """Any loss of the logits, of dense or sparse samples, and the penalty on them."""
        X = self.X
        logits = X @ weight.T + bias
        extra = None if self.penalty is None else self._penalty(logits)
        loss, grad = self.loss_with_grad(logits, self.target, out=logits, **options)
        if extra is not None:
            loss += extra.loss
            grad += extra.grad
        return loss, (X.T @ grad).T if issparse(X) else grad.T @ X, grad.sum(axis=0)

    @property
    def kind(self) -> Kind | None:
        """The kind of the loss, where `linear_cross_entropy` knows it, in one with the logits of dense samples."""
        return None if self.penalty is not None or issparse(self.X) else _KINDS.get(self.loss_with_grad)

    @property
    def weighted_options(self) -> dict[str, Any]:
        """The options of the loss, with the weights of the samples where these are not all 1."""
        return self.options if self._all_weigh_one else self.options | {"sample_weight": self.sample_weight}

    @cached_property
    def _all_weigh_one(self) -> bool:
        return bool((self.sample_weight == 1).all())

    def __len__(self) -> int:
        return int(self.X.shape[0])

    def zeros(self) -> list[FloatArray]:
        """Make a weight and a bias to start from."""
        return [np.zeros((self.n_outputs, self.X.shape[1]), self.X.dtype), np.zeros(self.n_outputs, self.X.dtype)]

    def rows(self, rows: NDArray[np.intp]) -> Self:
        """Return the objective of some of the samples."""
        return replace(self, X=self.X[rows], target=self.target[rows], sample_weight=self.sample_weight[rows])

    def scaled(self, factor: float) -> Self:
        """Return the objective with all weights of samples times `factor`."""
        return replace(self, sample_weight=(self.sample_weight * factor).astype(self.X.dtype))

    def total_weight(self) -> float:
        """Sum the weights of the samples."""
        return total_weight(self.sample_weight)

    def input_gradient(self, weight: FloatArray, bias: FloatArray) -> FloatArray:
        """Gradient of the loss of each sample, times its weight, with respect to the sample."""
        logits = self.X @ weight.T + bias
        options = self.options | {"sample_weight": self.sample_weight.astype(logits.dtype), "reduction": "sum"}
        grad: FloatArray = self.loss_with_grad(logits, self.target, out=logits, **options).grad @ weight
        return grad

    def lipschitz_constant(self, in_batches: bool) -> float:
        """Bound the curvature of the objective, of all samples or of any batch; see `xentrs.optim.lipschitz`."""
        kind = _KINDS.get(self.loss_with_grad)
        if kind is None or self.penalty is not None:
            raise ValueError("schedule='lipschitz' needs a loss of bounded curvature: gamma=0.0, and no penalty")
        curvature = _CURVATURE[kind]
        if (pos_weight := self.options.get("pos_weight")) is not None:
            curvature *= max(1.0, float(np.max(pos_weight)))

        if in_batches:
            squares = self.X.multiply(self.X).sum(axis=1) if issparse(self.X) else np.einsum("ij,ij->i", self.X, self.X)
            lengths = np.ravel(squares) + 1  # squared lengths of (x_i, 1)
            return float(curvature * np.max(self.sample_weight * lengths) + self.l2)

        def apply(v: FloatArray) -> FloatArray:
            """Multiply by Z^T S Z, where the rows of Z are (x_i, 1)."""
            v = np.ravel(v).astype(self.X.dtype)
            along = self.sample_weight * (self.X @ v[:-1] + v[-1])
            return np.append(self.X.T @ along, along.sum())

        n, size = len(self), self.X.shape[1] + 1
        start = np.random.default_rng(0).standard_normal(size)
        (largest,) = eigsh(
            LinearOperator((size, size), matvec=apply, dtype=np.float64),
            k=1,
            v0=start,
            tol=1e-4,
            return_eigenvectors=False,
        )
        return float(curvature * largest / n + self.l2)

    def _penalty(self, logits: FloatArray) -> LossGrad:
        """Weigh what the penalty makes of the logits, a single column of which it gets as (n,)."""
        assert self.penalty is not None
        given = logits[:, 0].copy() if logits.shape[1] == 1 else logits.copy()
        answer = self.penalty(given)
        if not isinstance(answer, tuple) or len(answer) != 2:
            raise TypeError(f"penalty must return a pair (value, grad), got {type(answer).__name__}")
        value, grad = answer
        try:
            value = float(value)
        except (TypeError, ValueError):
            raise TypeError(f"penalty must return a number and a grad, got {value!r} for the number") from None
        if np.shape(grad) != given.shape:
            raise ValueError(f"penalty must return a grad of the logits' shape {given.shape}, got {np.shape(grad)}")
        factor = len(self) * self.penalty_weight  # times n, as the losses are summed
        return LossGrad(factor * value, (factor * np.reshape(grad, logits.shape)).astype(logits.dtype))


def l2_from_C(C: float, n: float) -> float:
    """The factor of ``||W||^2 / 2`` that an inverse strength `C` stands for: ``1 / (C n)``."""
    l2 = 1 / float(C) / n
    if not l2 < math.inf:
        raise ValueError(f"C must be large enough for 1 / (C n) to be finite, got {C} and n = {n:g}")
    return l2
