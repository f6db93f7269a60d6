"""Data that linear models are trained on, and what they minimise."""

from functools import partial

import numpy as np
from sklearn.datasets import load_breast_cancer, load_digits, load_wine, make_classification
from sklearn.preprocessing import scale

import xentrs as xe


def standardised(load):
    X, y = load(return_X_y=True)
    return scale(X), y


def objective(model, X, y):
    """What `LogisticRegression` minimises, for our models and scikit-learn's, by the softmax of two or more logits."""
    logits = model.decision_function(X)
    if logits.ndim == 1:
        logits = np.column_stack([np.zeros_like(logits), logits])
    loss = xe.softmax_cross_entropy(logits, np.searchsorted(model.classes_, y))
    return loss + np.sum(model.coef_**2) / (2 * model.C * len(X))


def synthetic():
    """20 000 samples of 50 features, in four classes that overlap."""
    X, y = make_classification(20_000, 50, n_informative=20, n_classes=4, n_clusters_per_class=1, random_state=0)
    return scale(X), y


DATA = {
    "digits": partial(standardised, load_digits),
    "breast cancer": partial(standardised, load_breast_cancer),
    "wine": partial(standardised, load_wine),
    "synthetic": synthetic,
}
