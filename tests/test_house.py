"""The house rules: imports point down, and no loss without its Case, its docs and its bench row.

The floors are listed once, here, from the top down. A file may import from its own floor and from those below it.
"""

import ast
import csv
import functools
import inspect
import itertools
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import teeth
import xentrs
import xentrs.attacks
import xentrs.boosting
import xentrs.distributed
import xentrs.metrics
import xentrs.models
import xentrs.nn
import xentrs.optim
import xentrs.stats
from docstrings import missing_in_docstring
from registry import CASES, CONTRASTIVES, GAUSSIANS, LINEARS, PROBABILITIES, QUANTITIES, TEACHERS, TOKENS
from xentrs._calls import calls

ROOT = Path(__file__).parents[1]
SRC = ROOT / "src"
PACKAGE = ROOT / "python" / "xentrs"

RUST_FLOORS = """
    python
    api
    parallel
    lookout
    sleeper
    scope
    linear
    losses
    distributions
    rows
    tile
    sparse
    storage
    half
    math
    view
    simd
    scratch
    memory
    exact
    error
""".split()

PYTHON_FLOORS = """
    __main__
    __init__
    bench
    dask
    distributed
    jax
    torch
    models
    metrics
    boosting
    attacks
    optim
    nn
    evaluation
    stats
    regularizers
    distributions
    losses
    parallel
    _threadpoolctl
    _core
    _calls
    _mending
    _arrays
    _blas
    _numbers
    _seeds
    _progress
    _files
    _extras
    _lazy
""".split()

RUST_FILES = [path.relative_to(SRC).as_posix() for path in sorted(SRC.rglob("*.rs"))]
PYTHON_FILES = [path.relative_to(PACKAGE).as_posix() for path in sorted(PACKAGE.rglob("*.py"))]

# A loss is what has a gradient twin; the functions underneath are public but no losses.
LOSSES = [name for name in xentrs.losses.__all__ if f"{name}_with_grad" in xentrs.losses.__all__]


# The same of distributions along an axis: their functions stand in a file of their name, and have an entry in the
# registry. Those of Gaussians are closed forms, and have a file and tests of their own.
OF_DISTRIBUTIONS = [
    name
    for name in xentrs.distributions.__all__
    if f"{name}_with_grad" in xentrs.distributions.__all__ and name not in xentrs.distributions.gaussian.__all__
]

# What joins rows, or tells more than one thing of each.
OF_MANY_ROWS = [name for name in xentrs.regularizers.__all__ if not name.endswith("_with_grad")] + ["softmax_stats"]


def floor_of(file: str) -> str:
    """Name of the file or folder of the first level that `file` belongs to."""
    return Path(file).parts[0].removesuffix(".rs").removesuffix(".py")


def assert_points_down(floors: list[str], file: str, imported: set[str]) -> None:
    here = floor_of(file)
    assert here in floors, f"{file} is on no floor: give {here} its place in test_house.py and in CONTRIBUTING.md's map"
    upwards = [floor for floor in imported if floors.index(floor) < floors.index(here)]
    assert not upwards, f"{file} must not import from the floors above it, got {upwards}"


# ---------------------------------------------------------------------------------------------------------------- Rust

RUST_NOISE = re.compile(
    r"""  //[^\n]*                              # a comment
        | /\*.*?\*/
        | b?r(?P<hashes>\#*)".*?"(?P=hashes)    # a raw string
        | b?"(?:\\.|[^"\\])*"                   # a string
        | b?'(?:\\[^']+|[^'\\])'                # a character, not a lifetime
    """,
    re.VERBOSE | re.DOTALL,
)


@functools.cache
def rust_code(file: str) -> str:
    """The code of a Rust file, without its comments and strings."""
    return RUST_NOISE.sub(" ", (SRC / file).read_text(encoding="utf-8"))


def rust_imports(code: str) -> set[str]:
    """The names that `code` takes from the first level of the crate, after ``crate::`` or ``super::``."""
    code = re.sub(r"\bsuper\s*::\s*(?=super\b)", "", code)
    nested = re.compile(r"\b(?!crate\b|super\b)(\w+)\s*::\s*\{[^{}]*\}")
    while nested.search(code):
        code = nested.sub(r"\1", code)
    found = set()
    for path in (r"\bcrate\s*::\s*", r"\bsuper\s*::\s*"):
        names = re.findall(rf"{path}(\w+)", code)
        for group in re.findall(rf"{path}\{{([^{{}}]*)\}}", code):
            names += re.findall(r"(?:^|,)\s*(\w+)", group)
        # What stands after `super` is of the first level only when it is a floor.
        found.update(name for name in names if "crate" in path or name in RUST_FLOORS)
    return found


