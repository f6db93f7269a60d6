"""Scorers: what `cross_val_score` and `GridSearchCV` take as `scoring`, of raw scores."""

from __future__ import annotations

from typing import Any, Self, SupportsIndex

from numpy.typing import ArrayLike
from sklearn import get_config
from sklearn.utils.metadata_routing import MetadataRequest

from .._numbers import one_of, positive_integer
from .responses import evaluated

__all__ = ["get_scorer", "get_scorer_names"]

FIGURES = {
    "neg_brier_score": "brier_score",
    "neg_calibration_error": "calibration_error",
    "neg_cross_entropy": "loss",
    "neg_perplexity": "perplexity",
}
"""What each scorer takes of an `Evaluation`."""


def get_scorer_names() -> list[str]:
    """Tell the names that `get_scorer` knows.

    Returns
    -------
    list of str
        In alphabetical order.

    Examples
    --------
    >>> from xentrs.metrics import get_scorer_names
    >>> get_scorer_names()
    ['neg_brier_score', 'neg_calibration_error', 'neg_cross_entropy', 'neg_perplexity']
    """
    return sorted(FIGURES)


def get_scorer(scoring: str, *, n_bins: SupportsIndex | None = None) -> Scorer:
    """Get a scorer of raw scores, for scikit-learn's `cross_val_score`, `GridSearchCV` and the like.

    With the logits ``z_i`` of the samples, their labels ``y_i``, their weights ``s_i``, ``S = sum_i s_i`` and
    ``p_i = softmax(z_i)``, a scorer gives the negative, as more is better, of::

        neg_cross_entropy        L = sum_i s_i (-ln p_iy) / S, in nats
        neg_perplexity           exp(L)
        neg_brier_score          sum_i s_i sum_k (p_ik - [k = y_i])^2 / S, of two classes half of that: (p - y)^2
        neg_calibration_error    sum_b |sum_{i in b} s_i ([argmax z_i = y_i] - max_k p_ik)| / S

    Parameters
    ----------
    scoring : str
        One of these names.
    n_bins : int, optional
        Bins of the calibration error, 15 by default. The others have none.

    Returns
    -------
    scorer
        A new one, called as ``scorer(estimator, X, y, *, sample_weight=None)``. It can be pickled, copied, and sent to
        other processes.

    Raises
    ------
    ValueError
        If the name is none of these, or `n_bins` is less than 1, or given where there are no bins.
    TypeError
        If `n_bins` is no integer.

    See Also
    --------
    ReliabilityDisplay : a picture of the calibration.
    xentrs.Evaluation : the same figures of logits, without an estimator.
    xentrs.expected_calibration_error : the calibration error alone.

    Notes
    -----
    The logits are the estimator's `decision_function`, as it is: of two classes the log-odds of the second, of shape
    (n,). Where it has none they are its `predict_log_proba` or the logarithm of its `predict_proba`. So nothing is
    rounded to probabilities and back. A decision function that is no log-probability, as that of a support vector
    machine, is judged as if it were one: calibrate it first.

    Labels are found in the estimator's `classes_`, so they may be of any kind, and some may be missing in a fold.

    A probability of 0 for what has happened, as forests give, is not clipped: the score is -inf. That of scikit-learn's
    "neg_log_loss" is finite there; elsewhere "neg_cross_entropy" is equal to it, and "neg_brier_score" to the scorer of
    that name.

    Weights of samples are routed: with ``sklearn.set_config(enable_metadata_routing=True)`` they go to a scorer whose
    ``set_score_request(sample_weight=True)`` was called.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.model_selection import cross_val_score
    >>> from xentrs.metrics import get_scorer
    >>> from xentrs.models import LogisticRegression
    >>> iris = load_iris()
    >>> X, y = iris.data, iris.target_names[iris.target]
    >>> cross_val_score(LogisticRegression(), X, y, scoring=get_scorer("neg_cross_entropy"), cv=3).round(3)
    array([-0.142, -0.152, -0.156])

    Several at once:

    >>> from sklearn.model_selection import cross_validate
    >>> names = ["neg_perplexity", "neg_calibration_error"]
    >>> scores = cross_validate(LogisticRegression(), X, y, scoring={name: get_scorer(name) for name in names})
    >>> bool((scores["test_neg_perplexity"] < -1).all())
    True
    """
    one_of("scoring", scoring, tuple(get_scorer_names()))
    if n_bins is None:
        return Scorer(scoring, 15)
    if scoring != "neg_calibration_error":
        raise ValueError(f"n_bins must be None for {scoring}, which has no bins, got {n_bins!r}")
    return Scorer(scoring, positive_integer("n_bins", n_bins))


class Scorer:
    """A figure of raw scores, negative, as scikit-learn calls it: see `get_scorer`."""

    def __init__(self, name: str, n_bins: int) -> None:
        self._name = name
        self._n_bins = n_bins
        self._sample_weight: bool | str | None = None

    def __call__(self, estimator: Any, X: Any, y_true: Any, *, sample_weight: ArrayLike | None = None) -> float:
        """Score a fitted classifier: minus the figure of `y_true` and what the estimator says of `X`."""
        evaluation = evaluated(estimator, X, y_true, sample_weight, self._n_bins)
        figure: float = getattr(evaluation, FIGURES[self._name])
        return -figure / 2 if self._name == "neg_brier_score" and len(estimator.classes_) == 2 else -figure

    def set_score_request(self, *, sample_weight: bool | str | None) -> Self:
        """Say whether weights of samples are wanted: True, False, None (an error if there are any), or their alias."""
        if not get_config()["enable_metadata_routing"]:
            raise RuntimeError(
                "set_score_request needs metadata routing: write sklearn.set_config(enable_metadata_routing=True)"
            )
        MetadataRequest(owner=repr(self)).score.add_request(param="sample_weight", alias=sample_weight)  # checks it
        self._sample_weight = sample_weight
        return self

    def get_metadata_routing(self) -> MetadataRequest:
        """Tell scikit-learn which metadata are wanted."""
        request = MetadataRequest(owner=repr(self))
        request.score.add_request(param="sample_weight", alias=self._sample_weight)
        return request

    def __repr__(self) -> str:
        bins = f", n_bins={self._n_bins}" if self._name == "neg_calibration_error" else ""
        return f"get_scorer({self._name!r}{bins})"
