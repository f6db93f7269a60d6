"""What holds for every input: properties of the losses, on examples that hypothesis looks for."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import xentrs as xe

MARGIN = 1e3  # logits stay within +-MARGIN, so that what rounding may do can be said


@st.composite
def batches(draw: st.DrawFn, soft: bool | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Logits of a few rows, with classes or distributions as target."""
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    n, c = draw(st.integers(1, 6)), draw(st.integers(1, 40))
    width = 32 if dtype is np.float32 else 64
    finite = st.floats(-MARGIN, MARGIN, width=width)
    logits = draw(hnp.arrays(dtype, (n, c), elements=finite))
    if draw(st.booleans()) if soft is None else soft:
        target = draw(hnp.arrays(dtype, (n, c), elements=st.floats(0, 1, width=width)))
    else:
        target = draw(hnp.arrays(np.int64, (n,), elements=st.integers(0, c - 1)))
    return logits, target


def rounding(logits: np.ndarray) -> float:
    return float(np.finfo(logits.dtype).eps)


@given(batches())
def test_a_loss_is_not_negative(batch: tuple[np.ndarray, np.ndarray]) -> None:
    assert (xe.softmax_cross_entropy(*batch, reduction="none") >= 0).all()


@given(batches(), st.floats(0, 1))
def test_rows_of_the_gradient_sum_to_zero(batch: tuple[np.ndarray, np.ndarray], smoothing: float) -> None:
    logits, target = batch
    _, grad = xe.softmax_cross_entropy_with_grad(logits, target, label_smoothing=smoothing, reduction="sum")
    total = 1.0 if target.ndim == 1 else target.astype(np.float64).sum(-1)
    assert (np.abs(grad.astype(np.float64).sum(-1)) <= 8 * rounding(logits) * np.maximum(total, 1e-30)).all()


@given(batches(soft=False))
def test_entries_of_the_gradient_lie_between_minus_one_and_one(batch: tuple[np.ndarray, np.ndarray]) -> None:
    logits, target = batch
    _, grad = xe.softmax_cross_entropy_with_grad(logits, target, reduction="sum")
    right = np.arange(logits.shape[1]) == target[:, None]
    assert ((grad[right] <= 0) & (grad[right] >= -1)).all()
    assert ((grad[~right] >= 0) & (grad[~right] <= 1)).all()


@given(batches(), st.integers(-1024, 1024))
def test_a_shift_of_all_logits_changes_nothing(batch: tuple[np.ndarray, np.ndarray], shift: int) -> None:
    """But for the rounding of the shifted logits themselves."""
    logits, target = batch
    shifted = logits + logits.dtype.type(shift)
    before, before_grad = xe.softmax_cross_entropy_with_grad(logits, target, reduction="none")
    after, after_grad = xe.softmax_cross_entropy_with_grad(shifted, target, reduction="none")
    total = 1.0 if target.ndim == 1 else target.sum(-1)
    slack = 4 * MARGIN * rounding(logits) * total
    assert (np.abs(after - before) <= slack + 8 * rounding(logits) * before).all()
    assert (np.abs(after_grad - before_grad).max(-1) <= slack + 1e-30).all()


@given(batches(), st.randoms(use_true_random=False))
def test_the_order_of_the_classes_does_not_matter(batch: tuple[np.ndarray, np.ndarray], random) -> None:
    logits, target = batch
    order = np.array(random.sample(range(logits.shape[1]), logits.shape[1]))
    moved = np.argsort(order)[target] if target.ndim == 1 else target[:, order]
    weight = np.linspace(0.5, 1.5, logits.shape[1])
    loss, grad = xe.softmax_cross_entropy_with_grad(logits, target, class_weight=weight, reduction="none")
    again, again_grad = xe.softmax_cross_entropy_with_grad(
        logits[:, order], moved, class_weight=weight[order], reduction="none"
    )
    eps = rounding(logits)
    total = 1.0 if target.ndim == 1 else float(target.sum(-1).max())
    np.testing.assert_allclose(again, loss, rtol=32 * eps, atol=1e-30)
    np.testing.assert_allclose(again_grad, grad[:, order], rtol=32 * eps, atol=8 * eps * total)


