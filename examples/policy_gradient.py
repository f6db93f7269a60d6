"""
Policy gradient: learning to write from a score alone
=====================================================

A language model writes ten tokens and is told one number: how much a judge liked the whole. The judge is moody, and
nobody shows the model a better text. Can it learn to write the best one, and is a gradient worth it beside search?

REINFORCE raises the log-probability of the tokens that were drawn by their advantage, the score ``R`` above a baseline
``b``. A bonus for entropy keeps the model from being sure too soon::

    loss = -mean_i [(R_i - b) sum_t ln p(a_it | s_it) + beta sum_t H(p(. | s_it))]
"""

# %%
# A task whose best text is known
# -------------------------------
#
# Each pair of neighbours is worth something, and each token in its place: two tables, drawn at random. Of 12^10 texts
# dynamic programming finds the best. The model's last layer makes logits of the token before and the place. The right
# weights are those tables with the value of what can still come: the best text is within its reach.

from functools import partial

import matplotlib.pyplot as plt
import numpy as np

import xentrs as xe
from xentrs.optim import Adam

TOKENS, LENGTH, BATCH, BATCHES = 12, 10, 64, 100


def task(seed):
    """Return a function that tells the worth of texts, and the most that any is worth."""
    rng = np.random.default_rng(seed)
    pairs, places = rng.normal(size=(TOKENS, TOKENS)), rng.normal(size=(LENGTH, TOKENS))
    to_come = np.zeros(TOKENS)  # the most that can come after each token
    for place in places[:0:-1]:
        to_come = (pairs + place + to_come).max(axis=1)

    def worth(texts):
        return places[range(LENGTH), texts].sum(axis=-1) + pairs[texts[..., :-1], texts[..., 1:]].sum(axis=-1)

    return worth, np.max(places[0] + to_come)


# %%
# Two ways to learn, and a search
# -------------------------------
#
# ``linear_token_logprobs_with_grad`` takes features, weights and the factors of log-probabilities and entropies
# (:doc:`/policy-gradients`). The cross-entropy method differs in the advantage: 1 for the best fifth of a batch, else
# 0. Local search changes a token, asks some times, and keeps what is liked better; where nothing helps it begins anew.


def features(texts, tokens=TOKENS):
    """Return, for each token of each text, the one before it and its place, one-hot."""
    before = np.pad(texts[:, :-1], [(0, 0), (1, 0)], constant_values=tokens)
    places = np.broadcast_to(np.eye(texts.shape[1]), (*texts.shape, texts.shape[1]))
    return np.concatenate([np.eye(tokens + 1)[before, :tokens], places], axis=-1)


def learn(judge, rng, learning_rate, advantage, bonus):
    """Write a batch, be judged and learn, again and again; yield the likeliest text after each batch."""
    weight = np.zeros((TOKENS, TOKENS + LENGTH))
    optimizer = Adam([weight], learning_rate=learning_rate)
    for _ in range(BATCHES):
        noise = np.concatenate([np.zeros((1, LENGTH, TOKENS)), rng.gumbel(size=(BATCH, LENGTH, TOKENS))])
        texts = np.zeros((1 + BATCH, LENGTH), int)
        for place in range(LENGTH):
            logits = weight[:, TOKENS + place] + (weight.T[texts[:, place - 1]] if place else 0)
            texts[:, place] = (logits + noise[:, place]).argmax(axis=1)  # a draw from the softmax
        yield texts[0]
        factor = advantage(judge(texts[1:]))[:, np.newaxis] * np.ones(LENGTH) / BATCH
        step = xe.linear_token_logprobs_with_grad(
            features(texts[1:]), weight, texts[1:], grad_logprob=-factor, grad_entropy=-bonus / BATCH, wrt="weight"
        )
        optimizer.step([step.grad_weight])


