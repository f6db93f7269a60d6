"""The picture of docs/precision.md: the error of a loss and of its gradient against the margin, in float32.

python benches/draw_precision.py     writes docs/_static/precision.svg, with the peers that are installed
"""

from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from numpy.typing import NDArray

import xentrs as xe
from draw_widths import DOCS, STYLE

MARGINS = np.arange(0.0, 40.5, 0.5)
"""By how much the label's logit is above the next one."""

LEAST = 1e-8
"""What is less is drawn there: the nearest float32 may be the truth itself."""

PANELS = ("loss", "gradient of the label")

Pair = tuple[NDArray[Any], NDArray[Any]]
Answer = Callable[[NDArray[np.float32], NDArray[np.intp]], Pair]


def rows(margin: float, n: int = 256, classes: int = 10) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    """Logits in float32 whose label leads by this margin, and the labels."""
    rng = np.random.default_rng(0)
    logits, target = -rng.exponential(5.0, (n, classes)), rng.integers(classes, size=n)
    logits -= logits.max(axis=1, keepdims=True, where=np.arange(classes) != target[:, None], initial=-np.inf)
    logits[np.arange(n), target] = margin
    return (logits + rng.uniform(-20, 20, (n, 1))).astype(np.float32), target


def truth(logits: NDArray[np.float32], target: NDArray[np.intp]) -> Pair:
    """Loss and derivative by the label's logit, in float64, in the form that does not cancel."""
    z = logits.astype(np.float64)
    below = np.exp(z - z[np.arange(len(z)), target][:, None])
    below[np.arange(len(z)), target] = 0.0
    rest = below.sum(axis=1)
    return np.log1p(rest), -rest / (1 + rest)


# --------------------------------------------------------------------------------------------------------- contestants


def ours(logits: Any, target: Any) -> Pair:
    """Call xentrs."""
    loss, grad = xe.softmax_cross_entropy_with_grad(logits, target, reduction="none")
    return loss, grad[np.arange(len(grad)), target]


def by_numpy(logits: Any, target: Any) -> Pair:
    """Write the formula: probabilities, and their logarithm."""
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    p = (exponentials / exponentials.sum(axis=1, keepdims=True))[np.arange(len(logits)), target]
    return -np.log(p), p - 1


def by_scipy(logits: Any, target: Any) -> Pair:
    """Take the functions of scipy.special."""
    from scipy.special import log_softmax, softmax

    label = np.arange(len(logits)), target
    return -log_softmax(logits, axis=1)[label], softmax(logits, axis=1)[label] - 1


def by_scikit_learn(logits: Any, target: Any) -> Pair:
    """Take the loss of its estimators, which is private."""
    from sklearn._loss import HalfMultinomialLoss

    loss, grad = HalfMultinomialLoss(n_classes=logits.shape[1]).loss_gradient(target.astype(logits.dtype), logits)
    return loss, grad[np.arange(len(grad)), target]


def by_torch(logits: Any, target: Any) -> Pair:
    """Go back through its cross-entropy."""
    import torch

    z = torch.from_numpy(logits).requires_grad_()
    loss = torch.nn.functional.cross_entropy(z, torch.from_numpy(target), reduction="none")
    (grad,) = torch.autograd.grad(loss.sum(), z)
    return loss.detach().numpy(), grad.numpy()[np.arange(len(logits)), target]


def by_jax(logits: Any, target: Any) -> Pair:
    """Differentiate its log-softmax."""
    import jax

    def losses(z: Any) -> Any:
        return -jax.nn.log_softmax(z)[np.arange(len(logits)), target]

    loss, backward = jax.vjp(losses, jax.numpy.asarray(logits))
    (grad,) = backward(jax.numpy.ones_like(loss))
    return np.asarray(loss), np.asarray(grad)[np.arange(len(logits)), target]


CONTESTANTS: dict[str, tuple[str, Answer]] = {
    "xentrs": ("xentrs", ours),
    "NumPy's formula": ("numpy", by_numpy),
    "SciPy": ("scipy", by_scipy),
    "scikit-learn": ("scikit-learn", by_scikit_learn),
    "PyTorch": ("torch", by_torch),
    "JAX": ("jax", by_jax),
}
"""By the names in the picture: the package, and its way to a loss and a gradient."""


def errors(answer: Answer) -> NDArray[np.float64]:
    """The worst relative errors over the rows of each margin, of shape (margins, 2)."""
    found = []
    for margin in MARGINS:
        data = rows(margin)
        pairs = zip(answer(*data), truth(*data), strict=True)
        found.append([np.abs(np.asarray(got, np.float64) / exact - 1).max() for got, exact in pairs])
    return np.array(found)


def draw() -> None:
    """Draw a panel for the loss and one for the gradient, and in each a line for each contestant."""
    lines, versions = {}, []
    for name, (package, answer) in CONTESTANTS.items():
        try:
            lines[name] = errors(answer)
        except ImportError as missing:
            print(f"{name} is left out: {missing}")
            continue
        versions.append(f"{package} {xe.__version__ if package == 'xentrs' else version(package)}")
    with plt.style.context([DOCS / "gallery.mplstyle", STYLE]):
        sheet, axes = plt.subplots(1, 2, figsize=(8, 3.8), sharey=True, layout="constrained")
        for panel, (ax, title) in enumerate(zip(axes, PANELS, strict=True)):
            for number, (name, line) in enumerate(lines.items()):
                colour, width = ("black", 2.5) if name == "xentrs" else (f"C{number - 1}", 1.2)
                marker = {"marker": "o^vsDP"[number], "markevery": (3 * number, 18), "markersize": 5}
                ax.plot(MARGINS, line[:, panel].clip(LEAST), color=colour, linewidth=width, label=name, **marker)
            ax.set(yscale="log", ylim=(LEAST, 3), title=title, xlabel="margin: label's logit above the next one")
        axes[0].set_ylabel("worst relative error")
        axes[0].text(40, 0.25, "1: no digit is left", fontsize=8, ha="right")
        axes[1].legend(loc="center right", fontsize=8)
        sheet.supxlabel(", ".join(versions), fontsize=7, color="0.35")
        sheet.savefig(DOCS / "_static" / "precision.svg", metadata={"Date": None})
        plt.close(sheet)


if __name__ == "__main__":
    draw()
