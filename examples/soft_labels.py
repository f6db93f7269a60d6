"""
Soft labels: when raters disagree
=================================

Five raters look at the same case and do not agree. Is their majority the label, or is their disagreement part of it?

The target of cross-entropy may be a distribution: the shares ``t`` of the raters' votes, in place of one class. Each
case costs::

    loss = sum_k t_k (lse(z) - z_k)           d loss / d z = softmax(z) - t           lse(z) = ln sum_k exp(z_k)

A model of the majority is too sure where raters disagree. Label smoothing and weight decay make it less sure. Do they
make up for the votes?
"""

# %%
# Cases and raters
# ----------------
#
# A case is a point in the plane. How often raters choose each of three classes there is known: it is the truth of the
# simulation. Between the classes they disagree, as raters do.

import matplotlib.pyplot as plt
import numpy as np

import xentrs as xe
from xentrs.models import LogisticRegression

CASES, RATERS, REPETITIONS = 200, 5, 16
angles = 2 * np.pi * np.arange(3) / 3 + np.pi / 2
TRUE_WEIGHTS, TRUE_BIAS = 1.1 * np.array([np.cos(angles), np.sin(angles)]), np.array([0.3, 0.0, -0.3])


def draw(n, rng):
    """Return `n` cases, the truth about them, the shares of the votes, and the majority (a tie is decided by lot)."""
    X = rng.normal(scale=1.5, size=(n, 2))
    truth = xe.softmax(X @ TRUE_WEIGHTS + TRUE_BIAS)
    votes = rng.multinomial(RATERS, truth) / RATERS
    return X, truth, votes, np.argmax(votes + 1e-6 * rng.random(votes.shape), axis=1)


# %%
# Three targets, and what has to be tuned
# ---------------------------------------
#
# The votes; their majority; the majority with label smoothing. For each the weight decay is tuned, and the smoothing,
# on 200 further cases, which are neither trained on nor tested on: by the loss of their votes, or by that of their
# majority, if nothing else was kept. The test is 20000 cases whose truth is known. All is repeated sixteen times.

rng = np.random.default_rng(0)
X_test, truth_test, *_ = draw(20_000, rng)
floor = xe.entropy(truth_test).mean()
decays = np.geomspace(1e-3, 0.3, 6)
smoothings = {"majority": [0.0], "majority, smoothed": [0.1, 0.2], "votes": [0.0]}
by_decay = {name: np.zeros((REPETITIONS, len(decays))) for name in smoothings}
tuned, models = {}, {}
for repetition in range(REPETITIONS):
    X, _, *targets = draw(CASES, rng)
    X_tune, _, *targets_tune = draw(CASES, rng)
    for name, values in smoothings.items():
        tried = [
            LogisticRegression(C=1 / (decay * CASES), label_smoothing=smoothing).fit(X, targets[name != "votes"])
            for smoothing in values
            for decay in decays
        ]
        losses = [xe.softmax_cross_entropy(model.decision_function(X_test), truth_test) for model in tried]
        by_decay[name][repetition] = losses[: len(decays)]
        for judge, target in zip(("votes", "majority"), targets_tune, strict=True):
            best = np.argmin([xe.softmax_cross_entropy(model.decision_function(X_tune), target) for model in tried])
            tuned.setdefault((name, judge), []).append(losses[best])
            models[name, judge] = tried[best]
tuned = {key: np.array(losses) for key, losses in tuned.items()}
print(f"the least possible loss, H(truth): {floor:.4f} nats an answer")
for (name, judge), losses in tuned.items():
    lead = losses - tuned["votes", "votes"]
    print(f"{name:<19} tuned by the {judge:<9} {losses.mean():.4f}", end="  ")
    print(f"worse than the votes by {lead.mean():.4f} +- {lead.std() / np.sqrt(REPETITIONS):.4f}")

figure, ax = plt.subplots(figsize=(6, 4.4), layout="constrained")
for (name, losses), style in zip(by_decay.items(), ["C1s-", "C2^--", "C0o-"], strict=True):
    ax.errorbar(decays, losses.mean(axis=0), losses.std(axis=0), fmt=style, capsize=3, label=name)
