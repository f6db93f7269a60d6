"""Every example runs, passes its own checks and draws a picture; all keep to the rules of CONTRIBUTING.md."""

import ast
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import pytest

from processes import LIMIT

EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("*.py"))

# Runs a script as `python script.py folder` does, then asks whether its pictures are there.
PROGRAM = """
import runpy, sys
import matplotlib.pyplot as plt
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
assert plt.get_fignums(), "the example has drawn nothing"
"""

ENVIRONMENT = {
    "MPLBACKEND": "Agg",
    "OPENBLAS_NUM_THREADS": "1",  # the matrices are small, and on a busy machine its threads wait for one another
    "PYTHONWARNINGS": "error,ignore:FigureCanvasAgg is",
}

# What a script prints that ends at once, since a package is missing that it needs, or whose data it reads.
LEFT_OUT = re.compile(
    r"^left out: \w+ (?:needs|reads data of) the package (\S+): pip install 'xentrs\[examples\]'$", re.MULTILINE
)

every_example = pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)


def run(example, folder):
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, example, folder / "new" / "folder"],
        cwd=folder,
        env=os.environ | ENVIRONMENT,
        capture_output=True,
        encoding="utf-8",
        timeout=2 * LIMIT,
    )


@pytest.fixture(scope="module")
def runs(request, tmp_path_factory):
    """The examples that are asked for, as many at once as there are processors."""
    asked_for = [item for item in request.session.items if item.name.startswith("test_example[")]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        examples = [item.callspec.params["example"] for item in asked_for]
        yield {example: pool.submit(run, example, tmp_path_factory.mktemp(example.stem)) for example in examples}


LONG = {
    "adversarial_digits",
    "gan_compositions",
    "hairpin_classifier",
    "masked_residues",
    "repertoires",
    "rotation_pretext",
}
"""Those that take more than six seconds. `make docs` runs them too."""


@pytest.mark.timeout(4 * LIMIT)  # others run before it
@pytest.mark.parametrize(
    "example",
    [pytest.param(path, marks=[pytest.mark.thorough] if path.stem in LONG else [], id=path.stem) for path in EXAMPLES],
)
def test_example(example, runs):
    done = runs[example].result()
    assert done.returncode == 0, done.stdout + done.stderr
    if left_out := LEFT_OUT.search(done.stdout):
        assert find_spec(left_out[1].replace("-", "_")) is None, f"{left_out[1]} is there: {done.stdout}"
        pytest.skip(f"{left_out[1]} is not installed: pip install 'xentrs[examples]'")
    pictures = [Path(name) for name in re.findall(r"^picture: (.+)$", done.stdout, re.MULTILINE)]
    assert all(picture.read_bytes().startswith(b"\x89PNG") for picture in pictures)


@every_example
def test_an_example_is_a_page(example):
    """It opens with a title and a question, and ends with the cell of its checks."""
    lines = example.read_text(encoding="utf-8").splitlines()
    title, rule, _, *words = ast.get_docstring(ast.parse("\n".join(lines))).splitlines()
    cells = "\n".join(lines).split("\n# %%\n")
    assert len(lines) <= 150, f"an example is a page or two, got {len(lines)} lines"
    assert set(rule) == {"="} and len(rule) == len(title)
    assert "?" in " ".join(words).split("::")[0], "the question comes first"
    assert re.search(r"^(assert |np\.testing\.)", cells[-1], re.MULTILINE), "the last cell is the check"


@every_example
def test_an_example_uses_the_public_functions_alone(example):
    code = example.read_text(encoding="utf-8")
    tree = ast.parse(code)
    imported = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    imported += [name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names]
    ours = {module for module in imported if module.split(".")[0] == "xentrs"}
    assert ours <= {"xentrs"} | {f"xentrs.{name}" for name in "attacks boosting models nn optim stats".split()}
    assert not re.search(r"\bxe\._", code)
