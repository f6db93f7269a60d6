"""What scikit-learn judges a classifier by, of its raw scores: scorers, and a display of its reliability."""

# ruff: noqa: E402
from .._extras import need

need("xentrs.metrics", "sklearn")

from .displays import ReliabilityDisplay
from .scorers import get_scorer, get_scorer_names

__all__ = ["ReliabilityDisplay", "get_scorer", "get_scorer_names"]
