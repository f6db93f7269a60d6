"""What a newcomer sees first: help, completion and the command line."""

import ast
import inspect
import os
import pydoc
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import xentrs as xe

PYTHON = [sys.executable, "-W", "error"]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*PYTHON, *arguments], capture_output=True, text=True, timeout=300)


def public_functions() -> dict[str, Callable[..., Any]]:
    functions = {f"xe.{name}": getattr(xe, name) for name in xe.__all__ if inspect.isfunction(getattr(xe, name))}
    for module in (xe.attacks, xe.metrics, xe.nn, xe.optim, xe.stats):
        for name in module.__all__:
            item = getattr(module, name)
            members = {name: item} if inspect.isfunction(item) else dict(inspect.getmembers(item, inspect.isfunction))
            functions |= {f"{module.__name__}.{name}.{member}": function for member, function in members.items()}
    return functions


FUNCTIONS = public_functions()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_help_shows_a_signature_that_one_can_read(name: str) -> None:
    function = FUNCTIONS[name]
    text = pydoc.plain(pydoc.render_doc(function))
    shown = text.split("\n")[2]
    assert f"{function.__name__}(" in shown
    assert len(shown) <= 400
    assert "Union[" not in shown and "typing." not in shown


CLASSES = {
    f"{module.__name__}.{name}": getattr(module, name)
    for module in (xe, xe.attacks, xe.metrics, xe.models, xe.nn, xe.optim, xe.stats)
    for name in module.__all__
    if inspect.isclass(getattr(module, name))
}


@pytest.mark.parametrize("name", CLASSES)
def test_help_shows_classes_that_one_can_read(name: str) -> None:
    """Their own signature and those of their methods, but for what scikit-learn makes."""
    shown = pydoc.plain(pydoc.render_doc(CLASSES[name])).split("\n")
    signatures = [line for line in shown if re.match(r" \|  \w+\(.*\)", line)]
    assert not inspect.signature(CLASSES[name]).parameters or signatures
    assert max(map(len, signatures), default=0) <= 400
    assert not [line for line in signatures if "typing." in line and not line.startswith(" |  set_")]


@pytest.mark.parametrize("estimator", [getattr(xe.models, name) for name in xe.models.__all__])
def test_a_signature_that_is_cut_still_has_every_parameter(estimator: Any) -> None:
    """Tools see them all, with their defaults: scikit-learn, completion, the documentation."""
    signature = inspect.signature(estimator)
    written = ast.parse(textwrap.dedent(inspect.getsource(estimator.__init__))).body[0]
    assert isinstance(written, ast.FunctionDef)
    arguments = [argument.arg for argument in [*written.args.args[1:], *written.args.kwonlyargs]]
    assert list(signature.parameters) == arguments
    assert {name: item.default for name, item in signature.parameters.items()} == estimator().get_params(deep=False)
    shown = str(signature)
    assert [name for name in arguments if f"{name}=" in shown] == arguments or ", ..., " in shown
    assert signature.parameters[arguments[0]].annotation is inspect.Parameter.empty


def test_options_have_a_name() -> None:
    """They are plain parameters inside, which neither a signature nor a call may show."""
    z, y = np.zeros((1, 2)), [0]
    shown = inspect.signature(xe.softmax_cross_entropy_with_grad).parameters
    kinds = {name: parameter.kind for name, parameter in shown.items()}
    assert [name for name, kind in kinds.items() if kind is inspect.Parameter.POSITIONAL_OR_KEYWORD] == [
        "logits",
        "target",
    ]
    assert set(kinds.values()) == {inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY}
    for call in (
        lambda: xe.softmax_cross_entropy(z, y, None),  # type: ignore[misc]
        lambda: xe.softmax_cross_entropy(z, y, _=None),  # type: ignore[call-arg]
        lambda: xe.sigmoid_cross_entropy_with_hess(z, z, 1.0),  # type: ignore[misc]
    ):
        with pytest.raises(TypeError, match="takes 2 positional arguments; options need a name"):
            call()
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'target'"):
        xe.softmax_cross_entropy(z)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="missing 1 required keyword-only argument: 'temperature'"):
        xe.info_nce(z, z)  # type: ignore[call-arg]
    assert xe.softmax_cross_entropy(target=y, logits=z) == pytest.approx(np.log(2))


def test_a_subclass_shows_its_own_signature() -> None:
    class Weak(xe.models.LogisticRegression):
        def __init__(self, C: float = 0.1) -> None:
            super().__init__(C=C)

    assert list(inspect.signature(Weak).parameters) == ["C"]
    assert Weak().get_params() == {"C": 0.1}


def test_what_must_be_given_is_a_word() -> None:
    shown = str(inspect.signature(xe.softmax_cross_entropy))
    assert shown.startswith("(logits: ArrayLike, target: Target, *, class_weight=None,")
    assert shown.endswith("reduction='mean') -> Loss")


def test_completion_shows_what_is_public() -> None:
    names = [name for name in dir(xe) if not name.startswith("__")]
    modules = "attacks boosting dask distributed jax metrics models nn optim stats torch"
    assert set(names) == {*xe.__all__, *modules.split()}
    assert "__version__" in dir(xe)


def test_modules_are_imported_when_they_are_asked_for() -> None:
    names = ["attacks", "metrics", "models", "nn", "optim", "stats"]
    program = f"""if True:
        import sys, xentrs
        print([name for name in {names} if f"xentrs.{{name}}" in sys.modules])
        print([getattr(xentrs, name).__name__ for name in {names}])
    """
    assert run("-c", program).stdout.splitlines() == ["[]", str([f"xentrs.{name}" for name in names])]


def test_a_name_that_is_not_there() -> None:
    with pytest.raises(AttributeError, match="module 'xentrs' has no attribute 'softmx'"):
        xe.softmx  # noqa: B018
    assert not hasattr(xe, "bench_mark")


def test_the_command_without_a_word_prints_its_help() -> None:
    done = run("-m", "xentrs")
    assert done.returncode == 0 and done.stderr == ""
    assert "bench" in done.stdout and "--version" in done.stdout
    assert done.stdout == run("-m", "xentrs", "--help").stdout


def test_the_command_tells_its_version() -> None:
    done = run("-m", "xentrs", "--version")
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, f"xentrs {xe.__version__}", "")


def test_a_word_that_is_no_command() -> None:
    done = run("-m", "xentrs", "bunch")
    assert done.returncode == 2 and "invalid choice: 'bunch'" in done.stderr


@pytest.mark.parametrize("arguments", [["--version"], ["bench", "--quick"]])
def test_a_closed_pipe_is_no_error(arguments: list[str]) -> None:
    """As with ``| head -0``: whoever reads is gone before the first line."""
    read, write = os.pipe()
    os.close(read)
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    command = [*PYTHON, "-m", "xentrs", *arguments]
    try:
        done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, timeout=300, env=buffered)
    finally:
        os.close(write)
    assert done.stderr == ""
    assert done.returncode == 141
