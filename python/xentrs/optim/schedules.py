"""Schedules of the step size.

A schedule is a function that makes of a step, 0, 1, 2, ..., the learning rate of that step, and of an array of steps
those of all of them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from .._numbers import in_range, positive_integer

__all__ = ["Schedule", "constant", "cosine", "inverse_scaling", "lipschitz"]

Schedule: TypeAlias = Callable[[Any], Any]


def constant(learning_rate: float = 0.1) -> Schedule:
    """Schedule of a step size that stays as it is: ``eta_t = learning_rate``.

    Parameters
    ----------
    learning_rate : float, default 0.1
        The step size, not negative.

    Returns
    -------
    callable
        Makes of the step ``t`` its learning rate.

    Raises
    ------
    ValueError, TypeError
        If `learning_rate` is out of its range, or no number.

    Examples
    --------
    >>> from xentrs.optim import constant
    >>> schedule = constant(0.1)
    >>> schedule(0), schedule(1000)
    (0.1, 0.1)
    """
    rate = in_range("learning_rate", learning_rate)
    return lambda step: rate


def inverse_scaling(learning_rate: float = 0.1, *, power: float = 0.5) -> Schedule:
    """Schedule of a step size that falls by a power of the step: ``eta_t = learning_rate / (t + 1)^power``.

    Parameters
    ----------
    learning_rate : float, default 0.1
        The first step size, not negative.
    power : float, default 0.5
        How fast it falls, not negative.

    Returns
    -------
    callable
        Makes of the step ``t = 0, 1, 2, ...`` its learning rate.

    Raises
    ------
    ValueError, TypeError
        If a number is out of its range, or none.

    Notes
    -----
    With a power in (0.5, 1] the steps add up to infinity, their squares do not, which is what makes stochastic gradient
    descent converge [1]_. This is the "invscaling" of scikit-learn.

    References
    ----------
    .. [1] H. Robbins and S. Monro, "A Stochastic Approximation Method", The Annals of Mathematical Statistics 22(3),
       1951. https://doi.org/10.1214/aoms/1177729586

    Examples
    --------
    >>> from xentrs.optim import inverse_scaling
    >>> schedule = inverse_scaling(0.5)
    >>> schedule(0), schedule(3), schedule(99)
    (0.5, 0.25, 0.05)
    """
    rate, power = in_range("learning_rate", learning_rate), in_range("power", power)
    return lambda step: rate * (step + 1.0) ** -power


def cosine(learning_rate: float = 0.1, *, n_steps: int, final: float = 0.0) -> Schedule:
    """Schedule of a step size that falls along half a cosine, from its first value to its last.

    With ``n = n_steps``, the step size is::

        eta_t = final + (learning_rate - final) (1 + cos(pi min(t, n) / n)) / 2

    Parameters
    ----------
    learning_rate : float, default 0.1
        The first step size, not negative.
    n_steps : int
        The steps that it falls for, at least 1. After these it stays at its last value.
    final : float, default 0.0
        The last step size, not negative.

    Returns
    -------
    callable
        Makes of the step ``t = 0, 1, 2, ...`` its learning rate.

    Raises
    ------
    ValueError, TypeError
        If a number is out of its range, or none.

    References
    ----------
    .. [1] I. Loshchilov and F. Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", ICLR 2017, equation 5.
       arXiv:1608.03983

    Examples
    --------
    >>> import numpy as np
    >>> from xentrs.optim import cosine
    >>> schedule = cosine(0.2, n_steps=100)
    >>> schedule(np.array([0, 25, 50, 100, 1000])).round(4)
    array([0.2   , 0.1707, 0.1   , 0.    , 0.    ])
    """
    rate, final = in_range("learning_rate", learning_rate), in_range("final", final)
    n = positive_integer("n_steps", n_steps)
    return lambda step: final + (rate - final) * 0.5 * (1 + np.cos(np.pi * np.minimum(step, n) / n))


def lipschitz(smoothness: float) -> Schedule:
    """Schedule of the longest step that is sure to lower the loss: ``eta_t = 1 / smoothness``.

    The smoothness ``L`` of a loss is a bound of its curvature, the Lipschitz constant of its gradient. A step of
    ``1 / L`` against the gradient ``g`` lowers the loss by ``||g||^2 / 2 L`` or more [1]_.

    Parameters
    ----------
    smoothness : float
        The bound ``L``, positive.

    Returns
    -------
    callable
        Makes of any step the same learning rate.

    Raises
    ------
    ValueError, TypeError
        If `smoothness` is not positive, or no number.

    Notes
    -----
    For the mean cross-entropy of linear logits ``W x_i + b`` over ``n`` rows, with the penalty ``||W||^2 / (2 C n)``::

        L = h lambda_max(Z^T Z) / n + 1 / (C n)          z_i = (x_i, 1)

    where ``h`` bounds the curvature of the loss in its logits: 1/4 for the sigmoid, 1/2 for the softmax [2]_. For
    mini-batches the largest ``||z_i||^2`` takes the place of ``lambda_max(Z^T Z) / n``: no batch is more curved than
    the longest of its rows.

    References
    ----------
    .. [1] Y. Nesterov, "Lectures on Convex Optimization", 2nd edition, Springer 2018, section 2.1.5.
    .. [2] D. Böhning, "Multinomial logistic regression algorithm", Annals of the Institute of Statistical Mathematics
       44, 1992. https://doi.org/10.1007/BF00048682

    Examples
    --------
    >>> import numpy as np
    >>> from xentrs.optim import lipschitz
    >>> X = np.array([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    >>> Z = np.column_stack([X, np.ones(3)])
    >>> schedule = lipschitz(np.linalg.eigvalsh(Z.T @ Z)[-1] / len(Z) / 2)
    >>> round(schedule(0), 4)
    1.0294
    """
    bound = in_range("smoothness", smoothness)
    if not bound > 1 / sys.float_info.max:
        raise ValueError(f"smoothness must be positive, and its inverse finite, got {smoothness}")
    return constant(1 / bound)
