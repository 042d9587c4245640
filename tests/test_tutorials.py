"""Every tutorial runs at 2, 3 and 4 ranks and prints what it promises."""

from pathlib import Path

import pytest
from ranks import run_python, run_ranks

from mpipar.trace import read

FOLDER = Path(__file__).parents[1] / "tutorials"
QUICK = {  # arguments that keep a test short
    "01_gradients": ["--weights", "100"],
    "02_messages": ["--rounds", "20"],
    "03_ring_allreduce": [],
    "04_data_parallel": ["--epochs", "2"],
}


def run(name, size, trace, *arguments):
    finished = run_ranks(size, [str(FOLDER / f"{name}.py"), "--trace", str(trace), *arguments])
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def test_every_tutorial_is_listed_here():
    assert sorted(file.stem for file in FOLDER.glob("[0-9]*.py")) == sorted(QUICK)


@pytest.mark.parametrize("size", [2, 3, 4])
@pytest.mark.parametrize("name", sorted(QUICK))
def test_it_runs_and_its_trace_is_whole(name, size, tmp_path):
    output = run(name, size, tmp_path / "trace", *QUICK[name])
    assert f"Messages of {size} ranks" in output
    assert max(map(len, output.splitlines())) <= 110
    trace = read(tmp_path / "trace")
    assert trace.problems == [] and trace.size == size


@pytest.mark.parametrize("name", sorted(QUICK))
def test_it_runs_on_virtual_ranks(name, tmp_path):
    script, trace = str(FOLDER / f"{name}.py"), tmp_path / "trace"
    program = ["-m", "mpipar.cli", "sim", "-n", "5", script, "--trace", str(trace), *QUICK[name]]
    finished = run_python(program)
    assert finished.returncode == 0, finished.stderr
    assert "[0] Messages of 5 ranks" in finished.stdout
    assert read(trace).problems == []


@pytest.mark.parametrize("name", sorted(QUICK))
def test_it_is_short_and_opens_with_a_question(name):
    text = (FOLDER / f"{name}.py").read_text()
    assert len(text.splitlines()) <= 150
    assert text.startswith("# %% [markdown]\n# # ")
    assert "?**" in text.split("# %%\n")[0]


def test_the_first_lesson_recognises_digits_and_equals_the_serial_run(tmp_path):
    output = run("04_data_parallel", 4, tmp_path / "trace")
    last = next(line for line in output.splitlines() if line.startswith("epoch 20/20"))
    assert float(last.split("accuracy")[1].rstrip("% ")) >= 96
    assert "equal to the serial run: yes" in output
    difference = output.split("largest relative difference ")[1].split(",")[0]
    assert float(difference) < 1e-11


def test_the_ring_prints_every_hop(tmp_path):
    output = run("03_ring_allreduce", 4, tmp_path / "trace")
    assert "1  rank 0 → 1      3   24 B  reduce-scatter  1 1 1" in output
    assert output.count("reduce-scatter") == output.count("allgather  ") == 12
    assert "in the ring rank 0 sends 18 numbers" in output


def test_a_wrong_argument_is_reported_once(tmp_path):
    finished = run_ranks(3, [str(FOLDER / "04_data_parallel.py"), "--epochs", "many"])
    assert finished.returncode != 0
    assert finished.stderr.count("argument --epochs: invalid int value: 'many'") == 1


def test_without_a_trace_it_says_so(tmp_path):
    output = run("01_gradients", 2, "0", "--weights", "10")
    assert "no trace was recorded" in output
