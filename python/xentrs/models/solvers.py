"""How linear models are trained: L-BFGS and Newton's method, which see all samples at every step, and SGD.

The first two end where no derivative of the objective, in the coordinates of standardised features, is larger than
`tol`. That is looked at here, whatever the search says of its success.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve
from scipy.optimize import Bounds, NoConvergence, OptimizeResult, minimize, newton_krylov
from scipy.sparse.linalg import LinearOperator
from sklearn.utils import gen_batches

from ..losses import FloatArray
from ..optim import SGD
from ..optim.schedules import Schedule
from .objective import Objective
from .standardised import Problem, Standardised, StandardisedProblem
from .training import Monitor

__all__ = ["lbfgs", "newton_cholesky", "sgd_epoch"]

_STAGE = 20  # iterations of L-BFGS in the first coordinates, half as many more in the next, and so on
_LONG, _SMALL = 50, 256  # iterations after which a Hessian of so many rows is worth its price
_PART = 0.1  # the part of `tol` that is aimed at where all is smooth: a few steps more, and a digit of the weights
_OVERFLOW = "The loss overflows where the search begins: look at pos_weight, logit_penalty and, with warm_start, coef_."


def lbfgs(
    problem: Problem, params: Sequence[FloatArray], monitor: Monitor, *, max_iter: int, tol: float | None
) -> str | None:
    """Minimise from the weight and the bias given, which change in place at every iteration.

    Every few iterations the search starts anew, in coordinates along whose axes the objective is curved alike. One that
    takes long goes on by Newton's method, if that is cheap. Returns why it stopped short of the minimum, if it did.
    """
    search = _Search(problem, params, monitor, max_iter, tol)
    stage = _STAGE
    cheap = problem if isinstance(problem, StandardisedProblem) and 0 < problem.hessian_rows <= _SMALL else None
    while not (search.over or search.stuck):
        if cheap and search.n_iter >= _LONG:
            cheap = cheap if _newton_step(search, cheap) else None
        else:
            _descend(search, problem.units(search.state), stage)
            stage += stage // 2
    return search.complaint(f"lbfgs failed to converge after {search.n_iter} iteration(s)")


def newton_cholesky(
    problem: StandardisedProblem, params: Sequence[FloatArray], monitor: Monitor, *, max_iter: int, tol: float | None
) -> str | None:
    """Minimise by Newton's method, with the exact Hessian and steps that are halved until they lower the objective.

    Where the Hessian is singular to rounding, L-BFGS goes on, with an iteration less for the vain one. Returns why it
    stopped short of the minimum, if it did.
    """
    search = _Search(problem, params, monitor, max_iter, tol)
    while not (search.over or search.stuck):
        if not _newton_step(search, problem):
            return lbfgs(problem, params, monitor, max_iter=max(max_iter - search.n_iter - 1, 0), tol=tol)
    return search.complaint(f"Newton solver did not converge after {search.n_iter} iterations")


def _newton_step(search: _Search, problem: StandardisedProblem) -> bool:
    """One iteration of Newton's method; tells whether the Hessian had an inverse."""
    try:
        step = -_solve(problem.hessian(search.state), search.grad)
    except LinAlgError:
        return False
    slope = float(search.grad @ step)
    for halving in range(40):
        state = search.state + 0.5**halving * step
        value, grad = search(state)
        if -slope > search.rounding:
            better = value <= search.value + 1e-4 * 0.5**halving * slope
        else:  # the value has no digits left to tell
            better = search.derivative(state, grad) < 0.5 * search.derivative()
        if better:
            search.accept(state)
            return True
    search.stuck, search.gain = True, -slope / 2
    return True


def _solve(blocks: list[FloatArray], grad: FloatArray) -> FloatArray:
    """``H^-1 grad``, refused where H has no inverse to speak of."""
    parts = []
    for block, part in zip(blocks, np.split(grad, len(blocks)), strict=True):
        factor, lower = cho_factor(block)
        pivots = np.diagonal(factor)
        if pivots.min() < pivots.max() * math.sqrt(len(block) * np.finfo(np.float64).eps):
            raise LinAlgError("the Hessian is singular to rounding")
        parts.append(cho_solve((factor, lower), part))
    return np.concatenate(parts)


