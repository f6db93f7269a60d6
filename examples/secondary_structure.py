"""
Helix, strand or coil
=====================

A protein folds into helices and strands, with coils between them. Can a model that reads a few residues at a time be
taught that its neighbour's answer is probably its own?

Each residue is a row: which of three classes, given the residues around it. To the cross-entropy comes a penalty on
answers that flicker, the Jensen-Shannon divergence of the predictions ``p_i`` at neighbouring positions::

    objective = mean_i (-ln p_i[y_i]) + strength * mean_i JS(p_i, p_(i+1))
"""

# %%
# Proteins from a hidden-Markov model
# -----------------------------------
#
# The structure is a chain of states that like to stay as they are. Each state prefers some residues to others, by the
# propensities of Chou and Fasman (Advances in Enzymology 47, 1978), here with the 20 amino acids equally common.

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import ListedColormap
from scipy.optimize import minimize

import xentrs as xe

STATES = ["helix", "strand", "coil"]
AMINO_ACIDS = "ARNDCQEGHILKMFPSTWYV"
PROPENSITY = """
142  98  67 101  70 111 151  57 100 108 121 114 145 113  57  77  83 108  69 106
 83  93  89  54 119 110  37  75  87 160 130  74 105 138  55  75 119 137 147 170
 66  95 156 146 119  98  74 156  95  47  59 101  60  60 152 143  96  96 114  50
"""
emission = np.array([line.split() for line in PROPENSITY.strip().splitlines()], dtype=float)
emission /= emission.sum(axis=1, keepdims=True)
transition = np.array([[0.90, 0.02, 0.08], [0.036, 0.82, 0.144], [0.075, 0.075, 0.85]])
LENGTH = 100


def choose(probabilities, rng):
    """Draw one class from each row of probabilities."""
    return (rng.random((len(probabilities), 1)) > probabilities.cumsum(axis=1)[:, :-1]).sum(axis=1)


def simulate(proteins, rng):
    """Return the states of each residue, and the residues, both of shape (proteins, LENGTH)."""
    states = np.full((proteins, LENGTH), 2)
    for i in range(1, LENGTH):
        states[:, i] = choose(transition[states[:, i - 1]], rng)
    return states, choose(emission[states.ravel()], rng).reshape(states.shape)


def windows(residues, reach=7):
    """Return a row for each residue: it and those up to `reach` away, one-hot. Number 20 is beyond the ends."""
    padded = np.pad(residues, ((0, 0), (reach, reach)), constant_values=20)
    around = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1, axis=1)
    return np.eye(21)[around].reshape(residues.size, -1)


rng = np.random.default_rng(0)
states, residues = simulate(80, rng)
states_test, residues_test = simulate(200, rng)
X, X_test = windows(residues), windows(residues_test)
print("".join(AMINO_ACIDS[a] for a in residues[0]), "".join("HE-"[s] for s in states[0]), sep="\n")

# %%
# Training, with and without the penalty
# --------------------------------------
#
# A softmax regression on windows of 15 residues. The penalty takes the logits protein by protein, so that the end of
# one is no neighbour of the next one's beginning. Both gradients are with respect to the logits; they are simply added.


def fit(strength):
    """Return the weights that minimise the objective above, with a little weight decay, by L-BFGS."""

    def objective(flat):
        weights = flat.reshape(X.shape[1], 3)
        logits = (X @ weights).reshape(*states.shape, 3)
        loss, grad = xe.softmax_cross_entropy_with_grad(logits, states)
        flicker, pull = xe.js_smoothness_with_grad(logits)
        grad = X.T @ (grad + strength * pull).reshape(len(X), 3) + 1e-3 * weights
        return loss + strength * flicker + 0.5e-3 * np.sum(weights**2), grad.ravel()

    return minimize(objective, np.zeros(X.shape[1] * 3), jac=True, method="L-BFGS-B").x.reshape(-1, 3)


def fragments(states):
    """Return the number of helices, strands and coils in each protein."""
    return 1 + (np.diff(states, axis=1) != 0).sum(axis=1)


strengths = [0.0, 0.3, 1.0, 3.0, 10.0]
predicted, accuracy, pieces, held_out = {}, [], [], []
for strength in strengths:
    logits = (X_test @ fit(strength)).reshape(*states_test.shape, 3)
    predicted[strength] = logits.argmax(axis=-1)
    accuracy.append(np.mean(predicted[strength] == states_test))
    pieces.append(fragments(predicted[strength]).mean())
    held_out.append(xe.softmax_cross_entropy(logits, states_test))
    print(f"strength {strength:<5} accuracy {accuracy[-1]:.3f}  loss {held_out[-1]:.4f}  fragments {pieces[-1]:.1f}")

# %%
# What it looks like
# ------------------
#
# Ten proteins never seen before. Without the penalty long stretches are broken by answers a residue or two long.

palette = ListedColormap(["#D55E00", "#0072B2", "#E8E8E8"])
shown = {"truth": states_test, "without penalty": predicted[0.0], "with penalty": predicted[1.0]}
figure, axes = plt.subplots(3, 1, figsize=(8, 5.6), layout="constrained", sharex=True)
for ax, (title, strips) in zip(axes, shown.items(), strict=True):
    ax.imshow(strips[:10], cmap=palette, aspect="auto", interpolation="nearest", vmin=0, vmax=2)
    ax.set(title=f"{title}: {fragments(strips).mean():.1f} fragments a protein", ylabel="protein", yticks=[])
    ax.grid(visible=False)
axes[-1].set_xlabel("residue")
patches = [plt.Rectangle((0, 0), 1, 1, color=palette(k), label=name) for k, name in enumerate(STATES)]
figure.legend(handles=patches, loc="outside lower center", ncols=3)
plt.show()

# %%
# How strong should it be? Accuracy stays, but beyond 1 there are soon fewer fragments than in the truth.

truth = fragments(states_test).mean()
figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.6), layout="constrained")
left.plot(pieces, "o-")
left.axhline(truth, color="k", linestyle=":", label="truth")
left.set(title="Fragments", ylabel="fragments a protein", ylim=0)
right.plot(accuracy, "o-")
right.axhline(np.mean(states_test == 2), color="k", linestyle=":", label="always coil")
right.set(title="Accuracy", ylabel="held-out accuracy", ylim=(0.35, 0.7))
for ax in (left, right):
    ax.set_xticks(range(len(strengths)), strengths)
    ax.set_xlabel("strength of the penalty")
    ax.legend(loc="lower left")
plt.show()

# %%
# The check
# ---------
#
# With strength 1 there are fewer fragments, about as many as in the truth, at no loss of accuracy or of held-out loss.

plain, smooth = strengths.index(0.0), strengths.index(1.0)
assert pieces[smooth] < 0.9 * pieces[plain], f"the penalty must join fragments, got {pieces}"
assert abs(pieces[smooth] - truth) < 0.5 * abs(pieces[plain] - truth), f"there must be about {truth:.1f}, got {pieces}"
assert accuracy[smooth] > accuracy[plain] - 0.002, f"accuracy must not fall, got {accuracy}"
assert held_out[smooth] < held_out[plain], f"the held-out loss must not rise, got {held_out}"
print("checks: passed")
