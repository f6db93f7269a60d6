"""What every optimiser has: parameters, a step size that may change, and the check of the gradients."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from .._arrays import refuse_masked
from .._numbers import in_range
from ..losses import FloatArray

__all__ = ["Optimizer"]


class Optimizer:
    """Parameters, a step size that may change, and the check of the gradients."""

    def __init__(self, params: Sequence[FloatArray], learning_rate: float) -> None:
        _check_sequence("params", params)
        self.params = list(params)
        for i, param in enumerate(self.params):
            if not isinstance(param, np.ndarray) or param.dtype.kind != "f" or not param.flags.writeable:
                raise TypeError(f"params[{i}] must be a writable floating array, got {_dtype_of(param)}")
            refuse_masked(param, f"params[{i}]")
        self.learning_rate = learning_rate
        self.n_steps = 0

    @property
    def learning_rate(self) -> float:
        """The step size; it may be set between steps."""
        return self._learning_rate

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self._learning_rate = in_range("learning_rate", value)

    def _check(self, grads: Sequence[FloatArray]) -> None:
        _check_sequence("grads", grads)
        if len(grads) != len(self.params):
            raise ValueError(f"grads must hold {len(self.params)} arrays, got {len(grads)}")
        for i, (param, grad) in enumerate(zip(self.params, grads, strict=True)):
            if np.shape(grad) != param.shape:
                raise ValueError(f"grads[{i}] must have shape {param.shape}, got {np.shape(grad)}")
            if not isinstance(grad, np.ndarray | np.generic) or grad.dtype != param.dtype:
                raise TypeError(f"grads[{i}] must have dtype {param.dtype}, got {_dtype_of(grad)}")
            refuse_masked(grad, f"grads[{i}]")


def _check_sequence(name: str, arrays: object) -> None:
    if not isinstance(arrays, Collection):
        raise TypeError(f"{name} must be a sequence of arrays, got {type(arrays).__name__}")


def _dtype_of(value: object) -> object:
    """Name the dtype of `value` or, of what is no array, the type."""
    return getattr(value, "dtype", type(value).__name__)
