"""A Python process of its own, for what must not happen in the one that runs the tests."""

import os
import subprocess
import sys

LIMIT = 300  # seconds until a hang is called one, also on a machine that is busy with other things

THREAD_VARIABLES = ("XENTRS_NUM_THREADS", "RAYON_NUM_THREADS", "OMP_NUM_THREADS")


def start(program: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program in the folder of the tests. No variable but those given says how many threads to use."""
    inherited = {name: value for name, value in os.environ.items() if name not in THREAD_VARIABLES}
    return subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", program],
        env={**inherited, **environment},
        cwd=os.path.dirname(__file__),
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )


def run(program: str, **environment: str) -> str:
    """What a program prints that must end well."""
    done = start(program, **environment)
    assert done.returncode == 0, f"the process ended with {done.returncode}:\n{done.stderr}"
    return done.stdout.strip()
