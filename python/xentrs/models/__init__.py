"""Estimators in scikit-learn's conventions, trained by the losses of xentrs."""

try:
    import scipy  # noqa: F401
    import sklearn  # noqa: F401
    import tqdm  # noqa: F401
except ModuleNotFoundError as missing:
    raise ImportError(
        f"xentrs.models needs {missing.name}: pip install 'xentrs[models]'", name=missing.name
    ) from missing

from .gaussian_regressor import GaussianRegressor
from .logistic_regression import LogisticRegression
from .mlp import MLPClassifier
from .multi_label_classifier import MultiLabelClassifier
from .temperature import TemperatureScaler

__all__ = ["GaussianRegressor", "LogisticRegression", "MLPClassifier", "MultiLabelClassifier", "TemperatureScaler"]
