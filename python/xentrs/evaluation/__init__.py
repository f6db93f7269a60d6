"""Evaluation: what a model's logits say row by row, and figures of merit over all of them."""

from .accumulator import EvaluationResult, LossAccumulator
from .calibration import expected_calibration_error
from .evaluation import ClassFigures, Evaluation
from .reliability import ReliabilityBins
from .rows import SoftmaxStats, softmax_stats
from .run import evaluate

__all__ = [
    "ClassFigures",
    "Evaluation",
    "EvaluationResult",
    "LossAccumulator",
    "ReliabilityBins",
    "SoftmaxStats",
    "evaluate",
    "expected_calibration_error",
    "softmax_stats",
]