@pytest.mark.parametrize(
    ("code", "imports"),
    [
        ("use crate::rows; crate::view::Rows::new()", {"rows", "view"}),
        ("use crate::{error::Error, simd::{Lanes, math::{api}}, Loss as L};", {"error", "simd", "Loss"}),
        ("use super::*; use super::super::math; use super::{Lanes, rows}; pub(crate) fn api() {}", {"math", "rows"}),
    ],
)
def test_rust_imports(code: str, imports: set[str]) -> None:
    assert rust_imports(code) == imports


@pytest.mark.parametrize("file", [file for file in RUST_FILES if file != "lib.rs"])
def test_rust_imports_point_down(file: str) -> None:
    imported = rust_imports(rust_code(file)) - {floor_of(file)}
    index = imported - set(RUST_FLOORS)
    assert not index or floor_of(file) == "python", f"{file} takes {index} from lib.rs: name the floor they come from"
    assert_points_down(RUST_FLOORS, file, imported & set(RUST_FLOORS))


@pytest.mark.parametrize(
    ("pattern", "home"),
    [
        (r"\b(pyo3|numpy)\b", r"python/|lib\.rs"),
        (r"\b(bytemuck|try_reserve)\b", r"memory\.rs|scratch\.rs"),
        (r"\b(core|std)::arch\b", r"simd/"),
        (r"\bunsafe\b", r"simd/|python/|scope\.rs|linear/gemm\.rs"),
        (r"\b(gemm_\w+|dyn_stack)\b", r"linear/gemm\.rs"),
    ],
)
def test_each_thing_has_one_home(pattern: str, home: str) -> None:
    strangers = [file for file in RUST_FILES if re.search(pattern, rust_code(file)) and not re.match(home, file)]
    assert not strangers, f"{pattern} belongs to {home} alone, got {strangers}"


def test_every_function_that_the_core_asks_of_arrays_exists() -> None:
    declared = re.findall(r'^    \w+ = "(\w+)",$', (SRC / "python" / "via_numpy.rs").read_text(encoding="utf-8"), re.M)
    defined = {node.name for node in python_tree("_arrays.py").body if isinstance(node, ast.FunctionDef)}
    assert declared, "src/python/via_numpy.rs lists no function"
    assert set(declared) <= defined, f"_arrays.py lacks {set(declared) - defined}"


def test_what_make_teeth_breaks_stands_in_the_sources() -> None:
    breakages = teeth.listed()
    assert len(breakages) >= 20
    assert not teeth.stale_among(breakages)


