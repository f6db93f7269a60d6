"""Calls to which memory is refused, by a malloc that does as it is told: each gives a MemoryError, or the right answer.

`python faults.py one|room <unit> <step>` tries one of every so many calls of a unit, in a process of its own, as what
is tested for is an abort. It tells each call before it is made, and prints how many it has tried.
"""

import ctypes
import itertools
import pickle
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from threading import Thread
from typing import Any

import numpy as np

import xentrs as xe
from registry import CASES, CONTRASTIVES, DTYPES, FUNCTIONS, GAUSSIANS, HALVES, LINEARS, PROBABILITIES, QUANTITIES
from xentrs.optim import SGD

Array = np.ndarray[Any, Any]
Call = Callable[[], Any]

LEAST = 2048
"""Bytes from which an allocation is refused: those whose size depends on the arrays, few of the interpreter's."""

SHAPES = [(600, 7), (300, 70), (20, 2000), (2, 140_001)]
"""By lane, by group, by row, and rows that threads share, in half precision in buffers too long to be kept."""


def losses(dtype: Any) -> Iterator[tuple[str, Call]]:
    rng = np.random.default_rng(5)
    single = dtype if dtype in DTYPES else np.float32  # what half precision is computed with
    for case in [*CASES, *PROBABILITIES]:
        for kind, shape, choice in itertools.product(case.targets, SHAPES, (0, 1)):
            options = {
                name: draws[min(choice, len(draws) - 1)](rng, single, shape) for name, draws in case.options.items()
            }
            logits, target = case.logits(rng, single, shape).astype(dtype), case.targets[kind](rng, single, shape)
            if options.get("ignore_index") == 0:
                target = np.maximum(target, 0)  # -100 is no class then
            name = f"{case.name} {kind} {shape} {choice}"
            yield (
                f"{name} none",
                lambda a=(case, logits, target, options): a[0].loss(a[1], a[2], reduction="none", **a[3]),
            )
            yield f"{name} grad", lambda a=(case, logits, target, options): a[0].loss_with_grad(a[1], a[2], **a[3])
            if case.loss_with_hess is not None and choice == 0:
                yield f"{name} hess", lambda a=(case, logits, target): a[0].loss_with_hess(a[1], a[2])
            if kind == "distributions":
                pair = np.tile(np.arange(3), (*shape[:-1], 1)), np.full((*shape[:-1], 3), 0.25, dtype)
                yield f"{name} sparse", lambda a=(case, logits, pair): a[0].loss_with_grad(*a[1:], reduction="none")


def functions(dtype: Any) -> Iterator[tuple[str, Call]]:
    rng = np.random.default_rng(6)
    for shape in SHAPES:
        z = rng.standard_normal(shape).astype(dtype)
        p = xe.softmax(z.astype(np.float64))
        p = p.astype(dtype)
        target = rng.integers(0, shape[1], shape[0])
        for function in FUNCTIONS:
            yield f"{function.name} {shape}", lambda f=function, z=z: f.function(z)
        for quantity, options in itertools.product(QUANTITIES, ({}, {"normalize": True}, {"from_logits": True})):
            if "from_logits" in options and quantity.name not in ("kl_divergence", "js_divergence"):
                continue
            x = z if "from_logits" in options else p
            for first in (x, x[0]) if quantity.arguments == 2 else (x,):
                given = (first, x[::-1])[: quantity.arguments]
                for f in (quantity.function, quantity.with_grad):
                    yield f"{f.__name__} {shape} {options}", lambda f=f, g=given, o=options: f(*g, **o)
        yield f"softmax_stats {shape}", lambda z=z, t=target: xe.softmax_stats(z, t)
        yield f"token_logprobs {shape}", lambda z=z, t=target: xe.token_logprobs_with_grad(z, t, grad_entropy=0.5)
        yield f"js_smoothness {shape}", lambda z=z: xe.js_smoothness(z, reduction="none")
        yield f"js_smoothness_with_grad {shape}", lambda z=z: xe.js_smoothness_with_grad(z)
        yield f"in place {shape}", lambda z=z: xe.js_smoothness_with_grad(y := z.copy(), out=y)
        few = np.argsort(-z, axis=1)[:, :5]
        pair = few, np.take_along_axis(p, few, 1).astype(np.float64) * 0.9
        yield f"topk {shape}", lambda z=z, pair=pair: xe.topk_kl_divergence_with_grad(z, pair)
        for gaussian in GAUSSIANS:
            yield f"{gaussian.name} {shape}", lambda f=gaussian.loss_with_grad, z=z, p=p: f(z, p, 1.0)
            yield f"{gaussian.name} none {shape}", lambda f=gaussian.loss, z=z, p=p: f(z, p, p + 1, reduction="none")
        flat, groups = z.ravel()[:4000], rng.integers(0, 600, min(z.size, 4000))
        yield f"parity {shape}", lambda x=flat, g=groups: xe.parity_penalty_with_grad(x, g)
        yield f"accumulator {shape}", lambda z=z, t=target: accumulated(z, t)
        by_class = np.asfortranarray(z)
        yield f"by class {shape}", lambda z=by_class, t=target: xe.softmax_cross_entropy_with_grad(z, t)


