"""
A voltage and its noise
=======================

A signal is quiet at one moment and noisy at the next. Can a regression say not only where the signal is, but how far it
may be off?

It predicts a Gaussian for each moment: a mean ``m`` and a variance ``v``. Its loss is the negative log-likelihood, and
the mean of that over targets which are Gaussian themselves is a cross-entropy in closed form::

    loss    = ln(2 pi v) / 2 + (y - m)^2 / (2 v)
    H(P, Q) = ln(2 pi v) / 2 + (s^2 + d^2) / (2 v)          P = N(m + d, s^2),  Q = N(m, v)
"""

# %%
# What honesty costs
# ------------------
#
# The true spread is 1. Whoever predicts a smaller one pays dearly, a larger one a little. Whoever is off by ``d`` does
# best to admit it: the cheapest variance to predict is ``s^2 + d^2``.

import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import norm

import xentrs as xe
from xentrs.models import GaussianRegressor

said = np.linspace(0.3, 4, 741)
offsets = [0.0, 1.0, 2.0]
costs = [xe.gaussian_cross_entropy(offset, 1.0, 0.0, said**2) for offset in offsets]

figure, ax = plt.subplots(figsize=(7, 4.4), layout="constrained")
for i, (offset, cost) in enumerate(zip(offsets, costs, strict=True)):
    ax.plot(said, cost, f"C{i}", linestyle=["-", "--", "-."][i], label=f"off by {offset:g}")
    ax.plot(np.hypot(1, offset), xe.gaussian_cross_entropy(offset, 1.0, 0.0, 1 + offset**2), f"C{i}o")
ax.axhline(xe.gaussian_entropy(1.0), color="k", linestyle=":", label="entropy: the least")
ax.set(title="The cheapest spread is the honest one", xlabel="standard deviation predicted (the true one is 1)")
ax.set(ylabel="cross-entropy (nats)", xlim=(0, 4), ylim=(1, 4))
ax.legend()
plt.show()

# %%
# A voltage
# ---------
#
# The mains over one period of 20 ms, a simulation: a sine with a third harmonic, and a switch that makes noise twice in
# each period. ``GaussianRegressor`` takes mean and logarithm of the variance to be linear in its features, here the
# first harmonics of the phase, and finds the weights of both together.


def harmonics(phase, order=3):
    """Return the features of a phase in periods: sines and cosines."""
    angles = 2 * np.pi * phase[:, np.newaxis] * np.arange(1, order + 1)
    return np.hstack([np.sin(angles), np.cos(angles)])


def spread(phase):
    """Return the true standard deviation, in volts."""
    return 14 * np.exp(1.2 * np.cos(4 * np.pi * (phase - 0.2)))


def measure(n, rng):
    """Return the phases of `n` measurements, and the voltages."""
    phase = rng.random(n)
    mean = 325 * np.sin(2 * np.pi * phase) + 25 * np.sin(6 * np.pi * phase + 0.5)
    return phase, mean + spread(phase) * rng.normal(size=n)


rng = np.random.default_rng(0)
phase, voltage = measure(4_000, rng)
phase_test, voltage_test = measure(100_000, rng)
model = GaussianRegressor(C=np.inf, tol=1e-6).fit(harmonics(phase), voltage)
one = (voltage - model.predict(harmonics(phase))).std()

# %%
# The band
# --------
#
# It should hold nine measurements out of ten: the mean and 1.645 standard deviations on both sides. One spread for all
# is right on average and nowhere else.

# sphinx_gallery_thumbnail_number = 2
half = norm.ppf(0.95)
times = np.linspace(0, 1, 401)
mean, found = model.predict(harmonics(times), return_std=True)
spreads = {"One spread for all": np.full(401, one), "A spread of its own": found}
figure, axes = plt.subplots(1, 2, figsize=(11, 4.6), layout="constrained", sharey=True)
for ax, (title, std), color in zip(axes, spreads.items(), ["C1", "C0"], strict=True):
    ax.plot(20 * phase[:1500], voltage[:1500], ".", color="0.5", markersize=3, label="measured")
    ax.fill_between(
        20 * times, mean - half * std, mean + half * std, color=color, alpha=0.4, linewidth=1, label="90 % band"
    )
    ax.plot(20 * times, mean, color=color, linewidth=1.5, label="mean")
    ax.set(title=title, xlabel="time (ms)", xlim=(0, 20))
axes[0].set_ylabel("voltage (V)")
axes[0].legend(loc="lower left")
plt.show()

# %%
# Held-out measurements say how many the band really holds, moment by moment.

mean, found = model.predict(harmonics(phase_test), return_std=True)
errors = np.abs(voltage_test - mean)
moment = np.floor(40 * phase_test).astype(int)
constant, own = (np.bincount(moment, errors < half * std) / np.bincount(moment) for std in (one, found))

figure, ax = plt.subplots(figsize=(7, 4), layout="constrained")
ax.axhline(90, color="k", linestyle=":", label="promised")
ax.stairs(100 * constant, np.linspace(0, 20, 41), baseline=None, color="C1", linestyle="--", label="one spread for all")
ax.stairs(100 * own, np.linspace(0, 20, 41), baseline=None, color="C0", linewidth=2.5, label="a spread of its own")
ax.set(
    title="What the 90 % band holds", xlabel="time (ms)", ylabel="measurements inside (%)", xlim=(0, 20), ylim=(40, 102)
)
ax.legend(loc="lower right")
plt.show()

# %%
# The checks
# ----------
#
# The closed form is the mean loss of many draws, and least where it should be. The band keeps its promise at every
# moment, to four points; one spread for all does not, and its loss is higher. The spread that was found is the true
# one.

draws = rng.normal(1.0, 1.0, size=100_000)
losses = xe.gaussian_nll(np.zeros_like(draws), draws, 4.0, reduction="none")
assert abs(losses.mean() - xe.gaussian_cross_entropy(1.0, 1.0, 0.0, 4.0)) < 4 * losses.std() / np.sqrt(100_000)
for offset, cost in zip(offsets, costs, strict=True):
    assert abs(said[cost.argmin()] - np.hypot(1, offset)) < 0.005, "the cheapest variance must be s^2 + d^2"
assert np.all(np.abs(own - 0.9) < 0.04), (
    f"the band must hold 90 % at every moment, got {own.min():.3f} to {own.max():.3f}"
)
assert constant.min() < 0.75, "one spread for all must fail where it is noisy, or the example shows nothing"
assert xe.gaussian_nll(errors, 0.0, found**2) < xe.gaussian_nll(errors, 0.0, one**2) - 0.2
assert np.all(np.abs(np.log(found / spread(phase_test))) < 0.1), "the spread must be the true one"
print("checks: passed")
