"""
Distillation: what a teacher knows beside the label
===================================================

A large network reads handwritten digits, and a small one is to do it in its place. Does the small one learn more from
what the large one says, "a 3, but it might be an 8", than from the labels? And if most images have no label?

The student's loss is the cross-entropy with the teacher's probabilities, both at a temperature ``T`` that brings the
small ones out. The factor ``T^2`` keeps the gradient as large as that of labels (Hinton, Vinyals and Dean)::

    loss = T^2 H(softmax(z_teacher / T), softmax(z / T))                    H(p, q) = -sum_k p_k ln q_k
"""

# %%
# A teacher, and students
# -----------------------
#
# 1797 real images: 300 with labels, 600 without, 300 to tune by, the rest to judge by, dealt anew in each of five
# repetitions. The teacher is three networks of 64 units, whose logits are averaged. A student has eight units. The
# factor goes into the gradient by ``grad_output`` (:doc:`/distillation`).

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

import xentrs as xe
from xentrs import nn
from xentrs.optim import Adam

images, digits = load_digits(return_X_y=True)
images = (images / 16).astype(np.float32)
REPETITIONS, UNITS = 5, 8


def train(units, X, target, seed, steps=200, weight_decay=0.0, temperature=1.0, **options):
    """Return a network with one hidden layer, trained by Adam on all samples at a time."""
    layers = (
        nn.Dense(64, units, init="he", random_state=seed, dtype="f"),
        nn.ReLU(),
        nn.Dense(units, 10, random_state=seed, dtype="f"),
    )
    network = nn.Sequential(*layers)
    optimizer = Adam(network.params, weight_decay=weight_decay)
    for step in range(steps):
        optimizer.learning_rate = 0.03 * (1 - step / steps)
        _, grad = xe.softmax_cross_entropy_with_grad(
            network.forward(X), target, temperature=temperature, grad_output=temperature**2, **options
        )
        network.backward_params(grad)
        optimizer.step(network.grads)
    return network


# %%
# Five ways to learn
# ------------------
#
# From 300 labels; from these with smoothing, which makes labels less certain, but knows nothing; from what the teacher
# says of the same images, its probabilities; and from what it says of 600 images more, its answers or its
# probabilities. Each way has something to tune, by the loss: a decay of the weights, the smoothing, the temperature.

decays, smoothings, temperatures = (0.0, 0.3, 1.0), (0.03, 0.1, 0.2), (1.0, 2.0, 4.0)
results = {
    name: []
    for name in ("labels", "labels, smoothed", "probabilities", "answers to 900", "probabilities of 900", "the teacher")
}
rng = np.random.default_rng(0)
for repetition in range(REPETITIONS):
    learn, more, tune, judge = np.split(rng.permutation(len(digits)), [300, 900, 1200])
    both = np.concatenate([learn, more])
    teachers = [train(64, images[learn], digits[learn], 10 * k, steps=60, weight_decay=0.3) for k in range(3)]
    said = sum(teacher.forward(images) for teacher in teachers) / np.float32(3)
    words = {T: xe.softmax(said / np.float32(T)) for T in temperatures}
    grids = {
        "labels": [(learn, digits, {"weight_decay": decay}) for decay in decays],
        "labels, smoothed": [(learn, digits, {"label_smoothing": e}) for e in smoothings],
        "probabilities": [(learn, words[T], {"temperature": T}) for T in temperatures],
        "answers to 900": [(both, said.argmax(axis=1), {"weight_decay": decay}) for decay in decays],
        "probabilities of 900": [(both, words[T], {"temperature": T}) for T in temperatures],
    }
    logits = {"the teacher": said}
    for way, grid in grids.items():
        students = [train(UNITS, images[some], target[some], repetition, **own) for some, target, own in grid]
        students = [student.forward(images) for student in students]
        logits[way] = min(students, key=lambda z: xe.softmax_cross_entropy(z[tune], digits[tune]))
    for way, z in logits.items():
        right = np.mean(z[judge].argmax(axis=1) == digits[judge])
        results[way].append((xe.softmax_cross_entropy(z[judge], digits[judge]), right))
results = {way: np.array(values) for way, values in results.items()}
for way, values in results.items():
    print(f"{way:<21}loss {values[:, 0].mean():.3f}, right {values[:, 1].mean():.3f}")

figure, ax = plt.subplots(figsize=(6, 3.8), layout="constrained")
colors = ["C1", "C1", "C0", "C1", "C0", "k"]
for place, (values, color) in enumerate(zip(results.values(), colors, strict=True)):
    ax.plot(values[:, 0], np.full(REPETITIONS, place), f"{color}o", alpha=0.5)
    ax.plot(values[:, 0].mean(), place, f"{color}|", markersize=26, markeredgewidth=3)
ax.set_yticks(range(len(results)), results)
ax.set(title="What a small network learns from", xlabel="loss on new images (nats)", xlim=0, ylim=(5.6, -0.6))
plt.show()

# %%
# *A dot for each repetition, a bar for the mean. Probabilities (blue) beat labels, and the teacher's bare answers.*
# Smoothing alone, without the decay that labels may choose, is no match for either.
#
# What the teacher says
# ---------------------
#
# Images of which the teacher is least sure, among those it learnt from in the last repetition, and those it never saw.

unsure = [some[np.argsort(xe.entropy(words[1.0][some]))[-3:]] for some in (learn, more)]
figure, axes = plt.subplots(4, 3, figsize=(6, 5.6), layout="constrained", height_ratios=[1.2, 1, 1.2, 1])
for i, ax, below in zip(np.ravel(unsure), axes[::2].flat, axes[1::2].flat, strict=True):
    ax.imshow(images[i].reshape(8, 8), cmap="gray_r")
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    ax.set_title(f"a {digits[i]}", loc="center", fontsize=11)
    below.bar(range(10), words[1.0][i], color=["C2" if k == digits[i] else "0.6" for k in range(10)])
    below.set(xticks=range(10), ylim=(0, 1), yticks=[0, 1])
plt.show()

# %%
# *Bars: the teacher's probabilities of the digits; green is the label.*
#
# The check
# ---------
#
# Probabilities give a lower loss than the labels of the same images, smoothed or not, and a lower one than the
# teacher's answers for all images. The teacher stays better than its students.

loss = {way: values[:, 0].mean() for way, values in results.items()}
assert loss["probabilities"] < min(loss["labels"], loss["labels, smoothed"]) - 0.03, f"it must help, got {loss}"
assert loss["probabilities of 900"] < loss["answers to 900"] - 0.02, f"it must help without labels, got {loss}"
assert loss["the teacher"] < loss["probabilities of 900"], f"the teacher must be better than its students, got {loss}"
print("checks: passed")
