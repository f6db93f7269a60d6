"""The objectives: what boosting libraries ask of a loss, from the derivatives of the losses of logits."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from .. import losses
from .._arrays import read
from .._extras import need
from .._numbers import in_range, positive_integer
from ..losses.results import ArrayLike, FloatArray
from .constants import best_log_probabilities

__all__ = ["Focal", "Sigmoid", "Softmax", "SoftmaxFocal"]

Curvature: TypeAlias = Literal["library", "exact", "convex", "gradient"]
Library: TypeAlias = Literal["lightgbm", "xgboost", "catboost"]
Derivatives: TypeAlias = tuple[FloatArray, FloatArray]

_FLOOR = 1e-16  # under every Hessian, as in XGBoost: a leaf's value is a quotient by a sum of them


class _Objective:
    """What all objectives share: the ways in which libraries ask."""

    label_smoothing: float
    curvature: Curvature
    gamma: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what the loss refuses, before training begins."""
        if self.curvature not in ("library", "exact", "convex", "gradient"):
            raise ValueError(f'curvature must be "library", "exact", "convex" or "gradient", got {self.curvature!r}')
        in_range("gamma", self.gamma)
        self._check()

    def __deepcopy__(self, memo: Mapping[int, object]) -> _Objective:
        """Give the objective itself: it never changes, libraries copy their parameters, and `target` may be large."""
        return self

    # -------------------------------------------------------------------------------------- what the families differ in

    def _check(self) -> None:
        """Refuse options that the loss refuses."""
        raise NotImplementedError

    def _evaluate(self, order: int, gamma: float, raw: FloatArray, target: NDArray[Any], **options: Any) -> Any:
        """The loss of this family with as many derivatives as `order` says."""
        raise NotImplementedError

    def _target(self, label: ArrayLike) -> NDArray[Any]:
        """What the loss takes for the labels of a data set."""
        raise NotImplementedError

    def _best_constant(self, y: ArrayLike, sample_weight: ArrayLike | None) -> NDArray[np.float64]:
        """The raw score that, given to all samples, costs least: a number, or one for each class."""
        raise NotImplementedError

    def _link(self, raw: FloatArray) -> FloatArray:
        """The probabilities of raw scores, one number for each of them."""
        raise NotImplementedError

    def _centred(self, raw: FloatArray) -> FloatArray:
        """The same scores of as small numbers as possible."""
        return raw

    def _factor(self, library: Library, raw: FloatArray) -> float:
        """What a library's own log loss multiplies its Hessian by."""
        raise NotImplementedError

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
        raise NotImplementedError

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

    def _name(self) -> str:
        raise NotImplementedError


