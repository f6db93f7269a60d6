"""The loss of a linear layer's outputs, and its gradients to the layer: the outputs are never stored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

from .. import _core
from .._calls import calls
from .results import ArrayLike, FloatArray, LinearLossGrad, Loss, Reduction, Target, linear_loss_grad

__all__ = ["linear_cross_entropy", "linear_cross_entropy_with_grad"]

Kind: TypeAlias = Literal["softmax", "sigmoid"]
Out: TypeAlias = tuple[FloatArray | None, FloatArray | None, FloatArray | None]


@calls(_core.linear_cross_entropy, wrt=())
def linear_cross_entropy(
    x: ArrayLike,
    weight: ArrayLike,
    target: Target,
    *,
    bias: ArrayLike | None = None,
    kind: Kind = "softmax",
    class_weight: ArrayLike | None = None,
    pos_weight: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    ignore_index: int | None = -100,
    label_smoothing: float = 0.0,
    temperature: float = 1.0,
    softcap: float | None = None,
    log_prior: ArrayLike | None = None,
    z_loss: float = 0.0,
    reduction: Reduction = "mean",
) -> Loss:
    """Cross-entropy of the logits that a linear layer makes of its inputs: the head of a model and its loss in one.

    It is the loss of ``logits = x @ weight.T + bias``::

        kind="softmax"    softmax_cross_entropy(logits, target, ...)
        kind="sigmoid"    sigmoid_cross_entropy(logits, target, ...)

    without the logits: these exist for a few rows at a time, in at most 40 MiB, and, where that would be fewer than 64
    rows, for a part of the classes at a time. Distributions, independent labels, smoothing, temperature, softcap,
    priors and z-loss ask for whole rows, of which one may then be larger.

    Parameters
    ----------
    x : array_like, shape (..., d)
        A row of ``d`` features each: float16, bfloat16, float32 or float64. Integers and lists are taken as float64.
    weight : array_like, shape (c, d)
        A row of features a class, of the dtype of `x`.
    target : array_like
        As in `softmax_cross_entropy`: classes of shape (...), distributions of shape (..., c), or a tuple of classes
        and weights; for the kind "sigmoid" as in `sigmoid_cross_entropy`, of shape (..., c).
    bias : array_like, shape (c,), optional
        One number a class, of the dtype of `x`; for half precision float32 too.
    kind : {"softmax", "sigmoid"}, default "softmax"
        Whether classes exclude each other, or are independent labels.
    class_weight : array_like, shape (c,), optional
        As in `softmax_cross_entropy`; of the kind "softmax" alone.
    pos_weight : array_like, shape (c,), optional
        Non-negative weight of the positive answers to each label, or one for all; of the kind "sigmoid" alone.
    sample_weight : array_like, optional
        As in the loss of this kind.
    ignore_index : int or None, default -100
        As in the loss of this kind; -100 is the default of both here.
    label_smoothing : float in [0, 1], default 0.0
        As in the loss of this kind.
    temperature, softcap : float, optional
        As in `softmax_cross_entropy`; of the kind "softmax" alone.
    log_prior : array_like, shape (c,), optional
        As in `softmax_cross_entropy`; of the kind "softmax" alone. It is no part of the layer, as `bias` is.
    z_loss : float, default 0.0
        As in `softmax_cross_entropy`; of the kind "softmax" alone.
    reduction : {"mean", "sum", "none"}, default "mean"
        As in the loss of this kind.

    Returns
    -------
    float or ndarray
        The loss in nats, as from the loss of this kind.

    Raises
    ------
    IndexError
        If a class is neither in ``[0, c)`` nor `ignore_index`; the message names its row.
    ValueError
        If a shape does not fit, an option belongs to the other kind, or is out of its range; `kind` or `reduction` is
        unknown.
    TypeError
        If `x` is not real numbers of one of these dtypes, `weight` or `bias` are of another dtype than `x`, or `target`
        is of none that the loss takes.

    See Also
    --------
    linear_cross_entropy_with_grad : the loss together with its gradients.
    softmax_cross_entropy : the loss of logits, with the meaning of each option.
    sigmoid_cross_entropy : the same of independent labels.

    Notes
    -----
    Logits are computed in the dtype of `x`, float32 for half precision, and are as exact as a product of matrices is;
    what follows is as exact as in the loss of logits. `x` and `weight` are read in place where they are C-ordered and
    native; others are copied first. The result has the same bits for any number of threads.

    A row that counts for nothing (ignored, or of sample weight 0) is left out, whatever stands in it. A NaN in a row of
    `x` that counts makes its loss NaN, one in `weight` that of all rows.

    Products are those of the crate gemm, which chooses among the instructions of the processor by itself, whatever
    ``XENTRS_ISA`` says.

    References
    ----------
    .. [1] E. Wijmans, B. Huval, A. Hertzberg, V. Koltun and P. Krähenbühl, "Cut Your Losses in Large-Vocabulary
       Language Models", ICLR 2025, arXiv:2411.09009.

    Examples
    --------
    >>> import numpy as np
    >>> import xentrs as xe
    >>> x = np.array([[1.0, 0.0], [0.0, 2.0]])
    >>> weight = np.array([[2.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    >>> round(xe.linear_cross_entropy(x, weight, [0, 1]), 4)
    0.5831
    >>> round(xe.softmax_cross_entropy(x @ weight.T, [0, 1]), 4)
    0.5831
    """


@calls(_core.linear_cross_entropy, order=1, returns=linear_loss_grad)
def linear_cross_entropy_with_grad(
    x: ArrayLike,
    weight: ArrayLike,
    target: Target,
    *,
    bias: ArrayLike | None = None,
    kind: Kind = "softmax",
    class_weight: ArrayLike | None = None,
    pos_weight: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    ignore_index: int | None = -100,
    label_smoothing: float = 0.0,
    temperature: float = 1.0,
    softcap: float | None = None,
    log_prior: ArrayLike | None = None,
    z_loss: float = 0.0,
    reduction: Reduction = "mean",
    wrt: str | Sequence[str] = ("x", "weight", "bias"),
    grad_output: ArrayLike | None = None,
    out: Out | None = None,
) -> LinearLossGrad:
    """Cross-entropy of a linear layer's outputs, and its gradients to inputs, weight and bias, without the logits.

    With ``G``, of shape (n, c), the gradient of the loss with respect to the logits::

        grad_x = G @ weight          grad_weight = G.T @ x          grad_bias = G.sum(axis=0)

    Parameters
    ----------
    x, weight, target, bias, kind, class_weight, pos_weight, sample_weight, ignore_index
        As in `linear_cross_entropy`.
    label_smoothing, temperature, softcap, log_prior, z_loss, reduction
        As in `linear_cross_entropy`.
    wrt : sequence of {"x", "weight", "bias"}, or one of them
        The gradients that are wanted. Each that is left out spares its product.
    grad_output : float or array_like, optional
        What the gradient with respect to the logits is multiplied by before the products, as in
        `softmax_cross_entropy_with_grad` or `sigmoid_cross_entropy_with_grad`.
    out : tuple of ndarray or None, optional
        Where to write ``(grad_x, grad_weight, grad_bias)``: writable arrays of the shapes of `x`, `weight` and `bias`
        and of the dtype of `x`, or of float32 where that is float16 or bfloat16; None for a new one. None may overlap
        another, or an input.

    Returns
    -------
    LinearLossGrad
        The named tuple ``(loss, grad_x, grad_weight, grad_bias)``: the loss as from `linear_cross_entropy`, and
        gradients in the shapes of what they belong to and the dtype of `x`. None stands for one that is not wanted, and
        for that of a bias that is not there. Gradients for the reduction "none" are those of the sum.

    Raises
    ------
    IndexError, ValueError, TypeError
        As in `linear_cross_entropy`, or if `wrt` names something else, or an `out` does not fit. Nothing is written to
        `out` then.

    See Also
    --------
    linear_cross_entropy : the loss alone, with the meaning of each option.

    Notes
    -----
    Three products of matrices take nearly all of the time; the loss alone takes one. Beside the gradients the call
    needs less than 64 MiB, and in half precision the gradients in float32, in which they are summed.

    A row that counts for nothing adds to no gradient, whatever stands in it, and its own gradient is 0. A NaN in a row
    of `x` that counts, or an infinite logit there that leaves no distribution, makes its gradient NaN, and with it
    those of weight and bias, to which every row adds.

    Where ``c`` and ``d`` are small, as in softmax regression, each row of `x` is read once, for loss and gradient
    together.

    Examples
    --------
    >>> import numpy as np
    >>> import xentrs as xe
    >>> x = np.array([[1.0, 0.0], [0.0, 2.0]])
    >>> weight = np.array([[2.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    >>> loss, grad_x, grad_weight, grad_bias = xe.linear_cross_entropy_with_grad(x, weight, [0, 1], bias=np.zeros(3))
    >>> grad_weight.round(4)
    array([[-0.1674,  0.0634],
           [ 0.045 , -0.5317],
           [ 0.1224,  0.4683]])
    >>> grad_bias.round(4)
    array([-0.1357, -0.2208,  0.3565])

    A step of gradient descent needs no gradient of the inputs:

    >>> xe.linear_cross_entropy_with_grad(x, weight, [0, 1], wrt="weight").grad_x is None
    True
    """
