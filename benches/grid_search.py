"""A grid search in two processes: do the threads of xentrs in each get into the others' way?

python benches/grid_search.py      prints, and writes benches/record/grid-search-<cpu>-<date>.txt

Each way is a process of its own that searches once to start its workers, and then is timed. The ways take turns. joblib
starts a worker with `OMP_NUM_THREADS` set to its share of the cores, and xentrs obeys; the other ways set
`XENTRS_NUM_THREADS`, which goes before.
"""

import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from run import HERE, machine, slug

SEARCH = """
import sys, time, warnings
import numpy as np
from sklearn.model_selection import GridSearchCV
from xentrs.models import LogisticRegression

warnings.simplefilter("ignore")
rng = np.random.default_rng(0)
X = rng.standard_normal((60_000, 40))
y = (X @ rng.standard_normal((40, 4)) + 2 * rng.standard_normal((60_000, 4))).argmax(axis=1)
search = GridSearchCV(LogisticRegression(), {"C": [0.01, 1.0, 100.0]}, cv=2, n_jobs=int(sys.argv[1]), refit=False)
search.fit(X[:1000], y[:1000])  # starts the workers
for _ in range(5):
    begin = time.perf_counter()
    search.fit(X, y)
    print(time.perf_counter() - begin)
"""

WAYS = {
    "two processes, as joblib starts them": (2, None),
    "two processes, one thread each": (2, "1"),
    "two processes, two threads each": (2, "2"),
    "one process, two threads": (1, "2"),
}
ROUNDS = 3


def seconds(n_jobs: int, threads: str | None) -> Iterator[float]:
    """What the searches of a process take."""
    inherited = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    chosen = {} if threads is None else {"XENTRS_NUM_THREADS": threads}
    command = [sys.executable, "-c", SEARCH, str(n_jobs)]
    done = subprocess.run(command, env=inherited | chosen, capture_output=True, text=True, check=True)
    yield from map(float, done.stdout.split())


def main() -> None:
    times: dict[str, list[float]] = {name: [] for name in WAYS}
    for _ in range(ROUNDS):
        for name, way in WAYS.items():
            times[name] += seconds(*way)
    lines = [f"60000 x 40, 4 classes, three C in two folds, {5 * ROUNDS} searches each, in {ROUNDS} processes"]
    lines += [
        f"{name:<37} median {statistics.median(all_of):5.2f} s, minimum {min(all_of):5.2f} s"
        for name, all_of in times.items()
    ]
    print("\n".join(lines))
    about = machine()
    with open(Path(HERE) / "record" / f"grid-search-{slug(about)}.txt", "w", encoding="utf-8") as record:
        record.writelines(f"# {key}: {value}\n" for key, value in about.items())
        record.writelines(f"{line}\n" for line in lines)


if __name__ == "__main__":
    main()
