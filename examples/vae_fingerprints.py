"""
Variational autoencoder: a machine that dreams of digits
========================================================

An image of black and white pixels is a fingerprint of 64 bits. Are a few numbers enough to draw it again, and what is
drawn from numbers that belong to no image?

A variational autoencoder has two halves. The encoder gives for an image ``x`` a Gaussian over a few hidden numbers
``h``, the decoder gives for ``h`` a logit ``z`` of each pixel. Both lower the negative evidence lower bound (ELBO):
what it takes to tell ``h``, and then the pixels. It is never below the surprise ``-ln p(x)``::

    -ELBO(x) = KL( N(m, v) || N(0, 1) ) + mean over h of sum_pixels BCE(x, sigmoid(z))        h = m + sqrt(v) noise
"""

# %%
# Encoder and decoder
# -------------------
#
# The backward pass is written out. The gradient at the logits is ``sigmoid(z) - x``; the decoder passes it on to ``h``,
# from there it goes on to mean and logarithm of the variance, where that of the divergence is added.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.utils import gen_batches

import xentrs as xe
from xentrs import nn
from xentrs.optim import Adam

HIDDEN = 8
digits = load_digits()
images = (digits.data > 7).astype(float)
X, X_test, _, kind = train_test_split(images, digits.target, test_size=400, random_state=0)
rng = np.random.default_rng(0)
encoder = nn.Sequential(
    nn.Dense(64, 100, init="he", random_state=rng), nn.GELU(), nn.Dense(100, 2 * HIDDEN, random_state=rng)
)
decoder = nn.Sequential(
    nn.Dense(HIDDEN, 100, init="he", random_state=rng), nn.GELU(), nn.Dense(100, 64, random_state=rng)
)
optimizer = Adam(encoder.params + decoder.params)


def bound(x, noise):
    """Return the two terms of -ELBO, means over the images `x`, and the gradients to all parameters of their sum."""
    mean, log_var = np.split(encoder.forward(x), 2, axis=1)
    std = np.exp(log_var / 2)
    divergence, grad_mean, grad_var, *_ = xe.gaussian_kl_divergence_with_grad(mean, std**2, 0.0, 1.0)
    cross_entropy, grad = xe.sigmoid_cross_entropy_with_grad(decoder.forward(mean + std * noise), x, reduction="sum")
    grad_h = decoder.backward(grad / len(x))
    grad_log_var = grad_h * std * noise / 2 + grad_var * std**2 / len(x)
    encoder.backward_params(np.hstack([grad_h + grad_mean / len(x), grad_log_var]))
    return np.array([divergence.sum(), cross_entropy]) / len(x), encoder.grads + decoder.grads


# %%
# Training
# --------
#
# The yardstick is a factorised Bernoulli: each pixel black with its own probability, whatever the others are.

curve, noise = [], rng.normal(size=(len(X_test), HIDDEN))
for epoch in range(120):
    optimizer.learning_rate = 4e-3 * (1 - epoch / 120)
    order = rng.permutation(len(X))
    for batch in gen_batches(len(X), 100, min_batch_size=50):
        x = X[order[batch]]
        optimizer.step(bound(x, rng.normal(size=(len(x), HIDDEN)))[1])
    curve.append(bound(X_test, noise)[0])
curve = np.array(curve)
share = (X.sum(axis=0) + 1) / (len(X) + 2)
factorised = xe.binary_cross_entropy(np.tile(share, (len(X_test), 1)), X_test, reduction="sum") / len(X_test)
print(f"held out, in nats an image: {curve[-1].sum():.2f}, factorised Bernoulli {factorised:.2f}")

figure, ax = plt.subplots(figsize=(6, 4.2), layout="constrained")
ax.plot(curve.sum(axis=1), "C0", label="-ELBO: the sum of the two below")
ax.plot(curve[:, 1], "C1--", label="cross-entropy: the pixels, given h")
ax.plot(curve[:, 0], "C2-.", label="divergence: what h tells of the image")
ax.axhline(factorised, color="k", linestyle=":", label="factorised Bernoulli")
ax.set(title="Test images", xlabel="epoch", ylabel="nats an image", xlim=(0, 119), ylim=(0, 45))
ax.legend()
plt.show()

