"""What every training has in common: what an exception leaves, the loss curve, progress, callbacks, early stopping."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from numbers import Integral, Real
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.model_selection import train_test_split
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from .._arrays import refuse_masked
from .._extras import need
from .._progress import progress_bar
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
    "finish_iteration",
    "has_stalled",
    "hold_out",
    "mean_one_factor",
    "read_sample_weight",
    "read_samples",
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
    "random_state": ["random_state", np.random.Generator],
}


class LossCurveMixin:
    """Estimators that keep the loss of every iteration."""

    loss_curve_: list[float]
    validation_loss_curve_: list[float]
    penalty_curve_: list[float]
    n_iter_: Any  # int, or array of one

    def plot_loss_curve(self, ax: Axes | None = None) -> Axes:
        """Draw the objective of every iteration or, after early stopping, the loss in training and that held out.

        After early stopping both curves are means of the same loss, by the same weights of samples and classes, and
        both without penalty: ``loss_curve_`` less ``penalty_curve_``, and ``validation_loss_curve_``. Where training
        takes a step a batch, its loss is the mean over an epoch, each batch before its step. It is drawn in the middle
        of the epoch, that of the samples held out at its end.

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
            Without matplotlib 3.8 or newer, the extra `plot`.
        """
        check_is_fitted(self, "loss_curve_")
        if ax is None:
            need("plot_loss_curve", "matplotlib")
            from matplotlib import pyplot

            _, ax = pyplot.subplots()
        held_out = getattr(self, "validation_loss_curve_", [])
        training = np.array(self.loss_curve_)
        by_epoch = getattr(self, "solver", None) in ("adam", "sgd")
        places = np.arange(1, len(training) + 1)
        if held_out:
            training = training - self.penalty_curve_
        ax.plot(places - 0.5 if by_epoch else places, training, label="training")
        if held_out:
            ax.plot(places, held_out, label="held out")
        ax.legend()
        ax.set(xlabel="epoch" if by_epoch else "iteration", ylabel="loss (nats)" if held_out else "objective (nats)")
        return ax


class Monitor:
    """Watches a training: called with the loss after every iteration, it tells whether to stop.

    It keeps ``loss_curve_``, ``n_iter_`` and, with early stopping, ``validation_loss_curve_`` and ``penalty_curve_`` of
    the estimator, moves a progress bar with loss and rate, and asks the callbacks. With early stopping the parameters
    end as they were when the loss of the samples held out was least::

        with all_or_nothing(self), Monitor(self, [weight, bias], total=self.max_iter, unit="epoch") as monitor:
            for _ in range(self.max_iter):
                if monitor(epoch()):
                    break

    Every call copies what the estimator holds, so that `all_or_nothing` can go back to there from the middle of the
    next iteration. Arrays among the attributes may change in place, hence, but everything that an iteration changes
    must be an attribute, or stand in one, by the time of the call: see `publish`.

    Parameters
    ----------
    estimator : object
        The estimator in training.
    params : sequence of ndarray
        Its parameters, current at every call: with early stopping the very arrays in its attributes.
    total : int
        The most iterations there will be.
    unit : {"iteration", "epoch"}
        What the progress bar calls an iteration. The loss of an iteration is that after it; that of an epoch is a mean
        over its steps, and counts the penalty as it was before them.
    verbose : bool or None
        Whether to show a progress bar. None: in a terminal or a notebook, once the training takes more than a second.
    callbacks : callable, sequence of callables, or None
        Each is called ``callback(estimator, loss)`` after every iteration. A true answer stops the training.
    validation_loss : callable, optional
        The loss of the samples held out, by the parameters as they are.
    penalty : callable, optional
        The penalty that the losses contain, by the parameters as they are; 0 if not given.
    stop : callable, optional
        Tells from a loss curve, that of the samples held out if there are such, whether the training has converged.
    publish : callable, optional
        Called first after every iteration: brings the attributes of the estimator up to date.

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
        penalty: Callable[[], float] = lambda: 0.0,
        stop: Callable[[list[float]], bool] = lambda curve: False,
        publish: Callable[[], object] = lambda: None,
    ) -> None:
        self.stopped = False
        self._estimator, self._params = estimator, params
        self._callbacks = as_callables(callbacks)
        self._validation_loss, self._stop, self._publish = validation_loss, stop, publish
        self._penalty, self._by_epoch = penalty, unit == "epoch"
        self._penalty_before = 0.0 if validation_loss is None else penalty()
        self._best: list[FloatArray] = []
        self._given = set(estimator.get_params(deep=False))  # type: ignore[attr-defined]  # of BaseEstimator
        self._bar = progress_bar(total=total, desc=type(estimator).__name__, unit=unit, verbose=verbose)
        estimator.loss_curve_ = []
        estimator.n_iter_ = 0
        for name in ("validation_loss_curve_", "penalty_curve_"):
            vars(estimator).pop(name, None)
        if validation_loss is not None:
            estimator.validation_loss_curve_, estimator.penalty_curve_ = [], []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, error: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None and hasattr(self._bar, "container"):
            self._bar.total = self._bar.n  # a bar of a notebook turns red where it is closed before its end
        self._bar.close()
        if error is None:
            for param, best in zip(self._params, self._best, strict=False):
                param[...] = best

    def __call__(self, loss: float) -> bool:
        """Take note of an iteration, and tell whether to stop."""
        # 1. The loss curve.
        estimator = self._estimator
        self._publish()
        estimator.loss_curve_.append(loss)
        estimator.n_iter_ = len(estimator.loss_curve_)
        curve, shown = estimator.loss_curve_, {"loss": f"{loss:.4f}"}

        # 2. The validation loss, and the parameters with the best one.
        if self._validation_loss is not None:
            curve = estimator.validation_loss_curve_
            curve.append(self._validation_loss())
            if curve[-1] <= min(curve):
                self._best = [param.copy() for param in self._params]
            after = self._penalty()
            estimator.penalty_curve_.append(self._penalty_before if self._by_epoch else after)
            self._penalty_before = after
            shown["held out"] = f"{curve[-1]:.4f}"

        # 3. The iteration is finished: from here on an interrupt keeps it.
        finish_iteration(estimator, self._copy())
        if not self._bar.disable:
            self._bar.set_postfix(shown, refresh=False)
            self._bar.update()

        # 4. All callbacks are called, also after one has asked to stop.
        answers = [self._stop(curve), *(callback(estimator, loss) for callback in self._callbacks)]
        self.stopped = self.stopped or any(answers)
        return self.stopped

    def _copy(self) -> dict[str, Any]:
        """The attributes of the estimator as the training would leave them here, in arrays of their own."""
        best = {id(param): best for param, best in zip(self._params, self._best, strict=False)}
        attributes = vars(self._estimator).items()
        return {name: value if name in self._given else _copied(value, best) for name, value in attributes}


