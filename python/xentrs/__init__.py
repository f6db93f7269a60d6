"""Cross-entropy for NumPy: losses and gradients from a Rust core, right to the last digits at every margin.

>>> import xentrs as xe
>>> loss, grad = xe.softmax_cross_entropy_with_grad([[2.0, 1.0, 0.0]], [0])
>>> round(loss, 4)
0.4076

Estimators are in `xentrs.models`, scorers for scikit-learn in `xentrs.metrics`, objectives for gradient boosting in
`xentrs.boosting`, layers in `xentrs.nn`, optimisers in `xentrs.optim`, adversarial examples in `xentrs.attacks`,
significance in `xentrs.stats`, losses of PyTorch's tensors in `xentrs.torch`, of JAX's arrays in `xentrs.jax`, of
Dask's in `xentrs.dask`, fits by many workers in `xentrs.distributed`. These are imported when they are first asked for.
"""

from typing import TYPE_CHECKING

from ._core import build_info
from ._lazy import lazily
from .distributions import (
    GaussianEntropyGrad,
    GaussianGrads,
    ValueGrad,
    ValueGrads,
    cross_entropy,
    cross_entropy_with_grad,
    entropy,
    entropy_with_grad,
    gaussian_cross_entropy,
    gaussian_cross_entropy_with_grad,
    gaussian_entropy,
    gaussian_entropy_with_grad,
    gaussian_kl_divergence,
    gaussian_kl_divergence_with_grad,
    js_divergence,
    js_divergence_with_grad,
    kl_divergence,
    kl_divergence_with_grad,
    perplexity,
    perplexity_with_grad,
)
from .evaluation import (
    ClassFigures,
    Evaluation,
    EvaluationResult,
    LossAccumulator,
    ReliabilityBins,
    SoftmaxStats,
    evaluate,
    expected_calibration_error,
    softmax_stats,
)
from .losses import (
    GaussianLossGrad,
    InfoNceLossGrad,
    LinearLossGrad,
    LinearTokenLogprobsGrad,
    LossGrad,
    LossGradHess,
    SiglipLossGrad,
    TokenLogprobs,
    TokenLogprobsGrad,
    binary_cross_entropy,
    binary_cross_entropy_with_grad,
    categorical_cross_entropy,
    categorical_cross_entropy_with_grad,
    gaussian_nll,
    gaussian_nll_with_grad,
    hinge_loss,
    hinge_loss_with_grad,
    info_nce,
    info_nce_with_grad,
    linear_cross_entropy,
    linear_cross_entropy_with_grad,
    linear_token_logprobs,
    linear_token_logprobs_with_grad,
    log_sigmoid,
    log_softmax,
    logsumexp,
    siglip_loss,
    siglip_loss_with_grad,
    sigmoid,
    sigmoid_cross_entropy,
    sigmoid_cross_entropy_with_grad,
    sigmoid_cross_entropy_with_hess,
    sigmoid_focal_loss,
    sigmoid_focal_loss_with_grad,
    sigmoid_focal_loss_with_hess,
    softmax,
    softmax_cross_entropy,
    softmax_cross_entropy_with_grad,
    softmax_cross_entropy_with_hess,
    softmax_focal_loss,
    softmax_focal_loss_with_grad,
    softmax_focal_loss_with_hess,
    softplus,
    token_logprobs,
    token_logprobs_with_grad,
    topk_kl_divergence,
    topk_kl_divergence_with_grad,
    value_and_grad,
)
from .parallel import get_num_threads, set_num_threads, threads
from .regularizers import js_smoothness, js_smoothness_with_grad, parity_penalty, parity_penalty_with_grad

__all__ = [
    "ClassFigures",
    "Evaluation",
    "EvaluationResult",
    "GaussianEntropyGrad",
    "GaussianGrads",
    "GaussianLossGrad",
    "InfoNceLossGrad",
    "LinearLossGrad",
    "LinearTokenLogprobsGrad",
    "LossAccumulator",
    "LossGrad",
    "LossGradHess",
    "ReliabilityBins",
    "SiglipLossGrad",
    "SoftmaxStats",
    "TokenLogprobs",
    "TokenLogprobsGrad",
    "ValueGrad",
    "ValueGrads",
    "binary_cross_entropy",
    "binary_cross_entropy_with_grad",
    "build_info",
    "categorical_cross_entropy",
    "categorical_cross_entropy_with_grad",
    "cross_entropy",
    "cross_entropy_with_grad",
    "entropy",
    "entropy_with_grad",
    "evaluate",
    "expected_calibration_error",
    "gaussian_cross_entropy",
    "gaussian_cross_entropy_with_grad",
    "gaussian_entropy",
    "gaussian_entropy_with_grad",
    "gaussian_kl_divergence",
    "gaussian_kl_divergence_with_grad",
    "gaussian_nll",
    "gaussian_nll_with_grad",
    "get_num_threads",
    "hinge_loss",
    "hinge_loss_with_grad",
    "info_nce",
    "info_nce_with_grad",
    "js_divergence",
    "js_divergence_with_grad",
    "js_smoothness",
    "js_smoothness_with_grad",
    "kl_divergence",
    "kl_divergence_with_grad",
    "linear_cross_entropy",
    "linear_cross_entropy_with_grad",
    "linear_token_logprobs",
    "linear_token_logprobs_with_grad",
    "log_sigmoid",
    "log_softmax",
    "logsumexp",
    "parity_penalty",
    "parity_penalty_with_grad",
    "perplexity",
    "perplexity_with_grad",
    "set_num_threads",
    "siglip_loss",
    "siglip_loss_with_grad",
    "sigmoid",
    "sigmoid_cross_entropy",
    "sigmoid_cross_entropy_with_grad",
    "sigmoid_cross_entropy_with_hess",
    "sigmoid_focal_loss",
    "sigmoid_focal_loss_with_grad",
    "sigmoid_focal_loss_with_hess",
    "softmax",
    "softmax_cross_entropy",
    "softmax_cross_entropy_with_grad",
    "softmax_cross_entropy_with_hess",
    "softmax_focal_loss",
    "softmax_focal_loss_with_grad",
    "softmax_focal_loss_with_hess",
    "softmax_stats",
    "softplus",
    "threads",
    "token_logprobs",
    "token_logprobs_with_grad",
    "topk_kl_divergence",
    "topk_kl_divergence_with_grad",
    "value_and_grad",
]

__version__ = build_info()["version"]
__getattr__, __dir__ = lazily(
    __name__,
    ["attacks", "boosting", "dask", "distributed", "jax", "metrics", "models", "nn", "optim", "stats", "torch"],
)

if TYPE_CHECKING:
    from . import attacks as attacks
    from . import boosting as boosting
    from . import dask as dask
    from . import distributed as distributed
    from . import jax as jax
    from . import metrics as metrics
    from . import models as models
    from . import nn as nn
    from . import optim as optim
    from . import stats as stats
    from . import torch as torch
