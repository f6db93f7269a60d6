"""The losses for JAX: functions of JAX's arrays, with their gradients, under ``jit``, ``grad``, ``vmap``, ``scan``.

>>> import jax
>>> import jax.numpy as jnp
>>> import xentrs.jax as xj
>>> logits = jnp.array([[2.0, 1.0, 0.0], [0.0, 3.0, 0.0]])
>>> loss, grad = jax.jit(jax.value_and_grad(xj.softmax_cross_entropy))(logits, jnp.array([0, 2]))
>>> print(f"{loss:.4f}")
1.7513

XLA calls the Rust core on its own buffers, without Python (``jax.ffi``). Arguments and options are those of the
functions of the same names in `xentrs`; the classes are on the last axis. It needs the extra ``jax``, and computes on
the CPU.
"""

from .._extras import need

need("xentrs.jax", "jax")

from .losses import sigmoid_cross_entropy, sigmoid_focal_loss, softmax_cross_entropy, softmax_focal_loss  # noqa: E402

__all__ = ["sigmoid_cross_entropy", "sigmoid_focal_loss", "softmax_cross_entropy", "softmax_focal_loss"]
