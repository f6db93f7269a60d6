"""What boosting libraries ask of an objective, answered by the derivatives of a loss of raw scores."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from .._arrays import read
from .._extras import need
from .._numbers import in_range, one_of, positive_integer
from ..losses.results import ArrayLike, FloatArray

__all__ = ["Curvature", "Library", "Objective"]

Curvature: TypeAlias = Literal["library", "exact", "convex", "gradient"]
Library: TypeAlias = Literal["lightgbm", "xgboost", "catboost"]
Derivatives: TypeAlias = tuple[FloatArray, FloatArray]

_FLOOR = 1e-16  # under every Hessian, as in XGBoost: a leaf's value is a quotient by a sum of them


class Objective(ABC):
    """What all objectives share: the ways in which libraries ask."""

    label_smoothing: float
    curvature: Curvature
    gamma: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what the loss refuses, before training begins."""
        one_of("curvature", self.curvature, ("library", "exact", "convex", "gradient"))
        in_range("gamma", self.gamma)
        self._check()

    def __deepcopy__(self, memo: Mapping[int, object]) -> Objective:
        """Give the objective itself: it never changes, libraries copy their parameters, and `target` may be large."""
        return self

    # -------------------------------------------------------------------------------------- what the families differ in

    @abstractmethod
    def _check(self) -> None:
        """Refuse options that the loss refuses."""

    @abstractmethod
    def _evaluate(self, order: int, gamma: float, raw: FloatArray, target: NDArray[Any], **options: Any) -> Any:
        """The loss of this family with as many derivatives as `order` says."""

    @abstractmethod
    def _target(self, label: ArrayLike) -> NDArray[Any]:
        """What the loss takes for the labels of a data set."""

    @abstractmethod
    def _best_constant(self, y: ArrayLike, sample_weight: ArrayLike | None) -> NDArray[np.float64]:
        """The raw score that, given to all samples, costs least: a number, or one for each class."""

    @abstractmethod
    def _link(self, raw: FloatArray) -> FloatArray:
        """The probabilities of raw scores, one number for each of them."""

    def _centred(self, raw: FloatArray) -> FloatArray:
        """The same scores of as small numbers as possible."""
        return raw

    @abstractmethod
    def _factor(self, library: Library, raw: FloatArray) -> float:
        """What a library's own log loss multiplies its Hessian by."""

    # -------------------------------------------------------------------------------------------------- the native APIs

    @property
    def lightgbm(self) -> Callable[[FloatArray, Any], Derivatives]:
        """The objective of ``lightgbm.train({"objective": ...}, ...)``; several classes need ``"num_class"`` too.

        What it returns is written anew at the next call for the same data set.
        """
        need("this objective", "lightgbm")
        return self._lightgbm

    @property
    def lightgbm_metric(self) -> Callable[[FloatArray, Any], tuple[str, float, bool]]:
        """The mean loss, for ``lightgbm.train(..., feval=...)`` beside `lightgbm`."""
        need("this objective", "lightgbm")
        return self._lightgbm_metric

    @property
    def xgboost(self) -> Callable[[FloatArray, Any], Derivatives]:
        """The objective of ``xgboost.train(..., obj=...)``; several classes need the parameter ``"num_class"``.

        What it returns is written anew at the next call for the same data set.
        """
        need("this objective", "xgboost")
        return self._xgboost

    @property
    def xgboost_metric(self) -> Callable[[FloatArray, Any], tuple[str, float]]:
        """The mean loss, for ``xgboost.train(..., custom_metric=...)`` beside `xgboost`."""
        need("this objective", "xgboost")
        return self._xgboost_metric

    def _lightgbm(self, raw: FloatArray, data: Any) -> Derivatives:
        label, weight = _label_and_weight(data, "lightgbm.Dataset")
        return self._derivatives("lightgbm", raw, label, weight, _places(data, raw))

    def _lightgbm_metric(self, raw: FloatArray, data: Any) -> tuple[str, float, bool]:
        return *self._mean(raw, *_label_and_weight(data, "lightgbm.Dataset")), False

    def _xgboost(self, raw: FloatArray, data: Any) -> Derivatives:
        label, weight = _label_and_weight(data, "xgboost.DMatrix")
        return self._derivatives("xgboost", raw, label, weight, _places(data, raw))

    def _xgboost_metric(self, raw: FloatArray, data: Any) -> tuple[str, float]:
        return self._mean(raw, *_label_and_weight(data, "xgboost.DMatrix"))

    # ----------------------------------------------------------------------------------------------------- for everyone

    def sklearn(self, y_true: ArrayLike, y_pred: FloatArray, sample_weight: ArrayLike | None = None) -> Derivatives:
        """Gradients and Hessians for ``LGBMClassifier(objective=...)`` and ``XGBClassifier(objective=...)``.

        Parameters
        ----------
        y_true : array_like, shape (n,)
            The labels as numbers.
        y_pred : ndarray, shape (n,) or (n, c)
            Raw scores. XGBoost's are float32 and LightGBM's float64, which tells whose ``curvature="library"`` is
            meant.
        sample_weight : array_like, shape (n,), optional
            Non-negative weights.

        Returns
        -------
        tuple of ndarray
            The gradient and the Hessian of each score, in float32.
        """
        if not isinstance(y_pred, np.ndarray):
            raise TypeError(
                f"y_pred must be an array of raw scores, got {type(y_pred).__name__}; this is the objective of "
                "scikit-learn's classes, and those of lightgbm.train and xgboost.train are .lightgbm and .xgboost"
            )
        return self._derivatives("xgboost" if y_pred.dtype == np.float32 else "lightgbm", y_pred, y_true, sample_weight)

    def base_score(
        self, y: ArrayLike, sample_weight: ArrayLike | None = None, *, probability: bool = False
    ) -> float | list[float]:
        """Find the raw score that minimises the mean loss if all samples have it: XGBoost's ``base_score``.

        Without focus it is the log-odds of the positive answer, or the logarithms of the shares of the classes. A focal
        loss has its minimum elsewhere, as it weighs samples by how they are answered.

        Parameters
        ----------
        y : array_like, shape (n,)
            The labels of the training set, as the library has them.
        sample_weight : array_like, shape (n,), optional
            Non-negative weights.
        probability : bool, default False
            Whether to give the probability that it stands for, as ``XGBClassifier`` wants of two classes (and of more
            than two the scores).

        Returns
        -------
        float or list of float
            One number, or one for each class; scores of classes have the mean 0.
        """
        best = self._best_constant(y, sample_weight)
        start: float | list[float] = (self._link(best) if probability else self._centred(best)).tolist()
        return start

    def init_score(
        self, y: ArrayLike, sample_weight: ArrayLike | None = None, *, rows: int | None = None
    ) -> NDArray[np.float64]:
        """Repeat that score, a row for each sample: LightGBM's ``init_score`` and CatBoost's ``baseline``.

        LightGBM does not keep it: add a row of it to what ``predict`` gives.

        Parameters
        ----------
        y : array_like, shape (n,)
            The labels of the training set, as the library has them.
        sample_weight : array_like, shape (n,), optional
            Non-negative weights.
        rows : int, optional
            How many samples, if not those of `y`: a validation set starts where the training set does.

        Returns
        -------
        ndarray, shape (rows,) or (rows, c)
            The score. Of several classes it is the logarithm of a distribution.
        """
        best = self._best_constant(y, sample_weight)
        n = len(read(y, "y")) if rows is None else positive_integer("rows", rows)
        return np.tile(best, (n, *(1,) * best.ndim))

    @abstractmethod
    def predict_proba(self, raw: ArrayLike) -> FloatArray:
        """Make probabilities of raw scores that have in them what training started from.

        Parameters
        ----------
        raw : array_like, shape (n,) or (n, c)
            Raw scores.

        Returns
        -------
        ndarray, shape (n, 2) or (n, c)
            The probability of each class.
        """

    # --------------------------------------------------------------------------------------------------------- the work

    def _derivatives(
        self,
        library: Library,
        raw: FloatArray,
        label: ArrayLike,
        weight: ArrayLike | None,
        places: Derivatives | None = None,
    ) -> Derivatives:
        given: dict[str, Any] = {"raw": raw, "target": self._target(label), "sample_weight": weight, "reduction": "sum"}
        grad, hess = places or _new_places(raw, np.float64 if library == "catboost" else np.float32)
        outs: dict[str, Any] = {"out": grad, "hess_out": hess, "hess_floor": _FLOOR}
        if self.curvature != "library":
            scale = 0.5 if self.curvature == "gradient" else 1.0
            self._evaluate(2, self.gamma, **given, **outs, hess_scale=scale, curvature=self.curvature)
            return grad, hess
        self._evaluate(2, 0.0, **given, **outs, hess_scale=self._factor(library, raw))
        if self.gamma:
            self._evaluate(1, self.gamma, **given, out=grad)
        return grad, hess

    def _mean(self, raw: FloatArray, label: ArrayLike, weight: ArrayLike | None) -> tuple[str, float]:
        return self._name(), self._evaluate(0, self.gamma, raw, self._target(label), sample_weight=weight)

    @abstractmethod
    def _name(self) -> str:
        """What the metric is called."""


