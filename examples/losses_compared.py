"""
Losses compared
===============

What does each loss charge for an answer, and which way, and how hard, does it push?

The margin ``m`` is by how much the right answer leads: the logit of yes, where yes is right. With ``p = sigmoid(m)``::

    cross-entropy   -ln p                     hinge           max(0, 1 - m)
    focal           -(1 - p)^2 ln p           squared hinge   max(0, 1 - m)^2
"""

# %%
# Values and slopes
# -----------------
#
# Each function returns the loss and its slope from one sweep. The squared error of the probability, ``(1 - p)^2``,
# stands beside them to show what saturation is: where it is surest and wrong its slope is 0, so it never learns its
# worst mistakes.

import matplotlib.pyplot as plt
import numpy as np
from scipy.special import log_softmax

import xentrs as xe

m = np.linspace(-5, 5, 1001)
yes = np.ones_like(m)
p = xe.sigmoid(m)
losses = {
    "cross-entropy": xe.sigmoid_cross_entropy(m, yes, reduction="none"),
    "focal, $\\gamma = 2$": xe.sigmoid_focal_loss(m, yes, gamma=2.0, reduction="none"),
    "hinge": xe.hinge_loss(m, yes, reduction="none"),
    "squared hinge": xe.hinge_loss(m, yes, squared=True, reduction="none"),
}
slopes = [
    xe.sigmoid_cross_entropy_with_grad(m, yes, reduction="none").grad,
    xe.sigmoid_focal_loss_with_grad(m, yes, gamma=2.0, reduction="none").grad,
    xe.hinge_loss_with_grad(m, yes, reduction="none").grad,
    xe.hinge_loss_with_grad(m, yes, squared=True, reduction="none").grad,
]

figure, (left, right) = plt.subplots(1, 2, figsize=(10.5, 4.6), layout="constrained")
for i, ((name, loss), slope) in enumerate(zip(losses.items(), slopes, strict=True)):
    left.plot(m, loss, f"C{i}", linestyle=["-", "--", "-.", ":"][i], label=name)
    right.plot(m, slope, f"C{i}", linestyle=["-", "--", "-.", ":"][i])
left.plot(m, (1 - p) ** 2, color="grey", linewidth=1.5, label="squared error of $p$")
right.plot(m, -2 * (1 - p) ** 2 * p, color="grey", linewidth=1.5)
left.set(title="What a margin costs", xlabel="margin", ylabel="loss (nats for the first two)", ylim=(0, 5))
right.set(title="How hard it is pushed", xlabel="margin", ylabel="slope", ylim=(-3, 0.2))
right.text(-4.9, -0.55, "saturated: wrong,\nand not pushed", color="dimgrey")
left.legend()
plt.show()

# %%
# Label smoothing
# ---------------
#
# A label that is believed to be right but for a share ``e`` costs least where the model says just that, and there the
# loss is not 0 but the entropy of the smoothed label ``y``. Beyond that margin certainty is charged.

smoothings = [0.0, 0.05, 0.1, 0.3]
wide = np.linspace(-2, 8, 10001)
figure, ax = plt.subplots(figsize=(7, 4.4), layout="constrained")
smoothed = {}
for i, e in enumerate(smoothings):
    smoothed[e] = xe.sigmoid_cross_entropy(wide, np.ones_like(wide), label_smoothing=e, reduction="none")
    ax.plot(wide, smoothed[e], f"C{i}", linestyle=["-", "--", "-.", ":"][i], label=f"smoothing {e}")
    if e:
        ax.plot(np.log((1 - e / 2) / (e / 2)), xe.entropy([1 - e / 2, e / 2]), f"C{i}o")
ax.set(title="The least that a smoothed label costs is H(y)", xlabel="margin", ylabel="loss (nats)", ylim=(0, 1.6))
ax.legend(loc="upper center")
plt.show()

# %%
# Where other formulas stop
# -------------------------
#
# In float32 the usual ways to a loss return exactly 0 for a confident, right answer. What is 0 has no digits and no
# gradient. The truth beside them is computed in double precision.

# sphinx_gallery_thumbnail_number = 3
margins = np.linspace(0, 40, 801, dtype=np.float32)
logits = np.stack([margins, 0 * margins], axis=-1)
first = np.zeros(len(margins), dtype=int)
truth = np.log1p(np.exp(-margins.astype(np.float64)))
contenders = {
    "xentrs": xe.softmax_cross_entropy(logits, first, reduction="none"),
    "scipy.special.log_softmax": -log_softmax(logits, axis=-1)[:, 0],
    "ln(sum of exp) - logit": np.log(np.exp(logits).sum(axis=-1)) - logits[:, 0],
}

figure, ax = plt.subplots(figsize=(7, 4.4), layout="constrained")
ax.plot(margins, truth, color="lightgrey", linewidth=8, label="truth")
last = {}
for i, (name, loss) in enumerate(contenders.items()):
    last[name] = margins[loss > 0].max()
    ax.plot(margins[loss > 0], loss[loss > 0], f"C{i}", linewidth=1.8, label=name)
    ax.plot(last[name], loss[loss > 0][-1], f"C{i}o")
    print(f"{name:<28} last margin with a loss above 0: {last[name]:.2f}")
ax.set(title="Confident predictions in float32", xlabel="margin", ylabel="loss (nats)", yscale="log")
ax.legend()
plt.show()

# %%
# The checks
# ----------
#
# Values and slopes are those of the formulas, the least that a smoothed label
# costs is ``H(y)``, and no digit is lost at any margin.

formulas = [-np.log(p), -((1 - p) ** 2) * np.log(p), np.maximum(0, 1 - m), np.maximum(0, 1 - m) ** 2]
derivatives = [
    p - 1,
    (1 - p) ** 2 * (2 * p * np.log(p) + p - 1),
    np.where(m < 1, -1, 0),
    -2 * np.maximum(0, 1 - m),
]
for name, formula, derivative, slope in zip(losses, formulas, derivatives, slopes, strict=True):
    np.testing.assert_allclose(losses[name], formula, rtol=1e-12, atol=1e-15, err_msg=f"value of {name}")
    np.testing.assert_allclose(slope, derivative, rtol=1e-11, atol=1e-15, err_msg=f"slope of {name}")
for e in smoothings[1:]:
    np.testing.assert_allclose(smoothed[e].min(), xe.entropy([1 - e / 2, e / 2]), rtol=1e-6)
    assert abs(wide[smoothed[e].argmin()] - np.log((2 - e) / e)) < 1e-3, "the model must say what the label says"
np.testing.assert_allclose(contenders["xentrs"], truth, rtol=1e-6)
assert last["ln(sum of exp) - logit"] < 17, "the usual formula must have lost the loss by here"
print("checks: passed")
