"""What is true: float64 formulas in which nothing cancels, written to be obviously right rather than fast.

The softmax one looks at all c x c differences of a row.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[Any]


@dataclass(frozen=True)
class Truth:
    """What an oracle says about a batch, each row (or element) multiplied by its sample weight."""

    loss: Array
    grad: Array
    """The gradient of `loss.sum()`."""
    size: Array
    """The magnitude of the two terms whose difference is `grad`: the yardstick of its rounding error. Where a class is
    the target without smoothing one of the terms is zero, and the yardstick is the gradient itself."""
    weight: float
    """What "mean" divides by."""

    def reduced(self, reduction: str) -> tuple[Any, Array, Array]:
        """Loss, gradient and yardstick under a reduction. The mean of nothing is zero."""
        if reduction == "none":
            return self.loss, self.grad, self.size
        if reduction == "sum":
            return self.loss.sum(), self.grad, self.size
        if self.weight == 0:
            return 0.0, np.zeros_like(self.grad), np.zeros_like(self.size)
        return self.loss.sum() / self.weight, self.grad / self.weight, self.size / self.weight


def minus_log_softmax(logits: ArrayLike) -> Array:
    """`-ln p_k = ln sum_j exp(z_j - z_k) = ln(1 + sum_{j != k} exp(z_j - z_k))`, for logits finite or -inf."""
    z = np.asarray(logits, np.float64)
    with np.errstate(invalid="ignore"):
        difference = z[..., None, :] - z[..., :, None]  # [k, j] = z_j - z_k
    difference[..., np.eye(z.shape[-1], dtype=bool)] = -np.inf
    difference[np.broadcast_to(np.isneginf(z)[..., None, :], difference.shape)] = -np.inf
    cost: Array = np.logaddexp(0.0, np.logaddexp.reduce(difference, axis=-1))
    cost[np.isneginf(z)] = np.inf
    return cost


def softmax_cross_entropy_oracle(
    logits: ArrayLike,
    target: ArrayLike,
    *,
    class_weight: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    ignore_index: int | None = -100,
    label_smoothing: float = 0.0,
) -> Truth:
    z, t = np.asarray(logits, np.float64), np.asarray(target)
    c = z.shape[-1]
    kept = np.ones(z.shape[:-1], bool)
    if t.dtype.kind in "iu":
        kept = t != ignore_index
        t = t[..., None] == np.arange(c)
    t = t.astype(np.float64)
    w = np.ones(c) if class_weight is None else np.asarray(class_weight, np.float64)
    s = np.ones(z.shape[:-1]) if sample_weight is None else np.asarray(sample_weight, np.float64)

    # loss = sum_k a_k (-ln p_k)
    a = w * ((1 - label_smoothing) * t + label_smoothing * t.sum(-1, keepdims=True) / c)
    cost = minus_log_softmax(z)
    loss = np.where(a > 0, a * np.where(a > 0, cost, 0), 0).sum(-1)

    # d loss / d z_j = sum_k a_k (p_j - [j = k]) = p_j sum_{k != j} a_k - a_j sum_{k != j} p_k
    p, others = np.exp(-cost), 1 - np.eye(c)
    up, down = p * (a @ others), a * (p @ others)

    s = np.where(kept & (a.sum(-1) > 0), s, 0)
    return Truth(
        loss=np.where(s > 0, s * loss, 0),
        grad=s[..., None] * (up - down),
        size=s[..., None] * (up + down),
        weight=float((s * (w * t).sum(-1)).sum()),
    )


def categorical_cross_entropy_oracle(
    p: ArrayLike,
    target: ArrayLike,
    *,
    class_weight: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    ignore_index: int | None = -100,
    eps: float = 0.0,
) -> Truth:
    q, t = np.asarray(p, np.float64), np.asarray(target)
    c = q.shape[-1]
    kept = np.ones(q.shape[:-1], bool)
    if t.dtype.kind in "iu":
        kept = t != ignore_index
        t = t[..., None] == np.arange(c)
    w = np.ones(c) if class_weight is None else np.asarray(class_weight, np.float64)
    s = np.ones(q.shape[:-1]) if sample_weight is None else np.asarray(sample_weight, np.float64)
    a = np.where(kept, s, 0)[..., None] * w * t.astype(np.float64)
    clipped = np.clip(q, eps, 1 - eps)
    grad = np.where(clipped == q, -a / q, 0)
    return Truth(loss=(a * -np.log(clipped)).sum(-1), grad=grad, size=np.abs(grad), weight=float(a.sum()))


def js_divergence_oracle(z: Array, other: Array) -> Array:
    """`sum_k m_k phi(ln(p_k / q_k))` in the widest floats that there are; all logits finite.

    `phi(x) = u tanh u - ln cosh u` with `u = x / 2`, by its series where that would cancel.
    """
    a, b = (x.astype(np.longdouble) for x in (z, other))
    log_p, log_q = (x - np.logaddexp.reduce(x, axis=-1, keepdims=True) for x in (a, b))
    # The difference of the log-sum-exps once more, from the differences: ln sum_k q_k exp(x_k)
    change = a - b
    shift = np.log1p((np.exp(log_q) * np.expm1(np.minimum(change, 100))).sum(-1, keepdims=True))
    x = np.where(np.abs(change).max(-1, keepdims=True) < 1, change - shift, log_p - log_q)
    u = np.abs(x / 2)
    series = u**2 * (1 / 2 - u**2 * (1 / 4 - u**2 * (1 / 9 - u**2 * 17 / 360)))
    phi = np.where(u < 1e-3, series, u * np.tanh(u) - (u + np.log1p(np.exp(-2 * u)) - np.log(np.longdouble(2))))
    return ((np.exp(log_p) + np.exp(log_q)) / 2 * phi).sum(-1)


def sigmoid_cross_entropy_oracle(
    logits: ArrayLike,
    target: ArrayLike,
    *,
    pos_weight: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
) -> Truth:
    x, t = np.asarray(logits, np.float64), np.asarray(target, np.float64)
    b = 1.0 if pos_weight is None else np.asarray(pos_weight, np.float64)
    s = np.ones(x.shape) if sample_weight is None else np.asarray(sample_weight, np.float64)
    if s.ndim < x.ndim:
        s = s[..., None]
    s = np.broadcast_to(s, x.shape)

    # -ln sigmoid(x) = ln(1 + exp(-x)), and the complement 1 - sigmoid(x) is sigmoid(-x)
    cost_positive, cost_negative = np.logaddexp(0.0, -x), np.logaddexp(0.0, x)
    up, down = (1 - t) * np.exp(-cost_positive), b * t * np.exp(-cost_negative)
    return Truth(
        loss=s * (b * t * cost_positive + (1 - t) * cost_negative),
        grad=s * (up - down),
        size=s * (up + down),
        weight=float(s.sum()),
    )


def logsumexp_oracle(x: Array) -> tuple[Array, Array]:
    value: Array = np.logaddexp.reduce(np.asarray(x, np.float64), axis=-1)
    return value, np.abs(x).max(-1) + np.abs(value)


def exact(formula: Callable[[Array], Array]) -> Callable[[Array], tuple[Array, Array]]:
    """An oracle whose error is measured by the value itself."""

    def oracle(x: Array) -> tuple[Array, Array]:
        value = formula(np.asarray(x, np.float64))
        return value, np.abs(value)

    return oracle
