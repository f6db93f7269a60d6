"""
When raters disagree
====================

Five raters look at the same case and do not agree. Is their majority the label, or is their disagreement part of it?

The target of cross-entropy may be a distribution: the shares ``t`` of the raters' votes, in place of one class. Each
case costs::

    loss = sum_k t_k (lse(z) - z_k)           d loss / d z = softmax(z) - t           lse(z) = ln sum_k exp(z_k)
"""

# %%
# Cases and raters
# ----------------
#
# A case is a point in the plane. How often raters choose each of three classes there, is known: it is the truth of the
# simulation. Between the classes they disagree, as raters do.

import matplotlib.pyplot as plt
import numpy as np
from scipy.optimize import minimize

import xentrs as xe

CLASSES, RATERS = 3, 5
angles = 2 * np.pi * np.arange(CLASSES) / CLASSES + np.pi / 2
TRUE_WEIGHTS = np.vstack([1.1 * np.array([np.cos(angles), np.sin(angles)]), [[0.3, 0.0, -0.3]]])


def draw(n, rng):
    """Return `n` cases with a constant appended, the truth about them, and the shares of the raters' votes."""
    X = np.column_stack([rng.normal(scale=1.5, size=(n, 2)), np.ones(n)])
    truth = xe.softmax(X @ TRUE_WEIGHTS)
    return X, truth, rng.multinomial(RATERS, truth) / RATERS


def fit(X, target, **options):
    """Return the weights of a softmax regression, by L-BFGS."""

    def objective(flat):
        weights = flat.reshape(X.shape[1], CLASSES)
        loss, grad = xe.softmax_cross_entropy_with_grad(X @ weights, target, **options)
        return loss + 1e-4 * np.sum(weights**2), (X.T @ grad + 2e-4 * weights).ravel()

    return minimize(objective, np.zeros(X.shape[1] * CLASSES), jac=True, method="L-BFGS-B").x.reshape(-1, CLASSES)


# %%
# Three targets
# -------------
#
# The votes as they are; their majority (a tie goes to a class drawn among the leaders); the majority with label
# smoothing, the usual remedy for labels that are too sure. The same cases for all, and forty repetitions. Held out are
# 20000 cases, where the loss is that of the answers raters would give.

rng = np.random.default_rng(0)
X_test, truth_test, _ = draw(20_000, rng)
floor = xe.entropy(truth_test).mean()
fitted, held_out = {}, {"majority": [], "majority, smoothed by 0.1": [], "shares of the votes": []}
for _ in range(40):
    X, truth, votes = draw(200, rng)
    majority = np.argmax(votes + 1e-6 * rng.random(votes.shape), axis=-1)
    fitted["majority"] = fit(X, majority)
    fitted["majority, smoothed by 0.1"] = fit(X, majority, label_smoothing=0.1)
    fitted["shares of the votes"] = fit(X, votes)
    for name, weights in fitted.items():
        held_out[name].append(xe.softmax_cross_entropy(X_test @ weights, truth_test))
print(f"the least possible held-out loss, H(truth): {floor:.4f}")
for name, losses in held_out.items():
    print(f"{name:<28}{np.mean(losses):.4f} +- {np.std(losses) / np.sqrt(len(losses)):.4f}")

# %%
# What the models believe
# -----------------------
#
# Colour says which class a model prefers, and its depth how sure it is. The dots are the last 200 cases, coloured by
# their majority. The model of the majority is sure almost everywhere; the one of the votes has learnt where raters
# disagree.

shades = np.array([[0, 114, 178], [213, 94, 0], [0, 158, 115]]) / 255
side = np.linspace(-4, 4, 201)
plane = np.stack([*np.meshgrid(side, side), np.ones((201, 201))], axis=-1)
figure, axes = plt.subplots(1, 3, figsize=(11, 4.2), layout="constrained", sharex=True, sharey=True)
shown = {
    "The truth": TRUE_WEIGHTS,
    "From the majority": fitted["majority"],
    "From the votes": fitted["shares of the votes"],
}
for ax, (title, weights) in zip(axes, shown.items(), strict=True):
    ax.imshow(1 - xe.softmax(plane @ weights) @ (1 - shades), extent=(-4, 4, -4, 4), origin="lower", alpha=0.75)
    ax.scatter(*X[:, :2].T, c=shades[majority], s=14, edgecolor="white", linewidth=0.6)
    ax.set(title=title, xlabel="first feature", xlim=(-4, 4), ylim=(-4, 4))
    ax.grid(visible=False)
axes[0].set_ylabel("second feature")
plt.show()

# %%
# What it costs
# -------------
#
# On the left each line is one repetition. On the right: how often a class is chosen where a model says how often. The
# model of the majority says 85 % where raters choose the class six times in ten.

figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
left.plot(list(held_out.values()), color="grey", linewidth=0.8, alpha=0.6)
left.plot([np.mean(losses) for losses in held_out.values()], "ko-", label="mean")
left.axhline(floor, color="k", linestyle=":", label="H(truth), the least possible")
left.set_xticks(range(3), ["majority", "majority,\nsmoothed by 0.1", "shares of\nthe votes"])
left.set(title="Held-out loss", ylabel="nats per answer", xlim=(-0.2, 2.2))
left.legend()
bins = np.linspace(0, 1, 11)
right.plot([0, 1], [0, 1], "k:", label="said as it is")
for (name, weights), color, marker in zip(fitted.items(), ["C1", "C2", "C0"], "os^", strict=True):
    said = xe.softmax(X_test @ weights).ravel()
    place = np.digitize(said, bins[1:-1])
    mean_said, mean_true = (np.bincount(place, values) / np.bincount(place) for values in (said, truth_test.ravel()))
    right.plot(mean_said, mean_true, f"{color}{marker}-", linewidth=1.5, label=name)
right.set(title="Said and true", xlabel="probability said", ylabel="how often raters choose it")
right.legend()
plt.show()

# %%
# The check
# ---------
#
# In every one of the forty repetitions the shares of the votes beat their majority, and on average they beat smoothing
# too.

hard, smooth, soft = map(np.array, held_out.values())
assert np.all(soft < hard), f"soft labels must beat the majority vote, got {np.sum(soft >= hard)} repetitions where not"
lead = smooth - soft
assert lead.mean() > 3 * lead.std() / np.sqrt(len(lead)), "soft labels must beat smoothing"
assert soft.mean() - floor < 0.1 * (hard.mean() - floor), "soft labels must come close to the least possible loss"
print("checks: passed")
