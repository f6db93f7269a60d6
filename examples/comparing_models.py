"""
Comparing two models
====================

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
# is a pair of logits, so that no probability has to be rounded.

import matplotlib.pyplot as plt
import numpy as np

import xentrs as xe

x = np.linspace(-6, 6, 1201)
careful = np.stack([x, 0 * x], axis=-1)
bold = np.stack([3 * x - 2, 0 * x], axis=-1)

H = xe.entropy(careful, from_logits=True)
H_careful_bold = xe.cross_entropy(careful, bold, from_logits=True)
H_bold_careful = xe.cross_entropy(bold, careful, from_logits=True)
KL = xe.kl_divergence(careful, bold, from_logits=True)

figure, ax = plt.subplots(figsize=(7, 4.9), layout="constrained")
ax.fill_between(x, H, H_careful_bold, color="C1", alpha=0.2, linewidth=0, label="KL(careful || bold)")
ax.plot(x, H_careful_bold, "C1", label="H(careful, bold): the careful one is right")
ax.plot(x, H_bold_careful, "C0--", label="H(bold, careful): the bold one is right")
ax.plot(x, H, "C2-.", label="H(careful): what nobody can avoid")
ax.set(title="To be bold and wrong costs more", xlabel="x", ylabel="nats", xlim=(-4, 4), ylim=(0, 2.6))
ax.legend(loc="upper center")
plt.show()

# %%
# The orders differ. If the careful model is right, the bold one is far too sure of its no around ``x = -1``, and every
# yes that comes is a great surprise. If the bold one is right, the careful one pays too, for doubts that were
# unnecessary, but doubts are never very expensive.
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

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
for i, (name, way) in enumerate(ways.items()):
    left.plot(x, way[:, 0], f"C{i}", linestyle=["-", "--", "-."][i])
    right.plot(
        x,
        xe.cross_entropy(ways["softmax"], way, normalize=True),
        color=f"C{i}",
        linestyle=["-", "--", "-."][i],
        label=f"H(softmax, {name})" if i else "H(softmax): the least",
    )
left.set(title="What each gives the first class", xlabel="its score, x", ylabel="probability, before division")
right.set(title="What it costs if softmax is right", xlabel="x", ylabel="nats", ylim=(0, 1.9))
for ax in (left, right):
    ax.set_xlim(-6, 6)
right.legend(loc="upper left")
for name, way in ways.items():
    print(f"{name:<24} sums to {way.sum(axis=-1).min():.3f} ... {way.sum(axis=-1).max():.3f}")
plt.show()

# %%
# The checks
# ----------
#
# Cross-entropy is entropy plus divergence, everywhere and for every pair of models. It is not symmetric. And each way
# from scores to classes is what it was said to be.

np.testing.assert_allclose(H_careful_bold, H + KL, rtol=1e-13)
for way in ways.values():
    p, q = ways["softmax"], way / way.sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(xe.cross_entropy(p, q), xe.entropy(p) + xe.kl_divergence(p, q), rtol=1e-13)
    assert np.all(xe.cross_entropy(p, way, normalize=True) >= xe.entropy(p) - 1e-15), "no model beats the truth"
np.testing.assert_allclose(H_careful_bold, -(xe.softmax(careful) * xe.log_softmax(bold)).sum(axis=-1), rtol=1e-13)
asymmetry = np.abs(H_careful_bold - H_bold_careful).max()
assert asymmetry > 1, f"the two orders must differ, got {asymmetry:.3f} nats at most"
np.testing.assert_allclose(xe.softmax(careful)[:, 0], xe.sigmoid(x), rtol=1e-13)
np.testing.assert_allclose(ways["tanh, mapped to [0, 1]"], xe.sigmoid(2 * scores), atol=1e-15)
np.testing.assert_allclose(ways["softmax"].sum(axis=-1), 1, rtol=1e-15)
print("checks: passed")
