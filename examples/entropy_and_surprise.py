"""
Entropy and surprise
====================

How much does an answer tell, and when is a model really unsure?

An outcome of probability ``p`` is a surprise of ``-ln p``: nothing if it was certain, more the rarer it was. Entropy is
the surprise that is to be expected. For yes (with probability ``p``) or no, in nats::

    H(p) = -p ln p - (1 - p) ln(1 - p)
"""

# %%
# Surprise
# --------
#
# The surprise of yes is the loss that binary cross-entropy charges when the answer is yes. Weighted by how often each
# answer comes, the two surprises add up to the entropy.

import matplotlib.pyplot as plt
import numpy as np

import xentrs as xe

p = np.linspace(0, 1, 501)
yes = xe.binary_cross_entropy(p, np.ones_like(p), reduction="none")
no = xe.binary_cross_entropy(p, np.zeros_like(p), reduction="none")
H = xe.entropy(np.stack([p, 1 - p], axis=-1))

figure, ax = plt.subplots(figsize=(7, 4.9), layout="constrained")
ax.plot(p, yes, "C0", label="surprise of yes: $-\\ln p$")
ax.plot(p, no, "C1--", label="surprise of no: $-\\ln(1 - p)$")
ax.fill_between(p, H, color="C2", alpha=0.25, linewidth=0)
ax.plot(p, H, "C2", linewidth=3, label="entropy: the mean of both")
ax.plot(0.5, np.log(2), "ko")
ax.annotate("$\\ln 2$: one bit", (0.5, np.log(2)), (0.5, 0.98), ha="center", arrowprops={"arrowstyle": "-"})
ax.set(title="Entropy is expected surprise", xlabel="probability of yes, $p$", ylabel="nats", xlim=(0, 1), ylim=(0, 3))
ax.legend(loc="upper center")
plt.show()

# %%
# A model's doubt
# ---------------
#
# A logistic model answers yes with probability ``sigmoid(a x + b)``. Its entropy peaks where it cannot decide, at ``x =
# -b / a``, and the peak is the narrower the larger ``a`` is: the slope says how wide the doubt is, the intercept where.
# Two logits, ``a x + b`` and 0, give the same distribution, so the entropy comes from logits. That way it keeps its
# digits far out, where ``1 - p`` has rounded to 0.

parameters = [(1, 0), (3, 0), (3, 6), (-8, 20)]
x = np.linspace(-12, 12, 4801)
curves = [xe.entropy(np.stack([a * x + b, 0 * x], axis=-1), from_logits=True) for a, b in parameters]

figure, (top, bottom) = plt.subplots(2, sharex=True, figsize=(7, 5.6), layout="constrained")
for i, ((a, b), curve) in enumerate(zip(parameters, curves, strict=True)):
    top.plot(x, xe.sigmoid(a * x + b), f"C{i}", linestyle=["-", "--", "-.", ":"][i])
    bottom.plot(x, curve, f"C{i}", linestyle=["-", "--", "-.", ":"][i], label=f"$a = {a}$, $b = {b}$")
    bottom.plot(-b / a, np.log(2), f"C{i}o")
top.set(title="What the model says", ylabel="probability of yes")
bottom.set(title="How unsure it is", xlabel="x", ylabel="entropy (nats)", xlim=(-6, 6), ylim=(0, 0.75))
bottom.legend(loc="upper left")
plt.show()

# %%
# The checks
# ----------
#
# The maximum is at one half and is ``ln 2``. The values are those of the closed form. And the doubt of a logistic
# model, its entropy summed over all ``x``, is ``pi^2 / (3 |a|)``, whatever ``b`` is: an integral that is known.

inside = p[1:-1]
closed_form = -inside * np.log(inside) - (1 - inside) * np.log(1 - inside)
np.testing.assert_allclose(H[1:-1], closed_form, rtol=1e-13)
np.testing.assert_allclose(inside * yes[1:-1] + (1 - inside) * no[1:-1], H[1:-1], rtol=1e-13)
assert p[H.argmax()] == 0.5, "entropy must be largest at one half"
assert abs(H.max() - np.log(2)) < 1e-15, "its maximum must be ln 2"
assert H[0] == H[-1] == 0, "nothing is unknown of a certain answer"
for (a, b), curve in zip(parameters, curves, strict=True):
    assert abs(x[curve.argmax()] + b / a) < 0.003, "doubt must peak where the logit is 0"
    np.testing.assert_allclose(curve.sum() * (x[1] - x[0]), np.pi**2 / (3 * abs(a)), rtol=1e-3)
print("checks: passed")
