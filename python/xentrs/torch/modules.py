"""The losses as modules: PyTorch's own classes with another way to compute, and those of xentrs."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from . import functional, losses

__all__ = ["BCEWithLogitsLoss", "CrossEntropyLoss", "LinearCrossEntropyLoss", "SigmoidFocalLoss", "SoftmaxFocalLoss"]


class CrossEntropyLoss(nn.CrossEntropyLoss):
    """``torch.nn.CrossEntropyLoss``, computed by xentrs: same parameters, same meaning.

    Parameters
    ----------
    weight, size_average, ignore_index, reduce, reduction, label_smoothing
        As in `cross_entropy`.

    Examples
    --------
    >>> import torch
    >>> import xentrs.torch as xt
    >>> criterion = xt.CrossEntropyLoss(label_smoothing=0.1)
    >>> round(criterion(torch.tensor([[2.0, 1.0, 0.0]]), torch.tensor([0])).item(), 4)
    0.5076
    """

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss."""
        return functional.cross_entropy(
            input,
            target,
            self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
            label_smoothing=self.label_smoothing,
        )


class BCEWithLogitsLoss(nn.BCEWithLogitsLoss):
    """``torch.nn.BCEWithLogitsLoss``, computed by xentrs: same parameters, same meaning.

    Parameters
    ----------
    weight, size_average, reduce, reduction, pos_weight
        As in `binary_cross_entropy_with_logits`.

    Examples
    --------
    >>> import torch
    >>> import xentrs.torch as xt
    >>> criterion = xt.BCEWithLogitsLoss(pos_weight=torch.tensor(3.0))
    >>> round(criterion(torch.tensor([2.0, -1.0, 0.5]), torch.tensor([1.0, 0.0, 0.0])).item(), 4)
    0.556
    """

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss."""
        return functional.binary_cross_entropy_with_logits(
            input, target, self.weight, reduction=self.reduction, pos_weight=self.pos_weight
        )


if hasattr(nn, "LinearCrossEntropyLoss"):

    class LinearCrossEntropyLoss(nn.LinearCrossEntropyLoss):
        """``torch.nn.LinearCrossEntropyLoss``, computed by xentrs: same parameters, same meaning.

        PyTorch has it from 2.15 on, and so has xentrs.

        Parameters
        ----------
        in_features, num_classes : int
            How many numbers a row of features has, and how many classes there are.
        out_features : tuple of int, default ()
            How many losses a row of features has, along further axes of the target.
        bias : bool, default False
            Whether a number for each class is learnt too.
        device, dtype : optional
            Those of the layer: the device must be the CPU.
        reduction, weight, ignore_index, label_smoothing, options
            As in `functional.linear_cross_entropy`.

        Examples
        --------
        >>> import torch
        >>> import xentrs.torch as xt
        >>> head = xt.LinearCrossEntropyLoss(4, 10, bias=True)
        >>> head(torch.zeros(2, 4), torch.tensor([3, 7])).shape
        torch.Size([])
        """

        def forward(self, input: Tensor, target: Tensor) -> Tensor:
            """The loss."""
            shape = (self.num_classes, *self.out_features)
            return functional.linear_cross_entropy(
                input,
                self.linear.weight.reshape(*shape, -1),
                target,
                linear_bias=None if self.linear.bias is None else self.linear.bias.reshape(shape),
                weight=self.weight,
                reduction=self.reduction,
                ignore_index=self.ignore_index,
                label_smoothing=self.label_smoothing,
                options=self.options,
            )

else:

    class LinearCrossEntropyLoss(nn.Module):  # type: ignore[no-redef]
        """``torch.nn.LinearCrossEntropyLoss``, which this version of PyTorch does not have."""

        def __init__(self, *_: Any, **__: Any) -> None:
            raise ImportError(
                f"PyTorch {torch.__version__} has no LinearCrossEntropyLoss, but 2.15 has; write torch.nn.Linear and "
                "xentrs.torch.linear_cross_entropy"
            )


class _Loss(nn.Module):
    """A loss with its options: those that are tensors go where the module goes."""

    _function: ClassVar[Callable[..., Tensor]]

    def __init__(self, **options: Any) -> None:
        super().__init__()
        if strangers := options.keys() - inspect.signature(self._function).parameters.keys():
            raise TypeError(f"{type(self).__name__}() got an unexpected keyword argument {min(strangers)!r}")
        self.options = {name: option for name, option in options.items() if not isinstance(option, Tensor)}
        self.weights = [name for name in options if name not in self.options]
        for name in self.weights:
            self.register_buffer(name, options[name])

    def forward(self, logits: Tensor, target: Any) -> Tensor:
        """The loss."""
        return self._function(logits, target, **self.options, **{name: getattr(self, name) for name in self.weights})

    def extra_repr(self) -> str:
        """The options."""
        return ", ".join(f"{name}={option!r}" for name, option in self.options.items())


class SoftmaxFocalLoss(_Loss):
    """`xentrs.torch.softmax_focal_loss` as a module, which takes its options.

    Parameters
    ----------
    **options
        The keywords of `softmax_focal_loss`. Tensors among them are buffers of the module, and are moved with it.

    Examples
    --------
    >>> import torch
    >>> import xentrs.torch as xt
    >>> criterion = xt.SoftmaxFocalLoss(gamma=1.0)
    >>> round(criterion(torch.tensor([[2.0, 1.0, 0.0]]), torch.tensor([0])).item(), 4)
    0.1364
    """

    _function = staticmethod(losses.softmax_focal_loss)


class SigmoidFocalLoss(_Loss):
    """`xentrs.torch.sigmoid_focal_loss` as a module, which takes its options.

    Parameters
    ----------
    **options
        The keywords of `sigmoid_focal_loss`. Tensors among them are buffers of the module, and are moved with it.

    Examples
    --------
    >>> import torch
    >>> import xentrs.torch as xt
    >>> criterion = xt.SigmoidFocalLoss(alpha=0.25)
    >>> round(criterion(torch.tensor([2.0, -1.0]), torch.tensor([1, 0])).item(), 4)
    0.0087
    """

    _function = staticmethod(losses.sigmoid_focal_loss)
