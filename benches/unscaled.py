"""Two hundred fits of features as people have them, by default: how many stop short, and of those how many say so.

python benches/unscaled.py           a line for each that stops short or warns, and the counts
python benches/unscaled.py -v        a line for each

Kelvins, seconds since 1970, prices, counts, raw tables that scikit-learn ships, sparse ones; float32 and float64; every
linear estimator with every solver. A fit is short where its objective, computed here from the coefficients in double
precision, is more than a hundredth, and more than a ten-thousandth of a nat, above the least. That is found by Newton's
method, written out here, on standardised features (elastic nets and the regressor: by their own solver, in float64, to
a tight tolerance).
The exit code is 1 if a fit stops short in silence, or more than one in twenty warn.
"""

import argparse
import itertools
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse
from scipy.special import log_expit, log_softmax, softmax
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris, load_wine
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

from xentrs.models import GaussianRegressor, LogisticRegression, MultiLabelClassifier

REGRESSOR = GaussianRegressor()
ESTIMATORS = [
    LogisticRegression(),
    LogisticRegression(solver="newton-cholesky"),
    LogisticRegression(solver="sgd", random_state=0),
    LogisticRegression(l1_ratio=0.5),
    MultiLabelClassifier(),
    MultiLabelClassifier(solver="newton-cholesky"),
    MultiLabelClassifier(solver="sgd", random_state=0),
    REGRESSOR,
]


class Data(NamedTuple):
    """Features, classes, labels that do not exclude each other, and a number."""

    name: str
    X: Any
    classes: Any
    labels: Any
    number: Any


# ---------------------------------------------------------------------------------------------------------------- data


