"""The compiled module. What each argument means is said where users meet it, in `xentrs.losses`."""

from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any, TypeAlias, TypedDict, type_check_only

from numpy.typing import ArrayLike, NDArray

__all__ = [
    "_tally",
    "binary_cross_entropy",
    "binary_cross_entropy_with_grad",
    "build_info",
    "categorical_cross_entropy",
    "categorical_cross_entropy_with_grad",
    "cross_entropy",
    "cross_entropy_with_grad",
    "entropy",
    "entropy_with_grad",
    "gaussian_nll",
    "gaussian_nll_with_grad",
    "get_num_threads",
    "hinge_loss",
    "hinge_loss_with_grad",
    "js_divergence",
    "js_divergence_with_grad",
    "js_smoothness",
    "js_smoothness_with_grad",
    "kl_divergence",
    "kl_divergence_with_grad",
    "linear_cross_entropy",
    "linear_cross_entropy_with_grad",
    "linear_epoch",
    "log_sigmoid",
    "log_softmax",
    "logsumexp",
    "parity_penalty",
    "parity_penalty_with_grad",
    "perplexity",
    "perplexity_with_grad",
    "set_num_threads",
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
    "softmax_stats",
    "softplus",
]

_Array: TypeAlias = NDArray[Any]  # floating, bfloat16 too, which NumPy's types do not know
_Loss: TypeAlias = float | Any
_Target: TypeAlias = ArrayLike | tuple[ArrayLike, ArrayLike]

@type_check_only
class _BuildInfo(TypedDict):
    version: str
    profile: str
    isa: str
    isas_available: list[str]
    num_threads: int

_Options: TypeAlias = tuple[float | None, int, bool, bool]  # base, axis, normalize, from_logits