def accumulated(z: Array, target: Array) -> Any:
    accumulator = xe.LossAccumulator()
    accumulator.update(z, target)
    return accumulator.result()


def layers(dtype: Any) -> Iterator[tuple[str, Call]]:
    """In blocks, in tiles, in strips; few classes and many."""
    rng = np.random.default_rng(7)
    for n, d, c in [(700, 30, 6), (500, 64, 900), (90, 700, 1500), (70, 520, 160_000)]:
        if c > 10_000 and dtype != np.float32:
            continue
        x, weight = rng.standard_normal((n, d)).astype(dtype), rng.standard_normal((c, d)).astype(dtype)
        bias = rng.standard_normal(c).astype(dtype)
        for linear in LINEARS:
            for kind in list(linear.targets)[: 1 if c > 10_000 else 2]:
                if kind == "distributions" or (c > 10_000 and linear.kind != "softmax"):
                    continue
                target = linear.targets[kind](rng, np.float32, (n, c))
                options = {"bias": bias, "kind": linear.kind}
                name = f"{linear.name} {linear.kind} {kind} {(n, d, c)}"
                if c <= 10_000:
                    yield (
                        f"{name} none",
                        lambda a=(linear, x, weight, target, options): a[0].loss(*a[1:4], reduction="none", **a[4]),
                    )
                yield (
                    f"{name} grad",
                    lambda a=(linear, x, weight, target, options): a[0].loss_with_grad(*a[1:4], **a[4]),
                )
        token = rng.integers(0, c, n)
        token[::7] = -100
        if c <= 10_000:
            yield f"tokens {(n, d, c)}", lambda a=(x, weight, token): xe.linear_token_logprobs_with_grad(*a)
        if dtype in DTYPES and c <= 1000:
            for kind, target in (("softmax", token % c), ("sigmoid", (np.arange(c) == (token % c)[:, None]) * 1.0)):
                yield f"linear_epoch {kind} {(n, d, c)}", lambda a=(x, target, c, kind): trained(*a)
    for contrastive, options in ((one, o) for one in CONTRASTIVES for o in one.options):
        x, y = (rng.standard_normal((600, 20)).astype(dtype) for _ in range(2))
        yield (
            f"{contrastive.name} {options}",
            lambda a=(contrastive, x, y, options): a[0].loss_with_grad(a[1], a[2], temperature=0.5, **a[3]),
        )


def trained(x: Array, target: Array, classes: int, kind: str) -> Any:
    params = [np.zeros((classes, x.shape[1]), x.dtype), np.zeros(classes, x.dtype)]
    SGD(params, learning_rate=0.1).linear_epoch(x, target, kind=kind, batch_size=64)
    return params


UNITS = [(dtype, calls) for dtype in (*DTYPES, *HALVES) for calls in (losses, functions, layers)]


def outcome(call: Call, refuse: Callable[[], None]) -> tuple[Any, int]:
    """What a call gives in a thread without memory of its own, and how many allocations were refused to it."""
    result: list[Any] = []

    def run() -> None:
        refuse()
        try:
            given = call()
        except BaseException as error:
            given = error
        finally:
            refusals.append(malloc.refuse_none())
        result.append(given)

    refusals: list[int] = []
    thread = Thread(target=run)
    thread.start()
    thread.join()
    if isinstance(result[0], BaseException) and not isinstance(result[0], MemoryError):
        raise AssertionError("another exception than MemoryError") from result[0]
    return result[0], refusals[0]


def bits(result: Any) -> bytes:
    return pickle.dumps(result)


def spread(most: int) -> Iterator[int]:
    """0 to 50, and ever fewer after: a layer of 160 000 classes has thousands of allocations, all alike."""
    number = 0
    while number < most:
        yield number
        number += 1 + number // 50


def try_call(call: Call, refuse: Callable[[int], None], tries: Iterable[int]) -> tuple[int, int]:
    """How many calls were made without memory, and how many of them could do without."""
    expected, made, answered = bits(call()), 0, 0
    for attempt in tries:
        result, refusals = outcome(call, lambda attempt=attempt: refuse(attempt))
        if not isinstance(result, MemoryError):
            assert bits(result) == expected, "memory was refused, and the answer is another one"
            if refusals == 0:
                break
            answered += 1
        made += 1
    assert bits(call()) == expected, "after memory was refused the answer is another one"
    return made, answered


def main(way: str, unit: int, step: int) -> None:
    warnings.simplefilter("ignore")
    total, answers = 0, 0
    dtype, calls = UNITS[unit]
    for name, call in itertools.islice(calls(dtype), 0, None, step):
        print(np.dtype(dtype).name, name, file=sys.stderr, flush=True)
        if way == "one":
            made, answered = try_call(call, lambda attempt: malloc.refuse_one(attempt, LEAST), spread(10_000))
        else:
            made, answered = try_call(
                call, lambda attempt: malloc.refuse_beyond(int(1000 * 1.6**attempt), LEAST), range(60)
            )
        total, answers = total + made, answers + answered
    print(total, answers)


if __name__ == "__main__":
    malloc = ctypes.CDLL(None)
    malloc.refuse_one.argtypes = malloc.refuse_beyond.argtypes = [ctypes.c_longlong, ctypes.c_size_t]
    malloc.refuse_none.restype = ctypes.c_longlong
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
