"""
Fair lending
============

A bank's model approves one group of applicants more often than the other, without ever being told who is in which. What
does it cost to treat both alike?

The model says yes where its logit ``z`` is positive. To the cross-entropy comes the parity penalty, the variance of the
mean predictions ``P = sigmoid(z)`` of the groups ``g``. Its strength is the price of unfairness::

    objective = mean_i CE(z_i, repaid_i) + strength * sum_g (n_g / n) (mean_g P - mean P)^2
"""

# %%
# Applicants
# ----------
#
# A simulation. Group B earns less at the same ability and lives in other districts; it repays a little less often.
# Income, history and district are what the model sees. Leaving the group out does not make it blind: all three carry it
# in.

import matplotlib.pyplot as plt
import numpy as np
from scipy.optimize import minimize

import xentrs as xe


def draw(n, rng):
    """Return what is known of `n` applicants, with a constant appended, their groups, and whether they repay."""
    group = rng.choice(["A", "B"], size=n)
    is_b = group == "B"
    ability = rng.normal(size=n)
    income = 0.9 * ability - 0.55 * is_b + rng.normal(scale=0.6, size=n)
    history = ability - 0.2 * is_b + rng.normal(scale=0.7, size=n)
    district = -1.0 * is_b + rng.normal(scale=0.8, size=n)
    repaid = rng.random(n) < xe.sigmoid(2.2 * ability - 0.55 * is_b + 0.4)
    return np.column_stack([income, history, district, np.ones(n)]), group, repaid


rng = np.random.default_rng(0)
X, group, repaid = draw(30_000, rng)
X_test, group_test, repaid_test = draw(40_000, rng)
print(f"repaid: {np.mean(repaid[group == 'A']):.3f} in group A, {np.mean(repaid[group == 'B']):.3f} in group B")

# %%
# The frontier
# ------------
#
# One logistic regression for each strength of the penalty. Both gradients are with respect to the logits, so they are
# added. The group is needed in training alone; the model that comes out does not ask for it. Given ``target``, the
# penalty looks at those who do repay: equal opportunity, another notion of fairness, with a frontier of its own.


def fit(strength, target=None):
    """Return the weights that minimise the objective above, by L-BFGS."""

    def objective(weights):
        logits = X @ weights
        loss, grad = xe.sigmoid_cross_entropy_with_grad(logits, repaid)
        penalty, pull = xe.parity_penalty_with_grad(logits, group, target=target)
        return loss + strength * penalty, X.T @ (grad + strength * pull)

    return minimize(objective, np.zeros(X.shape[1]), jac=True, method="L-BFGS-B").x


def judge(weights, who):
    """Return held-out accuracy, and by how much group A is approved more often than B among those who count."""
    approved = X_test @ weights > 0
    rates = [np.mean(approved[who & (group_test == g)]) for g in "AB"]
    return np.mean(approved == repaid_test), rates[0] - rates[1]


strengths = [0, 1, 3, 10, 20, 40, 80, 160]
fitted = {strength: fit(strength) for strength in strengths}
everyone = np.full(len(repaid_test), True)
parity = np.array([judge(fitted[strength], everyone) for strength in strengths])
opportunity = np.array([judge(fit(strength, target=repaid), repaid_test) for strength in strengths])
for strength, (accuracy, gap) in zip(strengths, parity, strict=True):
    print(f"strength {strength:>3}: accuracy {accuracy:.4f}, gap {gap:+.4f}")

figure, ax = plt.subplots(figsize=(7.4, 5), layout="constrained")
ax.axvspan(-0.02, 0.02, color="C2", alpha=0.15, linewidth=0, label="gap below 0.02")
ax.plot(parity[:, 1], parity[:, 0], "C0o-", label="demographic parity: of all")
ax.plot(opportunity[:, 1], opportunity[:, 0], "C1s--", label="equal opportunity: of those who repay")
for strength, (accuracy, gap) in zip(strengths[3:], parity[3:], strict=True):
    ax.annotate(strength, (gap, accuracy), (6, -12), textcoords="offset points", color="C0")
ax.set(title="What fairness costs", xlabel="gap: approvals in A minus approvals in B", ylabel="held-out accuracy")
ax.set(xlim=(-0.03, 0.16), ylim=(0.72, 0.76))
ax.legend(loc="lower right", title="share approved, among whom")
plt.show()

# %%
# Who is approved
# ---------------
#
# The logits of both groups. The penalty does not push one group up or the other down by hand. It counts income less,
# which group B has less of, and gives its districts a bonus.

names = ["income", "history", "district", "intercept"]
for strength in (0, 160):
    print(f"strength {strength:>3}:", *(f"{name} {w:+.2f}" for name, w in zip(names, fitted[strength], strict=True)))

figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained", sharey=True)
bins = np.linspace(-6, 6, 61)
for ax, strength in zip(axes, [0, 160], strict=True):
    logits = X_test @ fitted[strength]
    for g, color in [("A", "C0"), ("B", "C1")]:
        of_group = logits[group_test == g]
        label = f"group {g}: {np.mean(of_group > 0):.0%} approved"
        ax.hist(of_group, bins, density=True, histtype="stepfilled", color=color, alpha=0.35)
        ax.hist(of_group, bins, density=True, histtype="step", color=color, linewidth=1.5, label=label)
    ax.axvline(0, color="k", linewidth=1)
    ax.set(title=f"Strength {strength}", xlabel="logit; approved beyond 0", xlim=(-5, 6), ylim=(0, 0.38))
    ax.legend(loc="upper left")
axes[0].set_ylabel("density of applicants")
plt.show()

# %%
# The check
# ---------
#
# Without the penalty the gap is large. With it, it falls below 0.02 on applicants never seen, and accuracy by less than
# three points.

(accuracy, gap), (fair_accuracy, fair_gap) = parity[0], parity[strengths.index(160)]
assert gap > 0.1, f"without penalty the groups must be treated differently, got a gap of {gap:.4f}"
assert abs(fair_gap) < 0.02, f"the penalty must close the gap, got {fair_gap:.4f}"
assert fair_accuracy > accuracy - 0.03, (
    f"accuracy must stay within three points of {accuracy:.4f}, got {fair_accuracy:.4f}"
)
assert abs(opportunity[-1, 1]) < 0.02 < opportunity[0, 1], "equal opportunity must be reached too"
print("checks: passed")
