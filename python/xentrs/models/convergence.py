"""What a training says of its end: whether it was the minimum, and what helps if not."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy.sparse import issparse
from scipy.special import xlogy

from ..losses import FloatArray
from .samples import Samples, advice_to_standardise, out_of_scale
from .training import total_weight

__all__ = [
    "end_of_linear_steps",
    "end_of_network_steps",
    "largest_derivative",
    "overflow_of_features",
    "overflow_of_linear_steps",
    "stuck_at_constant",
]

# The largest derivative, in nats, of a training by steps that has stalled at its end. On digits, iris, wine,
# breast_cancer and make_classification, standardised, it is at most 0.07; with features as they are up to 74.
STEEP = 0.1


# ------------------------------------------------------------------------------------------------------- linear models


def end_of_linear_steps(
    model: Any, *, start: float, guessing: float, converged: bool, learning_rate: float, excess: float = 0.0
) -> str | None:
    """What a `ConvergenceWarning` says of a training by steps that has led nowhere, or was not at its end.

    `start` is the loss before the first step: where it was less, the steps are too long, however the loss falls since.
    `excess` is by how much the objective could be lowered from there, where that is known. Nothing is said of the scale
    of the features, which are standardised inside.
    """
    curve, loss = model.loss_curve_, model.loss_curve_[-1]
    falling = loss <= min(curve) and loss < start
    if loss > 1.1 * guessing:
        remedy = (
            f"It still falls: increase max_iter={model.max_iter}."
            if falling
            else f"Lower learning_rate={learning_rate:g}."
        )
        return f"The loss of {loss:.3g} nats is above the {guessing:.3g} nats of guessing. {remedy}"
    if model.tol is None:
        return None
    if not converged:
        return (
            f"Maximum number of iterations ({model.max_iter}) reached before convergence. "
            "Consider increasing max_iter, or tol."
        )
    if excess > max(0.01 * abs(loss), model.tol):
        remedy = _go_on(model, learning_rate)
        return f"The objective of {loss:.3g} nats can be lowered by {excess:.2g} or more. {remedy}."
    return None


def _go_on(model: Any, learning_rate: float) -> str:
    """What takes steps further that are on their way, or around the minimum. Too short ones never let the loss rise."""
    curve, endless = model.loss_curve_, model.schedule not in ("auto", "cosine")
    rises, stalled = bool((np.diff(curve) > 0).any()), len(curve) < model.max_iter
    increase = [] if stalled else [f"max_iter={model.max_iter}"]
    if not rises and model.schedule != "lipschitz" and model.learning_rate != "auto":
        increase.append(f"learning_rate={learning_rate:g}")
    remedies = [f"increase {' or '.join(increase)}"] if increase else []
    if endless and rises:
        remedies.append("let the steps fall to 0 by schedule='cosine'")
    advice = ", or ".join(remedies) or f"lower tol={model.tol:g}"
    return advice[0].upper() + advice[1:]


def overflow_of_linear_steps(learning_rate: float, *, standardised: bool) -> str:
    """What to say of steps that have led to infinity, among weights of features that are standardised inside or not."""
    remedy = "Lower" if standardised else "Standardise X, or lower"
    return f"The loss overflows. {remedy} learning_rate={learning_rate:g}."


def overflow_of_features(X: Any) -> str | None:
    """What to say of features the squares of which overflow, if they do; their standard deviation does so too."""
    extent = float(np.abs(X.data if issparse(X) else X).max(initial=0.0))
    if extent < math.sqrt(np.finfo(X.dtype).max) / 4:
        return None
    return f"The loss overflows. X reaches {extent:.2g}: divide it by that, as sklearn.preprocessing.MaxAbsScaler does."


# ------------------------------------------------------------------------------------------------------------ networks


def end_of_network_steps(
    model: Any,
    samples: Samples,
    *,
    loss: float,
    learning_rate: float,
    stopped: bool,
    slope: Callable[[], float],
) -> str | None:
    """What a `ConvergenceWarning` says of a training by steps that has led nowhere, or was not at its end.

    `loss` is that of the last epoch, without penalty; `stopped` tells whether anything but `max_iter` ended it; `slope`
    finds the largest derivative there.
    """
    # 1. How much the loss has fallen of late.
    held_out = getattr(model, "validation_loss_curve_", [])
    curve = held_out or model.loss_curve_
    n = int(min(model.n_iter_no_change, len(curve) - 1))
    fallen = min(curve[:-n]) - min(curve[-n:]) if n else math.inf
    of_late = f"it still fell by {fallen:.2g} in the last {n} epoch{'s'[: n > 1]}" if n else "it is that of one epoch"
    tol = model.tol or 0.0

    # 2. What to do about it. Steps that are too long let the loss rise; those that are too short do not let it fall.
    falls, rises = fallen > tol, bool((np.diff(curve) > tol).any())
    rate = f"learning_rate_init={learning_rate:g}"
    if falls:
        standardise, rest = out_of_scale(samples), f"raise max_iter={model.max_iter} or {rate}."
    else:
        standardise, rest = advice_to_standardise(samples), f"{'lower' if rises else 'raise'} {rate}."
    advice = f"{standardise}, or {rest}" if standardise else rest[0].upper() + rest[1:]

    # 3. Whether there is anything to complain of.
    n_logits = len(model.intercepts_[-1])
    guessing = math.log(n_logits) if model.out_activation_ == "softmax" else n_logits * math.log(2)
    if loss > 1.1 * guessing:
        detail = f"; {of_late}" if falls else ""
        return f"The loss of {loss:.3g} nats is above the {guessing:.3g} nats of guessing{detail}. {advice}"
    if model.tol is None:
        return None
    if not stopped:
        return (
            f"Training ended after max_iter={model.max_iter} epochs, before the loss had stalled by tol={tol:g}: "
            f"at {loss:.3g} nats {of_late}. {advice}"
        )
    if held_out or falls:  # the best for samples held out is no minimum; else a callback has had enough
        return None
    if stuck := stuck_at_constant(model, samples, loss):
        return stuck
    if (left := slope()) <= STEEP:
        return None
    return (
        f"The loss has stalled by tol={tol:g} on a slope: its largest derivative is {left:.2g} nats, per unit of a "
        f"feature's root mean square. {advice}"
    )


def stuck_at_constant(model: Any, samples: Samples, loss: float) -> str | None:
    """Complain of a loss, without penalty, that needs no features, where their scale may be why."""
    standardise = out_of_scale(samples)
    if not standardise or model.gamma or loss < 0.98 * (constant := _of_constant(samples, model.out_activation_)):
        return None
    return f"The loss of {loss:.3g} nats is no better than the {constant:.3g} that need no features. {standardise}."


def _of_constant(samples: Samples, out_activation: str) -> float:
    """The least mean loss of an answer that is the same for all samples."""
    weight = samples.weight.astype(np.float64) / total_weight(samples.weight)
    shares = np.bincount(samples.target, weight) if samples.target.ndim == 1 else weight @ samples.target
    terms = xlogy(shares, shares)
    if out_activation == "logistic":
        terms += xlogy(1 - shares, 1 - shares)
    return -float(terms.sum())


def largest_derivative(grads: Sequence[FloatArray], scales: FloatArray) -> float:
    """The largest of the derivatives, those to the first weights taken per unit of their feature."""
    return max(float(np.abs(grad).max()) for grad in [grads[0] / scales, *grads[1:]])
