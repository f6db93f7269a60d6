"""What the losses return, and the types of what they take."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._calls import Expression

__all__ = [
    "HESS",
    "ArrayLike",
    "Curvature",
    "FloatArray",
    "GaussianLossGrad",
    "InfoNceLossGrad",
    "LinearLossGrad",
    "Loss",
    "LossGrad",
    "LossGradHess",
    "Reduction",
    "SiglipLossGrad",
    "Target",
    "gaussian_loss_grad",
    "info_nce_loss_grad",
    "linear_loss_grad",
    "siglip_loss_grad",
]

FloatArray: TypeAlias = NDArray[np.floating[Any]]
Reduction: TypeAlias = Literal["mean", "sum", "none"]
Curvature: TypeAlias = Literal["exact", "convex", "gradient"]

HESS = Expression("(hess_out, hess_scale, hess_floor, curvature)")
"""How the Hessian is wanted, as the compiled functions take it."""

# Target of the softmax family: classes, distributions, or a pair of classes and their weights.
Target: TypeAlias = ArrayLike | tuple[ArrayLike, ArrayLike]

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


class LossGradHess(NamedTuple):
    """A loss, its gradient and its curvature, as every ``_with_hess`` function returns them.

    It unpacks like a tuple: ``loss, grad, hess = sigmoid_cross_entropy_with_hess(logits, target)``.
    """

    loss: Loss
    """The loss in nats: a float for the reductions "mean" and "sum", an array for "none"."""

    grad: FloatArray
    """The gradient, with the shape and dtype of the logits, or those of ``out``."""

    hess: FloatArray
    """The diagonal of the Hessian, a new array with the shape and dtype of the gradient."""


class GaussianLossGrad(NamedTuple):
    """A loss of predicted means and variances, and its gradients: ``loss, grad_mean, grad_var = ...``."""

    loss: Loss
    """The loss in nats: a float for the reductions "mean" and "sum", an array for "none"."""

    grad_mean: FloatArray
    """The gradient with respect to the means, with their shape and dtype, or those of ``out``."""

    grad_var: FloatArray
    """The gradient with respect to the variances, or to their logarithms where these were given, in their shape."""


class LinearLossGrad(NamedTuple):
    """A loss of a linear layer's outputs, and its gradients: ``loss, grad_x, grad_weight, grad_bias = ...``."""

    loss: Loss
    """The loss in nats: a float for the reductions "mean" and "sum", an array for "none"."""

    grad_x: FloatArray | None
    """The gradient with respect to the inputs, with their shape and dtype; None where it is not wanted."""

    grad_weight: FloatArray | None
    """The gradient with respect to the weight, in its shape and dtype; None where it is not wanted."""

    grad_bias: FloatArray | None
    """The gradient with respect to the bias, in its shape; None where it is not wanted, or there is no bias."""


class InfoNceLossGrad(NamedTuple):
    """A contrastive loss and its gradients: ``loss, grad_x, grad_y, grad_temperature = ...``."""

    loss: Loss
    """The loss in nats: a float for the reductions "mean" and "sum", an array for "none"."""

    grad_x: FloatArray
    """The gradient with respect to the first view, with its shape and dtype, or those of ``out``."""

    grad_y: FloatArray
    """The gradient with respect to the second view, likewise."""

    grad_temperature: float
    """The derivative with respect to the temperature."""


class SiglipLossGrad(NamedTuple):
    """A contrastive loss and its gradients: ``loss, grad_x, grad_y, grad_temperature, grad_bias = ...``."""

    loss: Loss
    """The loss in nats: a float for the reductions "mean" and "sum", an array for "none"."""

    grad_x: FloatArray
    """The gradient with respect to the first view, with its shape and dtype, or those of ``out``."""

    grad_y: FloatArray
    """The gradient with respect to the second view, likewise."""

    grad_temperature: float
    """The derivative with respect to the temperature."""

    grad_bias: float
    """The derivative with respect to the bias."""


# Make named tuples of plain ones. Calling the class would run a Python function, which takes longer.
gaussian_loss_grad: Callable[[Any], GaussianLossGrad] = partial(tuple.__new__, GaussianLossGrad)
info_nce_loss_grad: Callable[[Any], InfoNceLossGrad] = partial(tuple.__new__, InfoNceLossGrad)
linear_loss_grad: Callable[[Any], LinearLossGrad] = partial(tuple.__new__, LinearLossGrad)
siglip_loss_grad: Callable[[Any], SiglipLossGrad] = partial(tuple.__new__, SiglipLossGrad)
