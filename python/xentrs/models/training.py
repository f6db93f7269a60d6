"""What every training has in common: all or nothing, the loss curve, progress, callbacks, early stopping."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from numbers import Integral, Real
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.model_selection import train_test_split
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import check_is_fitted
from tqdm import tqdm

from ..losses import FloatArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "CONSTRAINTS",
    "CONSTRAINTS_OF_CLASSIFIERS",
    "Callback",
    "LossCurveMixin",
    "Monitor",
    "all_or_nothing",
    "as_callables",
    "convergence_warning",
    "has_stalled",
    "hold_out",
    "mean_one_factor",
    "total_weight",
]

# Called with the estimator and its loss after every iteration; a true return value stops the training.
Callback = Callable[[Any, float], object]

# Constraints of the parameters of every training, and of those of every classifier.
CONSTRAINTS: dict[str, list[Any]] = {
    "max_iter": [Interval(Integral, 1, None, closed="left")],
    "tol": [Interval(Real, 0, None, closed="left"), None],
    "warm_start": ["boolean"],
    "callbacks": [callable, list, tuple, None],
    "verbose": ["verbose", None],
}
CONSTRAINTS_OF_CLASSIFIERS = CONSTRAINTS | {
    "label_smoothing": [Interval(Real, 0, 1, closed="both")],
    "gamma": [Interval(Real, 0, 1e9, closed="both")],
    "momentum": [Interval(Real, 0, 1, closed="left")],
    "nesterov": ["boolean"],
    "batch_size": [Interval(Integral, 1, None, closed="left")],
    "shuffle": ["boolean"],
    "early_stopping": ["boolean"],
    "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
    "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
    "random_state": ["random_state"],
}


class LossCurveMixin:
    """Estimators that keep the loss of every iteration."""

    loss_curve_: list[float]
    validation_loss_curve_: list[float]
    n_iter_: Any  # int, or array of one

    def plot_loss_curve(self, ax: "Axes | None" = None) -> "Axes":
        """Draw the loss of every iteration and, after early stopping, that of the samples held out.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw. By default a new figure is made.

        Returns
        -------
        matplotlib.axes.Axes
            Where it was drawn.

        Raises
        ------
        ImportError
            Without matplotlib, the extra `plot`.
        """
        check_is_fitted(self, "loss_curve_")
        if ax is None:
            try:
                from matplotlib import pyplot
            except ModuleNotFoundError as missing:
                raise ImportError(
                    f"plot_loss_curve needs {missing.name}: pip install 'xentrs[plot]'", name=missing.name
                ) from missing
            _, ax = pyplot.subplots()
        curves = {type(self).__name__: self.loss_curve_, "held out": getattr(self, "validation_loss_curve_", [])}
        for label, curve in curves.items():
            if curve:
                ax.plot(range(1, len(curve) + 1), curve, label=label)
        ax.legend()
        by_iteration = getattr(self, "solver", "lbfgs") == "lbfgs"
        ax.set(xlabel="iteration" if by_iteration else "epoch", ylabel="loss (nats)")
        return ax


class Monitor:
    """Watches a training: called with the loss after every iteration, it tells whether to stop.

    It keeps ``loss_curve_``, ``n_iter_`` and, with early stopping, ``validation_loss_curve_`` of the estimator, moves a
    progress bar with loss and rate, and asks the callbacks. With early stopping the parameters end as they were when
    the loss of the samples held out was least::

        with all_or_nothing(self), Monitor(self, [weight, bias], total=self.max_iter, unit="epoch") as monitor:
            for _ in range(self.max_iter):
                if monitor(epoch()):
                    break

    Parameters
    ----------
    estimator : object
        The estimator in training.
    params : sequence of ndarray
        Its parameters, current at every call.
    total : int
        The most iterations there will be.
    unit : str
        What the progress bar calls an iteration.
    verbose : bool or None
        Whether to show a progress bar. None: in a terminal, once the training takes more than a second.
    callbacks : callable, sequence of callables, or None
        Each is called ``callback(estimator, loss)`` after every iteration. A true answer stops the training.
    validation_loss : callable, optional
        The loss of the samples held out, by the parameters as they are.
    stop : callable, optional
        Tells from a loss curve, that of the samples held out if there are such, whether the training has converged.

    Attributes
    ----------
    stopped : bool
        Whether the training has converged, or a callback has stopped it.
    """

    def __init__(
        self,
        estimator: LossCurveMixin,
        params: Sequence[FloatArray],
        *,
        total: int,
        unit: str,
        verbose: bool | None = None,
        callbacks: Callback | Iterable[Callback] | None = None,
        validation_loss: Callable[[], float] | None = None,
        stop: Callable[[list[float]], bool] = lambda curve: False,
    ) -> None:
        self.stopped = False
        self._estimator, self._params = estimator, params
        self._callbacks = as_callables(callbacks)
        self._validation_loss, self._stop = validation_loss, stop
        self._best: list[FloatArray] = []
        self._bar = tqdm(
            total=total,
            desc=type(estimator).__name__,
            unit=unit,
            disable=None if verbose is None else not verbose,
            delay=0 if verbose else 1,
        )
        estimator.loss_curve_ = []
        estimator.n_iter_ = 0
        vars(estimator).pop("validation_loss_curve_", None)
        if validation_loss is not None:
            estimator.validation_loss_curve_ = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, error: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()
        if error is None:
            for param, best in zip(self._params, self._best, strict=False):
                param[...] = best

    def __call__(self, loss: float) -> bool:
        """Take note of an iteration, and tell whether to stop."""
        # 1. The loss curve.
        estimator = self._estimator
        estimator.loss_curve_.append(loss)
        estimator.n_iter_ = len(estimator.loss_curve_)
        if not self._bar.disable:
            self._bar.set_postfix(loss=f"{loss:.4f}", refresh=False)
            self._bar.update()

        # 2. The validation loss, and the parameters with the best one.
        curve = estimator.loss_curve_
        if self._validation_loss is not None:
            curve = estimator.validation_loss_curve_
            curve.append(self._validation_loss())
            if curve[-1] <= min(curve):
                self._best = [param.copy() for param in self._params]

        # 3. All callbacks are called, also after one has asked to stop.
        answers = [self._stop(curve), *(callback(estimator, loss) for callback in self._callbacks)]
        self.stopped = self.stopped or any(answers)
        return self.stopped


def as_callables(callbacks: Callback | Iterable[Callback] | None) -> list[Callback]:
    """All callbacks, of which there may be one, several or none."""
    listed = [callbacks] if callable(callbacks) else list(callbacks or ())
    for i, callback in enumerate(listed):
        if not callable(callback):
            raise TypeError(f"callbacks[{i}] must be callable, got {callback!r}")
    return listed


def total_weight(weight: FloatArray) -> float:
    """Sum the weights of samples; infinite where the sum overflows."""
    with np.errstate(over="ignore"):
        return float(weight.sum(dtype=np.float64))


def mean_one_factor(n: float, total: float) -> float:
    """The factor that gives `n` weights of this total the mean 1, so that they leave the size of a step alone."""
    factor = n / total if total > 0 else math.inf
    if not 0 < factor < math.inf:
        raise ValueError(f"sample_weight must have a positive, finite sum to divide by, got {total:g}")
    return factor


def hold_out(
    weight: FloatArray, share: float, random: np.random.RandomState, labels: NDArray[Any] | None
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows to train on and, about this share, to hold out; in proportion of the labels, if there are any."""
    parts = train_test_split(np.arange(len(weight)), test_size=share, random_state=random, stratify=labels)
    for rows, what_for in zip(parts, ("to train on", "held out"), strict=True):
        if not weight[rows].any():
            raise ValueError(f"sample_weight must have a positive sum over the samples {what_for}, got only zeros")
    train, held_out = parts
    return train, held_out


