"""
Logistic regression with intervals: which hairpins work
=======================================================

A strand of DNA that pairs with itself is a hairpin: a stem of base pairs and a loop. Hundreds have been made, and some
work. What makes them work, and how sure is one of that?

The model is a logistic regression. The second derivative of its loss says how far each coefficient may be off::

    loss = sum_i (softplus(z_i) - y_i z_i)       z_i = b + w . x_i       p_i = sigmoid(z_i)
    cov(b, w) = (A' H A)^-1                      A = (1, x), H = diag(p_i (1 - p_i))
"""

# %%
# Hairpins and their stability
# ----------------------------
#
# A stem is as stable as its neighbouring pairs hold together. The free energies of the sixteen neighbours, in kcal/mol
# at 37 degrees, are those of SantaLucia (PNAS 95, 1998). The rest is a simulation: whether a hairpin works depends on
# the stability and on the length of the loop. The share of G and C in the loop has nothing to do with it, which the
# model is not told.

import matplotlib.pyplot as plt
import numpy as np

import xentrs as xe
from xentrs.models import LogisticRegression

STACKING = "-1.00 -1.44 -1.28 -0.88 -1.45 -1.84 -2.17 -1.28 -1.30 -2.24 -1.84 -1.44 -0.58 -1.30 -1.45 -1.00"
energy = np.array(STACKING.split(), dtype=float).reshape(4, 4)  # [base, next one]
NAMES = ["intercept", "stability (kcal/mol)", "loop length (nt)", "G and C in the loop"]
TRUTH = np.array([-3.0, 0.6, -0.45, 0.0])


def draw(n, rng):
    """Return `n` hairpins as (stem, loop), what is measured of them, and whether they work."""
    lengths = rng.integers([5, 3], [13, 11], size=(n, 2))
    hairpins = [np.split(rng.integers(4, size=stem + loop), [stem]) for stem, loop in lengths]
    stability = [-energy[stem[:-1], stem[1:]].sum() for stem, _ in hairpins]
    in_loop = [np.mean((loop == 1) | (loop == 2)) for _, loop in hairpins]
    X = np.column_stack([stability, lengths[:, 1], in_loop])
    return hairpins, X, rng.random(n) < xe.sigmoid(TRUTH[0] + X @ TRUTH[1:])


rng = np.random.default_rng(0)
hairpins, X, works = draw(800, rng)

# %%
# Steps
# -----
#
# Stochastic gradient descent takes a step per batch of 64 hairpins, shorter and shorter ones, whatever the units of the
# features are. A penalty would pull the coefficients away from the truth.


def fit(X, works, seed):
    """Return the estimate of intercept and coefficients, and their covariance."""
    model = LogisticRegression(C=np.inf, solver="sgd", max_iter=40, random_state=seed).fit(X, works)
    estimate = np.append(model.intercept_, model.coef_)
    A = np.column_stack([np.ones(len(X)), X])
    curvature = xe.sigmoid_cross_entropy_with_hess(A @ estimate, works, reduction="sum").hess
    return estimate, np.linalg.inv(A.T * curvature @ A)


estimate, covariance = fit(X, works, seed=0)
margin = 1.96 * np.sqrt(np.diag(covariance))
for name, found, off, true in zip(NAMES, estimate, margin, TRUTH, strict=True):
    print(f"{name:<22}{found:+.2f} +- {off:.2f}   truth {true:+.2f}")

# %%
# Four hairpins
# -------------
#
# From the least to the most promising, as the model sees them.


def draw_hairpin(ax, place, stem, loop):
    """Draw the stem as a ladder at this place, and the loop as a ring on top of it."""
    radius = 0.14 * (len(loop) + 4)
    half = np.arcsin(0.5 / radius)  # the angle between the middle of the last pair and its bases
    turn = -np.pi / 2 - half - np.arange(1, len(loop) + 1) * 2 * (np.pi - half) / (len(loop) + 1)
    rungs = 0.5 * np.arange(len(stem))
    top = rungs[-1] + radius * np.cos(half)
    x = place + np.concatenate([0 * rungs - 0.5, radius * np.cos(turn), 0 * rungs + 0.5])
    y = np.concatenate([rungs, top + radius * np.sin(turn), rungs[::-1]])
    ax.plot(x, y, color="0.6", linewidth=1.5)
    ax.hlines(rungs, place - 0.5, place + 0.5, color="0.6", linewidth=1)
    for base, *spot in zip(np.concatenate([stem, loop, 3 - stem[::-1]]), x, y, strict=True):
        ax.plot(*spot, "o", color=f"C{[0, 1, 4, 5][base]}", markersize=11)
        ax.text(*spot, "ACGT"[base], ha="center", va="center_baseline", fontsize=7.5, color="wkkk"[base])


