"""What linear models minimise, with its gradient: the mean loss of linear logits, plus penalties.

With the logits ``z_i = W x_i + b`` of ``n`` samples, dense or sparse, each of weight ``s_i``, the objective is::

    sum_i s_i loss(z_i, t_i) / n + l2 ||W||^2 / 2 + logit_penalty_weight logit_penalty(z)

and, where ``G`` is the gradient of the first and the last term with respect to the logits, the gradients are::

    d / d W = G^T X + l2 W              d / d b = sum_i G_i

The penalty ``l1 ||W||_1`` has no derivative where a weight is 0, and is left to the solver.
"""

from __future__ import annotations

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
    LossGradHess,
    linear_cross_entropy_with_grad,
    sigmoid_cross_entropy_with_grad,
    sigmoid_cross_entropy_with_hess,
    softmax_cross_entropy_with_grad,
    softmax_cross_entropy_with_hess,
)
from ..losses.linear import Kind
from .classification import LossWithGrad
from .training import total_weight

__all__ = ["LogitPenalty", "Objective", "l2_from_C"]

# Maps the logits of all samples to a value and its gradient with respect to them.
LogitPenalty: TypeAlias = Callable[[FloatArray], tuple[float, FloatArray]]

_KINDS: dict[LossWithGrad, Kind] = {
    softmax_cross_entropy_with_grad: "softmax",
    sigmoid_cross_entropy_with_grad: "sigmoid",
}

_WITH_HESS: dict[LossWithGrad, Callable[..., LossGradHess]] = {
    softmax_cross_entropy_with_grad: softmax_cross_entropy_with_hess,
    sigmoid_cross_entropy_with_grad: sigmoid_cross_entropy_with_hess,
}