# %%
# *After a few epochs a few nats tell which image it is, and the pixels cost half of what they cost on their own.*
#
# What it sees, and what it dreams
# --------------------------------

# sphinx_gallery_thumbnail_number = 2
first = [np.flatnonzero(kind == k)[0] for k in range(10)]
redrawn = xe.sigmoid(decoder.forward(encoder.forward(X_test)[:, :HIDDEN]))
dreams = xe.sigmoid(decoder.forward(rng.normal(size=(2_000, HIDDEN))))
tossed = (rng.random(dreams.shape) < dreams).astype(float)
coins = (rng.random(dreams.shape) < share).astype(float)
rows = {"test": X_test[first], "redrawn": redrawn[first], "dreamt": dreams[:10], "tossed": tossed[:10]}
rows["factorised"] = coins[:10]
tiles = np.pad(np.reshape([*rows.values()], (-1, 10, 8, 8)), [(0, 0), (0, 0), (1, 1), (1, 1)], constant_values=np.nan)
figure, ax = plt.subplots(figsize=(6, 3), layout="constrained")
ax.imshow(tiles.transpose(0, 2, 1, 3).reshape(10 * len(rows), -1), cmap="gray_r", vmin=0, vmax=1)
ax.set(title="Redrawn and dreamt", xticks=[], yticks=10 * np.arange(len(rows)) + 4.5, yticklabels=rows, facecolor="0.8")
ax.tick_params(length=0)
ax.grid(visible=False)
ax.spines[:].set_visible(False)
plt.show()

# %%
# *Test images; redrawn from the mean of their hidden numbers, as the probability of each pixel; dreamt, from hidden
# numbers drawn at random; a coin tossed for each pixel of the dream; and by the factorised Bernoulli, which has never
# seen a stroke.*
#
# The checks
# ----------
#
# The gradient at the logits is ``sigmoid(z) - x``, and the whole backward pass agrees with a difference of the bound.
# On images never seen the bound beats the factorised Bernoulli by several nats. What is dreamt has the covariances of
# real pixels, of which the factorised Bernoulli has none.

logits = decoder.forward(rng.normal(size=(len(X_test), HIDDEN)))
_, grad = xe.sigmoid_cross_entropy_with_grad(logits, X_test, reduction="sum")
np.testing.assert_allclose(grad, xe.sigmoid(logits) - X_test, rtol=1e-12, atol=1e-14)

directions = [rng.normal(size=param.shape) for param in optimizer.params]
slope = sum(np.vdot(grad, direction) for grad, direction in zip(bound(X_test, noise)[1], directions, strict=True))
ends = []
for step in (1e-5, -2e-5):  # to one side, then to the other
    for param, direction in zip(optimizer.params, directions, strict=True):
        param += step * direction
    ends.append(bound(X_test, noise)[0].sum())
np.testing.assert_allclose(slope, (ends[0] - ends[1]) / 2e-5, rtol=1e-6)

final = curve[-1].sum()
assert final < factorised - 5, f"-ELBO must be nats below {factorised:.2f}, got {final:.2f}"
assert curve[-1, 0] > 2, "the hidden numbers must tell something of the image"


def likeness(bits):
    """Return the correlation of the covariances between pixels with those of the test images."""
    upper = np.triu_indices(64, 1)
    return np.corrcoef(np.cov(bits.T)[upper], np.cov(X_test.T)[upper])[0, 1]


print(f"likeness of the covariances: dreamt {likeness(tossed):.2f}, factorised {likeness(coins):.2f}")
assert likeness(tossed) > 0.8 > 0.2 > likeness(coins), "what is dreamt must have the covariances of real pixels"
print("checks: passed")
