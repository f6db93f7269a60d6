"""
Self-supervised learning: which way up is a digit?
==================================================

Nine hundred images, and nobody has time to say what is on them. Can a network learn what is worth seeing from a task
whose answers cost nothing?

The task is to tell by how many quarters ``k`` an image ``x`` was turned, from logits ``z`` of the four answers::

    loss = mean over x and k of -ln softmax(z(turn(x, k)))[k]

Who can tell which way up a digit is has seen its strokes. What the network sees is then given to a probe: a linear
model that learns the ten digits from few labelled images. Does it see more than a network that was taught nothing?
"""

# %%
# Images and a network
# --------------------
#
# Digits of 8 x 8 pixels, each somewhere in a field of 12 x 12, which makes it hard for whoever looks at single pixels.
# 64 detectors look at every patch of 8 x 8 pixels, and of each the strongest response counts, wherever it was.

from functools import partial

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, normalize
from sklearn.utils import gen_batches

import xentrs as xe
from xentrs import nn
from xentrs.models import LogisticRegression
from xentrs.optim import Adam

SIDE, PATCH, PLACES, DETECTORS, EPOCHS = 12, 8, 25, 64, 100
rng = np.random.default_rng(0)


def place(images):
    corners = rng.integers(SIDE - 7, size=(len(images), 2))
    return np.array([np.pad(x, [(i, 4 - i) for i in at]) for x, at in zip(images, corners, strict=True)], np.float32)


def turn(fields):
    quarters = rng.integers(4, size=len(fields))
    return np.array([np.rot90(field, k) for field, k in zip(fields, quarters, strict=True)]), quarters


images, labels = load_digits(return_X_y=True)
images = images.reshape(-1, 8, 8) / 16
unlabelled, few, tune, test = np.split(rng.permutation(len(images)), [900, 1200, 1350])


def patches(fields):
    return np.lib.stride_tricks.sliding_window_view(fields, (PATCH, PATCH), (1, 2)).reshape(-1, PATCH**2)


class Strongest(nn.Layer):
    def forward(self, x):
        self.places = x.reshape(-1, PLACES, DETECTORS)
        self.where = self.places.argmax(axis=1, keepdims=True)
        return np.take_along_axis(self.places, self.where, axis=1)[:, 0]

    def backward(self, grad):
        spread = np.zeros_like(self.places)
        np.put_along_axis(spread, self.where, grad[:, np.newaxis], axis=1)
        return spread.reshape(-1, DETECTORS)


dense = partial(nn.Dense, init="he", dtype=np.float32, random_state=rng)
taught, noise, untrained = (nn.Sequential(dense(PATCH**2, DETECTORS), nn.ReLU(), Strongest()) for _ in range(3))
network = nn.Sequential(taught, dense(DETECTORS, 64), nn.ReLU(), dense(64, 4))
optimizer = Adam(network.params, weight_decay=0.3)
for epoch in range(EPOCHS):
    optimizer.learning_rate = 3e-3 * (1 - epoch / EPOCHS)
    fields, quarters = turn(place(images[rng.permutation(unlabelled)]))
    for batch in gen_batches(len(fields), 100):
        _, grad = xe.softmax_cross_entropy_with_grad(network.forward(patches(fields[batch])), quarters[batch])
        network.backward_params(grad)
        optimizer.step(network.grads)
fields, quarters = turn(place(images[test]))
answers = network.forward(patches(fields)).argmax(axis=1)
right = answers == quarters
shown = np.concatenate([np.flatnonzero(right)[:4], np.flatnonzero(~right)[:4]])
figure, ax = plt.subplots(figsize=(6, 1.8), layout="constrained")
ax.imshow(np.hstack(np.pad(fields[shown], [(0, 0), (1, 1), (1, 1)], constant_values=np.nan)), cmap="gray_r")
words = [f"{90 * answers[i]}°" + f",\nnot {90 * quarters[i]}°" * (not right[i]) for i in shown]
ax.set(xticks=14 * np.arange(8) + 6.5, xticklabels=words, yticks=[], facecolor="0.8")
ax.grid(visible=False)
ax.set_title(f"Turned to the left by? {np.mean(right):.0%} of the answers are right")
plt.show()

# %%
# *The first four test images that are answered rightly, and the first four that are not.*
#
# The probe is a logistic regression on few labelled images, drawn six times. Its penalty is tuned on images that are
# neither trained on nor tested on. Three rivals get no lesson: detectors of noise; 64 patches cut from unlabelled
# images, each with mean 0 and norm 1; pixels of the cropped digit, for whoever knows that the ground is empty.

cut = rng.permutation(patches(place(images[unlabelled])))
cut = cut[cut.std(axis=1) > 0.3][:DETECTORS]
untrained.params[0][:] = normalize(cut - cut.mean(axis=1, keepdims=True))


def crop(fields):
    corners = [[-(field.any(axis=axis).argmax()) for axis in (1, 0)] for field in fields]
    return np.array([np.roll(field, by, (0, 1)).ravel() for field, by in zip(fields, corners, strict=True)])


sights = {
    "detectors, taught by rotations": lambda x: taught.forward(patches(x)),
    "detectors, noise": lambda x: noise.forward(patches(x)),
    "detectors, untrained patches": lambda x: untrained.forward(patches(x)),
    "pixels of the cropped digit": crop,
}
counts, draws, three = [2, 5, 10, 20], 6, [place(images[rows]) for rows in (few, tune, test)]
seen = {name: [see(fields) for fields in three] for name, see in sights.items()}
accuracy = {name: np.zeros((draws, len(counts))) for name in sights}
for draw in range(draws):
    shuffled = rng.permutation(len(few))
    for i, count in enumerate(counts):
        chosen = np.concatenate([shuffled[labels[few[shuffled]] == digit][:count] for digit in range(10)])
        for name, (x, x_tune, x_test) in seen.items():
            probes = [make_pipeline(StandardScaler(), LogisticRegression(C=C)) for C in (0.02, 0.3)]
            best = max(probes, key=lambda p: p.fit(x[chosen], labels[few[chosen]]).score(x_tune, labels[tune]))
            accuracy[name][draw, i] = best.score(x_test, labels[test])

# sphinx_gallery_thumbnail_number = 2
figure, ax = plt.subplots(figsize=(6, 4.6), layout="constrained")
for (name, values), style in zip(accuracy.items(), ["C0o-", "C3v:", "C1s--", "C2^-."], strict=True):
    ax.errorbar(counts, 100 * values.mean(axis=0), 100 * values.std(axis=0), fmt=style, capsize=4, label=name)
ax.set(xlabel="labelled images of each digit", ylabel="test images read right (%)", xticks=counts, ylim=(0, 100))
ax.legend(fontsize=9, loc="center right", bbox_to_anchor=(1, 0.42))
plt.show()

# %%
# *Means and standard deviations of the draws. Rotations teach something; untrained patches see more, a crop most.*
#
# The checks
# ----------
#
# Rotations are told, and what they taught is worth more than noise. Patches are worth more still, and a crop most.

assert np.mean(right) > 0.8, f"rotations must be told, got {np.mean(right):.3f}"
lesson, nothing, plain, cropped = (values.mean(axis=0) for values in accuracy.values())
assert np.all(lesson > nothing + 0.02), f"a lesson must be worth something, got {lesson}, {nothing}"
assert np.all(cropped > plain + 0.05) and np.all(plain > lesson), f"the text must be true, got {plain} and {lesson}"
print("checks: passed")