class _Search:
    """Where a search is, and whether it is over."""

    def __init__(
        self,
        problem: Problem,
        params: Sequence[FloatArray],
        monitor: Callable[[float], bool],
        max_iter: int,
        tol: float | None,
    ) -> None:
        self.problem, self.params, self.monitor = problem, params, monitor
        self.max_iter, self.tol, self.n_iter = max_iter, tol, 0
        self.state = np.maximum(problem.state(*params), problem.lower)
        smooth = not np.isfinite(problem.lower).any()
        self.goal = (tol or 0.0) * (_PART if smooth else 1.0)
        self.value, self.grad = self(self.state)
        if not math.isfinite(self.value):
            raise ValueError(_OVERFLOW)
        self.over = max_iter == 0 or self.derivative() <= self.goal
        self.stopped = False  # whether the monitor said so
        self.stuck = False  # whether no lower value could be found
        self.gain = math.inf  # by how much the quadratic model there says that the value would fall

    def __call__(self, state: FloatArray) -> tuple[float, FloatArray]:
        """Value and gradient, which are kept until asked for elsewhere."""
        with np.errstate(over="ignore", invalid="ignore"):  # a step that is too long overflows and is shortened
            value, grad = self.problem(state)
        self._last = state.copy(), value, grad
        return value, grad

    def accept(self, state: FloatArray) -> bool:
        """Go there: an iteration. Tells whether the search is over."""
        if not np.array_equal(state, self._last[0]):
            self(state)
        self.state, self.value, self.grad = self._last
        self.problem.write(self.state, *self.params)
        self.n_iter += 1
        self.stopped = self.monitor(self.value)
        self.over = self.stopped or self.n_iter >= self.max_iter or self.derivative() <= self.goal
        return self.over

    def derivative(self, state: FloatArray | None = None, grad: FloatArray | None = None) -> float:
        """Largest derivative; at a bound, of those that lead away from it."""
        state, grad = (self.state, self.grad) if state is None or grad is None else (state, grad)
        return float(np.abs(np.where(grad > 0, np.minimum(grad, state - self.problem.lower), grad)).max())

    @property
    def rounding(self) -> float:
        """What the value may be off by rounding."""
        return 8 * float(np.finfo(self.params[0].dtype).eps) * (1 + abs(self.value))

    def complaint(self, what: str) -> str | None:
        """Say what is left to do, if anything is."""
        if not math.isfinite(self.value):
            raise ValueError(_OVERFLOW)
        if self.n_iter == 0 < self.max_iter:  # the start was the optimum
            self.stopped = self.monitor(self.value)
        if self.tol is None or self.stopped:
            return None
        left = self.derivative()
        if left <= self.goal or (self.stuck and (left <= self.tol or self.gain <= self.rounding)):
            return None
        remedy = "Increase max_iter."
        if self.stuck:
            wider = "" if self.params[0].dtype == np.float64 else "give X in float64, or "
            remedy = f"Rounding errors stop the search: {wider}raise tol."
        return (
            f"{what}: the largest derivative, by standardised features, is {left:.2g}, above {self.goal:.2g} "
            f"for tol={self.tol:g}. {remedy}"
        )


def _descend(search: _Search, scale: FloatArray, iterations: int) -> None:
    """Some iterations of L-BFGS, in the coordinates ``state / scale``."""

    def evaluate(scaled: FloatArray) -> tuple[float, FloatArray]:
        value, grad = search(scaled * scale)
        return value, grad * scale

    def iterate(intermediate_result: OptimizeResult) -> None:
        if search.accept(intermediate_result.x * scale):
            raise StopIteration

    before = search.value
    options = {"maxiter": iterations, "maxcor": 20, "maxls": 50, "maxfun": 100 * iterations, "gtol": 0.0, "ftol": 0.0}
    result = minimize(
        evaluate,
        search.state / scale,
        method="L-BFGS-B",
        jac=True,
        bounds=Bounds(search.problem.lower / scale, np.inf) if np.isfinite(search.problem.lower).any() else None,
        callback=iterate,
        options=options,
    )
    if not search.over and before - search.value <= search.rounding:
        search.stuck = True
        if search.derivative() > (search.tol or 0.0):
            _polish(search, scale, result.hess_inv)


