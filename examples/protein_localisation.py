"""
Where proteins live
===================

A protein is sorted to a compartment of the cell, by signals in its sequence. Some proteins live in several. Is one
softmax over the compartments the right model, or a sigmoid for each?

It depends on whether the compartments exclude each other. With a logit ``z_k`` for each compartment::

    softmax     one of them            loss = lse(z) - z_y                                lse(z) = ln sum_k exp(z_k)
    sigmoids    any number of them     loss = sum_k (softplus(z_k) - y_k z_k)
"""

# %%
# Two kinds of data
# -----------------
#
# A simulation. Two scores are measured in the sequence: a signal of import into the nucleus, and one of import into
# mitochondria. In the first kind of data each protein has one home. In the second the same signals decide about each
# compartment by itself, so that a protein may be found in one, two, three or none.

import matplotlib.pyplot as plt
import numpy as np

import xentrs as xe
from xentrs.models import LogisticRegression, MultiLabelClassifier
from xentrs.stats import cross_entropy_test

COMPARTMENTS = ["nucleus", "cytosol", "mitochondrion"]
WEIGHTS = np.array([[2.2, -0.8], [-1.0, -1.0], [-0.8, 2.2]])
BIAS = np.array([-0.3, 0.6, -0.3])


def draw(n, exclusive, rng):
    """Return the scores of `n` proteins, and a column for each compartment that says whether they live there."""
    X = rng.normal(size=(n, 2))
    z = X @ WEIGHTS.T + BIAS
    if exclusive:
        return X, rng.multinomial(1, xe.softmax(z))
    return X, (rng.random(z.shape) < xe.sigmoid(z)).astype(int)


rng = np.random.default_rng(0)
kinds = {"One home each": True, "Homes overlap": False}
train = {kind: draw(3_000, exclusive, rng) for kind, exclusive in kinds.items()}
test = {kind: draw(20_000, exclusive, rng) for kind, exclusive in kinds.items()}
for kind, (_, homes) in train.items():
    print(
        f"{kind}: " + ", ".join(f"{share:.0%} in {n}" for n, share in enumerate(np.bincount(homes.sum(1)) / len(homes)))
    )

# %%
# Two models
# ----------
#
# The softmax learns from shares: a protein in two compartments has half a vote for each. Those in none say nothing, and
# it leaves them out.


def fit(X, homes):
    """Return the softmax and the sigmoids."""
    told = homes.any(axis=1)
    shares = homes[told] / homes[told].sum(axis=1, keepdims=True)
    return LogisticRegression(C=np.inf).fit(X[told], shares), MultiLabelClassifier(C=np.inf).fit(X, homes)


models = {kind: fit(*train[kind]) for kind in kinds}

# %%
# One measure for both
# --------------------
#
# A protein costs the logarithm of the chance that was given to its whole set of compartments. To be fair, each model
# gets its best reading on the ground of the other. Where each protein has one home, the sigmoids are told so: given
# that just one answer is yes, the chance of compartment k is the softmax of their logits. Where homes overlap, the
# softmax believes that most of what is there is impossible, so its shares are read as one chance for each compartment.
# With each difference comes its 95 % interval.


def losses(kind, exclusive):
    """Return the loss of each held-out protein, by softmax and by sigmoids, each at its best."""
    X, homes = test[kind]
    one, many = (model.decision_function(X) for model in models[kind])
    if exclusive:
        return [xe.softmax_cross_entropy(z, homes.argmax(axis=1), reduction="none") for z in (one, many)]
    apart = xe.binary_cross_entropy(xe.softmax(one), homes, reduction="none")
    return [apart.sum(axis=1), xe.sigmoid_cross_entropy(many, homes, reduction="none").sum(axis=1)]


held_out = {kind: losses(kind, exclusive) for kind, exclusive in kinds.items()}
X, homes = test["One home each"]
untold = models["One home each"][1].decision_function(X)
print(f"sigmoids that are not told: {3 * xe.sigmoid_cross_entropy(untold, homes):.3f} nats per protein")
results = {}
for kind, (softmax, sigmoids) in held_out.items():
    results[kind] = cross_entropy_test(softmax, sigmoids, n_resamples=999, random_state=0)
    low, high = results[kind].interval
    print(f"{kind}: softmax {softmax.mean():.3f}, sigmoids {sigmoids.mean():.3f}, difference {low:+.3f} to {high:+.3f}")

# %%
# What the models believe
# -----------------------
#
# Each compartment is shaded where a protein more likely lives there than not. Where the truth overlaps, the softmax has
# to choose: its chances add up to 1. Where each protein has one home, nothing keeps the sigmoids from giving it two, or
# none.

side = np.linspace(-3, 3, 241)
plane = np.stack(np.meshgrid(side, side), axis=-1)
figure, axes = plt.subplots(2, 3, figsize=(10, 7), layout="constrained", sharex=True, sharey=True)
for row, (kind, exclusive) in zip(axes, kinds.items(), strict=True):
    one, many = models[kind]
    z = plane @ WEIGHTS.T + BIAS
    shown = {
        f"{kind}: truth": xe.softmax(z) if exclusive else xe.sigmoid(z),
        "softmax": xe.softmax(plane @ one.coef_.T + one.intercept_),
        "sigmoids": xe.sigmoid(plane @ many.coef_.T + many.intercept_),
    }
    for ax, (title, chance) in zip(row, shown.items(), strict=True):
        for k in range(3):
            ax.contourf(side, side, chance[..., k], [0.5, 1], colors=[f"C{k}"], alpha=0.35)
            ax.contour(side, side, chance[..., k], [0.5], colors=[f"C{k}"], linestyles=["-", "--", "-."][k])
        ax.set_title(title)
        ax.grid(visible=False)
    row[0].set_ylabel("mitochondrial signal")
for ax in axes[1]:
    ax.set_xlabel("nuclear signal")
lines = [plt.Line2D([], [], color=f"C{k}", linestyle=["-", "--", "-."][k], label=COMPARTMENTS[k]) for k in range(3)]
figure.legend(handles=lines, loc="outside lower center", ncols=3, title="more likely there than not")
plt.show()

# %%
# The check
# ---------
#
# On each kind of data the right model has the lower held-out loss, and not by chance.

one_home, overlap = results.values()
assert one_home.interval[1] < 0, f"where homes exclude each other softmax must win, got {one_home}"
assert overlap.interval[0] > 0, f"where they overlap the sigmoids must win, got {overlap}"
assert max(one_home.pvalue, overlap.pvalue) < 0.01, f"it must not be chance, got {one_home} and {overlap}"
for kind, right in (("One home each", 0), ("Homes overlap", 1)):
    X, homes = test[kind]
    z = X @ WEIGHTS.T + BIAS
    least = 3 * xe.sigmoid_cross_entropy(z, homes) if right else xe.softmax_cross_entropy(z, homes.argmax(axis=1))
    assert held_out[kind][right].mean() < least + 0.01, f"the right model must be as good as the truth, {least:.3f}"
print("checks: passed")
