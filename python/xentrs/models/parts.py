"""Samples that lie in parts, each of which is asked where it is, and the problem that they make together.

Every figure of the whole is a sum over the parts: rows, weights, means and variances of features, and, as each part
has the same penalties, value, gradient and Hessian, each times the rows of the part. So what a solver asks of samples
that are here it may ask of parts anywhere; nothing but sums travels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse

from ..losses import FloatArray
from .hessian import Sums, blocks_of_hessian, rows_of_hessian
from .objective import Objective
from .standardised import Moments, Standardised, StandardisedProblem, units_of
from .training import read_sample_weight

__all__ = [
    "Parts",
    "ProblemOfParts",
    "Survey",
    "check_part",
    "remote_copy",
    "standardise_part",
    "summarise_part",
    "survey_parts",
]


class Parts(Protocol):
    """Values, one for each part, that lie wherever they are: each ``(X, y, sample_weight or None)`` at first."""

    def keep(self, function: Callable[[Any], Any]) -> Self:
        """The values that a function makes of these, in their place."""

    def gather(self, function: Callable[[Any], Any]) -> list[Any]:
        """What a function makes of each value, here."""

    def fold(self, function: Callable[[Any], Any]) -> Any:
        """The sum of what a function makes of each value; of tuples item by item."""

    def select(self, places: Sequence[int]) -> Self:
        """Some of the parts."""


# ----------------------------------------------------------------------------------------------- what is in the parts


class Checked(NamedTuple):
    """A part, read as the estimator reads samples."""

    X: Any
    y: Any
    weight: NDArray[np.float64]
    names: NDArray[Any] | None


class Survey(NamedTuple):
    """What a part holds."""

    rows: int
    n_features: int
    dtype: np.dtype[Any]
    names: NDArray[Any] | None
    answers: Any
    """What the estimator says of its `y`."""


def remote_copy(model: Any) -> Any:
    """An estimator to send to the parts: without what is for this place alone."""
    here = {"callbacks": None, "verbose": False, "random_state": None}
    other = copy(model)
    for name in here.keys() & model.get_params(deep=False).keys():
        setattr(other, name, here[name])
    for name in ("coef_", "intercept_", "log_var_coef_", "loss_curve_", "_velocity"):
        other.__dict__.pop(name, None)
    return other


def check_part(model: Any, dtype: Any, fresh: bool, part: tuple[Any, ...]) -> Checked:
    """Read samples, `y` and weights of a part, which may have no samples."""
    X, y, sample_weight = part
    model = copy(model)
    shape = np.shape(X)
    if len(shape) == 2 and shape[0] == 0 and np.shape(y)[:1] == (0,):
        return Checked(np.zeros(shape), y, np.zeros(0), None)
    X, y = model._check_arrays(X, y, dtype, reset=fresh)
    if not issparse(X) and not X.flags.c_contiguous:  # products of another layout may be rounded otherwise
        X = X.copy(order="C")
    idle = sample_weight is not None and not np.any(sample_weight)  # which is well, where it is a part alone
    weight = read_sample_weight(np.ones(np.shape(sample_weight)) if idle else sample_weight, X)
    return Checked(X, y, 0 * weight if idle else weight, getattr(model, "feature_names_in_", None))


def survey_part(model: Any, part: Checked) -> Survey:
    """Tell what a part holds."""
    rows, n_features = part.X.shape
    return Survey(rows, n_features, part.X.dtype, part.names, model._answers(part) if rows else None)


def survey_parts(model: Any, parts: Parts) -> tuple[Parts, np.dtype[Any], dict[int, Any]]:
    """Look what checked parts hold, and whether they go together.

    Returns the parts that have samples, the dtype of all, and what the estimator says of the `y` of each, by its place.
    The estimator is told the features, as scikit-learn tells them.
    """
    surveys: list[Survey] = parts.gather(partial(survey_part, remote_copy(model)))
    places = [i for i, survey in enumerate(surveys) if survey.rows]
    if not places:
        raise ValueError("parts must hold samples, got none" if not surveys else "parts must hold samples, got no rows")
    first = places[0]
    one = surveys[first]
    for i in places:
        other = surveys[i]
        if other.n_features != one.n_features:
            raise ValueError(
                f"parts must have the same features, got {one.n_features} of them in part {first} and "
                f"{other.n_features} in part {i}"
            )
        if _listed(one.names) != _listed(other.names):
            raise ValueError(
                f"parts must have the same names of features, got {_listed(one.names)[:5]} in part {first} and "
                f"{_listed(other.names)[:5]} in part {i}"
            )
    model.n_features_in_ = one.n_features
    model.__dict__.pop("feature_names_in_", None)
    if one.names is not None:
        model.feature_names_in_ = one.names
    dtype = np.result_type(*(surveys[i].dtype for i in places))
    return parts.select(places), dtype, {i: surveys[i].answers for i in places}


def _listed(names: NDArray[Any] | None) -> list[Any]:
    return [] if names is None else names.tolist()


# ---------------------------------------------------------------------------------------------------- what they make


@dataclass(frozen=True)
class Summary:
    """Rows and moments of samples, which can be added."""

    rows: int
    moments: Moments

    def __add__(self, other: Summary) -> Summary:
        return Summary(self.rows + other.rows, self.moments + other.moments)


def summarise_part(objective: Objective) -> Summary:
    """Count and measure the samples of a part."""
    X = objective.X.astype(np.float64) if issparse(objective.X) else objective.X
    return Summary(len(objective), Moments.of(X, objective.sample_weight))


def standardise_part(
    factor: float,
    l2: float,
    l1: float,
    moments: Moments,
    fit_intercept: bool,
    lowest: FloatArray | float,
    objective: Objective,
) -> Standardised:
    """Make the problem of a part, which has the coordinates and the penalties of the whole."""
    penalised = replace(objective.scaled(factor), l2=l2, l1=l1)
    return Standardised(penalised, fit_intercept=fit_intercept, lowest=lowest, moments=moments)


class ProblemOfParts(StandardisedProblem):
    """The problem of all samples, of which each part holds some.

    Parameters
    ----------
    parts : Parts
        Objectives of the samples, in units of the features.
    summary : Summary
        What the parts add up to.
    objective : Objective
        That of no samples, which has the kind of the loss and the penalties.
    factor : float
        What makes the mean weight of a sample 1.
    fit_intercept, lowest
        As in `StandardisedProblem`.
    """

    def __init__(
        self,
        parts: Parts,
        summary: Summary,
        objective: Objective,
        factor: float,
        *,
        fit_intercept: bool = True,
        lowest: FloatArray | float = -np.inf,
    ) -> None:
        l2, l1, moments = float(objective.l2), objective.l1, summary.moments
        super().__init__(
            moments,
            l2=l2,
            l1=l1,
            n_outputs=objective.n_outputs,
            symmetric=objective.kind_of_loss == "softmax",
            fit_intercept=fit_intercept,
            lowest=lowest,
        )
        self._n, self._n_outputs, self._kind = summary.rows, objective.n_outputs, objective.kind_of_loss
        self._parts = parts.keep(partial(standardise_part, factor, l2, l1, moments, fit_intercept, lowest))

    def __call__(self, state: FloatArray) -> tuple[float, FloatArray]:
        """Value and gradient."""
        value, grad = self._parts.fold(partial(_value_and_grad, state))
        return value / self._n, grad / self._n

    def units(self, state: FloatArray) -> FloatArray:
        """By how much each number of the vector may change until the derivative by it has changed by as much."""
        curvature = self._parts.fold(partial(_curvature, state))
        return units_of(None if curvature is None else curvature / self._n, state)

    @property
    def hessian_rows(self) -> int:
        """The rows of the largest block of the Hessian; 0 where it is not known."""
        return rows_of_hessian(self._kind, self.lower.size, self._n_outputs)

    def hessian(self, state: FloatArray) -> list[FloatArray]:
        """The blocks along the diagonal of the Hessian that are not 0."""
        return blocks_of_hessian(self._parts.fold(partial(_hessian_sums, state)), self._n, self.block_decay())

    def mean_square(self, state: FloatArray) -> float:
        """The mean squared difference of the target and the first logit, by the weights of the samples."""
        return float(self._parts.fold(partial(_sum_of_squares, state))) / self._n


def _value_and_grad(state: FloatArray, part: Standardised) -> tuple[float, FloatArray]:
    n = len(part.samples)
    with np.errstate(over="ignore", invalid="ignore"):  # as the search has it here
        value, grad = part(state)
        return n * value, n * grad


def _curvature(state: FloatArray, part: Standardised) -> FloatArray | None:
    curvature = part.curvature(state)
    return None if curvature is None else len(part.samples) * curvature


def _hessian_sums(state: FloatArray, part: Standardised) -> Sums:
    return part.hessian_sums(state)


def _sum_of_squares(state: FloatArray, part: Standardised) -> float:
    return len(part.samples) * part.mean_square(state)
