"""Cross-entropy for NumPy: losses and gradients from a Rust core, right to the last digits at every margin.

>>> import xentrs as xe
>>> loss, grad = xe.softmax_cross_entropy_with_grad([[2.0, 1.0, 0.0]], [0])
>>> round(loss, 4)
0.4076

Estimators are in `xentrs.models`, optimisers in `xentrs.optim`.
"""

from ._core import build_info
from .losses import (
    LossGrad,
    LossGradHess,
    log_sigmoid,
    log_softmax,
    logsumexp,
    sigmoid,
    sigmoid_cross_entropy,
    sigmoid_cross_entropy_with_grad,
    softmax,
    softmax_cross_entropy,
    softmax_cross_entropy_with_grad,
    softmax_cross_entropy_with_hess,
    softmax_focal_loss,
    softmax_focal_loss_with_grad,
    softplus,
    value_and_grad,
)
from .parallel import get_num_threads, set_num_threads, threads

__all__ = [
    "LossGrad",
    "LossGradHess",
    "build_info",
    "get_num_threads",
    "log_sigmoid",
    "log_softmax",
    "logsumexp",
    "set_num_threads",
    "sigmoid",
    "sigmoid_cross_entropy",
    "sigmoid_cross_entropy_with_grad",
    "softmax",
    "softmax_cross_entropy",
    "softmax_cross_entropy_with_grad",
    "softmax_cross_entropy_with_hess",
    "softmax_focal_loss",
    "softmax_focal_loss_with_grad",
    "softplus",
    "threads",
    "value_and_grad",
]

__version__ = build_info()["version"]
