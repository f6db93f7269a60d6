"""The peers: how a user of each of them computes the same loss and its gradient, with the same number of threads.

Each maker imports its package and returns what competes; a package that is not installed raises, and its column is
left out. NumPy, which is always there, is in `xentrs.bench`.
"""

import math
import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from xentrs.bench.layers import Layer
from xentrs.bench.work import GRADIENT, LOSS, PEER_RTOL, Calls, Contestant, Work


def scipy(threads: int) -> Iterator[Contestant]:
    """Its special functions know one thread, like NumPy's."""
    import scipy
    from scipy.special import expit, log_expit, log_softmax, logsumexp, softmax

    def calls(work: Work) -> Calls:
        z, target, n = work.logits, work.target, work.count
        rows = np.arange(len(z))

        def softmax_loss() -> Any:
            return np.mean(logsumexp(z, axis=1) - z[rows, target])

        def softmax_gradient() -> Any:
            grad = softmax(z, axis=1)
            grad[rows, target] -= 1
            grad /= n
            return softmax_loss(), grad

        def sigmoid_loss() -> Any:
            return np.mean(-log_expit(-z) - target * z)

        def sigmoid_gradient() -> Any:
            grad = expit(z, out=work.out)
            grad -= target
            grad /= n
            return sigmoid_loss(), grad

        known: dict[str, Calls] = {
            "softmax_cross_entropy": {LOSS: softmax_loss, GRADIENT: softmax_gradient},
            "sigmoid_cross_entropy": {LOSS: sigmoid_loss, GRADIENT: sigmoid_gradient},
            "softmax": {GRADIENT: lambda: (work.loss, softmax(z, axis=1))},
            "log_softmax": {GRADIENT: lambda: (work.loss, log_softmax(z, axis=1))},
            "logsumexp": {LOSS: lambda: np.mean(logsumexp(z, axis=1))},
        }
        return {} if work.is_half else known.get(work.row.loss, {})

    yield Contestant("SciPy", scipy.__version__, PEER_RTOL, calls)


def scikit_learn(threads: int) -> Iterator[Contestant]:
    """Its losses in Cython and OpenMP: private, but what its estimators run on. The weights 1/n make sums means."""
    import sklearn
    from sklearn._loss import HalfBinomialLoss, HalfMultinomialLoss
    from sklearn.linear_model._linear_loss import LinearModelLoss

    def layer_calls(layer: Layer) -> Calls:
        if "x" in layer.wrt:
            return {}
        loss = LinearModelLoss(base_loss=HalfMultinomialLoss(n_classes=len(layer.weight)), fit_intercept=True)
        both = np.asfortranarray(np.column_stack([layer.weight, layer.bias]))
        target = layer.target.astype(layer.x.dtype)

        def gradient() -> Any:
            value, grad = loss.loss_gradient(both, layer.x, target, n_threads=threads)
            return value, grad[:, :-1]

        return {LOSS: lambda: loss.loss(both, layer.x, target, n_threads=threads), GRADIENT: gradient}

    def calls(work: Work) -> Calls:
        if work.layer:
            return layer_calls(work.layer)
        if work.is_half or work.row.loss not in ("softmax_cross_entropy", "sigmoid_cross_entropy"):
            return {}
        z, out, dtype, n = work.logits, work.out, work.logits.dtype.type, work.count
        if work.has_classes:
            loss = HalfMultinomialLoss(n_classes=z.shape[1])
        else:
            loss, z, out = HalfBinomialLoss(), z.reshape(-1), out.reshape(-1)
        losses = np.empty(n, dtype)
        given = {
            "y_true": work.target.reshape(-1).astype(dtype),
            "raw_prediction": z,
            "sample_weight": np.full(n, 1 / n, dtype),
            "loss_out": losses,
            "n_threads": threads,
        }

        def gradient() -> Any:
            loss.loss_gradient(**given, gradient_out=out)
            return losses.sum(), work.out

        return {LOSS: lambda: loss.loss(**given).sum(), GRADIENT: gradient}

    yield Contestant("scikit-learn", sklearn.__version__, PEER_RTOL, calls)


