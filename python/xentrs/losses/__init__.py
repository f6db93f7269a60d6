"""Cross-entropy and its gradient from logits, and the functions underneath.

For each loss ``f`` there are two functions: ``f(...)`` gives the loss, ``f_with_grad(...)`` the pair ``(loss, grad)``
from the same sweep over the logits. Some have a third, ``f_with_hess(...)``, that adds the diagonal of the Hessian. All
logarithms are natural, so every loss is in nats; divide by ``ln 2`` for bits.

Nothing is computed in Python. ``f``, ``f_with_grad`` and ``f_with_hess`` call the function ``f`` of ``xentrs._core``
with their arguments; it accepts whatever ``numpy.asarray`` accepts. A native, C-ordered array of floats whose class
axis is the last one is used as it is, any other input is first brought into that form.

Floats are float64, float32, float16, or the bfloat16 of the package ml_dtypes. The two in half precision are storage
alone: they are computed in float32, a cache-sized block at a time, sums in double precision, and each result is rounded
once. A loss by row or element (reduction "none") stays in float32.
"""

from .continuous import gaussian_nll, gaussian_nll_with_grad
from .contrastive import info_nce, info_nce_with_grad, siglip_loss, siglip_loss_with_grad
from .differentiate import value_and_grad
from .functions import log_sigmoid, log_softmax, logsumexp, sigmoid, softmax, softplus
from .linear import linear_cross_entropy, linear_cross_entropy_with_grad
from .margins import hinge_loss, hinge_loss_with_grad
from .probabilities import (
    binary_cross_entropy,
    binary_cross_entropy_with_grad,
    categorical_cross_entropy,
    categorical_cross_entropy_with_grad,
)
from .results import (
    FloatArray,
    GaussianLossGrad,
    InfoNceLossGrad,
    LinearLossGrad,
    Loss,
    LossGrad,
    LossGradHess,
    Reduction,
    SiglipLossGrad,
    Target,
)
from .sigmoid_family import (
    sigmoid_cross_entropy,
    sigmoid_cross_entropy_with_grad,
    sigmoid_cross_entropy_with_hess,
)
from .sigmoid_focal import sigmoid_focal_loss, sigmoid_focal_loss_with_grad, sigmoid_focal_loss_with_hess
from .softmax_family import (
    softmax_cross_entropy,
    softmax_cross_entropy_with_grad,
    softmax_cross_entropy_with_hess,
)
from .softmax_focal import softmax_focal_loss, softmax_focal_loss_with_grad, softmax_focal_loss_with_hess
from .tokens import (
    LinearTokenLogprobsGrad,
    TokenLogprobs,
    TokenLogprobsGrad,
    linear_token_logprobs,
    linear_token_logprobs_with_grad,
    token_logprobs,
    token_logprobs_with_grad,
)
from .topk import topk_kl_divergence, topk_kl_divergence_with_grad

__all__ = [
    "FloatArray",
    "GaussianLossGrad",
    "InfoNceLossGrad",
    "LinearLossGrad",
    "LinearTokenLogprobsGrad",
    "Loss",
    "LossGrad",
    "LossGradHess",
    "Reduction",
    "SiglipLossGrad",
    "Target",
    "TokenLogprobs",
    "TokenLogprobsGrad",
    "binary_cross_entropy",
    "binary_cross_entropy_with_grad",
    "categorical_cross_entropy",
    "categorical_cross_entropy_with_grad",
    "gaussian_nll",
    "gaussian_nll_with_grad",
    "hinge_loss",
    "hinge_loss_with_grad",
    "info_nce",
    "info_nce_with_grad",
    "linear_cross_entropy",
    "linear_cross_entropy_with_grad",
    "linear_token_logprobs",
    "linear_token_logprobs_with_grad",
    "log_sigmoid",
    "log_softmax",
    "logsumexp",
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
    "softplus",
    "token_logprobs",
    "token_logprobs_with_grad",
    "topk_kl_divergence",
    "topk_kl_divergence_with_grad",
    "value_and_grad",
]
