"""Objects that run code of their own while a call reads its arguments, and memory that is passed in other clothes."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import xentrs as xe
from xentrs.optim import SGD

Array = np.ndarray[Any, Any]


class Acts:
    """An argument that does something when it is read, and is an array then."""

    def __init__(self, act: Callable[[], object], result: Any) -> None:
        self.act, self.result = act, result

    def __array__(self, dtype: Any = None, copy: Any = None) -> Array:
        self.act()
        return np.asarray(self.result)


def freed(array: Array) -> Callable[[], None]:
    """Gives the memory of an array back, and has something else written into it."""
    keep = []

    def act() -> None:
        shape = array.shape
        array.resize((1,) * array.ndim, refcheck=False)
        keep.extend(np.full(shape, 777, array.dtype) for _ in range(20))

    return act


def big(value: float = 1.0) -> Array:
    z = np.full((500, 40), value, np.float32)
    z[:, 0] = 5
    return z


def by_class(z: Array) -> Array:
    return np.array(z, order="F")


LABELS = np.zeros(500, np.int16)
"""Of a type that is converted."""


@pytest.mark.parametrize(
    "call",
    [
        lambda z: xe.softmax_cross_entropy(z, Acts(freed(z), LABELS)),
        lambda z: xe.softmax_cross_entropy_with_grad(z, Acts(freed(z), LABELS), out=z),
        lambda z: xe.softmax_cross_entropy_with_hess(z, Acts(freed(z), LABELS)),
        lambda z: xe.softmax_focal_loss_with_grad(z, LABELS, sample_weight=Acts(freed(z), np.ones(500))),
        lambda z: xe.sigmoid_cross_entropy_with_grad(z, Acts(freed(z), np.zeros(z.shape, np.int8))),
        lambda z: xe.token_logprobs_with_grad(z, Acts(freed(z), LABELS)),
        lambda z: xe.js_smoothness_with_grad(z, segments=Acts(freed(z), LABELS)),
        lambda z: xe.softmax_stats(z, Acts(freed(z), LABELS)),
        lambda z: xe.linear_cross_entropy_with_grad(z, z[:7].copy(), Acts(freed(z), LABELS)),
        lambda z: xe.linear_cross_entropy_with_grad(np.ones((9, 40), np.float32), z, Acts(freed(z), LABELS[:9])),
        lambda z: xe.gaussian_nll_with_grad(z, z.copy(), Acts(freed(z), 1.0)),
        lambda z: xe.kl_divergence(p := xe.softmax(z), p, sample_weight=Acts(freed(p), np.ones(500))),
        lambda z: xe.softmax_cross_entropy_with_grad(p := z.copy(), LABELS, grad_output=Acts(freed(p), 2.0)),
        lambda z: xe.softmax_cross_entropy_with_grad(p := by_class(z), LABELS, grad_output=Acts(freed(p), 2.0)),
        lambda z: xe.kl_divergence_with_grad(p := xe.softmax(z), p, grad_output=Acts(freed(p), 2.0)),
        lambda z: xe.info_nce_with_grad(z, z.copy(), temperature=1.0, grad_output=Acts(freed(z), 2.0)),
        lambda z: xe.siglip_loss_with_grad(z.copy(), z, temperature=1.0, bias=0.0, grad_output=Acts(freed(z), 2.0)),
    ],
)
def test_an_array_that_is_resized_while_others_are_read(call: Callable[[Array], Any]) -> None:
    for _ in range(5):
        with pytest.raises(ValueError, match="must have shape"):
            call(big())


def test_a_target_or_a_weight_that_is_resized_while_others_are_read() -> None:
    for _ in range(5):
        z, soft = big(), xe.softmax(big())
        with pytest.raises(ValueError, match="must have shape"):
            xe.softmax_cross_entropy(z, soft, class_weight=Acts(freed(soft), np.ones(40)))
        weight, target = np.ones((500, 1), np.float32), np.zeros(500, np.int64)
        with pytest.raises(ValueError, match="must have shape"):
            xe.softmax_cross_entropy_with_grad(
                z, target, sample_weight=weight[:, 0], grad_output=Acts(freed(target), 1.0)
            )


def test_a_place_for_results_that_is_resized_while_others_are_read() -> None:
    for _ in range(5):
        z, out = big(), np.empty((500, 40), np.float32)
        with pytest.raises(ValueError, match="must have shape"):
            xe.softmax_cross_entropy_with_grad(z, Acts(freed(out), LABELS), out=out)


@pytest.mark.parametrize("dtype", ["f4", ">f4"])
def test_properties_that_lie_or_act_are_not_asked(dtype: str) -> None:
    """The place for a result is a subclass whose shape and dtype run code, which changes the shape of the logits."""
    z = np.ones((50, 40), np.float32)

    class Liar(np.ndarray):
        @property
        def shape(self) -> Any:  # type: ignore[override]
            z.shape = (2, 25, 40)
            z.shape = (2000,)
            return (1, 2, 3)

        @property
        def dtype(self) -> Any:  # type: ignore[override]
            z.shape = (2000,)
            return np.dtype("i8")

        @property
        def flags(self) -> Any:  # type: ignore[override]
            raise AssertionError("on purpose")

        @property
        def __array_interface__(self) -> Any:  # type: ignore[override]
            raise AssertionError("on purpose")

    target, expected = np.zeros(50, np.int64), xe.softmax_cross_entropy_with_grad(z, np.zeros(50, np.int64)).grad
    for _ in range(20):
        out = np.zeros((50, 40), dtype).view(Liar)
        hess = np.zeros((50, 40), dtype).view(Liar)
        assert xe.softmax_cross_entropy_with_grad(z, target, out=out).grad is out
        np.testing.assert_array_equal(np.asarray(out), expected)
        xe.softmax_cross_entropy_with_hess(z, target, hess_out=hess)
        weight, whole = np.ones((7, 40), np.float32), np.zeros((50, 40), dtype).view(Liar)
        xe.linear_cross_entropy_with_grad(z, weight, target, out=(whole, None, None))
        assert z.shape == (50, 40)


# --- Memory in other clothes ------------------------------------------------------------------------------------------


class Interface:
    """Memory by the protocol of arrays."""

    def __init__(self, array: Array) -> None:
        self.__array_interface__ = array.__array_interface__
        self.owner = array


class Wrapped:
    """An array that comes out when it is asked for."""

    def __init__(self, array: Array) -> None:
        self.array = array

    def __array__(self, dtype: Any = None, copy: Any = None) -> Array:
        return self.array


CLOTHES: dict[str, Callable[[Array], Any]] = {
    "memoryview": memoryview,
    "interface": Interface,
    "method": Wrapped,
    "subclass": lambda array: array.view(type("Other", (np.ndarray,), {})),
}


def in_torch(array: Array) -> Any:
    return pytest.importorskip("torch", reason="PyTorch is not installed").from_numpy(array)


CLOTHES["tensor"] = in_torch


@pytest.mark.parametrize("wear", CLOTHES.values(), ids=CLOTHES)
def test_a_place_that_overlaps_an_input_in_other_clothes_is_refused(wear: Callable[[Array], Any]) -> None:
    rng = np.random.default_rng(0)
    n, c = 60, 40
    memory = rng.random((n + 1, c), np.float32)
    rows, shifted = memory[:-1], memory[1:]
    target, weight = rng.integers(0, c, n), rng.standard_normal((7, c)).astype(np.float32)
    labels = np.zeros(n, np.int64)
    before = memory.copy()
    calls = [
        lambda: xe.softmax_cross_entropy_with_grad(wear(rows), target, out=shifted),
        lambda: xe.softmax_cross_entropy_with_grad(rows.copy(), wear(shifted), out=shifted),
        lambda: xe.sigmoid_cross_entropy_with_grad(rows.copy(), np.ones((n, c)), sample_weight=wear(shifted), out=rows),
        lambda: xe.softmax(wear(rows), out=shifted),
        lambda: xe.token_logprobs_with_grad(wear(rows), target, out=shifted),
        lambda: xe.js_smoothness_with_grad(wear(rows), out=shifted),
        lambda: xe.gaussian_nll_with_grad(rows.copy(), wear(rows), 1.0, out=shifted),
        lambda: xe.softmax_cross_entropy_with_hess(wear(rows), target, hess_out=shifted),
        lambda: xe.linear_cross_entropy_with_grad(wear(rows), weight, labels, out=(rows, None, None)),
        lambda: xe.linear_cross_entropy_with_grad(wear(rows), weight, labels, out=(shifted, None, None)),
        lambda: xe.linear_cross_entropy_with_grad(rows.copy(), wear(shifted), labels, out=(None, rows, None)),
        lambda: xe.linear_token_logprobs_with_grad(wear(rows), weight, labels, out=(shifted, None, None)),
    ]
    for i, call in enumerate(calls):
        with pytest.raises(ValueError, match=r"must not overlap|apart from the inputs"):
            call()
        np.testing.assert_array_equal(memory, before, err_msg=f"call {i} has written")


@pytest.mark.parametrize("wear", CLOTHES.values(), ids=CLOTHES)
def test_in_place_in_other_clothes_is_in_place(wear: Callable[[Array], Any]) -> None:
    z, target = np.random.default_rng(0).standard_normal((60, 40)).astype(np.float32), np.arange(60) % 40
    loss, grad = xe.softmax_cross_entropy_with_grad(z, target)
    result = xe.softmax_cross_entropy_with_grad(wear(z), target, out=z)
    assert (result.loss, result.grad is z) == (loss, True)
    np.testing.assert_array_equal(z, grad)


def test_an_object_that_is_another_array_each_time_it_is_asked() -> None:
    """The check of the overlap sees another array than the one that is read: what is read counts."""
    z = np.random.default_rng(0).standard_normal((60, 40)).astype(np.float32)

    class Changes:
        count = 0

        def __array__(self, dtype: Any = None, copy: Any = None) -> Array:
            self.count += 1
            return z if self.count == 1 else z.copy()

    weight, labels = np.ones((7, 40), np.float32), np.zeros(60, np.int64)
    before = z.copy()
    with pytest.raises(ValueError, match="apart from the inputs"):
        xe.linear_cross_entropy_with_grad(Changes(), weight, labels, out=(z, None, None))
    np.testing.assert_array_equal(z, before)
    expected = xe.softmax_cross_entropy_with_grad(z, labels).grad
    # Here it is computed apart, and then copied.
    result = xe.softmax_cross_entropy_with_grad(Changes(), labels, out=z[::-1][::-1])
    np.testing.assert_array_equal(result.grad, expected)


def test_the_epoch_refuses_inputs_over_its_parameters() -> None:
    memory = np.zeros((3, 4))
    optimizer = SGD([memory], learning_rate=0.1)
    for x in (memory[:2], memoryview(memory)[:2], Interface(memory[:2])):
        with pytest.raises(ValueError, match="must not overlap an input"):
            optimizer.linear_epoch(x, np.zeros(2, np.int64))
