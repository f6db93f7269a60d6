"""The one answer for all samples that costs least: where boosting starts."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["best_log_probabilities"]

_RAREST = 1e-15  # of all weight: a class that never occurs starts at its logarithm, as in LightGBM
_HALVINGS = 60  # of an interval of less than 1000: what is left is below the spacing of float64
_PARTS = 32  # of the outer interval at a time, which are searched together


def best_log_probabilities(weight: NDArray[np.float64], gamma: float) -> NDArray[np.float64]:
    """Find ``ln p`` of the distribution ``p`` that minimises ``sum_k weight_k (1 - p_k)^gamma (-ln p_k)``.

    Without focus that is ``p_k = weight_k / sum(weight)``. With focus the derivative with respect to the logits is 0
    where, for a number ``m`` that is the same for all classes::

        h_k(p_k) = weight_k (1 - p_k)^gamma (1 - gamma p_k ln(p_k) / (1 - p_k)) / p_k = m

    Each ``h_k`` falls from infinity at 0 to 0 at 1, so to each ``m`` belongs one ``p_k``, which falls with ``m``: both
    are found by halving an interval. Some ``p_k`` is at least ``1 / c`` and some at most that, so ``m`` is between the
    least and the largest ``h_k(1 / c)``.
    """
    weight = weight / weight.sum() if weight.any() else np.full(weight.shape, 1 / len(weight))
    log_weight: NDArray[np.float64] = np.log(np.maximum(weight, _RAREST))
    if gamma == 0.0 or len(weight) == 1:
        return log_weight

    def log_h(log_p: NDArray[np.float64]) -> NDArray[np.float64]:
        p, rest = np.exp(log_p), -np.expm1(log_p)
        value: NDArray[np.float64] = log_weight + gamma * np.log(rest) + np.log1p(-gamma * p * log_p / rest) - log_p
        return value

    def log_p(log_m: NDArray[np.float64]) -> NDArray[np.float64]:
        """A row for each of several ``m``."""
        low, high = np.full((len(log_m), len(weight)), -740.0), np.full((len(log_m), len(weight)), -1e-300)
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            above = log_h(middle) > log_m[:, np.newaxis]
            low, high = np.where(above, middle, low), np.where(above, high, middle)
        return low

    ends = log_h(np.full(len(weight), -np.log(len(weight))))
    low, high = ends.min(), ends.max()
    for _ in range(round(_HALVINGS / np.log2(_PARTS))):
        grid = np.linspace(low, high, _PARTS + 1)
        first = np.argmax(np.append(np.exp(log_p(grid[1:-1])).sum(axis=1) <= 1.0, True))
        low, high = grid[first], grid[first + 1]
    found: NDArray[np.float64] = log_p(np.array([low]))[0]
    return found
