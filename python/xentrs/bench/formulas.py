"""What is timed, as formulas of NumPy: in double precision the truth, in that of the data what a user would write."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Shape = tuple[int, ...]


class Formula(NamedTuple):
    """A function without options: data for it, its values, and its slopes."""

    draw: Callable[[np.random.Generator, Shape, type], tuple[Array, Array]]
    """Logits, or what stands for them, and what they are held against: an array without rows where that is nothing."""
    values: Callable[[Array, Array], Array]
    """One a row, or one an element."""
    slopes: Callable[[Array, Array], tuple[Array, Array]] | None
    """Two terms whose difference is the derivative of the sum of the values, or what a map gives."""
    given: tuple[float, ...] = ()
    """What else the function of xentrs is given."""
    options: Mapping[str, float] = {}
    """The same, by name."""
    is_loss: bool = True
    """Whether there is a mean to take, and a place for the gradient; else one value a row."""
    joint: Callable[[int], int] | None = None
    """Where a value depends on several rows, how many values so many rows have: all are needed for the truth."""
    repeats_in_place: bool = True
    """Whether a gradient is as good an input as the logits it was written over."""
    shares: Callable[[Array, Array], Array] | None = None
    """In place of `slopes`, where each row is compared with all rows of a second array: how much they count in its
    gradient. The other term is the row that it belongs to. Only the gradient of the first array is checked."""
    is_map: bool = False
    """Whether the values have the shape of the logits: they stand where a gradient would, and there is no loss."""
    bends: Callable[[Array, Array], Array] | None = None
    """The second derivative of the sum of the values by each logit, where there is a Hessian."""

    @property
    def has_gradient(self) -> bool:
        """Whether there are terms."""
        return bool(self.slopes or self.shares)

    def terms(self, z: Array, y: Array) -> tuple[Array, Array]:
        """Two terms whose difference is the gradient."""
        return (self.shares(z, y) @ y, y) if self.shares else self.slopes(z, y)  # type: ignore[misc]

    def yardstick(self, z: Array, y: Array) -> Array:
        """What is summed for the gradient, without its signs."""
        if self.shares:
            return self.shares(z, y) @ np.abs(y) + np.abs(y)
        up, down = self.terms(z, y)
        return np.abs(up) + np.abs(down)


def _logits(rng: np.random.Generator, shape: Shape, dtype: Any) -> Array:
    drawn = np.float64 if dtype is np.float64 else np.float32  # a generator knows no halves
    return (5 * rng.standard_normal(shape, drawn)).astype(dtype, copy=False)


def _classes(rng: np.random.Generator, shape: Shape, dtype: type) -> tuple[Array, Array]:
    return _logits(rng, shape, dtype), rng.integers(0, shape[-1], shape[:-1])


def _answers(rng: np.random.Generator, shape: Shape, dtype: type) -> tuple[Array, Array]:
    return _logits(rng, shape, dtype), (rng.random(shape) < 0.3).astype(dtype)


def _chances(rng: np.random.Generator, shape: Shape, dtype: type) -> tuple[Array, Array]:
    logits, answers = _answers(rng, shape, dtype)
    return 1 / (1 + np.exp(-logits / 2)), answers


def _measured(rng: np.random.Generator, shape: Shape, dtype: type) -> tuple[Array, Array]:
    return _logits(rng, shape, dtype), _logits(rng, shape, dtype)


def _distribution(rng: np.random.Generator, shape: Shape, dtype: type) -> Array:
    p = rng.standard_exponential(shape, np.float64)
    p /= p.sum(-1, keepdims=True)
    return p.astype(dtype)


def _one(rng: np.random.Generator, shape: Shape, dtype: type) -> tuple[Array, Array]:
    p = _distribution(rng, shape, dtype)
    return p, p[:0]


def _two(rng: np.random.Generator, shape: Shape, dtype: type) -> tuple[Array, Array]:
    return _distribution(rng, shape, dtype), _distribution(rng, shape, dtype)


def _logsumexp(z: Array, _: Array) -> Array:
    peak = z.max(-1, keepdims=True)
    sums: Array = np.log(np.exp(z - peak).sum(-1)) + peak[:, 0]
    return sums


def _softmax_values(z: Array, y: Array) -> Array:
    values: Array = _logsumexp(z, y) - z[np.arange(len(z)), y]
    return values


def _softmax_slopes(z: Array, y: Array) -> tuple[Array, Array]:
    p = np.exp(z - z.max(-1, keepdims=True))
    p /= p.sum(-1, keepdims=True)
    t = np.zeros_like(p)
    t[np.arange(len(z)), y] = 1.0
    return p, t


def _token_values(z: Array, y: Array) -> Array:
    p, values = _softmax(z), _softmax_values(z, y)
    cost = _logsumexp(z, y)[:, np.newaxis] - z
    values += (p * cost).sum(-1)
    return values


def _token_slopes(z: Array, y: Array) -> tuple[Array, Array]:
    p, t = _softmax_slopes(z, y)
    cost = _logsumexp(z, y)[:, np.newaxis] - z
    return p + p * cost, t + p * (p * cost).sum(-1, keepdims=True)


def _softmax_bends(z: Array, _: Array) -> Array:
    p = _softmax(z)
    bends: Array = p * (1 - p)
    return bends


def _focus(z: Array, y: Array) -> tuple[Array, Array]:
    """The cost of the labelled class, and how much of its gradient the factor `(1 - p)^2` leaves."""
    rows, e = np.arange(len(z)), np.exp(z - z.max(-1, keepdims=True))
    total, own = e.sum(-1), e[rows, y]
    e[rows, y] = 0.0  # 1 - p as the sum of the others: the difference would lose its digits
    p, rest = own / total, e.sum(-1) / total
    cost = np.where(rest < 0.5, -np.log1p(-np.minimum(rest, 0.5)), -np.log(p))
    return rest**2 * cost, rest**2 + 2 * rest * p * cost


def _softmax_focal_slopes(z: Array, y: Array) -> tuple[Array, Array]:
    (p, t), factor = _softmax_slopes(z, y), _focus(z, y)[1][:, np.newaxis]
    return factor * p, factor * t


def _focal_values(z: Array, t: Array) -> Array:
    p, q = 1 / (1 + np.exp(-z)), 1 / (1 + np.exp(z))
    return t * q**2 * np.logaddexp(0, -z) + (1 - t) * p**2 * np.logaddexp(0, z)


def _focal_slopes(z: Array, t: Array) -> tuple[Array, Array]:
    p, q, yes, no = 1 / (1 + np.exp(-z)), 1 / (1 + np.exp(z)), np.logaddexp(0, -z), np.logaddexp(0, z)
    return (1 - t) * p**2 * (p + 2 * q * no), t * q**2 * (q + 2 * p * yes)


def _entropy(p: Array, _: Array) -> Array:
    entropy: Array = -(p * np.log(p)).sum(-1)
    return entropy


def _js(p: Array, q: Array) -> Array:
    m = (p + q) / 2
    js: Array = ((p * np.log(p / m) + q * np.log(q / m)) / 2).sum(-1)
    return js


def _softmax(z: Array) -> Array:
    p: Array = np.exp(z - z.max(-1, keepdims=True))
    p /= p.sum(-1, keepdims=True)
    return p


def _sequence(rng: np.random.Generator, shape: Shape, dtype: Any) -> tuple[Array, Array]:
    z = _logits(rng, shape, dtype)
    return z, z[:0]


def _neighbours(z: Array, _: Array) -> Array:
    p = _softmax(z)
    return _js(p[:-1], p[1:])


def _neighbours_slopes(z: Array, _: Array) -> tuple[Array, Array]:
    p = _softmax(z)
    up, down = np.zeros_like(p), np.zeros_like(p)
    m = (p[:-1] + p[1:]) / 2
    for rows in (slice(None, -1), slice(1, None)):
        surprise = np.log(p[rows] / m) / 2
        up[rows] += p[rows] * surprise
        down[rows] += p[rows] * (p[rows] * surprise).sum(-1, keepdims=True)
    return up, down


GROUPS = 4
"""Among whom predictions are compared."""


def _grouped(rng: np.random.Generator, shape: Shape, dtype: Any) -> tuple[Array, Array]:
    group = rng.integers(0, GROUPS, shape)
    return _logits(rng, shape, dtype) + group.astype(dtype), group


def _means(p: Array, group: Array) -> tuple[Array, Array]:
    sizes = np.bincount(group, minlength=GROUPS)
    return np.bincount(group, p, GROUPS) / sizes, sizes / len(p)


def _disparity(z: Array, group: Array) -> Array:
    p = 1 / (1 + np.exp(-z))
    means, shares = _means(p, group)
    return np.atleast_1d((shares * (means - p.mean()) ** 2).sum())


def _disparity_slopes(z: Array, group: Array) -> tuple[Array, Array]:
    p, q = 1 / (1 + np.exp(-z)), 1 / (1 + np.exp(z))
    steepness = 2 / len(p) * p * q
    return steepness * _means(p, group)[0][group], steepness * p.mean()


def _perplexity_slopes(p: Array, q: Array) -> tuple[Array, Array]:
    factor = np.exp(_entropy(p, q))[:, None]
    return -factor * np.log(p), factor * np.ones_like(p)


def _views(rng: np.random.Generator, shape: Shape, dtype: type) -> tuple[Array, Array]:
    x = rng.standard_normal(shape)
    y = x + rng.standard_normal(shape)
    x, y = (view / np.linalg.norm(view, axis=1, keepdims=True) for view in (x, y))
    return x.astype(dtype), y.astype(dtype)


def _contrasts(x: Array, y: Array) -> Array:
    z = x @ y.T
    own: Array = (_logsumexp(z, y) + _logsumexp(z.T, y)) / 2 - np.diag(z)
    return own


def _contrasts_shares(x: Array, y: Array) -> Array:
    z = x @ y.T
    return (_softmax(z) + _softmax(z.T).T) / 2


def _togetherness(x: Array, y: Array) -> Array:
    z = x @ y.T
    own: Array = np.logaddexp(0, z).sum(axis=1) - np.diag(z)
    return own


FORMULAS: Mapping[str, Formula] = {
    "softmax_cross_entropy": Formula(_classes, _softmax_values, _softmax_slopes, bends=_softmax_bends),
    "softmax_focal_loss": Formula(_classes, lambda z, y: _focus(z, y)[0], _softmax_focal_slopes),
    "token_logprobs": Formula(_classes, _token_values, _token_slopes),
    "sigmoid_cross_entropy": Formula(
        _answers,
        lambda z, t: np.logaddexp(0, z) - t * z,
        lambda z, t: (1 / (1 + np.exp(-z)), t),  # it cancels, as it does for most peers, so the tolerance is wide
    ),
    "sigmoid_focal_loss": Formula(_answers, _focal_values, _focal_slopes),
    "hinge_loss": Formula(
        _answers,
        lambda s, t: np.maximum(0, 1 - (2 * t - 1) * s),
        lambda s, t: ((1 - t) * (s > -1), t * (s < 1)),
    ),
    "binary_cross_entropy": Formula(
        _chances,
        lambda p, t: -t * np.log(p) - (1 - t) * np.log1p(-p),
        lambda p, t: ((1 - t) / (1 - p), t / p),
        repeats_in_place=False,
    ),
    "categorical_cross_entropy": Formula(
        _two,
        lambda p, t: -(t * np.log(p)).sum(-1),
        lambda p, t: (np.zeros_like(p), t / p),
        repeats_in_place=False,
    ),
    "gaussian_nll": Formula(
        _measured,
        lambda m, t: (np.log(2 * np.pi) + (t - m) ** 2) / 2,
        lambda m, t: (m, t),
        given=(1.0,),
        repeats_in_place=False,
    ),
    "info_nce": Formula(
        _views,
        _contrasts,
        None,
        options={"temperature": 1.0},
        joint=lambda n: n,
        repeats_in_place=False,
        shares=_contrasts_shares,
    ),
    "siglip_loss": Formula(
        _views,
        _togetherness,
        None,
        options={"temperature": 1.0},
        joint=lambda n: n,
        repeats_in_place=False,
        shares=lambda x, y: 1 / (1 + np.exp(-(x @ y.T))),
    ),
    "js_smoothness": Formula(_sequence, _neighbours, _neighbours_slopes, joint=lambda n: n - 1, repeats_in_place=False),
    "parity_penalty": Formula(_grouped, _disparity, _disparity_slopes, joint=lambda n: 1, repeats_in_place=False),
    "softmax_stats": Formula(_classes, _softmax_values, None),
    "logsumexp": Formula(_sequence, _logsumexp, None, is_loss=False),
    "softmax": Formula(
        _sequence, lambda z, _: _softmax(z), lambda z, _: (_softmax(z), np.zeros_like(z)), is_loss=False, is_map=True
    ),
    "log_softmax": Formula(
        _sequence,
        lambda z, y: z - _logsumexp(z, y)[:, np.newaxis],
        lambda z, y: (z, _logsumexp(z, y)[:, np.newaxis] + np.zeros_like(z)),
        is_loss=False,
        is_map=True,
    ),
    "entropy": Formula(_one, _entropy, lambda p, _: (-np.log(p), np.ones_like(p)), is_loss=False),
    "perplexity": Formula(_one, lambda p, q: np.exp(_entropy(p, q)), _perplexity_slopes, is_loss=False),
    "cross_entropy": Formula(
        _two, lambda p, q: -(p * np.log(q)).sum(-1), lambda p, q: (-np.log(q), np.zeros_like(q)), is_loss=False
    ),
    "kl_divergence": Formula(
        _two,
        lambda p, q: (p * np.log(p / q) - p + q).sum(-1),
        lambda p, q: (np.log(p), np.log(q)),
        is_loss=False,
    ),
    "js_divergence": Formula(_two, _js, lambda p, q: (np.log(p) / 2, np.log((p + q) / 2) / 2), is_loss=False),
}
"""Every row of the table is one of these."""
