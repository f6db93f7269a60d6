"""A loss is right at every margin: the last digits of confident predictions, in both precisions.

The reference for float64 is mpmath with 60 digits, for float32 the float64 oracle of the registry.
"""

from collections.abc import Sequence

import mpmath
import numpy as np
import pytest

import xentrs as xe
from checks import assert_close, ulps
from oracles import sigmoid_cross_entropy_oracle, softmax_cross_entropy_oracle
from registry import CASES

mpmath.mp.dps = 60


def exact_softmax_cross_entropy(logits: Sequence[float], label: int) -> tuple[float, list[float]]:
    """Loss and gradient of one row, rounded once."""
    e = [mpmath.exp(mpmath.mpf(float(z)) - mpmath.mpf(float(logits[label]))) for z in logits]
    others = mpmath.fsum(e[:label] + e[label + 1 :])
    total = 1 + others
    grad = [-others / total if k == label else e[k] / total for k in range(len(e))]
    return float(mpmath.log1p(others)), [float(g) for g in grad]


@pytest.mark.parametrize("target", [[0], np.array([[1.0, 0.0]], np.float32)], ids=["class", "one-hot"])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_two_classes_17_apart_in_float32(target: object, reduction: str) -> None:
    """Where the log-sum-exp rounds to the logit itself, and a difference of the two gives 0."""
    logits = np.array([[17.0, 0.0]], np.float32)
    loss, grad = xe.softmax_cross_entropy_with_grad(logits, target, reduction=reduction)
    truth = 4.1399376e-08  # ln(1 + exp(-17))
    np.testing.assert_allclose(loss, truth, rtol=1e-6)
    np.testing.assert_allclose(grad, [[-truth, truth]], rtol=1e-6)
    np.testing.assert_allclose(xe.softmax_cross_entropy(logits, target, reduction=reduction), truth, rtol=1e-6)


MARGINS = np.linspace(0.0, 80.0, 1601)
PAIRS = {
    "representable": (MARGINS, np.zeros_like(MARGINS)),
    "opposite-sign": (MARGINS * 0.37, -MARGINS * 0.63),
    "far-from-zero": (MARGINS + 1000.1, np.full_like(MARGINS, 1000.1)),
    "below-zero": (np.full_like(MARGINS, -3.3), -3.3 - MARGINS),
    "small-and-large": (np.full_like(MARGINS, 1e-3), 1e-3 - MARGINS),
}


@pytest.mark.parametrize("c", [2, 3, 10, 19, 67])
@pytest.mark.parametrize("pair", PAIRS)
def test_float32_margins_to_80(pair: str, c: int) -> None:
    """The label leads by the margin, then trails by it. The difference of two float32 is no float32 in general, and
    half a unit in its last place at 80 is a relative error of 4e-6: so the rounding of the subtraction must be carried.
    """
    high, low = (side.astype(np.float32) for side in PAIRS[pair])
    logits = np.repeat(low[:, None], c, 1)
    leader = np.arange(len(high)) % c
    logits[np.arange(len(high)), leader] = high
    for target in (leader, (leader + 1) % c):
        truth = softmax_cross_entropy_oracle(logits, target)
        loss, grad = xe.softmax_cross_entropy_with_grad(logits, target, reduction="none")
        assert_close(loss, truth.loss, 1e-6)
        assert_close(xe.softmax_cross_entropy(logits, target, reduction="none"), truth.loss, 1e-6)
        assert_close(grad, truth.grad, 1e-5)


def test_float32_margins_one_by_one() -> None:
    """A batch of one takes another way to the same digits, and its mean is the loss itself."""
    rng = np.random.default_rng(70)
    for margin in rng.uniform(0, 80, 300):
        logits = (np.array([[0.4, -0.6]]) * margin + rng.normal()).astype(np.float32)
        truth = softmax_cross_entropy_oracle(logits, [0])
        assert_close(xe.softmax_cross_entropy(logits, [0]), truth.loss.sum(), 1e-6)
        assert_close(xe.softmax_cross_entropy_with_grad(logits, [0]).grad, truth.grad, 1e-5)


def test_a_crowd_of_small_probabilities() -> None:
    """Thousands of classes far below the leader add up to a loss that none of them has alone."""
    logits = np.full((1, 32_000), -17.0, np.float32)
    logits[0, 12_345] = 0.0
    loss, grad = xe.softmax_cross_entropy_with_grad(logits, [12_345])
    rest = 31_999 * np.exp(-17.0)
    assert_close(loss, np.log1p(rest), 1e-6)
    assert_close(grad[0, 12_345], -rest / (1 + rest), 1e-6)
    assert_close(np.delete(grad[0], 12_345), np.full(31_999, np.exp(-17.0) / (1 + rest)), 1e-6)


