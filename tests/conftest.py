"""Fixtures of the whole suite."""

import pytest
from ranks import Batches


@pytest.fixture(scope="session")
def mpirun_batches(request, tmp_path_factory):
    """Outcomes of the tests marked with @ranks; see tests/ranks.py."""
    return Batches(request.session.items, tmp_path_factory.mktemp("mpirun"))
