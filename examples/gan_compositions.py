"""
Alloys that might be
====================

Some mixtures of three metals are known to be of use. Can a network learn from them to propose more of their kind?

Two networks play a game. The generator turns noise ``h`` into a composition ``G(h)``, three shares whose sum is 1. The
discriminator gives a logit ``D`` that a composition is a known one. Each has a cross-entropy of its own to lower::

    discriminator:  mean of -ln sigmoid(D(x)) over known x  +  mean of -ln (1 - sigmoid(D(G(h))))
    generator:      mean of -ln sigmoid(D(G(h)))

The generator's is called non-saturating: its gradient is large where that of ``ln (1 - sigmoid(D))`` would vanish.
"""

# %%
# Known compositions
# ------------------
#
# A simulation: three phases, each around a composition of its own, one half, three and two tenths of all.

from functools import partial

import matplotlib.pyplot as plt
import numpy as np
from scipy.spatial.distance import cdist

import xentrs as xe
from xentrs import nn
from xentrs.optim import Adam

PHASES = np.array([[0.70, 0.18, 0.12], [0.15, 0.70, 0.15], [0.25, 0.20, 0.55]])
COMMON, BATCH, STEPS = [0.5, 0.3, 0.2], 256, 3_000
rng = np.random.default_rng(0)


def draw(n):
    """Return `n` known compositions."""
    parts = rng.gamma(40 * PHASES[rng.choice(3, size=n, p=COMMON)])
    return parts / parts.sum(axis=1, keepdims=True)


known, known_test = draw(4_000), draw(2_000)
is_known = np.repeat([[1.0], [0.0]], BATCH, axis=0)

# %%
# Two networks
# ------------
#
# The generator ends in a softmax, so that its shares are positive and sum to 1. That is a layer of one's own here: with
# ``p`` for its output, it takes a gradient ``g`` back to ``p (g - sum(p g))``.


class Softmax(nn.Layer):
    def forward(self, x):
        self.p = xe.softmax(x)
        return self.p

    def backward(self, grad):
        return self.p * (grad - (self.p * grad).sum(axis=1, keepdims=True))


dense = partial(nn.Dense, init="he", random_state=rng)
generator = nn.Sequential(dense(4, 64), nn.ReLU(), dense(64, 64), nn.ReLU(), dense(64, 3), Softmax())
discriminator = nn.Sequential(dense(3, 64), nn.ReLU(), dense(64, 64), nn.ReLU(), dense(64, 1))


def make(n):
    """Return `n` compositions that the generator proposes."""
    return generator.forward(rng.normal(size=(n, 4)))


def judge(compositions):
    """Return the discriminator's logits, from shares that are centred and scaled."""
    return discriminator.forward(4 * (compositions - 1 / 3))


def distance(a, b):
    """Return the energy distance of two samples: 0 for the same distribution alone, but for chance."""
    return np.sqrt(max(0.0, 2 * cdist(a, b).mean() - cdist(a, a).mean() - cdist(b, b).mean()))


# %%
# The game
# --------
#
# They take turns. The gradient of the generator's loss goes back through the discriminator, which stays as it is.

generate, tell = Adam(generator.params, beta1=0.5), Adam(discriminator.params, beta1=0.5)
stages = {0: make(2_000)}
for step in range(STEPS):
    generate.learning_rate = 1e-3 * min(1, 2 * (1 - step / STEPS))
    tell.learning_rate = 3 * generate.learning_rate
    mixed = np.vstack([known[rng.integers(len(known), size=BATCH)], make(BATCH)])
    _, grad = xe.sigmoid_cross_entropy_with_grad(judge(mixed), is_known)
    discriminator.backward_params(grad)
    tell.step(discriminator.grads)
    _, grad = xe.sigmoid_cross_entropy_with_grad(judge(make(BATCH)), np.ones((BATCH, 1)))
    generator.backward_params(4 * discriminator.backward(grad))  # 4: the scale in judge
    generate.step(generator.grads)
    if step % 200 == 199:
        stages[step + 1] = make(2_000)

# %%
# What is proposed
# ----------------
#
# Each corner is a pure metal. At first the proposals fill what lies between the phases. In the end a few still do: the
# generator is continuous, and cannot jump from one phase to the next.

EDGE = np.array([[0, 0], [1, 0], [0.5, np.sqrt(0.75)]])
panels = {"Known": known_test} | {f"Made, after {step} steps": stages[step] for step in (0, 200, STEPS)}
figure, axes = plt.subplots(1, 4, figsize=(12, 3.4), layout="constrained")
for i, (ax, (title, compositions)) in enumerate(zip(axes, panels.items(), strict=True)):
    ax.fill(*EDGE.T, fill=False, edgecolor="0.3")
    ax.plot(*(compositions[:1000] @ EDGE).T, ".", color="C1" if i else "C0", markersize=3, alpha=0.5)
    for (x, y), (dx, dy), metal in zip(EDGE, [(-0.06, -0.07), (0.06, -0.07), (0, 0.06)], "ABC", strict=True):
        ax.text(x + dx, y + dy, metal, ha="center", va="center")
    ax.set(title=title, aspect="equal", xlim=(-0.12, 1.12), ylim=(-0.13, 0.98))
    ax.axis("off")
plt.show()

# %%
# How far they are from the known ones is told by the energy distance, which is not 0 for two samples of known ones
# either. One Gaussian with the right mean and covariance knows nothing of phases.

distances = {step: distance(made, known_test) for step, made in stages.items()}
chance = np.mean([distance(draw(2_000), known_test) for _ in range(5)])
blob = distance(rng.multivariate_normal(known.mean(axis=0), np.cov(known.T), size=2_000), known_test)
figure, ax = plt.subplots(figsize=(7, 4), layout="constrained")
ax.plot(distances.keys(), distances.values(), "C1", label="generator")
ax.axhline(blob, color="C2", linestyle="--", label="one Gaussian")
ax.axhline(chance, color="k", linestyle=":", label="two samples of known ones")
ax.set(title="Distance to known compositions", xlabel="step", ylabel="energy distance", xlim=(0, STEPS), ylim=0)
ax.legend()
plt.show()

# %%
# The checks
# ----------
#
# The proposals come within 0.07 of the known ones, far closer than one Gaussian, and no phase is forgotten.

made = stages[STEPS]
share = np.bincount(cdist(made, PHASES).argmin(axis=1), minlength=3) / len(made)
assert distances[STEPS] < 0.07 < 0.5 * blob < distances[0], f"proposals must come near, got {distances[STEPS]:.3f}"
assert np.all(np.abs(share - COMMON) < 0.1), f"the phases must be made as often as they are found, got {share}"
print("checks: passed")
