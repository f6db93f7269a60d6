"""Modules that are imported when they are first asked for."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from types import ModuleType

__all__ = ["lazily"]


def lazily(package: str, modules: Sequence[str]) -> tuple[Callable[[str], ModuleType], Callable[[], list[str]]]:
    """Make ``__getattr__`` and ``__dir__`` of a package that has these modules.

    Of what the package holds, its ``__all__``, its modules and names of Python's are shown, and none of its workings.
    """

    def get(name: str) -> ModuleType:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return import_module(f"{package}.{name}")

    def names() -> list[str]:
        module = sys.modules[package]
        return sorted({*module.__all__, *modules, *(name for name in vars(module) if name.startswith("__"))})

    return get, names
