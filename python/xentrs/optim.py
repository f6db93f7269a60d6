"""Optimisers for loops written by hand: lists of NumPy arrays, updated in place; and schedules of their step size.

A schedule is a function that makes of a step, 0, 1, 2, ..., the learning rate of that step.
"""

import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np

from .losses import FloatArray

__all__ = ["SGD", "constant", "cosine", "inverse_scaling", "lipschitz"]

Schedule: TypeAlias = Callable[[int], float]


class SGD:
    """Stochastic gradient descent with momentum, Nesterov's look-ahead and weight decay.

    One step moves each parameter ``w`` against its gradient ``g``, where the velocity ``v`` starts at zero::

        g <- g + weight_decay * w
        v <- momentum * v + g
        w <- w - learning_rate * v                      or, with Nesterov,
        w <- w - learning_rate * (g + momentum * v)

    Parameters
    ----------
    params : sequence of ndarray
        Writable floating arrays of any shape. Every step changes them in place.
    learning_rate : float, default 0.1
        The step size, not negative. It may be set between steps, which is all that a schedule needs:
        ``optimizer.learning_rate = schedule(step)``.
    momentum : float in [0, 1), default 0.0
        Share of the velocity that is kept. A constant gradient ends up with steps ``1 / (1 - momentum)`` times as long.
    nesterov : bool, default False
        Whether to step along the velocity that the same gradient would lead to next; needs ``momentum > 0``.
    weight_decay : float, default 0.0
        Factor of the penalty ``weight_decay * ||w||^2 / 2``, on every parameter; not negative.

    Attributes
    ----------
    params : list of ndarray
        The arrays given, not copies.
    velocity : list of ndarray
        ``v``, an array for each parameter: all the state there is.

    See Also
    --------
    constant, inverse_scaling, cosine, lipschitz : schedules of the learning rate.

    Raises
    ------
    TypeError
        If a parameter is not a writable floating array, or a number is none.
    ValueError
        If a number is out of its range, or `nesterov` comes without momentum.

    Notes
    -----
    This is the rule of ``torch.optim.SGD`` with ``dampening=0``. In the form of [1]_ the velocity contains the learning
    rate; the two differ only while that changes.

    References
    ----------
    .. [1] I. Sutskever, J. Martens, G. Dahl and G. Hinton, "On the importance of initialization and momentum in deep
       learning", ICML 2013, section 2.

    Examples
    --------
    Softmax regression by hand, from the gradient of the loss with respect to the logits:

    >>> import numpy as np
    >>> import xentrs as xe
    >>> from xentrs.optim import SGD
    >>> X = np.array([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    >>> y = np.array([0, 1, 2])
    >>> weight, bias = np.zeros((3, 2)), np.zeros(3)
    >>> optimizer = SGD([weight, bias], learning_rate=0.5, momentum=0.9, nesterov=True)
    >>> for step in range(100):
    ...     loss, grad = xe.softmax_cross_entropy_with_grad(X @ weight.T + bias, y)
    ...     optimizer.step([grad.T @ X, grad.sum(axis=0)])
    >>> print(f"{loss:.3f}")
    0.007
    >>> print(np.argmax(X @ weight.T + bias, axis=1))
    [0 1 2]
    """

    def __init__(
        self,
        params: Sequence[FloatArray],
        *,
        learning_rate: float = 0.1,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        self.params = list(params)
        for i, param in enumerate(self.params):
            if not isinstance(param, np.ndarray) or param.dtype.kind != "f" or not param.flags.writeable:
                raise TypeError(f"params[{i}] must be a writable floating array, got {_kind(param)}")
        self.learning_rate = learning_rate
        self.momentum = _in_range("momentum", momentum, 1.0)
        self.nesterov = nesterov
        self.weight_decay = _in_range("weight_decay", weight_decay)
        if nesterov and not momentum:
            raise ValueError("nesterov needs momentum > 0, got 0.0")
        self.velocity = [np.zeros(param.shape, param.dtype) for param in self.params]

    @property
    def learning_rate(self) -> float:
        """The step size, in units of parameter per gradient."""
        return self._learning_rate

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self._learning_rate = _in_range("learning_rate", value)

    def step(self, grads: Sequence[FloatArray]) -> None:
        """Update every parameter by its gradient, in place.

        Parameters
        ----------
        grads : sequence of ndarray
            A gradient for each parameter, of its shape and dtype. They stay as they are.

        Raises
        ------
        ValueError
            If the number of gradients or a shape does not fit. No parameter has changed then.
        TypeError
            If a dtype does not fit. No parameter has changed then.

        Examples
        --------
        >>> import numpy as np
        >>> from xentrs.optim import SGD
        >>> w = np.array([1.0, 2.0])
        >>> SGD([w], learning_rate=0.1).step([np.array([10.0, -10.0])])
        >>> w
        array([0., 3.])
        """
        if len(grads) != len(self.params):
            raise ValueError(f"grads must hold {len(self.params)} arrays, got {len(grads)}")
        for i, (param, grad) in enumerate(zip(self.params, grads, strict=True)):
            if np.shape(grad) != param.shape:
                raise ValueError(f"grads[{i}] must have shape {param.shape}, got {np.shape(grad)}")
            if not isinstance(grad, np.ndarray | np.generic) or grad.dtype != param.dtype:
                raise TypeError(f"grads[{i}] must have dtype {param.dtype}, got {_kind(grad)}")

        for param, grad, velocity in zip(self.params, grads, self.velocity, strict=True):
            if self.weight_decay:
                grad = grad + self.weight_decay * param
            if self.momentum:
                velocity *= self.momentum
                velocity += grad
                grad = grad + self.momentum * velocity if self.nesterov else velocity
            param -= self.learning_rate * grad


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
    rate = _in_range("learning_rate", learning_rate)
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
    rate, power = _in_range("learning_rate", learning_rate), _in_range("power", power)
    return lambda step: rate * (step + 1) ** -power


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
    >>> from xentrs.optim import cosine
    >>> schedule = cosine(0.2, n_steps=100)
    >>> [round(schedule(step), 4) for step in (0, 25, 50, 100, 1000)]
    [0.2, 0.1707, 0.1, 0.0, 0.0]
    """
    rate, final = _in_range("learning_rate", learning_rate), _in_range("final", final)
    n = _in_range("n_steps", n_steps)
    if n < 1:
        raise ValueError(f"n_steps must be at least 1, got {n_steps}")
    return lambda step: final + (rate - final) * 0.5 * (1 + math.cos(math.pi * min(step, n) / n))


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
    if not (bound := _in_range("smoothness", smoothness)):
        raise ValueError(f"smoothness must be positive, got {smoothness}")
    return constant(1 / bound)


def _in_range(name: str, value: object, below: float = math.inf) -> float:
    """`value` as a float, if 0 <= value < below."""
    if not isinstance(value, (int, float, np.integer, np.floating)):
        raise TypeError(f"{name} must be a number, got {value!r}")
    if not 0.0 <= value < below:
        raise ValueError(f"{name} must be in [0, {below:g}), got {value}")
    return float(value)


def _kind(value: object) -> object:
    """Name the dtype of `value` or, of what is no array, the type."""
    return getattr(value, "dtype", type(value).__name__)
