"""README points at things that exist."""

import importlib
import re
from functools import reduce
from pathlib import Path

import pytest
from ranks import run_python

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
END = """
from mpipar.arrays import asarray
print(replica.model.loss(mp.Tensor(asarray(x)), asarray(y)).item())
"""
TARGETS = re.findall(r"`(mpipar/[\w/]+)\.py:([\w.]+)`", README)


def test_the_table_is_there():
    assert len(TARGETS) >= 15


@pytest.mark.parametrize(("file", "name"), TARGETS)
def test_the_place_exists(file, name):
    module = importlib.import_module(file.replace("/", "."))
    assert reduce(getattr, name.split("."), module) is not None


def test_every_tutorial_is_listed_and_every_listed_one_exists():
    listed = re.findall(r"^\| (\d\d_\w+) \|", README, re.MULTILINE)
    assert listed == sorted(file.stem for file in (ROOT / "tutorials").glob("[0-9]*.py"))


def test_every_variable_of_the_settings_is_listed():
    settings = (ROOT / "mpipar" / "settings.py").read_text(encoding="utf-8")
    assert set(re.findall(r"MPIPAR_\w+", settings)) <= set(re.findall(r"MPIPAR_\w+", README))


def test_the_ring_in_the_readme_is_the_one_that_runs():
    quoted = README.split("```python\nfor s in range(1, p):\n")[1].split("```")[0]
    source = (ROOT / "mpipar/comm/collectives/ring.py").read_text(encoding="utf-8")
    assert [line.strip() for line in quoted.splitlines()] == [
        line.strip() for line in source.split("for s in range(1, p):\n")[1].splitlines()[:4]
    ]


def test_the_program_in_the_readme_runs_as_printed_and_learns(tmp_path, monkeypatch):
    program = README.split("## In your own program\n\n```python\n")[1].split("```")[0]
    monkeypatch.chdir(tmp_path)
    Path("script.py").write_text(program + END)
    finished = run_python(["-m", "mpipar.cli", "sim", "-n", "4", "script.py"])
    assert finished.returncode == 0, finished.stderr
    losses = re.findall(r"^\[\d\] (\S+)$", finished.stdout, re.MULTILINE)
    assert len(losses) == 4 and len(set(losses)) == 1
    assert float(losses[0]) < 1.5  # one epoch; ln 10 = 2.3 before


@pytest.mark.parametrize("command", re.findall(r"^mpipar ((?:train|certify) .*?)   ", README, re.MULTILINE))
def test_a_command_in_the_readme_is_not_refused(command):
    short = ["--steps", "1"] if command.startswith("train") else ["--check-steps", "1"]
    words = [*command.split(), "--virtual", "--trace", "0", "--batch", "8", *short]
    finished = run_python(["-m", "mpipar.cli", *words])
    assert finished.returncode == 0, finished.stderr
