"""The packages that extras install: what is missing, or too old, is named with what to write."""

from __future__ import annotations

import re
from importlib import import_module
from typing import NamedTuple

__all__ = ["EXTRAS", "Extra", "need", "version_of"]


class Extra(NamedTuple):
    """A package that parts of xentrs need."""

    package: str
    least: str
    """The least version."""
    extra: str
    """The extra that installs it."""


EXTRAS = {
    "catboost": Extra("catboost", "1.2", "catboost"),  # whole blocks of samples at a time
    "dask": Extra("dask[array]", "2025.1", "dask"),
    "h5py": Extra("h5py", "3.11", "evaluate"),
    "jax": Extra("jax", "0.5", "jax"),
    "lightgbm": Extra("lightgbm", "4.0", "lightgbm"),  # scores of several classes in two dimensions
    "matplotlib": Extra("matplotlib", "3.8", "plot"),
    "ml_dtypes": Extra("ml_dtypes", "0.4", "torch"),
    "pyarrow": Extra("pyarrow", "17.0", "evaluate"),
    "scipy": Extra("scipy", "1.13", "models"),
    "sklearn": Extra("scikit-learn", "1.6", "models"),
    "torch": Extra("torch", "2.6", "torch"),  # the oldest that is tested; ``torch.library.register_vmap`` came with 2.5
    "tqdm": Extra("tqdm", "4.66", "models"),
    "xgboost": Extra("xgboost", "3.1", "xgboost"),  # a start for each class
    "zarr": Extra("zarr", "3.0", "evaluate"),  # the third version of the format
}
"""By the name of the module that is imported: what `pyproject.toml` says."""


def need(user: str, *modules: str, extra: str | None = None) -> None:
    """Import what `user` needs, and refuse a package that is missing, or too old.

    `extra` is another one than the table's that installs it.
    What a package says that is there and cannot be imported is left as it is.
    """
    for name in modules:
        package, least, of_table = EXTRAS[name]
        wanted = f"{user} needs {package} {least} or newer"
        try:
            module = import_module(name)
        except ModuleNotFoundError as fault:
            if fault.name != name:
                raise
            words = f"{wanted}, which is not installed: pip install 'xentrs[{extra or of_table}]'"
            raise ImportError(words, name=name) from None
        version = version_of(name)
        if version and version < _numbers(least):
            words = f"{wanted}, got {module.__version__}: pip install --upgrade 'xentrs[{extra or of_table}]'"
            raise ImportError(words, name=name)


def version_of(name: str) -> tuple[int, ...]:
    """Give the first two numbers of a module's version, or none where it says none."""
    return _numbers(str(getattr(import_module(name), "__version__", "")))


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:2])
