"""Estimators in scikit-learn's conventions, trained by the losses of xentrs."""

# ruff: noqa: E402
from .._extras import need

need("xentrs.models", "scipy", "sklearn", "tqdm")  # what scikit-learn needs before it

from .gaussian_regressor import GaussianRegressor
from .logistic_regression import LogisticRegression
from .mlp import MLPClassifier
from .multi_label_classifier import MultiLabelClassifier
from .temperature import TemperatureScaler

__all__ = ["GaussianRegressor", "LogisticRegression", "MLPClassifier", "MultiLabelClassifier", "TemperatureScaler"]
