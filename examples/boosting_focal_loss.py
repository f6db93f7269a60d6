"""
Boosting with focal loss: one fault in two hundred
==================================================

One part in two hundred fails in service. Trees are to rank all parts by how likely that is. Does a focal loss make a
better ranking than the plain loss, or than more weight for the faults?

Boosting adds tree after tree, each fitted to the derivatives of the loss at the raw scores ``z`` so far. Of a focal
loss a sample counts the less, the better it is answered. With ``p = sigmoid(z)``::

    plain       -y ln p - (1 - y) ln(1 - p)
    weighted    -beta y ln p - (1 - y) ln(1 - p)
    focal       -(1 - p)^gamma y ln p - p^gamma (1 - y) ln(1 - p)
"""

# %%
# Parts, and the chance of each
# -----------------------------
#
# A simulation, so that the best possible ranking is known: the one by the true chance. Of eight measures of a part
# three matter, two of them by their product, which trees have to piece together. There are three sets to learn from,
# each with one to choose options by, and a large one to judge by.

from importlib.util import find_spec

import matplotlib.pyplot as plt
import numpy as np
from sklearn.metrics import average_precision_score

import xentrs as xe
from xentrs.boosting import Focal

if not find_spec("lightgbm"):
    print("left out: boosting_focal_loss needs the package lightgbm: pip install 'xentrs[examples]'")
    raise SystemExit
import lightgbm as lgb

rng = np.random.default_rng(0)


def draw(n):
    """Return the measures of `n` parts, which of them fail, and the true chance of that."""
    X = rng.normal(size=(n, 8)).astype(np.float32)
    chance = xe.sigmoid(3 * (X[:, 0] * X[:, 1] + X[:, 2]) - 13.3)
    return X, rng.random(n) < chance, chance


X_test, fails_test, chance_test = draw(40_000)
sets = [(draw(15_000), draw(10_000)) for _ in range(3)]
best = average_precision_score(fails_test, chance_test)
print(f"{fails_test.sum()} of {len(X_test)} parts fail; average precision by the true chance {best:.3f}")

# %%
# Three losses
# ------------
#
# The plain and the weighted loss are LightGBM's own; the focal one is an objective of ours (:doc:`/boosting`). The
# number of trees, the weight and ``gamma`` are those that suit the second set best. So is ``lambda_l2``, a penalty on
# the values of leaves, the second time; the first time it is 0, as it is by default.

PENALTIES = {"no penalty": (0.0,), "penalty tuned": (0.0, 1.0)}
LOSSES = {
    "plain": [{"objective": "binary"}],
    "weighted": [{"objective": "binary", "scale_pos_weight": beta} for beta in (3.0, 30.0)],
    "focal": [{"objective": Focal(gamma=gamma)} for gamma in (1.0, 2.0)],
}
COMMON = {"metric": "average_precision", "num_leaves": 8, "verbose": -1, "seed": 0, "num_threads": 1}


def boost(train, tune, objective, **options):
    """Return the best average precision on the second set, and a function that gives raw scores by the trees for it."""
    start = None
    if isinstance(objective, Focal):
        start, objective = objective.init_score(train[1]), objective.lightgbm
    data = lgb.Dataset(train[0], train[1].astype(float), init_score=start)
    held_out, history = lgb.Dataset(tune[0], tune[1].astype(float), reference=data), {}
    seen = lgb.record_evaluation(history)
    params = COMMON | options | {"objective": objective}
    booster = lgb.train(params, data, 60, valid_sets=[held_out], valid_names=["tune"], callbacks=[seen])
    precision = history["tune"]["average_precision"]
    n = 1 + np.argmax(precision)
    return max(
        precision
    ), lambda X: booster.predict(X, num_iteration=n, raw_score=True) + (0 if start is None else start[0])


results = {(name, way): [] for name in LOSSES for way in PENALTIES}
for train, tune in sets:
    for name, grid in LOSSES.items():
        tried = {l2: [boost(train, tune, **options, lambda_l2=l2) for options in grid] for l2 in (0.0, 1.0)}
        for way, penalties in PENALTIES.items():
            _, score = max((one for l2 in penalties for one in tried[l2]), key=lambda one: one[0])
            z = score(X_test)
            results[name, way].append([average_precision_score(fails_test, z), xe.sigmoid_cross_entropy(z, fails_test)])
results = {key: np.array(values) for key, values in results.items()}
share = fails_test.mean()
print(f"the share of faults, for every part: loss {xe.entropy([share, 1 - share]):.4f}")
for (name, way), values in results.items():
    print(f"{name:<9}{way:<14}average precision {values[:, 0].mean():.3f}, loss {values[:, 1].mean():.4f}")

figure, ax = plt.subplots(figsize=(6, 3.8), layout="constrained")
for place, ((name, way), values) in enumerate(results.items()):
    color = f"C{[*LOSSES].index(name)}"
    ax.plot(
        values[:, 0], np.full(len(sets), place), f"{color}o", fillstyle="full" if way == "penalty tuned" else "none"
    )
    ax.plot(values[:, 0].mean(), place, f"{color}|", markersize=26, markeredgewidth=3)
ax.axvline(best, color="k", linestyle=":")
ax.text(best - 0.01, 2.5, "by the true chance", rotation=90, ha="right", va="center")
ax.set_yticks(range(len(results)), [f"{name}, {way}" for name, way in results])
ax.set(
    title="How well trees rank the faults", xlabel="average precision on new parts", ylim=(5.6, -0.6), xlim=(0.2, 0.9)
)
plt.show()

# %%
# *A mark for each set, a bar for the mean. Without a penalty the focal loss ranks best; with it the losses are alike.*
#
# A leaf's value is a sum of gradients, divided by one of second derivatives. Of rare faults these are next to nothing,
# and the steps as large as chance has it. The focal objective divides by absolute gradients, and ``lambda_l2`` adds to
# the divisor: two remedies for the same thing. The plain loss with the penalty needs no focus, and its loss is a third
# of the focal one's, whose probabilities are too near to one half: the share of faults, for every part, is better. A
# weight does no harm to the loss where the penalty is there.
#
# The check
# ---------
#
# Without a penalty the focal loss wins; with it the plain loss ranks as well, and has a lower loss than the focal one.

precision, loss = ({key: values[:, j].mean() for key, values in results.items()} for j in range(2))
plain, weighted, focal = (precision[name, "no penalty"] for name in LOSSES)
assert best > focal > max(plain, weighted) + 0.05, f"the focal loss must win without a penalty, got {precision}"
gap = precision["plain", "penalty tuned"] - precision["focal", "penalty tuned"]
assert abs(gap) < 0.06, f"the penalty must make up for the focus, got {precision}"
assert xe.entropy([share, 1 - share]) < loss["focal", "penalty tuned"], f"focal chances must be far off, got {loss}"
assert loss["plain", "penalty tuned"] < min(loss["focal", way] for way in PENALTIES), f"got {loss}"
print("checks: passed")
