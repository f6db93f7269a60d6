"""
The variational principle: a loss is an energy
==============================================

What does a magnet minimise, hot or quantum, and what has that to do with training a model?

A state of energy ``E`` has the Boltzmann probability ``p = exp(-E) / Z`` (energies in units of the temperature). For
any trial distribution ``q`` the free energy is mean energy minus entropy. For any trial wavefunction ``psi`` of a
quantum magnet the mean energy is a quotient. Neither can fall below the exact value::

    F(q)   = sum_s q_s E_s - H(q) = -ln Z + KL(q || p)   >=  -ln Z           Gibbs and Bogoliubov
    E(psi) = <psi| H |psi> / <psi|psi>                   >=  E_0             Rayleigh and Ritz

So both are losses: descend until they go no lower. Neither ``Z`` nor the exact ground state is needed for that.
"""

# %%
# Two magnets
# -----------
#
# A ring of ten spins, each up (1) or down (-1), has 1024 states. In the first magnet neighbours prefer to agree, and a
# weak field prefers up. The second is the quantum one of the same ring: neighbours prefer to agree, and a field across
# makes each spin flip, ``H = -sum_i Z_i Z_(i+1) - sum_i X_i``. The ring is small enough for the exact answers.

import matplotlib.pyplot as plt
import numpy as np
from scipy import sparse

import xentrs as xe
from xentrs.optim import Adam, cosine

length, coupling, field = 10, 0.6, 0.1
states = np.arange(2**length)
spins = 1 - 2 * (states[:, np.newaxis] >> np.arange(length) & 1)
bonds = (spins * np.roll(spins, 1, axis=1)).sum(axis=1)
energy = -coupling * bonds - field * spins.sum(axis=1)
flipped = states[:, np.newaxis] ^ (1 << np.arange(length))  # the ten states that differ in one spin
H = sparse.diags_array(-bonds.astype(float)).tolil()
H[states[:, np.newaxis], flipped] = -1
least, ground = -float(xe.logsumexp(-energy)), float(np.linalg.eigvalsh(H.toarray())[0])

# %%
# Families of trials
# ------------------
#
# A trial has a logit for each state. It stands for ``q = softmax(logits)`` in the first magnet, for ``psi =
# exp(logits / 2)`` in the second. The logits come from a few parameters, as those of a model do: features of the state,
# times weights. Each spin for itself is mean-field theory, with ten weights. Pairs of spins by their distance are
# Jastrow's factors, with five. Or a weight for each state.


def free_energy(logits):
    """Return F of ``softmax(logits)``, and its gradient with respect to the logits."""
    q = xe.softmax(logits)
    entropy, grad = xe.entropy_with_grad(logits, from_logits=True)
    mean_energy = q @ energy
    return mean_energy - entropy, q * (energy - mean_energy) - grad


def quantum_energy(logits):
    """Return E of ``exp(logits / 2)``, and its gradient. The local energy is ``(H psi)_s / psi_s``."""
    q = xe.softmax(logits)
    local = -bonds - np.exp((logits[flipped] - logits[:, np.newaxis]) / 2).sum(axis=1)
    return q @ local, q * (local - q @ local)


def descend(loss, features, n_steps=1500):
    """Return the logits where Adam ends, and the loss at each of its steps."""
    weights, trace = rng.normal(scale=0.5, size=features.shape[1]), []
    optimizer, schedule = Adam([weights]), cosine(0.2, n_steps=n_steps)
    for step in range(n_steps):
        value, grad = loss(features @ weights)
        trace.append(value)
        optimizer.learning_rate = schedule(step)
        optimizer.step([features.T @ grad])
    return features @ weights, np.array(trace)


rng = np.random.default_rng(0)
each, anything = spins.astype(float), sparse.eye_array(len(states))
pairs = np.stack([(spins * np.roll(spins, r, axis=1)).mean(axis=1) for r in range(1, 6)], axis=1)
families = {"each spin for itself": (each, "C1--"), "pairs of spins": (pairs, "C2-."), "anything": (anything, "C0-")}
hot = {name: descend(free_energy, families[name][0]) for name in ("each spin for itself", "anything")}
cold = {name: descend(quantum_energy, features) for name, (features, _) in families.items()}


