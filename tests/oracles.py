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
    log_prior: ArrayLike | None = None,
    z_loss: float = 0.0,
    gamma: float = 0.0,
) -> Truth:
    z, t = np.asarray(logits, np.float64), np.asarray(target)
    c = z.shape[-1]
    x = np.zeros(z.shape) if softcap is None else z / softcap
    slope = 4 * np.exp(-2 * np.abs(x)) / (1 + np.exp(-2 * np.abs(x))) ** 2 / temperature
    z = (z if softcap is None else softcap * np.tanh(x)) / temperature
    if log_prior is not None:
        z = z + np.asarray(log_prior, np.float64)
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
    if softcap is not None or temperature != 1 or log_prior is not None:
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


@dataclass(frozen=True)
class TokenTruth:
    """What is true of tokens: two numbers a row, and the gradient of their sum, each times its upstream gradient."""

    logprob: Array
    entropy: Array
    grad: Array
    size: Array
    """The magnitude of the terms of the gradient."""
    doubt: tuple[Array, Array, Array]
    """How far log-probability, entropy and gradient may be off because an option has rounded the logits."""


def token_logprobs_oracle(
    logits: ArrayLike,
    token: ArrayLike,
    *,
    grad_logprob: ArrayLike = 1.0,
    grad_entropy: ArrayLike = 0.0,
    temperature: float = 1.0,
    softcap: float | None = None,
    log_prior: ArrayLike | None = None,
    ignore_index: int | None = -100,
) -> TokenTruth:
    z, y = np.asarray(logits, np.float64), np.asarray(token)
    x = np.zeros(z.shape) if softcap is None else z / softcap
    slope = 4 * np.exp(-2 * np.abs(x)) / (1 + np.exp(-2 * np.abs(x))) ** 2 / temperature
    z = (z if softcap is None else softcap * np.tanh(x)) / temperature
    if log_prior is not None:
        z = z + np.asarray(log_prior, np.float64)
    kept = y != ignore_index
    own = np.where(kept, y, 0)[..., None] == np.arange(z.shape[-1])
    a, b = (np.broadcast_to(np.asarray(g, np.float64), y.shape)[..., None] for g in (grad_logprob, grad_entropy))

    cost = minus_log_softmax(z)
    p = np.exp(-cost)
    cost_or_0 = np.where(p > 0, cost, 0)
    entropy = (p * cost_or_0).sum(-1, keepdims=True)
    others = p @ (1 - np.eye(z.shape[-1]))
    margin = np.where(p > 0, z.max(-1, keepdims=True) - np.where(p > 0, z, 0), 0)
    spread = p * (margin + (p * margin).sum(-1, keepdims=True))
    grad = a * np.where(own, others, -p) + b * p * (cost_or_0 - entropy)
    size = np.abs(a) * np.where(own, others, p) + np.abs(b) * spread

    eps = float(np.finfo(np.asarray(logits).dtype).eps) * (
        softcap is not None or temperature != 1 or log_prior is not None
    )
    off = 4 * eps * np.abs(np.where(np.isinf(z), 0, z)).max(-1, keepdims=True)
    grad_doubt = (off * (4 * size + 4 * np.abs(b) * p) + 16 * eps * np.abs(x) * size) * slope
    return TokenTruth(
        logprob=np.where(kept, -cost[own].reshape(y.shape), 0),
        entropy=np.where(kept, entropy[..., 0], 0),
        grad=np.where(kept[..., None], slope * grad, 0),
        size=np.where(kept[..., None], slope * size, 0),
        doubt=(2 * off[..., 0], 4 * (off * spread.sum(-1, keepdims=True))[..., 0], grad_doubt),
    )