class _OfLabels(_Objective):
    """Of one yes-or-no question, or several that are independent: a raw score is the log-odds of yes."""

    alpha: float | None = None
    pos_weight: float | None

    @property
    def catboost(self) -> CatBoostObjective:
        """The objective of ``CatBoostClassifier(loss_function=...)``, which wants an ``eval_metric`` beside it."""
        need("this objective", "catboost")
        return CatBoostObjective(self)

    def predict_proba(self, raw: ArrayLike) -> FloatArray:
        """Make probabilities of raw scores that have in them what training started from.

        Parameters
        ----------
        raw : array_like, shape (n,) or (n, c)
            Raw scores, the log-odds of the positive answer.

        Returns
        -------
        ndarray, shape (n, 2) or (n, c)
            The probabilities of both answers; of `c` independent labels that of the positive answer to each.
        """
        scores = read(raw, "raw")
        return self._link(np.stack([-scores, scores], -1) if scores.ndim == 1 else scores)

    def _check(self) -> None:
        if self.pos_weight is not None:
            in_range("pos_weight", self.pos_weight)
        self._evaluate(0, self.gamma, np.zeros(1), np.zeros(1))

    def _evaluate(self, order: int, gamma: float, raw: FloatArray, target: NDArray[Any], **options: Any) -> Any:
        if raw.ndim > target.ndim > 0:
            raise ValueError(
                f"label must have shape {raw.shape}, an answer for each raw score, got {target.shape}; for classes "
                "that exclude each other use Softmax or SoftmaxFocal"
            )
        options |= {"pos_weight": self.pos_weight, "label_smoothing": self.label_smoothing}
        if gamma == 0.0 and self.alpha is None:
            plain = (
                losses.sigmoid_cross_entropy,
                losses.sigmoid_cross_entropy_with_grad,
                losses.sigmoid_cross_entropy_with_hess,
            )
            return plain[order](raw, target, **options)
        focal = (
            losses.sigmoid_focal_loss,
            losses.sigmoid_focal_loss_with_grad,
            losses.sigmoid_focal_loss_with_hess,
        )
        return focal[order](raw, target, gamma=gamma, alpha=self.alpha, **options)

    def _target(self, label: ArrayLike) -> NDArray[Any]:
        return read(label, "label", labels=True)

    def _best_constant(self, y: ArrayLike, sample_weight: ArrayLike | None) -> NDArray[np.float64]:
        target = _floats(y, "y")
        weight = _weights(sample_weight, len(target))
        if np.any(wrong := ~((target >= 0) & (target <= 1))):
            place = np.unravel_index(int(np.argmax(wrong)), target.shape)
            raise ValueError(f"y must be in [0, 1], got {target[place]:g} at row {place[0]}")
        yes = weight @ target
        both, e = weight.sum(), self.label_smoothing
        yes = (1 - e) * yes + e / 2 * both
        no = both - yes
        alpha = 0.5 if self.alpha is None else self.alpha
        beta = 1.0 if self.pos_weight is None else self.pos_weight
        pairs = np.stack([no * (1 - alpha), yes * alpha * beta], -1).reshape(-1, 2)
        best = [best_log_probabilities(pair, self.gamma) for pair in pairs]
        return np.array([positive - negative for negative, positive in best]).reshape(np.shape(yes))

    def _link(self, raw: FloatArray) -> FloatArray:
        return losses.sigmoid(raw)

    def _factor(self, library: Library, raw: FloatArray) -> float:
        return 1.0

    def _name(self) -> str:
        return "sigmoid_focal_loss" if self.gamma else "sigmoid_cross_entropy"


class _OfClasses(_Objective):
    """Of classes that exclude each other: a row of raw scores is the logarithm of a distribution, plus any number."""

    class_weight: ArrayLike | None
    target: ArrayLike | None

    def __getattr__(self, name: str) -> Any:
        advice = "; CatBoost takes Sigmoid and Focal alone" if name == "catboost" else ""
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}{advice}")

    def predict_proba(self, raw: ArrayLike) -> FloatArray:
        """Make probabilities of raw scores that have in them what training started from.

        Parameters
        ----------
        raw : array_like, shape (n, c)
            Raw scores.

        Returns
        -------
        ndarray, shape (n, c)
            The probability of each class.
        """
        return self._link(read(raw, "raw"))

    def _check(self) -> None:
        if self.target is None:
            c = 2 if self.class_weight is None else np.size(read(self.class_weight, "class_weight"))
            self._evaluate(0, self.gamma, np.zeros((1, c)), np.zeros(1, np.int64))
        else:
            target = read(self.target, "target")
            if target.ndim != 2 or target.dtype.kind != "f":
                raise ValueError(
                    "target must be floats of shape (n, c), a distribution a row, "
                    f"got {target.dtype} of shape {target.shape}"
                )
            self._evaluate(0, self.gamma, np.zeros(target.shape), target)

    def _evaluate(self, order: int, gamma: float, raw: FloatArray, target: NDArray[Any], **options: Any) -> Any:
        if raw.ndim == 1:
            raise ValueError(
                f'raw scores must have shape (n, c), got {raw.shape}: write the parameter "num_class", or, of two '
                "answers, use Sigmoid or Focal"
            )
        options |= {"class_weight": self.class_weight, "label_smoothing": self.label_smoothing, "ignore_index": None}
        if gamma == 0.0:
            plain = (
                losses.softmax_cross_entropy,
                losses.softmax_cross_entropy_with_grad,
                losses.softmax_cross_entropy_with_hess,
            )
            return plain[order](raw, target, **options)
        focal = (losses.softmax_focal_loss, losses.softmax_focal_loss_with_grad, losses.softmax_focal_loss_with_hess)
        return focal[order](raw, target, gamma=gamma, **options)

    def _target(self, label: ArrayLike, name: str = "label") -> NDArray[Any]:
        given = read(label, name, labels=True)
        if given.ndim == 2:
            return given
        if self.target is None:
            return _whole(given, name, "a class")
        rows, targets = _whole(given, name, "a row of target"), read(self.target, "target")
        if np.any(wrong := (rows < 0) | (rows >= len(targets))):
            row = int(np.argmax(wrong))
            raise IndexError(f"{name} must be a row of target, in [0, {len(targets)}), got {rows[row]} at row {row}")
        return targets[rows]

    def _best_constant(self, y: ArrayLike, sample_weight: ArrayLike | None) -> NDArray[np.float64]:
        target = self._target(y, "y")
        weight = _weights(sample_weight, len(target))
        class_weight = None if self.class_weight is None else _floats(self.class_weight, "class_weight")
        if target.ndim == 1:
            c = int(target.max(initial=1)) + 1 if class_weight is None else len(class_weight)
            if np.any(wrong := (target < 0) | (target >= c)):
                row = int(np.argmax(wrong))
                raise IndexError(f"y must be integers in [0, {c}), got {target[row]} at row {row}")
            total: NDArray[np.float64] = np.bincount(target, weight, minlength=c).astype(np.float64)
        else:
            total = weight @ _floats(target, "y")
        e = self.label_smoothing
        total = (1 - e) * total + e * total.sum() / len(total)
        return best_log_probabilities(total if class_weight is None else total * class_weight, self.gamma)

    def _link(self, raw: FloatArray) -> FloatArray:
        return losses.softmax(raw)

    def _centred(self, raw: FloatArray) -> FloatArray:
        centred: FloatArray = raw - raw.mean()
        return centred

    def _factor(self, library: Library, raw: FloatArray) -> float:
        return 2.0 if library == "xgboost" else raw.shape[-1] / (raw.shape[-1] - 1)

    def _name(self) -> str:
        return "softmax_focal_loss" if self.gamma else "softmax_cross_entropy"


