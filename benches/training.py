"""Training beside the peers: the head of a language model, epochs of SGD, and logistic regression to its minimum.

python benches/training.py               measures, prints the table, writes benches/record/training-<cpu>-<date>.csv
python benches/training.py --show RECORD prints the table of a record

Contestants take turns on the same rows, and are checked: after an epoch of mini-batches PyTorch's weights and ours are
the same, losses after three epochs row by row agree to a hundredth, fitted coefficients agree with scikit-learn's to
1e-5. The head of a language model is held against NumPy's three products of matrices alone, and against both ways of
PyTorch. NumPy's products have as many threads as all others there, and one elsewhere, which on matrices so small is
faster than two.
"""

import argparse
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from sklearn.datasets import load_breast_cancer, load_digits, load_wine, make_classification
from sklearn.linear_model import LogisticRegression as TheirRegression
from sklearn.linear_model import SGDClassifier
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

import xentrs as xe
from run import HERE, machine, read, slug, write
from xentrs.bench.contest import Figure
from xentrs.models import LogisticRegression
from xentrs.optim import SGD

ROUNDS = 9


class Trial(NamedTuple):
    """What is trained, by whom: each call trains from the start and returns what is compared."""

    name: str
    calls: dict[str, Callable[[], Any]]
    agree: Callable[[Any, Any], bool]
    """Whether somebody's answer is as good as ours."""
    bytes: int
    reach: str = ""
    blas_threads: int = 1


def mini_batches(threads: int, n: int = 60_000) -> Trial:
    """One epoch of softmax regression, 256 rows a step."""
    d, c, batch, rate = 784, 10, 256, 0.01
    rng = np.random.default_rng(0)
    X, y = rng.random((n, d), dtype=np.float32), rng.integers(0, c, n)

    def ours() -> Any:
        weight, bias = np.zeros((c, d), np.float32), np.zeros(c, np.float32)
        SGD([weight, bias], learning_rate=rate).linear_epoch(X, y, batch_size=batch, rng=1)
        return weight

    calls = {"xentrs": ours}
    try:
        import torch
    except ImportError:
        pass
    else:
        torch.set_num_threads(threads)
        rows, labels = torch.from_numpy(X), torch.from_numpy(y)

        def pytorch() -> Any:
            layer = torch.nn.Linear(d, c)
            torch.nn.init.zeros_(layer.weight)
            torch.nn.init.zeros_(layer.bias)
            optimizer = torch.optim.SGD(layer.parameters(), lr=rate)
            order = torch.from_numpy(np.random.default_rng(1).permutation(n))
            for some in order.split(batch):
                optimizer.zero_grad()
                torch.nn.functional.cross_entropy(layer(rows[some]), labels[some]).backward()
                optimizer.step()
            return layer.weight.detach().numpy()

        calls["PyTorch"] = pytorch

    def agree(ours: Any, theirs: Any) -> bool:
        return bool(np.allclose(ours, theirs, rtol=1e-3, atol=1e-5))

    return Trial(f"SGD {n}x{d}x{c} float32, {batch} a step, one epoch", calls, agree, X.nbytes, "3 x peer")


def row_by_row(n: int = 500_000) -> Trial:
    """Three epochs of logistic regression, a step a row."""
    d, rate, decay = 100, 0.001, 1e-4
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, d))
    y = (X @ rng.standard_normal(d) + rng.logistic(size=n) > 0).astype(int)
    labels = y[:, np.newaxis].astype(np.float64)

    def ours() -> Any:
        weight, bias = np.zeros((1, d)), np.zeros(1)
        optimizer = SGD([weight, bias], learning_rate=rate, weight_decay=[decay, 0.0])
        for epoch in range(3):
            optimizer.linear_epoch(X, labels, kind="sigmoid", batch_size=1, rng=epoch)
        return xe.sigmoid_cross_entropy(X @ weight[0] + bias, y)

    def scikit_learn() -> Any:
        model = SGDClassifier(
            loss="log_loss", max_iter=3, tol=None, learning_rate="constant", eta0=rate, alpha=decay, random_state=0
        ).fit(X, y)
        return xe.sigmoid_cross_entropy(model.decision_function(X), y)

    calls = {"xentrs": ours, "scikit-learn": scikit_learn}
    name = f"SGD {n}x{d} float64, row by row, three epochs"
    return Trial(name, calls, lambda ours, theirs: abs(ours - theirs) < 0.01 * theirs, 3 * X.nbytes, "2 x peer")


def to_the_minimum(name: str, X: Any, y: Any) -> Trial:
    """Logistic regression by L-BFGS, standardised, to a tight tolerance."""
    X = StandardScaler().fit_transform(X)
    options = {"tol": 1e-9, "max_iter": 10_000}
    calls = {
        "xentrs": lambda: LogisticRegression(**options).fit(X, y).coef_,
        "scikit-learn": lambda: TheirRegression(**options).fit(X, y).coef_,
    }
    return Trial(
        f"LogisticRegression, {name} {X.shape[0]}x{X.shape[1]}",
        calls,
        lambda ours, theirs: bool(np.abs(ours - theirs).max() < 1e-5),
        X.nbytes,
        "1 x peer",
    )


