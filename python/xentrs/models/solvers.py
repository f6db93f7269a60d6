"""How linear models are trained: L-BFGS, which sees all samples at every step, and stochastic gradient descent."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.optimize import OptimizeResult, minimize
from sklearn.utils import gen_batches

from ..losses import FloatArray
from ..optim import SGD
from ..optim.schedules import Schedule
from .objective import Objective
from .training import Monitor

__all__ = ["lbfgs", "sgd_epoch"]


def lbfgs(
    objective: Objective,
    params: Sequence[FloatArray],
    monitor: Monitor,
    *,
    max_iter: int,
    tol: float | None,
    bounds: Sequence[tuple[float | None, float | None]] | None = None,
) -> str | None:
    """Minimise the objective from the weight and the bias given, which change in place at every iteration.

    The state is in double precision, whatever the samples are. It stops when no derivative is larger than `tol`.
    Returns why it stopped short of that, if it did.
    """
    weight, bias = params

    def split(state: FloatArray) -> tuple[FloatArray, FloatArray]:
        return state[: weight.size].reshape(weight.shape), state[weight.size :]

    def value_and_grad(state: FloatArray) -> tuple[float, FloatArray]:
        value, *grads = objective(*split(state.astype(weight.dtype, copy=False)))
        return value, np.concatenate(grads, axis=None, dtype=np.float64)

    def iterate(intermediate_result: OptimizeResult) -> None:
        weight[...], bias[...] = split(intermediate_result.x)
        if monitor(float(intermediate_result.fun)):
            raise StopIteration

    with np.errstate(over="ignore", invalid="ignore"):  # a step that is too long overflows and is shortened
        start = np.concatenate(params, axis=None, dtype=np.float64)
        options = {
            "maxiter": max_iter,
            "gtol": tol or 0.0,
            "ftol": 64 * np.finfo(np.float64).eps,
            "maxls": 50,
            "maxcor": 20,
        }
        result = minimize(
            value_and_grad, start, method="L-BFGS-B", jac=True, bounds=bounds, callback=iterate, options=options
        )
    if not math.isfinite(result.fun):
        raise ValueError("The loss overflows. Standardise X, or raise C.")
    weight[...], bias[...] = split(result.x)
    if result.nit == 0:  # the start was the optimum
        monitor(float(result.fun))
    if monitor.stopped or result.success or (tol is None and result.status == 1):
        return None
    return f"lbfgs failed to converge after {result.nit} iteration(s): {result.message}"


def sgd_epoch(
    objective: Objective,
    optimizer: SGD,
    *,
    schedule: Schedule,
    batch_size: int,
    rng: np.random.RandomState | None,
) -> float:
    """One pass over the samples, a step of `optimizer` per batch, in an order drawn from `rng` if there is one.

    The optimiser has the penalty on the weights as its weight decay. Returns the objective: the loss of each batch
    before its step, and the penalty before the first.
    """
    weight = optimizer.params[0]
    value = 0.5 * float(objective.l2) * float(np.vdot(weight, weight))
    if objective.kind is None:
        value += _steps(replace(objective, l2=0.0), optimizer, schedule, batch_size, rng)
    else:
        value += optimizer.linear_epoch(
            objective.X,
            objective.target,
            kind=objective.kind,
            batch_size=batch_size,
            rng=rng,
            schedule=schedule,
            **objective.weighted_options,
        )
    if not math.isfinite(value):
        raise ValueError(
            f"The loss overflows. Standardise X, lower learning_rate={optimizer.learning_rate:g} or raise C."
        )
    return value


def _steps(
    objective: Objective, optimizer: SGD, schedule: Schedule, batch_size: int, rng: np.random.RandomState | None
) -> float:
    """What `SGD.linear_epoch` does, for sparse samples and for losses that it does not know."""
    n, total = len(objective), 0.0
    order = np.arange(n) if rng is None else rng.permutation(n)
    with np.errstate(over="ignore", invalid="ignore"):  # an overflow is reported above
        for batch in gen_batches(n, batch_size):
            loss, *grads = objective.rows(order[batch])(*optimizer.params)
            total += (batch.stop - batch.start) * loss
            optimizer.learning_rate = float(schedule(optimizer.n_steps))
            optimizer.step(grads)
    return total / n
