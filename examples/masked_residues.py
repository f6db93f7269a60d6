"""
Which residues touch?
=====================

In a protein, residues that touch must suit each other: when one mutates, the other follows. Can one tell from the
sequences of a family alone which positions touch?

A masked-token model is asked for residues that are hidden from it. It sees the rest of a sequence ``x`` and gives
logits ``z`` of the 20 amino acids at each position. The loss is the cross-entropy at the masked positions ``M`` alone::

    loss = mean over i in M of -ln softmax(z_i)[x_i]        z_i = b_i + sum over j not in M of W_ij[:, x_j]

What the residue at ``j`` tells of that at ``i`` must stand in the 20 x 20 numbers ``W_ij``.
"""

# %%
# A family of proteins
# --------------------
#
# A simulation, whose truth is known: 24 positions, 17 of them in chains and pairs that touch. Each residue is chosen to
# suit the one before in its chain. So the first and the third go together too, without touching. Pairs are less strict.

from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np

import xentrs as xe
from xentrs import nn
from xentrs.optim import Adam

LENGTH, LETTERS, MASK = 24, 20, 20
CHAINS = [(2, 9, 20, 13), (5, 16, 11, 22), (0, 7, 18), (3, 14), (10, 23), (6, 19)]
CONTACTS = {(i, j): 2.0 if len(chain) > 2 else 0.75 for chain in CHAINS for i, j in pairwise(chain)}
rng = np.random.default_rng(0)
profile = rng.normal(size=(LENGTH, LETTERS))
suits = {pair: strength * rng.normal(size=(LETTERS, LETTERS)) for pair, strength in CONTACTS.items()}


def choose(logits):
    """Draw one class for each row of logits."""
    return (logits + rng.gumbel(size=logits.shape)).argmax(axis=-1)


def simulate(n):
    sequences = choose(np.tile(profile, (n, 1, 1)))
    for i, j in CONTACTS:
        sequences[:, j] = choose(profile[j] + suits[i, j][sequences[:, i]])
    return sequences


X, X_test = simulate(20_000), simulate(4_000)

# %%
# Training
# --------
#
# One residue in ten is masked, anew in each step. A mask has no weight of its own: its one-hot row is zero. The target
# of all that is not masked is -100, which the loss ignores. The yardstick is a unigram model: the frequencies at each
# position. Perplexity, ``exp(loss)``, says how many amino acids are as good as left to choose from.

letters = np.vstack([np.eye(LETTERS, dtype=np.float32), np.zeros(LETTERS, np.float32)])
model = nn.Dense(LENGTH * LETTERS, LENGTH * LETTERS, dtype=np.float32, random_state=0)
model.weight *= 0
optimizer = Adam(model.params, weight_decay=0.1)


def hide(sequences):
    """Return the sequences with a tenth of the residues masked, and the target: these residues, -100 elsewhere."""
    masked = rng.random(sequences.shape) < 0.1
    return np.where(masked, MASK, sequences), np.where(masked, sequences, -100)


def predict(sequences):
    """Return the logits, of shape (n, LENGTH, LETTERS)."""
    return model.forward(letters[sequences].reshape(len(sequences), -1)).reshape(-1, LENGTH, LETTERS)


seen_test, target_test = hide(X_test)
frequency = (letters[X].sum(axis=0) + 1) / (len(X) + LETTERS)
unigram = np.exp(xe.softmax_cross_entropy(np.tile(np.log(frequency), (len(X_test), 1, 1)), target_test))
for step in range(800):
    optimizer.learning_rate = 0.02 * (1 - step / 800)
    seen, target = hide(X[rng.integers(len(X), size=256)])
    _, grad = xe.softmax_cross_entropy_with_grad(predict(seen), target)
    model.backward_params(grad.reshape(len(grad), -1))
    optimizer.step(model.grads)
perplexity = np.exp(xe.softmax_cross_entropy(predict(seen_test), target_test))
print(f"held-out perplexity: {perplexity:.2f}, of the unigram model {unigram:.2f}")

# %%
# What touches what
# -----------------
#
# How much does the residue at ``j`` move the logits at ``i``? By the standard deviation of ``W_ij``, once what depends
# on one of the two alone is taken away. Beside it stands what one might look at without a model: mutual information,
# the Kullback-Leibler divergence of pairs from independence. It is large for neighbours' neighbours too.


def weighted(table, i, j):
    """Return the centred numbers times the roots of the frequencies, so that their norm is the standard deviation."""
    table = table - frequency[i] @ table
    table = table - (table @ frequency[j])[:, np.newaxis]
    return (table * np.sqrt(np.outer(frequency[i], frequency[j]))).ravel()


W = model.weight.reshape(LENGTH, LETTERS, LENGTH, LETTERS).transpose(0, 2, 1, 3)
W = (W + W.transpose(1, 0, 3, 2)) / 2
pairs = [(i, j) for i in range(LENGTH) for j in range(i)]
score, information = np.zeros((2, LENGTH, LENGTH))
for i, j in pairs:
    score[i, j] = np.linalg.norm(weighted(W[i, j], i, j))
    counts = np.bincount(LETTERS * X[:, i] + X[:, j], minlength=LETTERS**2)
    information[i, j] = xe.kl_divergence(counts, np.outer(frequency[i], frequency[j]).ravel(), normalize=True)
true = {(max(pair), min(pair)) for pair in CONTACTS}


def best(scores):
    """Return the pairs of the highest scores, as many as there are contacts."""
    return set(sorted(pairs, key=lambda pair: -scores[pair])[: len(true)])


figure, axes = plt.subplots(1, 2, figsize=(11, 5.2), layout="constrained")
panels = ("The model", score, "std of the logits (nats)"), ("Mutual information", information, "nats")
for ax, (title, scores, unit) in zip(axes, panels, strict=True):
    image = ax.imshow(np.where(np.tri(LENGTH, k=-1), scores, np.nan), vmin=0)
    ax.plot(*np.transpose([(j, i) for i, j in true]), "s", color="C1", markersize=11, fillstyle="none", label="touch")
    ax.set(title=f"{title}: {len(best(scores) & true)} of its best {len(true)} touch")
    ax.set(xlabel="position", ylabel="position")
    ax.grid(visible=False)
    figure.colorbar(image, ax=ax, label=unit, shrink=0.8)
axes[0].legend()
plt.show()

# %%
# The checks
# ----------
#
# No answer is seen, and the perplexity is far below that of the unigram model. The positions of the highest scores are
# those that touch, all of them, where mutual information errs. And the ``W_ij`` of a contact are the true ones, but for
# a factor and for errors.

assert np.array_equal(seen_test == MASK, target_test != -100), "all that is asked for must be masked"
assert perplexity < 0.8 * unigram, f"perplexity must be far below {unigram:.2f}, got {perplexity:.2f}"
assert best(score) == true, f"the highest scores must be contacts, missed {true - best(score)}"
assert best(information) != true, "mutual information must be misled, or the task is too easy"
for (i, j), table in suits.items():
    alike = np.corrcoef(weighted(W[i, j], i, j), weighted(table, i, j))[0, 1]
    assert alike > 0.8, f"what suits what at {i} and {j} must be found, got a correlation of {alike:.2f}"
print("checks: passed")
