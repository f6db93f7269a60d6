"""Fits and evaluations of data that lies in parts: the work goes to the parts, by any ``map``, and sums come back."""

from __future__ import annotations

import builtins
import copy
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, TypeVar

from .._numbers import a_boolean, integer_or_none
from ..evaluation import Evaluation
from .engine import MappedParts, read_parts

__all__ = ["evaluate", "fit"]

Model = TypeVar("Model")
Map = Callable[..., Iterable[Any]]


def fit(model: Model, parts: Iterable[Any], *, map: Map = builtins.map, same_bits: bool = True) -> Model:
    """Fit an estimator to samples that lie in parts, as its own `fit` does to all of them together.

    What is minimised is the mean loss of all samples, of which each step asks every part for its share, by the solver
    of the estimator, which runs here. Shares are added in a tree whose shape depends on the number of parts alone: any
    number of workers, in any order, gives the same bits.

    Parameters
    ----------
    model : LogisticRegression, MultiLabelClassifier or GaussianRegressor
        The estimator, which is trained in place. `solver` is "lbfgs" or "newton-cholesky"; `early_stopping` and
        `logit_penalty` are refused. All else is as in its `fit`: weights of classes, penalties, `tol`, `max_iter`,
        `warm_start`, callbacks and the progress bar, which are called here.
    parts : iterable
        Each part is a tuple ``(X, y)`` or ``(X, y, sample_weight)``; a function without arguments that returns one; or
        something delayed, of Dask. Each of the arrays may itself be one of these, or the name of a ``.npy`` file, which
        is mapped into memory. `X` may be sparse. Functions are called, and files read, where a part is worked on. Parts
        of no samples do not count.
    map : callable, default the built-in ``map``
        Called ``map(function, items)``; gives what the function returns for each item, in any order. Such are the
        built-in ``map``, ``ThreadPoolExecutor().map`` and ``ProcessPoolExecutor().map``. Functions and items must be
        such that it can send them.
    same_bits : bool, default True
        Whether to refuse workers of different instruction sets, BLAS or versions, which round differently.

    Returns
    -------
    estimator
        `model` itself.

    Raises
    ------
    TypeError
        If the model, a part or the map is of another kind.
    ValueError
        If an option cannot be had of samples in parts, or the samples are not as the `fit` of the estimator asks, or
        the parts do not go together. The part is named. The model is as it was before.
    RuntimeError
        If the workers are of different kinds.

    Warns
    -----
    ConvergenceWarning
        As in the `fit` of the estimator.

    See Also
    --------
    evaluate : loss and accuracy of what lies in parts.
    xentrs.dask.fit : the same for Dask's arrays.

    Notes
    -----
    A process keeps what it has made of its parts, standardised features, as large as `X`, for the last two fits. Arrays
    among the parts travel at each step to other processes: give these functions or names of files.

    Examples
    --------
    >>> import numpy as np
    >>> from concurrent.futures import ThreadPoolExecutor
    >>> from sklearn.datasets import load_iris
    >>> import xentrs.distributed
    >>> from xentrs.models import LogisticRegression
    >>> X, y = load_iris(return_X_y=True)
    >>> parts = [(X[:40], y[:40]), (X[40:90], y[40:90]), (X[90:], y[90:])]  # each lacks a class
    >>> with ThreadPoolExecutor(2) as pool:
    ...     model = xentrs.distributed.fit(LogisticRegression(), parts, map=pool.map)
    >>> np.allclose(model.coef_, LogisticRegression().fit(X, y).coef_, atol=1e-4)
    True
    """
    return fit_parts(model, MappedParts(_as_map(map), read_parts(parts), a_boolean("same_bits", same_bits)))


def fit_parts(model: Model, parts: Any) -> Model:
    """Fit an estimator to parts that lie wherever they are."""
    if not hasattr(model, "_fit_parts") or isinstance(model, type):
        raise TypeError(
            "model must be a LogisticRegression, a MultiLabelClassifier or a GaussianRegressor, got "
            f"{model.__name__ + ', the class' if isinstance(model, type) else type(model).__name__}"
        )
    try:
        fitted: Model = model._fit_parts(parts)
        return fitted
    finally:
        parts.forget()


def evaluate(
    parts: Iterable[Any],
    *,
    map: Map = builtins.map,
    ignore_index: int | None = -100,
    temperature: float = 1.0,
    n_bins: int = 15,
    top_k: int | Iterable[int] = (),
    per_class: bool = False,
    same_bits: bool = True,
) -> Evaluation:
    """Judge logits that lie in parts: loss, accuracy, calibration and more, the same bits as in one piece.

    Parameters
    ----------
    parts : iterable
        As in `fit`, of ``(logits, target)`` or ``(logits, target, sample_weight)``.
    map
        As in `fit`.
    ignore_index : int or None, default -100
        The label of rows that do not count.
    temperature, n_bins, top_k, per_class
        As in `xentrs.Evaluation`.
    same_bits
        As in `fit`.

    Returns
    -------
    Evaluation
        One that has seen all rows; ``+`` adds those of other places.

    Raises
    ------
    TypeError, ValueError, IndexError
        As in `Evaluation` and its `update`, or where `parts` or `map` are of another kind. The part is named.
    RuntimeError
        If the workers are of different kinds.

    Examples
    --------
    >>> import numpy as np
    >>> import xentrs.distributed
    >>> logits, target = np.eye(3), np.array([0, 1, 1])
    >>> parts = [(logits[:2], target[:2]), lambda: (logits[2:], target[2:])]
    >>> xentrs.distributed.evaluate(parts).accuracy
    0.6666666666666666
    """
    nothing = Evaluation(temperature=temperature, n_bins=n_bins, top_k=top_k, per_class=per_class)
    mapped = MappedParts(_as_map(map), read_parts(parts), a_boolean("same_bits", same_bits))
    answer: Evaluation = mapped.fold(evaluating(nothing, ignore_index))
    return answer


def evaluating(nothing: Any, ignore_index: int | None) -> Callable[[tuple[Any, Any, Any]], Any]:
    """What judges a part; of options that are wrong no part is told."""
    return partial(evaluate_part, nothing, integer_or_none("ignore_index", ignore_index))


def evaluate_part(nothing: Any, ignore_index: int | None, part: tuple[Any, Any, Any]) -> Any:
    """Judge the logits of a part, by the options of an evaluation, or of an accumulator, of none."""
    logits, target, sample_weight = part
    return copy.deepcopy(nothing).update(logits, target, sample_weight=sample_weight, ignore_index=ignore_index)


def _as_map(map: Any) -> Map:
    if not callable(map):
        remedy = f": write map={type(map).__name__}(...).map" if hasattr(map, "map") else ""
        raise TypeError(f"map must be callable as map(function, items), got {type(map).__name__}{remedy}")
    called: Map = map
    return called
