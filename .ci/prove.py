"""Proves that the xentrs installed for this Python works: python .ci/prove.py [document ...], from anywhere.

A value that a naive formula gets wrong, from a release build that lies outside this repository; then the examples of
the documents, which need the extra `models`.
"""

import doctest
import sys
from pathlib import Path

import numpy as np

import xentrs as xe

ROOT = Path(__file__).parents[1]

assert not Path(xe.__file__).is_relative_to(ROOT), f"{xe.__file__} is not an installed copy"
assert xe.build_info()["profile"] == "release", xe.build_info()
loss, grad = xe.softmax_cross_entropy_with_grad(np.array([[17, 0]], np.float32), [0])
assert abs(loss / 4.1399376e-08 - 1) < 1e-6, loss
assert grad.dtype == np.float32 and abs(grad[0, 1] / 4.1399376e-08 - 1) < 1e-6, grad
if getattr(sys, "_is_gil_enabled", lambda: True)() is False:
    print("without the GIL")

for document in sys.argv[1:]:
    result = doctest.testfile(str(ROOT / document), module_relative=False, encoding="utf-8")
    assert result.attempted and not result.failed, f"{document}: {result}"

python, means = sys.version.split()[0], f" and runs {', '.join(sys.argv[1:])}" if sys.argv[1:] else " alone"
print(f"xentrs {xe.__version__} works on Python {python} with NumPy {np.__version__}{means}")