_KEPT = threading.local()


def _places(data: Any, raw: FloatArray) -> Derivatives:
    """Where the derivatives of a data set go, the same in every iteration: large new arrays take half of its time.

    A library has read them before it asks again. Threads may train on one data set, so each has places of its own.
    """
    kept: WeakKeyDictionary[Any, Derivatives] = vars(_KEPT).setdefault("places", WeakKeyDictionary())
    places = kept.get(data)
    if places is None or not all(_have_one_layout(place, raw) for place in places):
        places = kept[data] = _new_places(raw, np.float32)
    return places


def _have_one_layout(one: FloatArray, other: FloatArray) -> bool:
    return one.shape == other.shape and one.flags.f_contiguous == other.flags.f_contiguous


def _new_places(raw: FloatArray, dtype: type) -> Derivatives:
    """In the layout of the scores: LightGBM's stand a class at a time, and so do the results, which it takes as is."""
    return np.empty_like(raw, dtype), np.empty_like(raw, dtype)


def _label_and_weight(data: Any, expected: str) -> tuple[Any, Any]:
    """What a data set holds; no weight is None in LightGBM, and an empty array in XGBoost."""
    if not (hasattr(data, "get_label") and hasattr(data, "get_weight")):
        raise TypeError(
            f"data must be a {expected}, got {type(data).__name__}; scikit-learn's classes take the objective "
            ".sklearn, and metrics of labels and scores"
        )
    weight = data.get_weight()
    return data.get_label(), None if weight is None or len(weight) == 0 else weight
