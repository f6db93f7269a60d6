"""Functions of each number alone, which make a network more than one weighted sum."""

from __future__ import annotations

import math
from abc import abstractmethod

import numpy as np

from .._arrays import read
from ..losses import FloatArray, sigmoid
from .layers import Layer, checked

__all__ = ["GELU", "Activation", "ReLU", "Sigmoid", "Tanh"]


class Activation(Layer):
    """A function of each number alone; its gradient is ``g`` times the slope, number by number.

    Examples
    --------
    One of one's own says what the value is and what the slope:

    >>> import numpy as np
    >>> from xentrs import nn
    >>> class Square(nn.Activation):
    ...     def value(self, x):
    ...         return x * x
    ...
    ...     def slope(self, x, y):
    ...         return 2 * x
    >>> layer = Square()
    >>> layer.forward(np.array([3.0]))
    array([9.])
    >>> layer.backward(np.array([1.0]))
    array([6.])
    """

    @abstractmethod
    def value(self, x: FloatArray) -> FloatArray:
        """Value of the function.

        Parameters
        ----------
        x : ndarray
            The input.

        Returns
        -------
        ndarray
            The output ``y``, of its shape and dtype.
        """

    @abstractmethod
    def slope(self, x: FloatArray, y: FloatArray) -> FloatArray:
        """Derivative of the function, from its argument and its value.

        Parameters
        ----------
        x, y : ndarray
            Input and output.

        Returns
        -------
        ndarray
            ``dy / dx``, of their shape and dtype.
        """

    def forward(self, x: FloatArray) -> FloatArray:
        """Value of the function, number by number."""
        if not isinstance(x, np.ndarray | np.generic) or x.dtype.kind != "f":
            raise TypeError(f"x must be a floating array, got {getattr(x, 'dtype', type(x).__name__)}")
        x = read(x, "x")[()]
        self._x, self._y = x, self.value(x)
        return self._y

    def backward(self, grad: FloatArray) -> FloatArray:
        """Give ``g`` times the slope."""
        x = self._last_input()
        return checked("grad", grad, self._y, self._y.shape) * self.slope(x, self._y)


class ReLU(Activation):
    """Rectified linear unit: ``max(0, x)``, whose slope at 0 is taken for 0.

    Examples
    --------
    >>> import numpy as np
    >>> from xentrs import nn
    >>> nn.ReLU().forward(np.array([-1.0, 2.0]))
    array([0., 2.])
    """

    def value(self, x: FloatArray) -> FloatArray:
        """``max(0, x)``."""
        return np.maximum(x, 0)

    def slope(self, x: FloatArray, y: FloatArray) -> FloatArray:
        """1 where ``x > 0``, else 0."""
        return (x > 0).astype(x.dtype)


class Tanh(Activation):
    """Hyperbolic tangent: from -1 to 1.

    Examples
    --------
    >>> import numpy as np
    >>> from xentrs import nn
    >>> nn.Tanh().forward(np.array([-1.0, 0.0])).round(4)
    array([-0.7616,  0.    ])
    """

    def value(self, x: FloatArray) -> FloatArray:
        """``tanh(x)``."""
        return np.tanh(x)

    def slope(self, x: FloatArray, y: FloatArray) -> FloatArray:
        """``1 - y^2``, by sigmoids, which keep the digits where ``y`` rounds to 1."""
        with np.errstate(over="ignore"):  # the exponential is infinite where the slope is 0
            twice = 2 * x
        return 4 * sigmoid(twice) * sigmoid(-twice)


class Sigmoid(Activation):
    """Logistic function: from 0 to 1, ``1 / (1 + exp(-x))``.

    Examples
    --------
    >>> import numpy as np
    >>> from xentrs import nn
    >>> nn.Sigmoid().forward(np.array([0.0, 2.0])).round(4)
    array([0.5   , 0.8808])
    """

    def value(self, x: FloatArray) -> FloatArray:
        """``1 / (1 + exp(-x))``."""
        return sigmoid(x)

    def slope(self, x: FloatArray, y: FloatArray) -> FloatArray:
        """``y (1 - y)``, where ``1 - y`` keeps its digits as ``1 / (1 + exp(x))``."""
        return y * sigmoid(-x)


class GELU(Activation):
    """Gaussian error linear unit, a ReLU with a round corner: ``x / (1 + exp(-2 u))``, about ``x Phi(x)``.

    Here ``u = sqrt(2 / pi) (x + 0.044715 x^3)``, so that ``1 / (1 + exp(-2 u)) = (1 + tanh u) / 2`` is near the normal
    distribution function ``Phi``.

    Notes
    -----
    This is the form of [1]_ for speed, ``approximate="tanh"`` in PyTorch, whose default is the exact one. The two
    differ by at most 4.8e-4.

    References
    ----------
    .. [1] D. Hendrycks and K. Gimpel, "Gaussian error linear units (GELUs)", arXiv:1606.08415, section 2.

    Examples
    --------
    >>> import numpy as np
    >>> from xentrs import nn
    >>> nn.GELU().forward(np.array([-1.0, 0.0, 3.0])).round(4)
    array([-0.1588,  0.    ,  2.9964])
    """

    _SCALE, _CUBIC = 2 * math.sqrt(2 / math.pi), 0.044715

    def value(self, x: FloatArray) -> FloatArray:
        """``x / (1 + exp(-2 u))``."""
        x = np.maximum(x, -25)  # below, the share is 0; 0 times infinity would be NaN
        return x * sigmoid(self._twice_u(x))

    def slope(self, x: FloatArray, y: FloatArray) -> FloatArray:
        """``s + x s (1 - s) du``, where ``s = 1 / (1 + exp(-2 u))`` and ``du`` is the derivative of ``2 u``."""
        x = np.clip(x, -25, 25)  # beyond, the result is 0 or 1
        twice_u = self._twice_u(x)
        s, du = sigmoid(twice_u), self._SCALE * (1 + 3 * self._CUBIC * (x * x))
        return s + x * s * sigmoid(-twice_u) * du

    def _twice_u(self, x: FloatArray) -> FloatArray:
        with np.errstate(over="ignore"):  # the exponential is infinite where the share is 1
            return self._SCALE * (x + self._CUBIC * (x * x * x))
