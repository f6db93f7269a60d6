"""A call allocates next to nothing beside its arrays."""

import os

import pytest

from processes import run

linux = pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="this system tells no peak of memory in /proc")


def peak_of(call: str) -> int:
    """KiB by which a call raises the resident set of a fresh process, at its highest, above what it was before.

    The arrays have been written before, so that all their pages are there, and a call on a few rows has started the
    pool and has brought in the code, which is the file's memory and no array's; code that comes in later, as on a busy
    machine, is taken off. What the call itself needs counts from there: lists of blocks, scratch rows, stacks, whatever
    the allocator keeps.
    """
    program = f"""if True:
        import gc
        import numpy as np, xentrs as xe
        from resident import now, peak_above

        logits = np.random.default_rng(0).random((512, 32000), np.float32)
        target = np.arange(512)
        grad = np.ones_like(logits)
        xe.softmax_cross_entropy_with_grad(logits[:64], target[:64], out=grad[:64])
        gc.collect()
        before = now()
        {call}
        print(peak_above(before))
    """
    return int(run(program, XENTRS_NUM_THREADS="2"))


@linux
@pytest.mark.parametrize(
    "call",
    [
        "xe.softmax_cross_entropy(logits, target)",
        "xe.softmax_cross_entropy_with_grad(logits, target, out=grad)",
        "xe.softmax_cross_entropy_with_grad(logits, target, out=logits)",
        # Factors and weights of another type are converted, but the gradient still goes where it is wanted.
        "xe.softmax_cross_entropy_with_grad(logits, target, grad_output=target / 7.0, out=grad)",
        "xe.softmax_cross_entropy_with_grad(logits, target.tolist(), sample_weight=target / 7.0, out=logits)",
        "xe.token_logprobs_with_grad(logits, target, grad_logprob=target / 7.0, out=grad)",
    ],
    ids=["loss", "out", "in place", "factors", "converted", "tokens"],
)
def test_the_peak_is_below_one_mib_beside_the_arrays(call: str) -> None:
    assert peak_of(call) < 1024


@linux
def test_the_peak_of_an_array_more_is_seen() -> None:
    """The measure measures: without `out` the gradient is new, and as large as the logits."""
    size = 512 * 32000 * 4 // 1024
    assert size <= peak_of("xe.softmax_cross_entropy_with_grad(logits, target)") < size + 1024


OF_A_LAYER = """if True:
    import gc
    import numpy as np, xentrs as xe
    from resident import now, peak_above

    rng = np.random.default_rng(0)
    n, d, c = {shape}
    x, weight = rng.standard_normal((n, d), np.float32), rng.standard_normal((c, d), np.float32)
    target, bias = rng.integers(0, c, n), np.zeros(c, np.float32)
    out = (np.ones_like(x), np.ones_like(weight), np.ones_like(bias))
    xe.linear_cross_entropy_with_grad(x[:40], weight[:40], target[:40] % 40, bias=bias[:40])
    gc.collect()
    before = now()
    xe.linear_cross_entropy_with_grad(x, weight, target, bias=bias, out=out)
    print(peak_above(before))
"""


@linux
@pytest.mark.parametrize(
    "shape",
    [
        (2048, 64, 50_257),
        (512, 768, 5_000),  # the products of many features copy more: 70 MiB while blocks had 1024 classes
        pytest.param((512, 768, 50_257), marks=pytest.mark.thorough),
        (60_000, 784, 10),
        (20_000, 256, 1000),
        (64, 4, 1_500_000),
    ],
    ids=str,
)
def test_the_peak_of_a_layer_is_below_64_mib_beside_the_gradients(shape: tuple[int, int, int]) -> None:
    assert int(run(OF_A_LAYER.format(shape=shape), XENTRS_NUM_THREADS="2")) < 64 * 1024


@linux
def test_the_peak_of_tokens_behind_a_layer_is_below_64_mib_beside_the_gradients() -> None:
    call = "xe.linear_token_logprobs_with_grad(x, weight, target, bias=bias, grad_entropy=x[:, 0], out=out)"
    program = OF_A_LAYER.replace("xe.linear_cross_entropy_with_grad(x, weight, target, bias=bias, out=out)", call)
    assert call in program
    assert int(run(program.format(shape=(1024, 64, 50_257)), XENTRS_NUM_THREADS="2")) < 64 * 1024


@linux
@pytest.mark.parametrize("function", ["gaussian_kl_divergence", "gaussian_cross_entropy"])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_the_peak_of_gaussians_is_below_three_arrays_beside_the_results(function: str, dtype: str) -> None:
    program = f"""if True:
        import tracemalloc
        import numpy as np, xentrs as xe

        x = np.full((2000, 1000), 0.5, "{dtype}")
        tracemalloc.start()
        results = xe.{function}_with_grad(x, x, x[0], x)
        peak = tracemalloc.get_traced_memory()[1]
        print((peak - sum(result.nbytes for result in results)) / x.nbytes)
    """
    assert float(run(program)) < 3


@linux
@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("spread", ["x", "x[:1]", "x[:, :1]"])
def test_the_peak_of_a_gaussian_loss_is_three_arrays_beside_the_results(spread: str, dtype: str) -> None:
    """Of float16 the gradient to repeated variances is summed in single precision: two arrays, and one of variances."""
    program = f"""if True:
        import tracemalloc
        import numpy as np, xentrs as xe

        x = np.full((2000, 1000), 0.5, "{dtype}")
        xe.gaussian_nll_with_grad(x[:100], x[:100], x[:100])
        tracemalloc.start()
        results = xe.gaussian_nll_with_grad(x, x, {spread})
        peak = tracemalloc.get_traced_memory()[1]
        print((peak - sum(np.asarray(result).nbytes for result in results)) / x.nbytes)
    """
    assert float(run(program)) < (0.05 if spread == "x" else 3.05)


OF_EVERY_CALL = """if True:
    import ctypes, gc, warnings
    import numpy as np
    import faults
    from resident import now, peak_above

    warnings.simplefilter("ignore")
    faults.SHAPES = [(2000, 500)]
    trim = getattr(ctypes.CDLL(None), "malloc_trim", lambda kept: None)  # of glibc

    def size(given):
        if isinstance(given, dict):
            given = list(given.values())
        return sum(map(size, given)) if isinstance(given, (tuple, list)) else getattr(given, "nbytes", 0)

    dtype, _ = faults.UNITS[3 * {number}]
    for name, call in (*faults.losses(dtype), *faults.functions(dtype)):
        call()  # brings in the code and the pool
        gc.collect()
        trim(0)
        before = now()
        results = call()
        beside = peak_above(before) * 1024 - size(results)
        del results
        print(f"{{(beside - 2**20) / size(call.__defaults__):.2f}} {{name}}")
"""


@linux
@pytest.mark.parametrize(
    "number",
    [0, pytest.param(1, marks=pytest.mark.thorough), 2, pytest.param(3, marks=pytest.mark.thorough)],
    ids=["float32", "float64", "float16", "bfloat16"],
)
def test_a_call_takes_less_than_one_and_a_half_times_the_memory_of_its_arguments_beside_its_results(
    number: int,
) -> None:
    lines = run(OF_EVERY_CALL.format(number=number), XENTRS_NUM_THREADS="2").splitlines()
    assert len(lines) > 100
    assert [line for line in lines if float(line.split()[0]) >= 1.5] == []
