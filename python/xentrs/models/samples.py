"""What a network is trained on, and what is to be said of the scale of its features."""

from __future__ import annotations

from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse

from ..losses import FloatArray

__all__ = ["Samples", "advice_to_standardise", "feature_scales", "out_of_scale"]


class Samples(NamedTuple):
    """What a network is trained on."""

    X: Any
    """The samples, one a row, dense or in CSR."""

    target: NDArray[Any]
    """What the loss takes as their target."""

    weight: FloatArray
    """Their weights."""

    def rows(self, index: NDArray[np.intp]) -> Self:
        """Some of the samples."""
        return type(self)(*(array[index] for array in self))

    def __len__(self) -> int:
        return len(self.weight)


def feature_scales(samples: Samples) -> FloatArray:
    """The root mean square of each feature, by the weights of the samples; 1 for one that is 0 throughout."""
    X, weight = samples.X.astype(np.float64), samples.weight.astype(np.float64)
    with np.errstate(over="ignore"):
        squares = np.ravel((X.multiply(X) if issparse(X) else X * X).T @ (weight / weight.sum()))
    roots: FloatArray = np.sqrt(squares)
    return np.where((roots > 0) & np.isfinite(roots), roots, 1.0)


def advice_to_standardise(samples: Samples) -> str:
    """Say so, unless the features are of that kind; of sparse ones the mean may be what it is."""
    if far := out_of_scale(samples):
        return far
    scales, weight = feature_scales(samples), samples.weight.astype(np.float64)
    mean = 0.0 if issparse(samples.X) else weight @ samples.X / weight.sum()
    centred, spread = np.mean(np.abs(mean) / scales) < 0.3, scales.mean()
    return "" if centred and 0.5 < spread < 2 else "Standardise X"


def out_of_scale(samples: Samples) -> str:
    """Say so, if features are large or small."""
    extent = float(feature_scales(samples).max())
    return "" if 0.01 < extent < 10 else f"Standardise X, whose features reach {extent:.2g} (root mean square)"
