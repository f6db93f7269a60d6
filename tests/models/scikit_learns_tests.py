"""A plug-in that runs scikit-learn's own tests of its LogisticRegression on ours:

PYTHONPATH=tests/models python -m pytest -p scikit_learns_tests -c tests/models/scikit_learns_tests.ini \
    --pyargs sklearn.linear_model.tests.test_logistic

Left out are the tests in `LEFT_OUT`, those that ask for a solver of another library by name, and those of
LogisticRegressionCV alone, which has no counterpart here. The others run as they are.
"""

import inspect
import re

import pytest
import sklearn.linear_model

from xentrs.models import LogisticRegression

OURS = ("lbfgs", "newton-cholesky")
OTHERS = {"liblinear", "newton-cg", "sag", "saga"}

LEFT_OUT = {
    "asks for all of scikit-learn's solvers, and for its `dual`, by name": [
        r"test_check_solver_option\[LogisticRegression\]"
    ],
    "asks for 'sag' and 'saga' by name, and for `intercept_scaling`": ["test_consistency_path.*"],
    "asks for 'liblinear' by name": [
        "test_logistic_regression_callback_support_warning",
        "test_liblinear_.*",
        "test_sample_and_class_weight_equivalence_liblinear.*",
        "test_logisticregression_liblinear_sample_weight.*",
        r"test_logistic_cv\[.*",
    ],
    "asks for 'liblinear' and 'saga' by name": ["test_logreg_l1.*", "test_saga_vs_liblinear.*"],
    "asks for 'saga' by name": [
        "test_elastic_net_.*",
        "test_LogisticRegression_elastic_net_objective.*",
        "test_LogisticRegressionCV_GridSearchCV_elastic_net.*",
        r"test_elasticnet_l1_ratio_err_helpful\[LogisticRegression-.*",
        "test_l1_ratio_non_elasticnet",
        "test_logistic_regression_cv_refit.*",
        "test_lr_penalty_l1ratio_incompatible.*",
        "test_scores_attribute_layout_elasticnet",
    ],
    "asks for 'newton-cg' by name": ["test_single_feature_newton_cg"],
    "asks for 'sag' by name": ["test_warm_start_converge_LR.*"],
    "hands all arguments of the constructor to a private function that knows scikit-learn's alone": [
        "test_logistic_cv_multinomial_score.*"
    ],
    "asks for `n_jobs`, which has no effect in scikit-learn either, and is to go in its version 1.10": [
        "test_logisticregression_warns_with_n_jobs"
    ],
    "asks for `set_callbacks`, in scikit-learn since 1.9, by private methods; here `callbacks` is an argument": [
        "test_logistic_regression_callback_support[[].*",
        "test_logistic_regression_callback_fitted_estimator.*",
    ],
}


class Ours(LogisticRegression):
    """Ours, with a private method that one test calls for comparison: probabilities by one against the rest."""

    _predict_proba_lr = sklearn.linear_model.LogisticRegression._predict_proba_lr


def pytest_configure(config):
    from sklearn.linear_model.tests import test_logistic as theirs  # which marks its tests, so not any earlier

    theirs.LogisticRegression, theirs.SOLVERS = Ours, OURS


def reason(item):
    """Why a test is left out, or None."""
    params = getattr(item, "callspec", None)
    values = list(params.params.values()) if params else []
    if named := OTHERS.intersection(map(str, values)):
        return f"asks for the solver {named.pop()!r} by name"
    source = inspect.getsource(item.function)
    of_cv = "LogisticRegressionCV" in source and not re.search(r"LogisticRegression\b", source)
    if of_cv or sklearn.linear_model.LogisticRegressionCV in values:
        return "is of LogisticRegressionCV, which has no counterpart here"
    return next((why for why, names in LEFT_OUT.items() if any(re.fullmatch(name, item.name) for name in names)), None)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    left_out = {item: why for item in items if (why := reason(item))}
    named = [name for names in LEFT_OUT.values() for name in names]
    stale = [name for name in named if not any(re.fullmatch(name, item.name) for item in items)]
    if stale and not config.option.keyword:
        raise pytest.UsageError(f"LEFT_OUT names tests that are not there: {stale}")
    items[:] = [item for item in items if item not in left_out]
    config.hook.pytest_deselected(items=list(left_out))
    config.stash[_KEY] = left_out


def pytest_terminal_summary(terminalreporter, config):
    counts = {}
    for item, why in config.stash[_KEY].items():
        counts.setdefault((item.originalname, why), []).append(item)
    terminalreporter.section("left out")
    for (name, why), items in sorted(counts.items()):
        terminalreporter.line(f"{len(items):4} {name}: {why}")


_KEY = pytest.StashKey()
