"""A bridge whose package is missing, or too old, says which extra to install."""

import subprocess
import sys

import pytest

MISSING = "import sys; sys.modules['{0}'] = None; import xentrs.{0}"
OLD = """
import sys, types
package = types.ModuleType("jax")
package.__version__, package.__version_info__ = "0.4.38", (0, 4, 38)
sys.modules |= {"jax": package, "jax.numpy": package}
import xentrs.jax
"""


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (MISSING.format("jax"), "xentrs.jax needs JAX, which is not installed: pip install 'xentrs[jax]'"),
        (OLD, "xentrs.jax needs JAX 0.5 or newer, got 0.4.38: pip install --upgrade 'xentrs[jax]'"),
    ],
)
def test_what_to_install(program: str, message: str) -> None:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1] == f"ImportError: {message}"
    assert "NameError" not in done.stderr
