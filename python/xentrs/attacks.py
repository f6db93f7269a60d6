"""Adversarial examples: samples moved a little, in the direction that hurts a model most.

An attack asks of a model nothing but ``input_gradient(X, y)``, the gradient of the loss of each sample with respect to
the sample. All it needs of that is the direction, so it asks for ``input_direction(X, y)`` instead where there is one:
that of the estimators in `xentrs.models` does not underflow, however sure the model is.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike

from ._arrays import as_beside, as_samples
from ._numbers import a_boolean, in_range, one_of, positive_integer
from ._seeds import Seed, drawing
from .losses import FloatArray

__all__ = ["fgsm", "pgd"]

Clip = tuple[ArrayLike, ArrayLike]


class Model(Protocol):
    """What is attacked."""

    def input_gradient(self, X: FloatArray, y: ArrayLike) -> FloatArray:
        """Gradient of the loss of each sample with respect to the sample, in its shape."""


def fgsm(
    model: Model,
    X: ArrayLike,
    y: ArrayLike,
    *,
    eps: float,
    norm: str = "linf",
    clip: Clip | None = None,
) -> FloatArray:
    """Move every sample by one step up the gradient ``g`` of its loss: the fast gradient sign method.

    The step is the one that raises a linear loss most::

        x + eps sign(g)         for norm "linf": no feature moves by more than eps
        x + eps g / ||g||       for norm "l2": the sample moves by no more than eps

    Parameters
    ----------
    model : object with a method ``input_gradient(X, y)``, or also ``input_direction(X, y)``
        What is attacked.
    X : array_like, shape (n_samples, n_features)
        The samples.
    y : array_like, shape (n_samples,)
        Their true labels, or whatever else `model` takes.
    eps : float
        The size of the step, in units of the features, not negative.
    norm : {"linf", "l2"}, default "linf"
        How the size is measured.
    clip : pair of array_like, optional
        The least and the largest value that the features may have, each a number or one for each feature. `X` must be
        between them.

    Returns
    -------
    ndarray of shape (n_samples, n_features)
        The samples moved, in the dtype of `X`; a sample whose loss has no slope stays. No feature is further from where
        it was than `eps`, not by a rounding; nor, in the l2 norm and but for that of the norm itself, is a sample.

    Raises
    ------
    TypeError
        If `X` is not floating, `model` has no ``input_gradient``, or `eps` is no number.
    ValueError
        If a value is out of its range, a shape does not fit, or a gradient is not finite.

    See Also
    --------
    pgd : many small steps instead of one.

    Notes
    -----
    The gradient of a confident prediction is as small as the chance that it is wrong, and rounds to zero at a margin of
    about 100 in single precision. The direction does not: the estimators of `xentrs.models` leave the factor out, so
    none can hide behind its confidence. A model that has no ``input_direction`` can, once its gradient is zero.

    References
    ----------
    .. [1] I. J. Goodfellow, J. Shlens and C. Szegedy, "Explaining and harnessing adversarial examples", ICLR 2015,
       section 4. https://arxiv.org/abs/1412.6572

    Examples
    --------
    >>> import numpy as np
    >>> from xentrs.attacks import fgsm
    >>> from xentrs.models import MLPClassifier
    >>> X, y = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]), [0, 1, 1, 0]
    >>> model = MLPClassifier(8, activation="tanh", learning_rate_init=0.05, random_state=0).fit(X, y)
    >>> attacked = fgsm(model, X, y, eps=0.25, clip=(0, 1))
    >>> bool((model.predict_proba(attacked).max(axis=1) < model.predict_proba(X).max(axis=1)).all())
    True
    """
    samples, bounds = _checked(model, X, eps, norm, clip)
    return _moved(samples, eps * _direction(model, samples, y, norm), bounds)


def pgd(
    model: Model,
    X: ArrayLike,
    y: ArrayLike,
    *,
    eps: float,
    norm: str = "linf",
    step_size: float | None = None,
    n_iter: int = 40,
    clip: Clip | None = None,
    random_start: bool = True,
    random_state: Seed = None,
) -> FloatArray:
    """Move every sample by many steps up the gradient of its loss, within a ball: projected gradient descent.

    Each step is that of `fgsm`, of `step_size` instead of `eps`, from where the last one ended; what leaves the ball of
    radius `eps` around ``x`` is put back to the nearest place in it.

    Parameters
    ----------
    model : object with a method ``input_gradient(X, y)``, or also ``input_direction(X, y)``
        What is attacked.
    X : array_like, shape (n_samples, n_features)
        The samples.
    y : array_like, shape (n_samples,)
        Their true labels, or whatever else `model` takes.
    eps : float
        The radius of the ball, in units of the features, not negative.
    norm : {"linf", "l2"}, default "linf"
        How distances are measured: by the feature that moves most, or by Pythagoras.
    step_size : float, optional
        The length of a step; by default ``2.5 * eps / n_iter``, with which all of the ball can be reached.
    n_iter : int, default 40
        The number of steps, at least 1.
    clip : pair of array_like, optional
        The least and the largest value that the features may have, each a number or one for each feature. `X` must be
        between them.
    random_start : bool, default True
        Whether to start anywhere in the ball, uniformly, instead of at ``x``.
    random_state : int, RandomState, Generator or None, default None
        The seed of the start.

    Returns
    -------
    ndarray of shape (n_samples, n_features)
        The samples moved, in the dtype of `X`, within `eps` as those of `fgsm` are.

    Raises
    ------
    TypeError
        If `X` is not floating, `model` has no ``input_gradient``, or a number is none.
    ValueError
        If a value is out of its range, a shape does not fit, or a gradient is not finite.

    See Also
    --------
    fgsm : one step, which costs one gradient.

    References
    ----------
    .. [1] A. Madry, A. Makelov, L. Schmidt, D. Tsipras and A. Vladu, "Towards deep learning models resistant to
       adversarial attacks", ICLR 2018, section 2.1. https://arxiv.org/abs/1706.06083

    Examples
    --------
    >>> import numpy as np
    >>> from xentrs.attacks import pgd
    >>> from xentrs.models import MLPClassifier
    >>> X, y = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]), [0, 1, 1, 0]
    >>> model = MLPClassifier(8, activation="tanh", learning_rate_init=0.05, random_state=0).fit(X, y)
    >>> attacked = pgd(model, X, y, eps=0.7, norm="l2", random_state=0)
    >>> model.predict(X), model.predict(attacked)
    (array([0, 1, 1, 0]), array([1, 0, 0, 1]))
    """
    samples, bounds = _checked(model, X, eps, norm, clip)
    n_iter = positive_integer("n_iter", n_iter)
    step = 2.5 * eps / n_iter if step_size is None else in_range("step_size", step_size)
    random = drawing(random_state)
    begins_anywhere = a_boolean("random_start", random_start)
    start = _anywhere(samples.shape, norm, random) if begins_anywhere else np.zeros(samples.shape)
    moved = _moved(samples, eps * start, bounds)
    for _ in range(n_iter):
        delta = moved.astype(np.float64) - samples + step * _direction(model, moved, y, norm)
        moved = _moved(samples, _projected(delta, eps, norm), bounds)
    return moved


def _direction(model: Model, X: FloatArray, y: ArrayLike, norm: str) -> FloatArray:
    """Of the steepest ascent: of length 1 by the norm, or 0 where there is no slope."""
    name = "input_direction" if callable(getattr(model, "input_direction", None)) else "input_gradient"
    grad = np.array(getattr(model, name)(X, y), np.float64)
    if grad.shape != X.shape:
        raise ValueError(f"{name} must give an array of shape {X.shape}, got {grad.shape}")
    if not (finite := np.isfinite(grad).all(axis=1)).all():
        raise ValueError(f"{name} must be finite, got {grad[finite.argmin()]} at row {finite.argmin()}")
    if norm == "linf":
        sign: FloatArray = np.sign(grad)
        return sign
    return _lengths_and_units(grad)[1]


def _projected(delta: FloatArray, eps: float, norm: str) -> FloatArray:
    """Nearest place in the ball."""
    if norm == "linf":
        return np.clip(delta, -eps, eps)
    lengths, units = _lengths_and_units(delta)
    return np.where(lengths > eps, eps * units, delta)


def _anywhere(shape: tuple[int, ...], norm: str, random: np.random.RandomState | np.random.Generator) -> FloatArray:
    """Uniform in the ball of radius 1."""
    if norm == "linf":
        return random.uniform(-1.0, 1.0, shape)
    normal = random.normal(size=shape)
    radius = random.uniform(size=(shape[0], 1)) ** (1 / max(shape[1], 1))  # makes points uniform in the ball
    return radius * _lengths_and_units(normal)[1]


def _moved(X: FloatArray, delta: FloatArray, bounds: tuple[FloatArray, FloatArray] | None) -> FloatArray:
    """``X + delta`` in the dtype of `X`, rounded towards `X`, and within the bounds, which are around `X`."""
    with np.errstate(over="ignore"):  # infinity is clipped to the largest number
        moved = (X + delta).astype(X.dtype)
    moved = np.where(np.abs(moved - X.astype(np.float64)) > np.abs(delta), np.nextafter(moved, X), moved)
    return moved if bounds is None else np.clip(moved, *bounds)


def _lengths_and_units(rows: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Of each row its length, infinite where it overflows, and the row of length 1 in its direction, 0 for 0."""
    largest = np.abs(rows).max(axis=1, keepdims=True, initial=0.0)
    scaled = rows / _or_one(largest)  # no square overflows or underflows
    lengths = np.sqrt(np.einsum("ij,ij->i", scaled, scaled))[:, np.newaxis]
    with np.errstate(over="ignore"):
        return largest * lengths, scaled / _or_one(lengths)