def draw(trials, exact, title, ylabel):
    """Draw how far each trial is above the exact value, step by step."""
    _, ax = plt.subplots(figsize=(6.2, 4.3), layout="constrained")
    for name, (_, trace) in trials.items():
        ax.semilogy(trace - exact, families[name][1], label=name)
        print(f"{name}: ends {trace[-1] - exact:.1e} above {exact:.6f}")
    ax.set(title=title, xlabel="step of Adam", ylabel=ylabel, xlim=(0, 1500), ylim=(1e-9, 100))
    ax.legend()
    plt.show()


# sphinx_gallery_thumbnail_number = 2
draw(hot, least, "The free energy falls to $-\\ln Z$", "KL(q || p) = F + ln Z (nats)")

# %%
# What is above ``-ln Z`` is the divergence from the Boltzmann distribution, on a logarithmic axis. Mean field stops
# early: no product of single spins is that distribution. The free family goes on to fall. State by state:

p, q = np.exp(least - energy), {name: xe.softmax(logits) for name, (logits, _) in hot.items()}
least_shown = min(p.min(), *(trial.min() for trial in q.values())) / 3
figure, ax = plt.subplots(figsize=(6, 5), layout="constrained")
ax.loglog([least_shown, 1], [least_shown, 1], "k:", label="equal")
for (name, trial), marker in zip(q.items(), ["C1s", "C0o"], strict=True):
    ax.loglog(p, trial, marker, markersize=4, label=name)
place = p[-1], q["each spin for itself"][-1]  # the last state: all spins down
ax.annotate("all spins down", place, (1e-5, place[1]), va="center", arrowprops={"arrowstyle": "->"})
ax.set(title="All 1024 states", xlabel="Boltzmann probability", ylabel="trial probability")
ax.set(xlim=(least_shown, 1), ylim=(least_shown, 1))
ax.legend()
plt.show()
print(f"all down: probability {p[-1]:.4f}, rank {np.sum(p > p[-1]) + 1}; each spin for itself: {place[1]:.1e}")

# %%
# On the dotted line a trial is right. Mean field has to choose a direction and chooses up: of the state with all spins
# down, the second most probable one, it knows nothing.
#
# The quantum half, by the same optimiser. A product again stops early. Five weights of pairs come ten times nearer.

draw(cold, ground, "The energy falls to that of the ground state", "$E - E_0$ (units of the coupling)")

# %%
# The checks
# ----------
#
# Both exact values are those of another way: the transfer matrix, and the free fermions of the transverse-field chain.
# No step is ever below them. The free families arrive, mean field does not, and pairs win clearly against it. What a
# family lacks is its divergence. The wavefunction agrees with the exact one in how often neighbours agree.

step = np.array([-1, 1])
transfer = np.exp(coupling * np.outer(step, step) + field * np.add.outer(step, step) / 2)
np.testing.assert_allclose(least, -np.log(np.trace(np.linalg.matrix_power(transfer, length))), rtol=1e-13)
momenta = (2 * np.arange(length) + 1) * np.pi / length
np.testing.assert_allclose(ground, -2 * np.abs(np.sin(momenta / 2)).sum(), rtol=1e-13)
for trials, exact in [(hot, least), (cold, ground)]:
    above = {name: trace - exact for name, (_, trace) in trials.items()}
    assert min(gap.min() for gap in above.values()) > -1e-12, "no trial may be below the exact value"
    assert above["anything"][-1] < 1e-5, f"the free family must arrive, got {above['anything'][-1]}"
    assert above["each spin for itself"][-1] > 0.1, "independent spins cannot arrive"
assert above["pairs of spins"][-1] < above["each spin for itself"][-1] / 10, f"pairs must win, got {above}"
for logits, trace in hot.values():
    np.testing.assert_allclose(trace[-1] - least, xe.kl_divergence(logits, -energy, from_logits=True), atol=1e-9)
exact_psi = np.linalg.eigh(H.toarray())[1][:, 0]
np.testing.assert_allclose(xe.softmax(cold["anything"][0]) @ bonds, exact_psi**2 @ bonds, atol=1e-3)
print("checks: passed")
