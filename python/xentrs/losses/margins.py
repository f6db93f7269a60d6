"""Losses of scores that ask for a margin."""

from __future__ import annotations

from numpy.typing import ArrayLike

from .. import _core
from .._calls import calls
from .results import FloatArray, Loss, LossGrad, Reduction

__all__ = ["hinge_loss", "hinge_loss_with_grad"]


@calls(_core.hinge_loss)
def hinge_loss(
    scores: ArrayLike,
    target: ArrayLike,
    *,
    squared: bool = False,
    sample_weight: ArrayLike | None = None,
    reduction: Reduction = "mean",
) -> Loss:
    """Hinge loss of scores against binary targets: whatever is on the right side by a margin of 1 costs nothing.

    An element with score ``s``, on the side ``y`` of its target, costs::

        loss = max(0, 1 - y s)              squared: max(0, 1 - y s)^2
        y = 1 for the target 1, -1 for the targets 0 and -1

    Parameters
    ----------
    scores : array_like, shape (...)
        Signed distances from the decision, positive for the positive answer: float16, bfloat16, float32 or float64.
        Integers and lists are taken as float64.
    target : array_like, shape (...)
        The answers, in the shape of `scores`: 1 is positive, 0 and -1 are negative, as booleans, integers or floats.
    squared : bool, default False
        Whether to square: the loss is then smooth, and more afraid of outliers.
    sample_weight : array_like, optional
        Non-negative weights of elements or rows, as in `sigmoid_cross_entropy`.
    reduction : {"mean", "sum", "none"}, default "mean"
        "none" gives the weighted loss of each element, "sum" their sum, "mean" the sum divided by the sum of the
        sample weights.

    Returns
    -------
    float or ndarray
        The loss: a float for "mean" and "sum"; for "none" an array in the shape and dtype of the scores (float32 where
        that is half precision).

    Raises
    ------
    ValueError
        If a shape does not fit, a target is not 1, 0 or -1, a weight is negative or not finite, or `reduction` is
        unknown.
    TypeError
        If `scores` are not real numbers of one of these dtypes, or `target` is no booleans, integers or floats.

    See Also
    --------
    hinge_loss_with_grad : the loss together with its gradient.
    sigmoid_cross_entropy : the smooth loss whose scores are log-odds.

    Notes
    -----
    An infinite score costs nothing on the right side and +inf on the wrong one. A NaN costs NaN, unless its sample
    weight is 0. If no element has weight the mean is 0.

    Against ``sklearn.metrics.hinge_loss``: 0 is negative, as -1 is, whatever else is in `target`; scores of several
    columns are as many questions, not classes to choose from. ``sklearn.svm.LinearSVC`` squares by default.

    References
    ----------
    .. [1] C. Cortes and V. Vapnik, "Support-Vector Networks", Machine Learning 20, 1995.
       https://doi.org/10.1007/BF00994018

    Examples
    --------
    >>> import xentrs as xe
    >>> xe.hinge_loss([2.0, 0.5, 0.5], [1, 1, 0], reduction="none")
    array([0. , 0.5, 1.5])
    >>> xe.hinge_loss([2.0, 0.5, 0.5], [1, 1, -1], squared=True, reduction="none")
    array([0.  , 0.25, 2.25])
    """


@calls(_core.hinge_loss, order=1)
def hinge_loss_with_grad(
    scores: ArrayLike,
    target: ArrayLike,
    *,
    squared: bool = False,
    sample_weight: ArrayLike | None = None,
    reduction: Reduction = "mean",
    grad_output: ArrayLike | None = None,
    out: FloatArray | None = None,
) -> LossGrad:
    """Hinge loss and its gradient with respect to the scores, in one sweep.

    The gradient of an element is::

        d loss / d s = -y where y s < 1, else 0         squared: -2 y max(0, 1 - y s)

    It is scaled by the sample weight, and for "mean" divided by their sum. The gradient for "none" is that of the sum.

    Parameters
    ----------
    scores, target, squared, sample_weight, reduction
        As in `hinge_loss`.
    grad_output : float or array_like, optional
        What the gradient is multiplied by, as in `sigmoid_cross_entropy_with_grad`.
    out : ndarray, optional
        Where to write the gradient: a writable array with the shape and dtype of the scores, or of dtype float32.
        ``out=scores`` replaces the scores by their gradient; any other overlap with an input is refused.

    Returns
    -------
    LossGrad
        The named tuple ``(loss, grad)``: the loss as from `hinge_loss`, the gradient in the shape and dtype of the
        scores. ``grad`` is `out` where that was given.

    Raises
    ------
    ValueError, TypeError
        As in `hinge_loss`, or if `out` does not fit. Nothing is written to `out` then.

    See Also
    --------
    hinge_loss : the loss alone, with the meaning of each option.

    Notes
    -----
    At the kink, ``y s = 1``, the loss has no derivative; of its subgradients, from ``-y`` to 0, it is 0 that is given.
    An infinite score on the wrong side has the gradient ``-y``, squared ``-y inf``.

    Examples
    --------
    >>> import xentrs as xe
    >>> loss, grad = xe.hinge_loss_with_grad([2.0, 0.5, 0.5], [1, 1, 0], reduction="sum")
    >>> loss, grad
    (2.0, array([ 0., -1.,  1.]))
    """
