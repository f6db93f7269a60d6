"""Second derivatives of the objective of a linear model, in the coordinates of standardised features.

With the features ``z_i`` of a sample, a 1 for the intercept behind them, its weight ``s_i``, and ``p_i`` the
probabilities that the softmax makes of its logits, the Hessian of the loss has for classes ``k`` and ``l`` the block::

    sum_i s_i p_ik (1[k = l] - p_il) z_i z_i^T / n

For labels that do not exclude each other there are only blocks ``k = l``, of the second derivatives of each loss.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from sklearn.utils import gen_batches

from ..losses import FloatArray, softmax
from ..losses.linear import Kind
from .objective import Objective

__all__ = ["Sums", "blocks_of_hessian", "rows_of_hessian", "sums_of_hessian", "sums_of_squares"]

# The sums of h_ik z_i z_i^T for each output k and, for the softmax alone, of the outer products of p_i (x) z_i.
Sums: TypeAlias = tuple[FloatArray, FloatArray | None]

_BLOCK = 1024  # rows whose products stay in a cache
_FLAT = 1e-12  # a curvature that is none, where those of features are about 1/4


def sums_of_squares(X: Any, shift: FloatArray | None, curvature: FloatArray) -> FloatArray:
    """The sums of ``h_ik z_i^2`` for each output k, where `shift` is to be taken from the samples, if it is given."""
    n_outputs = curvature.shape[1]
    if shift is not None:  # sum_i h_i (x_i - m)^2
        crossed = X.multiply(X).T @ curvature - 2 * shift[:, np.newaxis] * (X.T @ curvature)
        shifted: FloatArray = crossed.T + np.outer(curvature.sum(axis=0), shift * shift)
        return shifted
    squares = np.zeros((n_outputs, X.shape[1]))
    for rows in gen_batches(len(curvature), _BLOCK):
        squares += curvature[rows].T @ np.square(X[rows])
    return squares


def rows_of_hessian(kind: Kind | None, size: int, n_outputs: int) -> int:
    """The rows of its largest block, 0 if the kind of the loss is not known."""
    return {None: 0, "softmax": size, "sigmoid": size // n_outputs}[kind]


def sums_of_hessian(
    samples: Objective, weight: FloatArray, bias: FloatArray, dense: Callable[[slice], FloatArray]
) -> Sums:
    """What the Hessian of the loss is made of, which takes softmax or sigmoid cross-entropy, and one pass.

    `dense` gives some of the samples, with a 1 behind each if there is an intercept.
    """
    n, exclusive = len(samples), samples.kind_of_loss == "softmax"
    curvature = samples.curvature(weight, bias)
    assert curvature is not None
    curvature = curvature.astype(np.float64)
    n_outputs, size = curvature.shape[1], dense(slice(0, 0)).shape[1]
    if exclusive:
        p = softmax(samples.logits(weight, bias).astype(np.float64))
        s = samples.sample_weight[:, np.newaxis].astype(np.float64)
        roots, curvature = p * np.sqrt(s), p * s

    blocks = np.zeros((n_outputs, size, size))
    products = np.zeros((n_outputs * size,) * 2) if exclusive else None
    for rows in gen_batches(n, _BLOCK):
        z = dense(rows)
        for k in range(n_outputs):
            blocks[k] += (z * curvature[rows, k, np.newaxis]).T @ z
        if products is not None:
            crossed = (roots[rows, :, np.newaxis] * z[:, np.newaxis, :]).reshape(len(z), -1)
            products += crossed.T @ crossed

    return blocks, products


def blocks_of_hessian(sums: Sums, n: int, decay: FloatArray) -> list[FloatArray]:
    """The blocks along the diagonal that are not 0: one for the softmax, else one for each output.

    `decay` is the curvature of the penalty along the axes of an output.
    Directions that change no logits or no probabilities, and no penalty, are given a curvature of 1 in place of 0: the
    derivative along them is 0 anyway.
    """
    blocks, products = sums
    n_outputs, size, _ = blocks.shape
    blocks = blocks / n
    diagonals = np.einsum("kii->ki", blocks)
    diagonals += decay
    diagonals += diagonals < _FLAT
    if products is None:
        return list(blocks)
    whole = (products / -n).reshape(n_outputs, size, n_outputs, size)
    for k in range(n_outputs):
        whole[k, :, k] += blocks[k]
    free = np.flatnonzero(decay < _FLAT)
    whole[:, free, :, free] += 1 / n_outputs  # the same for all classes
    return [whole.reshape(products.shape)]
