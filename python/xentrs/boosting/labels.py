"""Objectives of yes-or-no questions: one, or several that are independent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import losses
from .._arrays import read
from .._extras import need
from .._numbers import in_range
from ..losses.results import ArrayLike, FloatArray
from .constants import best_log_probabilities
from .numbers import floats, weights
from .objective import Curvature, Library, Objective

__all__ = ["Focal", "Sigmoid"]


class _OfLabels(Objective):
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
        target = floats(y, "y")
        weight = weights(sample_weight, len(target))
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


class CatBoostObjective:
    """What CatBoost takes for a loss function: it asks for derivatives of a block of samples at a time."""

    def __init__(self, objective: _OfLabels) -> None:
        self.objective = objective

    def calc_ders_range(self, approxes: Any, targets: Any, weights: Any) -> FloatArray:
        """Both derivatives of the log-likelihood, which CatBoost maximises."""
        raw = read(approxes, "approxes")
        grad, hess = self.objective._derivatives("catboost", raw, targets, weights)
        return np.stack([-grad, -hess], -1)
