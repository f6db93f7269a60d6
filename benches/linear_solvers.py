"""Which solver when: logistic regression to its minimum by each solver, and elastic nets beside scikit-learn's saga.

python benches/linear_solvers.py            both tables, as docs/decisions/solvers.md has them
python benches/linear_solvers.py --quick    small ones

All have one BLAS thread and take turns; the least of three times counts. `excess` is how far the objective is above the
least that any of them reached, in nats.
"""

import argparse
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import sklearn.linear_model
from sklearn.datasets import load_breast_cancer, load_digits, load_wine, make_classification
from threadpoolctl import threadpool_limits

import xentrs as xe
from xentrs.models import LogisticRegression

TheirRegression = sklearn.linear_model.LogisticRegression


def objective(model: Any, X: Any, y: Any) -> float:
    z = model.decision_function(X)
    loss = (xe.sigmoid_cross_entropy if z.ndim == 1 else xe.softmax_cross_entropy)(z, y)
    weight, ratio = model.coef_, model.l1_ratio or 0.0
    return loss + (ratio * np.abs(weight).sum() + (1 - ratio) / 2 * np.sum(weight**2)) / (model.C * len(y))


def drawn(n: int, d: int, c: int) -> tuple[Any, Any]:
    X, y = make_classification(n, d, n_informative=min(d, 20), n_redundant=0, n_classes=c, random_state=0)
    return (X - X.mean(axis=0)) / X.std(axis=0), y


def loaded(load: Any) -> tuple[Any, Any]:
    X, y = load(return_X_y=True)
    spread = X.std(axis=0)
    return (X - X.mean(axis=0)) / np.where(spread > 0, spread, 1), y


def race(makers: dict[str, Callable[[], Any]], X: Any, y: Any, rounds: int = 3) -> dict[str, tuple[Any, float]]:
    """The models, and the least time of each, who take turns."""
    models, times = {}, dict.fromkeys(makers, np.inf)
    for _ in range(rounds):
        for name, make in makers.items():
            begin = time.perf_counter()
            models[name] = make().fit(X, y)
            times[name] = min(times[name], time.perf_counter() - begin)
    return {name: (models[name], times[name]) for name in makers}


def by_solver(quick: bool) -> None:
    sizes = [(1_000, 10, 2), (20_000, 20, 2), (20_000, 20, 5)]
    if not quick:
        sizes += [
            (1_000, 300, 2),
            (1_000, 100, 10),
            (200_000, 20, 2),
            (200_000, 50, 3),
            (20_000, 300, 2),
            (20_000, 100, 5),
        ]
    makers: dict[str, Callable[[], Any]] = {
        "lbfgs": lambda: LogisticRegression(tol=1e-6, max_iter=1000),
        "newton-cholesky": lambda: LogisticRegression(solver="newton-cholesky", tol=1e-6, max_iter=1000),
        "sgd": lambda: LogisticRegression(solver="sgd", random_state=0),
        "their lbfgs": lambda: TheirRegression(tol=1e-6, max_iter=1000),
        "their newton": lambda: TheirRegression(solver="newton-cholesky", tol=1e-6),
    }
    print("| samples, features, classes | " + " | ".join(makers) + " |")
    print("|---" * (len(makers) + 1) + "|")
    for size in sizes:
        X, y = drawn(*size)
        found = race(makers, X, y)
        values = {name: objective(model, X, y) for name, (model, _) in found.items()}
        least = min(values.values())
        cells = [f"{1e3 * seconds:.0f} ({values[name] - least:.0e})" for name, (_, seconds) in found.items()]
        print(f"| {size[0]}, {size[1]}, {size[2]} | " + " | ".join(cells) + " |", flush=True)


def elastic_nets(quick: bool) -> None:
    data = {"wine": loaded(load_wine), "breast cancer": loaded(load_breast_cancer)}
    if not quick:
        data |= {"digits": loaded(load_digits), "5000 x 50, 4 classes": drawn(5000, 50, 4)}
    print("| data, l1_ratio, C | lbfgs | saga | times as long | largest difference | zeros | excess of saga |")
    print("|---|---|---|---|---|---|---|")
    for name, (X, y) in data.items():
        for ratio, C in [(1.0, 0.1), (0.5, 0.1), (0.5, 1.0)]:
            options = {"l1_ratio": ratio, "C": C}
            makers: dict[str, Callable[[], Any]] = {
                "ours": lambda options=options: LogisticRegression(**options, tol=1e-8, max_iter=10_000),
                "theirs": lambda options=options: TheirRegression(**options, solver="saga", tol=1e-7, max_iter=10_000),
            }
            found = race(makers, X, y, rounds=1 if not quick and len(X) > 1000 else 3)
            (ours, our_time), (theirs, their_time) = found["ours"], found["theirs"]
            same = ((ours.coef_ == 0) == (theirs.coef_ == 0)).all()
            print(
                f"| {name}, {ratio}, {C} | {1e3 * our_time:.0f} | {1e3 * their_time:.0f} "
                f"| {their_time / our_time:.1f} | "
                f"{np.abs(ours.coef_ - theirs.coef_).max():.0e} | {(ours.coef_ == 0).mean():.0%}"
                f"{', the same' if same else ''} | {objective(theirs, X, y) - objective(ours, X, y):.0e} |",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    with threadpool_limits(1), xe.threads(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        by_solver(options.quick)
        print()
        elastic_nets(options.quick)


if __name__ == "__main__":
    main()
