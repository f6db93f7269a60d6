"""Losses, fits and evaluations of Dask's arrays, and of delayed parts: chunks stay where they are, sums travel."""

# ruff: noqa: E402
from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

from .._extras import need

need("xentrs.dask", "dask")

from ..distributed import evaluating, fit_parts
from ..distributed.engine import read_parts
from ..evaluation import Evaluation, LossAccumulator
from .engine import parts_of, promised_sum, spread
from .losses import NOT_OF_CHUNKS, make

__all__ = [
    "accumulate",
    "binary_cross_entropy",
    "categorical_cross_entropy",
    "evaluate",
    "fit",
    "gaussian_nll",
    "hinge_loss",
    "linear_cross_entropy",
    "linear_token_logprobs",
    "sigmoid_cross_entropy",
    "sigmoid_focal_loss",
    "softmax_cross_entropy",
    "softmax_focal_loss",
    "token_logprobs",
    "topk_kl_divergence",
]

Model = TypeVar("Model")

binary_cross_entropy = make("binary_cross_entropy")
categorical_cross_entropy = make("categorical_cross_entropy")
gaussian_nll = make("gaussian_nll")
hinge_loss = make("hinge_loss")
linear_cross_entropy = make("linear_cross_entropy")
linear_token_logprobs = make("linear_token_logprobs")
sigmoid_cross_entropy = make("sigmoid_cross_entropy")
sigmoid_focal_loss = make("sigmoid_focal_loss")
softmax_cross_entropy = make("softmax_cross_entropy")
softmax_focal_loss = make("softmax_focal_loss")
token_logprobs = make("token_logprobs")
topk_kl_divergence = make("topk_kl_divergence")


def fit(estimator: Model, X: Any, y: Any = None, sample_weight: Any = None, *, same_bits: bool = True) -> Model:
    """Fit an estimator to Dask's arrays, as its own `fit` does to arrays in memory.

    A step of the solver, which runs here, asks each chunk of rows for its share of value and gradient. The chunks are
    read once: standardised, they stay on the workers. What a worker that dies has kept is made again by another.

    Parameters
    ----------
    estimator : LogisticRegression, MultiLabelClassifier or GaussianRegressor
        As in `xentrs.distributed.fit`. It is trained in place.
    X : dask.array.Array, shape (n_samples, n_features), or sequence of parts
        The samples, in chunks of rows; chunks of columns are joined. Chunks may be sparse, and of unknown length. Or
        parts as `xentrs.distributed.fit` takes, delayed ones among them, without `y` and `sample_weight`.
    y, sample_weight : dask.array.Array or array_like
        As in the `fit` of the estimator, in chunks of rows as `X`, or made so.
    same_bits : bool, default True
        Whether to refuse workers of different instruction sets, BLAS or versions.

    Returns
    -------
    estimator
        `estimator` itself, whose attributes are NumPy's arrays.

    Raises
    ------
    TypeError, ValueError, RuntimeError
        As in `xentrs.distributed.fit`; the part that is named is the chunk. Or where arrays do not fit each other.

    Warns
    -----
    ConvergenceWarning
        As in the `fit` of the estimator.

    See Also
    --------
    xentrs.distributed.fit : the same by any ``map``.

    Notes
    -----
    With a client of `distributed` its workers do the work. Without one it is done here, a chunk at a time, by the
    threads of xentrs. A step costs some milliseconds a chunk beside the work, so few and large chunks are best: one or
    two for each worker.

    Examples
    --------
    >>> import dask.array as da
    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> import xentrs.dask
    >>> from xentrs.models import LogisticRegression
    >>> X, y = load_iris(return_X_y=True)
    >>> model = xentrs.dask.fit(LogisticRegression(), da.from_array(X, chunks=(75, 4)), da.from_array(y, chunks=75))
    >>> np.allclose(model.coef_, LogisticRegression().fit(X, y).coef_, atol=1e-4)
    True
    """
    return fit_parts(estimator, spread(parts_of(("X", "y", "sample_weight"), X, y, sample_weight), same_bits))