@given(batches())
def test_both_functions_give_the_same_loss(batch: tuple[np.ndarray, np.ndarray]) -> None:
    logits, target = batch
    for reduction in ("mean", "sum", "none"):
        loss = xe.softmax_cross_entropy(logits, target, reduction=reduction)
        with_grad, _ = xe.softmax_cross_entropy_with_grad(logits, target, reduction=reduction)
        np.testing.assert_allclose(loss, with_grad, rtol=4 * rounding(logits), atol=1e-37)


@given(batches(), st.integers(-3, 3))
def test_the_scale_of_sample_weights_drops_out_of_the_mean(batch: tuple[np.ndarray, np.ndarray], power: int) -> None:
    logits, target = batch
    weight = np.linspace(1.0, 2.0, len(logits))
    loss, grad = xe.softmax_cross_entropy_with_grad(logits, target, sample_weight=weight)
    scaled, scaled_grad = xe.softmax_cross_entropy_with_grad(logits, target, sample_weight=weight * 2.0**power)
    np.testing.assert_allclose(scaled, loss, rtol=4 * rounding(logits))
    np.testing.assert_allclose(scaled_grad, grad, rtol=8 * rounding(logits), atol=1e-37)


@given(batches(soft=False))
def test_two_classes_are_a_sigmoid(batch: tuple[np.ndarray, np.ndarray]) -> None:
    """softmax of (0, x) against class 1 is the sigmoid of x against 1."""
    x = batch[0][:, 0]
    logits = np.stack([np.zeros_like(x), x], 1)
    for answer in (0, 1):
        target = np.full(len(x), answer)
        pair, pair_grad = xe.softmax_cross_entropy_with_grad(logits, target, reduction="none")
        single, single_grad = xe.sigmoid_cross_entropy_with_grad(x, target, reduction="none")
        eps = rounding(x)
        tiny = float(np.finfo(x.dtype).tiny)
        np.testing.assert_allclose(single, pair, rtol=16 * eps, atol=tiny)
        np.testing.assert_allclose(single_grad, pair_grad[:, 1], rtol=64 * eps, atol=tiny)


@given(batches(soft=True))
def test_a_sigmoid_and_its_mirror_image(batch: tuple[np.ndarray, np.ndarray]) -> None:
    """Saying no to -x is saying yes to x."""
    x, t = batch
    flipped = x.dtype.type(1) - t
    loss, grad = xe.sigmoid_cross_entropy_with_grad(x, t, reduction="none")
    mirror, mirror_grad = xe.sigmoid_cross_entropy_with_grad(-x, flipped, reduction="none")
    eps = rounding(x)
    assert (loss >= 0).all()
    np.testing.assert_allclose(mirror, loss, rtol=8 * eps, atol=float(eps) * MARGIN)
    np.testing.assert_allclose(mirror_grad, -grad, rtol=8 * eps, atol=4 * eps)


@given(batches())
def test_softmax_is_a_distribution_and_logsumexp_its_normaliser(batch: tuple[np.ndarray, np.ndarray]) -> None:
    x = batch[0]
    eps = rounding(x)
    p, log_p, lse = xe.softmax(x), xe.log_softmax(x), xe.logsumexp(x)
    assert ((p >= 0) & (p <= 1)).all()
    np.testing.assert_allclose(p.astype(np.float64).sum(-1), 1, rtol=8 * eps)
    np.testing.assert_allclose(np.exp(log_p), p, rtol=2 * MARGIN * eps, atol=1e-30)
    np.testing.assert_allclose(x - lse[:, None], log_p, atol=4 * MARGIN * eps)
    assert (lse >= x.max(-1)).all()
