"""
Language-model evaluation: more logits than memory
==================================================

One language model cuts text into characters, another one into words. Which of them predicts better? And how is that
found out where the logits do not fit into memory?

Perplexities of different pieces ``y_i`` cannot be compared. Bits per byte can: an ideal compression has that length::

    loss_i = lse(z_i) - z_i[y_i]       perplexity = exp(mean loss)       bits per byte = sum_i loss_i / (bytes ln 2)
"""

# %%
# A text, in three parts
# ----------------------
#
# Python comes with 465 000 characters of English, the topics of ``help()``. Some paragraphs stand in several: each is
# kept once. Three quarters are to learn from, an eighth to choose options by, an eighth to judge by.

import bz2
import json
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pydoc_data.topics import topics

import matplotlib.pyplot as plt
import numpy as np
from scipy.sparse import csr_array

import xentrs as xe

paragraphs = np.array(sorted(set("\n\n".join(topics.values()).split("\n\n"))), object)
np.random.default_rng(0).shuffle(paragraphs)
tune, test, train = map("\n\n".join, np.split(paragraphs, len(paragraphs) // np.array([8, 4])))

# %%
# Two vocabularies, one kind of model
# -----------------------------------
#
# Words are those that occur twice; any other is spelled. A model counts what followed each context. What followed a
# shorter one is added, with as much weight as the longer one has had different followers (Witten and Bell). The length
# is chosen on the part for that.

alphabet = sorted(set("".join(paragraphs)))
common = [word for word, count in Counter(re.findall(r" ?\w\w+", train)).items() if count > 1]
vocabularies = {"characters": alphabet, "words": alphabet + common}


def encode(text, vocabulary):  # the numbers of the pieces that a text is cut into
    number = {piece: i for i, piece in enumerate(vocabulary)}
    words = re.findall(r" ?\w\w+|.", text, re.DOTALL)
    return np.array([i for word in words for i in ([number[word]] if word in number else map(number.get, word))])


def contexts(pieces, size, most):  # a number for what stands in front of each piece, of length 0, 1, ... most
    padded = np.concatenate([np.zeros(most, int), pieces])
    return np.cumsum([0 * pieces] + [size**j * padded[most - j - 1 : -j - 1] for j in range(most)], axis=0)


def chances(tables, pieces, size, block=1000):
    """Yield the places of some pieces, and for each length of context the probabilities of what might stand there."""
    for place in np.split(np.arange(len(pieces)), range(block, len(pieces), block)):
        p = [np.full((1, size), 1 / size, np.float32)]
        for number, (seen, counts) in zip(contexts(pieces, size, len(tables) - 1), tables, strict=True):
            row = np.searchsorted(seen, number[place])
            row[seen.take(row, mode="clip") != number[place]] = len(seen)  # which has no counts
            kinds = np.maximum(np.diff(counts.indptr), 1).astype(np.float32)[row, np.newaxis]
            p.append((counts[row].toarray() + kinds * p[-1]) / (counts.sum(axis=1)[row, np.newaxis] + kinds))
        yield place, p[1:]


models, evaluations, rounding, size, peak, loaded = ({} for _ in range(6))
for (name, vocabulary), most in zip(vocabularies.items(), (6, 3), strict=True):
    pieces, classes, tables = encode(train, vocabulary), len(vocabulary), []
    for seen, row in (np.unique(number, return_inverse=True) for number in contexts(pieces, classes, most)):
        tables.append((seen, csr_array((np.ones(len(row), "f"), (row, pieces)), shape=(len(seen) + 1, classes))))
    pieces = encode(tune, vocabulary)
    given = [[q[range(len(at)), pieces[at]] for q in p] for at, p in chances(tables, pieces, classes)]
    bits = -np.log2(np.concatenate(given, axis=1)).sum(axis=1) / len(tune.encode())
    models[name] = tables[: np.argmin(bits) + 1]
    print(f"{classes} {name}; bits per byte with contexts of 0, 1, ... of them:", bits.round(3))

# %%
# A file, and a process that may not hold it
# ------------------------------------------
#
# The logits go to a file in half precision. A second process evaluates them. It may take 48 MiB beside what it starts
# with, by a limit of Linux: too little for ``np.load`` of the words. ``xe.evaluate`` reads a block at a time, and each
# once for all figures (:doc:`/evaluate`, :doc:`/language-models`).

CHILD = """
import json, resource, sys, numpy as np, xentrs as xe
status = lambda field: int(open("/proc/self/status").read().split(field + ":")[1].split()[0]) / 1024
logits, labels, n_bytes, before = *sys.argv[1:3], int(sys.argv[3]), status("VmRSS")
xe.set_num_threads(2)  # as each has a stack, which counts
resource.setrlimit(resource.RLIMIT_DATA, (int((status("VmData") + 48) * 2**20),) * 2)
evaluation, peak = xe.evaluate(logits, labels, n_bytes=n_bytes), status("VmHWM")
try: loaded = np.load(logits).size > 0
except MemoryError: loaded = False
print(json.dumps([evaluation.to_json(), peak - before, loaded]))
"""
with tempfile.TemporaryDirectory() as folder:
    logits, labels = f"{folder}/logits.npy", f"{folder}/labels.npy"
    for name, vocabulary in vocabularies.items():
        pieces, exact = encode(test, vocabulary), xe.LossAccumulator()
        np.save(labels, pieces)
        file = np.lib.format.open_memmap(logits, "w+", np.float16, (len(pieces), len(vocabulary)))
        for place, p in chances(models[name], pieces, len(vocabulary)):
            file[place] = np.log(p[-1])
            exact.update(np.log(p[-1]), pieces[place])
        file.flush()
        command = [sys.executable, "-c", CHILD, logits, labels, str(len(test.encode()))]
        text, peak[name], loaded[name] = json.loads(subprocess.check_output(command))
        found = evaluations[name] = xe.Evaluation.from_json(text)
        size[name], rounding[name] = file.nbytes / 2**20, abs(found.loss - exact.result().loss)
        print(f"{name}: {size[name]:.0f} MiB read in {peak[name]:.0f} MiB of memory, perplexity {found.perplexity:.2f}")

# %%
# A compressor is a language model too. What does the test text add to the training text, compressed behind it?

bits = {name: evaluation.bits_per_byte for name, evaluation in evaluations.items()}
alone, behind = (len(bz2.compress(text.encode())) for text in (train, train + test))
bits["bzip2"] = 8 * (behind - alone) / len(test.encode())
print("bits per byte:", {name: round(value, 3) for name, value in bits.items()})

figure, ax = plt.subplots(figsize=(5, 5), layout="constrained")
for (name, evaluation), style in zip(evaluations.items(), ["C1s--", "C0o-"], strict=True):
    evaluation.plot_reliability(ax, name=name, color=style[:2], marker=style[2], linestyle=style[3:])
ax.set_title("Is it as sure as it is right?")
plt.show()

# %%
# *Both models are surer than they are right, by one word in twenty. Bars: how often they are how sure.*
#
# Words beat characters, at a perplexity four times as high. bzip2 beats both, without any logits.
#
# The check
# ---------
#
# The logits of the words are more than the process may hold, and evaluating them takes less than half of their size.
# Half precision costs nothing that counts. Words predict better than characters, within a fifth of the compressor.

assert size["words"] > 2 * max(48, peak["words"]) and loaded == {"characters": True, "words": False}
assert max(rounding.values()) < 1e-4, f"half precision must not matter, got {rounding}"
assert bits["words"] < bits["characters"] and bits["words"] < 1.2 * bits["bzip2"], f"got {bits}"
print("checks: passed")
