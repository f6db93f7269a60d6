"""`xentrs.jax` beside optax, both under jit: loss, and loss with gradient, taking turns on the same arrays.

python benches/jax_bridge.py               measures, prints the table, writes benches/record/jax-<cpu>-<date>.csv
python benches/jax_bridge.py --show RECORD prints the table of a record

Three programs use the gradient as training does: `value and gradient`, where the loss is all that is asked for;
`scaled`, where it is one term of several, so that the upstream gradient is not 1; `each row`, where the losses of rows
are weighted and averaged by JAX. Each is made of the bridge as it is, and of the two ways that its gradient can go:
`eager`, computed with the loss and multiplied later, and `deferred`, computed when the upstream gradient is known.
`in a model` is a step with a layer in front, whose logits no program outside ever sees; the last contestant there is
the layer alone.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import xentrs as xe
import xentrs.jax as xj
import xentrs.jax.losses as rooms
from run import HERE, machine, read, slug, write
from xentrs.bench.contest import Figure

SHAPES = [(1, 10), (64, 10), (256, 1000), (4096, 1000), (65536, 10), (2048, 32000)]
GOALS = {(64, 10): 1.0, (4096, 1000): 1.5, (2048, 32000): 3.0}
OURS, OPTAX, EAGER, DEFERRED, LAYER = "xentrs", "optax", "xentrs, eager", "xentrs, deferred", "the layer alone"
ROUNDS, PATIENCE = 15, 6.0

Loss = Callable[..., Any]


def of_optax(logits: Any, labels: Any, reduction: str = "mean") -> Any:
    """The losses of rows, or their mean."""
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    return losses.mean() if reduction == "mean" else losses


def going(is_eager: bool) -> Loss:
    """Our loss, whose gradient goes one way whatever the call is."""

    def loss(*arguments: Any, **options: Any) -> Any:
        chosen, rooms.goes_eagerly = rooms.goes_eagerly, lambda *_: is_eager
        try:
            return xj.softmax_cross_entropy(*arguments, **options)
        finally:
            rooms.goes_eagerly = chosen

    return loss


def programs(n: int, c: int) -> Iterator[tuple[str, dict[str, Callable[[], Any]]]]:
    """Each work, and who does it."""
    rng = np.random.default_rng(0)
    logits = jnp.asarray(rng.standard_normal((n, c), np.float32) * 3)
    labels, weights = jnp.asarray(rng.integers(0, c, n), "int32"), jnp.asarray(rng.random(n, np.float32))
    both = {OURS: xj.softmax_cross_entropy, OPTAX: of_optax}
    all_ways = both | {EAGER: going(True), DEFERRED: going(False)}

    def calls(losses: dict[str, Loss], make: Callable[[Loss], Loss], *given: Any) -> dict[str, Callable[[], Any]]:
        compiled = {name: jax.jit(make(loss)) for name, loss in losses.items()}
        return {name: lambda f=f: jax.block_until_ready(f(*given)) for name, f in compiled.items()}

    yield "loss", calls(both, lambda loss: loss, logits, labels)
    yield "value and gradient", calls(all_ways, jax.value_and_grad, logits, labels)

    def scaled(loss: Loss) -> Loss:
        return jax.value_and_grad(lambda z, y: 0.5 * loss(z, y))

    yield "scaled", calls(all_ways, scaled, logits, labels)

    def each_row(loss: Loss) -> Loss:
        return jax.value_and_grad(lambda z, y, w: (w * loss(z, y, reduction="none")).mean())

    yield "each row", calls(all_ways, each_row, logits, labels, weights)
    if n * c >= 1 << 20:
        d = 64
        x, matrix = (jnp.asarray(rng.standard_normal(shape, np.float32)) for shape in [(n, d), (d, c)])

        def in_a_model(loss: Loss) -> Loss:
            return jax.value_and_grad(lambda w, x, y: loss(x @ w / d**0.5, y))

        alone = {LAYER: lambda z, y: z[0, 0] + jax.lax.stop_gradient(z).sum()}
        yield "in a model", calls(both | alone, in_a_model, matrix, x, labels)


def agree(work: str, answers: dict[str, Any]) -> None:
    """Refuse to time wrong answers."""
    theirs = jax.tree.leaves(answers.pop(OPTAX))
    answers.pop(LAYER, None)
    for name, answer in answers.items():
        for a, b in zip(jax.tree.leaves(answer), theirs, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6, err_msg=f"{name}, {work}")


def measure() -> Iterator[Figure]:
    """Let contestants take turns until they have had enough of them."""
    versions = {OPTAX: f"{optax.__version__}, JAX {jax.__version__}"}
    for n, c in SHAPES:
        for work, calls in programs(n, c):
            agree(work, {name: call() for name, call in calls.items()})
            times: dict[str, list[float]] = {name: [] for name in calls}
            begin = time.perf_counter()
            calls[OURS]()
            loops = max(1, round(0.005 / (time.perf_counter() - begin)))
            end = time.perf_counter() + PATIENCE
            while len(times[OURS]) < 5 or (len(times[OURS]) < ROUNDS and time.perf_counter() < end):
                for name, call in calls.items():
                    call()
                    begin = time.perf_counter()
                    for _ in range(loops):
                        call()
                    times[name].append((time.perf_counter() - begin) / loops)
            for name, seconds in times.items():
                yield Figure(
                    row=f"{n}x{c} float32",
                    work=work,
                    contestant=name,
                    version=versions.get(name, xe.__version__),
                    median=statistics.median(seconds),
                    minimum=min(seconds),
                    rounds=len(seconds),
                    loops=loops,
                    bytes=4 * n * c,
                    reach=f"{GOALS[n, c]:g} x optax" if name == OURS and (n, c) in GOALS and work in HELD else "",
                )


HELD = ("value and gradient",)


def show(figures: list[Figure]) -> None:
    """Print times, and how often ours goes into theirs: by minimum, and by median."""
    ours = {(one.row, one.work): one for one in figures if one.contestant == OURS}
    for one in figures:
        best = ours[one.row, one.work]
        ratios = f"{one.minimum / best.minimum:8.2f} {one.median / best.median:8.2f}"
        print(f"{one.row:20} {one.work:20} {one.contestant:18} {one.minimum * 1e3:10.4f} ms {ratios}  {one.reach}")


def main() -> None:
    """Measure and record, or show a record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--show", type=Path, metavar="RECORD")
    chosen = parser.parse_args().show
    if chosen:
        _, figures = read(chosen)
        show(figures)
        return
    about = machine()
    figures = list(measure())
    path = HERE / "record" / f"jax-{slug(about)}.csv"
    write(path, about, figures)
    show(figures)
    print(f"written to {path}")


if __name__ == "__main__":
    main()
