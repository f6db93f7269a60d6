"""
What can be learnt without labels
=================================

A thousand images, and nobody has time to say what is on them. Can a network learn what is worth seeing from a task
whose answers cost nothing?

The task is to tell by how many quarters ``k`` an image ``x`` was turned, from logits ``z`` of the four answers::

    loss = mean over x and k of -ln softmax(z(turn(x, k)))[k]

Who can tell which way up a digit is has seen its strokes. What the network sees is then given to a probe: a linear
model that learns the ten digits from few labelled images.
"""

# %%
# Images
# ------
#
# Digits of 8 x 8 pixels, each somewhere in a field of 12 x 12, which makes it hard for whoever looks at single pixels.

from functools import partial

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import gen_batches

import xentrs as xe
from xentrs import nn
from xentrs.models import LogisticRegression
from xentrs.optim import Adam

SIDE, PATCH, PLACES, DETECTORS = 12, 8, 25, 64
rng = np.random.default_rng(0)


def place(images):
    """Return a field for each image, in which it is somewhere."""
    corners = rng.integers(SIDE - 7, size=(len(images), 2))
    padded = [np.pad(x, [(i, SIDE - 8 - i) for i in corner]) for x, corner in zip(images, corners, strict=True)]
    return np.array(padded, np.float32)


def turn(fields):
    """Return the fields, each turned to the left by a random number of quarters, and these numbers."""
    quarters = rng.integers(4, size=len(fields))
    return np.array([np.rot90(field, k) for field, k in zip(fields, quarters, strict=True)]), quarters


images, labels = load_digits(return_X_y=True)
images = images.reshape(-1, 8, 8) / 16
unlabelled, few, test = np.split(rng.permutation(len(images)), [1000, 1300])

# %%
# A network
# ---------
#
# 64 detectors look at every patch of 8 x 8 pixels, and of each the strongest response counts, wherever it was. That
# takes a layer of one's own, a forward and a backward pass.


def patches(fields):
    """Return every patch of each field, a row each."""
    return np.lib.stride_tricks.sliding_window_view(fields, (PATCH, PATCH), (1, 2)).reshape(-1, PATCH**2)


class Strongest(nn.Layer):
    """The largest of each column, over the rows of one field."""

    def forward(self, x):
        self.places = x.reshape(-1, PLACES, DETECTORS)
        self.where = self.places.argmax(axis=1, keepdims=True)
        return np.take_along_axis(self.places, self.where, axis=1)[:, 0]

    def backward(self, grad):
        spread = np.zeros_like(self.places)
        np.put_along_axis(spread, self.where, grad[:, np.newaxis], axis=1)
        return spread.reshape(-1, DETECTORS)


dense = partial(nn.Dense, init="he", dtype=np.float32, random_state=rng)
untrained, eye = (nn.Sequential(dense(PATCH**2, DETECTORS), nn.ReLU(), Strongest()) for _ in range(2))
network = nn.Sequential(eye, dense(DETECTORS, 64), nn.ReLU(), dense(64, 4))
optimizer = Adam(network.params, weight_decay=0.3)
for epoch in range(150):
    optimizer.learning_rate = 3e-3 * (1 - epoch / 150)
    fields, quarters = turn(place(images[rng.permutation(unlabelled)]))
    for batch in gen_batches(len(fields), 100):
        _, grad = xe.softmax_cross_entropy_with_grad(network.forward(patches(fields[batch])), quarters[batch])
        network.backward_params(grad)
        optimizer.step(network.grads)

fields, quarters = turn(place(images[test]))
answers = network.forward(patches(fields)).argmax(axis=1)
figure, axes = plt.subplots(2, 8, figsize=(9, 3), layout="constrained")
for ax, field, k, answer in zip(axes.flat, fields, quarters, answers, strict=False):
    ax.imshow(field, cmap="gray_r", vmin=0, vmax=1)
    ax.set_title(f"{90 * answer}°" + int(answer != k) * f", not {90 * k}°", loc="center", pad=4, fontsize=10)
    ax.set(xticks=[], yticks=[])
    ax.grid(visible=False)
figure.suptitle(f"Turned to the left by? Test images; {np.mean(answers == quarters):.0%} of the answers are right")
plt.show()

# %%
# The probe
# ---------
#
# A logistic regression on few labelled images, drawn ten times: on what the network sees, on what it would see if its
# detectors had learnt nothing, and on the raw pixels.

sights = {
    "what rotations taught": lambda x: eye.forward(patches(x)),
    "random detectors": lambda x: untrained.forward(patches(x)),
    "raw pixels": lambda x: x.reshape(len(x), -1),
}
counts, field_few, field_test = [2, 5, 10, 20], place(images[few]), place(images[test])
accuracy = {name: np.zeros((10, len(counts))) for name in sights}
probe = make_pipeline(StandardScaler(), LogisticRegression())
for draw in range(10):
    shuffled = rng.permutation(len(few))
    for i, count in enumerate(counts):
        chosen = np.concatenate([shuffled[labels[few[shuffled]] == digit][:count] for digit in range(10)])
        for name, see in sights.items():
            probe.fit(see(field_few[chosen]), labels[few[chosen]])
            accuracy[name][draw, i] = probe.score(see(field_test), labels[test])

figure, ax = plt.subplots(figsize=(7, 4.4), layout="constrained")
for (name, values), style in zip(accuracy.items(), ["C0o-", "C1s--", "C2^:"], strict=True):
    ax.errorbar(counts, 100 * values.mean(axis=0), 100 * values.std(axis=0), fmt=style, capsize=4, label=name)
ax.set(title="What the probe reads", xlabel="labelled images of each digit", xticks=counts)
ax.set(ylabel="test images read right (%)", ylim=(0, 100))
ax.legend(loc="upper left", title="mean and standard deviation of ten draws", ncols=3)
plt.show()

# %%
# The checks
# ----------
#
# Rotations are told, and what they taught is worth more than random detectors or raw pixels, with few labels or more.

assert np.mean(answers == quarters) > 0.85, f"rotations must be told, got {np.mean(answers == quarters):.3f}"
taught, *rivals = [values.mean(axis=0) for values in accuracy.values()]
for rival in rivals:
    assert np.all(taught > rival + 0.05), f"what rotations taught must be worth more, got {taught} and {rival}"
print("checks: passed")
