"""
The head of a language model
============================

Which of 50 000 words comes next? A language model ends with a linear layer that gives each word a logit. A batch of a
few thousand tokens has more logits than the model has weights. Must they be stored?

For a token with features ``x`` and the next word ``y``, with a row ``w_k`` of the weights for each word::

    loss = ln sum_k exp(w_k . x + b_k) - (w_y . x + b_y)           perplexity = exp(mean loss)
"""

# %%
# A language
# ----------
#
# A simulation. Few words are common and most are rare, as Zipf found. What has been said so far is a context of eight
# numbers. A matrix, which is to be learnt, makes the features ``x`` of it; those of the words, ``w``, are known. The
# next word is drawn from the softmax.

import timeit
from functools import partial
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from threadpoolctl import threadpool_limits

import xentrs as xe
from xentrs.optim import Adam

WORDS, FEATURES, CONTEXT = 50_000, 32, 8
rng = np.random.default_rng(0)
weight = rng.standard_normal((WORDS, FEATURES), dtype=np.float32) / 8
bias = -np.log(np.arange(1, WORDS + 1, dtype=np.float32))
truth = rng.standard_normal((CONTEXT, FEATURES), dtype=np.float32)


def speak(n):
    """Return `n` contexts, and the word that follows each."""
    contexts = rng.standard_normal((n, CONTEXT), dtype=np.float32)
    words = np.empty(n, int)
    for some in np.split(np.arange(n), n // 128):
        cumulative = xe.softmax(contexts[some] @ truth @ weight.T + bias).cumsum(axis=1, dtype=np.float64)
        words[some] = np.argmax(cumulative > rng.random((128, 1)) * cumulative[:, -1:], axis=1)
    return contexts, words


(contexts, words), (contexts_test, words_test) = speak(4096), speak(1024)

# %%
# Memory and time
# ---------------
#
# The naive way stores the logits, and their gradient beside them or, in place, over them. ``linear_cross_entropy``
# makes the logits of some tokens, uses and forgets them. All make the same three products of matrices, on one thread.
# How much memory a call takes at its peak, Linux tells in ``/proc``: so this cell runs there alone.


def naive(x, weight, y, in_place=False):
    """Return the loss, and the gradients with respect to features, weights and bias, by way of the logits."""
    logits = x @ weight.T
    logits += bias
    loss, grad = xe.softmax_cross_entropy_with_grad(logits, y, out=logits if in_place else None)
    return loss, grad @ weight, grad.T @ x, grad.sum(axis=0)


def status(field):
    """Return what Linux tells about the memory of this process, in MiB."""
    return int(Path("/proc/self/status").read_text().split(field + ":")[1].split()[0]) / 1024


def measure(call, *arguments):
    """Return the result of a call, its peak of memory in MiB, and the seconds it takes."""
    times = timeit.repeat(lambda: call(*arguments), number=1, repeat=2)
    Path("/proc/self/clear_refs").write_text("5")  # sets the peak back to the present
    before = status("VmRSS")
    result = call(*arguments)
    return result, status("VmHWM") - before, min(times)


TOKENS = [400, 600, 1000]
linear = partial(xe.linear_cross_entropy_with_grad, bias=bias)
ways = {"naive": naive, "naive, in place": partial(naive, in_place=True), "linear_cross_entropy": linear}
results, memory, seconds = {}, {}, {}
with threadpool_limits(1), xe.threads(1):
    for name, call in ways.items():
        runs = [measure(call, contexts[:n] @ truth, weight, words[:n]) for n in TOKENS]
        results[name], memory[name], seconds[name] = zip(*runs, strict=True)
        print(f"{name:<21}{memory[name][-1]:4.0f} MiB, {1e3 * seconds[name][-1]:.0f} ms, loss {runs[-1][0][0]:.6f}")

figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.6), layout="constrained")
for name, style in zip(ways, ["C1s--", "C4^:", "C0o-"], strict=True):
    left.plot(TOKENS, memory[name], style, label=name)
    right.plot(TOKENS, np.multiply(1e3, seconds[name]), style, label=name)
left.set(title="Memory", xlabel="tokens in the batch", ylabel="peak beside the inputs (MiB)", ylim=0)
right.set(title="Time on one thread", xlabel="tokens in the batch", ylabel="one call (ms)", ylim=0)
left.legend()
plt.show()

# %%
# Perplexity
# ----------
#
# Adam learns the matrix from 4096 tokens. The gradient with respect to the features is all it needs, so no other is
# computed. Perplexity is among how many words, equally likely, a model seems to choose: 50 000 if it knows nothing,
# fewer if it knows how common they are. With the true matrix it is the least possible.


def perplexity(matrix):
    """Return the perplexity of the tokens held out."""
    return np.exp(xe.linear_cross_entropy(contexts_test @ matrix, weight, words_test, bias=bias))


matrix = np.zeros_like(truth)
optimizer = Adam([matrix])
common, least, curve = perplexity(matrix), perplexity(truth), []
for step in range(30):
    batch = rng.choice(len(words), 512, replace=False)
    x, y = contexts[batch], words[batch]
    loss, grad_x, *_ = xe.linear_cross_entropy_with_grad(x @ matrix, weight, y, bias=bias, wrt="x")
    optimizer.learning_rate = 0.2 * (1 - step / 30)
    optimizer.step([x.T @ grad_x])
    curve.append(np.exp(loss))
learnt = perplexity(matrix)

figure, ax = plt.subplots(figsize=(7.4, 4.4), layout="constrained")
ax.plot(np.arange(30), curve, label="of each batch, before its step")
for level, text in ((WORDS, "knows nothing"), (common, "knows which words are common"), (least, "knows the truth")):
    ax.axhline(level, color="k", linestyle=":", linewidth=1.2)
    ax.text(0, level, f"{text}: {level:.0f}", va="top" if level == least else "bottom")
ax.plot(30, learnt, "C0o", label=f"of the tokens held out: {learnt:.0f}")
ax.set(title="What is learnt", xlabel="step", ylabel="perplexity (words)", yscale="log", ylim=(100, 1e5))
ax.legend(loc="center right", bbox_to_anchor=(1, 0.7))
plt.show()

# %%
# The check
# ---------
#
# Loss and gradients are equal, whether the logits are stored or not, and the naive way takes more than five times the
# memory. The matrix that is learnt comes within a fifth of the least perplexity.

for name in ways:
    for found, expected in zip(results[name][-1], results["naive"][-1], strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-5 * np.abs(expected).max(), err_msg=name)
ratio = memory["naive"][-1] / memory["linear_cross_entropy"][-1]
assert ratio > 5, f"the naive way must take far more memory, got {ratio:.1f} times as much"
assert learnt < 1.2 * least < 0.5 * common, f"the words must be learnt, got {learnt:.0f}, {least:.0f}, {common:.0f}"
print("checks: passed")
