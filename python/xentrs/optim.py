"""Optimisers for loops written by hand: lists of NumPy arrays, updated in place."""

import math
from collections.abc import Sequence

import numpy as np

from .losses import FloatArray

__all__ = ["SGD", "Adam"]


class _Optimizer:
    """Parameters, a step size that may change, and the check of the gradients."""

    def __init__(self, params: Sequence[FloatArray], learning_rate: float, weight_decay: float) -> None:
        self.params = list(params)
        for i, param in enumerate(self.params):
            if not isinstance(param, np.ndarray) or param.dtype.kind != "f" or not param.flags.writeable:
                raise TypeError(f"params[{i}] must be a writable floating array, got {_kind(param)}")
        self.learning_rate = learning_rate
        self.weight_decay = _in_range("weight_decay", weight_decay)

    @property
    def learning_rate(self) -> float:
        """The step size; it may be set between steps."""
        return self._learning_rate

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self._learning_rate = _in_range("learning_rate", value)

    def _check(self, grads: Sequence[FloatArray]) -> None:
        if len(grads) != len(self.params):
            raise ValueError(f"grads must hold {len(self.params)} arrays, got {len(grads)}")
        for i, (param, grad) in enumerate(zip(self.params, grads, strict=True)):
            if np.shape(grad) != param.shape:
                raise ValueError(f"grads[{i}] must have shape {param.shape}, got {np.shape(grad)}")
            if not isinstance(grad, np.ndarray | np.generic) or grad.dtype != param.dtype:
                raise TypeError(f"grads[{i}] must have dtype {param.dtype}, got {_kind(grad)}")


class Adam(_Optimizer):
    """Adam: steps scaled by running moments of the gradient, with decoupled weight decay (AdamW).

    One step moves each parameter ``w`` against its gradient ``g``, where the moments ``m`` and ``v`` start at zero and
    ``t`` counts the steps from one::

        w <- w - learning_rate * weight_decay * w
        m <- beta1 * m + (1 - beta1) * g                v <- beta2 * v + (1 - beta2) * g^2
        w <- w - learning_rate * m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + eps)

    Parameters
    ----------
    params : sequence of ndarray
        Writable floating arrays of any shape. Every step changes them in place.
    learning_rate : float, default 0.001
        The step size, not negative: about the most that one step changes a number. It may be set between steps.
    beta1 : float in [0, 1), default 0.9
        Share of the mean gradient ``m`` that is kept.
    beta2 : float in [0, 1), default 0.999
        Share of the mean square ``v`` that is kept.
    eps : float, default 1e-8
        Added to the root, in units of the gradient; not negative. 0 is for gradients that are never zero.
    weight_decay : float, default 0.0
        Share of each parameter, times `learning_rate`, that a step takes away; not negative.

    Attributes
    ----------
    params : list of ndarray
        The arrays given, not copies.
    mean : list of ndarray
        ``m``, an array for each parameter, at least of single precision.
    mean_square : list of ndarray
        ``v``, likewise.
    n_steps : int
        ``t``. With the two moments it is all the state there is.

    Raises
    ------
    TypeError
        If a parameter is not a writable floating array, or a number is none.
    ValueError
        If a number is out of its range.

    Notes
    -----
    This is the rule of ``torch.optim.AdamW``. The decay acts on the parameter itself [2]_. A penalty
    ``a * ||w||^2 / 2`` in the loss does not: it belongs into the gradient, as ``a * w``, where it is scaled with the
    rest, as ``torch.optim.Adam`` does with its ``weight_decay``.

    References
    ----------
    .. [1] D. P. Kingma and J. Ba, "Adam: A method for stochastic optimization", ICLR 2015, algorithm 1.
    .. [2] I. Loshchilov and F. Hutter, "Decoupled weight decay regularization", ICLR 2019, algorithm 2.

    Examples
    --------
    >>> import numpy as np
    >>> import xentrs as xe
    >>> from xentrs.optim import Adam
    >>> logits, target = np.zeros((2, 3)), [0, 2]
    >>> optimizer = Adam([logits], learning_rate=0.1)
    >>> for step in range(100):
    ...     loss, grad = xe.softmax_cross_entropy_with_grad(logits, target)
    ...     optimizer.step([grad])
    >>> print(f"{loss:.4f}")
    0.0071
    """

    def __init__(
        self,
        params: Sequence[FloatArray],
        *,
        learning_rate: float = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, learning_rate, weight_decay)
        self.beta1 = _in_range("beta1", beta1, 1.0)
        self.beta2 = _in_range("beta2", beta2, 1.0)
        self.eps = _in_range("eps", eps)
        self.n_steps = 0
        self.mean, self.mean_square = (
            [np.zeros(param.shape, np.result_type(param, np.float32)) for param in self.params] for _ in range(2)
        )

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
        The first step has the length of the step size, whatever that of the gradient:

        >>> import numpy as np
        >>> from xentrs.optim import Adam
        >>> w = np.array([1.0, 2.0])
        >>> Adam([w], learning_rate=0.1).step([np.array([1e3, -1e-3])])
        >>> w.round(4)
        array([0.9, 2.1])
        """
        self._check(grads)
        self.n_steps += 1
        rate = self.learning_rate / (1 - self.beta1**self.n_steps)
        shrink = 1 / math.sqrt(1 - self.beta2**self.n_steps)
        for param, grad, mean, square in zip(self.params, grads, self.mean, self.mean_square, strict=True):
            mean += (1 - self.beta1) * (grad - mean)
            square += (1 - self.beta2) * (np.square(grad, dtype=square.dtype) - square)
            if self.weight_decay:
                param *= 1 - self.learning_rate * self.weight_decay
            root = np.sqrt(square)
            root *= shrink
            root += self.eps
            param -= rate * mean / root


class SGD(_Optimizer):
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
        super().__init__(params, learning_rate, weight_decay)
        self.momentum = _in_range("momentum", momentum, 1.0)
        self.nesterov = nesterov
        if nesterov and not momentum:
            raise ValueError("nesterov needs momentum > 0, got 0.0")
        self.velocity = [np.zeros(param.shape, param.dtype) for param in self.params]

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
        self._check(grads)
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
