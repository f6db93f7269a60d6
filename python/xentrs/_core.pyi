"""The compiled module. What each argument means is said where users meet it, in `xentrs.losses`.

`order` tells which derivatives a loss returns: 0 for the loss alone, 1 for its gradient too, 2 for the diagonal of the
Hessian too. From 1 on the results are a tuple, `out` is the caller's place for the gradient, and `grad_output` is what
it is multiplied by. `hess` is `hess_out`, `hess_scale`, `hess_floor` and `curvature`.
"""

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Any, TypeAlias, TypedDict, type_check_only

from numpy.typing import ArrayLike, NDArray

__all__ = [
    "_tally",
    "_xla_handlers",
    "binary_cross_entropy",
    "build_info",
    "categorical_cross_entropy",
    "cross_entropy",
    "entropy",
    "gaussian_nll",
    "get_num_threads",
    "hinge_loss",
    "info_nce",
    "js_divergence",
    "js_smoothness",
    "kl_divergence",
    "linear_cross_entropy",
    "linear_epoch",
    "linear_token_logprobs",
    "log_sigmoid",
    "log_softmax",
    "logsumexp",
    "parity_penalty",
    "perplexity",
    "set_num_threads",
    "siglip_loss",
    "sigmoid",
    "sigmoid_cross_entropy",
    "sigmoid_focal_loss",
    "softmax",
    "softmax_cross_entropy",
    "softmax_focal_loss",
    "softmax_stats",
    "softplus",
    "token_logprobs",
    "topk_kl_divergence",
]

_Array: TypeAlias = NDArray[Any]  # floating, bfloat16 too, which NumPy's types do not know
_Loss: TypeAlias = Callable[..., Any]
_Values: TypeAlias = _Array | Any  # the values, or a tuple of them and their gradients
# base, axis, normalize, from_logits
_DistributionOptions: TypeAlias = tuple[float | None, int, bool, bool]
# temperature, sample_weight
_More: TypeAlias = tuple[float, ArrayLike | None]

@type_check_only
class _BuildInfo(TypedDict):
    version: str
    profile: str
    isa: str
    isas_available: list[str]
    num_threads: int

_most_threads: int
_threads: ContextVar[int]

# The parameters are those of the public functions; `xentrs._calls` matches them by name.
binary_cross_entropy: _Loss
categorical_cross_entropy: _Loss
gaussian_nll: _Loss
hinge_loss: _Loss
info_nce: _Loss
js_smoothness: _Loss
linear_cross_entropy: _Loss
linear_token_logprobs: _Loss
parity_penalty: _Loss
sigmoid_cross_entropy: _Loss
sigmoid_focal_loss: _Loss
siglip_loss: _Loss
softmax_cross_entropy: _Loss
softmax_focal_loss: _Loss
token_logprobs: _Loss
topk_kl_divergence: _Loss

def entropy(p: ArrayLike, options: _DistributionOptions, with_grad: bool, grad_output: ArrayLike | None) -> _Values: ...
def perplexity(
    p: ArrayLike, options: _DistributionOptions, with_grad: bool, grad_output: ArrayLike | None
) -> _Values: ...
def cross_entropy(
    p: ArrayLike, q: ArrayLike, options: _DistributionOptions, with_grad: bool, grad_output: ArrayLike | None
) -> _Values: ...
def kl_divergence(
    p: ArrayLike,
    q: ArrayLike,
    options: _DistributionOptions,
    more: _More,
    with_grad: bool,
    grad_output: ArrayLike | None,
) -> _Values: ...
def js_divergence(
    p: ArrayLike,
    q: ArrayLike,
    weight: float,
    options: _DistributionOptions,
    more: _More,
    with_grad: bool,
    grad_output: ArrayLike | None,
) -> _Values: ...
def linear_epoch(
    x: _Array,
    params: list[_Array],
    velocity: list[_Array],
    target: ArrayLike | tuple[ArrayLike, ArrayLike],
    kind: str,
    pos_weight: ArrayLike | None,
    class_weight: ArrayLike | None,
    sample_weight: ArrayLike | None,
    ignore_index: int | None,
    label_smoothing: float,
    temperature: float,
    softcap: float | None,
    log_prior: ArrayLike | None,
    z_loss: float,
    order: _Array | None,
    rates: _Array,
    batch_size: int,
    momentum: float,
    nesterov: bool,
    weight_decay: Sequence[float],
    decays: _Array | None,
    steps: _Array,
) -> float: ...
def softmax_stats(
    logits: ArrayLike,
    target: ArrayLike,
    sample_weight: ArrayLike | None,
    ignore_index: int | None,
    axis: int,
) -> tuple[_Array, _Array, _Array, _Array, _Array, _Array, _Array]: ...
def _tally(loss: ArrayLike, weight: ArrayLike, correct: ArrayLike) -> tuple[int, int, int, int, int, int]: ...
def _xla_handlers() -> list[Any]: ...  # capsules: of the losses, and of platforms that they do not run on
def logsumexp(x: ArrayLike, axis: int, keepdims: bool) -> _Array: ...
def softmax(x: ArrayLike, axis: int, out: _Array | None) -> _Array: ...
def log_softmax(x: ArrayLike, axis: int, out: _Array | None) -> _Array: ...
def sigmoid(x: ArrayLike, out: _Array | None) -> _Array: ...
def log_sigmoid(x: ArrayLike, out: _Array | None) -> _Array: ...
def softplus(x: ArrayLike, out: _Array | None) -> _Array: ...
def get_num_threads() -> int: ...
def set_num_threads(n: int) -> None: ...
def build_info() -> _BuildInfo: ...