def drawn(name: str, X: Any, seed: int, n_classes: int) -> Data:
    """Targets that follow from some of the standardised features, with noise."""
    rng = np.random.default_rng(seed)
    dense = X.toarray() if scipy.sparse.issparse(X) else X
    spread = dense.std(axis=0)
    Z = (dense - dense.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    scores = Z @ rng.normal(size=(Z.shape[1], n_classes)) / np.sqrt(Z.shape[1]) * 2
    noise = rng.gumbel(size=scores.shape)
    labels = (scores + rng.logistic(size=scores.shape) > 0).astype(int)
    return Data(name, X, (scores + noise).argmax(axis=1), labels, scores[:, 0] + 0.5 * rng.normal(size=len(Z)))


def table(name: str, load: Any, n_classes: int | None = None) -> Data:
    """A table of scikit-learn's as it is; the labels say which features are above their medians, with errors."""
    X, y = load(return_X_y=True) if load is not load_diabetes else load(return_X_y=True, scaled=False)
    rng = np.random.default_rng(0)
    classes = y if n_classes is None else np.digitize(y, np.quantile(y, np.arange(1, n_classes) / n_classes))
    labels = (X[:, :3] > np.median(X[:, :3], axis=0)) ^ (rng.uniform(size=(len(X), 3)) < 0.1)
    return Data(name, X, classes, labels.astype(int), X[:, 0] / X[:, 0].std() + 0.3 * rng.normal(size=len(X)))


def data() -> Iterator[Data]:
    rng = np.random.default_rng(0)
    n = 1000
    kelvin, seconds = 298 + 5 * rng.normal(size=n), 1.7e9 + 1e7 * rng.uniform(size=n)
    price, year = np.exp(10 + rng.normal(size=n)), rng.integers(1990, 2025, n).astype(float)
    pressure, place = 101_325 + 800 * rng.normal(size=(n, 1)), np.array([52.5, 13.4]) + 0.05 * rng.normal(size=(n, 2))
    yield drawn("kelvin", kelvin[:, np.newaxis], 1, 2)
    yield drawn("kelvin, pressure, place", np.column_stack([kelvin, pressure, place]), 2, 3)
    yield drawn("seconds since 1970", seconds[:, np.newaxis], 3, 2)
    yield drawn("prices", np.column_stack([price, 0.3 * price + 1000 * rng.normal(size=n), year]), 4, 3)
    everything = np.column_stack([kelvin, seconds, price, year, pressure, place, rng.normal(size=(n, 2)), np.ones(n)])
    yield drawn("all of these, and a constant", everything, 5, 2)
    yield drawn("all of these, four classes", everything, 6, 4)
    yield drawn("polynomials of kelvin", np.column_stack([kelvin, kelvin**2, kelvin**3]), 7, 2)
    yield table("iris", load_iris)
    yield table("wine", load_wine)
    yield table("breast cancer", load_breast_cancer)
    yield table("diabetes", load_diabetes, 3)
    poisson = {"data_sampler": lambda size: rng.poisson(20, size), "random_state": rng}
    counts = scipy.sparse.random_array((n, 60), density=0.1, **poisson)
    yield drawn("sparse counts", scipy.sparse.csr_array(counts.astype(float)), 8, 3)
    columns = [scipy.sparse.csr_array(column[:, np.newaxis]) for column in (seconds, price)]
    yield drawn(
        "sparse counts, seconds and prices", scipy.sparse.hstack([counts.astype(float), *columns]).tocsr(), 9, 2
    )


# ----------------------------------------------------------------------------------------------------------- objective


def target_of(estimator: Any, some: Data) -> Any:
    if isinstance(estimator, LogisticRegression):
        return some.classes
    return some.labels if isinstance(estimator, MultiLabelClassifier) else some.number


def logits_of(model: Any, X: Any) -> Any:
    """Logits in double precision, from features less their means, so that no digits are lost to large ones."""
    coef, mean = np.atleast_2d(model.coef_).astype(float), X.mean(axis=0)
    return (X - mean) @ coef.T + (model.intercept_.astype(float) + coef @ mean)


def penalty_of(model: Any) -> float:
    coef = model.coef_.astype(float)
    return model.l1_ratio * np.abs(coef).sum() + (1 - model.l1_ratio) / 2 * np.sum(coef**2)


def objective(model: Any, X: Any, y: Any) -> float:
    """What a classifier minimises, by SciPy's functions."""
    z = logits_of(model, X)
    if isinstance(model, LogisticRegression) and z.shape[1] > 1:
        loss = -log_softmax(z, axis=1)[np.arange(len(y)), y].mean()
    else:
        loss = -log_expit(np.where(y.reshape(z.shape) == 1, z, -z)).sum() / len(y)
    return loss + penalty_of(model) / (model.C * len(y))


def least(X: Any, y: Any, exclusive: bool) -> float:
    """The least objective with C = 1 and no l1, by Newton's method on standardised features."""
    n, spread = len(X), X.std(axis=0)
    spread = np.where(spread > 1e-9 * np.abs(X).max(axis=0), spread, np.inf)
    Z = np.column_stack([(X - X.mean(axis=0)) / spread, np.ones(n)])
    decay = np.append(np.where(np.isfinite(spread), 1 / spread**2, 1.0), 0.0) / n
    if not exclusive:
        return sum(_newton(Z, column, decay) for column in y.reshape(n, -1).T)
    if y.max() == 1:
        return _newton(Z, y, decay)
    return _newton(Z, np.eye(y.max() + 1)[y], decay)


def _newton(Z: Any, y: Any, decay: Any) -> float:
    n, size = Z.shape
    k = 1 if y.ndim == 1 else y.shape[1]
    W = np.zeros((k, size))

    def value(W: Any) -> float:
        z = Z @ W.T
        loss = -log_expit(np.where(y == 1, z[:, 0], -z[:, 0])) if k == 1 else -(log_softmax(z, axis=1) * y).sum(axis=1)
        return float(loss.mean() + 0.5 * np.sum(decay * W**2))

    for _ in range(200):
        z = Z @ W.T
        p = 1 / (1 + np.exp(-z)) if k == 1 else softmax(z, axis=1)
        grad = (p - y.reshape(n, -1)).T @ Z / n + decay * W
        hess = np.zeros((k, size, k, size))
        for a in range(k):
            for b in range(k):
                h = p[:, a] * (1 - p[:, a]) if a == b else -p[:, a] * p[:, b]
                hess[a, :, b] = (Z * h[:, np.newaxis]).T @ Z / n + (np.diag(decay) if a == b else 0)
        step = np.linalg.lstsq(hess.reshape(k * size, -1), grad.ravel(), rcond=1e-14)[0].reshape(W.shape)
        if np.vdot(step, grad) < 1e-13:
            break
        length = 1.0
        while value(W - length * step) > value(W) - 1e-4 * length * np.vdot(step, grad) and length > 1e-9:
            length /= 2
        W = W - length * step
    return value(W)


# ---------------------------------------------------------------------------------------------------------------- fits


class Fit(NamedTuple):
    """How a fit ended."""

    name: str
    excess: float
    best: float
    warned: str
    seconds: float

    @property
    def short(self) -> bool:
        return self.excess > max(0.01 * abs(self.best), 1e-4)


def fits(every: int = 1) -> Iterator[Fit]:
    """Those of every data set, or of one in so many."""
    for some in itertools.islice(data(), 0, None, every):
        best: dict[str, float] = {}
        for estimator in ESTIMATORS:
            for dtype in (np.float64, np.float32):
                X, y = some.X.astype(dtype), target_of(estimator, some)
                wide = (X.toarray() if scipy.sparse.issparse(X) else X).astype(float)
                model = type(estimator)(**estimator.get_params())
                begin = time.perf_counter()
                with warnings.catch_warnings(record=True) as caught:
                    warnings.simplefilter("always")
                    model.fit(X, y)
                seconds = time.perf_counter() - begin
                said = "; ".join(str(w.message) for w in caught if issubclass(w.category, ConvergenceWarning))
                key = f"{type(estimator).__name__} {getattr(estimator, 'l1_ratio', 0)} {dtype.__name__}"
                if estimator is REGRESSOR:
                    found = model.loss_curve_[-1]
                    tight = GaussianRegressor(tol=1e-8, max_iter=20_000)
                    with warnings.catch_warnings():
                        warnings.simplefilter("ignore")
                        reached = tight.fit(wide, y).loss_curve_[-1]
                elif getattr(estimator, "l1_ratio", 0):
                    found = objective(model, wide, y)
                    tight = LogisticRegression(l1_ratio=estimator.l1_ratio, tol=1e-8, max_iter=20_000).fit(wide, y)
                    reached = objective(tight, wide, y)
                else:
                    found = objective(model, wide, y)
                    if key not in best:
                        best[key] = least(wide, y, isinstance(estimator, LogisticRegression))
                    reached = best[key]
                yield Fit(f"{some.name}, {dtype.__name__}, {estimator}", found - reached, reached, said, seconds)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-v", "--verbose", action="store_true", help="print all fits")
    options = parser.parse_args()
    counts: Counter[str] = Counter()
    worst = 0.0
    for fit in fits():
        counts["fits"] += 1
        counts["warned"] += bool(fit.warned)
        counts["short"] += fit.short
        counts["short in silence"] += fit.short and not fit.warned
        worst = max(worst, 0.0 if fit.warned else fit.excess / max(abs(fit.best), 1e-2))
        if options.verbose or fit.short or fit.warned:
            verdict = "short" if fit.short else "at the optimum"
            print(
                f"{fit.name}: {verdict}, {fit.excess:.1e} above {fit.best:.5f}, {fit.seconds:.2f} s {fit.warned}",
                flush=True,
            )
    print(", ".join(f"{name}: {counts[name]}" for name in ("fits", "short", "short in silence", "warned")))
    print(f"the farthest of those that were silent: {100 * worst:.2g} % above the least")
    return int(counts["short in silence"] > 0 or counts["warned"] > counts["fits"] / 20)


if __name__ == "__main__":
    with threadpool_limits({"blas": 1, "openmp": 1}):
        sys.exit(main())
