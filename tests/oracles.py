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
    hess: Array | None = None
    """The diagonal of the Hessian of `loss.sum()`, where there is one to ask for."""
    hess_size: Array | None = None
    """The magnitude of the terms that it is the sum of."""
    doubt: tuple[Array, Array] | None = None
    """How far loss and gradient may be off because a temperature or a softcap has rounded the logits."""

    def reduced(self, reduction: str) -> tuple[Any, Array, Array]:
        """Loss, gradient and yardstick under a reduction. The mean of nothing is zero."""
        if reduction == "none":
            return self.loss, self.grad, self.size
        if reduction == "sum":
            return self.loss.sum(), self.grad, self.size
        if self.weight == 0:
            return 0.0, np.zeros_like(self.grad), np.zeros_like(self.size)
        return self.loss.sum() / self.weight, self.grad / self.weight, self.size / self.weight

    def doubts(self, reduction: str) -> tuple[Any, Any]:
        """How far loss and gradient may be off under a reduction, beyond what the yardstick says."""
        if self.doubt is None or (reduction == "mean" and self.weight == 0):
            return 0.0, 0.0
        loss, grad = self.doubt
        scale = self.weight if reduction == "mean" else 1.0
        return (loss if reduction == "none" else loss.sum() / scale), grad / scale


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
    temperature: float = 1.0,
    softcap: float | None = None,
    z_loss: float = 0.0,
    gamma: float = 0.0,
) -> Truth:
    z, t = np.asarray(logits, np.float64), np.asarray(target)
    c = z.shape[-1]
    x = np.zeros(z.shape) if softcap is None else z / softcap
    slope = 4 * np.exp(-2 * np.abs(x)) / (1 + np.exp(-2 * np.abs(x))) ** 2 / temperature
    z = (z if softcap is None else softcap * np.tanh(x)) / temperature
    kept = np.ones(z.shape[:-1], bool)
    if t.dtype.kind in "iu":
        kept = t != ignore_index
        t = t[..., None] == np.arange(c)
    t = t.astype(np.float64)
    w = np.ones(c) if class_weight is None else np.asarray(class_weight, np.float64)
    s = np.ones(z.shape[:-1]) if sample_weight is None else np.asarray(sample_weight, np.float64)

    # loss = sum_k a_k (1 - p_k)^g (-ln p_k)
    a = w * ((1 - label_smoothing) * t + label_smoothing * t.sum(-1, keepdims=True) / c)
    cost = minus_log_softmax(z)
    p, others = np.exp(-cost), 1 - np.eye(c)
    q = p @ others
    focus = q**gamma
    loss = np.where(a > 0, a * focus * np.where(a > 0, cost, 0), 0).sum(-1)

    # d loss / d z_j = sum_k v_k (p_j - [j = k]) = p_j sum_{k != j} v_k - v_j sum_{k != j} p_k
    with np.errstate(divide="ignore", invalid="ignore"):
        turn = np.where((gamma > 0) & (p > 0) & (q > 0), gamma * focus / q * p * cost, 0.0)
    v = a * (focus + turn)
    up, down = p * (v @ others), v * (q if gamma == 0 else p @ others)

    # z_loss lse^2, and its gradient 2 z_loss lse p
    lse = np.logaddexp.reduce(z, axis=-1)
    pull = 2 * z_loss * lse[..., None] * p
    loss = loss + z_loss * lse**2

    s = np.where(kept & (a.sum(-1) > 0), s, 0)
    grad, size = slope * (up - down + pull), slope * (up + down + np.abs(pull))
    u = a.sum(-1, keepdims=True)
    doubt = None
    if softcap is not None or temperature != 1:
        # Each logit is off by up to 4 ULP, and so is what the slope of tanh is made of.
        eps = float(np.finfo(np.asarray(logits).dtype).eps)
        off = 4 * eps * np.abs(np.where(np.isinf(z), 0, z)).max(-1, keepdims=True)
        doubt = (
            s * (off * (up + down + np.abs(pull))).sum(-1),
            s[..., None] * (size * (2 * (1 + gamma) * off + 16 * eps * np.abs(x)) + slope * 4 * z_loss * p * off),
        )
    return Truth(
        loss=np.where(s > 0, s * loss, 0),
        grad=s[..., None] * grad,
        size=s[..., None] * size,
        weight=float((s * (w * t).sum(-1)).sum()),
        hess=s[..., None] * u * p * q / temperature**2,
        hess_size=s[..., None] * u * p * q / temperature**2,
        doubt=doubt,
    )


def softmax_focal_loss_oracle(logits: ArrayLike, target: ArrayLike, *, gamma: float = 2.0, **options: Any) -> Truth:
    """Cross-entropy of which each term has the factor `(1 - p)^gamma`."""
    return softmax_cross_entropy_oracle(logits, target, gamma=gamma, **options)


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
