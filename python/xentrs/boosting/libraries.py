"""What is there of the libraries of gradient boosting."""

import re
from importlib import import_module

__all__ = ["need"]

_LEAST = {"lightgbm": "4.0", "xgboost": "3.1", "catboost": "1.2"}
"""Scores of several classes in two dimensions; a start for each class; whole blocks of samples at a time."""


def need(library: str) -> None:
    """Refuse a library that is missing, or too old."""
    least = _LEAST[library]
    way_out = f'pip install "xentrs[{library}]"'
    try:
        version: str = import_module(library).__version__
    except ImportError:
        raise ImportError(f"this objective needs {library} {least} or newer, got none; write: {way_out}") from None
    if _numbers(version) < _numbers(least):
        raise ImportError(f"this objective needs {library} {least} or newer, got {version}; write: {way_out}")


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)[:2]]