def softmax_cross_entropy(
    logits: ArrayLike,
    target: _Target,
    class_weight: ArrayLike | None,
    sample_weight: ArrayLike | None,
    ignore_index: int | None,
    label_smoothing: float,
    temperature: float,
    softcap: float | None,
    z_loss: float,
    axis: int,
    reduction: str,
    /,
) -> _Loss: ...
def softmax_cross_entropy_with_grad(
    logits: ArrayLike,
    target: _Target,
    class_weight: ArrayLike | None,
    sample_weight: ArrayLike | None,
    ignore_index: int | None,
    label_smoothing: float,
    temperature: float,
    softcap: float | None,
    z_loss: float,
    axis: int,
    reduction: str,
    out: _Array | None,
    /,
) -> tuple[_Loss, _Array]: ...
def softmax_cross_entropy_with_hess(
    logits: ArrayLike,
    target: _Target,
    class_weight: ArrayLike | None,
    sample_weight: ArrayLike | None,
    ignore_index: int | None,
    label_smoothing: float,
    temperature: float,
    axis: int,
    reduction: str,
    out: _Array | None,
    /,
) -> tuple[_Loss, _Array, _Array]: ...
def softmax_focal_loss(
    logits: ArrayLike,
    target: _Target,
    gamma: float,
    class_weight: ArrayLike | None,
    sample_weight: ArrayLike | None,
    ignore_index: int | None,
    label_smoothing: float,
    temperature: float,
    softcap: float | None,
    z_loss: float,
    axis: int,
    reduction: str,
    /,
) -> _Loss: ...
def softmax_focal_loss_with_grad(
    logits: ArrayLike,
    target: _Target,
    gamma: float,
    class_weight: ArrayLike | None,
    sample_weight: ArrayLike | None,
    ignore_index: int | None,
    label_smoothing: float,
    temperature: float,
    softcap: float | None,
    z_loss: float,
    axis: int,
    reduction: str,
    out: _Array | None,
    /,
) -> tuple[_Loss, _Array]: ...
def sigmoid_cross_entropy(
    logits: ArrayLike,
    target: ArrayLike,
    pos_weight: ArrayLike | None,
    sample_weight: ArrayLike | None,
    ignore_index: int | None,
    label_smoothing: float,
    reduction: str,
    /,
) -> _Loss: ...
def sigmoid_cross_entropy_with_grad(
    logits: ArrayLike,
    target: ArrayLike,
    pos_weight: ArrayLike | None,
    sample_weight: ArrayLike | None,
    ignore_index: int | None,
    label_smoothing: float,
    reduction: str,
    out: _Array | None,
    /,
) -> tuple[_Loss, _Array]: ...
def sigmoid_cross_entropy_with_hess(
    logits: ArrayLike,
    target: ArrayLike,
    pos_weight: ArrayLike | None,
    sample_weight: ArrayLike | None,
    ignore_index: int | None,
    label_smoothing: float,
    reduction: str,
    out: _Array | None,
    /,
) -> tuple[_Loss, _Array, _Array]: ...
def sigmoid_focal_loss(
    logits: ArrayLike,
    target: ArrayLike,
    gamma: float,
    alpha: float | None,
    pos_weight: ArrayLike | None,
    sample_weight: ArrayLike | None,
    ignore_index: int | None,
    label_smoothing: float,
    reduction: str,
    /,
) -> _Loss: ...
def sigmoid_focal_loss_with_grad(
    logits: ArrayLike,
    target: ArrayLike,
    gamma: float,
    alpha: float | None,
    pos_weight: ArrayLike | None,
    sample_weight: ArrayLike | None,
    ignore_index: int | None,
    label_smoothing: float,
    reduction: str,
    out: _Array | None,
    /,
) -> tuple[_Loss, _Array]: ...
def sigmoid_focal_loss_with_hess(
    logits: ArrayLike,
    target: ArrayLike,
    gamma: float,
    alpha: float | None,
    pos_weight: ArrayLike | None,
    sample_weight: ArrayLike | None,
    ignore_index: int | None,
    label_smoothing: float,
    reduction: str,
    out: _Array | None,
    /,
) -> tuple[_Loss, _Array, _Array]: ...
def hinge_loss(
    scores: ArrayLike,
    target: ArrayLike,
    squared: bool,
    sample_weight: ArrayLike | None,
    reduction: str,
    /,
) -> _Loss: ...
def hinge_loss_with_grad(
    scores: ArrayLike,
    target: ArrayLike,
    squared: bool,
    sample_weight: ArrayLike | None,
    reduction: str,
    out: _Array | None,
    /,
) -> tuple[_Loss, _Array]: ...
def binary_cross_entropy(
    p: ArrayLike,
    target: ArrayLike,
    pos_weight: ArrayLike | None,
    sample_weight: ArrayLike | None,
    eps: float,
    reduction: str,
    /,
) -> _Loss: ...
def binary_cross_entropy_with_grad(
    p: ArrayLike,
    target: ArrayLike,
    pos_weight: ArrayLike | None,
    sample_weight: ArrayLike | None,
    eps: float,
    reduction: str,
    out: _Array | None,
    /,
) -> tuple[_Loss, _Array]: ...
def categorical_cross_entropy(
    p: ArrayLike,
    target: ArrayLike,
    class_weight: ArrayLike | None,
    sample_weight: ArrayLike | None,
    ignore_index: int | None,
    eps: float,
    axis: int,
    reduction: str,
    /,
) -> _Loss: ...
def categorical_cross_entropy_with_grad(
    p: ArrayLike,
    target: ArrayLike,
    class_weight: ArrayLike | None,
    sample_weight: ArrayLike | None,
    ignore_index: int | None,
    eps: float,
    axis: int,
    reduction: str,
    out: _Array | None,
    /,
) -> tuple[_Loss, _Array]: ...
def linear_cross_entropy(
    x: ArrayLike,
    weight: ArrayLike,
    target: _Target,
    bias: ArrayLike | None,
    kind: str,
    class_weight: ArrayLike | None,
    pos_weight: ArrayLike | None,
    sample_weight: ArrayLike | None,
    ignore_index: int | None,
    label_smoothing: float,
    temperature: float,
    softcap: float | None,
    z_loss: float,
    reduction: str,
    /,
) -> _Loss: ...
def linear_cross_entropy_with_grad(
    x: ArrayLike,
    weight: ArrayLike,
    target: _Target,
    bias: ArrayLike | None,
    kind: str,
    class_weight: ArrayLike | None,
    pos_weight: ArrayLike | None,
    sample_weight: ArrayLike | None,
    ignore_index: int | None,
    label_smoothing: float,
    temperature: float,
    softcap: float | None,
    z_loss: float,
    reduction: str,
    wrt: str | Sequence[str],
    out: tuple[_Array | None, _Array | None, _Array | None] | None,
    /,
) -> tuple[_Loss, _Array | None, _Array | None, _Array | None]: ...
def linear_epoch(
    x: _Array,
    params: list[_Array],
    velocity: list[_Array],
    target: _Target,
    kind: str,
    class_weight: ArrayLike | None,
    pos_weight: ArrayLike | None,
    sample_weight: ArrayLike | None,
    ignore_index: int | None,
    label_smoothing: float,
    temperature: float,
    softcap: float | None,
    z_loss: float,
    order: _Array | None,
    rates: _Array,
    batch_size: int,
    momentum: float,
    nesterov: bool,
    weight_decay: Sequence[float],
    steps: _Array,
    /,
) -> float: ...
def js_smoothness(logits: ArrayLike, segments: ArrayLike | None, reduction: str, /) -> _Loss: ...
def js_smoothness_with_grad(
    logits: ArrayLike, segments: ArrayLike | None, reduction: str, out: _Array | None, /
) -> tuple[_Loss, _Array]: ...
def parity_penalty(logits: ArrayLike, group: ArrayLike, target: ArrayLike | None, link: str, /) -> float: ...
def parity_penalty_with_grad(
    logits: ArrayLike, group: ArrayLike, target: ArrayLike | None, link: str, out: _Array | None, /
) -> tuple[float, _Array]: ...
def softmax_stats(
    logits: ArrayLike,
    target: ArrayLike,
    sample_weight: ArrayLike | None,
    ignore_index: int | None,
    axis: int,
    /,
) -> tuple[_Array, _Array, _Array, _Array, _Array, _Array]: ...
def _tally(loss: ArrayLike, weight: ArrayLike, correct: ArrayLike, /) -> tuple[int, int, int, int, int, int]: ...
def logsumexp(x: ArrayLike, axis: int, keepdims: bool, /) -> _Array: ...
def softmax(x: ArrayLike, axis: int, out: _Array | None, /) -> _Array: ...
def log_softmax(x: ArrayLike, axis: int, out: _Array | None, /) -> _Array: ...
def sigmoid(x: ArrayLike, out: _Array | None, /) -> _Array: ...
def log_sigmoid(x: ArrayLike, out: _Array | None, /) -> _Array: ...
def softplus(x: ArrayLike, out: _Array | None, /) -> _Array: ...
def get_num_threads() -> int: ...
def set_num_threads(n: int, /) -> None: ...
def build_info() -> _BuildInfo: ...

