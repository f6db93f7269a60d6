"""From a loss to the function that gives its gradient too."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

__all__ = ["value_and_grad"]


def value_and_grad(loss: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function that computes a loss together with its gradient.

    ``value_and_grad(softmax_cross_entropy)`` is `softmax_cross_entropy_with_grad`, and so on for every function ``f``
    of xentrs that has an ``f_with_grad``. It takes the same arguments, and ``out``.

    Parameters
    ----------
    loss : callable
        A loss of xentrs: the function itself.

    Returns
    -------
    callable
        Its twin, which returns a named tuple of the loss and its gradient.

    Raises
    ------
    TypeError
        If `loss` is no such function; the message names those that are.

    Notes
    -----
    Nothing is differentiated here. A function of one's own, made of these losses, needs a gradient of one's own.

    Examples
    --------
    >>> import xentrs as xe
    >>> xe.value_and_grad(xe.sigmoid_cross_entropy) is xe.sigmoid_cross_entropy_with_grad
    True
    """
    name = getattr(loss, "__name__", None)
    # A class or a partial may have the name and module of a loss; the loss itself is found under that name.
    home = sys.modules.get(getattr(loss, "__module__", None) or "")
    if isinstance(name, str) and _is_ours(home) and getattr(home, name, None) is loss:
        twin: Callable[..., Any] | None = getattr(home, f"{name}_with_grad", None)
        if twin is not None:
            return twin
    known = {
        name.removesuffix("_with_grad")
        for module in list(sys.modules.values())
        if _is_ours(module)
        for name in getattr(module, "__all__", ())
        if name.endswith("_with_grad")
    }
    raise TypeError(f"loss must be one of {', '.join(sorted(known))}, got {loss!r}")


def _is_ours(module: object) -> bool:
    """Whether a module is part of xentrs."""
    return getattr(module, "__name__", "").split(".")[0] == __name__.split(".")[0]
