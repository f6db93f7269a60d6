"""
Learning a representation: the exclusive or
===========================================

One or the other, but not both: four points that no line divides. What does a model need in order to learn them?

The loss is the cross-entropy of one logit, ``softplus(z) - y z``. The three models differ in what the logit sees::

    linear       z = b + w . x                    x1, x2 of -1 and 1, y = 1 where they differ
    product      z = b + w . x + v x1 x2
    network      z = b + w . tanh(B + A x)
"""

# %%
# A line
# ------
#
# Whatever a line gains for one point it loses for another. By symmetry the best weights are 0 and the best answer is
# one half, everywhere: the loss stays at ``ln 2``, that of a coin.

import matplotlib.pyplot as plt
import numpy as np

import xentrs as xe
from xentrs.models import LogisticRegression, MLPClassifier

POINTS, DIFFER = np.array([[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]]), np.array([0, 1, 1, 0])

linear = LogisticRegression(C=np.inf).fit(POINTS, DIFFER)
print("linear: weights", linear.coef_[0].round(6), " chances", linear.predict_proba(POINTS)[:, 1].round(6))

# %%
# A feature
# ---------
#
# Whoever knows the answer may hand it over: the product of both is -1 where they differ. With it a line is enough. No
# penalty would let the weight grow for ever, so there is a weak one.


def with_product(X):
    """Append the product of the two features."""
    return np.column_stack([X, X.prod(axis=1)])


product = LogisticRegression(C=1e4).fit(with_product(POINTS), DIFFER)

# %%
# A representation
# ----------------
#
# A network finds features of its own; two hidden numbers are enough. But its loss is not convex. Of twenty beginnings
# many end at ``ln 2 / 2``: two points are told, the others shared.


def train(seed):
    """Return a network of two hidden numbers, trained from the weights that this seed draws, and its loss."""
    network = MLPClassifier(
        2, activation="tanh", alpha=1e-3, learning_rate_init=0.05, max_iter=400, tol=None, random_state=seed
    ).fit(POINTS, DIFFER)
    return xe.sigmoid_cross_entropy(network.decision_function(POINTS), DIFFER), network


networks = [train(seed) for seed in range(20)]
losses = np.array([loss for loss, _ in networks])
network = networks[losses.argmin()][1]
print("network:", *(f"{loss:.3f}" for loss in losses))

figure, ax = plt.subplots(figsize=(6.2, 4.2), layout="constrained")
for (_, each), style in zip(networks, np.where(losses < 0.1, "C0-", "C1--"), strict=True):
    ax.plot(each.loss_curve_, style, linewidth=1.2, alpha=0.8)
for level, text in ((np.log(2), "ln 2: a coin"), (np.log(2) / 2, "ln 2 / 2: two of four told")):
    ax.axhline(level, color="k", linestyle=":", linewidth=1.2)
    ax.text(395, level + 0.02, text, ha="right")
ax.set(title="Twenty beginnings", xlabel="epoch", ylabel="loss (nats)", xlim=(0, 400), ylim=(0, 1))
plt.show()

# %%
# Blue beginnings solve it, orange ones are stuck. The draw of the weights decides.
#
# Three ways to see the plane
# ---------------------------
#
# Diamonds differ, squares are alike. Purple is the answer that they differ, orange that they are alike. On the black
# line a model cannot tell; the first cannot tell anywhere.

logits = {
    "A line": (linear.decision_function, POINTS),
    "A product": (lambda X: product.decision_function(with_product(X)), POINTS),
    "A network": (network.decision_function, POINTS),
}
loss = {name: xe.sigmoid_cross_entropy(model(points), DIFFER) for name, (model, points) in logits.items()}


def show(ax, model, points, reach=1.4):
    """Draw the answers of a model in the plane, the line of even chances, and the four points."""
    side = np.linspace(-reach, reach, 201)
    z = model(np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)).reshape(201, 201)
    ax.imshow(xe.sigmoid(z), extent=(-reach, reach) * 2, origin="lower", cmap="PuOr", vmin=-0.4, vmax=1.4)
    if np.ptp(z) > 1e-6:
        ax.contour(side, side, z, [0.0], colors="k", linewidths=1.5)
    for answer, marker in enumerate("sD"):
        ax.plot(*points[answer == DIFFER].T, f"k{marker}", zorder=3, fillstyle=["none", "full"][answer], markersize=9)
    ax.grid(visible=False)


figure, axes = plt.subplots(1, 3, figsize=(7.4, 3.2), layout="constrained", sharey=True)
for ax, (name, (model, points)) in zip(axes, logits.items(), strict=True):
    show(ax, model, points)
    ax.set(title=f"{name}:\nloss {loss[name]:.3f}", xlabel="$x_1$", ylabel="$x_2$" if ax is axes[0] else "")
plt.show()

# %%
# What the network sees
# ---------------------
#
# Its two hidden numbers, for the four points and for a grid of 441 points between them.

# sphinx_gallery_thumbnail_number = 3
(A, w), (B, b) = network.coefs_, network.intercepts_
figure, ax = plt.subplots(figsize=(5.4, 5.2), layout="constrained")
show(ax, lambda H: H @ w[:, 0] + b, np.tanh(POINTS @ A + B), 1.1)
grid = np.stack(np.meshgrid(*2 * [np.linspace(-1, 1, 21)]), axis=-1).reshape(-1, 2)
ax.plot(*np.tanh(grid @ A + B).T, "C2o", markersize=4, alpha=0.6)
ax.set(title="What the network sees", xlabel="first hidden number", ylabel="second hidden number", xticks=[-1, 0, 1])
plt.show()

# %%
# The whole grid (green) has fallen on a line: of the plane the network keeps ``x1 + x2`` alone. And it has bent that
# line round a corner. The two points that differ lie on top of each other at the corner, those that are alike at the
# ends, and one straight cut takes the corner off.

# %%
# The check
# ---------
#
# The line loses ``ln 2`` and cannot do better, whatever its weights. The product and the network lose next to nothing.
# It keeps ``x1 + x2``; the points lie as described.

np.testing.assert_allclose(loss["A line"], np.log(2), rtol=1e-9)
others = np.random.default_rng(0).normal(scale=2.0, size=(1000, 3)) @ np.column_stack([POINTS, np.ones(4)]).T
assert xe.sigmoid_cross_entropy(others, np.tile(DIFFER, (1000, 1)), reduction="none").mean(axis=1).min() > np.log(2)
assert loss["A product"] < 0.001, f"with the product the loss must vanish, got {loss['A product']:.4f}"
assert loss["A network"] < 0.01, f"the network's loss must vanish, got {loss['A network']:.4f}"
np.testing.assert_allclose(A[0], A[1], rtol=0.05, err_msg="only x1 + x2 may count")
ends = np.tanh(POINTS @ A + B)
assert np.abs(ends[1] - ends[2]).max() < 0.1 < 1.5 < np.abs(ends[0] - ends[3]).max(), f"got {ends}"
stuck = losses[losses > 0.01]
np.testing.assert_allclose(stuck, np.log(2) / 2, rtol=0.01, err_msg="those that are stuck must be at ln 2 / 2")
np.testing.assert_array_equal(network.predict(POINTS), DIFFER)
print("checks: passed")
