"""Optimisers for loops written by hand: lists of NumPy arrays, updated in place."""

import math
from collections.abc import Sequence

import numpy as np

from .losses import FloatArray

__all__ = ["SGD"]


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
        The step size, not negative. It may be set between steps, which is all that a schedule needs.
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
