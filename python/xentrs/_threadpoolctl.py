"""What threadpoolctl needs in order to see the threads of xentrs and to limit them, as it does those of a BLAS.

It finds libraries among the files that a process has loaded, and asks of each name who knows it. So it is told about
xentrs' core once, when both are imported, whichever comes first. It is never imported for that: not everyone who has
it wants to wait for it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextvars import Context
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

from . import _core
from ._numbers import positive_integer

__all__ = ["introduce"]

NAME = "threadpoolctl"


def introduce() -> None:
    """Register xentrs with threadpoolctl: now if that is imported, else when it will be."""
    if NAME in sys.modules:
        _register(sys.modules[NAME])
    else:
        sys.meta_path.insert(0, _Waiting())


class _Waiting:
    """Stands before the finders of modules until threadpoolctl is imported, and registers xentrs with it then."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != NAME:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is None or spec.loader is None:
            return None  # it is not installed, or comes from a finder of its own
        execute = spec.loader.exec_module

        def execute_and_register(module: ModuleType) -> None:
            execute(module)
            if self in sys.meta_path:
                sys.meta_path.remove(self)
            _register(module)

        spec.loader.exec_module = execute_and_register  # type: ignore[method-assign]
        return spec


def _register(threadpoolctl: Any) -> None:
    """Tell threadpoolctl about the core, if it is new enough to be told (3.2), and no stand-in."""
    if hasattr(threadpoolctl, "register") and hasattr(threadpoolctl, "LibController"):
        threadpoolctl.register(_controller(threadpoolctl.LibController))


def _controller(base: Any) -> Any:
    class XentrsController(base):  # type: ignore[misc]
        """The threads of xentrs: the number is that of the context, as with ``xentrs.threads``."""

        user_api = internal_api = "xentrs"
        filename_prefixes = ("_core.",)
        check_symbols = ("PyInit__core",)

        def get_version(self) -> str | None:
            """Tell the version; of a core of another package nothing, and it is passed over for want of the symbol.

            threadpoolctl before 3.5 lists it all the same. What it sets there is set twice.
            """
            if not os.path.samefile(self.filepath, _core.__file__):
                self.dynlib = None
                return None
            return _core.build_info()["version"]

        def get_num_threads(self) -> int:
            return _core.get_num_threads()

        def set_num_threads(self, num_threads: int) -> None:
            """Limit the calls of this context, or let them have the number of the process again, if that is meant."""
            n = min(positive_integer("limits of xentrs", num_threads), _core._most_threads)
            _core._threads.set(0 if n == Context().run(_core.get_num_threads) else n)

    return XentrsController
