"""Second derivatives of the objective of a linear model, in the coordinates of standardised features.

With the features ``z_i`` of a sample, a 1 for the intercept behind them, its weight ``s_i``, and ``p_i`` the
probabilities that the softmax makes of its logits, the Hessian of the loss has for classes ``k`` and ``l`` the block::

    sum_i s_i p_ik (1[k = l] - p_il) z_i z_i^T / n

For labels that do not exclude each other there are only blocks ``k = l``, of the second derivatives of each loss.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from sklearn.utils import gen_batches

from ..losses import FloatArray, softmax
from ..losses.linear import Kind

if TYPE_CHECKING:
    from .standardised import Standardised, StandardisedProblem

__all__ = ["Sums", "blocks_of_hessian", "diagonal", "rows_of_hessian", "sums_of_hessian"]

# The sums of h_ik z_i z_i^T for each output k and, for the softmax alone, of the outer products of p_i (x) z_i.
Sums: TypeAlias = tuple[FloatArray, FloatArray | None]

_BLOCK = 1024  # rows whose products stay in a cache
_FLAT = 1e-12  # a curvature that is none, where those of features are about 1/4


def diagonal(problem: Standardised, state: FloatArray) -> FloatArray | None:
    """Diagonal of the Hessian; None for a loss whose second derivatives are not known."""
    curvature = problem.samples.curvature(*problem.inner(state))
    if curvature is None:
        return None
    X, n, total = problem.samples.X, len(problem.samples), curvature.sum(axis=0)
    if problem.shift is not None:  # sum_i h_i (x_i - m)^2
        m = problem.shift
        squares = (X.multiply(X).T @ curvature - 2 * m[:, np.newaxis] * (X.T @ curvature)).T + np.outer(total, m * m)
    else:
        squares = np.zeros((len(total), X.shape[1]))
        for rows in gen_batches(n, _BLOCK):
            squares += curvature[rows].T @ np.square(X[rows])
    return problem.join(squares / n + problem.decay, total / n)


def rows_of_hessian(kind: Kind | None, size: int, n_outputs: int) -> int:
    """The rows of its largest block, 0 if the kind of the loss is not known."""
    return {None: 0, "softmax": size, "sigmoid": size // n_outputs}[kind]


def sums_of_hessian(problem: Standardised, state: FloatArray) -> Sums:
    """What the Hessian of the loss is made of, which takes softmax or sigmoid cross-entropy, and one pass."""
    samples, n = problem.samples, len(problem.samples)
    exclusive = samples.kind_of_loss == "softmax"
    weight, bias = problem.inner(state)
    curvature = samples.curvature(weight, bias)
    assert curvature is not None
    curvature = curvature.astype(np.float64)
    n_outputs = curvature.shape[1]
    size = state.size // n_outputs
    if exclusive:
        p = softmax(samples.logits(weight, bias).astype(np.float64))
        s = samples.sample_weight[:, np.newaxis].astype(np.float64)
        roots, curvature = p * np.sqrt(s), p * s

    blocks = np.zeros((n_outputs, size, size))
    products = np.zeros((n_outputs * size,) * 2) if exclusive else None
    for rows in gen_batches(n, _BLOCK):
        z = problem.dense(rows)
        for k in range(n_outputs):
            blocks[k] += (z * curvature[rows, k, np.newaxis]).T @ z
        if products is not None:
            crossed = (roots[rows, :, np.newaxis] * z[:, np.newaxis, :]).reshape(len(z), -1)
            products += crossed.T @ crossed

    return blocks, products


def blocks_of_hessian(problem: StandardisedProblem, sums: Sums, n: int) -> list[FloatArray]:
    """The blocks along the diagonal that are not 0: one for the softmax, else one for each output.

    Directions that change no logits or no probabilities, and no penalty, are given a curvature of 1 in place of 0: the
    derivative along them is 0 anyway.
    """
    blocks, products = sums
    n_outputs, size, _ = blocks.shape
    decay = np.broadcast_to(np.append(problem.decay, [0.0] * problem.fit_intercept), (n_outputs, size))
    blocks = blocks / n
    diagonals = np.einsum("kii->ki", blocks)
    diagonals += decay
    diagonals += diagonals < _FLAT
    if products is None:
        return list(blocks)
    whole = (products / -n).reshape(n_outputs, size, n_outputs, size)
    for k in range(n_outputs):
        whole[k, :, k] += blocks[k]
    free = np.flatnonzero(decay[0] < _FLAT)
    whole[:, free, :, free] += 1 / n_outputs  # the same for all classes
    return [whole.reshape(products.shape)]
