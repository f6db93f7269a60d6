"""
One binder in a thousand
========================

One molecule in a thousand binds to the target. The laboratory can afford to measure ten for each binder it finds. How
many of the binders are found at that price, and does it help to give them more weight in training?

Two losses give the rare class a voice. One counts it ``beta`` times; in the focal loss a molecule counts the less, the
better it is answered. With ``p = sigmoid(z)``::

    weighted    -beta y ln p - (1 - y) ln(1 - p)
    focal       -(1 - p)^gamma y ln p - p^gamma (1 - y) ln(1 - p)
"""

# %%
# Molecules
# ---------
#
# A simulation. Ten descriptors of a molecule all grow with its size, which varies most. Binders are larger, but so are
# many others; better evidence is in how the descriptors differ from one another. A library holds thirty binders among
# thirty thousand molecules.

import matplotlib.pyplot as plt
import numpy as np

from xentrs.models import LogisticRegression

DESCRIPTORS, RARITY, PRECISION = 10, 1000, 0.1
rng = np.random.default_rng(0)
shift = rng.normal(loc=1.5, scale=1.1, size=DESCRIPTORS)


def draw(binders):
    """Return a library of molecules, among them so many binders, and which these are."""
    binds = np.arange(RARITY * binders) < binders
    size, own = rng.normal(size=(len(binds), 1)), rng.normal(size=(len(binds), DESCRIPTORS))
    return 2 * size + own + np.outer(binds, shift), binds


libraries = [draw(30) for _ in range(5)]
X_test, binds_test = draw(150)

# %%
# Four losses
# -----------
#
# To each comes the usual penalty on the coefficients, of strength ``1 / C``. Held-out molecules are measured from the
# highest logit downwards: the precision is the share of binders among those measured, the recall the share of all
# binders that is found.

LOSSES = {
    "cross-entropy": {},
    "weighted, beta = 30": {"class_weight": {False: 1, True: 30}},
    "weighted, beta = 1000": {"class_weight": {False: 1, True: 1000}},
    "focal, gamma = 2": {"gamma": 2.0},
}
STRENGTHS = [0.001, 0.01, 0.1, 1.0]


def measure(model):
    """Return precision and recall at each binder that is found."""
    measured = 1 + np.flatnonzero(binds_test[np.argsort(-model.decision_function(X_test))])
    found = np.arange(1, len(measured) + 1)
    return found / measured, found / len(measured)


def recall_at(precision, recall):
    """Return the highest recall at the precision that is asked for."""
    return recall[precision >= PRECISION].max(initial=0)


fitted, recalls = {}, {}
for name, options in LOSSES.items():
    for C in STRENGTHS:
        model = LogisticRegression(C=C, tol=1e-5, **options)
        fitted[name, C] = [measure(model.fit(*library)) for library in libraries]
    recalls[name] = np.array([[recall_at(*curve) for curve in fitted[name, C]] for C in STRENGTHS])
    print(f"{name:<22}", *(f"C = {C:g}: {r:.3f}  " for C, r in zip(STRENGTHS, recalls[name].mean(axis=1), strict=True)))

# %%
# What is found
# -------------
#
# On the left the curves of one library, with a penalty of ``C = 0.01``. On the right each mark is a library, each line
# the mean. The penalty is set against the mean loss of all molecules, and a binder is one in a thousand of that: so its
# voice is lost first. Both remedies bring it back.
#
# They are no magic. Where the penalty is weak the plain loss finds as many, and ``beta = 1000``, the weight that makes
# both classes equal, finds fewer: it takes trouble with molecules which are never going to be measured.

styles = dict(zip(LOSSES, ["C0o-", "C1s--", "C4^:", "C2D-."], strict=True))
figure, (left, right) = plt.subplots(1, 2, figsize=(11.5, 4.8), layout="constrained")
for name, style in styles.items():
    precision, recall = fitted[name, 0.01][0]
    left.plot(recall, precision, style.replace(style[2], "", 1), label=name)
    right.plot(STRENGTHS, recalls[name].mean(axis=1), style, label=name)
    right.plot(STRENGTHS, recalls[name], style[:3], markersize=4, alpha=0.5)
left.axhline(PRECISION, color="k", linewidth=1)
left.text(0.99, PRECISION * 1.06, "ten measured per binder", ha="right", size="small")
left.axhline(1 / RARITY, color="k", linewidth=1)
left.text(0.99, 1.06 / RARITY, "drawn at random", ha="right", size="small")
left.set(title="Precision and recall, C = 0.01", xlabel="recall", ylabel="precision", yscale="log", ylim=(7e-4, 1.1))
left.legend(loc="lower left", bbox_to_anchor=(0, 0.08))
right.set(title=f"Recall at a precision of {PRECISION}", xlabel="C, the inverse strength of the penalty", xscale="log")
right.set(ylabel="share of the binders found", ylim=0)
right.legend(loc="lower right")
plt.show()

# %%
# The check
# ---------
#
# With ``C = 0.01`` both losses find more of the binders at this precision, in each library. With the weakest penalty
# there is nothing to be gained.

strong, weak = STRENGTHS.index(0.01), STRENGTHS.index(1.0)
plain = recalls["cross-entropy"]
for name in ("weighted, beta = 30", "focal, gamma = 2"):
    gain = recalls[name] - plain
    assert np.all(gain[strong] > 0.05), f"recall at fixed precision must rise in each library, got {gain[strong]}"
    assert abs(gain[weak].mean()) < 0.05, f"the weak penalty must leave nothing to gain, got {gain[weak]}"
regained = recalls["weighted, beta = 30"][strong].mean() / plain[weak].mean()
assert regained > 0.9, f"weighting must make up for the penalty, got {regained:.2f} of the recall without it"
print("checks: passed")
