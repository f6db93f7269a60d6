"""Objectives of classes that exclude each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import losses
from .._arrays import read
from ..losses.results import ArrayLike, FloatArray
from .constants import best_log_probabilities
from .numbers import floats, weights, whole
from .objective import Curvature, Library, Objective

__all__ = ["Softmax", "SoftmaxFocal"]


class _OfClasses(Objective):
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
            return whole(given, name, "a class")
        rows, targets = whole(given, name, "a row of target"), read(self.target, "target")
        if np.any(wrong := (rows < 0) | (rows >= len(targets))):
            row = int(np.argmax(wrong))
            raise IndexError(f"{name} must be a row of target, in [0, {len(targets)}), got {rows[row]} at row {row}")
        return targets[rows]

    def _best_constant(self, y: ArrayLike, sample_weight: ArrayLike | None) -> NDArray[np.float64]:
        target = self._target(y, "y")
        weight = weights(sample_weight, len(target))
        class_weight = None if self.class_weight is None else floats(self.class_weight, "class_weight")
        if target.ndim == 1:
            c = int(target.max(initial=1)) + 1 if class_weight is None else len(class_weight)
            if np.any(wrong := (target < 0) | (target >= c)):
                row = int(np.argmax(wrong))
                raise IndexError(f"y must be integers in [0, {c}), got {target[row]} at row {row}")
            total: NDArray[np.float64] = np.bincount(target, weight, minlength=c).astype(np.float64)
        else:
            total = weight @ floats(target, "y")
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
