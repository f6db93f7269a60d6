"""What the docstring of every public name has to have."""

import pytest

NEEDED = {
    "GL08": "a docstring",
    "SS01": "a summary",
    "PR01": "all parameters",
    "PR02": "no other parameters",
    "PR03": "their order",
    "RT01": "what is returned",
    "EX01": "an example",
}


def missing_in_docstring(name: str) -> list[str]:
    numpydoc = pytest.importorskip("numpydoc.validate", reason="numpydoc is not installed")
    return [f"{NEEDED[code]}: {message}" for code, message in numpydoc.validate(name)["errors"] if code in NEEDED]
