"""What the losses return, and the types of what they take."""

from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["FloatArray", "GaussianLossGrad", "Loss", "LossGrad", "Reduction"]

FloatArray: TypeAlias = NDArray[np.floating[Any]]
Reduction: TypeAlias = Literal["mean", "sum", "none"]

# A float for "mean" and "sum", an array for "none". `| Any` spares the caller a cast in either case.
Loss: TypeAlias = float | Any


class LossGrad(NamedTuple):
    """A loss and its gradient with respect to the logits, as every ``_with_grad`` function returns them.

    It unpacks like a tuple: ``loss, grad = softmax_cross_entropy_with_grad(logits, target)``.
    """

    loss: Loss
    """The loss in nats: a float for the reductions "mean" and "sum", an array for "none"."""

    grad: FloatArray
    """The gradient, with the shape and dtype of the logits, or those of ``out``."""


class GaussianLossGrad(NamedTuple):
    """A loss of predicted means and variances, and its gradients: ``loss, grad_mean, grad_var = ...``."""

    loss: Loss
    """The loss in nats: a float for the reductions "mean" and "sum", an array for "none"."""

    grad_mean: FloatArray
    """The gradient with respect to the means, with their shape and dtype, or those of ``out``."""

    grad_var: FloatArray
    """The gradient with respect to the variances, or to their logarithms where these were given, in their shape."""
