"""
Whose immune system is this?
============================

Two people make their immune receptors in the same random way, or do they? How many receptors must be read to tell?

A receptor is cut and pasted: a gene V, a gene J, and between them a number of inserted letters, each depending on the
one before. A model of a person is a table of probabilities for each of these choices, and the surprise of a receptor
is::

    loss = -ln P(V) - ln P(J | V) - ln P(length) - sum_i ln P(letter_i | letter_(i-1))

Its mean over the receptors of a person is a cross-entropy. Receptors of two people who are alike surprise a model
alike.
"""

# %%
# Three people
# ------------
#
# Anna, her twin, who is the same by construction, and Carl, who prefers other genes V and inserts fewer letters.

import matplotlib.pyplot as plt
import numpy as np

import xentrs as xe
from xentrs.stats import cross_entropy_test

GENES_V, GENES_J, LONGEST = 20, 6, 12
rng = np.random.default_rng(0)


def lengths(mean):
    """Return the probabilities of 0 to LONGEST inserted letters: Poisson's, cut off."""
    n = np.arange(LONGEST + 1)
    return xe.softmax([n * np.log(mean) - np.cumsum(np.log(np.maximum(n, 1)))])


anna = {  # a table for each choice: a row of probabilities for each condition
    "V": rng.dirichlet(np.full(GENES_V, 2.0), size=1),
    "J given V": rng.dirichlet(np.full(GENES_J, 2.0), size=GENES_V),
    "length": lengths(4.0),
    "letters": rng.dirichlet(np.full(4, 4.0), size=5),  # after A, C, G, T, and first of all
}
carl = anna | {"V": xe.softmax(np.log(anna["V"]) + rng.normal(scale=0.35, size=(1, GENES_V))), "length": lengths(3.4)}


def choose(p):
    """Draw one class from each row of probabilities."""
    return (rng.random((len(p), 1)) > p.cumsum(axis=1)[:, :-1]).sum(axis=1)


def draw(person, n):
    """Return each choice of `n` receptors: what it depends on, and what it was. A letter beyond the length is -1."""
    nothing = np.zeros(n, dtype=int)
    v, length = choose(person["V"][nothing]), choose(person["length"][nothing])
    letters = np.full((n, LONGEST + 1), 4)  # 4: no letter before
    for i in range(LONGEST):
        letters[:, i + 1] = choose(person["letters"][letters[:, i]])
    letters[np.arange(LONGEST + 1) > length[:, np.newaxis]] = -1
    choices = (nothing, v), (v, choose(person["J given V"][v])), (nothing, length), (letters[:, :-1], letters[:, 1:])
    return dict(zip(person, choices, strict=True))


def surprise(person, receptors):
    """Return the four terms of the formula above, for each receptor."""
    terms = []
    for name, (given, outcome) in receptors.items():
        loss = xe.categorical_cross_entropy(person[name][given], outcome, ignore_index=-1, reduction="none")
        terms.append(loss if loss.ndim == 1 else loss.sum(axis=1))
    return np.column_stack(terms)


def learn(receptors):
    """Return the model of a person, from receptors: relative frequencies, one being added to each count."""
    model = {name: np.ones_like(table) for name, table in anna.items()}
    for name, (given, outcome) in receptors.items():
        np.add.at(model[name], (given[outcome >= 0], outcome[outcome >= 0]), 1)
    return {name: counts / counts.sum(axis=1, keepdims=True) for name, counts in model.items()}


model, model_of_carl = learn(draw(anna, 20_000)), learn(draw(carl, 20_000))

# %%
# The test
# --------
#
# The model knows 20000 receptors of Anna's. New ones of hers are held against as many of somebody else's: do they
# surprise the model alike? The p-value is that of a permutation test. For her twin every alarm is a false one, and
# there should be one in twenty. For Carl every alarm is right, and the more receptors there are, the more there should
# be.


def pvalue(other, n):
    """Return the p-value of the difference between `n` receptors of Anna's and `n` of the other's."""
    hers, theirs = (surprise(model, draw(person, n)).sum(axis=1) for person in (anna, other))
    return cross_entropy_test(hers, theirs, paired=False, n_resamples=199, random_state=rng).pvalue


under_null = np.array([pvalue(anna, 100) for _ in range(800)])
false_alarms = np.mean(under_null <= 0.05)
sizes = [25, 50, 100, 200, 400]
power = [np.mean([pvalue(carl, n) <= 0.05 for _ in range(60)]) for n in sizes]
print(f"false alarms: {false_alarms:.3f}; power: {np.round(power, 2)}")

figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
left.hist(under_null, np.linspace(0, 1, 21) + 0.005, weights=np.full(800, 1 / 800), color="C0", alpha=0.8)
left.axhline(0.05, color="k", linestyle=":", label="one in twenty")
left.set(title="Her twin: p-values are spread evenly", xlabel="p-value", ylabel="share of tests", ylim=(0, 0.12))
left.legend()
right.plot(sizes, power, "C1o-", label="Carl")
right.plot(100, false_alarms, "C0s", label="her twin")
right.axhline(0.05, color="k", linestyle=":")
right.set(title="Carl: found, with enough receptors", xlabel="receptors of each", ylabel="share of alarms", ylim=(0, 1))
right.set_xscale("log")
right.set_xticks(sizes, sizes)
right.minorticks_off()
right.legend()
plt.show()

# %%
# What the difference is
# ----------------------
#
# Carl's receptors under her model and under one of his own: what hers costs more is the Kullback-Leibler divergence,
# choice by choice. Given the gene V, he chooses J as she does, and he inserts the same letters.

receptors = draw(carl, 20_000)
extra = surprise(model, receptors) - surprise(model_of_carl, receptors)
means, errors = extra.mean(axis=0), extra.std(axis=0) / np.sqrt(len(extra))
truth = [*xe.kl_divergence(carl["V"], anna["V"]), 0, *xe.kl_divergence(carl["length"], anna["length"]), 0]
figure, ax = plt.subplots(figsize=(7, 4.2), layout="constrained")
ax.bar(range(4), means, yerr=2 * errors, color="C1", alpha=0.7, capsize=5, label="measured, two standard errors")
ax.plot(range(4), truth, "k_", markersize=60, markeredgewidth=2, label="truth")
ax.set_xticks(range(4), ["gene V", "gene J, given V", "number of letters", "letters"])
ax.set(title="Where Carl differs", ylabel="extra surprise (nats a receptor)")
ax.legend(markerscale=0.3)
plt.show()

# %%
# The checks
# ----------
#
# False alarms are one in twenty, within two points; enough receptors do tell; and the difference is found where it is.

assert abs(false_alarms - 0.05) < 0.02, f"one alarm in twenty must be false, got {false_alarms:.3f}"
assert power[-1] > 0.9, f"{sizes[-1]} receptors must tell Carl from Anna, got {power[-1]:.2f}"
assert power[0] < power[2] < power[4], "more receptors must tell more"
assert np.all(np.abs(means - truth) < 0.02), f"the difference must be {truth} nats, got {means}"
print("checks: passed")
