"""
Adversarial training: digits that fool a network
================================================

A network reads handwritten digits almost without error. How little must be changed in an image until it reads another
digit, and can it be taught to read on?

An attack moves an image ``x`` to where the loss of its true class ``y`` is highest, no pixel by more than ``eps``. The
fast gradient sign method (FGSM) takes one step, projected gradient descent (PGD) many short ones. Adversarial training
minimises the loss of the images that come out::

    attack:    max  loss(x', y)    over all x' with |x' - x| <= eps in each pixel
    training:  min  mean over (x, y) of that maximum    over the weights
"""

# %%
# Three networks
# --------------
#
# Pixels are from 0 to 1. One network is trained as usual, one on images with noise: each pixel moved by ``eps`` up or
# down at random. That is the simple remedy, and as large as the attack. The third never sees an image as it is: before
# each step all images of the batch are moved against the network as it then stands.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.utils import gen_batches

from xentrs.attacks import fgsm, pgd
from xentrs.models import MLPClassifier

EPS, CLIP = 0.15, (0, 1)
digits = load_digits()
X, X_test, y, y_test = train_test_split(digits.data / 16, digits.target, test_size=500, random_state=0)
rng = np.random.default_rng(0)


def shake(images, eps):
    """Return the images, each pixel moved by `eps` up or down at random."""
    return np.clip(images + eps * rng.choice([-1.0, 1.0], size=images.shape), *CLIP)


def train(prepare, epochs=30):
    """Return a network that is trained, batch by batch, on what `prepare` makes of the images."""
    model = MLPClassifier((128,), alpha=0.0, learning_rate_init=5e-3, random_state=0)
    order = np.random.default_rng(0)
    model.partial_fit(X[:200], y[:200], classes=np.arange(10))
    for _ in range(epochs):
        shuffled = order.permutation(len(X))
        for batch in gen_batches(len(X), 200, min_batch_size=100):
            images, labels = X[shuffled[batch]], y[shuffled[batch]]
            model.partial_fit(prepare(model, images, labels), labels)
    return model


ways = {
    "as usual": lambda model, images, labels: images,
    "on noise": lambda model, images, labels: shake(images, EPS),
    "on attacks": lambda *batch: pgd(*batch, eps=EPS, clip=CLIP, n_iter=5, random_state=0),
}
networks = {name: train(way) for name, way in ways.items()}

# %%
# Accuracy under attack
# ---------------------
#
# Every test image is attacked with full knowledge of the network.

sizes = [0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3]
attacks = {
    "noise": lambda model, eps: shake(X_test, eps),
    "FGSM": lambda model, eps: fgsm(model, X_test, y_test, eps=eps, clip=CLIP),
    "PGD": lambda model, eps: pgd(model, X_test, y_test, eps=eps, clip=CLIP, n_iter=20, random_state=0),
}
accuracy = {
    (name, attack): np.array([model.score(move(model, eps), y_test) for eps in sizes])
    for name, model in networks.items()
    for attack, move in attacks.items()
}
print("trained     moved by  ", *(f"{eps:.2f}" for eps in sizes), sep="  ")
for (name, attack), values in accuracy.items():
    print(f"{name:<12}{attack:<12}", *(f"{value:.2f}" for value in values), sep="  ")

figure, ax = plt.subplots(figsize=(6, 4.4), layout="constrained")
for name, style in zip(networks, ["C1s-", "C2^--", "C0o-"], strict=True):
    ax.plot(sizes, 100 * accuracy[name, "PGD"], style, label=f"trained {name}, attacked")
ax.plot(sizes, 100 * accuracy["as usual", "noise"], "C1:", label="trained as usual, noise instead")
ax.set(xlabel="eps, the most a pixel is moved (white is 1)", ylabel="test images read right (%)", ylim=(-3, 103))
ax.legend(fontsize=9, loc="upper right", bbox_to_anchor=(1.02, 0.72))
plt.show()

# %%
# *Noise does little to the network that an attack of the same size blinds: the direction hurts, not the size. Training
# on noise helps little. Training on attacks helps much, costs a point where nobody attacks, and loses to large ones.*
#
# What the attack does
# --------------------
#
# The first test image of each digit that the usual network reads right, moved by PGD.

usual, robust = networks["as usual"], networks["on attacks"]
first = [np.flatnonzero((y_test == k) & (usual.predict(X_test) == k))[0] for k in range(10)]
moved = {
    name: pgd(networks[name], X_test[first], y_test[first], eps=EPS, clip=CLIP, random_state=0)
    for name in ("as usual", "on attacks")
}
rows = [
    ("The images as they are", X_test[first], usual),
    (f"Moved by at most {EPS} against the usual network, and what it reads", moved["as usual"], usual),
    ("How each pixel was moved: red down, blue up", moved["as usual"] - X_test[first], None),
    ("Moved against the network trained on attacks, and what it reads", moved["on attacks"], robust),
]
figure, axes = plt.subplots(4, 1, figsize=(6, 5), layout="constrained")
for ax, (title, images, reader) in zip(axes, rows, strict=True):
    tiles = np.pad(images.reshape(10, 8, 8), ((0, 0), (0, 0), (1, 1)), constant_values=np.nan)
    colours = {"cmap": "gray", "vmin": 0, "vmax": 1} if reader else {"cmap": "RdBu", "vmin": -0.3, "vmax": 0.3}
    ax.imshow(np.hstack(tiles), **colours)
    ax.set_title(title, fontsize=10, pad=4)
    ax.set(yticks=[], xticks=[])
    ax.grid(visible=False)
    ax.spines[:].set_visible(False)
    for k, answer in enumerate(reader.predict(images) if reader else []):
        ax.text(10 * k + 4.5, 10, answer, color="k" if answer == k else "C1", ha="center", va="center")
plt.show()

# %%
# *Below an image stands what the network reads, in colour where that is wrong.*
#
# The checks
# ----------
#
# The attack works: with ``eps`` 0.15 hardly an image is read right by the usual network, where noise of that size does
# little. Training on noise is no remedy; training on attacks recovers most of what is lost, and costs little where
# nobody attacks. PGD does at least as much harm as FGSM. No pixel has moved further than it may.

untouched = {name: accuracy[name, "noise"][0] for name in networks}
at = {key: values[sizes.index(EPS)] for key, values in accuracy.items()}
assert untouched["as usual"] > 0.94, "the network must read what nobody has touched"
assert at["as usual", "noise"] > 0.9, f"noise must do little harm, got {at['as usual', 'noise']:.3f}"
for attack in ("FGSM", "PGD"):
    usual, noisy, robust = (at[name, attack] for name in networks)
    assert usual < 0.25, f"{attack} must work, but {usual:.3f} of the images are read"
    assert robust > max(usual, noisy) + 0.3, f"training must recover what {attack} takes, got {robust:.3f}"
assert untouched["on attacks"] > untouched["as usual"] - 0.04, "it must cost little without an attack"
for name in networks:
    assert np.all(accuracy[name, "PGD"] <= accuracy[name, "FGSM"] + 0.005), "many steps must do as much harm as one"
for images in moved.values():
    assert np.abs(images - X_test[first]).max() <= EPS and 0 <= images.min() <= images.max() <= 1, "out of bounds"
print("checks: passed")
