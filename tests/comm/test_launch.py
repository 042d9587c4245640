"""Which mpirun is used, with which flags."""

import os
import sys

import pytest

from mpipar.comm import find_launcher
from mpipar.errors import LaunchError


def fake_mpirun(folder, says, library=None):
    (folder / "bin").mkdir()
    (folder / "lib").mkdir()
    path = folder / "bin" / "mpirun"
    path.write_text(f"#!/bin/sh\necho '{says}'\n")
    path.chmod(0o755)
    if library:
        (folder / "lib" / library).touch()
    return str(path)


def test_open_mpi_may_oversubscribe_and_run_as_root(tmp_path):
    launcher = find_launcher(fake_mpirun(tmp_path, "mpirun (Open MPI) 4.1.6", "libmpi.so.40"))
    assert launcher.command(8, ["job.py"])[1:] == [
        "-n", "8", "--oversubscribe", "--bind-to", "none", sys.executable, "job.py",
    ]  # fmt: skip
    environment = launcher.environment(EXTRA="1")
    assert environment["MPI4PY_LIBMPI"] == str(tmp_path / "lib" / "libmpi.so.40")
    assert (environment["OMP_NUM_THREADS"], environment["EXTRA"]) == ("1", "1")
    if os.geteuid() == 0:
        assert environment["OMPI_ALLOW_RUN_AS_ROOT_CONFIRM"] == "1"


def test_our_own_open_mpi_looks_for_no_network_that_is_never_used(tmp_path, monkeypatch):
    named = find_launcher(fake_mpirun(tmp_path, "mpirun (Open MPI) 5.0.11", "libmpi.so.40"))
    assert "OMPI_MCA_btl" not in named.environment()  # a cluster's
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin" / "python"))
    assert find_launcher().environment()["OMPI_MCA_btl"] == "^ofi"
    monkeypatch.setenv("OMPI_MCA_btl", "self,tcp")  # the user's
    assert find_launcher().environment()["OMPI_MCA_btl"] == "self,tcp"


def test_mpich_takes_no_flags_of_open_mpi(tmp_path):
    launcher = find_launcher(fake_mpirun(tmp_path, "HYDRA build details: Version: 4.0.2", "libmpi.so.12"))
    assert launcher.command(2, ["job.py"])[1:] == ["-n", "2", sys.executable, "job.py"]
    assert launcher.library == str(tmp_path / "lib" / "libmpi.so.12")


def test_what_is_no_mpirun(tmp_path):
    with pytest.raises(LaunchError, match="is no mpirun of Open MPI or MPICH"):
        find_launcher(fake_mpirun(tmp_path, "hello"))
    with pytest.raises(LaunchError, match="there is no /no/where"):
        find_launcher("/no/where")
    with pytest.raises(LaunchError, match="0 ranks"):
        find_launcher().command(0, [])
