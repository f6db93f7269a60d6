"""xentrs in PyTorch: its losses as functions of tensors, with gradients, and PyTorch's own signatures for them.

>>> import torch
>>> import xentrs.torch as xt
>>> logits = torch.tensor([[2.0, 1.0, 0.0]], requires_grad=True)
>>> xt.cross_entropy(logits, torch.tensor([0])).backward()
>>> logits.grad.numpy().round(4)
array([[-0.3348,  0.2447,  0.09  ]], dtype=float32)

`cross_entropy`, `binary_cross_entropy_with_logits` and the modules of PyTorch's names mean what they mean there: one
import takes the place of another. All other functions are those of xentrs. The one name that both have,
`linear_cross_entropy`, is that of xentrs here, and PyTorch's in `xentrs.torch.functional`. It needs the extra `torch`.
"""

from . import tensors as tensors  # first, for it says what to install

# isort: split
from . import functional
from .functional import binary_cross_entropy_with_logits, cross_entropy
from .losses import (
    TokenLogprobs,
    linear_cross_entropy,
    linear_token_logprobs,
    sigmoid_cross_entropy,
    sigmoid_focal_loss,
    softmax_cross_entropy,
    softmax_focal_loss,
    token_logprobs,
)
from .modules import BCEWithLogitsLoss, CrossEntropyLoss, LinearCrossEntropyLoss, SigmoidFocalLoss, SoftmaxFocalLoss

__all__ = [
    "BCEWithLogitsLoss",
    "CrossEntropyLoss",
    "LinearCrossEntropyLoss",
    "SigmoidFocalLoss",
    "SoftmaxFocalLoss",
    "TokenLogprobs",
    "binary_cross_entropy_with_logits",
    "cross_entropy",
    "functional",
    "linear_cross_entropy",
    "linear_token_logprobs",
    "sigmoid_cross_entropy",
    "sigmoid_focal_loss",
    "softmax_cross_entropy",
    "softmax_focal_loss",
    "token_logprobs",
]
