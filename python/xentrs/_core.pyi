"""The compiled module. What each argument means is said where users meet it, in `xentrs.losses`."""

from contextvars import ContextVar
from typing import Any, TypeAlias, TypedDict, type_check_only

from numpy.typing import ArrayLike, NDArray

__all__ = [
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
    reduction: str,
    /,
) -> _Loss: ...
def sigmoid_cross_entropy_with_grad(
    logits: ArrayLike,
    target: ArrayLike,
    pos_weight: ArrayLike | None,
    sample_weight: ArrayLike | None,
    reduction: str,
    out: _Array | None,
    /,
) -> tuple[_Loss, _Array]: ...
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
