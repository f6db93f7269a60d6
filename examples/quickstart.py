"""
Quickstart: reading handwritten digits
======================================

How far does the simplest model come at reading handwritten digits, and what does its loss cost to compute?

Softmax regression gives an image ``x`` ten logits ``z = W x + b``, one for each digit, and from them the probabilities
``p = softmax(z)``. If the digit is ``y`` it pays the cross-entropy, in nats::

    loss = -ln p_y = ln sum_k exp(z_k) - z_y                  d loss / d z = p - t,  t = one-hot(y)

The gradient is probability minus target, so training is a matter of subtracting ``(p - t).T @ X`` from the weights, a
little at a time. xentrs computes the loss and ``p - t`` in one sweep over the logits.
"""

# %%
# The data: 1797 images of 8 x 8 pixels, grey values from 0 to 16. A quarter of them is held out.

import sys
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import sklearn.linear_model
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from threadpoolctl import threadpool_limits

import xentrs as xe
from xentrs.models import LogisticRegression

X, y = load_digits(return_X_y=True)
X, X_test, y, y_test = train_test_split(X / 16, y, test_size=0.25, stratify=y, random_state=0)


def show(name):
    """Show the last picture, or save it where the command line says."""
    if len(sys.argv) > 1:
        picture = Path(sys.argv[1]) / f"{name}.png"
        picture.parent.mkdir(parents=True, exist_ok=True)
        plt.savefig(picture, dpi=150)
        print(f"picture: {picture}")
    else:
        plt.show()


# %%
# Training by stochastic gradient descent, 64 images at a time. L-BFGS, the default, finds the minimum of the same
# objective to many digits, as scikit-learn's does: how close do the steps come?

model = LogisticRegression(solver="sgd", max_iter=200, random_state=0).fit(X, y)
exact = LogisticRegression(tol=1e-8, max_iter=10_000).fit(X, y)
with threadpool_limits(1, user_api="blas"):  # matrices this small leave BLAS threads waiting for one another
    peer = sklearn.linear_model.LogisticRegression(tol=1e-8, max_iter=10_000).fit(X, y)


def objective(fitted):
    """Return the mean loss plus the penalty that both models minimise over the training images."""
    penalty = np.sum(fitted.coef_**2) / (2 * fitted.C * len(X))
    return xe.softmax_cross_entropy(fitted.decision_function(X), y) + penalty


print(f"{len(X)} training images       objective   held-out: loss   accuracy")
for name, fitted in [("xentrs, SGD", model), ("xentrs, L-BFGS", exact), ("scikit-learn, L-BFGS", peer)]:
    held_out = xe.softmax_cross_entropy(fitted.decision_function(X_test), y_test)
    print(f"{name:<22}{objective(fitted):>15.4f}{held_out:>17.4f}{fitted.score(X_test, y_test):>11.4f}")

_, ax = plt.subplots(figsize=(6, 4.2), layout="constrained")
ax.axhline(np.log(10), color="grey", linestyle=":", label="guessing: ln 10")
model.plot_loss_curve(ax)
ax.axhline(objective(exact), color="black", linestyle="--", linewidth=1, label="minimum, by L-BFGS")
ax.set(title="Training", xlabel="epoch", ylabel="objective (nats per image)", xlim=0, yscale="log", ylim=(0.2, 2.5))
ax.set_yticks([0.2, 0.5, 1, 2], labels=["0.2", "0.5", "1", "2"])
ax.minorticks_off()
ax.legend(loc="center right")
show("training")

# %%
# *A few epochs bring most of the gain over guessing; the last ones end within two per cent of the minimum.*
#
# The cost of a loss, at the size of a language model's output: 2048 predictions over 32000 tokens. xentrs returns the
# loss, and writes the gradient into an array that is there already. NumPy's formula, which takes the maximum away lest
# the exponentials overflow, returns the loss alone. They take turns, and the median counts.


def numpy_loss(logits, target):
    """Return the mean cross-entropy, by the formula above."""
    peak = logits.max(axis=1)
    lse = np.log(np.exp(logits - peak[:, np.newaxis]).sum(axis=1)) + peak
    return np.mean(lse - logits[np.arange(len(logits)), target])


rng = np.random.default_rng(0)
logits = rng.standard_normal((2048, 32_000), dtype=np.float32)
tokens = rng.integers(32_000, size=2048)
grad, seconds = np.empty_like(logits), []
for _ in range(8):
    start = time.perf_counter()
    loss, _ = xe.softmax_cross_entropy_with_grad(logits, tokens, out=grad)
    halfway = time.perf_counter()
    loss_by_numpy = numpy_loss(logits, tokens)
    seconds.append([halfway - start, time.perf_counter() - halfway])
ours, theirs = np.median(seconds[1:], axis=0)  # the first round warms up
print(f"xentrs: {1e3 * ours:.1f} ms; NumPy, loss alone: {1e3 * theirs:.1f} ms, {theirs / ours:.1f} times as long")

# %%
# What the model looks for, and where it goes wrong:

# sphinx_gallery_thumbnail_number = 2
figure, axes = plt.subplots(2, 5, figsize=(6, 3), layout="constrained")
for digit, (ax, weight) in enumerate(zip(axes.flat, model.coef_, strict=True)):
    shown = ax.imshow(weight.reshape(8, 8), cmap="RdBu_r", vmin=-2.5, vmax=2.5)
    ax.set_title(digit, loc="center", pad=4)
    ax.set_axis_off()
figure.colorbar(shown, ax=axes, shrink=0.8, label="weight")
show("weights")

# %%
# *A weight for each pixel: ink on red speaks for the digit, ink on blue against it. The 0 wants its middle empty.*

probabilities, predicted = model.predict_proba(X_test), model.predict(X_test)
wrong = np.flatnonzero(predicted != y_test)
worst = wrong[np.argsort(probabilities[wrong, y_test[wrong]])][:4]
figure, axes = plt.subplots(2, 4, figsize=(6, 4), layout="constrained", sharey="row")
for i, image, bars in zip(worst, *axes, strict=True):
    image.imshow(X_test[i].reshape(8, 8), cmap="gray_r")
    image.set_title(f"{y_test[i]}, read as {predicted[i]}", loc="center", pad=4, fontsize=10)
    image.axis("off")
    bars.bar(range(10), probabilities[i], color=["C0" if k == y_test[i] else "C1" for k in range(10)])
    bars.set(xlabel="digit", xticks=range(0, 10, 3), ylim=(0, 1))
axes[1, 0].set_ylabel("probability")
figure.suptitle(f"The worst {len(worst)} of {len(wrong)} mistakes on {len(y_test)} images")
show("mistakes")

# %%
# *Held-out images, and below each the probabilities that the model gives, that of the true digit in blue.*
#
# The checks: the accuracy, the distance from the minimum, the minimum beside scikit-learn's, and the gradient
# ``(p - t) / n`` beside NumPy's in float64.

some = np.exp(logits[:128], dtype=np.float64)
by_formula = some / some.sum(axis=1, keepdims=True)
by_formula[np.arange(128), tokens[:128]] -= 1
np.testing.assert_allclose(grad[:128], by_formula / len(logits), rtol=2e-6)
np.testing.assert_allclose(loss, loss_by_numpy, rtol=1e-5)
assert model.score(X_test, y_test) >= 0.95, f"accuracy is {model.score(X_test, y_test):.4f}"
assert objective(model) < 1.02 * objective(exact), f"objective is {objective(model):.4f}"
np.testing.assert_allclose(exact.coef_, peer.coef_, atol=1e-5)
print("checks: passed")
