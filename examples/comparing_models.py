"""
Cross-entropy and Kullback-Leibler divergence: comparing two models
===================================================================

Two models give different probabilities to the same question. How far apart are they, and does it matter which one is
right?

If outcomes follow ``p`` while ``q`` was expected, the mean surprise is the cross-entropy. It splits into what nobody
can avoid, the entropy of ``p``, and what the wrong expectation adds, the Kullback-Leibler divergence::

    H(p, q) = -sum_k p_k ln q_k = H(p) + KL(p || q)
"""

# %%
# Two logistic models
# -------------------
#
# One model is careful, ``p = sigmoid(x)``. The other is bold and decides a little later, ``q = sigmoid(3 x - 2)``. Each
# is a pair of logits, so that no probability has to be rounded. Either of them may be the one that is right.

import matplotlib.pyplot as plt
import numpy as np

import xentrs as xe

x = np.linspace(-6, 6, 1201)
models = {"careful": np.stack([x, 0 * x], axis=-1), "bold": np.stack([3 * x - 2, 0 * x], axis=-1)}

figure, axes = plt.subplots(2, 1, figsize=(6.2, 7), layout="constrained", sharex=True)
parts = {}
for ax, (right, wrong), color in zip(axes, [("careful", "bold"), ("bold", "careful")], ["C1", "C0"], strict=True):
    p, q = models[right], models[wrong]
    entropy, cost = xe.entropy(p, from_logits=True), xe.cross_entropy(p, q, from_logits=True)
    avoidable = xe.kl_divergence(p, q, from_logits=True)
    parts[right] = p, q, entropy, cost, avoidable
    ax.fill_between(x, entropy, cost, color=color, alpha=0.25, linewidth=0, label=f"KL({right} || {wrong})")
    ax.plot(x, cost, color, label=f"H({right}, {wrong})")
    ax.plot(x, entropy, "C2-.", label=f"H({right})")
    ax.set(title=f"The {right} model is right", ylabel="nats", xlim=(-4, 4), ylim=(0, 1.6))
    ax.legend(loc="upper right")
    print(f"the {right} model is right: the other loses up to {avoidable.max():.2f} nats more than it has to")
axes[1].set_xlabel("x")
plt.show()

# %%
# Each panel has its own entropy, the floor: the shaded height above it is the divergence. The two shaded areas differ.
# If the careful model is right, the bold one is far too sure of its no around ``x = -1``, and every yes that comes is a
# great surprise. If the bold one is right, the careful one pays for doubts that were unnecessary, and doubts are never
# very expensive.
#
# From scores to classes
# ----------------------
#
# The same scores of three classes, made into probabilities in three ways. Softmax compares the classes with each other.
# A sigmoid looks at each class alone, and so does ``(1 + tanh z) / 2``, which is ``sigmoid(2 z)``: the steeper one.
# What these two give does not add up to one, and has to be divided by its sum before it is a distribution.

scores = np.stack([x, 0 * x + 0.5, 0 * x - 1], axis=-1)
ways = {
    "softmax": xe.softmax(scores),
    "sigmoid": xe.sigmoid(scores),
    "tanh, mapped to [0, 1]": (1 + np.tanh(scores)) / 2,
}
for name, way in ways.items():
    print(f"{name:<24} sums to {way.sum(axis=-1).min():.3f} ... {way.sum(axis=-1).max():.3f}")

# sphinx_gallery_thumbnail_number = 2
figure, ax = plt.subplots(figsize=(6.2, 4.3), layout="constrained")
for (name, way), style in zip(ways.items(), ["C0-", "C1--", "C2-."], strict=True):
    cost = xe.cross_entropy(ways["softmax"], way, normalize=True)
    ax.plot(x, cost, style, label=f"H(softmax, {name})" if name != "softmax" else "H(softmax), the least")
ax.set(title="What the other ways cost", xlabel="score of the first class", ylabel="nats", xlim=(-6, 6), ylim=(0, 1.5))
ax.legend(loc="upper left")
plt.show()

# %%
# Where the first score is small the three ways nearly agree on the others, and cost about the same. Where it is large,
# softmax gives the first class everything. The other two cannot: the second and third keep the share that their own
# scores give them.
#
# The checks
# ----------
#
# Cross-entropy is entropy plus divergence, everywhere and for every pair of models. The divergence is not symmetric:
# being bold and wrong costs more than twice as much. And each way from scores to classes is what it was said to be.

for p, q, entropy, cost, avoidable in parts.values():
    np.testing.assert_allclose(cost, entropy + avoidable, rtol=1e-13)
    np.testing.assert_allclose(cost, -(xe.softmax(p) * xe.log_softmax(q)).sum(axis=-1), rtol=1e-13)
assert parts["careful"][-1].max() > 2 * parts["bold"][-1].max(), "to be bold and wrong must cost more"
for way in ways.values():
    p, q = ways["softmax"], way / way.sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(xe.cross_entropy(p, q), xe.entropy(p) + xe.kl_divergence(p, q), rtol=1e-13)
    assert np.all(xe.cross_entropy(p, way, normalize=True) >= xe.entropy(p) - 1e-15), "no model beats the truth"
np.testing.assert_allclose(xe.softmax(models["careful"])[:, 0], xe.sigmoid(x), rtol=1e-13)
np.testing.assert_allclose(ways["tanh, mapped to [0, 1]"], xe.sigmoid(2 * scores), atol=1e-15)
np.testing.assert_allclose(ways["softmax"].sum(axis=-1), 1, rtol=1e-15)
print("checks: passed")
