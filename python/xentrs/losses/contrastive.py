"""Contrastive losses: of two views of many things, which belong together? The matrix of all pairs is never stored."""

from __future__ import annotations

from typing import TypeAlias

from .. import _core
from .._calls import calls
from .results import (
    ArrayLike,
    FloatArray,
    InfoNceLossGrad,
    Loss,
    Reduction,
    SiglipLossGrad,
    info_nce_loss_grad,
    siglip_loss_grad,
)

__all__ = ["info_nce", "info_nce_with_grad", "siglip_loss", "siglip_loss_with_grad"]

Out: TypeAlias = tuple[FloatArray | None, FloatArray | None]


@calls(_core.info_nce)
def info_nce(
    x: ArrayLike,
    y: ArrayLike,
    *,
    temperature: float,
    symmetric: bool = True,
    reduction: Reduction = "mean",
) -> Loss:
    """InfoNCE, the loss of CLIP: row `i` of `x` is to be nearest to row `i` of `y`, among all rows of `y`.

    With ``z = x @ y.T / temperature`` pair `i` costs the mean of the two cross-entropies of row `i` and column `i`::

        loss_i = ((logsumexp(z[i, :]) - z[i, i]) + (logsumexp(z[:, i]) - z[i, i])) / 2

    or, unless it is symmetric, that of the row alone. The matrix ``z`` exists for a few rows at a time, in at most 40
    MiB.

    Parameters
    ----------
    x : array_like, shape (n, d)
        A row of features each: float16, bfloat16, float32 or float64. Integers and lists are taken as float64. CLIP
        divides each row by its length first; any rows will do.
    y : array_like, shape (n, d)
        The same of the other view, of the dtype of `x`: row `i` belongs to row `i` of `x`.
    temperature : float in [1e-30, 1e30]
        What inner products are divided by: 0.07 is where CLIP starts. A logit scale is its inverse.
    symmetric : bool, default True
        Whether each row of `y` is also to be nearest to its own among all rows of `x`.
    reduction : {"mean", "sum", "none"}, default "mean"
        The mean over pairs, their sum, or the loss of each, of shape (n,).

    Returns
    -------
    float or ndarray
        The loss in nats: a float for "mean" and "sum", an array for "none", float32 for half precision.

    Raises
    ------
    ValueError
        If a shape does not fit, `temperature` is out of its range, or `reduction` is unknown.
    TypeError
        If `x` is not real numbers of one of these dtypes, or `y` is of another dtype than `x`.

    See Also
    --------
    info_nce_with_grad : the loss together with its gradients.
    siglip_loss : every pair is a question of its own.
    linear_cross_entropy : the same loss of a layer's outputs, with all options of `softmax_cross_entropy`.

    Notes
    -----
    A pair of equals among others far away has a loss near 0, which keeps its digits; `n` pairs that are all alike cost
    ``ln n`` each. A NaN in a row spoils all losses, as every row is held against all others. The result has the same
    bits for any number of threads.

    References
    ----------
    .. [1] A. van den Oord, Y. Li and O. Vinyals, "Representation Learning with Contrastive Predictive Coding", 2018,
       arXiv:1807.03748.
    .. [2] A. Radford, J. W. Kim et al., "Learning Transferable Visual Models From Natural Language Supervision", ICML
       2021, arXiv:2103.00020.

    Examples
    --------
    >>> import numpy as np
    >>> import xentrs as xe
    >>> x = np.array([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    >>> round(xe.info_nce(x, x, temperature=0.1), 4)
    0.096
    >>> round(xe.info_nce(x, x[[1, 2, 0]], temperature=0.1), 4)
    5.4294
    """


@calls(_core.info_nce, order=1, returns=info_nce_loss_grad)
def info_nce_with_grad(
    x: ArrayLike,
    y: ArrayLike,
    *,
    temperature: float,
    symmetric: bool = True,
    reduction: Reduction = "mean",
    grad_output: ArrayLike | None = None,
    out: Out | None = None,
) -> InfoNceLossGrad:
    """InfoNCE and its gradients with respect to both views and the temperature.

    With ``P`` and ``Q``, the softmax of ``z`` along rows and along columns, and ``G = (P + Q) / 2 - I``, divided by
    `n` for "mean"::

        grad_x = G @ y / temperature        grad_temperature = -(G * z).sum() / temperature
        grad_y = G.T @ x / temperature

    Parameters
    ----------
    x, y, temperature, symmetric, reduction
        As in `info_nce`.
    grad_output : float or array_like, shape (n,), optional
        What the gradient of each loss is multiplied by: the chain rule. 1 unless given.
    out : tuple of ndarray or None, optional
        Where to write ``(grad_x, grad_y)``: writable arrays of the shape and dtype of `x`, or of float32 where that is
        float16 or bfloat16; None for a new one. None may overlap another, or an input.

    Returns
    -------
    InfoNceLossGrad
        The named tuple ``(loss, grad_x, grad_y, grad_temperature)``: the loss as from `info_nce`, two gradients in the
        shape and dtype of `x`, and a float. Gradients for "none" are those of the sum.

    Raises
    ------
    ValueError, TypeError
        As in `info_nce`, or if `grad_output` or an `out` does not fit. Nothing is written to `out` then.

    See Also
    --------
    info_nce : the loss alone, with the meaning of each option.

    Notes
    -----
    A learnt logit scale ``s = 1 / temperature`` has the derivative ``-temperature**2 * grad_temperature``, and its
    logarithm ``-temperature * grad_temperature``.

    Examples
    --------
    >>> import numpy as np
    >>> import xentrs as xe
    >>> x = np.array([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    >>> loss, grad_x, grad_y, grad_temperature = xe.info_nce_with_grad(x, x, temperature=0.1)
    >>> grad_x.round(4)
    array([[-0.0262,  0.0453],
           [ 0.2366, -0.0821],
           [-0.2099,  0.039 ]])
    >>> round(grad_temperature, 4)
    2.031
    """