def _copied(value: Any, instead: dict[int, FloatArray]) -> Any:
    """Copy the arrays in `value`, or take what stands `instead`, by their ids; lists and dicts are new ones too."""
    if isinstance(value, np.ndarray):
        other = instead.get(id(value))
        return value.copy(order="K") if other is None else other
    if isinstance(value, list):
        numbers = bool(value) and isinstance(value[0], float)  # a curve may be long
        return value.copy() if numbers else [_copied(item, instead) for item in value]
    if isinstance(value, dict):
        return {key: _copied(item, instead) for key, item in value.items()}
    return value


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
    n, counts = len(weight), np.ones(1, int) if labels is None else np.unique(labels, return_counts=True)[1]
    refused = f"early_stopping cannot hold out validation_fraction={share:g}"
    if labels is not None and counts.min() < 2:
        raise ValueError(
            f"{refused} of every class: the rarest has a single sample. Leave that out, or set early_stopping=False."
        )
    held_out, needed = math.ceil(share * n), len(counts)  # as many as there are classes on either side
    if not needed <= held_out <= n - needed:
        least, most = needed / n, math.floor(1000 * (n - needed) / n) / 1000
        way_out = f"Choose a fraction of {least:.3g} to {most:.3g}, or set" if least <= most else "Set"
        of = f"{n} samples" if labels is None else f"{n} samples of {needed} classes"
        raise ValueError(
            f"{refused} of {of}: {held_out} would be held out and {n - held_out} trained on, and both must be at least "
            f"{needed}. {way_out} early_stopping=False."
        )
    parts = train_test_split(np.arange(n), test_size=share, random_state=random, stratify=labels)
    for rows, what_for in zip(parts, ("to train on", "held out"), strict=True):
        if not weight[rows].any():
            raise ValueError(f"sample_weight must have a positive sum over the samples {what_for}, got only zeros")
    train, test = parts
    return train, test


def read_samples(estimator: BaseEstimator, X: Any, *y: Any, **options: Any) -> Any:
    """What scikit-learn's `validate_data` makes of samples, sparse or not, and labels; it would take masks off."""
    refuse_masked(X, "X", "X.filled(...), or leave the rows out")
    for labels in y:
        refuse_masked(labels, "y", "y.filled(...), or leave the rows out")
    return validate_data(estimator, X, *y, accept_sparse="csr", **options)


def read_sample_weight(sample_weight: Any, X: Any) -> NDArray[np.float64]:
    """One weight a sample, in double precision: 1 if there are none."""
    refuse_masked(sample_weight, "sample_weight")
    weight: NDArray[np.float64] = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
    return weight


def has_stalled(curve: list[float], tol: float | None, n_iter_no_change: int) -> bool:
    """Whether the last `n_iter_no_change` values are not lower by `tol` than the least of those before."""
    before, recent = curve[:-n_iter_no_change], curve[-n_iter_no_change:]
    return tol is not None and len(before) > 0 and min(before) - min(recent) < tol


# By the id of an estimator in training: its attributes as the last finished iteration has left them.
_FINISHED: dict[int, dict[str, Any]] = {}


def finish_iteration(estimator: Any, attributes: dict[str, Any]) -> None:
    """Keep these as what an interrupt of `all_or_nothing` leaves: no array in them must change from here on."""
    _FINISHED[id(estimator)] = attributes


class all_or_nothing:
    """Give the estimator its attributes back if the block raises; it goes back as it was before.

    Only what ends a program from outside, such as KeyboardInterrupt, leaves the work that is done: where a `Monitor`,
    or `finish_iteration`, has seen iterations, the estimator is then as if the last one finished had been the last one
    asked for.

    The block must not change the arrays among the attributes that are there before. All attributes change places in one
    step, so a second interrupt does no harm.
    """

    def __init__(self, estimator: BaseEstimator) -> None:
        self._estimator = estimator

    def __enter__(self) -> None:
        self._before = dict(vars(self._estimator))
        self._around = _FINISHED.pop(id(self._estimator), None)  # of a fit whose callback has called another

    def __exit__(
        self, error: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            from_outside = not issubclass(error, Exception)
            finished = _FINISHED.get(id(self._estimator)) if from_outside else None
            self._estimator.__dict__ = self._before if finished is None else finished
        _FINISHED.pop(id(self._estimator), None)
        if self._around is not None:
            _FINISHED[id(self._estimator)] = self._around
