"""How `MLPClassifier` trains its network: the layers, the rule of the step, and an epoch of steps."""

import copy
import math
from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray
from sklearn.utils import gen_batches

from .. import nn
from ..losses import FloatArray
from ..optim import SGD, Adam
from .classification import LossWithGrad

__all__ = ["ACTIVATIONS", "Samples", "init_weights", "network_of", "optimizer_of", "optimizer_state", "train"]

ACTIVATIONS: dict[str, type[nn.Activation]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "tanh": nn.Tanh,
    "logistic": nn.Sigmoid,
}

# The attributes of an optimiser that depend on the steps before.
STATE = {Adam: ["mean", "mean_square", "n_steps"], SGD: ["velocity"]}


class Samples(NamedTuple):
    """What a network is trained on."""

    X: FloatArray
    """The samples, one a row."""

    target: NDArray[Any]
    """What the loss takes as their target."""

    weight: FloatArray
    """Their weights."""

    def rows(self, index: NDArray[np.intp]) -> Self:
        """Some of the samples."""
        return type(self)(*(array[index] for array in self))


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
    for coef, intercept in zip(coefs, intercepts, strict=True):
        layers += [nn.Dense.of(coef.T, intercept), ACTIVATIONS[activation]()]
    return nn.Sequential(*layers[:-1])


def optimizer_of(
    params: Sequence[FloatArray],
    solver: str,
    learning_rate: float | None,
    momentum: float,
    nesterov: bool,
    state: dict[str, Any],
) -> SGD | Adam:
    """The rule of the step, which goes on from what it remembers of its own, in arrays that are not changed."""
    optimizer: SGD | Adam
    if solver == "adam":
        optimizer = Adam(params, learning_rate=learning_rate or 0.001)
    else:
        optimizer = SGD(params, learning_rate=learning_rate or 0.1, momentum=momentum, nesterov=nesterov)
    if state.keys() == optimizer_state(optimizer).keys():
        vars(optimizer).update(copy.deepcopy(state))
    return optimizer


def optimizer_state(optimizer: SGD | Adam) -> dict[str, Any]:
    """What the next call of a training needs to go on as if it were the same."""
    return {name: getattr(optimizer, name) for name in STATE[type(optimizer)]}


def train(
    network: nn.Sequential,
    samples: Samples,
    loss_with_grad: LossWithGrad,
    optimizer: SGD | Adam,
    *,
    alpha: float,
    batch_size: int,
    order: NDArray[np.intp],
) -> float:
    """One pass over the samples, a step of `optimizer` per batch; the mean of the batches' objectives."""
    coefs = network.params[::2]
    total = 0.0
    with np.errstate(over="ignore", invalid="ignore"):  # an overflow is reported once, below
        for batch in gen_batches(len(order), batch_size, min_batch_size=batch_size // 2):
            X, target, weight = samples.rows(order[batch])
            logits = network.forward(X)
            loss, grad = loss_with_grad(logits, target, sample_weight=weight / len(X), reduction="sum", out=logits)
            network.backward_params(grad)
            grads = network.grads
            for coef, coef_grad in zip(coefs, grads[::2], strict=True):
                coef_grad += alpha * coef
                loss += alpha / 2 * float(np.vdot(coef, coef))
            optimizer.step(grads)
            total += len(X) * loss
    if not (math.isfinite(total) and all(np.isfinite(param).all() for param in optimizer.params)):
        raise ValueError(f"The loss overflows. Standardise X or lower learning_rate={optimizer.learning_rate}.")
    return total / len(order)
