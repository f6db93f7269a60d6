"""What a package needs that is missing, or too old, is said with the least version, and with what to write."""

import importlib
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest

from xentrs._extras import EXTRAS, need

WITH = """
import sys, types
sys.modules[{name!r}] = {module}
import xentrs
print("xentrs is there")
import {user}
"""
OLD = "types.SimpleNamespace(__version__='0.4.38+cpu')"

every_part = pytest.mark.parametrize(
    ("user", "name"),
    [
        ("xentrs.dask", "dask"),
        ("xentrs.jax", "jax"),
        ("xentrs.metrics", "sklearn"),
        ("xentrs.models", "scipy"),
        ("xentrs.models", "sklearn"),
        ("xentrs.models", "tqdm"),
        ("xentrs.stats", "scipy"),
        ("xentrs.torch", "torch"),
    ],
)


def last_words(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout.strip() == "xentrs is there"
    assert "During handling" not in done.stderr
    return done.stderr.strip().splitlines()[-1]


@every_part
def test_a_part_whose_package_is_missing(user: str, name: str) -> None:
    package, least, extra = EXTRAS[name]
    assert last_words(WITH.format(name=name, module=None, user=user)) == (
        f"ImportError: {user} needs {package} {least} or newer, which is not installed: pip install 'xentrs[{extra}]'"
    )


@every_part
def test_a_part_whose_package_is_old(user: str, name: str) -> None:
    package, least, extra = EXTRAS[name]
    assert last_words(WITH.format(name=name, module=OLD, user=user)) == (
        f"ImportError: {user} needs {package} {least} or newer, got 0.4.38+cpu: pip install --upgrade 'xentrs[{extra}]'"
    )


@pytest.mark.parametrize("name", EXTRAS)
def test_every_package(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    package, least, extra = EXTRAS[name]
    named = re.escape(package)
    monkeypatch.setitem(sys.modules, name, None)
    missing = rf"^a call needs {named} {least} or newer, which is not installed: pip install 'xentrs\[{extra}\]'$"
    with pytest.raises(ImportError, match=missing) as fault:
        need("a call", name)
    assert fault.value.name == name
    major, minor = map(int, least.split("."))
    # The least is new enough in every way to write it, as is what says nothing; a number is compared as a number.
    for version in (
        least,
        f"{least}.1+cpu",
        f"{least}rc1",
        f"{major}.{minor + 10}",
        f"{major + 10}.0",
        "unknown",
        None,
    ):
        monkeypatch.setitem(sys.modules, name, SimpleNamespace(__version__=version))
        need("a call", name)
    old = f"{major}.{minor - 1}.9" if minor else f"{major - 1}.99"
    monkeypatch.setitem(sys.modules, name, SimpleNamespace(__version__=old))
    with pytest.raises(ImportError, match=rf"{named} {least} or newer, got {old}: pip install --upgrade 'xentrs\["):
        need("a call", name)


def test_what_a_package_says_itself_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is installed is not called missing because it lacks another."""
    (tmp_path / "catboost.py").write_text("import no_such_package", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "catboost", raising=False)
    importlib.invalidate_caches()
    with pytest.raises(ModuleNotFoundError, match="no_such_package"):
        need("a call", "catboost")


def test_the_extras_install_what_is_needed() -> None:
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for package, least, extra in EXTRAS.values():
        assert f"{package}>={least}" in project["optional-dependencies"][extra]
