"""A linear layer and the loss behind it: the data of a row, the truth about it, the ways of xentrs and of NumPy."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .. import losses
from .formulas import FORMULAS, Array


class Layer(NamedTuple):
    """Inputs, weight, and the classes that the logits are held against."""

    x: Array
    weight: Array
    bias: Array
    target: Array
    wrt: tuple[str, ...]
    """The gradients that are timed: with few classes, as in softmax regression, inputs are data and have none."""

    @property
    def logits(self) -> Array:
        """The logits, stored."""
        logits: Array = self.x @ self.weight.T
        logits += self.bias
        return logits


def draw(shape: tuple[int, ...], dtype: type) -> Layer:
    """Draw a layer of so many rows, features and classes, whose logits are a few units wide."""
    n, d, c = shape
    rng = np.random.default_rng(0)
    x, weight = rng.standard_normal((n, d), np.float32), rng.standard_normal((c, d), np.float32)
    weight *= 3 / np.sqrt(d)
    wrt = ("weight", "bias") if c <= 32 else ("x", "weight", "bias")
    return Layer(x.astype(dtype), weight.astype(dtype), np.zeros(c, dtype), rng.integers(0, c, n), wrt)


def oracle(layer: Layer) -> tuple[float, Array, Array, Array]:
    """Compute the truth in float64: the mean loss, and of some classes their places, gradient and its yardstick."""
    (n, d), c = layer.x.shape, len(layer.weight)
    formula: Any = FORMULAS["softmax_cross_entropy"]
    some = np.unique(np.linspace(0, c - 1, min(c, 16)).astype(int))
    total, grad, size = 0.0, np.zeros((len(some), d)), np.zeros((len(some), d))
    weight, bias = layer.weight.astype(np.float64), layer.bias.astype(np.float64)
    block = max(1, (1 << 22) // c)
    for start in range(0, n, block):
        x, target = layer.x[start : start + block].astype(np.float64), layer.target[start : start + block]
        logits = x @ weight.T + bias
        total += float(formula.values(logits, target).sum())
        up, down = (slope[:, some] for slope in formula.slopes(logits, target))
        grad += (up - down).T @ x
        size += (up + down).T @ np.abs(x)
    return total / n, some, grad / n, size / n


def xentrs(layer: Layer, out: Array) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """The loss; the loss and the gradient of the weight, beside which the others are computed."""
    places = (np.empty_like(layer.x) if "x" in layer.wrt else None, out, np.empty_like(layer.bias))
    given: Any = (layer.x, layer.weight, layer.target)

    def gradient() -> tuple[Any, Any]:
        result = losses.linear_cross_entropy_with_grad(*given, bias=layer.bias, wrt=layer.wrt, out=places)
        return result.loss, result.grad_weight

    return functools.partial(losses.linear_cross_entropy, *given, bias=layer.bias), gradient


def numpy(layer: Layer, out: Array) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """The same by formulas, with logits that are stored."""
    n, rows = len(layer.x), np.arange(len(layer.x))

    def forward() -> tuple[Any, Array]:
        z = layer.logits
        own = z[rows, layer.target]
        peak = z.max(axis=1, keepdims=True)
        np.exp(np.subtract(z, peak, out=z), out=z)
        total = z.sum(axis=1, keepdims=True)
        loss = np.mean(np.log(total[:, 0]) + peak[:, 0] - own)
        np.divide(z, total * n, out=z)
        return loss, z

    def gradient() -> tuple[Any, Array]:
        loss, grad = forward()
        grad[rows, layer.target] -= 1 / n
        if "x" in layer.wrt:
            grad @ layer.weight
        np.matmul(grad.T, layer.x, out=out)
        grad.sum(axis=0)
        return loss, out

    return (
        lambda: np.sum(FORMULAS["softmax_cross_entropy"].values(layer.logits, layer.target), dtype=float) / n,
        gradient,
    )
