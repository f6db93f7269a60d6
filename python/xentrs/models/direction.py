"""Where the loss of a sample rises most: gradients up to a positive factor a row, which never underflow.

The gradient of a sure prediction is as small as the chance that it is wrong: at a margin of 1000, ``exp(-1000)``, which
is 0 in every type. Its direction is not: with the factor left out it is that of the runner-up against the label.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..losses import (
    FloatArray,
    log_sigmoid,
    sigmoid,
    softmax,
    softmax_cross_entropy_with_grad,
    softmax_focal_loss_with_grad,
)
from ..nn import GELU
from .classification import LossWithGrad

__all__ = ["logits_direction", "through_layers"]

SOFTMAX = (softmax_cross_entropy_with_grad, softmax_focal_loss_with_grad)

# Below this a gradient in double precision may have lost digits, or whole entries, to underflow.
FAINT = 1e-290


def logits_direction(
    loss_with_grad: LossWithGrad,
    logits: FloatArray,
    target: NDArray[Any],
    *,
    gamma: float = 0.0,
    **options: Any,
) -> FloatArray:
    """Gradient of the loss of each row with respect to its logits, divided by its largest entry.

    The loss is one of the softmax or of sigmoids, focal with `gamma`; `logits` are in double precision.
    """
    # 1. What the loss says, wherever that has not underflown.
    more = {"gamma": gamma} if gamma else {}
    grad = loss_with_grad(logits, target, reduction="sum", **options, **more).grad
    faint = np.abs(grad).max(axis=1) < FAINT
    if options.get("label_smoothing"):
        faint[:] = False  # such a target has no certainty in it: where the gradient is 0, there is a minimum

    # 2. Else the answer is right and sure, and the gradient is known but for its size.
    if faint.any():
        z, t = logits[faint], target[faint]
        if getattr(loss_with_grad, "func", loss_with_grad) in SOFTMAX:
            grad[faint] = _against_runner_up(z, t)
        else:
            grad[faint] = _against_labels(z, t, gamma, options.get("pos_weight"))
    return _scaled(grad)


def _against_runner_up(z: FloatArray, t: NDArray[Any]) -> FloatArray:
    """Of ``-ln p_y``, or the focal loss, which falls with ``p_y`` as that does: ``p_k / (1 - p_y)``, and -1 at y."""
    rows, certain = np.arange(len(z)), np.ones(len(z), bool)
    if t.ndim == 2:
        t, certain = t.argmax(axis=1), t.max(axis=1) == 1
    others = z.copy()
    others[rows, t] = -np.inf
    direction = softmax(others)
    direction[rows, t] = -1.0
    return direction * certain[:, np.newaxis]  # of shares the gradient is 0 at their minimum alone


def _against_labels(z: FloatArray, t: FloatArray, gamma: float, pos_weight: Any) -> FloatArray:
    """Of sigmoids: with ``q`` for the chance that a label is wrong, ``(1 + gamma) q^(1 + gamma)`` as q goes to 0."""
    sign = np.where(t == 1, -1.0, np.where(t == 0, 1.0, 0.0))
    logs = (1 + gamma) * log_sigmoid(sign * z)
    if pos_weight is not None:
        with np.errstate(divide="ignore"):
            logs = logs + np.where(t == 1, np.log(np.array(pos_weight, np.float64)), 0.0)
    return _times_exp(sign, logs)


def through_layers(
    grad: FloatArray, weights: Sequence[FloatArray], activation: str, inputs: Sequence[FloatArray]
) -> FloatArray:
    """Take a gradient to the logits of a network back to its samples, divided by the largest entry of each row.

    `weights` are those of the layers, (inputs, outputs), and `inputs` what the functions between the layers were given.
    """
    for weight, x in zip(reversed(weights[1:]), reversed(inputs), strict=True):
        grad = _times_slope(_scaled(grad) @ weight.T, activation, x)
    return _scaled(_scaled(grad) @ weights[0].T)


def _times_slope(grad: FloatArray, activation: str, x: FloatArray) -> FloatArray:
    """The chain rule for a function of each number, whose slope may underflow."""
    if activation == "identity":
        return grad
    if activation == "relu":
        return np.where(x > 0, grad, 0.0)
    if activation == "tanh":  # 1 - tanh(x)^2 = 4 s(2x) s(-2x)
        return _times_exp(grad, log_sigmoid(2 * x) + log_sigmoid(-2 * x))
    if activation == "logistic":
        return _times_exp(grad, log_sigmoid(x) + log_sigmoid(-x))
    x = np.clip(x, -1e100, 1e100)  # no cube overflows
    twice_u, du = GELU()._twice_u(x), GELU._SCALE * (1 + 3 * GELU._CUBIC * x * x)
    return _times_exp(grad * (1 + x * sigmoid(-twice_u) * du), log_sigmoid(twice_u))


def _times_exp(factor: FloatArray, logs: FloatArray) -> FloatArray:
    """``factor * exp(logs)`` of each row, divided by its largest entry before anything underflows."""
    with np.errstate(divide="ignore", invalid="ignore"):  # the logarithm of 0 is -inf
        logs = np.log(np.abs(factor)) + logs
        largest = logs.max(axis=1, keepdims=True, initial=-np.inf)
        shares = np.exp(logs - largest)
    return np.where(np.isneginf(largest), 0.0, np.sign(factor) * shares)


def _scaled(rows: FloatArray) -> FloatArray:
    """Each row divided by its largest entry."""
    largest = np.abs(rows).max(axis=1, keepdims=True, initial=0.0)
    scaled: FloatArray = rows / np.where(largest > 0, largest, 1.0)
    return scaled
