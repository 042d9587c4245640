"""Which mpirun is used, with which flags."""

import os
import subprocess
import sys
from itertools import pairwise

import pytest

from mpipar.comm import find_launcher
from mpipar.comm.launch import NEVER_EXECUTED, STARTS, until_executed
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


def test_ranks_on_other_hosts_get_our_settings_and_one_blas_thread(tmp_path, monkeypatch):
    monkeypatch.setenv("MPIPAR_TRACE", "trace")
    launcher = find_launcher(fake_mpirun(tmp_path, "mpirun (Open MPI) 4.1.6"))
    words = launcher.command(2, ["job.py"], "hosts")
    assert words[words.index("--hostfile") + 1] == "hosts"
    passed_on = [name for flag, name in pairwise(words) if flag == "-x"]
    assert {"MPIPAR_TRACE", "OMP_NUM_THREADS"} <= set(passed_on)


def test_what_is_no_mpirun(tmp_path):
    with pytest.raises(LaunchError, match="is no mpirun of Open MPI or MPICH"):
        find_launcher(fake_mpirun(tmp_path, "hello"))
    with pytest.raises(LaunchError, match="there is no /no/where"):
        find_launcher("/no/where")
    with pytest.raises(LaunchError, match="0 ranks"):
        find_launcher().command(0, [])


def test_a_job_that_was_never_executed_is_started_again():
    left = [NEVER_EXECUTED, NEVER_EXECUTED, 1, 0]
    assert until_executed(lambda: left.pop(0), lambda status: status) == 1
    assert left == [0]
    left = [NEVER_EXECUTED] * (STARTS + 1)
    assert until_executed(lambda: left.pop(0), lambda status: status) == NEVER_EXECUTED
    assert len(left) == 1


def test_what_mpirun_says_of_a_rank_that_it_cannot_execute(tmp_path):
    launcher = find_launcher()
    if "Open MPI) 5" not in launcher.version:
        pytest.skip(f"its status is that of Open MPI 5; this is {launcher.version}")
    program = tmp_path / "program"
    program.write_text("#!/no/such/interpreter\n")
    program.chmod(0o755)
    command = ["timeout", "-k", "5", "60", launcher.path, "-n", "2", "--oversubscribe", str(program)]
    run = subprocess.run(command, check=False, capture_output=True, env=launcher.environment())
    assert run.returncode == NEVER_EXECUTED