def jax(threads: int) -> Iterator[Contestant]:
    """XLA reads the size of its thread pool from NPROC, once, when it starts."""
    os.environ["NPROC"] = str(threads)
    os.environ["JAX_PLATFORMS"] = "cpu"
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)

    def softmax(z: Any, target: Any) -> Any:
        label = jnp.take_along_axis(z, target[:, None], axis=-1)[:, 0]
        return (jax.nn.logsumexp(z, axis=-1) - label).mean()

    def sigmoid(z: Any, target: Any) -> Any:
        return (jax.nn.softplus(z) - target * z).mean()

    def layer_calls(layer: Layer) -> Calls:
        def function(x: Any, weight: Any, bias: Any, target: Any) -> Any:
            return softmax(x @ weight.T + bias, target)

        given = [jnp.array(array) for array in layer[:4]]
        places = tuple(("x", "weight", "bias").index(name) for name in layer.wrt)
        loss, gradients = jax.jit(function), jax.jit(jax.value_and_grad(function, places))

        def gradient() -> Any:
            value, grads = jax.block_until_ready(gradients(*given))
            return value, grads[layer.wrt.index("weight")]

        return {LOSS: lambda: loss(*given).block_until_ready(), GRADIENT: gradient}

    def calls(work: Work) -> Calls:
        if work.layer:
            return layer_calls(work.layer)
        z, target = jnp.array(work.logits), jnp.array(work.target)
        if function := {"softmax": jax.nn.softmax, "log_softmax": jax.nn.log_softmax}.get(work.row.loss):
            mapped = jax.jit(function)
            return {GRADIENT: lambda: (work.loss, mapped(z).block_until_ready())}
        if work.row.loss == "logsumexp":
            mean = jax.jit(lambda z: jax.nn.logsumexp(z, axis=-1).mean())
            return {LOSS: lambda: mean(z).block_until_ready()}
        if function := {"softmax_cross_entropy": softmax, "sigmoid_cross_entropy": sigmoid}.get(work.row.loss):
            loss, gradient = jax.jit(function), jax.jit(jax.value_and_grad(function))
            return {
                LOSS: lambda: loss(z, target).block_until_ready(),
                GRADIENT: lambda: jax.block_until_ready(gradient(z, target)),
            }
        return {}

    yield Contestant("JAX jit", jax.__version__, PEER_RTOL, calls)


