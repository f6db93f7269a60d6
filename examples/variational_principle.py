"""
A loss is an energy
===================

What does a magnet minimise, and what has that to do with training a model?

A state of energy ``E`` has the Boltzmann probability ``p = exp(-E) / Z`` (energies in units of the temperature). For
any trial distribution ``q`` over the states the free energy is mean energy minus entropy::

    F(q) = sum_s q_s E_s - H(q) = -ln Z + KL(q || p)  >=  -ln Z

So lowering ``F`` until it goes no lower finds the Boltzmann distribution, without ever computing ``Z``. It is a loss
like any other: an expected cost, and a divergence from the truth that the descent removes.
"""

# %%
# The magnet
# ----------
#
# A chain of ten spins, each up (1) or down (-1), closed to a ring: neighbours prefer to agree, and a weak field prefers
# up. It has 1024 states. That is few enough for ``-ln Z`` to be known, as a log-sum-exp over all of them.

import matplotlib.pyplot as plt
import numpy as np
from scipy.optimize import minimize

import xentrs as xe

length, coupling, field = 10, 0.6, 0.1
spins = 1 - 2 * (np.arange(2**length)[:, np.newaxis] >> np.arange(length) & 1)
energy = -coupling * (spins * np.roll(spins, 1, axis=1)).sum(axis=1) - field * spins.sum(axis=1)
least = -float(xe.logsumexp(-energy))
print(f"{len(energy)} states, -ln Z = {least:.6f}")

# %%
# Two families of trials
# ----------------------
#
# The first can be anything: one logit for each state, ``q = softmax(logits)``. The second lets each spin choose by
# itself, ``q = prod_i q_i(s_i)``: ten logits, not 1024. That is mean-field theory. Its logits of whole states are sums
# of those of the spins, so both are the same loss, and the chain rule is a matrix product.


def free_energy(logits):
    """Return F of ``softmax(logits)``, and its gradient with respect to the logits."""
    q = xe.softmax(logits)
    entropy, grad = xe.entropy_with_grad(logits, from_logits=True)
    mean_energy = q @ energy
    return mean_energy - entropy, q * (energy - mean_energy) - grad


def free_energy_of_spins(h):
    """Return F where spin ``i`` is up with probability ``sigmoid(2 h_i)``, and its gradient with respect to `h`."""
    loss, grad = free_energy(spins @ h)
    return loss, spins.T @ grad


def descend(loss, start):
    """Return where L-BFGS ends, and the loss at each evaluation."""
    trace = []

    def recorded(x):
        value, grad = loss(x)
        trace.append(value)
        return value, grad

    end = minimize(recorded, start, jac=True, method="L-BFGS-B", options={"maxiter": 500, "ftol": 1e-15, "gtol": 1e-9})
    return end.x, np.array(trace)


rng = np.random.default_rng(0)
logits, trace = descend(free_energy, rng.normal(size=len(energy)))
h, trace_of_spins = descend(free_energy_of_spins, rng.normal(size=length))
print(f"free energy reached: any distribution {trace[-1]:.9f}, independent spins {trace_of_spins[-1]:.6f}")

# %%
# The descent
# -----------
#
# Both start from random logits. Mean field stops above: no product of single spins is the Boltzmann distribution, and
# what is missing is exactly ``KL(q || p)``. The free family arrives.

figure, ax = plt.subplots(figsize=(7, 4.7), layout="constrained")
ax.axhline(least, color="k", linestyle=":", label="$-\\ln Z$")
ax.plot(trace_of_spins, "C1--", label="independent spins")
ax.plot(trace, "C0", label="any distribution")
ax.set(
    title="The free energy falls to $-\\ln Z$", xlabel="evaluation", ylabel="free energy (units of kT)", xlim=(0, 60)
)
ax.legend()
plt.show()

# %%
# State by state: what the trials say, against the truth that they never saw.

boltzmann = np.exp(least - energy)
figure, ax = plt.subplots(figsize=(6.4, 5.2), layout="constrained")
ax.loglog([1e-7, 1], [1e-7, 1], "k:", label="equal")
ax.loglog(boltzmann, xe.softmax(spins @ h), "C1s", markersize=4, label="independent spins")
ax.loglog(boltzmann, xe.softmax(logits), "C0o", markersize=4, label="any distribution")
ax.set(title="1024 states", xlabel="Boltzmann probability", ylabel="trial probability", xlim=(1e-7, 1), ylim=(1e-7, 1))
ax.legend()
plt.show()

# %%
# The checks
# ----------
#
# ``-ln Z`` is that of another way, the transfer matrix. The descent comes within 1e-6 of it and is never below. Each
# spin of the mean field feels the means of its neighbours. What a family lacks is its divergence from the Boltzmann
# distribution. And the free family finds what it was never shown: how often neighbours agree.

step = np.array([-1, 1])
transfer = np.exp(coupling * np.outer(step, step) + field * np.add.outer(step, step) / 2)
np.testing.assert_allclose(least, -np.log(np.trace(np.linalg.matrix_power(transfer, length))), rtol=1e-13)
assert trace[-1] - least < 1e-6, f"the free energy must reach -ln Z, got {trace[-1] - least} above"
assert min(trace.min(), trace_of_spins.min()) >= least - 1e-13, "no trial may have less free energy than -ln Z"
assert trace_of_spins[-1] - least > 0.1, "independent spins cannot reach it"
mean = np.tanh(h)
neighbours = np.roll(mean, 1) + np.roll(mean, -1)
np.testing.assert_allclose(h, coupling * neighbours + field, atol=1e-4, err_msg="mean field must agree with itself")
for trial, loss in [(logits, trace[-1]), (spins @ h, trace_of_spins[-1])]:
    np.testing.assert_allclose(loss - least, xe.kl_divergence(trial, -energy, from_logits=True), atol=1e-9)
agree = (spins * np.roll(spins, 1, axis=1)).mean(axis=1)
np.testing.assert_allclose(xe.softmax(logits) @ agree, boltzmann @ agree, atol=1e-4)
print("checks: passed")
