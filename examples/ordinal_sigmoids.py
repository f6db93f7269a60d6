"""
Ordinal labels: five grades of a disease
========================================

The grades of a disease have an order, which softmax does not know, and no known distances, which regression takes for
granted. What is gained by a model that knows the order and no more?

It asks a yes-or-no question for each step: is the grade above ``k``? All questions share one score ``w . x``, and each
has a threshold. Sigmoid cross-entropy is summed over them::

    z_k = w . x - theta_k        loss = sum_k [softplus(z_k) - (y > k) z_k]        P(y > k) = sigmoid(z_k)
"""

# %%
# Patients
# --------
#
# 442 real patients with diabetes: ten measures of each, and how far the disease had gone after a year, cut into five
# grades of equal frequency. A third is to learn from, or less; a third to choose the penalty by; a third to judge by.

import matplotlib.pyplot as plt
import numpy as np
from scipy.optimize import minimize
from scipy.stats import norm
from sklearn.datasets import load_diabetes
from sklearn.linear_model import Ridge
from sklearn.preprocessing import scale

import xentrs as xe
from xentrs.models import LogisticRegression

X, progress = load_diabetes(return_X_y=True)
X, GRADES = scale(X), 5
grade = np.searchsorted(np.quantile(progress, np.arange(1, GRADES) / GRADES), progress)

# %%
# Three models
# ------------
#
# Each gives the chance that a new patient is above each step, and predicts the median: as many steps as are more likely
# passed than not. For the regression that is its rounded prediction; its chances are those of a normal distribution.


def fit_ordinal(X, y, penalty):
    """Return the weights and the thresholds that minimise the loss, by L-BFGS."""
    above = y[:, np.newaxis] > np.arange(GRADES - 1)

    def objective(params):
        w, theta = np.split(params, [X.shape[1]])
        loss, grad = xe.sigmoid_cross_entropy_with_grad((X @ w)[:, np.newaxis] - theta, above)
        return loss + penalty / 2 * w @ w, np.concatenate([X.T @ grad.sum(axis=1) + penalty * w, -grad.sum(axis=0)])

    params = minimize(objective, np.zeros(X.shape[1] + GRADES - 1), jac=True, method="L-BFGS-B").x
    return np.split(params, [X.shape[1]])


def ordinal(X, y, X_new, penalty):
    """Return the chances that each new patient is above each step, by cumulative sigmoids."""
    w, theta = fit_ordinal(X, y, penalty)
    return xe.sigmoid((X_new @ w)[:, np.newaxis] - theta)


def softmax(X, y, X_new, penalty):
    """Return the same by softmax regression."""
    model = LogisticRegression(C=1 / (penalty * len(X))).fit(X, y)
    return 1 - model.predict_proba(X_new).cumsum(axis=1)[:, :-1]


def regression(X, y, X_new, penalty):
    """Return the same by ridge regression on the number of the grade."""
    model = Ridge(alpha=penalty * len(X)).fit(X, y)
    spread = np.std(y - model.predict(X))
    return norm.sf(np.arange(GRADES - 1) + 0.5, model.predict(X_new)[:, np.newaxis], spread)


def judged(above, y):
    """Return how many grades the medians are off, and the loss of the chances, in the mean."""
    chances = -np.diff(above, axis=1, prepend=1, append=0)
    return np.abs(np.sum(above > 0.5, axis=1) - y).mean(), xe.categorical_cross_entropy(chances, y)


# %%
# Few patients, and more
# ----------------------
#
# The patients are dealt anew twenty times. The penalty that suits the second third best, by the figure in question, is
# the one that the last third judges.

MODELS = {"cumulative sigmoids": ordinal, "softmax": softmax, "regression": regression}
SIZES, PENALTIES, REPETITIONS = (40, 80, 147), (0.01, 0.1, 1.0), 20
results = {name: np.empty((REPETITIONS, len(SIZES), 2)) for name in MODELS}
rng = np.random.default_rng(0)
for repetition in range(REPETITIONS):
    learn, tune, judge = np.array_split(rng.permutation(len(X)), 3)
    for name, model in MODELS.items():
        for i, size in enumerate(SIZES):
            some = learn[:size]
            above = [model(X[some], grade[some], X, penalty) for penalty in PENALTIES]
            best = np.argmin([judged(a[tune], grade[tune]) for a in above], axis=0)
            results[name][repetition, i] = [judged(above[k][judge], grade[judge])[j] for j, k in enumerate(best)]
for name, values in results.items():
    print(f"{name:<20} grades off {values[..., 0].mean(axis=0).round(3)}, loss {values[..., 1].mean(axis=0).round(3)}")

figure, ax = plt.subplots(figsize=(6, 4.2), layout="constrained")
for (name, values), style in zip(results.items(), ["C0o-", "C1s--", "C2^-."], strict=True):
    loss, error = values[..., 1].mean(axis=0), values[..., 1].std(axis=0) / np.sqrt(REPETITIONS)
    ax.errorbar(SIZES, loss, error, fmt=style, capsize=3, label=name)
ax.axhline(np.log(GRADES), color="k", linestyle=":", linewidth=1.2, label="guessing: ln 5")
ax.set(title="To know the order is worth patients", xlabel="patients to learn from", ylabel="loss held out (nats)")
ax.legend()
plt.show()

# %%
# *Softmax needs twice as many patients for the same loss. Regression is between the two.*
#
# One score, four thresholds
# --------------------------
#
# A model of two thirds of the patients, with the others: how many of those with such a score are above each grade?

some, others = np.split(rng.permutation(len(X)), [290])
w, theta = fit_ordinal(X[some], grade[some], 0.1)
score = X[others] @ w
side = np.linspace(score.min(), score.max(), 200)
figure, ax = plt.subplots(figsize=(6, 4.2), layout="constrained")
groups = np.array_split(np.argsort(score), 6)
for k, style in enumerate(["C0o-", "C1s--", "C2^-.", "C3D:"]):
    ax.plot(side, xe.sigmoid(side - theta[k]), style[:2] + style[3:], label=f"above grade {k}")
    ax.plot([score[g].mean() for g in groups], [np.mean(grade[others][g] > k) for g in groups], style[:3])
ax.set(title="One score, four thresholds", xlabel="score w . x", ylabel="chance; share of patients (marks)")
ax.legend()
plt.show()

# %%
# *Lines: what the model says. Marks: patients that it has not seen, in six groups by their score.*
#
# The check
# ---------
#
# The sigmoids have a lower loss than both rivals, and are nearer to the grade than softmax, by more than two standard
# errors. Rounded regression is as near: so even are these grades that their distances may be taken for equal.

sigmoids, softmaxes, rounded = (values.mean(axis=1) for values in results.values())
for rival in (softmaxes, rounded):
    lead = rival - sigmoids
    z = lead.mean(axis=0) / lead.std(axis=0) * np.sqrt(REPETITIONS)
    assert z[1] > 2, f"the order must lower the loss, got a lead of {z[1]:.1f} standard errors"
    assert z[0] > 2 if rival is softmaxes else abs(z[0]) < 3, f"got {z[0]:.1f} standard errors in grades"
assert np.all(np.diff(theta) > 0), f"thresholds must be in order, got {theta}"
print("checks: passed")
