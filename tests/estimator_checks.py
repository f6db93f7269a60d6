"""scikit-learn's checks of estimators, and what its older versions lack."""

import inspect

import pytest
import sklearn
from packaging.version import Version
from sklearn.utils.estimator_checks import parametrize_with_checks


def is_older_than(version):
    """Whether the scikit-learn that is installed is older than this version."""
    return Version(sklearn.__version__) < Version(version)


def with_checks(estimators, **options):
    """`parametrize_with_checks`; a check that is expected to fail may pass, as rounding errors decide.

    Before 1.8 it cannot be told so, and gives pytest a generator, which pytest 9 warns of.
    """
    if "xfail_strict" in inspect.signature(parametrize_with_checks).parameters:
        return parametrize_with_checks(estimators, xfail_strict=False, **options)
    mark = parametrize_with_checks(estimators, **options).mark
    names, cases = mark.args
    may_fail = pytest.mark.xfail(strict=False, reason="see expected_failed_checks")
    return pytest.mark.parametrize(
        names,
        [pytest.param(*case.values, marks=may_fail) if getattr(case, "marks", ()) else case for case in cases],
        **mark.kwargs,
    )
