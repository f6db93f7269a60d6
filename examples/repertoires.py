"""
Testing a difference of surprise: whose immune system is this?
==============================================================

Two people make their immune receptors in the same random way, or do they? How many receptors must be read to tell?

A receptor is cut and pasted: a gene V, a gene J, and between them inserted letters, each depending on the one before. A
model of a person is a table of probabilities for each of these choices. The surprise of a receptor is::

    loss = -ln P(V) - ln P(J | V) - ln P(length) - sum_i ln P(letter_i | letter_(i-1))

Its mean over the receptors of a person is a cross-entropy. People who are alike surprise a model alike.
"""

# %%
# Three people
# ------------
#
# A simulation: Anna, her twin, who is the same by construction, and Carl, who prefers other genes V and fewer letters.

import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import chi2_contingency, mannwhitneyu

import xentrs as xe
from xentrs.stats import cross_entropy_test

GENES_V, GENES_J, LONGEST, rng = 20, 6, 12, np.random.default_rng(0)


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
# The test, and a simpler one
# ---------------------------
#
# The model knows 20000 receptors of Anna's. New ones of hers are held against as many of somebody else's: do they
# surprise the model alike? The p-value is that of a permutation test. For her twin every alarm is a false one, and
# there should be one in twenty. For Carl every alarm is right. The rival needs no model: a chi-squared test of the
# genes V and a rank test of the numbers of letters, of which the smaller p-value counts, doubled.


def pvalues(other, n):
    """Return the p-values of the difference between `n` receptors of Anna's and `n` of the other's, by both tests."""
    pair = [draw(person, n) for person in (anna, other)]
    hers, theirs = (surprise(model, receptors).sum(axis=1) for receptors in pair)
    genes = np.stack([np.bincount(receptors["V"][1], minlength=GENES_V) for receptors in pair])
    of_genes = chi2_contingency(genes[:, genes.any(axis=0)]).pvalue
    of_letters = mannwhitneyu(*(receptors["length"][1] for receptors in pair)).pvalue
    by_surprise = cross_entropy_test(hers, theirs, paired=False, n_resamples=199, random_state=rng).pvalue
    return by_surprise, 2 * min(of_genes, of_letters)


sizes = [25, 50, 100, 200, 400]
false_alarms = np.mean([np.less_equal(pvalues(anna, 100), 0.05) for _ in range(600)], axis=0)
power = np.array([np.mean([np.less_equal(pvalues(carl, n), 0.05) for _ in range(80)], axis=0) for n in sizes])
print("false alarms, by surprise and by the rival:", false_alarms.round(3))

figure, ax = plt.subplots(figsize=(6.2, 4.4), layout="constrained")
for i, (name, style) in enumerate([("surprise", "C0o-"), ("genes and letters", "C1s--")]):
    error = 2 * np.sqrt(power[:, i] * (1 - power[:, i]) / 80)
    ax.errorbar(range(5), power[:, i], yerr=error, fmt=style, capsize=4, label=f"Carl, by {name}")
    ax.plot(1.95 + 0.1 * i, false_alarms[i], f"{style[:2]}D", fillstyle="none", label=f"her twin, by {name}")
ax.axhline(0.05, color="k", linestyle=":")
ax.set(title="Enough receptors tell", xlabel="receptors of each person", ylabel="share of alarms")
ax.set(xticks=range(5), xticklabels=sizes, ylim=(0, 1.03))
ax.legend(loc="upper left")
plt.show()

# %%
# Bars are two standard errors. Neither test wins: to know that there is a difference one needs no model.
#
# What the difference is
# ----------------------
#
# A model can say where. Under hers Carl's receptors cost more than under one of his own, by the Kullback-Leibler
# divergence of each choice. Given the gene V, he chooses J as she does, and he inserts the same letters.

receptors = draw(carl, 20_000)
extra = surprise(model, receptors) - surprise(model_of_carl, receptors)
means, errors = extra.mean(axis=0), extra.std(axis=0) / np.sqrt(len(extra))
truth = [*xe.kl_divergence(carl["V"], anna["V"]), 0, *xe.kl_divergence(carl["length"], anna["length"]), 0]
figure, ax = plt.subplots(figsize=(6.2, 4.2), layout="constrained")
ax.bar(range(4), means, yerr=2 * errors, color="C1", alpha=0.7, capsize=5, label="measured, two standard errors")
ax.plot(range(4), truth, "k_", markersize=60, markeredgewidth=2, label="truth")
ax.set_xticks(range(4), ["gene V", "gene J,\ngiven V", "number\nof letters", "letters"])
ax.set(title="Where Carl differs", ylabel="extra surprise (nats a receptor)")
ax.legend(markerscale=0.3)
plt.show()

# %%
# The checks
# ----------
#
# False alarms are one in twenty, to two points; enough receptors tell, by either test; the difference is found.

assert abs(false_alarms[0] - 0.05) < 0.02, f"one alarm in twenty must be false, got {false_alarms}"
assert np.all(power[-1] > 0.9), f"{sizes[-1]} receptors must tell Carl from Anna, got {power[-1]}"
assert np.abs(power[:, 0] - power[:, 1]).max() < 0.2, f"neither test may win by far, got {power}"
assert np.all(np.abs(means - truth) < 0.02), f"the difference must be {truth} nats, got {means}"
print("checks: passed")
