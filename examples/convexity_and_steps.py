"""
Convexity and steps
===================

How large a step may gradient descent take, and what happens beyond?

Logistic regression has one valley. With a penalty on the weights its loss, and the curvature (Hessian) of it, are::

    f(w) = mean_i [softplus(z_i) - y_i z_i] + c |w|^2 / 2          z = X w
    f''  = X^T diag(p (1 - p)) X / n + c                           p = sigmoid(z)

Along an eigenvector of curvature ``k`` a step of size ``s`` multiplies the distance to the minimum by ``1 - s k``. It
shrinks while ``s < 2 / k``. So the largest curvature ``L`` sets the limit, ``2 / L``; steps of ``1 / L`` are safe.
"""

# %%
# The surface
# -----------
#
# Sixty points, a slope and an intercept: two weights, so that the loss can be drawn. Nowhere is the curvature negative,
# so every way down leads to the same minimum. Newton's steps find it to the last digits.

import matplotlib.pyplot as plt
import numpy as np

import xentrs as xe

rng = np.random.default_rng(0)
n, c = 60, 0.02
x = rng.normal(0.8, 1.0, size=n)
X = np.column_stack([x, np.ones(n)])
y = rng.random(n) < xe.sigmoid(0.9 * x - 0.5)


def value_and_grad(w, c=c):
    """Return the loss at the weights `w`, and its gradient."""
    loss, grad = xe.sigmoid_cross_entropy_with_grad(X @ w, y)
    return loss + c * w @ w / 2, X.T @ grad + c * w


def curvature(w, c=c):
    """Return the Hessian at the weights `w`."""
    hess = xe.sigmoid_cross_entropy_with_hess(X @ w, y).hess
    return X.T @ (hess[:, np.newaxis] * X) + c * np.eye(2)


def minimum(c):
    """Return the best weights, by Newton's method."""
    w = np.zeros(2)
    for _ in range(20):
        w = w - np.linalg.solve(curvature(w, c), value_and_grad(w, c)[1])
    return w


best = minimum(c)
curvatures, directions = np.linalg.eigh(curvature(best))
L = curvatures[-1]
print(f"the curvature at the minimum is {curvatures[0]:.4f} to {L:.4f}, so the limit is 2 / L = {2 / L:.3f}")

# %%
# Four ways down
# --------------
#
# From the same start: a timid step, ``1 / L``, just below the limit, and just above it. The last one never arrives. It
# ends up leaping from one side of the valley to the other.


def descend(start, step, steps, c=c):
    """Return the weights after each of the steps of gradient descent, and the losses."""
    path = [start]
    for _ in range(steps):
        path.append(path[-1] - step * value_and_grad(path[-1], c)[1])
    return np.array(path), np.array([value_and_grad(w, c)[0] for w in path])


start = best + [-0.4, 1.6]
descents = {f"{factor} / L": descend(start, factor / L, 60) for factor in (0.1, 1.0, 1.9, 2.2)}

slopes, intercepts = np.meshgrid(best[0] + np.linspace(-2, 2, 101), best[1] + np.linspace(-1.8, 1.8, 101))
surface = np.array([value_and_grad(np.array(w))[0] for w in zip(slopes.flat, intercepts.flat, strict=True)])
height = np.maximum(surface.reshape(slopes.shape) - value_and_grad(best)[0], 0.0)

styles = ["k-", "C2--", "C3-.", "C1:"]
figure, ax = plt.subplots(figsize=(7, 4.9), layout="constrained")
ax.contourf(slopes, intercepts, np.sqrt(height), levels=14, cmap="Blues", alpha=0.6)
for (name, (path, _)), style in zip(descents.items(), styles, strict=True):
    ax.plot(*path.T, style, marker="o", markersize=4, linewidth=1.2, label=name)
ax.plot(*best, "w*", markersize=16, markeredgecolor="black", zorder=3)
ax.set(title="One valley, four ways down", xlabel="slope", ylabel="intercept")
ax.grid(visible=False)
ax.legend(title="step size", frameon=True, loc="lower left")
plt.show()

# %%
# How far each is above the minimum. The timid step creeps, the safe one is fastest here.

figure, ax = plt.subplots(figsize=(7, 4.4), layout="constrained")
for (name, (_, losses)), style in zip(descents.items(), styles, strict=True):
    ax.plot(losses - value_and_grad(best)[0], style, label=name)
ax.set(title="One arrives first, one never", xlabel="step", ylabel="loss - minimum (nats)", yscale="log")
ax.set_ylim(1e-12, 1)
ax.legend(title="step size")
plt.show()

# %%
# What the penalty does
# ---------------------
#
# It adds ``c`` to every curvature. The valley gets rounder: the largest curvature hardly grows, the smallest grows a
# lot, and it is their ratio that says how many steps of ``1 / L`` are needed.

figure, ax = plt.subplots(figsize=(7, 4.4), layout="constrained")
rates = {}
for i, penalty in enumerate([0.0, 0.02, 0.1, 0.5]):
    goal = minimum(penalty)
    small, large = np.linalg.eigvalsh(curvature(goal, penalty))
    gap = descend(start, 1 / large, 60, penalty)[1] - value_and_grad(goal, penalty)[0]
    rates[penalty] = np.argmax(gap < 1e-6 * gap[0])
    ax.plot(gap[gap > 1e-13], styles[i], label=f"c = {penalty}, ratio {large / small:.1f}")
ax.set(title="A penalty rounds the valley", xlabel="step of size 1 / L", ylabel="loss - minimum (nats)", yscale="log")
ax.legend(title="penalty, ratio of curvatures")
plt.show()

# %%
# The checks
# ----------
#
# Wherever descent starts, no step up to ``2 / K`` ever goes uphill, where ``K`` is the largest curvature that the
# surface can have anywhere (``p (1 - p)`` is at most 1/4). Close to the minimum the limit is exactly ``2 / L``: descent
# below it, by as little as a thousandth, and climbing above.

K = np.linalg.eigvalsh(X.T @ X / (4 * n))[-1] + c
for factor in [0.1, 1.0, 1.9, 1.99]:
    for beginning in rng.normal(scale=6, size=(20, 2)):
        losses = descend(beginning, factor / K, 200)[1]
        assert np.all(np.diff(losses) <= 1e-15), f"a step of {factor} / K went uphill"
near = best + 1e-4 * directions[:, -1]
below, above = (np.diff(descend(near, factor / L, 20)[1]) for factor in (1.999, 2.001))
assert np.all(below < 0), "below 2 / L every step must descend"
assert np.all(above > 0), "above 2 / L every step must climb"
for w in rng.normal(scale=5, size=(100, 2)):
    assert c <= np.linalg.eigvalsh(curvature(w))[0], "the surface must be convex, and more so by the penalty"
    assert np.linalg.eigvalsh(curvature(w))[-1] <= K
assert rates[0.5] < rates[0.1] < rates[0.02], "a rounder valley must need fewer steps"
print("checks: passed")
