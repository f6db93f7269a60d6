"""Tensors as the arrays that the core reads, without a copy, and back; what a tensor must be, and its errors."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._extras import need

need("xentrs.torch", "torch")

import torch  # noqa: E402
from torch import Tensor  # noqa: E402

__all__ = ["FLOATS", "as_array", "as_tensor", "check", "empty", "is_a_tensor", "not_floating"]

FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
"""The dtypes of logits."""


def as_array(tensor: Tensor) -> NDArray[Any]:
    """The array of a tensor's memory."""
    is_bfloat16 = tensor.dtype == torch.bfloat16
    bits = tensor.view(torch.int16) if is_bfloat16 else tensor
    array: NDArray[Any] = bits.numpy(force=True)  # also of a tensor that requires a gradient; on the CPU no copy
    return array.view(_bfloat16()) if is_bfloat16 else array


def as_tensor(result: Any, dtype: torch.dtype) -> Tensor:
    """The tensor of an array's memory, or of a number in a dtype."""
    if not isinstance(result, np.ndarray):
        return torch.scalar_tensor(float(result), dtype=dtype)
    if result.dtype.kind == "V":  # bfloat16, which NumPy takes for void
        return torch.from_numpy(result.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(result)


def empty(shape: Sequence[int], dtype: torch.dtype) -> NDArray[Any]:
    """A new array. NumPy asks for huge pages where it is large, which PyTorch does not: a quarter of the time."""
    return np.empty(shape, _bfloat16() if dtype == torch.bfloat16 else str(dtype).removeprefix("torch."))


@functools.cache
def _bfloat16() -> Any:
    need("bfloat16", "ml_dtypes")
    import ml_dtypes

    return ml_dtypes.bfloat16


def is_a_tensor(given: Any, name: str) -> None:
    """Refuse what is no tensor that the core can read."""
    if not isinstance(given, Tensor):
        advice = f"; write {name}.weight" if isinstance(given, torch.nn.Module) and hasattr(given, "weight") else ""
        if isinstance(given, np.ndarray | np.generic | list | int | float):
            advice = f"; write torch.as_tensor({name})"
        raise TypeError(f"{name} must be a torch.Tensor, got {type(given).__name__}{advice}")
    if not given.is_cpu:
        raise NotImplementedError(
            f"{name} must be on the CPU, got a tensor on {given.device}; use torch.nn.functional there, or write "
            f"{name}.cpu()"
        )
    if given.layout != torch.strided:
        raise NotImplementedError(f"{name} must be dense, got {given.layout}; write {name}.to_dense()")


def not_floating(tensor: Tensor, name: str) -> str:
    """The words for a tensor of another dtype than that of logits."""
    advice = "" if tensor.is_complex() else f"; write {name}.float()"
    return f"{name} must be float16, bfloat16, float32 or float64, got {tensor.dtype}{advice}"


def check(operands: dict[str, Tensor], beside: dict[str, Tensor | None]) -> None:
    """Refuse what cannot be read, and derivatives that nobody computes.

    `operands` are what the loss is differentiated by, `beside` what stands beside them, None where it is not given.
    """
    for name, tensor in operands.items():
        is_a_tensor(tensor, name)
        if tensor.dtype not in FLOATS:
            raise TypeError(not_floating(tensor, name))
    for name, given in beside.items():
        if given is None:
            continue
        is_a_tensor(given, name)
        if given.requires_grad:
            raise NotImplementedError(
                f"{name} must not require a gradient, which is not computed; write {name}.detach()"
            )