@calls(_core.siglip_loss)
def siglip_loss(
    x: ArrayLike,
    y: ArrayLike,
    *,
    temperature: float,
    bias: float = 0.0,
    reduction: Reduction = "mean",
) -> Loss:
    """Sigmoid contrastive loss: whether a row of `x` and a row of `y` belong together, asked of every pair.

    With ``z = x @ y.T / temperature + bias`` row `i` costs the sum of `n` sigmoid cross-entropies, of which one target
    is 1::

        loss_i = softplus(-z[i, i]) + sum of softplus(z[i, j]) over all other j

    The matrix ``z`` exists for a few rows at a time, in at most 40 MiB.

    Parameters
    ----------
    x, y
        As in `info_nce`.
    temperature : float in [1e-30, 1e30]
        What inner products are divided by. The authors start from 0.1.
    bias : float, default 0.0
        Is added to every logit. The authors start from -10, as nearly all pairs do not belong together.
    reduction : {"mean", "sum", "none"}, default "mean"
        The mean over the `n` rows (not over the `n * n` pairs), as the authors have it, the sum, or the loss of each
        row, of shape (n,).

    Returns
    -------
    float or ndarray
        The loss in nats, as from `info_nce`.

    Raises
    ------
    ValueError, TypeError
        As in `info_nce`, or if `bias` is not finite.

    See Also
    --------
    siglip_loss_with_grad : the loss together with its gradients.
    info_nce : the pairs of a row exclude each other.
    sigmoid_cross_entropy : the loss of one pair.

    Notes
    -----
    A NaN in a row spoils all losses, as every row is held against all others. The result has the same bits for any
    number of threads.

    References
    ----------
    .. [1] X. Zhai, B. Mustafa, A. Kolesnikov and L. Beyer, "Sigmoid Loss for Language Image Pre-Training", ICCV 2023,
       arXiv:2303.15343.

    Examples
    --------
    >>> import numpy as np
    >>> import xentrs as xe
    >>> x = np.array([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    >>> round(xe.siglip_loss(x, x, temperature=0.1, bias=-7.0), 4)
    1.1335
    """


@calls(_core.siglip_loss, order=1, returns=siglip_loss_grad)
def siglip_loss_with_grad(
    x: ArrayLike,
    y: ArrayLike,
    *,
    temperature: float,
    bias: float = 0.0,
    reduction: Reduction = "mean",
    grad_output: ArrayLike | None = None,
    out: Out | None = None,
) -> SiglipLossGrad:
    """Sigmoid contrastive loss and its gradients with respect to both views, the temperature and the bias.

    With ``G = sigmoid(z) - I``, divided by `n` for "mean"::

        grad_x = G @ y / temperature        grad_temperature = -(G * (z - bias)).sum() / temperature
        grad_y = G.T @ x / temperature      grad_bias = G.sum()

    Parameters
    ----------
    x, y, temperature, bias, reduction
        As in `siglip_loss`.
    grad_output : float or array_like, shape (n,), optional
        What the gradient of the loss of each row is multiplied by: the chain rule. 1 unless given.
    out : tuple of ndarray or None, optional
        Where to write ``(grad_x, grad_y)``, as in `info_nce_with_grad`.

    Returns
    -------
    SiglipLossGrad
        The named tuple ``(loss, grad_x, grad_y, grad_temperature, grad_bias)``: the loss as from `siglip_loss`, two
        gradients in the shape and dtype of `x`, and two floats. Gradients for "none" are those of the sum.

    Raises
    ------
    ValueError, TypeError
        As in `siglip_loss`, or if `grad_output` or an `out` does not fit. Nothing is written to `out` then.

    See Also
    --------
    siglip_loss : the loss alone, with the meaning of each option.

    Examples
    --------
    >>> import numpy as np
    >>> import xentrs as xe
    >>> x = np.array([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    >>> grads = xe.siglip_loss_with_grad(x, x, temperature=0.1, bias=-7.0)
    >>> grads.grad_x.round(4)
    array([[0.3798, 0.7202],
           [1.4652, 1.7914],
           [0.8016, 2.3104]])
    >>> round(grads.grad_bias, 4)
    0.6198
    """
