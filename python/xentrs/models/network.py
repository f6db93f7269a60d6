"""How `MLPClassifier` trains its network: the layers, the rule of the step, an epoch of steps, and L-BFGS."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray
from scipy.optimize import OptimizeResult, minimize
from scipy.sparse import issparse
from sklearn.utils import gen_batches

from .. import nn
from ..losses import FloatArray, LossGrad
from ..optim import SGD, Adam
from .convergence import largest_derivative, overflow_of_features
from .samples import Samples, advice_to_standardise, feature_scales
from .training import Monitor

__all__ = [
    "ACTIVATIONS",
    "SummedLoss",
    "init_weights",
    "lbfgs",
    "network_of",
    "optimizer_state",
    "penalty_of_epoch",
    "resume",
    "train",
    "value_and_grads",
]

# The function between layers; "identity" has no layer of its own.
ACTIVATIONS: dict[str, type[nn.Activation] | None] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "tanh": nn.Tanh,
    "logistic": nn.Sigmoid,
    "identity": None,
}

# The attributes of an optimiser that depend on the steps before.
STATE = {Adam: ["mean", "mean_square", "n_steps"], SGD: ["velocity"]}

# Of logits, which the gradient replaces, a target and the weights of the samples: the sum of the losses.
SummedLoss = Callable[[FloatArray, NDArray[Any], FloatArray], LossGrad]


class _Dense(nn.Dense):
    """A dense layer whose input may be sparse; the parameters are dense, and so is what it puts out."""

    def forward(self, x: Any) -> FloatArray:
        if not issparse(x):
            return super().forward(x)
        self._x = x
        y: FloatArray = x @ self.weight.T
        y += self.bias
        return y

    def backward_params(self, grad: FloatArray) -> None:
        x: Any = self._last_input()
        if not issparse(x):
            super().backward_params(grad)
        else:
            self._grads = [(x.T @ grad).T, grad.sum(axis=0)]


def init_weights(
    shapes: Sequence[tuple[int, int]], activation: str, dtype: DTypeLike, random: np.random.RandomState
) -> tuple[list[FloatArray], list[FloatArray]]:
    """Weights, each (inputs, outputs), and biases to start from, as `xentrs.nn.Dense` describes."""
    hidden = "he" if activation in ("relu", "gelu") else "glorot"
    inits = [hidden] * (len(shapes) - 1) + ["glorot"]
    layers = [
        nn.Dense(*shape, init=init, dtype=dtype, random_state=random) for shape, init in zip(shapes, inits, strict=True)
    ]
    return [layer.weight.T for layer in layers], [layer.bias for layer in layers]


def network_of(coefs: Sequence[FloatArray], intercepts: Sequence[FloatArray], activation: str) -> nn.Sequential:
    """The layers, on these arrays."""
    layers: list[nn.Layer] = []
    function = ACTIVATIONS[activation]
    for coef, intercept in zip(coefs, intercepts, strict=True):
        if layers and function is not None:
            layers.append(function())
        layers.append(_Dense.of(coef.T, intercept))
    return nn.Sequential(*layers)


# ---------------------------------------------------------------------------------------------------- step by step


def resume(optimizer: SGD | Adam, state: dict[str, Any]) -> None:
    """Let an optimiser go on from the state of another of its kind, in arrays that are not changed."""
    if state.keys() == optimizer_state(optimizer).keys():
        vars(optimizer).update(copy.deepcopy(state))


def optimizer_state(optimizer: SGD | Adam) -> dict[str, Any]:
    """What the next call of a training needs to go on as if it were the same."""
    return {name: getattr(optimizer, name) for name in STATE[type(optimizer)]}


def _batches(n: int, size: int) -> list[slice]:
    return list(gen_batches(n, size, min_batch_size=size // 2))


def penalty_of_epoch(coefs: Sequence[FloatArray], alpha: float, n: int, batch_size: int) -> float:
    """The mean over the samples of the penalty that `train` counts, if no step changed the weights."""
    return alpha / 2 * len(_batches(n, batch_size)) / n * sum(float(np.vdot(coef, coef)) for coef in coefs)


def train(
    network: nn.Sequential,
    samples: Samples,
    summed_loss: SummedLoss,
    optimizer: SGD | Adam,
    *,
    alpha: float,
    batch_size: int,
    order: NDArray[np.intp],
) -> tuple[float, float]:
    """One pass over the samples, a step of `optimizer` per batch: down the mean loss plus ``alpha / (2 m) ||W||^2``.

    Here ``m`` is the size of the batch. Returns the mean over the batches of the losses, each before its step, and that
    of the penalty, before the first.
    """
    coefs = network.params[::2]
    total, penalty = 0.0, penalty_of_epoch(coefs, alpha, len(order), batch_size)
    with np.errstate(over="ignore", invalid="ignore"):  # an overflow is reported once, below
        for batch in _batches(len(order), batch_size):
            X, target, weight = samples.rows(order[batch])
            m = len(weight)
            loss, grad = summed_loss(network.forward(X), target, weight / m)
            network.backward_params(grad)
            grads = network.grads
            for coef, coef_grad in zip(coefs, grads[::2], strict=True):
                coef_grad += alpha / m * coef
            optimizer.step(grads)
            total += m * loss
    if not (math.isfinite(total + penalty) and all(np.isfinite(param).all() for param in optimizer.params)):
        standardise = advice_to_standardise(samples)
        remedy = f"{standardise}, or lower" if standardise else "Lower"
        raise ValueError(
            overflow_of_features(samples.X)
            or f"The loss overflows. {remedy} learning_rate_init={optimizer.learning_rate}."
        )
    return total / len(order), penalty


# ------------------------------------------------------------------------------------------------- all samples at once


def value_and_grads(
    network: nn.Sequential, samples: Samples, summed_loss: SummedLoss, alpha: float
) -> tuple[float, list[FloatArray]]:
    """The mean loss of all samples plus ``alpha / (2 n) ||W||^2``, and its derivatives."""
    n = len(samples)
    loss, grad = summed_loss(network.forward(samples.X), samples.target, samples.weight / n)
    network.backward_params(grad)
    for coef, coef_grad in zip(network.params[::2], network.grads[::2], strict=True):
        coef_grad += alpha / n * coef
        loss += alpha / (2 * n) * float(np.vdot(coef, coef))
    return loss, network.grads


def lbfgs(
    network: nn.Sequential,
    samples: Samples,
    summed_loss: SummedLoss,
    monitor: Monitor,
    *,
    alpha: float,
    max_iter: int,
    max_fun: int,
    tol: float | None,
) -> str | None:
    """Minimise the mean loss plus ``alpha / (2 n) ||W||^2`` from the parameters given, which change in place.

    The state is in double precision, whatever the samples are. It ends when no derivative is larger than `tol`; those
    to the first weights are taken per unit of the root mean square of their feature. Returns why it ended short of
    that, if it did.
    """
    params, scales = network.params, feature_scales(samples)
    ends = np.cumsum([param.size for param in params])[:-1]
    slope = math.inf  # where the last gradient was taken, the largest derivative

    def set_params(state: FloatArray) -> None:
        for param, part in zip(params, np.split(state, ends), strict=True):
            param[...] = part.reshape(param.shape)

    def value_and_grad(state: FloatArray) -> tuple[float, FloatArray]:
        nonlocal slope
        set_params(state)
        loss, grads = value_and_grads(network, samples, summed_loss, alpha)
        slope = largest_derivative(grads, scales)
        return loss, np.concatenate(grads, axis=None, dtype=np.float64)

    def iterate(intermediate_result: OptimizeResult) -> None:
        set_params(intermediate_result.x)  # where the gradient was taken last
        if monitor(float(intermediate_result.fun)) or (tol is not None and slope <= tol):
            raise StopIteration

    with np.errstate(over="ignore", invalid="ignore"):  # a step that is too long overflows and is shortened
        start = np.concatenate(params, axis=None, dtype=np.float64)
        options = {"maxiter": max_iter, "maxfun": max_fun, "gtol": 0.0, "ftol": 0.0, "maxls": 50, "maxcor": 20}
        result = minimize(value_and_grad, start, method="L-BFGS-B", jac=True, callback=iterate, options=options)
        if not math.isfinite(result.fun):
            raise ValueError(overflow_of_features(samples.X) or f"The loss overflows. Lower alpha={alpha:g}.")
        value_and_grad(result.x)
    if result.nit == 0:  # the start was the optimum
        monitor(float(result.fun))
    if monitor.stopped or tol is None or slope <= tol:
        return None
    if result.nit >= max_iter:
        why, remedies = f"max_iter={max_iter} iterations", ["raise max_iter"]
    elif result.nfev >= max_fun:
        why, remedies = f"max_fun={max_fun} evaluations", ["raise max_fun"]
    else:
        kind = samples.X.dtype.name
        why = f"{result.nit} iterations, as no step lowers the loss further in {kind}"
        remedies = ["pass X in float64"] if kind == "float32" else []
    remedy = ", or ".join(filter(None, [advice_to_standardise(samples), *remedies, "raise tol."]))
    return (
        f"lbfgs ended after {why}: the largest derivative is {slope:.2g} nats, above tol={tol:g}. "
        f"{remedy[0].upper()}{remedy[1:]}"
    )
