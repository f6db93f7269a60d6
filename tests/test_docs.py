"""Every example in a docstring of the package runs and prints what it says."""

import doctest
import importlib
import pkgutil

import pytest

import xentrs

MODULES = ["xentrs"] + [
    module.name for module in pkgutil.walk_packages(xentrs.__path__, "xentrs.") if module.name != "xentrs._core"
]

BRIDGES = ("xentrs.boosting", "xentrs.dask", "xentrs.jax", "xentrs.torch")
"""Modules for other packages, which need not be there."""


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module(name: str) -> None:
    try:
        module = importlib.import_module(name)
    except ImportError as missing:
        if not name.startswith(BRIDGES):
            raise
        pytest.skip(str(missing))
    result = doctest.testmod(module)
    assert result.failed == 0
