"""
Which answers need a second look
================================

A screening sorts hundreds of samples into ten classes, most of them right. Which ones may pass without a second look:
can one believe the model when it says that it is sure?

Confidence is the largest probability of the softmax. It is calibrated if of the samples with confidence ``c`` a share
of ``c`` is right. The expected calibration error is the mean gap. Temperature scaling closes it with one number::

    p = softmax(z / T)          T minimises the cross-entropy of samples that the model has not seen
"""

# %%
# A table
# -------
#
# In materials science the classes would be crystal systems or phases, and the columns descriptors of the composition.
# No library ships such a table. A real one of that shape comes with scikit-learn: 64 numbers measured of each of 1797
# handwritten digits. 500 are there to learn from, 400 to find the temperature, the other 897 are held out. Twenty
# random splits show what is luck.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

import xentrs as xe
from xentrs.models import LogisticRegression, TemperatureScaler

X, y = load_digits(return_X_y=True)
X = X / 16
splits = [np.split(np.random.default_rng(seed).permutation(len(y)), [500, 900]) for seed in range(20)]

# %%
# A model, before and after
# -------------------------
#
# A softmax regression that is hardly held back by a penalty learns its samples by heart: all 500 right, at almost no
# loss. It is as sure of the others, and there it is wrong more often than it says. Dividing the logits by a temperature
# changes no answer.

before, after, y_test, temperatures = [], [], [], []
for learn, tune, test in splits:
    model = LogisticRegression(C=1e4).fit(X[learn], y[learn])
    scaler = TemperatureScaler().fit(model.decision_function(X[tune]), y[tune])
    before.append(model.decision_function(X[test]))
    after.append(scaler.transform(before[-1]))
    y_test.append(y[test])
    temperatures.append(scaler.temperature_)
print(f"accuracy {np.mean(model.predict(X[learn]) == y[learn]):.1%} on samples learnt, ", end="")
print(f"{np.mean(before[-1].argmax(axis=1) == y_test[-1]):.1%} on those held out; temperature {temperatures[-1]:.1f}")


def judge(logits):
    """Return calibration error and loss of each split."""
    pairs = list(zip(logits, y_test, strict=True))
    return [[measure(z, t) for z, t in pairs] for measure in (xe.expected_calibration_error, xe.softmax_cross_entropy)]


(ece_before, loss_before), (ece_after, loss_after) = np.array(judge(before)), np.array(judge(after))
print(f"calibration error {ece_before.mean():.3f} before, {ece_after.mean():.3f} after")
print(f"held-out loss     {loss_before.mean():.3f} before, {loss_after.mean():.3f} after")

# %%
# Said and true
# -------------
#
# On the left the reliability diagram of all splits: how often the model is right where it says how often. The bars say
# how many samples are where. On the right each line is a split.

edges = np.linspace(0, 1, 11)
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.9), layout="constrained")
left.plot([0, 1], [0, 1], "k:", label="said as it is")
for name, logits, style in (("before", before, "C1s--"), ("after", after, "C0o-")):
    chance = xe.softmax(np.concatenate(logits))
    sure, right_answer = chance.max(axis=1), chance.argmax(axis=1) == np.concatenate(y_test)
    place = np.digitize(sure, edges[1:-1])
    filled = np.flatnonzero(np.bincount(place) > 20)
    said, true = (np.bincount(place, values)[filled] / np.bincount(place)[filled] for values in (sure, right_answer))
    left.plot(said, true, style, label=name)
    share = np.bincount(place, minlength=10) / len(place)
    left.stairs(share, edges, color=style[:2], fill=name == "after", alpha=0.3 if name == "after" else 1, linewidth=1.5)
left.text(0.14, 0.05, "bars: share of the samples", color="dimgrey")
left.set(title="Reliability", xlabel="confidence", ylabel="share that is right", xlim=(0, 1), ylim=(0, 1.02))
left.legend(loc="upper left")
right.plot([ece_before, ece_after], color="grey", linewidth=0.8, alpha=0.6)
right.plot([ece_before.mean(), ece_after.mean()], "ko-", label="mean of the splits")
right.set_xticks([0, 1], ["before", "after"])
right.set(title="Calibration error", ylabel="mean gap of confidence and accuracy", xlim=(-0.2, 1.2), ylim=0)
right.legend()
plt.show()

# %%
# Which may pass
# --------------
#
# The samples pass in the order of their confidence. How many errors does the model promise among those that pass, and
# how many are there?

figure, ax = plt.subplots(figsize=(7.6, 4.8), layout="constrained")
promised, found = {}, {}
for name, logits, color in (("before", before, "C1"), ("after", after, "C0")):
    chance = xe.softmax(np.concatenate(logits))
    order = np.argsort(-chance.max(axis=1))
    passed = np.arange(1, len(order) + 1)
    promised[name] = np.cumsum(1 - chance.max(axis=1)[order]) / passed
    found[name] = np.cumsum((chance.argmax(axis=1) != np.concatenate(y_test))[order]) / passed
    ax.plot(passed[500:] / len(order), promised[name][500:], f"{color}--", label=f"promised {name} scaling")
    ax.plot(passed[500:] / len(order), found[name][500:], color, label=f"found {name} scaling")
ax.set(title="Errors among those that pass", xlabel="share of the samples that pass", ylabel="share of errors")
ax.set(yscale="log", ylim=(1e-5, 0.2), xlim=(0, 1))
ax.legend(loc="upper left")
plt.show()

# %%
# The check
# ---------
#
# In each of the twenty splits the calibration error falls, and the loss; on average the error falls to less than half.
# No answer changes. If nine in ten pass, the errors are as many as promised, to a factor of 1.5.

assert np.all(ece_after < ece_before), f"calibration error must fall in each split, got {ece_after - ece_before}"
assert ece_after.mean() < ece_before.mean() / 2, f"got {ece_before.mean():.4f} before, {ece_after.mean():.4f} after"
assert np.all(loss_after < loss_before), "the held-out loss must fall too"
assert all(np.all(a.argmax(axis=1) == b.argmax(axis=1)) for a, b in zip(after, before, strict=True))
nine = int(0.9 * len(order))
assert 2 / 3 < found["after"][nine] / promised["after"][nine] < 3 / 2, "the promise must be kept"
assert found["before"][nine] > 5 * promised["before"][nine], "unscaled it must be broken, or the example shows nothing"
print("checks: passed")
