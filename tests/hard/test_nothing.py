"""Nothing loops over nothing: arrays with an axis of length 0 answer at once, however long their other axes are."""

import itertools

import numpy as np
import pytest

import xentrs as xe
from processes import run
from registry import CASES, FUNCTIONS, PROBABILITIES
from xentrs.optim import SGD

LOSSES = [*CASES, *PROBABILITIES]
LONG = 2**58


def nothing(rows: int, dtype: type = np.float32) -> np.ndarray:
    return np.zeros((rows, 0), dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
@pytest.mark.parametrize("rows", [3, LONG])
def test_losses_of_nothing(rows: int, dtype: type) -> None:
    z = nothing(rows, dtype)
    for case in LOSSES:
        for reduction in ("mean", "sum"):
            assert case.loss(z, z, reduction=reduction) == 0.0
            loss, grad = case.loss_with_grad(z, z, reduction=reduction)
            assert (loss, grad.shape, grad.dtype) == (0.0, z.shape, z.dtype)
            loss, grad = case.loss_with_grad(z, z, reduction=reduction, out=z, grad_output=3.0)
            assert (loss, grad is z) == (0.0, True)
        if case.loss_with_hess is not None:
            assert [x.shape for x in case.loss_with_hess(z, z)[1:]] == [z.shape, z.shape]
    pair = np.zeros((rows, 0), np.int64), nothing(rows)
    assert xe.softmax_cross_entropy(z, pair) == xe.topk_kl_divergence(z, pair) == 0.0
    assert xe.js_smoothness(z) == xe.js_smoothness_with_grad(z).loss == 0.0
    assert xe.gaussian_nll(z, z, z) == xe.gaussian_nll_with_grad(z, z, z).loss == 0.0
    assert xe.gaussian_kl_divergence_with_grad(z, z + 1, z, z + 1).value.shape == z.shape


@pytest.mark.parametrize("rows", [3, LONG])
def test_functions_of_nothing(rows: int) -> None:
    for function in FUNCTIONS:
        if function.has_out:
            for array in (nothing(rows), nothing(rows).T, np.zeros((rows, 0, 1)), np.zeros((0, rows))):
                assert function.function(array).shape == array.shape
    assert xe.logsumexp(nothing(rows), axis=0).shape == (0,)
    assert xe.softmax(nothing(rows), axis=0).shape == (rows, 0)


def test_single_losses_of_nothing_are_as_many_as_there_are_rows() -> None:
    for case in LOSSES:
        expected = np.zeros(case.row_shape((3, 0)), np.float32)
        np.testing.assert_array_equal(case.loss(nothing(3), nothing(3), reduction="none"), expected)
        if case.has_class_axis:
            with pytest.raises(MemoryError):
                case.loss(nothing(LONG), nothing(LONG), reduction="none")
    np.testing.assert_array_equal(xe.logsumexp(nothing(2)), [-np.inf, -np.inf])


def test_layers_without_features() -> None:
    """Their logits are the bias, or 0, of any number of classes."""
    target = np.zeros(4, np.int64)
    loss, *grads = xe.linear_cross_entropy_with_grad(nothing(4), nothing(3), target, bias=np.zeros(3, np.float32))
    assert loss == pytest.approx(np.log(3))
    np.testing.assert_allclose(grads[2], [-2 / 3, 1 / 3, 1 / 3], rtol=1e-6)
    for classes in (LONG, 2**61 - 1, 2**40):
        for call in (xe.linear_cross_entropy, xe.linear_cross_entropy_with_grad):
            with pytest.raises(MemoryError, match="unable to allocate"):
                call(np.zeros((64, 0), np.float16), np.zeros((classes, 0), np.float16), np.zeros(64, np.int64))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_every_small_shape_has_an_answer(dtype: type) -> None:
    """Nothing is divided by an axis of length 0, along whichever way a shape is computed."""
    for n, d, c in itertools.product((0, 1, 3, 40), (0, 1, 5, 300), (0, 1, 2, 10, 70)):
        x, weight, target, z = (
            np.zeros((n, d), dtype),
            np.zeros((c, d), dtype),
            np.full(n, -100),
            np.zeros((n, c), dtype),
        )
        xe.linear_cross_entropy_with_grad(x, weight, target, bias=np.zeros(c, dtype))
        xe.linear_cross_entropy_with_grad(x, weight, z, kind="sigmoid")
        xe.linear_token_logprobs_with_grad(x, weight, target)
        for logits in (z, np.asfortranarray(z)):
            xe.softmax_cross_entropy_with_hess(logits, target)
            xe.softmax_focal_loss_with_hess(logits, target)
            xe.softmax_stats(logits, target)
        xe.topk_kl_divergence_with_grad(z, (np.zeros((n, 0), int), np.zeros((n, 0))))
        xe.js_smoothness_with_grad(np.zeros((n, c, d), dtype))
        for pair in (xe.info_nce_with_grad, xe.siglip_loss_with_grad):
            assert all(np.isfinite(part).all() for part in pair(x, x, temperature=1.0))
        if dtype != np.float16:
            SGD([weight.copy(), np.zeros(c, dtype)]).linear_epoch(x, target, batch_size=2)


def test_the_tests_above_would_notice_a_loop() -> None:
    """They are run here too, in a process that is ended when it takes too long."""
    assert run("import numpy as np, xentrs as xe; print(xe.softmax(np.zeros((2**58, 0))).shape[1])") == "0"