@dataclass(frozen=True, kw_only=True, eq=False)
class Sigmoid(_OfLabels):
    """Cross-entropy of yes-or-no questions: LightGBM's "binary", XGBoost's "binary:logistic", with soft labels.

    A sample with the raw score ``x`` and the label ``t`` costs what `xentrs.sigmoid_cross_entropy` says, times its
    weight. Without options the trees are those of the library's own objective.

    Labels are numbers in [0, 1]. XGBoost also takes a label for each of `c` independent questions, of shape (n, c), as
    its matrix has it.

    Parameters
    ----------
    pos_weight : float, optional
        Non-negative weight of the positive answers, 1 unless given.
    label_smoothing : float in [0, 1], default 0.0
        How much of a label is replaced by 1/2.
    curvature : {"library", "exact", "convex", "gradient"}, default "library"
        What stands for the second derivative. "exact" is ``p (1 - p)`` times the weights; "library" and "convex" are
        the same here. "gradient" is half of the absolute gradient.

    See Also
    --------
    Focal : the same, for the badly answered.
    xentrs.sigmoid_cross_entropy : the loss, and what its options mean.

    Examples
    --------
    >>> import numpy as np
    >>> from xentrs.boosting import Sigmoid
    >>> objective = Sigmoid()
    >>> y = np.array([1.0, 0.0, 0.0, 0.0])
    >>> start = objective.init_score(y)
    >>> start.round(4)
    array([-1.0986, -1.0986, -1.0986, -1.0986])
    >>> grad, hess = objective.sklearn(y, start)
    >>> grad
    array([-0.75,  0.25,  0.25,  0.25], dtype=float32)
    >>> objective.predict_proba(start)[0]
    array([0.75, 0.25])
    """

    pos_weight: float | None = None
    label_smoothing: float = 0.0
    curvature: Curvature = "library"


