"""Stochastic gradient descent: a step at a time, or a whole epoch of a linear model at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _core
from .._arrays import (
    as_samples,
    as_weights,
    fits,
    in_order,
    read,
    refuse_masked,
    shares_memory,
    without_leading_ones,
)
from .._calls import readable
from .._mending import of_one_argument
from .._numbers import a_boolean, in_range, positive_integer
from .._seeds import Seed, drawing
from ..losses import FloatArray, Target
from ..losses.linear import Kind
from .optimizer import Optimizer
from .schedules import Schedule

__all__ = ["SGD"]


class SGD(Optimizer):
    """Stochastic gradient descent with momentum, Nesterov's look-ahead and weight decay.

    One step moves each parameter ``w`` against its gradient ``g``, where the velocity ``v`` starts at zero::

        g <- g + weight_decay * w
        v <- momentum * v + g
        w <- w - learning_rate * v                      or, with Nesterov,
        w <- w - learning_rate * (g + momentum * v)

    Parameters
    ----------
    params : sequence of ndarray
        Writable floating arrays of any shape. Every step changes them in place.
    learning_rate : float, default 0.1
        The step size, not negative. It may be set between steps, which is all that a schedule needs:
        ``optimizer.learning_rate = schedule(step)``.
    momentum : float in [0, 1), default 0.0
        Share of the velocity that is kept. A constant gradient ends up with steps ``1 / (1 - momentum)`` times as long.
    nesterov : bool, default False
        Whether to step along the velocity that the same gradient would lead to next; needs ``momentum > 0``.
    weight_decay : float or sequence, default 0.0
        Factor of the penalty ``weight_decay * ||w||^2 / 2``, the same on every parameter, or one each; not negative. An
        array in the sequence has a factor for each number of its parameter: ``sum(weight_decay * w^2) / 2``.

    Attributes
    ----------
    params : list of ndarray
        The arrays given, not copies.
    velocity : list of ndarray
        ``v``, an array for each parameter: all the state there is.
    n_steps : int
        The steps so far, which schedules count.

    See Also
    --------
    constant, inverse_scaling, cosine, lipschitz : schedules of the learning rate.

    Raises
    ------
    TypeError
        If a parameter is not a writable floating array, or a number is none.
    ValueError
        If a number is out of its range, or `nesterov` comes without momentum.

    Notes
    -----
    This is the rule of ``torch.optim.SGD`` with ``dampening=0``. In the form of [1]_ the velocity contains the learning
    rate; the two differ only while that changes.

    References
    ----------
    .. [1] I. Sutskever, J. Martens, G. Dahl and G. Hinton, "On the importance of initialization and momentum in deep
       learning", ICML 2013, section 2.

    Examples
    --------
    Softmax regression by hand, from the gradient of the loss with respect to the logits:

    >>> import numpy as np
    >>> import xentrs as xe
    >>> from xentrs.optim import SGD
    >>> X = np.array([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    >>> y = np.array([0, 1, 2])
    >>> weight, bias = np.zeros((3, 2)), np.zeros(3)
    >>> optimizer = SGD([weight, bias], learning_rate=0.5, momentum=0.9, nesterov=True)
    >>> for step in range(100):
    ...     loss, grad = xe.softmax_cross_entropy_with_grad(X @ weight.T + bias, y)
    ...     optimizer.step([grad.T @ X, grad.sum(axis=0)])
    >>> print(f"{loss:.3f}")
    0.007
    >>> print(np.argmax(X @ weight.T + bias, axis=1))
    [0 1 2]
    """

    def __init__(
        self,
        params: Sequence[FloatArray],
        *,
        learning_rate: float = 0.1,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float | Sequence[float | FloatArray] = 0.0,
    ) -> None:
        super().__init__(params, learning_rate)
        if not isinstance(weight_decay, Sequence):
            weight_decay = [weight_decay] * len(self.params)
        if len(weight_decay) != len(self.params):
            raise ValueError(f"weight_decay must be one number, or {len(self.params)}, got {len(weight_decay)}")
        self.weight_decay = [
            _factors(decay, param) if isinstance(decay, np.ndarray) else in_range("weight_decay", decay)
            for decay, param in zip(weight_decay, self.params, strict=True)
        ]
        self.momentum = in_range("momentum", momentum, 1.0)
        self.nesterov = a_boolean("nesterov", nesterov)
        if nesterov and not momentum:
            raise ValueError("nesterov needs momentum > 0, got 0.0")
        self.velocity = [np.zeros_like(param, subok=False) for param in self.params]

    def step(self, grads: Sequence[FloatArray]) -> None:
        """Update every parameter by its gradient, in place.

        Parameters
        ----------
        grads : sequence of ndarray
            A gradient for each parameter, of its shape and dtype. They stay as they are.

        Raises
        ------
        ValueError
            If the number of gradients or a shape does not fit. No parameter has changed then.
        TypeError
            If a dtype does not fit. No parameter has changed then.

        Examples
        --------
        >>> import numpy as np
        >>> from xentrs.optim import SGD
        >>> w = np.array([1.0, 2.0])
        >>> SGD([w], learning_rate=0.1).step([np.array([10.0, -10.0])])
        >>> w
        array([0., 3.])
        """
        self._check(grads)
        self.n_steps += 1
        for param, grad, velocity, decay in zip(self.params, grads, self.velocity, self.weight_decay, strict=True):
            if isinstance(decay, np.ndarray) or decay:
                grad = grad + decay * param
            if self.momentum:
                velocity *= self.momentum
                velocity += grad
                grad = grad + self.momentum * velocity if self.nesterov else velocity
            param -= self.learning_rate * grad

    @readable
    def linear_epoch(
        self,
        x: FloatArray,
        target: Target,
        *,
        kind: Kind = "softmax",
        batch_size: int = 32,
        rng: Seed = None,
        schedule: Schedule | None = None,
        class_weight: ArrayLike | None = None,
        pos_weight: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        ignore_index: int | None = -100,
        label_smoothing: float = 0.0,
        temperature: float = 1.0,
        softcap: float | None = None,
        log_prior: ArrayLike | None = None,
        z_loss: float = 0.0,
    ) -> float:
        """Train a linear model for one epoch: a visit to each row of `x`, and a step after every batch, in one call.

        The parameters are the weight and, where there are two, the bias of the logits ``x @ weight.T + bias``. For the
        rows ``B`` of a batch, and the loss that `linear_cross_entropy` gives each, weighted, a step goes down::

            sum_{i in B} loss_i / |B|

        so that each step is right on average, whatever the weights of its rows are.

        Parameters
        ----------
        x : ndarray, shape (n, d)
            A row of features each: float32 or float64, as the parameters are. Any layout; C-ordered it is not copied.
        target, kind, class_weight, pos_weight, sample_weight, ignore_index, label_smoothing, temperature, softcap, \
        log_prior, z_loss
            As in `linear_cross_entropy`.
        batch_size : int, default 32
            The rows a step. The last batch takes what is left. With 1, every row is a step of its own.
        rng : int, RandomState, Generator or None, default None
            The seed or the source of the order in which rows are visited. None visits them as they stand.
        schedule : callable, optional
            Makes of an array of steps, counted by `n_steps`, their learning rates. By default all have `learning_rate`.

        Returns
        -------
        float
            ``sum_i loss_i / n`` in nats over the epoch, each batch's before its step, without what `weight_decay` adds.

        Raises
        ------
        ValueError
            If parameters, `x` or `target` do not fit each other, share memory, or an option is out of its range.
            Nothing has changed then.
        TypeError
            If the dtypes differ, or are no float32 or float64. Nothing has changed then.
        KeyboardInterrupt
            When the user interrupts, within some milliseconds. Parameters, velocity and `n_steps` are those after the
            last step that was taken.

        Notes
        -----
        The result depends on nothing but the arguments: same seed, same bits, for any number of threads. A row that
        counts for nothing (ignored, or of sample weight 0) adds to no gradient, whatever stands in it.

        Examples
        --------
        >>> import numpy as np
        >>> from xentrs.optim import SGD, inverse_scaling
        >>> rng = np.random.default_rng(0)
        >>> X = rng.normal(size=(1000, 3))
        >>> y = (X @ [1.0, -2.0, 0.5] + 0.3 > 0).astype(int)
        >>> weight, bias = np.zeros((2, 3)), np.zeros(2)
        >>> optimizer = SGD([weight, bias])
        >>> for epoch in range(3):
        ...     loss = optimizer.linear_epoch(X, y, batch_size=1, rng=epoch, schedule=inverse_scaling(0.5))
        >>> print(f"{loss:.2f}")
        0.13
        >>> optimizer.n_steps
        3000
        """
        # 1. The samples, and the length of each step.
        x = as_samples(x, "x")
        self._check_linear(x, [target, class_weight, pos_weight, sample_weight])
        n = len(x)
        for name, given in (("target", target), ("class_weight", class_weight)):
            refuse_masked(given, name)
        if sample_weight is not None:
            sample_weight = read(sample_weight, "sample_weight")
            whole = (n,) if sample_weight.ndim < 2 else (n, len(self.params[0]))
            if fits(sample_weight, whole):
                sample_weight = np.broadcast_to(sample_weight, whole)
        if pos_weight is not None:
            pos_weight = without_leading_ones(read(pos_weight, "pos_weight"))
        batch_size = min(positive_integer("batch_size", batch_size), max(n, 1))
        rates = self._rates(-(-n // batch_size), schedule)

        # 2. The order; targets and weights are copied into it.
        order = None
        if rng is not None and n:
            order = drawing(rng, "rng").permutation(n)
            if isinstance(target, tuple):
                target = in_order(target[0], "target", order), in_order(target[1], "target", order)
            else:
                target = in_order(target, "target", order)
            sample_weight = None if sample_weight is None else in_order(sample_weight, "sample_weight", order)

        # 3. The steps.
        decays = [decay if isinstance(decay, np.ndarray) else None for decay in self.weight_decay]
        if len(decays) == 2 and decays[1] is not None:
            raise ValueError("weight_decay of the bias must be one number, got an array")
        done = np.zeros(1, np.int64)
        try:
            return _core.linear_epoch(
                x,
                self.params,
                self.velocity if self.momentum else [],
                target,
                kind,
                pos_weight,
                class_weight,
                sample_weight,
                ignore_index,
                label_smoothing,
                temperature,
                softcap,
                log_prior,
                z_loss,
                order,
                rates,
                batch_size,
                self.momentum,
                self.nesterov,
                [0.0 if isinstance(decay, np.ndarray) else decay for decay in (*self.weight_decay, 0.0)][:2],
                decays[0],
                done,
            )
        except (TypeError, OverflowError) as fault:
            options = {
                "ignore_index": ignore_index,
                "label_smoothing": label_smoothing,
                "temperature": temperature,
                "softcap": softcap,
                "z_loss": z_loss,
            }
            if refusal := of_one_argument(fault, options):
                raise refusal from None
            raise
        finally:
            self.n_steps += int(done[0])

    def _rates(self, n: int, schedule: Schedule | None) -> NDArray[np.float64]:
        """Learning rates of the next `n` steps."""
        if schedule is None:
            return np.full(n, self.learning_rate)
        if not callable(schedule):
            raise TypeError(f"schedule must be callable, got {schedule!r}")
        rates = as_weights(schedule(self.n_steps + np.arange(n)), "the answer of schedule", np.dtype(np.float64))
        if rates.shape not in ((), (n,)):
            raise ValueError(f"schedule must give a learning rate for each of {n} steps, got shape {rates.shape}")
        if (wrong := ~((rates >= 0) & (rates < np.inf))).any():
            raise ValueError(f"schedule must give learning rates in [0, inf), got {rates[wrong][0]}")
        return np.full(n, rates)

    def _check_linear(self, x: NDArray[Any], others: Sequence[object]) -> None:
        """Refuse parameters that are not those of a linear model of `x`, or that the core could not write in place."""
        shapes = [param.shape for param in self.params]
        if len(shapes) not in (1, 2) or len(shapes[0]) != 2 or shapes[1:] not in ([], [shapes[0][:1]]):
            raise ValueError(f"params must be a weight of shape (c, d) and at most a bias of shape (c,), got {shapes}")
        if x.shape[1] != shapes[0][1]:
            raise ValueError(f"x must have shape (n, {shapes[0][1]}), got {x.shape}")
        if [velocity.shape for velocity in self.velocity] != shapes:
            got = [velocity.shape for velocity in self.velocity]
            raise ValueError(f"velocity must have the shapes of params, {shapes}, got {got}")
        taken = [x, *others]
        for name, arrays in (("params", self.params), ("velocity", self.velocity)):
            for i, array in enumerate(arrays):
                if array.dtype not in (np.float32, np.float64) or array.dtype != x.dtype:
                    raise TypeError(f"x and {name} must all be float32 or all float64, got {x.dtype} and {array.dtype}")
                if not (array.flags.c_contiguous and array.flags.aligned and array.flags.writeable):
                    raise ValueError(f"{name}[{i}] must be C-ordered, aligned and writeable")
                if shares_memory(array, taken):
                    raise ValueError(f"{name}[{i}] must not overlap an input, or another parameter or velocity")
                taken.append(array)


def _factors(decay: NDArray[Any], param: FloatArray) -> FloatArray:
    """A factor for each number of a parameter, in its shape and dtype."""
    if decay.dtype.kind not in "fiu":
        raise TypeError(f"weight_decay must be numbers, got {decay.dtype}")
    if (wrong := ~((decay >= 0) & (decay < np.inf))).any():
        raise ValueError(f"weight_decay must be numbers in [0, inf), got {decay[wrong][0]}")
    try:
        return np.array(np.broadcast_to(decay, param.shape), param.dtype, order="C")
    except ValueError:
        raise ValueError(
            f"weight_decay must have the shape of its parameter, {param.shape}, got {decay.shape}"
        ) from None
