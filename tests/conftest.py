"""Fixtures of the whole suite, which runs in an environment of its own."""

import os
import re
from pathlib import Path

import pytest

# Before mpipar is imported, and for every process that a test starts: what a user has set for
# mpipar, or measured by `mpipar calibrate`, changes no test. The backend is what make chooses.
for name in [name for name in os.environ if name.startswith("MPIPAR_") and name != "MPIPAR_BACKEND"]:
    del os.environ[name]
os.environ["XDG_CONFIG_HOME"] = str(Path(__file__).parent / "no such folder")
# no rank looks for a network, an eighth of its time to start; and one that waits lets another suite run
os.environ.update(OMPI_MCA_mtl="^ofi", OMPI_MCA_mpi_yield_when_idle="1")

from ranks import Batches  # noqa: E402

from mpipar.arrays import BACKEND, checks_apart  # noqa: E402

# what reads files and plans, and handles no array of the backend, is tested on NumPy alone
HOST_ONLY = [
    "bench/test_bench.py",
    "bench/test_step.py",
    "comm/test_choose.py",
    "comm/test_clocks.py",
    "comm/test_hosts.py",
    "comm/test_sim.py",
    "schedule",
    "test_cli.py",
    "test_failure.py",
    "test_layering.py",
    "test_make.py",
    "test_mistakes.py",
    "view",
]
# tests of other files about what is printed, or about numbers that come out as on NumPy
ON_NUMPY_ALONE = [
    r"test_tutorials.py::(?!test_it_runs)",
    r"test_train.py::(?!test_train_starts|test_certify_says)",
    r"test_readme.py::(?!test_the_program)",
    r"test_certify.py::test_no_correct_layout_of.*\[[15678]\]",
    r"test_certify.py::test_rounding_does_not_grow",
    r"test_nn_training.py::test_gpt_learns",
    r"test_tensor_engine.py::test_a_(deep_graph|graph_of_100_000)",
]
collect_ignore = HOST_ONLY if BACKEND != "numpy" else []


@pytest.fixture(autouse=True)
def own_checks():
    """A wrong label that a test leaves to be found later is that test's failure."""
    with checks_apart():
        yield


def pytest_collection_modifyitems(config, items):
    if BACKEND != "numpy":
        left_out = [item for item in items if re.search("|".join(ON_NUMPY_ALONE), item.nodeid)]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.fixture(scope="session")
def mpirun_batches(request, tmp_path_factory):
    """Outcomes of the tests marked with @ranks; see tests/ranks.py."""
    return Batches(request.session.items, tmp_path_factory.mktemp("mpirun"))