@dataclass(frozen=True, kw_only=True, eq=False)
class Focal(_OfLabels):
    """Focal loss of yes-or-no questions: well-answered ones hardly count. For labels of which few are positive.

    A sample with the raw score ``x`` and the label ``t`` costs what `xentrs.sigmoid_focal_loss` says, times its weight.
    Labels are as in `Sigmoid`.

    Parameters
    ----------
    gamma : float in [0, 1e9], default 2.0
        The focus: how fast the weight of a sample falls as its answer gets better.
    alpha : float in [0, 1], optional
        Weight of the positive answers, as ``1 - alpha`` is that of the negative ones. None weighs neither.
    pos_weight : float, optional
        Non-negative weight of the positive answers, 1 unless given.
    label_smoothing : float in [0, 1], default 0.0
        How much of a label is replaced by 1/2.
    curvature : {"library", "exact", "convex", "gradient"}, default "gradient"
        What stands for the second derivative. "gradient" is half of the absolute gradient, "convex" the second
        derivative of cross-entropy with the weights that the gradient has, "library" that of the loss without focus,
        and "exact" the second derivative itself, or 1e-16 where that is smaller.

    See Also
    --------
    Sigmoid : every answer counts.
    xentrs.sigmoid_focal_loss : the loss, and what its options mean.

    Notes
    -----
    The loss is not convex. Where an answer is far on the wrong side the second derivative is negative, and where it
    changes sign it is close to 0, so that the quotient that is a leaf's value may be of any size. Half of the absolute
    gradient is the second derivative of the loss without focus where ``p = 1/2``. By it a leaf's value is
    ``2 sum(g) / sum(|g|)``, in [-2, 2], and no step is larger than twice the learning rate. Average precision on new
    samples chose this default (the page *Boosting* has the figures).

    Training has to start from `init_score` or `base_score`, where the mean focal loss has its minimum. From the
    log-odds almost every sample is answered so well that no gradient is left.

    References
    ----------
    .. [1] T.-Y. Lin, P. Goyal, R. Girshick, K. He and P. Dollár, "Focal Loss for Dense Object Detection", ICCV 2017,
       arXiv:1708.02002.

    Examples
    --------
    >>> import numpy as np
    >>> from xentrs.boosting import Focal
    >>> y = np.repeat([1.0, 0.0], [1, 999])
    >>> round(Focal(gamma=0.0).base_score(y), 3)  # the log-odds
    -6.907
    >>> round(Focal(gamma=2.0).base_score(y), 3)
    -2.545
    """

    gamma: float = 2.0
    alpha: float | None = None
    pos_weight: float | None = None
    label_smoothing: float = 0.0
    curvature: Curvature = "gradient"


@dataclass(frozen=True, kw_only=True, eq=False)
class Softmax(_OfClasses):
    """Cross-entropy of classes that exclude each other: LightGBM's "multiclass", XGBoost's "multi:softprob".

    A sample with the raw scores ``z`` costs what `xentrs.softmax_cross_entropy` says, times its weight. Without options
    the trees are those of the library's own objective.

    Labels are the integers 0, 1, ..., c - 1. Soft labels are in `target`; XGBoost also takes them as labels, of shape
    (n, c), and then without ``"num_class"``.

    Parameters
    ----------
    class_weight : array_like, shape (c,), optional
        Non-negative weight of each class.
    target : array_like, shape (m, c), optional
        Distributions over the classes. The label of a sample is then the number of its row here, 0, 1, ..., m - 1: for
        training ``np.arange(m)``, and for held-out samples rows behind those.
    label_smoothing : float in [0, 1], default 0.0
        How much of a target is shared among all classes.
    curvature : {"library", "exact", "convex", "gradient"}, default "library"
        What stands for the second derivative. "exact" is ``p_k (1 - p_k)`` times the weights; "library" multiplies it
        as the library's own objective does, LightGBM by ``c / (c - 1)`` and XGBoost by 2. "convex" is "exact" here, and
        "gradient" half of the absolute gradient.

    See Also
    --------
    SoftmaxFocal : the same with less weight on what is right.
    xentrs.softmax_cross_entropy : the loss, and what its options mean.

    Notes
    -----
    Libraries keep labels as float32, which counts rows of `target` up to 16 777 216.

    Examples
    --------
    >>> import numpy as np
    >>> from xentrs.boosting import Softmax
    >>> objective = Softmax()
    >>> start = objective.init_score([0, 1, 1, 2])
    >>> objective.predict_proba(start)[0]
    array([0.25, 0.5 , 0.25])

    Of soft labels:

    >>> soft = Softmax(target=[[0.5, 0.5, 0.0], [0.0, 0.2, 0.8]])
    >>> soft.predict_proba(soft.init_score(np.arange(2)))[0]
    array([0.25, 0.35, 0.4 ])
    """

    class_weight: ArrayLike | None = None
    target: ArrayLike | None = None
    label_smoothing: float = 0.0
    curvature: Curvature = "library"


