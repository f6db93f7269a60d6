"""
Which hairpins work
===================

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

STACKING = """
-1.00 -1.44 -1.28 -0.88
-1.45 -1.84 -2.17 -1.28
-1.30 -2.24 -1.84 -1.44
-0.58 -1.30 -1.45 -1.00
"""
energy = np.array([row.split() for row in STACKING.strip().splitlines()], dtype=float)  # [base, next one]
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


def draw_hairpin(ax, stem, loop):
    """Draw the stem as a ladder, and the loop as a ring on top of it."""
    radius = 0.14 * (len(loop) + 4)
    half = np.arcsin(0.5 / radius)  # the angle between the middle of the last pair and its bases
    turn = -np.pi / 2 - half - np.arange(1, len(loop) + 1) * 2 * (np.pi - half) / (len(loop) + 1)
    rungs = 0.5 * np.arange(len(stem))
    top = rungs[-1] + radius * np.cos(half)
    x = np.concatenate([0 * rungs - 0.5, radius * np.cos(turn), 0 * rungs + 0.5])
    y = np.concatenate([rungs, top + radius * np.sin(turn), rungs[::-1]])
    ax.plot(x, y, color="0.6", linewidth=1.5)
    ax.hlines(rungs, -0.5, 0.5, color="0.6", linewidth=1)
    for base, *place in zip(np.concatenate([stem, loop, 3 - stem[::-1]]), x, y, strict=True):
        ax.plot(*place, "o", color=f"C{[0, 1, 4, 5][base]}", markersize=13, clip_on=False)
        ax.text(*place, "ACGT"[base], ha="center", va="center_baseline", fontsize=8, color="wkkk"[base])
    ax.set(aspect="equal", xlim=(-1.8, 1.8), ylim=(-0.5, 8.7))
    ax.axis("off")


chance = xe.sigmoid(estimate[0] + X @ estimate[1:])
shown = np.argsort(chance)[[20, 320, 560, 790]]
figure, axes = plt.subplots(1, 4, figsize=(9, 6.6), layout="constrained")
for ax, i in zip(axes, shown, strict=True):
    draw_hairpin(ax, *hairpins[i])
    ax.set_title(f"{chance[i]:.0%} chance:\n{'works' if works[i] else 'does not work'}", loc="center")
    ax.text(0, -0.6, f"{X[i, 0]:.1f} kcal/mol\nloop of {X[i, 1]:.0f} nt", ha="center", va="top")
plt.show()

# %%
# What was learnt
# ---------------
#
# On the left the hairpins, and the line on which the model gives them even chances. On the right the coefficients with
# their intervals: the model says itself that it does not know whether the letters of the loop matter.

figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.6), layout="constrained")
for outcome, marker, label in [(False, "C1x", "does not work"), (True, "C0o", "works")]:
    jitter = rng.uniform(-0.3, 0.3, size=np.sum(works == outcome))
    left.plot(X[works == outcome, 0], X[works == outcome, 1] + jitter, marker, markersize=4, alpha=0.5, label=label)
nt = np.array([2.5, 10.5])
left.plot(-(estimate[0] + estimate[3] / 2 + estimate[2] * nt) / estimate[1], nt, "k--", label="even chances")
left.set(title="Hairpins", xlabel=NAMES[1], ylabel=NAMES[2], ylim=(2.4, 13))
left.legend(ncols=2, loc="upper left")
right.errorbar(estimate[1:], [2, 1, 0], xerr=margin[1:], fmt="C0o", capsize=5, label="estimate, 95 % interval")
right.plot(TRUTH[1:], [2, 1, 0], "C1D", markersize=9, fillstyle="none", label="truth")
right.axvline(0, color="k", linewidth=1)
right.set_yticks([2, 1, 0], ["stability", "loop length", "G and C\nin the loop"])
right.set(title="Coefficients", xlabel="log-odds per unit", ylim=(-0.6, 3.2))
right.legend(loc="upper right", frameon=True, framealpha=1, edgecolor="none")
plt.show()

# %%
# The check
# ---------
#
# The truth lies inside the intervals, and those of coefficients that matter do not reach 0. Over three hundred series
# of hairpins each interval holds the truth as often as it says: 95 times of 100, to four.

assert np.all(np.abs(estimate - TRUTH) < margin), f"the truth must be inside, got {estimate} +- {margin}"
assert np.all(np.abs(estimate[1:3]) > margin[1:3]), "stability and loop must be found to matter"
inside = []
for seed in range(300):
    _, X, works = draw(800, rng)
    estimate, covariance = fit(X, works, seed)
    inside.append(np.abs(estimate - TRUTH) < 1.96 * np.sqrt(np.diag(covariance)))
print("inside their intervals:", *(f"{share:.1%}" for share in np.mean(inside, axis=0)))
assert np.all(np.abs(np.mean(inside, axis=0) - 0.95) < 0.04), f"95 % must be inside, got {np.mean(inside, axis=0)}"
print("checks: passed")
