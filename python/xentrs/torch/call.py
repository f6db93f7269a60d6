"""A call of a loss: what it is made of, and the shape of what comes of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

__all__ = ["BESIDE", "LINEAR", "Call"]

BESIDE = ("target", "shares", "class_weight", "pos_weight", "sample_weight", "log_prior")
"""The tensors beside the operands. `shares` are the weights of a sparse target."""

LINEAR = ("x", "weight", "bias")
"""The operands of a loss behind a linear layer."""


class Call(NamedTuple):
    """A loss by name, with its arguments."""

    loss: str
    operands: Sequence[Tensor]
    """What it is differentiated by: the logits, or `LINEAR`, of which the last may be missing."""
    beside: Sequence[Tensor | None]
    """Those of `BESIDE`."""
    options: dict[str, Any]
    """Those that are not the default, and the reduction. ``as_torch``: with PyTorch's means, of all that it takes."""

    @property
    def target(self) -> Tensor:
        """The labels."""
        target = self.beside[0]
        assert target is not None
        return target

    def with_options(self, **options: Any) -> Call:
        """The same with other options."""
        return self._replace(options=self.options | options)

    def is_linear(self) -> bool:
        """Whether the logits are made by a linear layer."""
        return self.loss.startswith("linear")

    def has_classes(self) -> bool:
        """Whether it is of the softmax family: a loss for each row, not for each logit."""
        return not self.loss.startswith("sigmoid") and self.options.get("kind", "softmax") == "softmax"

    def is_of_tokens(self) -> bool:
        """Whether it is no loss, but log-probabilities and entropies: two results, one above the other."""
        return self.loss.endswith("token_logprobs")

    def mixes(self) -> bool:
        """Whether a gradient has two terms, or adds up rows, each to be multiplied by a number of its own."""
        return self.is_of_tokens() or (self.is_linear() and self.options["reduction"] == "none")

    def divides_by_count(self) -> bool:
        """Whether the mean is PyTorch's where that differs most: by the number of losses, whatever they weigh."""
        as_torch = "as_torch" in self.options and self.options["reduction"] == "mean"
        return as_torch and (not self.has_classes() or self.target.is_floating_point())

    def axis_of_losses(self) -> int | None:
        """The axis of the logits that losses lack; None where there is one a logit."""
        return self.options.get("axis", -1) if self.has_classes() else None

    def shape_of_losses(self) -> tuple[int, ...]:
        """That of the losses before they are reduced."""
        shape = list(self.operands[0].shape)
        if self.is_linear():
            shape[-1] = self.operands[1].shape[0]
        axis = self.axis_of_losses()
        if axis is not None:
            del shape[axis]
        return (2, *shape) if self.is_of_tokens() else tuple(shape)

    def dtype_of_loss(self) -> torch.dtype:
        """Double for double, and float for all others."""
        return torch.float64 if self.operands[0].dtype == torch.float64 else torch.float32

    def total_weight(self) -> float:
        """The sum of the weights of what is not ignored, which a mean divides by."""
        target, shares, class_weight, _, sample_weight, _ = self.beside
        ignored = self.options.get("ignore_index", -100 if self.has_classes() or self.is_linear() else None)
        weights = torch.ones(self.shape_of_losses(), dtype=torch.float64)
        if self.has_classes() and (shares is not None or not self.target.is_floating_point()):
            counts = torch.ones_like(self.target, dtype=torch.float64) if shares is None else shares.double()
            if ignored is not None:
                counts = counts * (target != ignored)
            if class_weight is not None:
                counts = counts * class_weight[self.target.long().clamp(0, len(class_weight) - 1)]
            weights = counts if shares is None else counts.sum(self.options.get("axis", -1))
        elif self.has_classes():
            rows = self.target.movedim(self.options.get("axis", -1), -1)
            weights = (rows if class_weight is None else rows * class_weight).sum(-1, dtype=torch.float64)
        elif ignored is not None:
            weights = weights * (target != ignored)
        if sample_weight is not None:
            rowwise = not self.has_classes() and sample_weight.dim() == weights.dim() - 1
            weights = weights * (sample_weight.unsqueeze(-1) if rowwise else sample_weight)
        total: float = weights.sum().item()
        return total
