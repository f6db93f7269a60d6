"""The peers: how a user of each of them computes the same loss and its gradient, with the same number of threads.

Each maker imports its package and returns what competes; a package that is not installed raises, and its column is
left out. NumPy, which is always there, is in `xentrs.bench`.
"""

import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from xentrs.bench.layers import Layer
from xentrs.bench.work import GRADIENT, LOSS, PEER_RTOL, Calls, Contestant, Work


def scipy(threads: int) -> Iterator[Contestant]:
    """Its special functions know one thread, like NumPy's."""
    import scipy
    from scipy.special import expit, log_expit, logsumexp, softmax

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

        if work.layer:
            return {}
        if work.has_classes:
            return {LOSS: softmax_loss, GRADIENT: softmax_gradient}
        return {LOSS: sigmoid_loss, GRADIENT: sigmoid_gradient}

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
        function = softmax if work.has_classes else sigmoid
        loss, gradient = jax.jit(function), jax.jit(jax.value_and_grad(function))
        z, target = jnp.array(work.logits), jnp.array(work.target)
        return {
            LOSS: lambda: loss(z, target).block_until_ready(),
            GRADIENT: lambda: jax.block_until_ready(gradient(z, target)),
        }

    yield Contestant("JAX jit", jax.__version__, PEER_RTOL, calls)


def pytorch(threads: int) -> Iterator[Contestant]:
    """Eager, and compiled for each shape."""
    import torch
    from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, linear

    torch.set_num_threads(threads)

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
        function = prepare(cross_entropy if work.has_classes else binary_cross_entropy_with_logits)
        z, target = torch.from_numpy(work.logits), torch.from_numpy(work.target)
        leaf = z.detach().requires_grad_()

        def gradient() -> Any:
            loss = function(leaf, target)
            (grad,) = torch.autograd.grad(loss, leaf)
            return loss.detach(), grad

        return {LOSS: lambda: function(z, target), GRADIENT: gradient}

    def compiled(work: Work) -> Calls:
        return calls(work, lambda function: torch.compile(function, dynamic=False))

    yield Contestant("PyTorch", torch.__version__, PEER_RTOL, lambda work: calls(work, lambda function: function))
    yield Contestant("torch.compile", torch.__version__, PEER_RTOL, compiled)


def where_known(contestant: Contestant) -> Contestant:
    """Take part where all peers know the loss; the others are left to NumPy."""
    return contestant._replace(calls=lambda work: contestant.calls(work) if work.formula.peers_know_it else {})


MAKERS = {"SciPy": scipy, "scikit-learn": scikit_learn, "JAX": jax, "PyTorch": pytorch}


def installed(threads: int) -> tuple[list[Contestant], list[str]]:
    """The peers that are there, and the names of those that are not."""
    peers: list[Contestant] = []
    missing: list[str] = []
    for name, maker in MAKERS.items():
        try:
            peers += map(where_known, maker(threads))
        except ImportError:
            missing.append(name)
    return peers, missing