def topk_kl_divergence_oracle(
    logits: ArrayLike,
    target: tuple[ArrayLike, ArrayLike],
    *,
    sample_weight: ArrayLike | None = None,
    ignore_index: int | None = -100,
    temperature: float = 1.0,
    softcap: float | None = None,
) -> Truth:
    z, (pairs, given) = np.asarray(logits, np.float64), (np.asarray(target[0]), np.asarray(target[1], np.float64))
    c = z.shape[-1]
    x = np.zeros(z.shape) if softcap is None else z / softcap
    slope = 4 * np.exp(-2 * np.abs(x)) / (1 + np.exp(-2 * np.abs(x))) ** 2 / temperature
    z = (z if softcap is None else softcap * np.tanh(x)) / temperature
    kept = np.ones(pairs.shape, bool) if ignore_index is None else pairs != ignore_index
    one_hot = (np.where(kept, pairs, 0)[..., None] == np.arange(c)) & kept[..., None]
    teacher, known = (given[..., None] * one_hot).sum(-2), one_hot.any(-2)
    s = np.where(kept.any(-1), 1.0 if sample_weight is None else np.asarray(sample_weight, np.float64), 0)

    cost = minus_log_softmax(z)
    student = np.exp(-cost)
    tail_logit = np.logaddexp.reduce(np.where(known, -np.inf, -cost), axis=-1)
    tail, rest = np.exp(tail_logit), 1 - teacher.sum(-1)
    rest = np.where(known.all(-1) | (rest <= known.sum(-1) * np.finfo(np.asarray(logits).dtype).eps), 0, rest)

    def excess(t: Array, log_s: Array) -> Array:
        p = np.exp(log_s)
        with np.errstate(divide="ignore", invalid="ignore"):
            x = (p - t).astype(np.longdouble) / t
            near = (t * (x - np.log1p(x))).astype(np.float64)
            return np.where(t > 0, np.where(np.abs(x) < 0.5, near, t * (np.log(t) - log_s) - t + p), p)

    loss = np.where(known, excess(teacher, -cost), 0).sum(-1) + excess(rest, tail_logit)
    share = np.exp(np.where(known, -np.inf, -cost - np.where(np.isinf(tail_logit), 0, tail_logit)[..., None]))
    total = (teacher.sum(-1) + rest)[..., None]
    up = total * np.where(known, student, share * tail[..., None])
    down = np.where(known, teacher, share * rest[..., None])
    eps = float(np.finfo(np.asarray(logits).dtype).eps)
    off = 4 * eps * np.abs(z).max(-1, keepdims=True) * (softcap is not None or temperature != 1)
    terms = np.where(known, np.abs(student - teacher), 0).sum(-1) + np.abs(tail - rest)
    return Truth(
        loss=np.where(s > 0, s * loss, 0),
        grad=s[..., None] * slope * (up - down),
        size=s[..., None] * slope * (up + down),
        weight=float(s.sum()),
        # The tail is summed in the type of the logits, and is off by a few units of itself.
        doubt=(
            s * (2 * off[..., 0] + 8 * eps) * terms + 64 * eps**2,
            s[..., None] * slope * ((4 * off + 16 * eps * np.abs(x)) * (up + down)),
        ),
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


def sigmoid_focal_loss_oracle(
    logits: ArrayLike,
    target: ArrayLike,
    *,
    gamma: float = 2.0,
    gamma_neg: float | None = None,
    clip: float = 0.0,
    alpha: float | None = None,
    pos_weight: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
) -> Truth:
    x, t = np.asarray(logits, np.float64), np.asarray(target, np.float64)
    s = element_weights(x, sample_weight, kept=np.asarray(target) != ignore_index)
    a, b = (1.0, 1.0) if alpha is None else (alpha, 1 - alpha)
    beta = 1.0 if pos_weight is None else np.asarray(pos_weight, np.float64)
    yes = beta * a * ((1 - label_smoothing) * t + label_smoothing / 2)
    no = b * ((1 - label_smoothing) * (1 - t) + label_smoothing / 2)

    # A right answer of probability p costs (1 - p)^g (-ln p). Its derivatives with dp/dx = p q, and p and q swapped for
    # the other answer, whose first derivative has the other sign.
    def answer(weight: Any, x: Array, gamma: float) -> tuple[Array, Array, Array, Array]:
        cost, cost_of_q = np.logaddexp(0.0, -x), np.logaddexp(0.0, x)
        p, q, power = np.exp(-cost), np.exp(-cost_of_q), np.exp(-gamma * cost_of_q)
        loss, slope = power * cost, power * (q + gamma * p * cost)
        rise, fall = (2 * gamma + 1) * q + gamma**2 * p * cost, gamma * q * cost
        return tuple(weight * term for term in (loss, slope, power * p * (rise - fall), power * p * (rise + fall)))

    def beyond(weight: Any, x: Array, g: float) -> tuple[Array, Array, Array, Array]:
        """The same of a negative answer with a margin: `r^g (-ln(1 - r))` with `r = p - clip`."""
        p, q = np.exp(-np.logaddexp(0.0, -x)), np.exp(-np.logaddexp(0.0, x))
        r = np.where(p > clip, p - clip, 1.0)
        w = np.where(p > clip, np.minimum(q + clip, 1), 1.0)
        cost = np.where(r < 0.5, -np.log1p(-np.minimum(r, 0.5)), -np.log(w))
        power = np.where(p > clip, weight * r**g, 0)
        first, bends = g * cost / r + 1 / w, (g * (g - 1) * cost / r**2, 2 * g / (r * w), 1 / w**2)
        terms = [p * q * (q - p) * first, *((p * q) ** 2 * bend for bend in bends)]
        return power * cost, power * p * q * first, power * sum(terms), power * sum(np.abs(term) for term in terms)

    focus = gamma if gamma_neg is None else gamma_neg
    yes_loss, down, yes_hess, yes_size = answer(yes, x, gamma)
    no_loss, up, no_hess, no_size = beyond(no, x, focus) if clip else answer(no, -x, focus)
    doubt = None
    if clip:
        # The power of a difference: p is off by a few ULP, and so is r, by p / r times as much of itself.
        eps = float(np.finfo(np.asarray(logits).dtype).eps)
        p = np.exp(-np.logaddexp(0.0, -x))
        r = np.maximum(p - clip, eps * clip)
        off = eps * (8 * (1 + focus) * p / r + 4 * focus * -np.log(np.minimum(r, 1)))
        doubt = (s * no_loss * off, s * up * off)
        no_size = no_size * (1 + off / eps)
    return Truth(
        loss=s * (yes_loss + no_loss),
        grad=s * (up - down),
        size=s * (up + down),
        weight=float(s.sum()),
        hess=s * (yes_hess + no_hess),
        hess_size=s * (yes_size + no_size),
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
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
) -> Truth:
    x, t = np.asarray(logits, np.float64), np.asarray(target, np.float64)
    b = 1.0 if pos_weight is None else np.asarray(pos_weight, np.float64)
    s = element_weights(x, sample_weight, kept=np.asarray(target) != ignore_index)
    yes = b * ((1 - label_smoothing) * t + label_smoothing / 2)
    no = (1 - label_smoothing) * (1 - t) + label_smoothing / 2

    # -ln sigmoid(x) = ln(1 + exp(-x)), and the complement 1 - sigmoid(x) is sigmoid(-x)
    cost_positive, cost_negative = np.logaddexp(0.0, -x), np.logaddexp(0.0, x)
    up, down = no * np.exp(-cost_positive), yes * np.exp(-cost_negative)
    hess = s * (yes + no) * np.exp(-cost_positive - cost_negative)
    return Truth(
        loss=s * (yes * cost_positive + no * cost_negative),
        grad=s * (up - down),
        size=s * (up + down),
        weight=float(s.sum()),
        hess=hess,
        hess_size=hess,
    )


def info_nce_oracle(
    x: ArrayLike, y: ArrayLike, *, temperature: float, symmetric: bool = True, factor: ArrayLike = 1.0
) -> tuple[Array, Array, Array]:
    """The loss of each pair, the gradient of their sum, times a factor each, to the logits, and the logits."""
    z = np.asarray(x, np.float64) @ np.asarray(y, np.float64).T / temperature
    n = len(z)
    own, factors = np.eye(n), np.broadcast_to(np.asarray(factor, np.float64), n)
    rows, columns = (np.logaddexp.reduce(z, axis=axis, keepdims=True) - z for axis in (1, 0))
    of_rows, of_columns = (np.exp(-rows) - own) * factors[:, None], (np.exp(-columns) - own) * factors
    if not symmetric:
        return np.diag(rows), of_rows, z
    return (np.diag(rows) + np.diag(columns)) / 2, (of_rows + of_columns) / 2, z


def siglip_loss_oracle(
    x: ArrayLike, y: ArrayLike, *, temperature: float, bias: float = 0.0, factor: ArrayLike = 1.0
) -> tuple[Array, Array, Array]:
    """The same of sigmoid cross-entropies, whose target is the unit matrix; logits without the bias."""
    z = np.asarray(x, np.float64) @ np.asarray(y, np.float64).T / temperature
    n = len(z)
    sign = 2 * np.eye(n) - 1
    loss = np.logaddexp(0.0, -sign * (z + bias))
    grad = -sign * np.exp(-np.logaddexp(0.0, sign * (z + bias)))
    return loss.sum(axis=1), grad * np.broadcast_to(np.asarray(factor, np.float64), n)[:, None], z


def hinge_loss_oracle(
    scores: ArrayLike, target: ArrayLike, *, squared: bool = False, sample_weight: ArrayLike | None = None
) -> Truth:
    x, y = np.asarray(scores, np.float64), np.where(np.asarray(target) == 1, 1.0, -1.0)
    s = element_weights(x, sample_weight)
    short = np.maximum(0.0, 1 - y * x)
    loss, grad = (short**2, -2 * y * short) if squared else (short, np.where(short > 0, -y, 0.0))
    return Truth(loss=s * loss, grad=s * grad, size=s * np.abs(grad), weight=float(s.sum()))


def binary_cross_entropy_oracle(
    p: ArrayLike,
    target: ArrayLike,
    *,
    pos_weight: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    eps: float = 0.0,
) -> Truth:
    p, t = np.asarray(p, np.float64), np.asarray(target, np.float64)
    yes, no = t * (1.0 if pos_weight is None else np.asarray(pos_weight, np.float64)), 1 - t
    s = element_weights(p, sample_weight)
    inside = np.clip(p, eps, 1 - eps)
    with np.errstate(divide="ignore", invalid="ignore"):
        loss = np.where(yes > 0, -yes * np.log(inside), 0) + np.where(no > 0, -no * np.log1p(-inside), 0)
        up, down = np.where(no > 0, no / (1 - p), 0), np.where(yes > 0, yes / p, 0)
        s_up, s_down = np.where((s > 0) & (p == inside), s * up, 0), np.where((s > 0) & (p == inside), s * down, 0)
        return Truth(loss=np.where(s > 0, s * loss, 0), grad=s_up - s_down, size=s_up + s_down, weight=float(s.sum()))


def element_weights(x: Array, sample_weight: ArrayLike | None, kept: ArrayLike = True) -> Array:
    """Sample weights, one an element, 0 where an element is ignored."""
    s = np.ones(x.shape) if sample_weight is None else np.asarray(sample_weight, np.float64)
    if s.ndim < x.ndim:
        s = s[..., None]
    return np.where(kept, np.broadcast_to(s, x.shape), 0.0)


def logsumexp_oracle(x: Array) -> tuple[Array, Array]:
    value: Array = np.logaddexp.reduce(np.asarray(x, np.float64), axis=-1)
    return value, np.abs(x).max(-1) + np.abs(value)


def exact(formula: Callable[[Array], Array]) -> Callable[[Array], tuple[Array, Array]]:
    """An oracle whose error is measured by the value itself."""

    def oracle(x: Array) -> tuple[Array, Array]:
        value = formula(np.asarray(x, np.float64))
        return value, np.abs(value)

    return oracle
