"""Fixtures of the whole suite, which runs in an environment of its own."""

import os
from pathlib import Path

import pytest

# Before mpipar is imported, and for every process that a test starts: what a user has set for
# mpipar, or measured by `mpipar calibrate`, changes no test. The backend is what make chooses.
for name in [name for name in os.environ if name.startswith("MPIPAR_") and name != "MPIPAR_BACKEND"]:
    del os.environ[name]
os.environ["XDG_CONFIG_HOME"] = str(Path(__file__).parent / "no such folder")

from ranks import Batches  # noqa: E402

from mpipar.arrays import BACKEND, checks_apart  # noqa: E402

# what reads files and plans, and handles no array of the backend, is tested on NumPy alone
HOST_ONLY = [
    "bench/test_bench.py",
    "bench/test_step.py",
    "comm/test_clocks.py",
    "schedule",
    "test_cli.py",
    "test_failure.py",
    "view",
]
collect_ignore = HOST_ONLY if BACKEND != "numpy" else []


@pytest.fixture(autouse=True)
def own_checks():
    """A wrong label that a test leaves to be found later is that test's failure."""
    with checks_apart():
        yield


@pytest.fixture(scope="session")
def mpirun_batches(request, tmp_path_factory):
    """Outcomes of the tests marked with @ranks; see tests/ranks.py."""
    return Batches(request.session.items, tmp_path_factory.mktemp("mpirun"))