ax.axhline(floor, color="k", linestyle=":", label="H(truth), the least possible")
ax.set(title="What the target costs", xlabel="weight decay", ylabel="held-out loss (nats an answer)", xscale="log")
ax.legend()
plt.show()

# %%
# *Each curve is a target (smoothed: by 0.1), each point the mean of sixteen repetitions, each bar their standard
# deviation. The votes need no decay. The majority comes near them at one decay alone, which must be found.*
#
# Who wins
# --------
#
# The votes, but by little where the others are tuned well: by 0.004 nats over smoothing, 0.009 over decay, in a loss
# of 0.6. Smoothing finds its way by the majority alone. Decay needs the votes to be tuned; by the majority it is chosen
# far too small, since a model as sure as the majority is what the majority asks for.
#
# What the models believe
# -----------------------

shades = np.array([[0, 114, 178], [213, 94, 0], [0, 158, 115]]) / 255
side = np.linspace(-4, 4, 101)
plane = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
shown = {
    "Truth": xe.softmax(plane @ TRUE_WEIGHTS + TRUE_BIAS),
    "Majority": models["majority", "majority"].predict_proba(plane),
    "Votes": models["votes", "votes"].predict_proba(plane),
}
figure, axes = plt.subplots(1, 3, figsize=(6, 2.7), layout="constrained", sharex=True, sharey=True)
for ax, (title, p) in zip(axes, shown.items(), strict=True):
    ax.imshow((1 - p @ (1 - shades)).reshape(101, 101, 3), extent=(-4, 4, -4, 4), origin="lower", alpha=0.75)
    ax.scatter(*X.T, c=shades[targets[1]], s=8, edgecolor="white", linewidth=0.4)
    ax.set(title=title, xlabel="first feature", xticks=(-4, 0, 4), ylim=(-4, 4))
    ax.grid(visible=False)
axes[0].set_ylabel("second feature")
plt.show()

# %%
# *Colour is the class that a model prefers, and its depth how sure it is. Dots are 200 cases, coloured by their
# majority. The model of the majority, tuned by the majority, is sure almost everywhere.*

figure, ax = plt.subplots(figsize=(6, 4.4), layout="constrained")
ax.plot([0, 1], [0, 1], "k:", label="said as it is")
kinds = [("majority", "majority"), ("majority, smoothed", "majority"), ("votes", "votes")]
for (name, judge), style in zip(kinds, ["C1s-", "C2^--", "C0o-"], strict=True):
    said = models[name, judge].predict_proba(X_test).ravel()
    place = np.minimum(10 * said, 9).astype(int)
    mean_said, mean_true = (np.bincount(place, values) / np.bincount(place) for values in (said, truth_test.ravel()))
    ax.plot(mean_said, mean_true, style, label=name)
ax.set(title="Said and true", xlabel="probability said", ylabel="how often raters choose the class")
ax.legend()
plt.show()

# %%
# *Below the dotted line a model is too sure: that of the majority says 85 % where raters choose seven times in ten.*
#
# The checks
# ----------
#
# The votes come close to the least possible loss, and beat the others; but smoothing comes near, even if the majority
# tunes it, and so does decay, if the votes tune it.

votes, by_majority = tuned["votes", "votes"], tuned["majority", "majority"]
assert votes.mean() - floor < 0.005, f"the votes must come close to {floor:.4f}, got {votes.mean():.4f}"
assert np.all(votes < by_majority - 0.01), "the votes must beat a majority that is tuned by itself, each time"
for rival in (tuned["majority", "votes"], tuned["majority, smoothed", "majority"]):
    lead = rival - votes
    assert lead.mean() > 2.5 * lead.std() / np.sqrt(REPETITIONS), f"the votes must win, got a lead of {lead.mean():.4f}"
    assert lead.mean() < 0.2 * np.mean(by_majority - votes), f"what is tuned must come near, got {lead.mean():.4f}"
print("checks: passed")