def evaluate(
    logits: Any,
    target: Any = None,
    sample_weight: Any = None,
    *,
    ignore_index: int | None = -100,
    temperature: float = 1.0,
    n_bins: int = 15,
    top_k: int | Iterable[int] = (),
    per_class: bool = False,
    same_bits: bool = True,
) -> Evaluation:
    """Judge the logits in Dask's arrays: loss, accuracy, calibration and more, the same bits as in one piece.

    Parameters
    ----------
    logits : dask.array.Array, shape (n, ..., c), or sequence of parts
        Chunks of rows are judged one by one; those of other axes are joined. Or parts as in
        `xentrs.distributed.evaluate`, delayed ones among them.
    target, sample_weight : dask.array.Array or array_like, shape (n, ...)
        As in `Evaluation.update`, in chunks of rows as `logits`, or made so.
    ignore_index, temperature, n_bins, top_k, per_class, same_bits
        As in `xentrs.distributed.evaluate`.

    Returns
    -------
    Evaluation
        One that has seen all rows.

    Raises
    ------
    TypeError, ValueError, IndexError, RuntimeError
        As in `xentrs.distributed.evaluate`; the part that is named is the chunk.

    Examples
    --------
    >>> import dask.array as da
    >>> import xentrs.dask
    >>> logits = da.eye(3, chunks=2)
    >>> xentrs.dask.evaluate(logits, da.from_array([0, 1, 1], chunks=2)).accuracy
    0.6666666666666666
    """
    nothing = Evaluation(temperature=temperature, n_bins=n_bins, top_k=top_k, per_class=per_class)
    parts = spread(parts_of(("logits", "target", "sample_weight"), logits, target, sample_weight), same_bits)
    answer: Evaluation = parts.fold(evaluating(nothing, ignore_index))
    return answer


def accumulate(
    accumulator: LossAccumulator | Evaluation,
    logits: Any,
    target: Any = None,
    sample_weight: Any = None,
    *,
    ignore_index: int | None = -100,
    same_bits: bool = True,
) -> Any:
    """Promise an accumulator that has seen the rows of Dask's arrays, too: nothing is computed before it is asked for.

    So one ``dask.compute`` can have it beside losses and other results, and read each chunk once for all of them.

    Parameters
    ----------
    accumulator : LossAccumulator or Evaluation
        What the rows are added to. It is left as it is.
    logits, target, sample_weight
        As in `evaluate`: arrays in chunks, or parts, delayed ones among them.
    ignore_index, same_bits
        As in `evaluate`.

    Returns
    -------
    dask.delayed.Delayed
        ``compute`` makes an accumulator of it, of the same kind and options.

    Raises
    ------
    TypeError, ValueError
        If `accumulator` is of another kind, or the arrays do not fit each other.
    IndexError, ValueError, TypeError, RuntimeError
        From ``compute``, as `evaluate` raises them.

    Examples
    --------
    >>> import dask
    >>> import dask.array as da
    >>> import xentrs as xe
    >>> import xentrs.dask
    >>> logits, target = da.eye(3, chunks=2), da.from_array([0, 1, 1], chunks=2)
    >>> total = xentrs.dask.accumulate(xe.LossAccumulator(), logits, target)
    >>> loss = xentrs.dask.softmax_cross_entropy(logits, target)
    >>> figures, mean = dask.compute(total, loss)
    >>> print(f"accuracy {figures.result().accuracy:.3f}, loss {figures.result().loss:.4f}, {mean:.4f}")
    accuracy 0.667, loss 0.8848, 0.8848
    """
    if not isinstance(accumulator, LossAccumulator | Evaluation):
        raise TypeError(
            "accumulator must be a LossAccumulator or an Evaluation, got "
            f"{accumulator.__name__ + ', the class' if isinstance(accumulator, type) else type(accumulator).__name__}"
        )
    parts = read_parts(parts_of(("logits", "target", "sample_weight"), logits, target, sample_weight))
    of_part = evaluating(accumulator._nothing(), ignore_index)
    return promised_sum(accumulator, of_part, parts, same_bits)


def __getattr__(name: str) -> Any:
    if name in NOT_OF_CHUNKS:
        raise AttributeError(f"xentrs.dask has no {name}: {NOT_OF_CHUNKS[name]}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
