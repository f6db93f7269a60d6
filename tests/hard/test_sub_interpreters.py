"""One interpreter of a process has xentrs, as it has NumPy: all others get an ImportError, and harm nobody."""

import numpy as np
import pytest

from processes import run

PROGRAM = """if True:
    try:
        import _interpreters as interpreters  # from Python 3.13 on
    except ImportError:
        import _xxsubinterpreters as interpreters

    CALL = '''if True:
        import warnings
        warnings.simplefilter("ignore")  # NumPy's word on sub-interpreters
        try:
            import numpy, xentrs
            loss = xentrs.softmax_cross_entropy(numpy.zeros((50_000, 4)), numpy.zeros(50_000, int))
            print(round(loss, 4), flush=True)
        except ImportError as error:
            print("refused" if str(error) else "no word", flush=True)
    '''
    {before}
    for _ in range(3):
        inside = interpreters.create()
        interpreters.run_string(inside, CALL)
        interpreters.destroy(inside)
    exec(CALL)
"""


def test_sub_interpreters_of_one_that_has_imported_it_are_refused() -> None:
    lines = run(PROGRAM.format(before="exec(CALL)"), XENTRS_NUM_THREADS="2").splitlines()
    assert lines == ["1.3863", *["refused"] * 3, "1.3863"]


@pytest.mark.skipif(np.__version__ < "2", reason="NumPy 1.26 alone crashes in a second sub-interpreter")
@pytest.mark.parametrize("threads", ["1", "2"])
def test_at_most_one_has_it_where_a_sub_interpreter_comes_first(threads: str) -> None:
    """Whether the first has it depends on the version of Python; the others cannot."""
    first, *others = run(PROGRAM.format(before="pass"), XENTRS_NUM_THREADS=threads).splitlines()
    assert first in ("1.3863", "refused")
    assert others[:2] == ["refused"] * 2
    assert others[2] == ("refused" if first == "1.3863" else "1.3863")
