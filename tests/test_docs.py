"""Every example in a docstring of the package runs and prints what it says."""

import doctest
import importlib
import pkgutil
import subprocess
import sys

import pytest

import xentrs

MODULES = ["xentrs"] + [
    module.name for module in pkgutil.walk_packages(xentrs.__path__, "xentrs.") if module.name != "xentrs._core"
]

BRIDGES = ["xentrs.boosting", "xentrs.jax", "xentrs.torch"]
"""Modules for other packages, which need not be there. Their threads do not suit tests that fork: they run apart."""

APART = """
import doctest, importlib, sys
try:
    module = importlib.import_module(sys.argv[1])
except ImportError as missing:
    sys.exit(f"missing: {missing}")
sys.exit(doctest.testmod(module).failed)
"""


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module(name: str) -> None:
    if name.startswith(tuple(BRIDGES)):
        done = subprocess.run([sys.executable, "-c", APART, name], capture_output=True, text=True)
        if done.stderr.startswith("missing: "):
            pytest.skip(done.stderr)
        assert done.returncode == 0, done.stdout + done.stderr
        return
    module = importlib.import_module(name)
    result = doctest.testmod(module)
    assert result.failed == 0