def _or_one(numbers: FloatArray) -> FloatArray:
    """To divide by."""
    return np.where(numbers > 0, numbers, 1.0)


def _checked(
    model: Model, X: ArrayLike, eps: float, norm: str, clip: Clip | None
) -> tuple[FloatArray, tuple[FloatArray, FloatArray] | None]:
    """The samples, and the bounds of their features in their dtype."""
    if not callable(getattr(model, "input_gradient", None)):
        raise TypeError(f"model must have a method input_gradient(X, y), got {type(model).__name__}")
    in_range("eps", eps)
    one_of("norm", norm, ("linf", "l2"))
    samples = as_samples(X, "X")
    if not (finite := np.isfinite(samples)).all():
        row, column = np.argwhere(~finite)[0]
        raise ValueError(f"X must be finite, got {samples[row, column]} at index ({row}, {column})")
    if clip is None:
        return samples, None
    try:
        least, largest = clip
    except (TypeError, ValueError):
        raise ValueError(f"clip must be a pair (least, largest), got {clip!r}") from None
    low, high = (as_beside(bound, "clip", samples.dtype, samples.shape) for bound in (least, largest))
    if not (inside := (low <= samples) & (samples <= high)).all():
        row, column = np.argwhere(~inside)[0]
        allowed = f"[{low[row, column]:g}, {high[row, column]:g}]"
        raise ValueError(f"X must be within clip, {allowed}, got {samples[row, column]} at index ({row}, {column})")
    return samples, (low, high)
