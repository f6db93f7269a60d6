"""Entropy, cross-entropy and divergences of distributions along an axis, and of Gaussians, with their gradients.

Each function gives one value for each row, ``f_with_grad`` the values and the gradient of their sum with respect to
every distribution that went in. What goes in are probabilities, which are checked to be distributions; counts and the
like with ``normalize=True``; or logits with ``from_logits=True``, whose softmax are the distributions. Nothing is ever
clipped. Of Gaussians means and variances go in.

Logarithms are natural, so values are in nats, unless `base` says otherwise.
"""

from .gaussian import (
    GaussianEntropyGrad,
    GaussianGrads,
    gaussian_cross_entropy,
    gaussian_cross_entropy_with_grad,
    gaussian_entropy,
    gaussian_entropy_with_grad,
    gaussian_kl_divergence,
    gaussian_kl_divergence_with_grad,
)
from .pairs import (
    ValueGrads,
    cross_entropy,
    cross_entropy_with_grad,
    js_divergence,
    js_divergence_with_grad,
    kl_divergence,
    kl_divergence_with_grad,
)
from .single import ValueGrad, entropy, entropy_with_grad, perplexity, perplexity_with_grad

__all__ = [
    "GaussianEntropyGrad",
    "GaussianGrads",
    "ValueGrad",
    "ValueGrads",
    "cross_entropy",
    "cross_entropy_with_grad",
    "entropy",
    "entropy_with_grad",
    "gaussian_cross_entropy",
    "gaussian_cross_entropy_with_grad",
    "gaussian_entropy",
    "gaussian_entropy_with_grad",
    "gaussian_kl_divergence",
    "gaussian_kl_divergence_with_grad",
    "js_divergence",
    "js_divergence_with_grad",
    "kl_divergence",
    "kl_divergence_with_grad",
    "perplexity",
    "perplexity_with_grad",
]
