"""
Generative adversarial network: mixtures of three metals
========================================================

Some mixtures of three metals are known to be of use. Can a network learn how they are distributed, and draw more of
their kind? Does it take a network?

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
# A simulation: three phases, each around a composition of its own. What counts is whether their distribution is learnt.

from functools import partial

import matplotlib.pyplot as plt
import numpy as np
from scipy.spatial.distance import cdist
from sklearn.mixture import GaussianMixture

import xentrs as xe
from xentrs import nn
from xentrs.optim import Adam

PHASES = np.array([[0.70, 0.18, 0.12], [0.15, 0.70, 0.15], [0.25, 0.20, 0.55]])
COMMON, BATCH, STEPS = [0.5, 0.3, 0.2], 256, 3_000
rng = np.random.default_rng(0)


def draw(n):
    parts = rng.gamma(40 * PHASES[rng.choice(3, size=n, p=COMMON)])
    return parts / parts.sum(axis=1, keepdims=True)


known, known_tune, known_test = draw(4_000), draw(2_000), draw(2_000)

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
    return generator.forward(rng.normal(size=(n, 4)))


def judge(compositions):
    return discriminator.forward(4 * (compositions - 1 / 3))


def distance(a, b):
    """Return the energy distance of two samples: 0 for the same distribution alone, but for chance."""
    return np.sqrt(max(0.0, 2 * cdist(a, b).mean() - cdist(a, a).mean() - cdist(b, b).mean()))


# %%
# They take turns. The gradient of the generator's loss goes back through the discriminator, which stays as it is.

generate, tell = Adam(generator.params, beta1=0.5), Adam(discriminator.params, beta1=0.5)
stages = {0: make(2_000)}
for step in range(STEPS):
    generate.learning_rate = 1e-3 * min(1, 2 * (1 - step / STEPS))
    tell.learning_rate = 3 * generate.learning_rate
    mixed = np.vstack([known[rng.integers(len(known), size=BATCH)], make(BATCH)])
    _, grad = xe.sigmoid_cross_entropy_with_grad(judge(mixed), np.repeat([[1], [0]], BATCH, axis=0))
    discriminator.backward_params(grad)
    tell.step(discriminator.grads)
    _, grad = xe.sigmoid_cross_entropy_with_grad(judge(make(BATCH)), np.ones((BATCH, 1)))
    generator.backward_params(4 * discriminator.backward(grad))  # 4: the scale in judge
    generate.step(generator.grads)
    if step % 500 == 499:
        stages[step + 1] = make(2_000)

# %%
# The rival: a mixture of Gaussians, of logarithms of ratios of shares. Likelihood on further draws says of how many.


def logs(compositions):
    return np.log(compositions[:, :2] / compositions[:, 2:])


mixtures = [GaussianMixture(k, random_state=0).fit(logs(known)) for k in range(1, 7)]
best = max(mixtures, key=lambda mixture: mixture.score(logs(known_tune)))
by_mixture, by_one = (xe.softmax(np.pad(m.sample(2_000)[0], [(0, 0), (0, 1)])) for m in (best, mixtures[0]))
distances = {step: distance(sample, known_test) for step, sample in stages.items()}
samples = {"one Gaussian": by_one, f"{best.n_components} Gaussians": by_mixture, "further draws": draw(2_000)}
rivals = {name: distance(sample, known_test) for name, sample in samples.items()}

made, CORNERS = stages[STEPS], np.array([[0, 0], [1, 0], [0.5, np.sqrt(0.75)]])
figure, ax = plt.subplots(figsize=(6, 4.8), layout="constrained")
ax.fill(*CORNERS.T, fill=False, edgecolor="0.3")
for name, compositions, style in [("known", known_test, "C0o"), ("made by the generator", made, "C1x")]:
    ax.plot(*(compositions[:700] @ CORNERS).T, style, markersize=4, alpha=0.5, label=name)
for (x, y), metal, place in zip(CORNERS, "ABC", ["right", "left", "center"], strict=True):
    ax.text(x, y + 0.02, f" only {metal} ", ha=place, va="bottom")
ax.set(aspect="equal", xlim=(-0.2, 1.2), ylim=(-0.03, 0.95), frame_on=False, xticks=[], yticks=[])
ax.legend(loc="upper left", markerscale=1.5)
plt.show()

# %%
# *Each corner is a pure metal. The generator is continuous and cannot jump between phases: dust is left on its way.*

figure, ax = plt.subplots(figsize=(6, 4), layout="constrained")
ax.plot(distances.keys(), distances.values(), "C1o", label="generator")
for (name, value), style in zip(rivals.items(), ["C2--", "C0-.", "k:"], strict=True):
    ax.plot([0, STEPS], [value, value], style, label=name)
ax.set(title="Distance to known compositions", xlabel="step", ylabel="energy distance", ylim=0)
ax.legend()
plt.show()

# %%
# *The mixture, fitted in a second, is as near as further draws are: it knows what kind of shape to look for. A network
# is worth its trouble where nobody does.*
#
# The checks
# ----------
#
# What is made comes near, far nearer than one Gaussian, and no phase is forgotten. The mixture is nearer still.

one, mixture, _ = rivals.values()
share = np.bincount(cdist(made, PHASES).argmin(axis=1), minlength=3) / len(made)
assert distances[STEPS] < 0.07 < 0.6 * one < distances[0], f"proposals must come near, got {distances[STEPS]:.3f}"
assert np.all(np.abs(share - COMMON) < 0.1), f"the phases must be made as often as they are found, got {share}"
assert mixture < distances[STEPS], f"the text must be true, got {mixture:.3f} and {distances[STEPS]:.3f}"
print("checks: passed")
