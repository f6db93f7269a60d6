"""Losses of targets that are numbers."""

from __future__ import annotations

from numpy.typing import ArrayLike

from .. import _core
from .._calls import calls
from .results import FloatArray, GaussianLossGrad, Loss, Reduction, gaussian_loss_grad

__all__ = ["gaussian_nll", "gaussian_nll_with_grad"]


@calls(_core.gaussian_nll)
def gaussian_nll(
    mean: ArrayLike,
    target: ArrayLike,
    var: ArrayLike | None = None,
    *,
    log_var: ArrayLike | None = None,
    full: bool = True,
    sample_weight: ArrayLike | None = None,
    reduction: Reduction = "mean",
) -> Loss:
    """Negative log-likelihood of numbers under Gaussians: a prediction that says how sure it is.

    An element with predicted mean ``m`` and variance ``v``, and target ``t``, costs::

        loss = ln(2 pi) / 2 + ln(v) / 2 + (t - m)^2 / (2 v)

    Parameters
    ----------
    mean : array_like, shape (...)
        Predicted means: float16, bfloat16, float32 or float64. Integers and lists are taken as float64.
    target : array_like
        What was observed, in the shape of `mean`, or one that broadcasts to it.
    var : array_like, optional
        Predicted variances, positive, in the shape of `mean`, or one that broadcasts to it: a scalar for all, or one
        for each row, of shape (n, 1).
    log_var : array_like, optional
        Their logarithms instead, which may be any number: what a model without constraints puts out. Exactly one of the
        two must be given.
    full : bool, default True
        Whether the constant ``ln(2 pi) / 2`` is part of the loss.
    sample_weight : array_like, optional
        Non-negative weights ``s`` of elements or rows, as in `sigmoid_cross_entropy`.
    reduction : {"mean", "sum", "none"}, default "mean"
        "none" gives ``s loss`` for each element, "sum" their sum, "mean" the sum divided by the sum of the sample
        weights over all elements.

    Returns
    -------
    float or ndarray
        The loss in nats, which may be negative, as that of a density: a float for "mean" and "sum"; for "none" an array
        in the shape and dtype of `mean` (float32 where that is half precision).

    Raises
    ------
    ValueError
        If a shape does not fit, a variance is not positive, both or neither of `var` and `log_var` are given, a weight
        is negative or not finite, or `reduction` is unknown.
    TypeError
        If an argument is not real numbers.

    See Also
    --------
    gaussian_nll_with_grad : the loss together with its gradients.
    gaussian_cross_entropy : the mean loss over targets that are Gaussian themselves.

    Notes
    -----
    With `log_var` the residual is standardised, ``(t - m) exp(-log_var / 2)``, before it is squared: no variance is
    formed, which might overflow. A NaN costs NaN, unless its sample weight is 0. A residual of 0 costs no more than the
    logarithm of the variance. If no element has weight the mean is 0.

    Against ``torch.nn.GaussianNLLLoss``: the constant is part of the loss (there ``full=False``), and variances are
    never raised to an ``eps``; one that is 0 is an error.

    References
    ----------
    .. [1] D. A. Nix and A. S. Weigend, "Estimating the Mean and Variance of the Target Probability Distribution",
       ICNN 1994. https://doi.org/10.1109/ICNN.1994.374138

    Examples
    --------
    >>> import xentrs as xe
    >>> xe.gaussian_nll([0.0, 1.0, 2.0], [0.0, 1.5, 4.0], [1.0, 1.0, 4.0], reduction="none").round(4)
    array([0.9189, 1.0439, 2.1121])
    >>> round(xe.gaussian_nll([0.0, 1.0, 2.0], [0.0, 1.5, 4.0], log_var=0.0), 4)
    1.6273
    """


@calls(_core.gaussian_nll, order=1, returns=gaussian_loss_grad)
def gaussian_nll_with_grad(
    mean: ArrayLike,
    target: ArrayLike,
    var: ArrayLike | None = None,
    *,
    log_var: ArrayLike | None = None,
    full: bool = True,
    sample_weight: ArrayLike | None = None,
    reduction: Reduction = "mean",
    grad_output: ArrayLike | None = None,
    out: FloatArray | None = None,
) -> GaussianLossGrad:
    """Gaussian negative log-likelihood, and its gradients with respect to the means and the variances, in one sweep.

    The gradients of an element are::

        d loss / d m = -(t - m) / v
        d loss / d v = (1 - (t - m)^2 / v) / (2 v)          d loss / d ln(v) = (1 - (t - m)^2 / v) / 2

    times ``s``, and for "mean" divided by the total weight. The gradients for "none" are those of the sum.

    Parameters
    ----------
    mean, target, var, log_var, full, sample_weight, reduction
        As in `gaussian_nll`.
    grad_output : float or array_like, optional
        What both gradients are multiplied by, as in `sigmoid_cross_entropy_with_grad`.
    out : ndarray, optional
        Where to write the gradient with respect to the means: a writable array with the shape and dtype of `mean`, or
        of dtype float32. ``out=mean`` replaces the means by their gradient; any other
        overlap with an input is refused.

    Returns
    -------
    GaussianLossGrad
        The named tuple ``(loss, grad_mean, grad_var)``: the loss as from `gaussian_nll`, the gradient with respect to
        `mean` in its shape and dtype, and the one with respect to `var`, or to `log_var` where that was given, in its
        shape and the dtype of `mean`. ``grad_mean`` is `out` where that was given.

    Raises
    ------
    ValueError, TypeError
        As in `gaussian_nll`, or if `out` does not fit. Nothing is written to `out` then.

    See Also
    --------
    gaussian_nll : the loss alone, with the meaning of each option.

    Notes
    -----
    The gradient of a variance that was broadcast is the sum over the elements it was used for.

    Examples
    --------
    >>> import xentrs as xe
    >>> loss, grad_mean, grad_var = xe.gaussian_nll_with_grad([0.0, 1.0], [0.0, 3.0], 2.0)
    >>> grad_mean
    array([ 0. , -0.5])
    >>> print(grad_var)
    0.0
    """
