"""The Makefile: what it starts, and what it removes."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def make(folder, *arguments):
    run = subprocess.run(["make", "-C", folder, *arguments], check=True, capture_output=True, text=True)
    return run.stdout


def test_names_with_spaces_are_one_word():
    commands = make(
        ROOT, "-n", "tutorial", "NP=2", "MPIRUN=/my mpi/mpirun", "TUTORIAL=my own.py", "ARGS=--lr 1"
    )
    assert ".venv/bin/mpipar run -n 2 --mpirun '/my mpi/mpirun' 'my own.py' --lr 1\n" in commands


def test_clean_removes_the_tutorials_traces_and_keeps_the_users(tmp_path):
    shutil.copy(ROOT / "Makefile", tmp_path)
    for file in ("tutorials/01_first.py", "traces/01_first/meta.json", "traces/mine/meta.json", ".venv/x"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    make(tmp_path, "clean")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["Makefile", "traces", "tutorials"]
    assert [file.name for file in (tmp_path / "traces").iterdir()] == ["mine"]
    shutil.rmtree(tmp_path / "traces" / "mine")
    make(tmp_path, "clean")
    assert not (tmp_path / "traces").exists()
