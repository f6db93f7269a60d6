"""The losses of JAX's arrays."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._arrays import fits, without_leading_ones
from .arguments import attributes_of, checked_logits, checked_weights, class_target, labels, repeated
from .call import Call, goes_eagerly, loss_of

__all__ = ["sigmoid_cross_entropy", "sigmoid_focal_loss", "softmax_cross_entropy", "softmax_focal_loss"]


def softmax_cross_entropy(
    logits: jax.typing.ArrayLike,
    target: jax.typing.ArrayLike | tuple[jax.typing.ArrayLike, jax.typing.ArrayLike],
    *,
    class_weight: jax.typing.ArrayLike | None = None,
    sample_weight: jax.typing.ArrayLike | None = None,
    ignore_index: int | None = -100,
    label_smoothing: float = 0.0,
    temperature: float = 1.0,
    softcap: float | None = None,
    z_loss: float = 0.0,
    reduction: str = "mean",
) -> jax.Array:
    """Softmax cross-entropy of JAX's arrays, a row being the last axis: ``sum_k w_k t_k (lse(z) - z_k)``.

    Parameters
    ----------
    logits : array, shape (..., c)
        Unnormalised log-probabilities: float16, bfloat16, float32 or float64.
    target : array, or pair of arrays
        Integers of shape (...) are classes, floats of shape (..., c) distributions; a pair ``(classes, weights)``, both
        of shape (..., k), is a sparse distribution.
    class_weight : array, shape (c,), optional
        Non-negative weight ``w`` of each class.
    sample_weight : array, shape (...), optional
        Non-negative weight of each row, or what is repeated to that shape.
    ignore_index : int or None, default -100
        A row of this class has no loss, no weight and zero gradient.
    label_smoothing, temperature, softcap, z_loss : float
        As in `xentrs.softmax_cross_entropy`: numbers that are known when the function is traced.
    reduction : {"mean", "sum", "none"}, default "mean"
        "none" gives the loss of each row, "sum" their sum, "mean" the sum divided by the sum of the weights.

    Returns
    -------
    array
        The loss in nats: float32, or float64 for logits of float64. Its shape is (), for "none" (...).

    Raises
    ------
    TypeError
        While tracing, if an argument is not of one of these dtypes, or an option depends on traced arrays.
    ValueError
        While tracing, if a shape does not fit, or an option is out of range.
    ValueError or jax.errors.JaxRuntimeError
        When the result is computed, at once or in the background, if a class is outside [0, c), or a weight is negative
        or not finite.
    NotImplementedError
        If a gradient with respect to `target` or a weight is needed: ``jax.lax.stop_gradient`` says that it is not.

    See Also
    --------
    xentrs.softmax_cross_entropy : the same of NumPy's arrays, where formula and options are explained.

    Notes
    -----
    Reverse mode alone is defined, once. The gradient has the dtype of the logits, and is computed in float32 where that
    is half precision.

    Examples
    --------
    >>> import jax
    >>> import jax.numpy as jnp
    >>> import numpy as np
    >>> import xentrs.jax as xj
    >>> logits, labels = jnp.array([[2.0, 1.0, 0.0], [0.0, 3.0, 0.0]]), jnp.array([0, 2])
    >>> np.array(xj.softmax_cross_entropy(logits, labels, reduction="none")).round(4)
    array([0.4076, 3.0949], dtype=float32)
    >>> np.array(jax.jit(jax.grad(xj.softmax_cross_entropy))(logits, labels)).round(4)
    array([[-0.1674,  0.1224,  0.045 ],
           [ 0.0226,  0.4547, -0.4774]], dtype=float32)
    """
    options = {
        "ignore_index": ignore_index,
        "label_smoothing": label_smoothing,
        "temperature": temperature,
        "softcap": softcap,
        "z_loss": z_loss,
    }
    return _softmax("softmax_cross_entropy", logits, target, class_weight, sample_weight, reduction, options)


def softmax_focal_loss(
    logits: jax.typing.ArrayLike,
    target: jax.typing.ArrayLike | tuple[jax.typing.ArrayLike, jax.typing.ArrayLike],
    *,
    gamma: float = 2.0,
    class_weight: jax.typing.ArrayLike | None = None,
    sample_weight: jax.typing.ArrayLike | None = None,
    ignore_index: int | None = -100,
    label_smoothing: float = 0.0,
    temperature: float = 1.0,
    softcap: float | None = None,
    z_loss: float = 0.0,
    reduction: str = "mean",
) -> jax.Array:
    """Softmax focal loss of JAX's arrays, a row being the last axis: ``sum_k w_k t_k (1 - p_k)^gamma (lse(z) - z_k)``.

    Parameters
    ----------
    logits, target : array
        As in `softmax_cross_entropy`.
    gamma : float, default 2.0
        Non-negative exponent: the larger, the less does a row count that is classified well.
    class_weight, sample_weight, ignore_index, label_smoothing, temperature, softcap, z_loss, reduction
        As in `softmax_cross_entropy`.

    Returns
    -------
    array
        As in `softmax_cross_entropy`.

    See Also
    --------
    xentrs.softmax_focal_loss : the same of NumPy's arrays, where formula and options are explained.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> import xentrs.jax as xj
    >>> loss = xj.softmax_focal_loss(jnp.array([[2.0, 1.0, 0.0], [0.0, 3.0, 0.0]]), jnp.array([0, 2]))
    >>> print(f"{loss:.4f}")
    1.4333
    """
    options = {
        "gamma": gamma,
        "ignore_index": ignore_index,
        "label_smoothing": label_smoothing,
        "temperature": temperature,
        "softcap": softcap,
        "z_loss": z_loss,
    }
    return _softmax("softmax_focal_loss", logits, target, class_weight, sample_weight, reduction, options)


def sigmoid_cross_entropy(
    logits: jax.typing.ArrayLike,
    target: jax.typing.ArrayLike,
    *,
    pos_weight: jax.typing.ArrayLike | None = None,
    sample_weight: jax.typing.ArrayLike | None = None,
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
) -> jax.Array:
    """Sigmoid cross-entropy of JAX's arrays, each element a yes-or-no question: ``-b t ln p - (1 - t) ln(1 - p)``.

    Parameters
    ----------
    logits : array, shape (...)
        Log-odds: float16, bfloat16, float32 or float64.
    target : array, shape (...)
        The answers: booleans, the integers 0 and 1, or floats in [0, 1].
    pos_weight : array, optional
        Non-negative weight ``b`` of the positive answers: a number, one for each position of the last axis, or what is
        repeated to the shape of the logits.
    sample_weight : array, optional
        Non-negative weights: one for each element, or what is repeated to that. With one axis less, one for each row.
    ignore_index : int or None, default None
        An element with this target has no loss, no weight and zero gradient.
    label_smoothing : float in [0, 1], default 0.0
        Share of each target that is spread evenly over both answers.
    reduction : {"mean", "sum", "none"}, default "mean"
        "none" gives the loss of each element, "sum" their sum, "mean" the sum divided by the sum of the sample weights.

    Returns
    -------
    array
        The loss in nats: float32, or float64 for logits of float64. Its shape is (), for "none" that of the logits.

    Raises
    ------
    TypeError, ValueError, NotImplementedError
        As `softmax_cross_entropy` does.
    ValueError or jax.errors.JaxRuntimeError
        When the result is computed, if a target is outside [0, 1] and not `ignore_index`, or a weight is negative or
        not finite.

    See Also
    --------
    xentrs.sigmoid_cross_entropy : the same of NumPy's arrays, where formula and options are explained.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> import xentrs.jax as xj
    >>> print(f"{xj.sigmoid_cross_entropy(jnp.array([2.0, -1.0, 0.5]), jnp.array([1, 0, 0])):.4f}")
    0.4714
    """
    options = {"ignore_index": ignore_index, "label_smoothing": label_smoothing}
    return _sigmoid("sigmoid_cross_entropy", logits, target, pos_weight, sample_weight, reduction, options)


def sigmoid_focal_loss(
    logits: jax.typing.ArrayLike,
    target: jax.typing.ArrayLike,
    *,
    gamma: float = 2.0,
    alpha: float | None = None,
    pos_weight: jax.typing.ArrayLike | None = None,
    sample_weight: jax.typing.ArrayLike | None = None,
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
) -> jax.Array:
    """Sigmoid focal loss of JAX's arrays: ``-b t (1 - p)^gamma ln p - (1 - t) p^gamma ln(1 - p)``.

    Parameters
    ----------
    logits, target : array, shape (...)
        As in `sigmoid_cross_entropy`.
    gamma : float, default 2.0
        Non-negative exponent: the larger, the less does an element count that is answered well.
    alpha : float in [0, 1], optional
        Weight of the positive answers, against ``1 - alpha`` of the negative ones.
    pos_weight, sample_weight, ignore_index, label_smoothing, reduction
        As in `sigmoid_cross_entropy`.

    Returns
    -------
    array
        As in `sigmoid_cross_entropy`.

    See Also
    --------
    xentrs.sigmoid_focal_loss : the same of NumPy's arrays, where formula and options are explained.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> import xentrs.jax as xj
    >>> print(f"{xj.sigmoid_focal_loss(jnp.array([2.0, -1.0, 0.5]), jnp.array([1, 0, 0])):.4f}")
    0.1340
    """
    options = {"gamma": gamma, "alpha": alpha, "ignore_index": ignore_index, "label_smoothing": label_smoothing}
    return _sigmoid("sigmoid_focal_loss", logits, target, pos_weight, sample_weight, reduction, options)


def _softmax(
    loss: str, logits: Any, target: Any, class_weight: Any, sample_weight: Any, reduction: str, options: dict[str, Any]
) -> Any:
    attributes = attributes_of(loss, np.empty((0, 2), np.float32), np.empty(0, np.int64), reduction, options)
    logits = checked_logits(logits)
    if logits.ndim == 0:
        raise ValueError("logits must have at least one axis, got shape ()")
    *leading, classes = logits.shape
    rows = tuple(leading)
    operands = {"logits": logits, **class_target(loss, logits, target)}
    if class_weight is not None:
        operands["class_weight"] = checked_weights("class_weight", class_weight)
        if operands["class_weight"].shape != (classes,):
            shape = operands["class_weight"].shape
            raise ValueError(f"class_weight must have shape ({classes},), got {shape}")
    if sample_weight is not None:
        operands["sample_weight"] = repeated("sample_weight", checked_weights("sample_weight", sample_weight), rows)
    is_eager = goes_eagerly(logits, reduction)
    # The loss of a single class needs no reduction, and the rows of a batch are then computed at once.
    has_class = len(operands) == 2 and not jnp.issubdtype(operands["target"].dtype, jnp.floating)
    if not rows and (reduction == "sum" or has_class):
        reduction = "none"
    call = Call(loss, reduction, tuple(operands), attributes, rows if reduction == "none" else (), is_eager)
    return loss_of(call, tuple(operands.values()))


def _sigmoid(
    loss: str, logits: Any, target: Any, pos_weight: Any, sample_weight: Any, reduction: str, options: dict[str, Any]
) -> Any:
    attributes = attributes_of(loss, np.empty(0, np.float32), np.empty(0, np.float32), reduction, options)
    logits = checked_logits(logits)
    shape = logits.shape
    operands = {"logits": logits, "target": labels(loss, logits, target)}
    if sample_weight is not None:
        weights = checked_weights("sample_weight", sample_weight)
        if shape and weights.ndim == logits.ndim - 1:
            weights = repeated("sample_weight", weights, shape[:-1])[..., jnp.newaxis]
        operands["sample_weight"] = repeated("sample_weight", weights, shape)
    if pos_weight is not None:
        weights = checked_weights("pos_weight", pos_weight)
        if not fits(weights, shape):
            raise ValueError(f"pos_weight must have shape {shape} or broadcast to it, got {weights.shape}")
        weights = without_leading_ones(weights)
        # The axes along which the weights vary are taken for one, the last one, along which the core lets them vary.
        last = shape[len(shape) - weights.ndim :]
        whole = (*shape[: len(shape) - weights.ndim], math.prod(last)) if weights.ndim > 1 else shape
        operands = {name: operand.reshape(whole) for name, operand in operands.items()}
        operands["pos_weight"] = jnp.broadcast_to(weights, last).ravel()
    is_eager = goes_eagerly(logits, reduction)
    if not shape and (reduction == "sum" or sample_weight is None):
        reduction = "none"
    losses_shape = operands["logits"].shape if reduction == "none" else ()
    call = Call(loss, reduction, tuple(operands), attributes, losses_shape, is_eager)
    result = loss_of(call, tuple(operands.values()))
    return result.reshape(shape) if reduction == "none" else result