_threads: ContextVar[int]

def gaussian_nll(
    mean: ArrayLike,
    target: ArrayLike,
    var: ArrayLike | None,
    log_var: ArrayLike | None,
    full: bool,
    sample_weight: ArrayLike | None,
    reduction: str,
    /,
) -> _Loss: ...
def gaussian_nll_with_grad(
    mean: ArrayLike,
    target: ArrayLike,
    var: ArrayLike | None,
    log_var: ArrayLike | None,
    full: bool,
    sample_weight: ArrayLike | None,
    reduction: str,
    out: _Array | None,
    /,
) -> tuple[_Loss, _Array, _Array]: ...
def entropy(p: ArrayLike, options: _Options, /) -> _Array: ...
def entropy_with_grad(p: ArrayLike, options: _Options, /) -> tuple[_Array, _Array]: ...
def perplexity(p: ArrayLike, options: _Options, /) -> _Array: ...
def perplexity_with_grad(p: ArrayLike, options: _Options, /) -> tuple[_Array, _Array]: ...
def cross_entropy(p: ArrayLike, q: ArrayLike, options: _Options, /) -> _Array: ...
def cross_entropy_with_grad(p: ArrayLike, q: ArrayLike, options: _Options, /) -> tuple[_Array, _Array, _Array]: ...
def kl_divergence(p: ArrayLike, q: ArrayLike, options: _Options, /) -> _Array: ...
def kl_divergence_with_grad(p: ArrayLike, q: ArrayLike, options: _Options, /) -> tuple[_Array, _Array, _Array]: ...
def js_divergence(p: ArrayLike, q: ArrayLike, weight: float, options: _Options, /) -> _Array: ...
def js_divergence_with_grad(
    p: ArrayLike, q: ArrayLike, weight: float, options: _Options, /
) -> tuple[_Array, _Array, _Array]: ...
