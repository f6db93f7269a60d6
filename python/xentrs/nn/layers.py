"""Layers that make up a network: the weighted sum, and one layer after the other."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Self

import numpy as np
from numpy.typing import DTypeLike

from .._arrays import read
from .._blas import blas_threads_for
from .._numbers import a_dtype, one_of, positive_integer
from .._seeds import Seed, drawing
from ..losses import FloatArray

__all__ = ["Dense", "Layer", "Sequential"]

FLOATS = (np.float32, np.float64)


class Layer(ABC):
    """What all layers have in common: two passes, parameters, and the gradients to them.

    Attributes
    ----------
    params : list of ndarray
        What an optimiser updates in place; empty where a layer has nothing to learn.
    grads : list of ndarray
        The gradients to them of the last backward pass, each in the shape of its parameter.

    Examples
    --------
    A layer of one's own:

    >>> import numpy as np
    >>> from xentrs import nn
    >>> class Double(nn.Layer):
    ...     def forward(self, x):
    ...         return 2 * x
    ...
    ...     def backward(self, grad):
    ...         return 2 * grad
    >>> nn.Sequential(Double(), Double()).forward(np.ones((1, 2)))
    array([[4., 4.]])
    """

    _x: FloatArray | None = None

    @property
    def params(self) -> list[FloatArray]:
        """What an optimiser updates in place."""
        return []

    @property
    def grads(self) -> list[FloatArray]:
        """The gradients to them."""
        return []

    @abstractmethod
    def forward(self, x: FloatArray) -> FloatArray:
        """Map a batch.

        Parameters
        ----------
        x : ndarray, shape (n, d)
            The input, a row for each sample.

        Returns
        -------
        ndarray, shape (n, c)
            The output ``y``.
        """

    @abstractmethod
    def backward(self, grad: FloatArray) -> FloatArray:
        """Pass a gradient back through the last forward pass, and keep those to the parameters.

        Parameters
        ----------
        grad : ndarray, shape (n, c)
            Gradient of the loss to ``y``.

        Returns
        -------
        ndarray, shape (n, d)
            Gradient of the loss to ``x``.
        """

    def backward_params(self, grad: FloatArray) -> None:
        """Keep the gradients to the parameters alone, where nobody asks for that to ``x``, which costs as much again.

        Parameters
        ----------
        grad : ndarray, shape (n, c)
            Gradient of the loss to ``y``.
        """
        self.backward(grad)

    def _last_input(self) -> FloatArray:
        if self._x is None:
            raise RuntimeError("backward needs a forward pass before it")
        return self._x


class Sequential(Layer):
    """Layers one after the other; the backward pass goes the other way.

    Parameters
    ----------
    *layers : Layer
        The layers, the first one nearest to the input.

    Attributes
    ----------
    layers : list of Layer
        The layers given.
    params : list of ndarray
        The parameters of all layers, in their order.
    grads : list of ndarray
        The gradients to them.

    Examples
    --------
    The exclusive or, which no line can separate:

    >>> import numpy as np
    >>> import xentrs as xe
    >>> from xentrs import nn
    >>> from xentrs.optim import Adam
    >>> x, target = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]), [0, 1, 1, 0]
    >>> network = nn.Sequential(nn.Dense(2, 8, random_state=0), nn.Tanh(), nn.Dense(8, 2, random_state=1))
    >>> optimizer = Adam(network.params, learning_rate=0.05)
    >>> for epoch in range(200):
    ...     loss, grad = xe.softmax_cross_entropy_with_grad(network.forward(x), target)
    ...     network.backward_params(grad)
    ...     optimizer.step(network.grads)
    >>> print(f"{loss:.3f}")
    0.001
    """

    def __init__(self, *layers: Layer) -> None:
        given: tuple[object, ...] = layers
        for i, layer in enumerate(given):
            if not isinstance(layer, Layer):
                got = f"the class {layer.__name__}" if isinstance(layer, type) else type(layer).__name__
                raise TypeError(f"layers[{i}] must be a Layer, got {got}")
        self.layers = list(layers)

    @property
    def params(self) -> list[FloatArray]:
        """The parameters of all layers."""
        return [param for layer in self.layers for param in layer.params]

    @property
    def grads(self) -> list[FloatArray]:
        """The gradients to them."""
        return [grad for layer in self.layers for grad in layer.grads]

    def forward(self, x: FloatArray) -> FloatArray:
        """Map a batch by each layer in turn."""
        for layer in self.layers:
            x = layer.forward(x)
        return x

    def backward(self, grad: FloatArray) -> FloatArray:
        """Pass a gradient back through each layer, the last one first."""
        for layer in reversed(self.layers):
            grad = layer.backward(grad)
        return grad

    def backward_params(self, grad: FloatArray) -> None:
        """Keep the gradients to all parameters; that to the input is left out."""
        for layer in reversed(self.layers[1:]):
            grad = layer.backward(grad)
        for layer in self.layers[:1]:
            layer.backward_params(grad)


class Dense(Layer):
    """Every output a weighted sum of all inputs: ``y = x W^T + b``.

    With ``g`` for the gradient to ``y``, the gradients are ``g W`` to ``x``, ``g^T x`` to ``W`` and the sum of the rows
    of ``g`` to ``b``.

    Parameters
    ----------
    n_in : int
        Inputs of a row.
    n_out : int
        Outputs of a row.
    init : {"glorot", "he"}, default "glorot"
        What the weights are drawn from: uniform in ``+-sqrt(6 / (n_in + n_out))`` [1]_, for Tanh and Sigmoid and the
        last layer, or normal with variance ``2 / n_in`` [2]_, for ReLU and GELU. The biases start at zero.
    dtype : dtype, default float64
        float32 or float64, of the parameters, the input and the output.
    random_state : int, RandomState, Generator or None, default None
        The seed of the weights.

    Attributes
    ----------
    weight : ndarray, shape (n_out, n_in)
        ``W``.
    bias : ndarray, shape (n_out,)
        ``b``.
    params, grads : list of ndarray
        These two, and the gradients to them.

    Raises
    ------
    ValueError
        If a size is not positive, `init` is unknown, or the shape of an input or a gradient does not fit.
    TypeError
        If a size is no integer, or `dtype`, or that of an input or a gradient, is not as described here.

    References
    ----------
    .. [1] X. Glorot and Y. Bengio, "Understanding the difficulty of training deep feedforward neural networks",
       AISTATS 2010, equation 16.
    .. [2] K. He, X. Zhang, S. Ren and J. Sun, "Delving deep into rectifiers", ICCV 2015, equation 10.

    Examples
    --------
    >>> import numpy as np
    >>> from xentrs import nn
    >>> layer = nn.Dense(3, 2)
    >>> layer.weight[:] = [[1, 2, 3], [0, 0, 1]]
    >>> layer.forward(np.array([[1.0, 0.0, -1.0]]))
    array([[-2., -1.]])
    >>> layer.backward(np.array([[1.0, 10.0]]))
    array([[ 1.,  2., 13.]])
    >>> layer.grads
    [array([[  1.,   0.,  -1.],
           [ 10.,   0., -10.]]), array([ 1., 10.])]
    """

    _grads: list[FloatArray] = []  # noqa: RUF012  # replaced, never changed

    def __init__(
        self,
        n_in: int,
        n_out: int,
        *,
        init: str = "glorot",
        dtype: DTypeLike = np.float64,
        random_state: Seed = None,
    ) -> None:
        for name, size in (("n_in", n_in), ("n_out", n_out)):
            positive_integer(name, size)
        if (floats := a_dtype("dtype", dtype)) not in FLOATS:
            raise TypeError(f"dtype must be float32 or float64, got {floats}")
        one_of("init", init, ("glorot", "he"))
        random = drawing(random_state)
        if init == "glorot":
            bound = math.sqrt(6 / (n_in + n_out))
            weight = random.uniform(-bound, bound, (n_out, n_in))
        else:
            weight = random.normal(0.0, math.sqrt(2 / n_in), (n_out, n_in))
        self.weight, self.bias = weight.astype(floats), np.zeros(n_out, floats)

    @classmethod
    def of(cls, weight: FloatArray, bias: FloatArray) -> Self:
        """Make a layer of parameters that there are already.

        Parameters
        ----------
        weight : ndarray, shape (n_out, n_in)
            ``W``, float32 or float64. It is not copied, nor is the bias: an optimiser changes them in place.
        bias : ndarray, shape (n_out,)
            ``b``, of the same dtype.

        Returns
        -------
        Dense
            The layer.

        Raises
        ------
        ValueError
            If the shapes do not fit each other.
        TypeError
            If a dtype is another.

        Examples
        --------
        >>> import numpy as np
        >>> from xentrs import nn
        >>> nn.Dense.of(np.eye(2), np.ones(2)).forward(np.array([[3.0, 4.0]]))
        array([[4., 5.]])
        """
        if not isinstance(weight, np.ndarray) or weight.dtype not in FLOATS:
            got = getattr(weight, "dtype", type(weight).__name__)
            raise TypeError(f"weight must be an array of float32 or float64, got {got}")
        if weight.ndim != 2:
            raise ValueError(f"weight must have two dimensions, got {weight.ndim}")
        layer = cls.__new__(cls)
        layer.weight, layer.bias = read(weight, "weight"), checked("bias", bias, weight, weight.shape[:1])
        return layer

    @property
    def params(self) -> list[FloatArray]:
        """``W`` and ``b``."""
        return [self.weight, self.bias]

    @property
    def grads(self) -> list[FloatArray]:
        """The gradients to them, of the last backward pass; empty before the first."""
        return self._grads

    def forward(self, x: FloatArray) -> FloatArray:
        """``x W^T + b``."""
        n = x.shape[0] if isinstance(x, np.ndarray) and x.ndim == 2 else 1
        self._x = x = checked("x", x, self.weight, (n, self.weight.shape[1]))
        with blas_threads_for(n, *self.weight.shape):
            y: FloatArray = x @ self.weight.T
        y += self.bias
        return y

    def backward(self, grad: FloatArray) -> FloatArray:
        """Give ``g W``."""
        self.backward_params(grad)
        with blas_threads_for(len(grad), *self.weight.shape):
            to_input: FloatArray = read(grad, "grad") @ self.weight
        return to_input

    def backward_params(self, grad: FloatArray) -> None:
        """Keep ``g^T x`` and the sum of the rows of ``g``."""
        x = self._last_input()
        grad = checked("grad", grad, self.weight, (len(x), len(self.weight)))
        with blas_threads_for(len(x), *self.weight.shape):
            self._grads = [grad.T @ x, grad.sum(axis=0)]


def checked(name: str, array: FloatArray, like: FloatArray, shape: tuple[int, ...]) -> FloatArray:
    """`array`, if it has this shape and the dtype of `like`."""
    if not isinstance(array, np.ndarray):
        raise TypeError(f"{name} must be an array of {like.dtype}, got {type(array).__name__}")
    if array.dtype != like.dtype:
        raise TypeError(f"{name} must be an array of {like.dtype}, got {array.dtype}")
    if array.shape != shape:
        raise ValueError(f"{name} must have shape {shape}, got {array.shape}")
    return read(array, name)
