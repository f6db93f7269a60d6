"""A network of dense layers that classifies."""

import copy
import math
import warnings
from collections.abc import Iterable
from functools import partial
from itertools import pairwise
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from .. import nn
from ..losses import FloatArray
from ..optim import SGD, Adam
from .classification import LogitsMixin, LossWithGrad, as_target, encode, loss_of, partial_fit_classes, smooth, weigh
from .network import ACTIVATIONS, Samples, init_weights, network_of, optimizer_of, optimizer_state, train
from .saving import SaveMixin
from .training import (
    CONSTRAINTS_OF_CLASSIFIERS,
    Callback,
    LossCurveMixin,
    Monitor,
    all_or_nothing,
    convergence_warning,
    has_stalled,
    hold_out,
    mean_one_factor,
    total_weight,
)

__all__ = ["MLPClassifier"]


class MLPClassifier(SaveMixin, LossCurveMixin, LogitsMixin, ClassifierMixin, BaseEstimator):
    """Multi-layer perceptron for two or more classes: dense layers with a function of each number between them.

    It minimises the mean cross-entropy plus a penalty on the weights ``W_l`` of the layers, but not on the biases::

        sum_i s_i loss(z(x_i), y_i) / sum_i s_i + alpha / 2 * sum_l ||W_l||^2

    where ``z`` are the logits, the output of the last layer, and the sample weights ``s`` are 1 unless given. The loss
    is the softmax cross-entropy or, for two classes, where one logit is enough, the sigmoid cross-entropy; with `gamma`
    it is the focal loss of either.

    Parameters
    ----------
    hidden_layer_sizes : int or sequence of int, default (100,)
        The numbers that each hidden layer puts out. Without any this is logistic regression.
    activation : {"relu", "gelu", "tanh", "logistic"}, default "relu"
        The function after each hidden layer, see `xentrs.nn.Activation`.
    solver : {"adam", "sgd"}, default "adam"
        The rule of the step: `xentrs.optim.Adam`, or `xentrs.optim.SGD` with `momentum`.
    alpha : float, default 1e-4
        Strength of the penalty.
    learning_rate : float or None, default None
        The step size. None: 0.001 for Adam, 0.1 for SGD.
    momentum : float in [0, 1), default 0.9
        Share of the last step that goes into the next; SGD alone.
    nesterov : bool, default True
        Whether the momentum looks ahead; needs ``momentum > 0``; SGD alone.
    batch_size : int, default 200
        Samples per step. A remainder of less than half a batch joins the batch before it.
    max_iter : int, default 200
        The most epochs, that is passes over the samples, that `fit` makes.
    tol : float or None, default 1e-4
        `fit` stops when the last `n_iter_no_change` epochs have not lowered the loss by `tol` nats: that of the samples
        held out, with early stopping. None never stops.
    n_iter_no_change : int, default 10
        The epochs that `tol` looks back on.
    early_stopping : bool, default False
        Whether to hold samples out, and to end with the weights of the epoch that suited them best.
    validation_fraction : float in (0, 1), default 0.1
        The share of the samples held out, each class in proportion.
    class_weight : dict, "balanced" or None, default None
        A factor on the loss of each class. "balanced" gives every class the same total weight.
    label_smoothing : float in [0, 1], default 0.0
        Share of each target spread evenly over all classes.
    gamma : float in [0, 1e9], default 0.0
        Exponent of the focal loss: the factor ``(1 - p)^gamma`` takes weight from what is right already.
    shuffle : bool, default True
        Whether every epoch visits the samples in another order.
    warm_start : bool, default False
        Whether `fit` goes on from the weights and the moments of the last call.
    callbacks : callable, sequence of callables, or None, default None
        Each is called ``callback(model, loss)`` after every epoch of `fit`. A true answer stops the training.
    random_state : int, RandomState or None, default None
        The seed of the first weights, the samples held out and the order. The same seed gives the same bits.
    verbose : bool or None, default None
        Whether `fit` shows a progress bar, with loss and rate. None: in a terminal, once it takes more than a second.

    Attributes
    ----------
    coefs_ : list of ndarray
        The weights of each layer, of shape (inputs, outputs), float32 if `X` was float32. For two classes the one
        output of the last layer belongs to ``classes_[1]``.
    intercepts_ : list of ndarray
        The biases of each layer.
    classes_ : ndarray of shape (n_classes,)
        The class labels, sorted; 0, 1, ... where `y` held distributions.
    loss_curve_ : list of float
        The objective in nats, one value per epoch: the mean over its batches, each before its step.
    validation_loss_curve_ : list of float
        The mean loss of the samples held out after each epoch, without penalty; with early stopping alone.
    n_iter_ : int
        The number of epochs.
    n_features_in_ : int
        The number of features.
    feature_names_in_ : ndarray of shape (n_features,)
        Their names, if `X` was a data frame.

    See Also
    --------
    xentrs.nn.Sequential : the layers, for loops written by hand.
    LogisticRegression : the model without hidden layers, which has one minimum.

    Notes
    -----
    Features should be of similar scale: put `sklearn.preprocessing.StandardScaler` in front.

    `sklearn.neural_network.MLPClassifier` divides the penalty of a step by the size of its batch: an `alpha` of there
    is ``alpha / batch_size`` here.

    The weights are drawn as `xentrs.nn.Dense` describes, "he" before "relu" and "gelu", else "glorot".

    `fit` and `partial_fit` are all or nothing: if one raises, the estimator is as it was before.

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
    >>> model = MLPClassifier(8, activation="tanh", learning_rate=0.05, random_state=0).fit(X, y)
    >>> model.loss_curve_[-1] < 0.05
    True
    >>> print(*model.predict(X))
    no yes yes no
    """

    coefs_: list[FloatArray]
    intercepts_: list[FloatArray]
    _memory: dict[str, Any]  # state of the optimiser, for the next call
    _seen: NDArray[np.float64]  # number of samples in all calls, and their total weight

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **CONSTRAINTS_OF_CLASSIFIERS,
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "activation": [StrOptions(set(ACTIVATIONS))],
        "solver": [StrOptions({"adam", "sgd"})],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "learning_rate": [Interval(Real, 0, None, closed="neither"), None],
        "class_weight": [dict, StrOptions({"balanced"}), None],
    }

    def __init__(
        self,
        hidden_layer_sizes: int | Iterable[int] = (100,),
        *,
        activation: str = "relu",
        solver: str = "adam",
        alpha: float = 1e-4,
        learning_rate: float | None = None,
        momentum: float = 0.9,
        nesterov: bool = True,
        batch_size: int = 200,
        max_iter: int = 200,
        tol: float | None = 1e-4,
        n_iter_no_change: int = 10,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        class_weight: dict[Any, float] | str | None = None,
        label_smoothing: float = 0.0,
        gamma: float = 0.0,
        shuffle: bool = True,
        warm_start: bool = False,
        callbacks: Callback | Iterable[Callback] | None = None,
        random_state: int | np.random.RandomState | None = None,
        verbose: bool | None = None,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.nesterov = nesterov
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.tol = tol
        self.n_iter_no_change = n_iter_no_change
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.class_weight = class_weight
        self.label_smoothing = label_smoothing
        self.gamma = gamma
        self.shuffle = shuffle
        self.warm_start = warm_start
        self.callbacks = callbacks
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Train until the loss stops falling, for `max_iter` epochs at most.

        Parameters
        ----------
        X : array_like, shape (n_samples, n_features)
            The samples. float32 is trained in float32, everything else in float64.
        y : array_like, shape (n_samples,) or (n_samples, n_classes)
            Their labels, of at least two classes; or, floating, a distribution over the classes in each row.
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
            If the loss ends above that of guessing, or still falls after `max_iter` epochs.
        """
        with all_or_nothing(self):
            fresh = not (self.warm_start and hasattr(self, "coefs_"))
            samples, labels = self._check(X, y, sample_weight, classes=None, fresh=fresh, seen=np.zeros(2))
            random = check_random_state(self.random_state)
            validation_loss = None
            if self.early_stopping:
                rows, held_out = hold_out(samples.weight, self.validation_fraction, random, labels)
                samples, validation_loss = samples.rows(rows), partial(self._validate, samples.rows(held_out))
            optimizer = self._optimizer(samples.X, random, fresh=fresh)
            with Monitor(
                self,
                optimizer.params,
                total=self.max_iter,
                unit="epoch",
                verbose=self.verbose,
                callbacks=self.callbacks,
                validation_loss=validation_loss,
                stop=lambda curve: has_stalled(curve, self.tol, self.n_iter_no_change),
            ) as monitor:
                for _ in range(self.max_iter):
                    if monitor(self._epoch(samples, optimizer, random)):
                        break

        guessing = math.log(len(self.classes_))
        failure = convergence_warning(
            self, guessing=guessing, converged=monitor.stopped, learning_rate=optimizer.learning_rate
        )
        if failure:
            warnings.warn(failure, ConvergenceWarning, stacklevel=2)
        return self

    def partial_fit(
        self, X: ArrayLike, y: ArrayLike, classes: ArrayLike | None = None, sample_weight: ArrayLike | None = None
    ) -> Self:
        """Train for one epoch, silently, going on from where the last call of `fit` or `partial_fit` ended.

        Parameters
        ----------
        X : array_like, shape (n_samples, n_features)
            The samples, which are trained in the precision of the first call.
        y : array_like, shape (n_samples,) or (n_samples, n_classes)
            Their labels; or, floating, a distribution over the classes in each row.
        classes : array_like, shape (n_classes,), optional
            All the labels that there are; the first call needs them.
        sample_weight : array_like, shape (n_samples,), optional
            Non-negative weight ``s_i`` of each sample; of all samples seen so far the mean counts as 1.

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
            classes = partial_fit_classes(self, classes)
            seen = np.zeros(2) if fresh else self._seen
            samples, _ = self._check(X, y, sample_weight, classes=classes, fresh=fresh, seen=seen)
            random = check_random_state(self.random_state)
            optimizer = self._optimizer(samples.X, random, fresh=fresh)
            self.loss_curve_ = [*([] if fresh else self.loss_curve_), self._epoch(samples, optimizer, random)]
            self.n_iter_ = len(self.loss_curve_)
        return self

    def decision_function(self, X: ArrayLike) -> FloatArray:
        """Logits, the output of the last layer.

        Parameters
        ----------
        X : array_like, shape (n_samples, n_features)
            The samples.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_classes)
            For two classes the log-odds of ``classes_[1]``, otherwise a logit for each class.
        """
        check_is_fitted(self)
        samples: FloatArray = validate_data(self, X, dtype=self.coefs_[0].dtype, reset=False)
        logits = self._network().forward(samples)
        return logits[:, 0] if len(self.classes_) == 2 else logits

    def input_gradient(self, X: ArrayLike, y: ArrayLike) -> FloatArray:
        """Gradient of the loss of each sample with respect to the sample.

        Parameters
        ----------
        X : array_like, shape (n_samples, n_features)
            The samples.
        y : array_like, shape (n_samples,) or (n_samples, n_classes)
            Their labels; or, floating, a distribution over the classes in each row.

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
        xentrs.attacks.fgsm, xentrs.attacks.pgd : what it is good for.
        """
        check_is_fitted(self)
        samples, y = validate_data(self, X, y, dtype=self.coefs_[0].dtype, reset=False, multi_output=True)
        _, target = encode(y, self.classes_)
        n_classes, network = len(self.classes_), self._network()
        target = as_target(smooth(target, n_classes, self.label_smoothing), n_classes, samples.dtype)
        with np.errstate(over="ignore", invalid="ignore"):  # in the gradients to the weights, which are not used
            logits = network.forward(samples)
            return network.backward(self._loss()(logits, target, reduction="sum", out=logits).grad)

    # ------------------------------------------------------------------------------------------------------ training

    def _check(
        self, X: Any, y: Any, sample_weight: Any, *, classes: Any, fresh: bool, seen: NDArray[np.float64]
    ) -> tuple[Samples, NDArray[Any] | None]:
        """Check everything, and return samples and labels, if `y` holds labels.

        The weights are scaled to a mean of 1 over all samples that have been seen. `classes` are those in `y` if None.
        `seen` is the number of samples in the calls before, and their total weight.
        """
        self._validate_params()
        dtype = [np.float64, np.float32] if fresh else self.coefs_[0].dtype
        X, y = validate_data(self, X, y, dtype=dtype, reset=fresh, multi_output=True)
        classes, given = encode(y, classes, None if fresh else self.classes_)
        weight = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
        target, weight = weigh(given, classes, self.class_weight, self.label_smoothing, weight)
        seen = seen + [len(weight), total_weight(weight)]
        weight = (weight * mean_one_factor(*seen.tolist())).astype(X.dtype)
        self.classes_, self._seen = classes, seen
        return Samples(X, as_target(target, len(classes), X.dtype), weight), given if given.ndim == 1 else None

    def _network(self) -> nn.Sequential:
        """The layers, on the arrays in the attributes."""
        return network_of(self.coefs_, self.intercepts_, self.activation)

    def _loss(self) -> LossWithGrad:
        return loss_of(len(self.classes_), self.gamma)

    def _optimizer(self, X: FloatArray, random: np.random.RandomState, *, fresh: bool) -> SGD | Adam:
        """Set up weights and moments, in arrays of their own: those of an earlier call stay as they are."""
        # 1. The weights: new ones, or a copy of those of the last call.
        given = self.hidden_layer_sizes
        hidden = list(given) if isinstance(given, Iterable) else [given]
        if not all(isinstance(size, int | np.integer) and size > 0 for size in hidden):
            raise ValueError(f"hidden_layer_sizes must be positive integers, got {given}")
        outputs = 1 if len(self.classes_) == 2 else len(self.classes_)
        shapes = list(pairwise([X.shape[1], *hidden, outputs]))
        if fresh:
            self.coefs_, self.intercepts_ = init_weights(shapes, self.activation, X.dtype, random)
        elif [coef.shape for coef in self.coefs_] != shapes:
            sizes = tuple(coef.shape[1] for coef in self.coefs_[:-1])
            raise ValueError(f"hidden_layer_sizes must stay {sizes} to go on training, got {given}")
        else:
            self.coefs_, self.intercepts_ = copy.deepcopy(self.coefs_), copy.deepcopy(self.intercepts_)

        # 2. The optimiser, with its state of the last call.
        state = {} if fresh else self._memory
        params = self._network().params
        return optimizer_of(params, self.solver, self.learning_rate, self.momentum, self.nesterov, state)

    def _epoch(self, samples: Samples, optimizer: SGD | Adam, random: np.random.RandomState) -> float:
        """One pass over the samples, whose loss is told; what the optimiser remembers is kept for the next call."""
        n = len(samples.X)
        loss = train(
            self._network(),
            samples,
            self._loss(),
            optimizer,
            alpha=self.alpha,
            batch_size=self.batch_size,
            order=random.permutation(n) if self.shuffle else np.arange(n),
        )
        self._memory = optimizer_state(optimizer)
        return loss

    def _validate(self, held_out: Samples) -> float:
        """The mean loss of samples held out."""
        X, target, weight = held_out
        with np.errstate(over="ignore", invalid="ignore"):  # the next epoch reports it
            logits = self._network().forward(X)
            return self._loss()(logits, target, sample_weight=weight, out=logits).loss
