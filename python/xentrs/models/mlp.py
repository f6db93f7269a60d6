"""A network of dense layers that classifies."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from functools import partial
from itertools import pairwise
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import issparse
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import Tags
from sklearn.utils._param_validation import Interval, Options, StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from .. import nn
from .._blas import blas_threads_for
from .._calls import readable_constructor
from .._seeds import Seed, random_state_of
from ..losses import (
    FloatArray,
    LossGrad,
    log_sigmoid,
    sigmoid,
    sigmoid_cross_entropy_with_grad,
    sigmoid_focal_loss_with_grad,
)
from ..optim import SGD, Adam
from .classification import (
    LogitsMixin,
    LossWithGrad,
    as_target,
    encode,
    has_columns,
    loss_of,
    partial_fit_classes,
    read_columns,
    smooth,
    weigh,
)
from .convergence import end_of_network_steps, largest_derivative, stuck_at_constant
from .direction import logits_direction, through_layers
from .network import (
    ACTIVATIONS,
    init_weights,
    lbfgs,
    network_of,
    optimizer_state,
    penalty_of_epoch,
    resume,
    train,
    value_and_grads,
)
from .samples import Samples, feature_scales
from .saving import SaveMixin
from .training import (
    CONSTRAINTS_OF_CLASSIFIERS,
    Callback,
    LossCurveMixin,
    Monitor,
    all_or_nothing,
    has_stalled,
    hold_out,
    mean_one_factor,
    read_sample_weight,
    read_samples,
    total_weight,
)

__all__ = ["MLPClassifier"]

# The step size of each solver that takes a step per batch, unless another is given.
DEFAULT_RATE = {"adam": 0.001, "sgd": 0.1}


def _trains_step_by_step(estimator: Any) -> bool:
    if estimator.solver in DEFAULT_RATE:
        return True
    raise AttributeError(
        f"partial_fit is only available for stochastic optimizers. {estimator.solver} is not stochastic: "
        "solver='adam' and solver='sgd' are."
    )


class MLPClassifier(SaveMixin, LossCurveMixin, LogitsMixin, ClassifierMixin, BaseEstimator):
    """Multi-layer perceptron: dense layers with a function of each number between them, to tell classes or labels.

    It minimises the mean cross-entropy plus a penalty on the weights ``W_l`` of the layers, but not on the biases::

        sum_i s_i loss(z(x_i), y_i) / sum_i s_i + alpha / (2 m) * sum_l ||W_l||^2

    where ``z`` are the logits, the output of the last layer, the sample weights ``s`` are 1 unless given, and ``m`` is
    what the samples that a step sees weigh: those of a batch, for "lbfgs" all. scikit-learn's classifier of this name
    divides its penalty so too.

    The loss is the softmax cross-entropy or, for two classes, where one logit is enough, the sigmoid cross-entropy. Of
    several labels a sample, that do not exclude each other, it is the sigmoid cross-entropy summed over the labels.
    With `gamma` it is the focal loss of either.

    Parameters
    ----------
    hidden_layer_sizes : int or sequence of int, default (100,)
        The numbers that each hidden layer puts out. Without any this is logistic regression.
    activation : {"relu", "gelu", "tanh", "logistic", "identity"}, default "relu"
        The function after each hidden layer, see `xentrs.nn.Activation`; "identity" stands for none.
    solver : {"adam", "sgd", "lbfgs"}, default "adam"
        "adam" and "sgd" take a step per batch, by `xentrs.optim.Adam`, or by `xentrs.optim.SGD` with `momentum`.
        "lbfgs" sees all samples at every step and needs no step size: for up to some thousand samples.
    alpha : float, default 1e-4
        Strength of the penalty.
    batch_size : int or "auto", default "auto"
        Samples per step; "auto" is 200, or all where there are fewer. A remainder of less than half a batch joins the
        batch before it. Not for "lbfgs".
    learning_rate : {"constant", "invscaling", "adaptive"}, default "constant"
        How the step size goes on from `learning_rate_init`, for "sgd" alone: "invscaling" divides it by
        ``(1 + t_) ** power_t``; "adaptive" by 5 whenever the loss has stalled, as `tol` has it, and `fit` stops when it
        stalls at less than 1e-6.
    learning_rate_init : float or None, default None
        The step size; None is 0.001 for "adam", 0.1 for "sgd".
    power_t : float, default 0.5
        The exponent of "invscaling".
    max_iter : int, default 200
        The most epochs, that is passes over the samples, or for "lbfgs" iterations, that `fit` makes.
    shuffle : bool, default True
        Whether every epoch visits the samples in another order.
    random_state : int, RandomState, Generator or None, default None
        The seed of the first weights, the samples held out and the order. The same seed gives the same bits.
    tol : float or None, default 1e-4
        `fit` stops when the last `n_iter_no_change` epochs have not lowered the loss by `tol` nats: that of the samples
        held out, with early stopping. "lbfgs" stops when no derivative of the objective is larger than `tol`, those to
        the weights of a feature per unit of its root mean square. None never stops.
    verbose : bool or None, default None
        Whether `fit` shows a progress bar, with loss and rate. None: in a terminal or a notebook, once it takes more
        than a second.
    warm_start : bool, default False
        Whether `fit` goes on from the weights and the moments of the last call.
    momentum : float in [0, 1), default 0.9
        Share of the last step that goes into the next; "sgd" alone.
    nesterovs_momentum : bool, default True
        Whether the momentum, where there is one, looks ahead; "sgd" alone.
    early_stopping : bool, default False
        Whether to hold samples out, and to end with the weights of the epoch that suited them best.
    validation_fraction : float in (0, 1), default 0.1
        The share of the samples held out, each class in proportion.
    beta_1, beta_2 : float in [0, 1), default 0.9 and 0.999
        Shares of the mean gradient, and of its mean square, that are kept; "adam" alone.
    epsilon : float, default 1e-8
        Added to the root of the mean square; "adam" alone.
    n_iter_no_change : int or inf, default 10
        The epochs that `tol` looks back on.
    max_fun : int, default 15000
        The most evaluations of the objective; "lbfgs" alone.
    class_weight : dict, "balanced" or None, default None
        A factor on the loss of each class. "balanced" gives every class the same total weight. Not for several labels
        a sample.
    label_smoothing : float in [0, 1], default 0.0
        Share of each target spread evenly over all classes; over yes and no, of several labels a sample.
    gamma : float in [0, 1e9], default 0.0
        Exponent of the focal loss: the factor ``(1 - p)^gamma`` takes weight from what is right already.
    callbacks : callable, sequence of callables, or None, default None
        Each is called ``callback(model, loss)`` after every epoch of `fit`. A true answer stops the training.

    Attributes
    ----------
    coefs_ : list of ndarray
        The weights of each layer, of shape (inputs, outputs), float32 if `X` was float32. For two classes the one
        output of the last layer belongs to ``classes_[1]``.
    intercepts_ : list of ndarray
        The biases of each layer.
    classes_ : ndarray of shape (n_classes,)
        The class labels, sorted; 0, 1, ... where `y` held distributions, or a column for each label.
    out_activation_ : {"softmax", "logistic"}
        What makes probabilities of the logits: "logistic" for two classes, and for several labels a sample.
    loss_curve_ : list of float
        The objective in nats, one value per epoch: the mean over its batches, each before its step, plus the penalty
        before the first; for "lbfgs" one per iteration, after it.
    validation_loss_curve_ : list of float
        The mean loss of the samples held out after each epoch, without penalty; with early stopping alone.
    penalty_curve_ : list of float
        What of ``loss_curve_`` is penalty; with early stopping alone.
    n_iter_ : int
        The number of epochs.
    t_ : int
        The number of samples that all steps have seen.
    n_features_in_ : int
        The number of features.
    feature_names_in_ : ndarray of shape (n_features,)
        Their names, if `X` was a data frame.

    See Also
    --------
    xentrs.nn.Sequential : the layers, for loops written by hand.
    LogisticRegression : the model without hidden layers, which has one minimum.
    MultiLabelClassifier : the same for several labels a sample.

    Notes
    -----
    Features should be of similar scale: put `sklearn.preprocessing.StandardScaler` in front. `X` may be sparse, and is
    never made dense.

    The weights are drawn as `xentrs.nn.Dense` describes, "he" before "relu" and "gelu", else "glorot".

    An argument that `sklearn.neural_network.MLPClassifier` has too means the same. Differences: early stopping judges
    by the loss held out, not by accuracy; the step of "sgd" is 0.1 unless given, there 0.001; a small rest of samples
    joins the last batch; `epsilon` stands beside the root that is corrected for its start, as in the paper on Adam.

    If `fit` or `partial_fit` raises, the estimator is as it was before. Ctrl-C in `fit` arrives as KeyboardInterrupt,
    and leaves the estimator as if the last epoch finished had been the last one asked for.

    Products of matrices are NumPy's. Small ones are kept to one thread of its BLAS, which is faster.

    References
    ----------
    .. [1] D. E. Rumelhart, G. E. Hinton and R. J. Williams, "Learning representations by back-propagating errors",
       Nature 323, 1986. https://doi.org/10.1038/323533a0

    Examples
    --------
    The exclusive or, which no line can separate:

    >>> import numpy as np
    >>> from xentrs.models import MLPClassifier
    >>> X, y = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]), ["no", "yes", "yes", "no"]
    >>> model = MLPClassifier(8, activation="tanh", learning_rate_init=0.05, random_state=0).fit(X, y)
    >>> model.loss_curve_[-1] < 0.05
    True
    >>> print(*model.predict(X))
    no yes yes no

    Two labels a sample, whether one of the numbers is 1 and whether both are, by L-BFGS:

    >>> labels = np.array([[0, 0], [1, 0], [1, 0], [1, 1]])
    >>> model = MLPClassifier(8, activation="tanh", solver="lbfgs", random_state=0).fit(X, labels)
    >>> model.predict(X).tolist()
    [[0, 0], [1, 0], [1, 0], [1, 1]]
    """

    coefs_: list[FloatArray]
    intercepts_: list[FloatArray]
    out_activation_: str
    t_: int
    _multilabel: bool  # whether there is a logit for each label, not for each class: two classes have one between them
    _memory: dict[str, Any]  # state of the optimiser, for the next call
    _seen: NDArray[np.float64]  # number of samples in all calls, and their total weight

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **CONSTRAINTS_OF_CLASSIFIERS,
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "activation": [StrOptions(set(ACTIVATIONS))],
        "solver": [StrOptions({"adam", "sgd", "lbfgs"})],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "learning_rate": [StrOptions({"constant", "invscaling", "adaptive"})],
        "learning_rate_init": [Interval(Real, 0, None, closed="neither"), None],
        "power_t": [Interval(Real, 0, None, closed="left")],
        "nesterovs_momentum": ["boolean"],
        "beta_1": [Interval(Real, 0, 1, closed="left")],
        "beta_2": [Interval(Real, 0, 1, closed="left")],
        "epsilon": [Interval(Real, 0, None, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left"), Options(Real, {np.inf})],
        "max_fun": [Interval(Integral, 1, None, closed="left")],
        "class_weight": [dict, StrOptions({"balanced"}), None],
    }
    _parameter_constraints.pop("nesterov")

    @readable_constructor
    def __init__(
        self,
        hidden_layer_sizes: int | Iterable[int] = (100,),
        activation: str = "relu",
        *,
        solver: str = "adam",
        alpha: float = 1e-4,
        batch_size: int | str = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float | None = None,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Seed = None,
        tol: float | None = 1e-4,
        verbose: bool | None = None,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        class_weight: dict[Any, float] | str | None = None,
        label_smoothing: float = 0.0,
        gamma: float = 0.0,
        callbacks: Callback | Iterable[Callback] | None = None,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.max_fun = max_fun
        self.class_weight = class_weight
        self.label_smoothing = label_smoothing
        self.gamma = gamma
        self.callbacks = callbacks

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Train until the loss stops falling, for `max_iter` epochs at most.

        Parameters
        ----------
        X : array_like or sparse matrix, shape (n_samples, n_features)
            The samples. float32 is trained in float32, everything else in float64.
        y : array_like, shape (n_samples,) or (n_samples, n_classes), or sparse matrix
            Their labels, of at least two classes; or, floating, a distribution over the classes in each row; or, of
            integers or booleans or sparse, a column of 0 and 1 for each of several labels that a sample may have.
        sample_weight : array_like, shape (n_samples,), optional
            Non-negative weight ``s_i`` of each sample.

        Returns
        -------
        MLPClassifier
            The estimator itself.

        Raises
        ------
        ValueError
            If a parameter, `X`, `y` or a weight is not as described here, or the loss overflows.

        Warns
        -----
        ConvergenceWarning
            If `fit` has ended before what `tol` asks for, above the loss of guessing, stalled on a slope that is steep,
            or no better than without features where their scale may be why. It says what was reached, and what to do.
        """
        with all_or_nothing(self):
            fresh = not (self.warm_start and hasattr(self, "coefs_"))
            samples, labels = self._check(X, y, sample_weight, classes=None, fresh=fresh, seen=np.zeros(2))
            random = random_state_of(self.random_state)
            held_out = None
            if self.early_stopping:
                train_rows, test_rows = hold_out(samples.weight, self.validation_fraction, random, labels)
                samples, held_out = samples.rows(train_rows), samples.rows(test_rows)
            self._set_weights(samples.X, random, fresh=fresh)
            optimizer = self._optimizer(fresh=fresh) if self.solver in DEFAULT_RATE else None
            with (
                self._blas_threads(len(samples)),
                Monitor(
                    self,
                    [*self.coefs_, *self.intercepts_],
                    total=self.max_iter,
                    unit="iteration" if self.solver == "lbfgs" else "epoch",
                    verbose=self.verbose,
                    callbacks=self.callbacks,
                    validation_loss=None if held_out is None else partial(self._validate, held_out),
                    penalty=lambda: self._penalty(len(samples)),
                    stop=self._stop(optimizer) if optimizer or held_out else lambda curve: False,
                ) as monitor,
            ):
                if optimizer is None:
                    self.__dict__.pop("_memory", None)
                    failure = lbfgs(
                        self._network(),
                        samples,
                        self._summed_loss,
                        monitor,
                        alpha=self._alpha(),
                        max_iter=self.max_iter,
                        max_fun=self.max_fun,
                        tol=self.tol,
                    )
                    if failure is None and held_out is None and self.tol is not None:
                        loss = self.loss_curve_[-1] - self._penalty(len(samples))
                        failure = stuck_at_constant(self, samples, loss)
                else:
                    for _ in range(self.max_iter):
                        loss, penalty = self._epoch(samples, optimizer, random)
                        if monitor(loss + penalty):
                            break
                    failure = end_of_network_steps(
                        self,
                        samples,
                        loss=loss,
                        learning_rate=self._rate(),
                        stopped=monitor.stopped,
                        slope=lambda: self._slope(samples),
                    )
        if failure:
            warnings.warn(failure, ConvergenceWarning, stacklevel=2)
        return self

    @available_if(_trains_step_by_step)  # type: ignore[untyped-decorator]
    def partial_fit(
        self, X: ArrayLike, y: ArrayLike, classes: ArrayLike | None = None, sample_weight: ArrayLike | None = None
    ) -> Self:
        """Train for one epoch, silently, going on from where the last call of `fit` or `partial_fit` ended.

        Solver "lbfgs" does not have this method.

        Parameters
        ----------
        X : array_like or sparse matrix, shape (n_samples, n_features)
            The samples, which are trained in the precision of the first call.
        y : array_like, shape (n_samples,) or (n_samples, n_classes), or sparse matrix
            Their labels, as in `fit`.
        classes : array_like, shape (n_classes,), optional
            All the labels that there are; the first call needs them, unless `y` has a column for each label.
        sample_weight : array_like, shape (n_samples,), optional
            Non-negative weight ``s_i`` of each sample; of all samples seen so far the mean counts as 1. Zeros alone
            change nothing, once there are weights.

        Returns
        -------
        MLPClassifier
            The estimator itself.

        Raises
        ------
        ValueError
            As in `fit`, or if `y` has a label that is not among the classes, `class_weight` is "balanced", or samples
            are to be held out for `early_stopping`.
        """
        with all_or_nothing(self):
            fresh = not hasattr(self, "coefs_")
            if self.early_stopping:
                raise ValueError("partial_fit does not support early_stopping=True")
            if not (has_columns(y) if fresh else self._multilabel):
                classes = partial_fit_classes(self, classes)
            seen = np.zeros(2) if fresh else self._seen
            if not fresh and sample_weight is not None and not np.any(sample_weight):
                before, ones = dict(vars(self)), 1 + np.array(sample_weight, np.float64)
                self._check(X, y, ones, classes=classes, fresh=False, seen=seen)
                self.__dict__ = before
                return self
            samples, _ = self._check(X, y, sample_weight, classes=classes, fresh=fresh, seen=seen)
            random = random_state_of(self.random_state)
            self._set_weights(samples.X, random, fresh=fresh)
            with self._blas_threads(len(samples)):
                loss, penalty = self._epoch(samples, self._optimizer(fresh=fresh), random)
            self.loss_curve_ = [*([] if fresh else self.loss_curve_), loss + penalty]
            self.n_iter_ = len(self.loss_curve_)
        return self

    def decision_function(self, X: ArrayLike) -> FloatArray:
        """Logits, the output of the last layer.

        Parameters
        ----------
        X : array_like or sparse matrix, shape (n_samples, n_features)
            The samples.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_classes)
            For two classes the log-odds of ``classes_[1]``, otherwise a logit for each class or label.
        """
        check_is_fitted(self)
        samples = read_samples(self, X, dtype=self.coefs_[0].dtype, reset=False)
        logits = self._network().forward(samples)
        return logits[:, 0] if logits.shape[1] == 1 else logits

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Most probable class of each sample, or which labels it has.

        Parameters
        ----------
        X : array_like or sparse matrix, shape (n_samples, n_features)
            The samples.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_labels)
            Labels out of ``classes_``; or 1 for each label that is more probable than not, else 0.
        """
        return (self.decision_function(X) > 0).astype(int) if self._is_multilabel() else super().predict(X)

    def predict_proba(self, X: ArrayLike) -> FloatArray:
        """Probabilities of the classes, or of each label.

        Parameters
        ----------
        X : array_like or sparse matrix, shape (n_samples, n_features)
            The samples.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Rows that sum to one, in the order of ``classes_``; of several labels a sample the probability of each.
        """
        return sigmoid(self.decision_function(X)) if self._is_multilabel() else super().predict_proba(X)

    def predict_log_proba(self, X: ArrayLike) -> FloatArray:
        """Logarithms of the probabilities, exact even where the probability rounds to 0 or 1.

        Parameters
        ----------
        X : array_like or sparse matrix, shape (n_samples, n_features)
            The samples.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Nats, in the order of `predict_proba`.
        """
        return log_sigmoid(self.decision_function(X)) if self._is_multilabel() else super().predict_log_proba(X)

    def input_gradient(self, X: ArrayLike, y: ArrayLike) -> FloatArray:
        """Gradient of the loss of each sample with respect to the sample.

        Parameters
        ----------
        X : array_like or sparse matrix, shape (n_samples, n_features)
            The samples.
        y : array_like, shape (n_samples,) or (n_samples, n_classes)
            Their labels, as in `fit`.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            ``d loss_i / d x_i``, in nats per unit of the feature, not divided by the number of samples.
            `label_smoothing` and `gamma` have their part in the loss; the weights of classes, and penalties, have not.

        Raises
        ------
        ValueError
            If `X` or `y` is not as described here.

        See Also
        --------
        input_direction : without the factor that makes the gradient of a sure answer zero.
        xentrs.attacks.fgsm, xentrs.attacks.pgd : what it is good for.
        """
        samples, target = self._check_input(X, y, None)
        network = self._network()
        with np.errstate(over="ignore", invalid="ignore"):  # in the gradients to the weights, which are not used
            logits = network.forward(samples)
            return network.backward(self._loss()(logits, target, reduction="sum", out=logits).grad)

    def input_direction(self, X: ArrayLike, y: ArrayLike) -> FloatArray:
        """Direction in which the loss of each sample rises most: `input_gradient`, but for a positive factor a row.

        Parameters
        ----------
        X : array_like or sparse matrix, shape (n_samples, n_features)
            The samples.
        y : array_like, shape (n_samples,) or (n_samples, n_classes)
            Their labels, as in `fit`.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            In double precision, divided by the largest entry of each row. It does not underflow, however sure the
            answer is and however flat the functions between the layers are there: a row of zeros is a loss that has no
            slope, as where every "relu" is off.

        See Also
        --------
        xentrs.attacks.fgsm, xentrs.attacks.pgd : what it is good for.
        """
        samples, target = self._check_input(X, y, np.float64)
        weights, biases = ([array.astype(np.float64) for array in arrays] for arrays in (self.coefs_, self.intercepts_))
        network = network_of(weights, biases, self.activation)
        logits, inputs = samples, []
        for layer in network.layers:
            if isinstance(layer, nn.Activation):
                inputs.append(logits)
            logits = layer.forward(logits)
        if self.activation == "identity":
            inputs = [np.empty(0)] * (len(weights) - 1)  # which it does not ask for
        grad = logits_direction(self._loss(), logits, target, gamma=self.gamma)
        return through_layers(grad, weights, self.activation, inputs)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.classifier_tags.multi_label = True
        return tags

    # ----------------------------------------------------------------------------------------------------- what goes in

    def _check(
        self, X: Any, y: Any, sample_weight: Any, *, classes: Any, fresh: bool, seen: NDArray[np.float64]
    ) -> tuple[Samples, NDArray[Any] | None]:
        """Check everything, and return samples and labels, if `y` holds a label a sample.

        The weights are scaled to a mean of 1 over all samples that have been seen. `classes` are those in `y` if None.
        `seen` is the number of samples in the calls before, and their total weight.
        """
        rate: Any = self.learning_rate
        if isinstance(rate, Real):
            raise ValueError(
                "learning_rate must be the name of a schedule, 'constant', 'invscaling' or 'adaptive', got "
                f"{rate}. The step size is learning_rate_init: write learning_rate_init={rate}."
            )
        self._validate_params()
        dtype = [np.float64, np.float32] if fresh else self.coefs_[0].dtype
        X, y = read_samples(self, X, y, dtype=dtype, reset=fresh, multi_output=True)
        weight: FloatArray = read_sample_weight(sample_weight, X)
        labels: NDArray[Any] | None = None
        multilabel = has_columns(y) if fresh else self._multilabel
        if multilabel:
            if self.class_weight is not None:
                raise ValueError(
                    f"class_weight must be None where y has a column for each label, got {self.class_weight}"
                )
            target = read_columns(y, None if fresh else len(self.classes_))
            found: NDArray[Any] = np.arange(target.shape[1])
            if classes is not None and len(np.unique(classes)) != len(found):
                raise ValueError(
                    f"y must have a column for each of {len(np.unique(classes))} classes, got {len(found)}"
                )
            target = self._smooth_columns(target).astype(X.dtype)
            out_activation = "logistic"
        else:
            if issparse(y):
                raise ValueError("y must hold a label a sample, as in the last call, got a sparse matrix")
            found, given = encode(y, classes, None if fresh else self.classes_)
            target, weight = weigh(given, found, self.class_weight, self.label_smoothing, weight)
            target = as_target(target, len(found), X.dtype)
            labels = given if given.ndim == 1 else None
            out_activation = "logistic" if len(found) == 2 else "softmax"
        seen = seen + [len(weight), total_weight(weight)]
        weight = (weight * mean_one_factor(*seen.tolist())).astype(X.dtype)
        self.classes_, self._seen = found, seen
        self.out_activation_, self._multilabel = out_activation, multilabel
        return Samples(X, target, weight), labels

    def _check_input(self, X: Any, y: Any, dtype: Any) -> tuple[Any, NDArray[Any]]:
        """Samples of this dtype, or of that of the weights, and what the loss takes as their target."""
        check_is_fitted(self)
        dtype = self.coefs_[0].dtype if dtype is None else dtype
        X, y = read_samples(self, X, y, dtype=dtype, reset=False, multi_output=True)
        if self._multilabel:
            return X, self._smooth_columns(read_columns(y, len(self.classes_))).astype(dtype)
        _, target = encode(y, self.classes_)
        n_classes = len(self.classes_)
        return X, as_target(smooth(target, n_classes, self.label_smoothing), n_classes, dtype)

    def _smooth_columns(self, target: FloatArray) -> FloatArray:
        return (1 - self.label_smoothing) * target + self.label_smoothing / 2 if self.label_smoothing else target

    # ------------------------------------------------------------------------------------------------------- what it is

    def _is_multilabel(self) -> bool:
        check_is_fitted(self)
        return self._multilabel

    def _network(self) -> nn.Sequential:
        """The layers, on the arrays in the attributes."""
        return network_of(self.coefs_, self.intercepts_, self.activation)

    def _loss(self) -> LossWithGrad:
        if not self._multilabel:
            return loss_of(len(self.classes_), self.gamma)
        if self.gamma:
            return partial(sigmoid_focal_loss_with_grad, gamma=self.gamma)
        return sigmoid_cross_entropy_with_grad

    def _summed_loss(self, logits: FloatArray, target: NDArray[Any], weight: FloatArray) -> LossGrad:
        """The sum of the losses, by the weights of the samples; its gradient takes the place of the logits."""
        if self.out_activation_ == "logistic":
            weight = np.broadcast_to(weight[:, np.newaxis], logits.shape)
        return self._loss()(logits, target, sample_weight=weight, reduction="sum", out=logits)

    # ------------------------------------------------------------------------------------------------------- training

    def _set_weights(self, X: Any, random: np.random.RandomState, *, fresh: bool) -> None:
        """Draw weights, or copy those of the last call, which stay as they are."""
        given = self.hidden_layer_sizes
        hidden = list(given) if isinstance(given, Iterable) else [given]
        if not all(isinstance(size, int | np.integer) and size > 0 for size in hidden):
            raise ValueError(f"hidden_layer_sizes must be positive integers, got {given}")
        n_classes = len(self.classes_)
        outputs = 1 if n_classes == 2 and not self._multilabel else n_classes
        shapes = list(pairwise([X.shape[1], *hidden, outputs]))
        if fresh:
            self.coefs_, self.intercepts_ = init_weights(shapes, self.activation, X.dtype, random)
            self.t_ = 0
        elif [coef.shape for coef in self.coefs_] != shapes:
            sizes = tuple(coef.shape[1] for coef in self.coefs_[:-1])
            raise ValueError(f"hidden_layer_sizes must stay {sizes} to go on training, got {given}")
        else:
            self.coefs_, self.intercepts_ = copy.deepcopy(self.coefs_), copy.deepcopy(self.intercepts_)
        self.coefs_[0] = np.array(self.coefs_[0], order="C" if issparse(X) else "F")  # as its gradient will be

    def _alpha(self) -> float:
        """`alpha` for weights of mean 1."""
        n, total = self._seen.tolist()
        return self.alpha * mean_one_factor(n, total)

    def _rate(self) -> float:
        """The first step size."""
        return self.learning_rate_init or DEFAULT_RATE[self.solver]

    def _batch(self, n: int) -> int:
        return min(200, n) if self.batch_size == "auto" else int(self.batch_size)

    def _blas_threads(self, n: int) -> AbstractContextManager[None]:
        """Few threads for small products: `n` samples are trained on."""
        rows = min(n, n if self.solver == "lbfgs" else self._batch(n))
        return blas_threads_for(rows, *max((coef.shape for coef in self.coefs_), key=math.prod))

    def _penalty(self, n: int) -> float:
        """What the objective of `n` samples has of penalty, by the weights as they are."""
        return penalty_of_epoch(self.coefs_, self._alpha(), n, n if self.solver == "lbfgs" else self._batch(n))

    def _slope(self, samples: Samples) -> float:
        """The largest derivative of the objective."""
        with np.errstate(over="ignore", invalid="ignore"):
            _, grads = value_and_grads(self._network(), samples, self._summed_loss, self._alpha())
        return largest_derivative(grads, feature_scales(samples))

    def _optimizer(self, *, fresh: bool) -> SGD | Adam:
        """Set up the rule of the step, which goes on from its state of the last call."""
        params, rate = self._network().params, self._rate()
        optimizer: SGD | Adam
        if self.solver == "adam":
            optimizer = Adam(params, learning_rate=rate, beta1=self.beta_1, beta2=self.beta_2, eps=self.epsilon)
        else:
            nesterov = self.nesterovs_momentum and self.momentum > 0
            optimizer = SGD(params, learning_rate=rate, momentum=self.momentum, nesterov=nesterov)
        if not fresh:
            resume(optimizer, getattr(self, "_memory", {}))
        return optimizer

    def _epoch(self, samples: Samples, optimizer: SGD | Adam, random: np.random.RandomState) -> tuple[float, float]:
        """One pass over the samples, whose loss and penalty are told; what the optimiser remembers is kept."""
        n = len(samples)
        if self.solver == "sgd" and self.learning_rate == "invscaling":
            optimizer.learning_rate = self._rate() / (1 + self.t_) ** self.power_t
        answer = train(
            self._network(),
            samples,
            self._summed_loss,
            optimizer,
            alpha=self._alpha(),
            batch_size=self._batch(n),
            order=random.permutation(n) if self.shuffle else np.arange(n),
        )
        self._memory, self.t_ = optimizer_state(optimizer), self.t_ + n
        return answer

    def _stop(self, optimizer: SGD | Adam | None) -> Callable[[list[float]], bool]:
        """Tell from a loss curve whether to stop, and shorten the step where that is adapted."""
        n, adaptive, since = self.n_iter_no_change, self.solver == "sgd" and self.learning_rate == "adaptive", 0

        def stop(curve: list[float]) -> bool:
            nonlocal since
            if not (n <= len(curve) - since and has_stalled(curve, self.tol, int(n))):
                return False
            if not adaptive or optimizer is None or optimizer.learning_rate <= 1e-6:
                return True
            optimizer.learning_rate /= 5
            since = len(curve)
            return False

        return stop

    def _validate(self, held_out: Samples) -> float:
        """The mean loss of samples held out."""
        X, target, weight = held_out
        with np.errstate(over="ignore", invalid="ignore"):  # the next epoch reports it
            return self._summed_loss(self._network().forward(X), target, weight).loss / total_weight(weight)