def search(judge, rng, times):
    """Change a token at a time, and yield the text that was liked best."""
    best, text, liked, left = None, None, -np.inf, []
    for judged in range(0, BATCH * BATCHES, times):
        if left:
            new = np.where(np.arange(LENGTH) == left[-1] // TOKENS, left.pop() % TOKENS, text)
        else:
            new, score = rng.integers(TOKENS, size=LENGTH), -np.inf
        says = judge(np.tile(new, (times, 1))).mean()
        if says > score:
            text, score, left = new, says, [*rng.permutation(LENGTH * TOKENS)]
        best, liked = (new, says) if says > liked else (best, liked)
        if judged % BATCH == 0:
            yield best


WAYS = {
    "policy gradient": (partial(learn, advantage=lambda R: R - R.mean(), bonus=0.1), (0.05, 0.1)),
    "no baseline": (partial(learn, advantage=np.positive, bonus=0.1), (0.05, 0.1)),
    "cross-entropy method": (partial(learn, advantage=lambda R: np.quantile(R, 0.8) < R, bonus=0.02), (0.05, 0.1)),
    "local search": (search, (1, 4)),
}


def run(way, tuned, noise, seed):
    """Return, after each batch, the worth of the text that is thought best, as a share of what is possible."""
    (worth, most), rng = task(seed), np.random.default_rng(seed)
    answers = way(lambda texts: worth(texts) + noise * rng.normal(size=len(texts)), rng, tuned)
    return [worth(text) / most for text in answers]


# %%
# One judge is steady; the moody one adds noise as large as texts differ. Two tasks tune a way's number, five decide.

shares = {}
for judge, noise in (("steady", 0.0), ("moody", 4.0)):
    for name, (way, grid) in WAYS.items():
        tuned = max(grid, key=lambda value: sum(run(way, value, noise, seed)[-1] for seed in range(2)))
        shares[judge, name] = np.array([run(way, tuned, noise, seed) for seed in range(100, 105)])
        print(f"{judge} judge, {name} ({tuned}): {shares[judge, name][:, -1].mean():.3f} of the best")

figure, ax = plt.subplots(figsize=(6, 4.2), layout="constrained")
for name, style in zip(WAYS, ["C0-", "C2:", "C1--", "C3-."], strict=True):
    ax.plot(BATCH * np.arange(BATCHES), 100 * shares["moody", name].mean(axis=0), style, label=name)
ax.set(title="A moody judge", xlabel="texts judged", ylabel="worth of the answer (% of the best)", ylim=(0, 102))
ax.legend()
plt.show()

# %%
# *Search trusts what it was told once, models average. The cross-entropy method is slower, and in the end as good.*
#
# The check
# ---------
#
# If the judge is steady, search does as well. If not, it is lost, and the policy gradient is not; a baseline helps.
# Last, all of 27 texts are counted: there the gradient is the derivative of the mean score, whatever the baseline.

end = {key: share[:, -1].mean() for key, share in shares.items()}
search_alone, without, best = (end["moody", name] for name in ("local search", "no baseline", "policy gradient"))
assert best > max(0.95, search_alone + 0.1, without + 0.01), f"the policy gradient must do better, got {end}"
assert end["steady", "local search"] > 0.97, f"search must do where the judge is steady, got {end}"
rng = np.random.default_rng(0)
texts, score, (weight, way) = np.indices((3, 3, 3)).reshape(3, 27).T, rng.normal(size=27), rng.normal(size=(2, 3, 6))
x = features(texts, 3)
logprobs = [xe.linear_token_logprobs(x, weight + h * way, texts).logprob for h in (-1e-6, 0, 1e-6)]
before, chance, after = np.exp(np.sum(logprobs, axis=2))
factor = np.outer(chance * (score - 5), np.ones(3))
step = xe.linear_token_logprobs_with_grad(x, weight, texts, grad_logprob=factor, wrt="weight")
np.testing.assert_allclose(np.sum(step.grad_weight * way), (after - before) @ score / 2e-6, rtol=1e-6)
print("checks: passed")
