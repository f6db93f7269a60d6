"""What is true of distributions: the textbook's sums in 60 digits, where nothing that cancels is lost."""

from collections.abc import Callable, Sequence
from typing import Any

import mpmath
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Row = Sequence[mpmath.mpf]


def exactly(row: Array) -> list[mpmath.mpf]:
    return [mpmath.mpf(float(x)) for x in row]


def softmax(row: Row) -> list[mpmath.mpf]:
    return normalized([mpmath.exp(z) for z in row])


def normalized(row: Row) -> list[mpmath.mpf]:
    total = mpmath.fsum(row)
    return [x / total for x in row]


def entropy(p: Row) -> mpmath.mpf:
    return -mpmath.fsum(x * mpmath.log(x) for x in p if x)


def cross_entropy(p: Row, q: Row) -> mpmath.mpf:
    return mpmath.fsum((mpmath.inf if not y else -x * mpmath.log(y)) for x, y in zip(p, q, strict=True) if x)


def kl_divergence(p: Row, q: Row) -> mpmath.mpf:
    """With the sums of rounded probabilities taken off, as `scipy.special.kl_div` does."""
    terms = [y if not x else mpmath.inf if not y else x * mpmath.log(x / y) - x + y for x, y in zip(p, q, strict=True)]
    return mpmath.fsum(terms)


def js_divergence(p: Row, q: Row, weight: float = 0.5) -> mpmath.mpf:
    w = mpmath.mpf(weight)
    v = 1 - w
    m = [w * x + v * y for x, y in zip(p, q, strict=True)]
    return w * kl_divergence(p, m) + v * kl_divergence(q, m)


def perplexity(p: Row) -> mpmath.mpf:
    return mpmath.exp(entropy(p))


def rows(formula: Callable[..., mpmath.mpf], form: str, *arrays: Array, digits: int = 80, **options: Any) -> Array:
    """A formula of every row of arrays of one shape, rounded to float64; what is near 0 beside 1 needs more digits."""
    prepare = {"probabilities": lambda row: row, "normalize": normalized, "logits": softmax}[form]
    with mpmath.workdps(digits):
        flat = [array.reshape(-1, array.shape[-1]) for array in arrays]
        values = [
            float(formula(*(prepare(exactly(row)) for row in of_each), **options))
            for of_each in zip(*flat, strict=True)
        ]
    return np.array(values).reshape(arrays[0].shape[:-1])
