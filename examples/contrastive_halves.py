"""
Contrastive learning: which two halves belong together?
=======================================================

Handwritten digits have been cut in two, and upper and lower halves lie in two heaps. Nobody says which digit is which.
Can two networks learn from some pairs to find the partners of the others?

A network for each kind of half makes features of it, a row of length 1. InfoNCE asks of each row ``x_i`` of a batch
which ``y_j`` is its other half, and the other way round; ``T`` is the temperature::

    z_ij = x_i . y_j / T        loss = mean_i [lse_j(z_ij) - z_ii + lse_j(z_ji) - z_ii] / 2
"""

# %%
# Two heaps
# ---------
#
# 1797 real digits of 8 x 8 pixels: half of them to learn from, a quarter to choose options by, a quarter to judge by. A
# way is as good as the share of upper halves whose own lower half is among the ten that it thinks most likely.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import xentrs as xe
from xentrs import nn
from xentrs.models import LogisticRegression
from xentrs.optim import Adam

images, digits = load_digits(return_X_y=True)
halves = np.split(images / 16, 2, axis=1)
train, rest = train_test_split(np.arange(len(digits)), test_size=0.5, stratify=digits, random_state=0)
tune, test = train_test_split(rest, test_size=0.5, stratify=digits[rest], random_state=0)


def normalised(rows):
    """Return the rows with length 1, and their lengths."""
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / length, length


def places(features, some):
    """Return, for each upper half of some images, how many lower halves are thought likelier than its own."""
    likeness = features[0][some] @ features[1][some].T
    return np.sum(likeness > np.diag(likeness)[:, np.newaxis], axis=1)


# %%
# InfoNCE
# -------
#
# ``info_nce_with_grad`` has gradients to the rows of length 1 (:doc:`/contrastive`). They go back through the division
# by the lengths, and then through the networks.


def contrast(temperature, steps=400, batch=256):
    """Train two networks, and yield the features of all halves after every hundred steps."""
    rng = np.random.default_rng(0)
    dense = [nn.Dense(*shape, random_state=k) for k, shape in enumerate(((32, 64), (64, 32)) * 2)]
    networks = [nn.Sequential(dense[k], nn.ReLU(), dense[k + 1]) for k in (0, 2)]
    optimizer = Adam([param for network in networks for param in network.params], learning_rate=3e-3)
    for step in range(1, steps + 1):
        rows = rng.choice(train, batch, replace=False)
        units = [normalised(network.forward(half[rows])) for network, half in zip(networks, halves, strict=True)]
        _, *grads, _ = xe.info_nce_with_grad(units[0][0], units[1][0], temperature=temperature)
        for network, grad, (unit, length) in zip(networks, grads, units, strict=True):
            network.backward_params((grad - unit * (unit * grad).sum(axis=1, keepdims=True)) / length)
        optimizer.step([grad for network in networks for grad in network.grads])
        if step % 100 == 0:
            yield [normalised(network.forward(half))[0] for network, half in zip(networks, halves, strict=True)]


# %%
# Two rivals
# ----------
#
# Canonical correlation finds, by one decomposition, the linear maps of both halves whose outputs agree most: no steps,
# no network. The other rival has been told what nobody told InfoNCE, the digits: it reads each half, and compares the
# probabilities of the digits.


def canonical(ridge, n_features):
    """Return the features of all halves by canonical correlation, each weighted by its correlation."""
    x, y = (half - half[train].mean(axis=0) for half in halves)
    covariances = [v[train].T @ v[train] / len(train) + ridge * np.eye(32) for v in (x, y)]
    white_x, white_y = (np.linalg.inv(np.linalg.cholesky(covariance)) for covariance in covariances)
    u, correlation, v = np.linalg.svd(white_x @ (x[train].T @ y[train] / len(train)) @ white_y.T)
    both = x @ white_x.T @ u[:, :n_features], y @ white_y.T @ v[:n_features].T
    return [normalised(view * correlation[:n_features])[0] for view in both]


def supervised(C):
    """Return the probabilities of the digits, by a model of each half."""
    models = [LogisticRegression(C=C).fit(half[train], digits[train]) for half in halves]
    return [normalised(model.predict_proba(half))[0] for model, half in zip(models, halves, strict=True)]


candidates = {
    "InfoNCE": [features for T in (0.05, 0.1, 0.2) for features in contrast(T)],
    "canonical correlation": [canonical(r, n) for r in (1e-4, 1e-3, 1e-2) for n in (8, 16, 24, 32)],
    "told the digits": [supervised(C) for C in (0.1, 1.0, 10.0)],
}
best, place = {}, {}
for name, several in candidates.items():
    best[name] = max(several, key=lambda features: np.mean(places(features, tune) < 10))
    place[name] = places(best[name], test)
    print(
        f"{name:<22}partners that come first {np.mean(place[name] < 1):.3f}, among ten {np.mean(place[name] < 10):.3f}"
    )

figure, ax = plt.subplots(figsize=(6, 4.3), layout="constrained")
tries = np.arange(1, len(test) + 1)
for name, style in zip(best, ["C0-", "C1--", "C2-."], strict=True):
    ax.plot(tries, 100 * np.mean(place[name][:, np.newaxis] < tries, axis=0), style, label=name)
ax.plot(tries, 100 * tries / len(test), "k:", label="guessing")
ax.set(title="Finding the other half", xlabel=f"lower halves tried, of {len(test)}", ylabel="partners found (%)")
ax.set(xscale="log", ylim=(0, 102))
ax.legend()
plt.show()

# %%
# *InfoNCE, which has seen pairs alone, finds most. To know the digit is of little help: 45 halves have the same.*
#
# Here are ten upper halves, a column each, with the four lower ones that InfoNCE thinks likeliest.

shown = [test[np.flatnonzero(digits[test] == digit)[0]] for digit in range(10)]
likely = np.argsort(-best["InfoNCE"][0][shown] @ best["InfoNCE"][1][test].T, axis=1)[:, :4]
figure, axes = plt.subplots(4, 10, figsize=(6, 3.4), layout="constrained")
for line, choice in zip(axes, test[likely].T, strict=True):
    for ax, upper, lower in zip(line, shown, choice, strict=True):
        ax.imshow(np.concatenate([halves[0][upper], halves[1][lower]]).reshape(8, 8), cmap="gray_r")
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set(visible=True, color="C1" if upper == lower else "0.85", linewidth=3 if upper == lower else 1)
figure.suptitle("Upper halves, and the four likeliest lower ones", fontsize=12, weight="bold")
plt.show()

# %%
# *A frame is around the halves that belong together. The others would often do as well.*
#
# The check
# ---------
#
# InfoNCE finds more than canonical correlation, by over three standard errors; both find far more than the digits do.

told, linear, learnt = (1.0 * (place[name] < 10) for name in reversed(best))
gain = learnt - linear
assert gain.mean() > 3 * gain.std() / np.sqrt(len(gain)), f"InfoNCE must win, got a gain of {gain.mean():.3f}"
assert linear.mean() > 2 * told.mean() > 20 / len(test), f"pairs must help, got {linear.mean()} and {told.mean()}"
print("checks: passed")