# The sigmoid cross-entropy is curved by at most 1/4 along its logit, the softmax cross-entropy by at most 1/2 along any
# direction (D. Böhning, "Multinomial logistic regression algorithm", Annals of the Institute of Statistical Mathematics
# 44, 1992). The sigmoid focal loss stays below 1/4 + 0.36 ln(1 + gamma): by second differences at 2e5 logits in
# [-30, 30], gamma from 0.25 to 1e9, it took at most 0.88 of that.
_FOCUS = 0.36


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
    l1: float = 0.0
    logit_penalty: LogitPenalty | None = None
    logit_penalty_weight: float = 1.0
    loss_with_hess: Callable[..., LossGradHess] | None = None  # known of cross-entropies

    def __call__(self, weight: FloatArray, bias: FloatArray) -> tuple[float, FloatArray, FloatArray]:
        """Value, and gradients with respect to weight and bias, in the dtype of the weight.

        The products with the samples, and the losses, are in the dtype of these.
        """
        n, dtype, options = len(self), self.X.dtype, self.weighted_options | {"reduction": "sum"}
        params = weight.astype(dtype, copy=False), bias.astype(dtype, copy=False)
        if self.kind is None:
            loss, grad_weight, grad_bias = self._by_logits(*params, options)
        else:
            answer: Any = linear_cross_entropy_with_grad(
                self.X, params[0], self.target, bias=params[1], kind=self.kind, wrt=("weight", "bias"), **options
            )
            loss, _, grad_weight, grad_bias = answer
        decay = (self.l2 * weight).astype(weight.dtype, copy=False)
        value = loss / n + 0.5 * float(np.vdot(decay, weight))
        return value, grad_weight.astype(weight.dtype) / n + decay, grad_bias.astype(weight.dtype) / n

    def weight_penalty(self, weight: FloatArray) -> float:
        """What the value contains for the size of the weights, in absolute values too."""
        return 0.5 * float(np.vdot(self.l2 * weight, weight)) + self.l1 * float(np.abs(weight).sum())

    def curvature(self, weight: FloatArray, bias: FloatArray) -> FloatArray | None:
        """Second derivative of the loss of each sample by each of its logits; None where it is not known."""
        with_hess = self.loss_with_hess or _WITH_HESS.get(self.loss_with_grad)
        if with_hess is None:
            return None
        hess: FloatArray = with_hess(
            self.logits(weight, bias), self.target, **self.weighted_options, reduction="sum"
        ).hess
        return hess

    def logits(self, weight: FloatArray, bias: FloatArray) -> FloatArray:
        """Logits of the samples, in the dtype of these."""
        dtype = self.X.dtype
        logits: FloatArray = self.X @ weight.astype(dtype, copy=False).T + bias.astype(dtype, copy=False)
        return logits

    def _by_logits(
        self, weight: FloatArray, bias: FloatArray, options: dict[str, Any]
    ) -> tuple[float, FloatArray, FloatArray]:
        """Any loss of the logits, of dense or sparse samples, and the penalty on them."""
        X, logits = self.X, self.logits(weight, bias)
        extra = None if self.logit_penalty is None else self._penalise(logits)
        loss, grad = self.loss_with_grad(logits, self.target, out=logits, **options)
        if extra is not None:
            loss += extra.loss
            grad += extra.grad
        return loss, (X.T @ grad).T if issparse(X) else grad.T @ X, grad.sum(axis=0)

    @property
    def kind(self) -> Kind | None:
        """The kind of the loss, where `linear_cross_entropy` knows it, in one with the logits of dense samples."""
        return None if self.logit_penalty is not None or issparse(self.X) else self.kind_of_loss

    @property
    def kind_of_loss(self) -> Kind | None:
        """The kind of the cross-entropy that the loss is, if it is one."""
        return _KINDS.get(self.loss_with_grad)

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
        logits = self.logits(weight, bias)
        options = self.options | {"sample_weight": self.sample_weight.astype(logits.dtype), "reduction": "sum"}
        grad: FloatArray = self.loss_with_grad(logits, self.target, out=logits, **options).grad @ weight
        return grad

    def curvature_bound(self) -> float:
        """The most that the loss of a sample of weight 1 is curved, along any direction of its logits."""
        focus = getattr(self.loss_with_grad, "keywords", {}).get("gamma", self.options.get("gamma", 0.0))
        bound = (2 if self.n_outputs > 1 and "pos_weight" not in self.options else 1) * (
            0.25 + _FOCUS * math.log1p(focus)
        )
        if (pos_weight := self.options.get("pos_weight")) is not None:
            bound *= max(1.0, float(np.max(pos_weight)))
        return bound

    def smoothness_of_rows(self, shift: FloatArray | None = None) -> FloatArray:
        """Bound the curvature of the loss of each sample; `shift` is taken from each of them."""
        if issparse(self.X):
            squares = np.ravel(self.X.multiply(self.X).sum(axis=1))
            if shift is not None:
                squares = squares - 2 * (self.X @ shift) + shift @ shift
        else:
            squares = np.einsum("ij,ij->i", self.X, self.X)
        bounds: FloatArray = self.curvature_bound() * self.sample_weight * (squares + 1)  # the length of (x_i, 1)
        return bounds

    def smoothness(self, shift: FloatArray | None = None) -> float:
        """Bound the curvature of the mean loss of all samples; `shift` is taken from each of them."""
        size = self.X.shape[1] + 1

        def apply(v: FloatArray) -> FloatArray:
            """Multiply by Z^T S Z, where the rows of Z are (x_i, 1)."""
            v = np.ravel(v).astype(self.X.dtype)
            along = self.sample_weight * (self.X @ v[:-1] + (v[-1] if shift is None else v[-1] - shift @ v[:-1]))
            total = along.sum()
            return np.append(self.X.T @ along - (0.0 if shift is None else total * shift), total)

        start = np.random.default_rng(0).standard_normal(size)
        (largest,) = eigsh(
            LinearOperator((size, size), matvec=apply, dtype=np.float64),
            k=1,
            v0=start,
            tol=1e-4,
            return_eigenvectors=False,
        )
        return self.curvature_bound() * float(largest) / len(self)

    def _penalise(self, logits: FloatArray) -> LossGrad:
        """Weigh what the penalty makes of the logits, a single column of which it gets as (n,)."""
        assert self.logit_penalty is not None
        given = logits[:, 0].copy() if logits.shape[1] == 1 else logits.copy()
        answer = self.logit_penalty(given)
        if not isinstance(answer, tuple) or len(answer) != 2:
            raise TypeError(f"logit_penalty must return a pair (value, grad), got {type(answer).__name__}")
        value, grad = answer
        try:
            value = float(value)
        except (TypeError, ValueError):
            raise TypeError(f"logit_penalty must return a number and a grad, got {value!r} for the number") from None
        if np.shape(grad) != given.shape:
            raise ValueError(
                f"logit_penalty must return a grad of the logits' shape {given.shape}, got {np.shape(grad)}"
            )
        factor = len(self) * self.logit_penalty_weight  # times n, as the losses are summed
        return LossGrad(factor * value, (factor * np.reshape(grad, logits.shape)).astype(logits.dtype))


def l2_from_C(C: float, n: float) -> float:
    """The factor of ``||W||^2 / 2`` that an inverse strength `C` stands for: ``1 / (C n)``."""
    l2 = 1 / float(C) / n
    if not l2 < math.inf:
        raise ValueError(f"C must be large enough for 1 / (C n) to be finite, got {C} and n = {n:g}")
    return l2