def pytorch(threads: int) -> Iterator[Contestant]:
    """Eager, and compiled for each shape."""
    import torch
    from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, linear

    torch.set_num_threads(threads)

    def entropy_less_logprob(z: Any, token: Any) -> Any:
        every = torch.log_softmax(z, -1)
        return -((every.exp() * every).sum(-1) + every.gather(-1, token[:, None])[:, 0]).mean()

    def layer_calls(layer: Layer, prepare: Callable[[Any], Any]) -> Calls:
        function = prepare(lambda x, weight, bias, target: cross_entropy(linear(x, weight, bias), target))
        given = {name: torch.from_numpy(getattr(layer, name)) for name in ("x", "weight", "bias", "target")}
        leaves = {name: given[name].detach().requires_grad_() for name in layer.wrt}

        def gradient() -> Any:
            loss = function(**{**given, **leaves})
            grads = torch.autograd.grad(loss, list(leaves.values()))
            return loss.detach(), grads[layer.wrt.index("weight")]

        return {LOSS: lambda: function(**given), GRADIENT: gradient}

    def calls(work: Work, prepare: Callable[[Any], Any]) -> Calls:
        torch.compiler.reset()
        if work.layer:
            return layer_calls(work.layer, prepare)
        bits = work.row.dtype == "bfloat16"  # which NumPy does not know, so that arrays pass as integers
        z = torch.from_numpy(work.logits.view(np.int16)).view(torch.bfloat16) if bits else torch.from_numpy(work.logits)
        if function := {"softmax": torch.softmax, "log_softmax": torch.log_softmax}.get(work.row.loss):
            mapped = prepare(lambda z, out: function(z, -1, out=out))
            out = torch.from_numpy(work.out)
            return {GRADIENT: lambda: (work.loss, mapped(z, out))}
        if work.row.loss == "logsumexp":
            mean = prepare(lambda z: torch.logsumexp(z, -1).mean())
            return {LOSS: lambda: mean(z)}
        if work.row.loss == "info_nce":
            y, places = torch.from_numpy(work.target), torch.arange(len(z))
            two = prepare(lambda x, y: (cross_entropy(logits := x @ y.T, places) + cross_entropy(logits.T, places)) / 2)
            leaves = z.detach().requires_grad_(), y.detach().requires_grad_()

            def both() -> Any:
                loss = two(*leaves)
                return loss.detach(), torch.autograd.grad(loss, leaves)[0]

            return {LOSS: lambda: two(z, y), GRADIENT: both}
        known = {
            "softmax_cross_entropy": cross_entropy,
            "sigmoid_cross_entropy": binary_cross_entropy_with_logits,
            "token_logprobs": entropy_less_logprob,
        }
        if work.row.loss not in known:
            return {}
        function, target = prepare(known[work.row.loss]), torch.from_numpy(work.target)
        leaf = z.detach().requires_grad_()

        def gradient() -> Any:
            loss = function(leaf, target)
            (grad,) = torch.autograd.grad(loss, leaf)
            return loss.detach(), grad.view(torch.int16).numpy().view(work.row.type) if bits else grad

        return {LOSS: lambda: function(z, target), GRADIENT: gradient}

    def compiled(work: Work) -> Calls:
        return calls(work, lambda function: torch.compile(function, dynamic=False))

    yield Contestant("PyTorch", torch.__version__, PEER_RTOL, lambda work: calls(work, lambda function: function))
    yield Contestant("torch.compile", torch.__version__, PEER_RTOL, compiled)


def numba(threads: int) -> Iterator[Contestant]:
    """The loops that a user writes: rows in parallel, in each its maximum, its exponentials, its loss.

    Without `fastmath`, which would take NaN and infinities for numbers.
    """
    os.environ["NUMBA_NUM_THREADS"] = str(max(threads, os.cpu_count() or 1))  # the most that can be asked for
    import numba

    numba.set_num_threads(threads)
    jit, loop = numba.njit(fastmath=False), numba.njit(parallel=True, fastmath=False)

    @jit
    def peak_of(row: Any) -> Any:
        peak = row[0]
        for k in range(1, len(row)):
            peak = max(peak, row[k])
        return peak

    @jit
    def log_sum(row: Any) -> Any:
        peak, total = peak_of(row), row.dtype.type(0)
        for k in range(len(row)):
            total += math.exp(row[k] - peak)
        return math.log(total) + peak

    @jit
    def exponentials(row: Any, out: Any) -> Any:
        peak, total = peak_of(row), row.dtype.type(0)
        for k in range(len(row)):
            out[k] = math.exp(row[k] - peak)
            total += out[k]
        return total, peak

    @jit
    def times(row: Any, factor: Any) -> None:
        for k in range(len(row)):
            row[k] *= factor

    @loop
    def softmax_loss(z: Any, target: Any) -> Any:
        total = 0.0
        for i in numba.prange(len(z)):
            total += log_sum(z[i]) - z[i, target[i]]
        return total / len(z)

    @loop
    def softmax_gradient(z: Any, target: Any, grad: Any) -> Any:
        total, share = 0.0, z.dtype.type(1 / len(z))
        for i in numba.prange(len(z)):
            mass, peak = exponentials(z[i], grad[i])
            total += math.log(mass) + peak - z[i, target[i]]
            times(grad[i], share / mass)
            grad[i, target[i]] -= share
        return total / len(z)

    @loop
    def softmax(z: Any, out: Any) -> None:
        for i in numba.prange(len(z)):
            mass, _ = exponentials(z[i], out[i])
            times(out[i], z.dtype.type(1) / mass)

    @loop
    def log_softmax(z: Any, out: Any) -> None:
        for i in numba.prange(len(z)):
            shift = log_sum(z[i])
            for k in range(z.shape[1]):
                out[i, k] = z[i, k] - shift

    @loop
    def logsumexp(z: Any) -> Any:
        total = 0.0
        for i in numba.prange(len(z)):
            total += log_sum(z[i])
        return total / len(z)

    @loop
    def sigmoid_loss(z: Any, target: Any) -> Any:
        total = 0.0
        for i in numba.prange(len(z)):
            total += max(z[i], z.dtype.type(0)) + math.log1p(math.exp(-abs(z[i]))) - target[i] * z[i]
        return total / len(z)

    @loop
    def sigmoid_gradient(z: Any, target: Any, grad: Any) -> Any:
        total, one, share = 0.0, z.dtype.type(1), z.dtype.type(1 / len(z))
        for i in numba.prange(len(z)):
            e = math.exp(-abs(z[i]))
            total += max(z[i], z.dtype.type(0)) + math.log1p(e) - target[i] * z[i]
            grad[i] = ((one if z[i] >= 0 else e) / (one + e) - target[i]) * share
        return total / len(z)

    def calls(work: Work) -> Calls:
        if work.layer or work.is_half:
            return {}
        z, target, out = work.logits, work.target, work.out
        flat = [array.reshape(-1) for array in (z, target, out)]
        known: dict[str, Calls] = {
            "softmax_cross_entropy": {
                LOSS: lambda: softmax_loss(z, target),
                GRADIENT: lambda: (softmax_gradient(z, target, out), out),
            },
            "sigmoid_cross_entropy": {
                LOSS: lambda: sigmoid_loss(*flat[:2]),
                GRADIENT: lambda: (sigmoid_gradient(*flat), out),
            },
            "softmax": {GRADIENT: lambda: (softmax(z, out), (work.loss, out))[1]},
            "log_softmax": {GRADIENT: lambda: (log_softmax(z, out), (work.loss, out))[1]},
            "logsumexp": {LOSS: lambda: logsumexp(z)},
        }
        return known.get(work.row.loss, {})

    yield Contestant("numba", numba.__version__, PEER_RTOL, calls)