def has_stalled(curve: list[float], tol: float | None, n_iter_no_change: int) -> bool:
    """Whether the last `n_iter_no_change` values are not lower by `tol` than the least of those before."""
    before, recent = curve[:-n_iter_no_change], curve[-n_iter_no_change:]
    return tol is not None and len(before) > 0 and min(before) - min(recent) < tol


def convergence_warning(
    model: Any, *, guessing: float, converged: bool, learning_rate: float, excess: float = 0.0
) -> str | None:
    """What a `ConvergenceWarning` says of a training by steps that has led nowhere, or was not at its end.

    `excess` is by how much the objective could be lowered from there, where that is known.
    """
    curve, loss = model.loss_curve_, model.loss_curve_[-1]
    falling = loss <= min(curve) and (len(curve) == 1 or loss < curve[0])
    if loss > 1.1 * guessing:
        remedy = (
            f"It still falls: increase max_iter={model.max_iter} or learning_rate={learning_rate:g}."
            if falling
            else f"Standardise X or lower learning_rate={learning_rate:g}."
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
        remedy = "." if model.schedule in ("auto", "cosine") else ", or let the steps fall to 0 by schedule='cosine'."
        return (
            f"The objective of {loss:.3g} nats can be lowered by {excess:.2g} or more. "
            f"Increase max_iter={model.max_iter}{remedy}"
        )
    return None


@contextmanager
def all_or_nothing(estimator: BaseEstimator) -> Iterator[None]:
    """Give the estimator its attributes back if the block raises. The block must not change the arrays among them."""
    before = dict(vars(estimator))
    try:
        yield
    except BaseException:
        vars(estimator).clear()
        vars(estimator).update(before)
        raise