def _polish(search: _Search, scale: FloatArray, inverse: LinearOperator) -> None:
    """Newton's method on the derivative alone, where the value has no digits left to tell a step down from one up."""
    state, lower = search.state.copy(), search.problem.lower
    free = (state > lower) | (search.grad <= 0)
    found, least = search.state, search.derivative()

    def grad(scaled: FloatArray) -> FloatArray:
        state[free] = scaled * scale[free]
        return (search(state)[1] * scale)[free]

    def iterate(scaled: FloatArray, _: FloatArray) -> None:
        nonlocal found, least
        state[free] = scaled * scale[free]
        value, grad = search(np.maximum(state, lower))
        left = search.derivative(np.maximum(state, lower), grad)
        if not left < least or value > search.value + search.rounding:
            raise StopIteration
        found, least = np.maximum(state, lower), left

    rdiff = math.sqrt(np.finfo(search.params[0].dtype).eps)
    with suppress(StopIteration, NoConvergence, ValueError):
        newton_krylov(grad, (state / scale)[free], rdiff=rdiff, maxiter=20, f_tol=0.0, callback=iterate)
    if found is not search.state:
        search.accept(found)
    slope = search.grad * scale
    search.gain = 0.5 * float(slope @ inverse.matvec(slope))


def excess(problem: Standardised, params: Sequence[FloatArray], iterations: int) -> float:
    """By how much L-BFGS lowers the objective within some iterations from here: at most what is left to do."""
    search = _Search(problem, [param.copy() for param in params], lambda loss: False, iterations, 0.0)
    before = search.value
    _descend(search, problem.units(search.state), iterations)
    return before - search.value


def sgd_epoch(
    objective: Objective,
    optimizer: SGD,
    schedule: Schedule,
    batch_size: int,
    rng: np.random.RandomState | None,
    shift: FloatArray | None = None,
) -> float:
    """One pass over the samples, a step of `optimizer` per batch, in an order drawn from `rng` if there is one.

    The parameters are the weight and, if there is one, the bias. `shift` is taken from each sample. The optimiser has
    the penalty on the weights as its weight decay. Returns the objective: the loss of each batch before its step, and
    the penalty before the first; not finite where the steps were far too long.
    """
    weight = optimizer.params[0]
    value = 0.5 * float(np.vdot(optimizer.weight_decay[0] * weight, weight))
    if objective.kind is None:
        value += _steps(replace(objective, l2=0.0), optimizer, schedule, batch_size, rng, shift)
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
    return value


def _steps(
    objective: Objective,
    optimizer: SGD,
    schedule: Schedule,
    batch_size: int,
    rng: np.random.RandomState | None,
    shift: FloatArray | None,
) -> float:
    """What `SGD.linear_epoch` does, for sparse samples and for losses that it does not know."""
    n, total = len(objective), 0.0
    order = np.arange(n) if rng is None else rng.permutation(n)
    weight, bias = [*optimizer.params, np.zeros(objective.n_outputs, objective.X.dtype)][:2]
    with np.errstate(over="ignore", invalid="ignore"):  # an overflow shows in what is returned
        for batch in gen_batches(n, batch_size):
            offset = bias if shift is None else bias - weight @ shift
            loss, *grads = objective.rows(order[batch])(weight, offset)
            if shift is not None:
                grads[0] -= np.outer(grads[1], shift)
            total += (batch.stop - batch.start) * loss
            optimizer.learning_rate = float(schedule(optimizer.n_steps))
            optimizer.step(grads[: len(optimizer.params)])
    return total / n