def onnx_runtime(threads: int) -> Iterator[Contestant]:
    """A model of one node, which reads the logits where they are and writes into an array that is there already."""
    import onnxruntime
    from onnx import TensorProto, helper

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads

    def calls(work: Work) -> Calls:
        node = {"softmax": "Softmax", "log_softmax": "LogSoftmax"}.get(work.row.loss)
        if not node or work.is_half:
            return {}
        kind = {"float32": TensorProto.FLOAT, "float64": TensorProto.DOUBLE}[work.row.dtype]
        ends = [helper.make_tensor_value_info(name, kind, work.row.shape) for name in ("logits", "out")]
        graph = helper.make_graph([helper.make_node(node, ["logits"], ["out"], axis=-1)], node, ends[:1], ends[1:])
        # Opset 13 is the latest definition of both; the version of the format is older than any runtime in use.
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        bound = session.io_binding()
        bound.bind_input("logits", "cpu", 0, work.row.type, work.logits.shape, work.logits.ctypes.data)
        bound.bind_output("out", "cpu", 0, work.row.type, work.out.shape, work.out.ctypes.data)

        def mapped() -> Any:
            session.run_with_iobinding(bound)
            return work.loss, work.out

        return {GRADIENT: mapped}

    yield Contestant("ONNX Runtime", onnxruntime.__version__, PEER_RTOL, calls)


MAKERS = {
    "SciPy": scipy,
    "scikit-learn": scikit_learn,
    "JAX": jax,
    "PyTorch": pytorch,
    "numba": numba,
    "ONNX Runtime": onnx_runtime,
}


def installed(threads: int) -> tuple[list[Contestant], list[str]]:
    """The peers that are there, and the names of those that are not."""
    peers: list[Contestant] = []
    missing: list[str] = []
    for name, maker in MAKERS.items():
        try:
            peers += maker(threads)
        except ImportError:
            missing.append(name)
    return peers, missing
