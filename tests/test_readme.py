"""README points at things that exist."""

import importlib
import re
from functools import reduce
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
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
