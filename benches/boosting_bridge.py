"""`xentrs.boosting` in LightGBM and XGBoost: the time of an iteration, and what focal losses learn by each curvature.

python benches/boosting_bridge.py speed       a million samples of 10 features, beside the built-in objective
python benches/boosting_bridge.py precision   average precision on new samples where one in 200 or in 1000 is positive

Either adds its lines to benches/record/boosting-<cpu>-<date>.txt. Boosters take turns, an iteration each.
"""

import argparse
import importlib
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import xentrs as xe
from xentrs.boosting import Focal, Sigmoid, Softmax

LEARNING_RATE, TREES = 0.1, 100
LIGHTGBM = {"verbose": -1, "deterministic": True, "seed": 0, "num_leaves": 31, "learning_rate": LEARNING_RATE}
XGBOOST = {"tree_method": "hist", "max_depth": 5, "seed": 0, "eta": LEARNING_RATE}


def rare(odds: int, n: int, held_out: int, seed: int = 0) -> tuple[Any, ...]:
    """Samples of which one in `odds` is positive: `n` to train on, and others that are held out."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n + held_out, 10))
    f = 2.2 * (X[:, 0] * X[:, 1] + X[:, 2] + np.abs(X[:, 3])) + rng.normal(size=len(X))
    y = (f > np.quantile(f, 1 - 1 / odds)).astype(float)
    return X[:n], y[:n], X[n:], y[n:]


def average_precision(
    library: str, samples: tuple[Any, ...], objective: Any = None, start: float | None = None, threads: int = 1
) -> float:
    """Of a model on the held-out samples; without an objective that of the built-in log loss."""
    from sklearn.metrics import average_precision_score

    module = importlib.import_module(library)
    X, y, X_new, y_new = samples
    if objective is not None and start is None:
        start = objective.base_score(y)
    if library == "lightgbm":
        settings = LIGHTGBM | {"objective": objective.lightgbm if objective else "binary", "num_threads": threads}
        begin = None if objective is None else np.full(len(y), start)
        scores = module.train(settings, module.Dataset(X, y, init_score=begin), TREES).predict(X_new)
    else:
        settings = XGBOOST | {"nthread": threads}
        settings |= {"base_score": start} if objective else {"objective": "binary:logistic"}
        model = module.train(settings, module.DMatrix(X, y), TREES, obj=objective and objective.xgboost)
        scores = model.predict(module.DMatrix(X_new))
    assert np.isfinite(scores).all()
    return float(average_precision_score(y_new, scores))


def precision(seeds: int, threads: int) -> list[str]:
    """One line for each library, rarity, curvature and start: the means of several draws."""
    lines = ["average precision, gamma 0.5, 1, 2, 5 (mean of seeds; in brackets the least difference to the built-in)"]
    ways: list[tuple[str, Any]] = [
        (f"{curvature}, best constant", curvature) for curvature in ("gradient", "convex", "library", "exact")
    ]
    for odds, n, held_out in [(200, 40_000, 100_000), (1000, 150_000, 300_000)]:
        for library in ("lightgbm", "xgboost"):
            draws = [rare(odds, n, held_out, seed) for seed in range(seeds)]
            built_in = [average_precision(library, samples, threads=threads) for samples in draws]
            lines.append(f"1 : {odds}  {library:8}  {'built-in log loss':24} {np.mean(built_in):.3f}")
            print(lines[-1], flush=True)
            for name, curvature in [*ways, ("exact, log-odds", "exact")]:
                means = []
                for gamma in (0.5, 1.0, 2.0, 5.0):
                    objective = Focal(gamma=gamma, curvature=curvature)
                    found = [
                        average_precision(
                            library,
                            samples,
                            objective,
                            Sigmoid().base_score(samples[1]) if "log-odds" in name else None,
                            threads,
                        )
                        for samples in draws
                    ]
                    least = min(ours - theirs for ours, theirs in zip(found, built_in, strict=True))
                    means.append(f"{np.mean(found):.3f} ({least:+.3f})")
                lines.append(f"1 : {odds}  {library:8}  {name:24} {'  '.join(means)}")
                print(lines[-1], flush=True)
    return lines


def contestants(n: int, c: int, threads: int) -> dict[str, Callable[[], Any]]:
    """What each call does once: an iteration, or what an iteration asks of the objective."""
    import lightgbm as lgb
    import xgboost as xgb

    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, 10))
    y = np.digitize(X[:, 0] * X[:, 1] + X[:, 2], np.linspace(-1.5, 1.5, c - 1)).astype(float)
    raw = rng.normal(size=(n, c) if c > 2 else n)
    objective = Softmax() if c > 2 else Sigmoid()
    several = {"num_class": c} if c > 2 else {}
    names = ("multiclass", "multi:softprob") if c > 2 else ("binary", "binary:logistic")
    settings = LIGHTGBM | several | {"num_threads": threads}
    theirs = lgb.Booster(settings | {"objective": names[0]}, lgb.Dataset(X, y))
    ours = lgb.Booster(settings | {"objective": "none"}, lgb.Dataset(X, y, init_score=objective.init_score(y)))
    settings, data = XGBOOST | several | {"nthread": threads}, xgb.DMatrix(X, y)
    their_xgboost = xgb.Booster(settings | {"objective": names[1]}, [data])
    our_xgboost = xgb.Booster(settings | {"base_score": objective.base_score(y)}, [data])
    of_lightgbm, of_xgboost = np.asfortranarray(raw), raw.astype(np.float32)
    return {
        "lightgbm, built-in": theirs.update,
        "lightgbm, xentrs": lambda: ours.update(fobj=objective.lightgbm),
        "lightgbm, objective alone": lambda: objective.sklearn(y, of_lightgbm),
        "xgboost, built-in": lambda: their_xgboost.update(data, 0),
        "xgboost, xentrs": lambda: our_xgboost.update(data, 0, objective.xgboost),
        "xgboost, objective alone": lambda: objective.sklearn(y, of_xgboost),
    }


def speed(n: int, rounds: int) -> list[str]:
    """Milliseconds of an iteration, built-in and ours in turns, and of the objective alone."""
    threads = xe.get_num_threads()
    lines = [f"one iteration, {n} samples of 10 features, median of {rounds} rounds, {threads} threads, milliseconds"]
    print(lines[-1])
    for c in (10, 2):
        calls = contestants(n, c, threads)
        taken: dict[str, list[float]] = {name: [] for name in calls}
        for i in range(rounds + 1):
            for name, call in calls.items():
                begin = time.perf_counter()
                call()
                if i:  # the first builds what the others find
                    taken[name].append(time.perf_counter() - begin)
        for name, seconds in taken.items():
            ratio = ""
            if name.endswith("xentrs"):
                pairs = zip(seconds, taken[name.replace("xentrs", "built-in")], strict=True)
                ratio = f"   {statistics.median(a / b for a, b in pairs):.3f} of the built-in"
            lines.append(f"{c:2} classes  {name:26} {statistics.median(seconds) * 1e3:7.0f}{ratio}")
            print(lines[-1], flush=True)
    return lines


def main() -> None:
    from run import HERE, machine, slug

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["speed", "precision"])
    parser.add_argument("--samples", type=int, default=1_000_000, help="of the speed (a record has a million)")
    parser.add_argument("--rounds", type=int, help="iterations of the speed, draws of the precision")
    parser.add_argument("--threads", type=int, default=1, help="of the precision")
    options = parser.parse_args()
    if options.what == "speed":
        lines = speed(options.samples, options.rounds or 9)
    else:
        lines = precision(options.rounds or 3, options.threads)
    about = machine()
    path = Path(HERE) / "record" / f"boosting-{slug(about)}.txt"
    with open(path, "a", encoding="utf-8") as record:
        record.writelines(f"# {key}: {value}\n" for key, value in about.items())
        record.writelines(f"{line}\n" for line in [*lines, ""])


if __name__ == "__main__":
    main()
