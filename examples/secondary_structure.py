"""
A smoothness penalty: helix, strand or coil
===========================================

A protein folds into helices and strands, with coils between them. Can a model that reads a few residues at a time be
taught that its neighbour's answer is probably its own? Is that more than a filter of its answers would do?

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
from scipy.ndimage import uniform_filter1d
from scipy.optimize import minimize

import xentrs as xe

# helix, strand, coil; of A R N D C Q E G H I L K M F P S T W Y V
PROPENSITY = """
142  98  67 101  70 111 151  57 100 108 121 114 145 113  57  77  83 108  69 106
 83  93  89  54 119 110  37  75  87 160 130  74 105 138  55  75 119 137 147 170
 66  95 156 146 119  98  74 156  95  47  59 101  60  60 152 143  96  96 114  50
"""
emission = np.array([line.split() for line in PROPENSITY.strip().splitlines()], dtype=float)
emission /= emission.sum(axis=1, keepdims=True)
LENGTH, TRAIN, TUNE, TEST = 100, slice(80), slice(80, 120), slice(120, None)
transition = np.array([[0.90, 0.02, 0.08], [0.036, 0.82, 0.144], [0.075, 0.075, 0.85]])


def choose(probabilities, rng):
    return (rng.random((len(probabilities), 1)) > probabilities.cumsum(axis=1)[:, :-1]).sum(axis=1)


def simulate(proteins, rng):
    states = np.full((proteins, LENGTH), 2)
    for i in range(1, LENGTH):
        states[:, i] = choose(transition[states[:, i - 1]], rng)
    return states, choose(emission[states.ravel()], rng).reshape(states.shape)


def posterior(residues):
    """Return the logits of the states given all residues, by the forward-backward algorithm."""
    seen, step = np.log(np.moveaxis(emission[:, residues], 0, -1)), np.log(transition)
    forward, backward = seen.copy(), np.zeros_like(seen)
    forward[:, 0, :2] = -np.inf  # a protein begins with coil
    for i in range(1, LENGTH):
        forward[:, i] += xe.logsumexp(forward[:, i - 1, :, np.newaxis] + step, axis=1)
        backward[:, -i - 1] = xe.logsumexp(step + (seen + backward)[:, -i, np.newaxis], axis=2)
    return forward + backward


rng = np.random.default_rng(0)
states, residues = simulate(320, rng)
padded = np.pad(residues, ((0, 0), (7, 7)), constant_values=20)  # number 20 is beyond the ends
X = np.eye(21)[np.lib.stride_tricks.sliding_window_view(padded, 15, axis=1)].reshape(*residues.shape, -1)

# %%
# Training, with and without the penalty
# --------------------------------------
#
# A softmax regression on windows of 15 residues. The penalty takes the logits protein by protein; the gradients are
# added. Weight decay and strength are tuned on 40 further proteins, and so are the widths of two filters of the answers
# without penalty: the mean of log-probabilities, and the mode, the most frequent answer, which has no loss.


def fit(strength, decay):
    """Return the logits of all proteins, from the minimum of the objective above on those to train on."""
    rows = X[TRAIN].reshape(-1, X.shape[-1])

    def objective(flat):
        weights = flat.reshape(-1, 3)
        logits = (rows @ weights).reshape(*states[TRAIN].shape, 3)
        loss, grad = xe.softmax_cross_entropy_with_grad(logits, states[TRAIN])
        flicker, pull = xe.js_smoothness_with_grad(logits)
        grad = rows.T @ (grad + strength * pull).reshape(-1, 3) + decay * weights
        return loss + strength * flicker + 0.5 * decay * np.sum(weights**2), grad.ravel()

    return X @ minimize(objective, np.zeros(3 * X.shape[-1]), jac=True, method="L-BFGS-B").x.reshape(-1, 3)


def cost(logits, part):
    return xe.softmax_cross_entropy(logits[part], states[part])


def tuned(candidates):
    return min(candidates, key=lambda logits: cost(logits, TUNE))


def fragments(logits):
    return 1 + np.mean(np.sum(np.diff(logits[TEST].argmax(axis=-1), axis=1) != 0, axis=1))


penalised = [tuned([fit(strength, decay) for decay in (1e-3, 3e-3)]) for strength in (0.0, 1.0, 3.0, 10.0)]
plain, truth, votes = penalised[0], np.eye(3)[states], np.eye(3)[penalised[0].argmax(axis=-1)]
filtered = [uniform_filter1d(xe.log_softmax(plain), width, axis=1, mode="nearest") for width in (1, 3, 5, 7)]
modes = [uniform_filter1d(votes, width, axis=1) + 1e-3 * votes for width in (1, 3, 5, 7)]  # ties stay as they are
mode = max(modes, key=lambda z: np.mean(z[TUNE].argmax(axis=-1) == states[TUNE]))
table = {"without penalty": plain, "with penalty": tuned(penalised), "mean filter": tuned(filtered)}
table["exact posterior"] = posterior(residues)
losses = {name: cost(logits, TEST) for name, logits in table.items()}
for name, logits in (table | {"mode filter": mode, "truth": truth}).items():
    right = np.mean(logits[TEST].argmax(axis=-1) == states[TEST])
    print(f"{name:<16} accuracy {right:.3f}  fragments {fragments(logits):4.1f}  loss {losses.get(name, np.nan):.4f}")

k = 120 + np.argmin(np.abs(np.mean(states[TEST] == 0, axis=1) - 0.5))
figure, ax = plt.subplots(figsize=(6, 4), layout="constrained")
ax.fill_between(np.arange(LENGTH), states[k] == 0, step="mid", color="0.88", label="helix, in truth")
for name, style in {"without penalty": "C1:", "with penalty": "C0-", "exact posterior": "k--"}.items():
    ax.plot(xe.softmax(table[name][k])[:, 0], style, linewidth=1.8, label=name)
ax.set(title="Is it a helix?", xlabel="residue", ylabel="probability", xlim=(0, LENGTH - 1), ylim=(0, 1.3))
ax.legend(ncols=2, fontsize=9, loc="upper left")
plt.show()

# %%
# *A test protein, about half helix. The penalty takes the teeth out of the curve, but knows no more of the structure.*

figure, ax = plt.subplots(figsize=(6, 4.4), layout="constrained")
lines = ("penalty, strength 0 to 10", "C0o-", penalised), ("mean filter, width 1 to 7", "C1s--", filtered)
for name, style, line in lines:
    ax.plot([fragments(logits) for logits in line], [cost(logits, TEST) for logits in line], style, label=name)
ax.plot(fragments(table["exact posterior"]), losses["exact posterior"], "k*", markersize=14, label="exact posterior")
ax.axvline(fragments(truth), color="k", linestyle=":", label="fragments in the truth")
ax.set(title="Smoother, and better?", xlabel="fragments a protein", ylabel="held-out loss (nats a residue)")
ax.legend(fontsize=9)
plt.show()

# %%
# *Farther left are fewer fragments, farther down better answers. Penalty and filter go the same way. Even the exact
# posterior has fewer fragments than the truth: short ones cannot be told.*
#
# The checks
# ----------
#
# The penalty joins fragments and lowers the held-out loss. The filter does as well. The exact posterior is far better.

assert fragments(table["with penalty"]) < 0.8 * fragments(plain), "the penalty must join fragments"
assert losses["with penalty"] < losses["without penalty"] - 0.002, f"the penalty must lower the loss, got {losses}"
assert abs(losses["with penalty"] - losses["mean filter"]) < 0.002, f"the filter must do as well, got {losses}"
assert losses["exact posterior"] < min(losses["with penalty"], losses["mean filter"]) - 0.02, "nothing is near the best"
print("checks: passed")