def test_the_version_is_that_of_the_manifest() -> None:
    manifest = tomllib.loads((ROOT / "Cargo.toml").read_text(encoding="utf-8"))
    version = manifest["package"]["version"]
    assert xentrs.__version__ == version, "the core that is there was built of another version"
    for file, pattern in {
        "CITATION.cff": r"^version: (\S+)$",
        "packaging/conda/recipe.yaml": r'^  version: "(.+)"$',
    }.items():
        found = re.findall(pattern, (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE)
        assert found == [version], f"{file} must name version {version}, got {found}"


def test_the_map_of_the_house_holds_no_code() -> None:
    items = re.findall(r"\b(?:fn|struct|enum|trait|impl|static|const)\b[^;{]*", rust_code("lib.rs"))
    assert not items, f"src/lib.rs must hold modules and re-exports only, got {items}"


def test_every_loss_is_a_file_of_its_name() -> None:
    """A perplexity is an entropy, tokens behind a layer are tokens: both have no kernel of their own."""
    missing = [
        name
        for name in {*LOSSES, *OF_DISTRIBUTIONS} - {"perplexity", "linear_token_logprobs"}
        if not any(Path(file).stem == name for file in RUST_FILES)
    ]
    assert not missing, f"each loss has its formula and its kernel in a file of its name, missing {missing}"


# -------------------------------------------------------------------------------------------------------------- Python


@functools.cache
def python_tree(file: str) -> ast.Module:
    return ast.parse((PACKAGE / file).read_text(encoding="utf-8"), file)


def python_imports(tree: ast.Module, package: str) -> Iterator[str]:
    """Absolute names of the modules that `tree`, part of `package`, imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            for name in node.names:  # `from xentrs import losses` imports the module, `from xentrs import f` the index
                is_floor = module == "xentrs" and name.name in PYTHON_FLOORS
                yield f"xentrs.{name.name}" if is_floor else module


def imported_floors(file: str) -> set[str]:
    package = ".".join(["xentrs", *Path(file).parts[:-1]])
    names = [name.split(".") for name in python_imports(python_tree(file), package)]
    return {(name + ["__init__"])[1] for name in names if name[0] == "xentrs"} - {floor_of(file)}


@pytest.mark.parametrize("file", PYTHON_FILES)
def test_python_imports_point_down(file: str) -> None:
    imported = imported_floors(file)
    assert imported <= set(PYTHON_FLOORS), f"{file} imports {imported - set(PYTHON_FLOORS)}, which are on no floor"
    assert_points_down(PYTHON_FLOORS, file, imported)


def test_only_one_file_makes_arrays_of_what_users_pass() -> None:
    makers = {"asarray", "asanyarray", "ascontiguousarray", "asfortranarray"}
    strangers = [
        f"{file}:{node.lineno}"
        for file in PYTHON_FILES
        if file != "_arrays.py"
        for node in ast.walk(python_tree(file))
        if isinstance(node, ast.Attribute) and node.attr in makers and ast.unparse(node.value) in {"np", "numpy"}
    ]
    assert not strangers, f"np.asarray and its kin belong to _arrays.py alone, got {strangers}"


def test_the_index_is_nothing_but_an_index() -> None:
    kinds = (ast.Import, ast.ImportFrom, ast.Assign, ast.Expr)
    body = python_tree("__init__.py").body
    body += [inner for node in body if ast.unparse(node).startswith("if TYPE_CHECKING:") for inner in node.body]
    code = [ast.unparse(node) for node in body if not isinstance(node, (*kinds, ast.If))]
    assert not code, f"__init__.py must hold imports and names only, got {code}"


def test_import_needs_numpy_alone() -> None:
    extras = {"catboost", "lightgbm", "matplotlib", "scipy", "sklearn", "tqdm", "xgboost"}
    program = f"import sys, xentrs; print(sorted({extras!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# --------------------------------------------------------------------------------------------------------------- tests

TESTS = ROOT / "tests"


def modules_of(test: Path) -> set[str]:
    """The modules that a file of tests imports."""
    return set(python_imports(ast.parse(test.read_text(encoding="utf-8")), ""))


@pytest.mark.parametrize("test", sorted(TESTS.glob("test_*.py")), ids=lambda path: path.stem)
def test_what_an_oracle_judges_stands_with_the_kernels(test: Path) -> None:
    """A value that is right under one instruction set may be wrong under another."""
    judges = modules_of(test) & {"oracles", "distribution_oracles"}
    assert not judges, f"{test.name} holds results against {judges}: it belongs to tests/kernels"


@pytest.mark.parametrize("test", sorted((TESTS / "kernels").glob("*.py")), ids=lambda path: path.stem)
def test_the_kernels_are_tested_without_what_stands_above_them(test: Path) -> None:
    above = {"xentrs.attacks", "xentrs.bench", "xentrs.models", "xentrs.nn", "xentrs.stats", "sklearn"}
    strangers = {module for module in modules_of(test) for name in above if f"{module}.".startswith(f"{name}.")}
    assert not strangers, f"{test.name} imports {strangers}: it need not run under every instruction set"


# ------------------------------------------------------------------------------------------- what every function needs

EVERYTHING = [
    f"{module.__name__}.{name}"
    for module in (
        xentrs,
        xentrs.attacks,
        xentrs.boosting,
        xentrs.distributed,
        xentrs.metrics,
        xentrs.models,
        xentrs.nn,
        xentrs.optim,
        xentrs.stats,
    )
    for name in module.__all__
]


def public_names(file: str) -> list[str]:
    """The ``__all__`` of a module whose packages need not be there."""
    tree = ast.parse((PACKAGE / file).read_text(encoding="utf-8"))
    (names,) = (
        node.value for node in tree.body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    )
    found: list[str] = ast.literal_eval(names)
    return found


# What their own tests hold to the rest, where PyTorch, JAX and Dask are installed.
OF_BRIDGES = [
    *(f"xentrs.dask.{name}" for name in public_names("dask/__init__.py")),
    *(f"xentrs.jax.{name}" for name in public_names("jax/__init__.py")),
    *(f"xentrs.torch.{name}" for name in public_names("torch/__init__.py") if name != "functional"),
    "xentrs.torch.functional.linear_cross_entropy",
]


def signature(function: Callable[..., Any]) -> list[str]:
    return list(inspect.signature(function).parameters)


@pytest.mark.parametrize("name", [name for name in dir(xentrs._core) if not name.startswith("_")])
def test_every_compiled_function_is_public(name: str) -> None:
    homes = (xentrs, xentrs.optim.SGD)
    assert any(callable(getattr(home, name, None)) for home in homes), f"xentrs._core.{name} is reached by nothing"


def test_the_body_of_a_loss_takes_arguments_by_name() -> None:
    def swapped(target: Any, scores: Any, *, reduction: str = "sum", sample_weight: Any = None) -> Any: ...

    body = calls(xentrs._core.hinge_loss, squared=True)(swapped)
    assert body([1, 0], [0.5, 0.5]) == xentrs.hinge_loss([0.5, 0.5], [1, 0], squared=True, reduction="sum")
    assert signature(body) == signature(swapped)
    assert (
        str(inspect.signature(body))
        == "(target: typing.Any, scores: typing.Any, *, reduction='sum', sample_weight=None) -> typing.Any"
    )
    for constants, difference in [({}, "squared"), ({"squared": True, "eps": 0.0}, "eps")]:
        with pytest.raises(TypeError, match=f"swapped and .* differ in {difference}$"):
            calls(xentrs._core.hinge_loss, **constants)(swapped)


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_has_a_case(name: str) -> None:
    lists = [CASES, PROBABILITIES, GAUSSIANS, LINEARS, TOKENS, TEACHERS, CONTRASTIVES]
    cases = {case.name for case in itertools.chain(*lists)}
    assert name in cases, f"{name} has no Case in tests/registry.py, so nothing tests it"


@pytest.mark.parametrize("name", OF_DISTRIBUTIONS)
def test_every_function_of_distributions_has_an_entry(name: str) -> None:
    assert name in {quantity.name for quantity in QUANTITIES}, f"{name} is not in tests/registry.py: nothing tests it"


@pytest.mark.parametrize("name", LOSSES + OF_DISTRIBUTIONS + OF_MANY_ROWS)
def test_every_loss_has_a_bench_row(name: str) -> None:
    # The products of linear_cross_entropy with the rows of token_logprobs; a target that no other row has.
    if name in {"linear_token_logprobs", "topk_kl_divergence"}:
        return
    with open(ROOT / "benches" / "table.csv", newline="", encoding="utf-8") as table:
        rows = {row["loss"] for row in csv.DictReader(table)}
    assert name in rows, f"{name} has no row in benches/table.csv"


@pytest.mark.parametrize("name", LOSSES + OF_DISTRIBUTIONS)
def test_every_loss_is_in_the_readme(name: str) -> None:
    assert f"`{name}`" in (ROOT / "README.md").read_text(encoding="utf-8"), f"{name} is not in the README's table"


@pytest.mark.parametrize("name", LOSSES)
def test_the_gradient_twin_takes_the_same_options(name: str) -> None:
    loss, twin = signature(getattr(xentrs, name)), signature(getattr(xentrs, f"{name}_with_grad"))
    # Where there are several gradients, `wrt` chooses; upstream gradients concern the gradient alone, and of two values
    # each has its own.
    upstream = {"grad_logprob", "grad_entropy"} if name.endswith("token_logprobs") else {"grad_output"}
    assert upstream <= set(twin)
    assert [option for option in twin if option not in {"wrt"} | upstream] == [*loss, "out"]


@pytest.mark.parametrize("name", [name for name in LOSSES if hasattr(xentrs, f"{name}_with_hess")])
def test_the_hessian_has_a_case_and_takes_the_same_options(name: str) -> None:
    # Through the first two no second derivative is taken, and there is no chain rule of diagonals.
    bent = {"softcap", "z_loss", "grad_output"}
    options = [option for option in signature(getattr(xentrs, f"{name}_with_grad")) if option not in bent]
    own = ["hess_out", "hess_scale", "hess_floor", "curvature"]
    assert signature(getattr(xentrs, f"{name}_with_hess")) == [*options, *own]
    (case,) = (case for case in CASES if case.name == name)
    assert case.loss_with_hess is not None, f"{name}_with_hess is not in the Case of {name}, so nothing tests it"


@pytest.mark.parametrize("name", OF_DISTRIBUTIONS)
def test_the_gradient_twin_of_distributions_takes_the_same_options(name: str) -> None:
    assert [*signature(getattr(xentrs, name)), "grad_output"] == signature(getattr(xentrs, f"{name}_with_grad"))


@pytest.mark.parametrize("name", EVERYTHING + OF_BRIDGES)
def test_every_public_name_is_in_the_docs(name: str) -> None:
    reference = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    assert f"\n   {name}\n" in reference, f"{name} is not in the tables of docs/reference.md"


@pytest.mark.parametrize(
    "name",
    [
        name
        for name in EVERYTHING
        if not name.endswith(("Grad", "Grads", "GradHess", "Result", ".build_info"))
        and name.split(".")[-1] not in {"ClassFigures", "ReliabilityBins", "SoftmaxStats", "TokenLogprobs"}
    ],
)
def test_every_docstring_is_complete(name: str) -> None:
    assert missing_in_docstring(name) == []
