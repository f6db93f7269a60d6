"""Adam."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from .._numbers import in_range
from ..losses import FloatArray
from .optimizer import Optimizer

__all__ = ["Adam"]


class Adam(Optimizer):
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
        super().__init__(params, learning_rate)
        self.beta1 = in_range("beta1", beta1, 1.0)
        self.beta2 = in_range("beta2", beta2, 1.0)
        self.eps = in_range("eps", eps)
        self.weight_decay = in_range("weight_decay", weight_decay)
        self.mean, self.mean_square = (
            [np.zeros_like(param, np.promote_types(param.dtype, np.float32), subok=False) for param in self.params]
            for _ in range(2)
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