def test_ties_for_the_maximum() -> None:
    """The maximum is left out of the sum once, not every time it occurs."""
    for c in range(1, 68):
        for tied in range(1, c + 1):
            logits = np.full((1, c), -30.0, np.float32)
            logits[0, c - tied :] = 4.0
            rest = (tied - 1) + (c - tied) * np.exp(-34.0)
            assert_close(xe.softmax_cross_entropy(logits, [c - 1]), np.log1p(rest), 1e-6, note=f"c={c} tied={tied}")


def test_float64_margins_to_700_against_mpmath() -> None:
    """Within 4 ULP, and as many more as the subtraction of the logits costs: half an ULP of a difference of d is a
    relative error of up to d ULP in its exponential."""
    rng = np.random.default_rng(71)
    for i in range(400):
        c = int(rng.integers(2, 9))
        logits = rng.uniform(-350.0, 350.0, c) if i % 2 else rng.normal(scale=rng.choice([0.01, 1.0, 30.0]), size=c)
        label = int(np.argmax(logits)) if i % 4 < 2 else int(rng.integers(c))
        true_loss, true_grad = exact_softmax_cross_entropy(logits, label)
        loss, grad = xe.softmax_cross_entropy_with_grad(logits, label)
        # The loss of the leader is made of the runner-up's exponential, any other of its own distance.
        spread = np.abs(logits - logits.max())
        runner_up = np.sort(spread)[1]
        note = f"{logits.tolist()} {label}"
        assert ulps(loss, true_loss) <= 4 + (runner_up if spread[label] == 0 else spread[label]), note
        assert ulps(xe.softmax_cross_entropy(logits, label), true_loss) <= 4 + max(runner_up, spread[label]), note
        for k in range(c):
            if abs(true_grad[k]) >= np.finfo(np.float64).tiny:
                assert ulps(grad[k], true_grad[k]) <= 4 + (runner_up if spread[k] == 0 else spread[k]), f"{note} at {k}"


def test_sigmoid_in_float32_to_80() -> None:
    x = np.concatenate([np.linspace(-80, 80, 20_001), np.float32(2.0) ** -np.arange(1, 149)]).astype(np.float32)
    for target in (0.0, 1.0):
        t = np.full_like(x, target)
        truth = sigmoid_cross_entropy_oracle(x, t)
        loss, grad = xe.sigmoid_cross_entropy_with_grad(x, t, reduction="none")
        assert_close(loss, truth.loss, 1e-6)
        assert_close(grad, truth.grad, 1e-6)
        assert_close(xe.sigmoid_cross_entropy(x, t, reduction="none"), truth.loss, 1e-6)


def test_sigmoid_in_float64_to_700_against_mpmath() -> None:
    """The logit is the margin here: no subtraction, so 4 ULP over the whole range."""
    rng = np.random.default_rng(72)
    x = np.concatenate([rng.uniform(-700, 700, 400), rng.normal(size=200), 10.0 ** rng.uniform(-300, 0, 100)])
    for target in (0, 1):
        loss, grad = xe.sigmoid_cross_entropy_with_grad(x, np.full(len(x), target), reduction="none")
        sign = -1 if target else 1
        for i, logit in enumerate(x):
            e = mpmath.exp(mpmath.mpf(sign * float(logit)))
            assert ulps(loss[i], float(mpmath.log1p(e))) <= 4, f"loss at {logit!r}, target {target}"
            assert ulps(grad[i], float(sign * e / (1 + e))) <= 4, f"gradient at {logit!r}, target {target}"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_scalars_are_accumulated_in_float64(case) -> None:
    """A million float32 losses: summed in float32 the error would be in the fourth or fifth digit."""
    rng = np.random.default_rng(73)
    shape = (400_000, 2) if case.has_class_axis else (1_000_000,)
    logits = case.admit(rng.normal(size=shape).astype(np.float32))
    target = rng.integers(0, 2, case.row_shape(shape))
    truth = case.oracle(logits, target)
    assert_close(case.loss(logits, target, reduction="sum"), truth.loss.sum(), 1e-7)
    assert_close(case.loss_with_grad(logits, target).loss, truth.loss.mean(), 1e-7)


def test_a_small_loss_survives_beside_a_large_one() -> None:
    logits = np.array([[1e4, 0.0], [0.0, 1e-3]], np.float32)
    difference = xe.softmax_cross_entropy(logits, [1, 0], reduction="sum") - 1e4
    assert difference == pytest.approx(np.log1p(np.exp(np.float64(np.float32(1e-3)))), rel=1e-6)
