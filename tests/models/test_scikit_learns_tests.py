"""scikit-learn's own tests of its LogisticRegression pass on ours, but for those that `scikit_learns_tests` names."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from estimator_checks import is_older_than

HERE = Path(__file__).parent


@pytest.mark.skipif(is_older_than("1.9"), reason="those to leave out are named for scikit-learn 1.9")
def test_they_pass():
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(HERE), *sys.path]), "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "scikit_learns_tests", "-p", "no:cacheprovider"]
    command += ["-c", str(HERE / "scikit_learns_tests.ini"), "--pyargs", "sklearn.linear_model.tests.test_logistic"]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout[-5000:]
    passed = int(re.search(r"(\d+) passed", ran.stdout)[1])
    assert passed > 80, ran.stdout[-1000:]
