"""Nothing is read or written past an array: each stands between guards, in a process that may crash."""

import os

import pytest

from processes import run, start
from registry import CASES

protects = pytest.mark.skipif(os.name != "posix", reason="this system has no mprotect")

each_case = pytest.mark.parametrize("i", range(len(CASES)), ids=[case.name for case in CASES])


def in_a_process_of_its_own(calls: str) -> None:
    """What crashes is told by the process, before each try."""
    run(f"from guards import *; from registry import CASES, FUNCTIONS; {calls}", XENTRS_NUM_THREADS="3")


@protects
def test_a_read_past_the_end_would_be_seen() -> None:
    """The guards guard: a sum that goes one number too far ends the process."""
    program = """if True:
        import numpy as np, guards
        array = guards.Guarded().put(np.ones(8), at_end=True)
        array = np.lib.stride_tricks.as_strided(array[{first}:], (8,))
        print(array.sum())
    """
    assert run(program.format(first=0)) == "8.0"
    assert start(program.format(first=1)).returncode < 0


@protects
@each_case
def test_no_loss_reads_or_writes_past_an_array_or_in_the_gap_behind_the_last_row(i: int) -> None:
    in_a_process_of_its_own(f"guard_losses(CASES[{i}]); guard_padded_rows(CASES[{i}])")


@protects
def test_no_function_reads_or_writes_past_an_array() -> None:
    in_a_process_of_its_own("[guard_function(function) for function in FUNCTIONS]")
