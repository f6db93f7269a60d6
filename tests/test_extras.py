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

PARTS = [
    ("xentrs.dask", "dask"),
    ("xentrs.jax", "jax"),
    ("xentrs.metrics", "sklearn"),
    ("xentrs.models", "scipy"),
    ("xentrs.models", "sklearn"),
    ("xentrs.models", "tqdm"),
    ("xentrs.stats", "scipy"),
    ("xentrs.torch", "torch"),
]

WITHOUT = """if True:
    import importlib, sys, types
    parts = {parts}
    sys.modules |= dict.fromkeys(name for _, name in parts)
    import xentrs
    of_xentrs = set(sys.modules)
    for user, name in parts:
        sys.modules |= {{other: types.SimpleNamespace() for _, other in parts}} | {{name: {module}}}
        try:
            importlib.import_module(user)
        except ImportError as fault:
            print(fault, fault.__suppress_context__ or fault.__context__ is None)
        for other in set(sys.modules) - of_xentrs:
            del sys.modules[other]
"""
OLD = "types.SimpleNamespace(__version__='0.4.38+cpu')"


@pytest.mark.parametrize("module", [None, OLD], ids=["missing", "old"])
def test_a_part_whose_package_is_missing_or_old(module: str | None) -> None:
    """What is said, without the error of the import before it; xentrs itself needs none of them."""
    program = WITHOUT.format(parts=PARTS, module=module)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said = iter(done.stdout.splitlines())
    for user, name in PARTS:
        package, least, extra = EXTRAS[name]
        what = (
            f"which is not installed: pip install 'xentrs[{extra}]'"
            if module is None
            else f"got 0.4.38+cpu: pip install --upgrade 'xentrs[{extra}]'"
        )
        assert next(said) == f"{user} needs {package} {least} or newer, {what} True"
    assert not list(said)


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