@dataclass(frozen=True, kw_only=True, eq=False)
class SoftmaxFocal(_OfClasses):
    """Focal loss of classes that exclude each other: less weight on what is right already.

    A sample with the raw scores ``z`` costs what `xentrs.softmax_focal_loss` says, times its weight. Labels and soft
    labels are as in `Softmax`.

    Parameters
    ----------
    gamma : float, default 2.0
        Finite and non-negative: how fast what is right loses its weight.
    class_weight : array_like, shape (c,), optional
        Non-negative weight of each class.
    target : array_like, shape (m, c), optional
        Distributions over the classes, of which labels are row numbers, as in `Softmax`.
    label_smoothing : float in [0, 1], default 0.0
        How much of a target is shared among all classes.
    curvature : {"library", "exact", "convex", "gradient"}, default "gradient"
        What stands for the second derivative. "gradient" is half of the absolute gradient, "convex" the Hessian of
        cross-entropy with the weights that the gradient has, "library" what `Softmax` has by this name, and "exact" the
        second derivative itself, or 1e-16 where that is smaller.

    See Also
    --------
    Focal : of two classes, and why the curvature is what it is.
    Softmax : without focus.
    xentrs.softmax_focal_loss : the loss, and what its options mean.

    Examples
    --------
    >>> from xentrs.boosting import SoftmaxFocal
    >>> y = [0] * 98 + [1, 2]
    >>> objective = SoftmaxFocal(gamma=2.0)
    >>> objective.predict_proba(objective.init_score(y))[0].round(3)  # the shares are 0.98, 0.01 and 0.01
    array([0.807, 0.097, 0.097])
    """

    gamma: float = 2.0
    class_weight: ArrayLike | None = None
    target: ArrayLike | None = None
    label_smoothing: float = 0.0
    curvature: Curvature = "gradient"


class CatBoostObjective:
    """What CatBoost takes for a loss function: it asks for derivatives of a block of samples at a time."""

    def __init__(self, objective: _OfLabels) -> None:
        self.objective = objective

    def calc_ders_range(self, approxes: Any, targets: Any, weights: Any) -> FloatArray:
        """Both derivatives of the log-likelihood, which CatBoost maximises."""
        raw = read(approxes, "approxes")
        grad, hess = self.objective._derivatives("catboost", raw, targets, weights)
        return np.stack([-grad, -hess], -1)


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


def _floats(given: ArrayLike, name: str) -> NDArray[np.float64]:
    array = read(given, name)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name} must be numbers, got {array.dtype}")
    return array.astype(np.float64)


def _weights(sample_weight: ArrayLike | None, n: int) -> NDArray[np.float64]:
    if sample_weight is None:
        return np.ones(n)
    weight = _floats(sample_weight, "sample_weight")
    if weight.shape != (n,):
        raise ValueError(f"sample_weight must have shape ({n},), got {weight.shape}")
    if np.any(wrong := ~((weight >= 0) & np.isfinite(weight))):
        row = int(np.argmax(wrong))
        raise ValueError(f"sample_weight must be finite and non-negative, got {weight[row]:g} at row {row}")
    return weight


def _whole(numbers: NDArray[Any], name: str, what: str) -> NDArray[np.int64]:
    """The integers that a library keeps as floats."""
    if numbers.dtype.kind not in "biuf":
        raise TypeError(f"{name} must be numbers, each {what}, got {numbers.dtype}")
    with np.errstate(invalid="ignore"):
        whole = numbers.astype(np.int64)
    if np.any(wrong := whole != numbers):
        row = int(np.argmax(wrong))
        raise ValueError(f"{name} must be whole numbers, each {what}, got {numbers[row]} at row {row}")
    return whole
