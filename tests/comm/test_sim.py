"""`mpipar sim`: scripts on virtual ranks, from the command line."""

import json
import re
import subprocess
import sys

import pytest
from ranks import run_python

HELPER = "import numpy as np\nfrom random import random\nstate = []\n"
APART = """
import sys, random, dataclasses, numpy as np, mpipar as mp
import helper

@dataclasses.dataclass
class Settings:
    epochs: "int" = 1

args = mp.arguments("a script", epochs=1)
world = mp.world(trace=args.trace)
from package.part import number
helper.state.append(world.rank)
random.seed(7), np.random.seed(7)
drawn = []
for _ in range(3):
    drawn.append((random.random(), np.random.rand(), helper.random()))
    world.barrier()
import helper as again, __main__, importlib
assert importlib.import_module("helper") is again is helper and helper.state == [world.rank]
assert __main__.world is world and sys.modules["__main__"].__dict__ is globals()
with mp.view.progress(mp.view.console(world.rank), args.epochs) as advance:
    advance("done")
print("drawn", *drawn[0], *drawn[2])
print("rank", world.rank, "of", world.size, sys.argv[1:], __file__ == sys.argv[0], number, end="")
world.allreduce(np.ones(4), algorithm="native")
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "helper.py").write_text(HELPER)
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").write_text("")
    (tmp_path / "package" / "part.py").write_text("import mpipar\nnumber = mpipar.world().rank * 10\n")
    return tmp_path


def sim(folder, text, *options, ranks=3, arguments=(), keys=None):
    script = folder / "script.py"
    script.write_text(text)
    program = ["-m", "mpipar.cli", "sim", "-n", str(ranks), *options, str(script), *arguments]
    return run_python(program, keys=keys)


def test_ranks_are_apart_and_output_is_in_order(folder):
    trace = folder / "trace"
    run = sim(folder, APART, arguments=("--epochs", "2", "--trace", str(trace)))
    assert run.returncode == 0, run.stderr
    lines = run.stdout.splitlines()
    assert lines[0] == "[0] epoch 1/2  done"
    assert [line[:9] for line in lines[1:]] == [
        f"[{r}] {word}" for r in range(3) for word in ("drawn", "rank ")
    ]
    assert lines[2].startswith("[0] rank 0 of 3 ['--epochs', '2', '--trace'") and lines[2].endswith("True 0")
    assert lines[6].endswith("True 20")
    draws = [line.split()[2:] for line in lines[1::2]]
    assert draws[0][:2] == draws[1][:2] == draws[2][:2]  # seeded alike, undisturbed by each other
    assert draws[0][0] != draws[0][3] and draws[0] == draws[2]
    meta = json.loads((trace / "meta.json").read_text())
    assert (meta["transport"], meta["size"]) == ("virtual", 3)
    assert ' (for native)"' in (trace / "rank-0002.jsonl").read_text()


def test_a_rank_that_raises_ends_the_run_with_its_traceback(folder):
    text = "import mpipar\nworld = mpipar.world()\nprint('on')\n"
    run = sim(folder, text + "if world.rank == 1:\n    {}['key']\nworld.barrier()\n")
    assert run.returncode == 1
    assert run.stdout == "[0] on\n[1] on\n"
    assert run.stderr.startswith("rank 1 of 3 failed:\nTraceback") and "KeyError: 'key'" in run.stderr
    assert "line 5" in run.stderr and "scheduler.py" not in run.stderr and "sim.py" not in run.stderr


@pytest.mark.parametrize(
    "text, status, says",
    [
        (
            "import sys; sys.exit(4 if mpipar.world().rank else 0)",
            4,
            "mpipar: rank exited\n  at fault: rank 1 at",
        ),
        ("import sys; sys.exit('no data')", 1, "no data"),
        ("import sys; sys.exit()", 0, "^$"),
        ("mpipar.world().recv(numpy.zeros(1), 0)", 1, "mpipar: receive cycle\n  at fault: rank 0 at"),
        ("mpipar.world(trace=__file__)", 1, "mpipar: trace folder .* is a file"),
        ("input()", 1, "mpipar: virtual ranks have no standard input"),
        ("mpipar.arguments('x')", 2, "unrecognized arguments: --left"),
        ("1 +", 1, "SyntaxError"),
    ],
)
def test_how_a_run_ends(folder, text, status, says):
    run = sim(folder, f"import mpipar, numpy; {text}", arguments=("--left",))
    assert run.returncode == status, run.stderr
    assert re.search(says, run.stderr), run.stderr


def test_a_network_file_sets_the_times(folder):
    (folder / "net.toml").write_text("[socket]\nalpha = 0.5\nbeta = 0\n")
    text = "import mpipar\nworld = mpipar.world()\nworld.barrier()\nprint(world.wtime())"
    run = sim(folder, text, "--network", str(folder / "net.toml"), "--compute", "none", ranks=4)
    assert run.stdout.splitlines() == [f"[{r}] 1.0" for r in range(4)]
    wrong = sim(folder, text, "--network", "none.toml")
    assert wrong.returncode == 2 and "network file none.toml" in wrong.stderr


STEPS = """
import mpipar, numpy as np
world = mpipar.world()
x = np.arange(6.0) + 10 * world.rank
world.allreduce(x, algorithm="ring", out=x)
if world.rank == 0:
    world.send(x, 1, tag=5)
elif world.rank == 1:
    world.recv(x, 0)
print(x[0])
"""


def test_step_stops_before_each_message(folder):
    run = sim(folder, STEPS, "--step", keys="?\nn\nc\n\n")
    assert run.returncode == 0, run.stderr
    stops = [line for line in run.stdout.splitlines() if line.startswith("message ")]
    assert [stop.split()[1] for stop in stops] == ["1", "2", "13"]
    assert "in allreduce on world" in stops[0] and "allreduce" not in stops[2]
    assert "'?' is no key" in run.stdout
    assert "rank 0 → rank 1   tag 2, 16 B float64: 4 5\n" in run.stdout
    assert re.search(r"2 +0 +sendrecv\(source=1, tag=0\) of allreduce at \S+ +20 21 22 23 24 25", run.stdout)
    assert "has ended" in run.stdout and run.stdout.endswith("[1] 30.0\n[2] 30.0\n")
    assert max(map(len, run.stdout.splitlines())) <= 100


def test_step_runs_on_and_quits(folder):
    assert sim(folder, STEPS, "--step", keys="r\n", ranks=20).stdout.count("message ") == 1
    ended = sim(folder, STEPS, "--step", keys="q\n")
    assert ended.returncode == 130 and ended.stderr == "mpipar: interrupted\n"


def test_a_reader_that_goes_away_ends_the_run_without_a_traceback(tmp_path):
    script = tmp_path / "talks.py"
    script.write_text("for i in range(100_000):\n    print(i)\n")
    command = [sys.executable, "-m", "mpipar.cli", "sim", "-n", "2", str(script)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as sim:
        assert sim.stdout.readline() == "[0] 0\n"
        sim.stdout.close()
        assert sim.stderr.read() == ""
        assert sim.wait(30) == 1  # as click ends a command whose output nobody reads
