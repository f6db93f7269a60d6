"""Objectives for gradient boosting: LightGBM, XGBoost, and CatBoost for two classes.

An objective holds its options, and has what each library asks for: gradients and Hessians of the raw scores, the loss
as a metric, the score that training should start from, and probabilities of raw scores::

    objective = xentrs.boosting.Focal(gamma=2.0)
    lgb.train({"objective": objective.lightgbm}, lgb.Dataset(X, y, init_score=objective.init_score(y)))
    xgb.train({"base_score": objective.base_score(y)}, xgb.DMatrix(X, y), obj=objective.xgboost)

The libraries are extras, ``xentrs[lightgbm]``, ``xentrs[xgboost]`` and ``xentrs[catboost]``; none is imported before it
is asked for.
"""

from .classes import Softmax, SoftmaxFocal
from .labels import Focal, Sigmoid

__all__ = ["Focal", "Sigmoid", "Softmax", "SoftmaxFocal"]