def head(threads: int, n: int = 2048, d: int = 768, c: int = 50_257) -> Trial:
    """The head of a language model: loss and all gradients, beside the three products of matrices it is made of."""
    rng = np.random.default_rng(0)
    x, weight = rng.standard_normal((n, d), np.float32), rng.standard_normal((c, d), np.float32) / np.float32(d**0.5)
    target = rng.integers(0, c, n)
    outs = np.empty_like(x), np.empty_like(weight), None
    logits = np.empty((n, c), np.float32)

    def ours() -> Any:
        return xe.linear_cross_entropy_with_grad(x, weight, target, wrt=("x", "weight"), out=outs).loss

    def products() -> None:
        np.matmul(x, weight.T, out=logits)
        np.matmul(logits, weight, out=outs[0])
        np.matmul(logits.T, x, out=outs[1])

    calls: dict[str, Callable[[], Any]] = {"xentrs": ours, "NumPy": products}
    try:
        import torch
    except ImportError:
        pass
    else:
        torch.set_num_threads(threads)
        rows, matrix, classes = torch.from_numpy(x), torch.from_numpy(weight), torch.from_numpy(target)

        def of(loss: Callable[[Any, Any], Any]) -> Any:
            leaves = rows.detach().requires_grad_(), matrix.detach().requires_grad_()
            value = loss(*leaves)
            torch.autograd.grad(value, leaves)
            return float(value.detach())

        functional = torch.nn.functional
        calls["PyTorch"] = lambda: of(lambda x, w: functional.cross_entropy(x @ w.T, classes))
        if hasattr(functional, "linear_cross_entropy"):
            calls["PyTorch, fused"] = lambda: of(lambda x, w: functional.linear_cross_entropy(x, w, classes))

    def agree(ours: Any, theirs: Any) -> bool:
        return theirs is None or abs(ours - theirs) < 1e-4 * ours  # the products alone have no loss

    name = f"head {n}x{d}x{c} float32, all gradients"
    return Trial(name, calls, agree, x.nbytes + weight.nbytes, "1 x peer", threads)


def trials(threads: int) -> Iterator[Trial]:
    """All of them, one at a time: each holds its data."""
    yield head(threads)
    yield mini_batches(threads)
    yield row_by_row()
    for load in (load_digits, load_breast_cancer, load_wine):
        yield to_the_minimum(load.__name__.removeprefix("load_"), *load(return_X_y=True))
    for classes in (2, 4):
        drawn = make_classification(20_000, 50, n_informative=20, n_classes=classes, random_state=0)
        yield to_the_minimum(f"{classes} classes,", *drawn)


def contest(trial: Trial, rounds: int = ROUNDS) -> Iterator[Figure]:
    """Check the answers, and let all take turns."""
    answers = {name: call() for name, call in trial.calls.items()}
    for name, answer in answers.items():
        if not trial.agree(answers["xentrs"], answer):
            raise RuntimeError(f"{trial.name}: xentrs and {name} disagree")
    times: dict[str, list[float]] = {name: [] for name in trial.calls}
    for _ in range(rounds):
        for name, call in trial.calls.items():
            begin = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - begin)
    for name, seconds in times.items():
        yield Figure(
            row=trial.name,
            work="training",
            contestant=name,
            version=_version(name),
            median=statistics.median(seconds),
            minimum=min(seconds),
            rounds=rounds,
            loops=1,
            bytes=trial.bytes,
            reach=trial.reach if name == "xentrs" else "",
        )


def _version(name: str) -> str:
    return (
        xe.build_info()["version"]
        if name == "xentrs"
        else metadata.version({"PyTorch": "torch", "PyTorch, fused": "torch"}.get(name, name))
    )


def lines(figures: list[Figure]) -> Iterator[str]:
    """A line for each trial: our time, and how often it the peer takes."""
    for ours in (figure for figure in figures if figure.contestant == "xentrs"):
        theirs = [figure for figure in figures if figure.row == ours.row and figure is not ours]
        line = f"{ours.row:<52}{1e3 * ours.median:9.1f} ms"
        for peer in theirs:
            line += (
                f"   {peer.contestant} {peer.median / ours.median:.2f} x (minima {peer.minimum / ours.minimum:.2f} x)"
            )
        yield line + f"   reach {ours.reach}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--show", metavar="RECORD", type=Path, help="print the table of a record instead of measuring")
    options = parser.parse_args()
    if options.show:
        print("\n".join(lines(read(options.show)[1])))
        return
    warnings.simplefilter("ignore")  # three epochs are meant to be few
    figures: list[Figure] = []
    for trial in trials(xe.get_num_threads()):
        with threadpool_limits(trial.blas_threads, user_api="blas"):
            found = list(contest(trial))
        print(*lines(found), flush=True)
        figures += found
    about = machine()
    path = HERE / "record" / f"training-{slug(about)}.csv"
    write(path, about, figures)
    print(f"\nrecord: {path}")


if __name__ == "__main__":
    main()
