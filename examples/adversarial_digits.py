"""
Digits that fool a network
==========================

A network reads handwritten digits almost without error. How little must be changed in an image until it reads another
digit, and can it be taught to read on?

An attack moves an image ``x`` to where the loss of its true class ``y`` is highest, no pixel by more than ``eps``. The
fast gradient sign method (FGSM) takes one step, projected gradient descent (PGD) many short ones. Adversarial training
minimises the loss of the images that come out::

    attack:    max  loss(x', y)    over all x' with |x' - x| <= eps in each pixel
    training:  min  mean over (x, y) of that maximum    over the weights
"""

# %%
# Two networks
# ------------
#
# Pixels are from 0 to 1. One network is trained as usual. The other never sees an image as it is: before each step all
# images of the batch are moved against the network as it then stands.

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


def train(prepare, epochs=30):
    """Return a network that is trained, batch by batch, on what `prepare` makes of the images."""
    model = MLPClassifier((128,), alpha=0.0, learning_rate_init=5e-3, random_state=0)
    rng = np.random.default_rng(0)
    model.partial_fit(X[:200], y[:200], classes=np.arange(10))
    for _ in range(epochs):
        order = rng.permutation(len(X))
        for batch in gen_batches(len(X), 200, min_batch_size=100):
            images, labels = X[order[batch]], y[order[batch]]
            model.partial_fit(prepare(model, images, labels), labels)
    return model


plain = train(lambda model, images, labels: images)
taught = train(lambda model, images, labels: pgd(model, images, labels, eps=EPS, clip=CLIP, n_iter=5, random_state=0))
models = {"trained as usual": plain, "trained on attacks": taught}
usual, robust = models

# %%
# Accuracy under attack
# ---------------------
#
# Every image is attacked with full knowledge of the network. Noise of the same size, each pixel moved by ``eps`` up or
# down at random, shows that it is the direction that hurts, not the size.

sizes = np.array([0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3])
rng = np.random.default_rng(1)
signs = rng.choice([-1.0, 1.0], size=X_test.shape)
attacks = {
    "noise": lambda model, eps: np.clip(X_test + eps * signs, *CLIP),
    "FGSM": lambda model, eps: fgsm(model, X_test, y_test, eps=eps, clip=CLIP),
    "PGD": lambda model, eps: pgd(model, X_test, y_test, eps=eps, clip=CLIP, n_iter=20, random_state=0),
}
accuracy = {
    (name, attack): np.array([model.score(move(model, eps), y_test) for eps in sizes])
    for name, model in models.items()
    for attack, move in attacks.items()
}
for (name, attack), values in accuracy.items():
    print(f"{name:<18} {attack:<5}", *(f"{value:.3f}" for value in values))

figure, axes = plt.subplots(1, 2, figsize=(10, 4.4), layout="constrained", sharey=True)
for ax, name in zip(axes, models, strict=True):
    for attack, style in zip(attacks, ["C2^:", "C0o--", "C1s-"], strict=True):
        ax.plot(sizes, 100 * accuracy[name, attack], style, label=attack)
    ax.axhline(10, color="k", linewidth=1)
    ax.set(title=f"Network {name}", xlabel="eps, the most a pixel is moved (white is 1)", ylim=(-3, 103))
axes[0].text(0.01, 12, "guessing", fontsize=9)
axes[0].set_ylabel("test images read right (%)")
axes[1].legend(loc="center left", bbox_to_anchor=(0, 0.34), title="moved by")
plt.show()

# %%
# What the attack does
# --------------------
#
# The first test image of each digit that the usual network reads right, moved by PGD against either network, and what
# that network reads then. A person reads all of them.

# sphinx_gallery_thumbnail_number = 2
first = [np.flatnonzero((y_test == k) & (plain.predict(X_test) == k))[0] for k in range(10)]
rows = {"as it is": X_test[first]}
rows |= {name: pgd(m, X_test[first], y_test[first], eps=EPS, clip=CLIP, random_state=0) for name, m in models.items()}
figure, axes = plt.subplots(3, 10, figsize=(10, 4.1), layout="constrained")
for line, (name, images) in zip(axes, rows.items(), strict=True):
    for ax, image, true, read in zip(line, images, range(10), models.get(name, plain).predict(images), strict=True):
        ax.imshow(image.reshape(8, 8), cmap="gray", vmin=0, vmax=1)
        ax.set(xticks=[], yticks=[])
        ax.grid(visible=False)
        words, color = (f"{read}", "k") if read == true else (f"{read}: wrong", "C1")
        ax.set_title(words, loc="center", pad=4, fontsize=10, color=color)
    line[0].set_ylabel({usual: "against the\nusual one", robust: "against the\ntaught one"}.get(name, name))
figure.suptitle(f"Moved by PGD, no pixel by more than {EPS}; above each image what the network reads", fontsize=12)
plt.show()

# %%
# The checks
# ----------
#
# The attack works: with ``eps`` 0.15 hardly an image is read right, where noise of that size does little. Training
# recovers most of what is lost, and costs little where nobody attacks. PGD, which looks longer, does at least as much
# harm as FGSM. No pixel has moved further than it may.

at = {key: values[sizes.tolist().index(EPS)] for key, values in accuracy.items()}
assert accuracy[usual, "noise"][0] > 0.94, "the network must read what nobody has touched"
assert at[usual, "noise"] > 0.9, f"noise must do little harm, got {at[usual, 'noise']:.3f}"
for attack in ("FGSM", "PGD"):
    before, after = at[usual, attack], at[robust, attack]
    assert before < 0.25, f"{attack} must work, but {before:.3f} of the images are read"
    assert after > before + 0.4, f"training must recover what {attack} takes, got {after:.3f} instead of {before:.3f}"
assert accuracy[robust, "noise"][0] > accuracy[usual, "noise"][0] - 0.04, "it must cost little without an attack"
for name in models:
    assert np.all(accuracy[name, "PGD"] <= accuracy[name, "FGSM"] + 0.005), "many steps must do as much harm as one"
    moved = rows[name] - rows["as it is"]
    assert np.abs(moved).max() <= EPS and 0 <= rows[name].min() <= rows[name].max() <= 1, "pixels must stay in bounds"
print("checks: passed")
