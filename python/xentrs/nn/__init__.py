"""Layers with their gradients written out, for networks trained by hand: numbers in, numbers out, no graph.

A layer maps a batch of rows ``x`` to rows ``y``. Its backward pass takes the gradient of a loss to ``y`` and gives, by
the chain rule, that to ``x``; on the way it leaves the gradients to its parameters in `grads`. What the backward pass
needs is kept from the last forward pass, so a layer serves one batch at a time.
"""

from .activations import GELU, Activation, ReLU, Sigmoid, Tanh
from .layers import Dense, Layer, Sequential

__all__ = ["GELU", "Activation", "Dense", "Layer", "ReLU", "Sequential", "Sigmoid", "Tanh"]