chance = xe.sigmoid(estimate[0] + X @ estimate[1:])
shown = np.argsort(chance)[[20, 320, 560, 790]]
figure, ax = plt.subplots(figsize=(6.4, 5.8), layout="constrained")
for place, i in zip(4.0 * np.arange(4), shown, strict=True):
    draw_hairpin(ax, place, *hairpins[i])
    said = "> 99 %" if chance[i] > 0.99 else "< 1 %" if chance[i] < 0.01 else f"{chance[i]:.0%}"
    ax.text(place, -0.6, f"{said}\n{'works' if works[i] else 'does not work'}", ha="center", va="top", weight="bold")
    ax.text(place, -1.9, f"{X[i, 0]:.1f} kcal/mol\nloop of {X[i, 1]:.0f} nt", ha="center", va="top")
ax.set(title="The chance to work, as the model sees it", aspect="equal", ylim=(-3, None))
ax.axis("off")
plt.show()

# %%
# Two rivals
# ----------
#
# The rule of thumb is stability alone. It is asked on hairpins never seen. And the intervals have a rival that needs no
# second derivative: the bootstrap fits the same model a hundred times, each time to hairpins drawn from those at hand.

_, X_new, works_new = draw(5_000, rng)
alone, _ = fit(X[:, :1], works, seed=0)
logits = [w[0] + X_new[:, : len(w) - 1] @ w[1:] for w in (alone, estimate, TRUTH)]
loss = [xe.sigmoid_cross_entropy(z, works_new) for z in logits]
print(f"held-out loss: stability alone {loss[0]:.3f}, the model {loss[1]:.3f}, the truth {loss[2]:.3f}")
bootstrap = 1.96 * np.std([fit(X[i], works[i], 0)[0] for i in rng.integers(800, size=(100, 800))], axis=0)

figure, ax = plt.subplots(figsize=(6.2, 4), layout="constrained")
rows = np.array([2, 1, 0])
ax.errorbar(estimate[1:], rows, xerr=margin[1:], fmt="C0o", capsize=5, label="by the curvature")
ax.errorbar(estimate[1:], rows - 0.22, xerr=bootstrap[1:], fmt="C1s", capsize=5, label="by 100 fits")
ax.plot(TRUTH[1:], rows - 0.11, "kD", markersize=9, fillstyle="none", label="truth")
ax.axvline(0, color="k", linewidth=1)
ax.set_yticks(rows - 0.11, ["stability", "loop length", "G and C\nin the loop"])
ax.set(title="95 % intervals", xlabel="log-odds per unit", ylim=(-0.6, 3.1))
ax.legend(loc="upper center", ncols=3, columnspacing=1, handletextpad=0.4)
plt.show()

# %%
# Stability and loop matter. Of the loop's letters the model says itself that it does not know. Both kinds of intervals
# are alike; the curvature takes one fit.
#
# The check
# ---------
#
# The truth lies inside the intervals; those of coefficients that matter do not reach 0; the model beats the rule of
# thumb. Over two hundred series each interval holds the truth as often as it says: 95 times of 100, to four.

assert np.all(np.abs(estimate - TRUTH) < margin), f"the truth must be inside, got {estimate} +- {margin}"
assert np.all(np.abs(estimate[1:3]) > margin[1:3]), "stability and loop must be found to matter"
assert loss[1] < loss[0] - 0.02 and loss[1] < loss[2] + 0.01, f"the model must beat stability alone, got {loss}"
assert np.all(np.abs(np.log(bootstrap / margin)) < 0.25), f"both intervals must be alike, got {bootstrap / margin}"
inside = []
for seed in range(200):
    estimate, covariance = fit(*draw(800, rng)[1:], seed)
    inside.append(np.abs(estimate - TRUTH) < 1.96 * np.sqrt(np.diag(covariance)))
print("inside their intervals:", *(f"{share:.1%}" for share in np.mean(inside, axis=0)))
assert np.all(np.abs(np.mean(inside, axis=0) - 0.95) < 0.04), f"95 % must be inside, got {np.mean(inside, axis=0)}"
print("checks: passed")
