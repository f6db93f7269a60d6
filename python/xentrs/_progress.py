"""The progress bar: that of the terminal, or the notebook's."""

from __future__ import annotations

import sys
import warnings
from functools import cache
from typing import Any

__all__ = ["progress_bar"]


def progress_bar(*, total: int, desc: str, unit: str, verbose: bool | None, unit_scale: bool = False) -> Any:
    """Make a bar of tqdm that has yet to move; `verbose` may be None: on a terminal or in a notebook, after a second.

    A notebook is no terminal, so tqdm itself would show nothing there unless told to.
    """
    disable = None if verbose is None else not verbose
    if verbose is None and _in_notebook():
        disable = False
    delay = 0 if verbose else 1
    return _tqdm()(total=total, desc=desc, unit=unit, unit_scale=unit_scale, disable=disable, delay=delay)


@cache
def _tqdm() -> Any:
    """The bar of a notebook with ipywidgets, else one of characters; tqdm would warn if a notebook has none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from tqdm.auto import tqdm
    return tqdm


def _in_notebook() -> bool:
    """Whether a kernel of Jupyter runs this process."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return "IPKernelApp" in getattr(shell, "config", ())
