"""The folder that the ranks of a node share: whole snapshots, one claim a name, when it is removed."""

import os
import subprocess
import time
from pathlib import Path

import pytest
from ranks import run_ranks

from mpipar.comm import watch_folder
from mpipar.comm.ledger import Ledger
from mpipar.comm.watch_folder import PREFIX, WatchFolder, alive, encode, make_folder


@pytest.fixture
def ended():
    """The number of a process that is no more."""
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


@pytest.fixture
def shared(tmp_path, monkeypatch):
    """make_folder works in a folder of the test's own."""
    monkeypatch.setattr(watch_folder, "parent", lambda: tmp_path)
    return tmp_path


def left_by(maker, shared, pids):
    """A folder made by that process, with a snapshot of every given one."""
    folder = shared / f"{PREFIX}{maker}-left"
    folder.mkdir()
    for rank, pid in enumerate(pids):
        WatchFolder(folder, rank).write(encode(Ledger(rank).snapshot(False, pid=pid)))
    return folder


def test_a_job_that_died_leaves_a_folder_that_the_next_job_removes(shared, ended):
    empty = shared / f"{PREFIX}{ended}-empty"
    empty.mkdir()
    folder, foreign = left_by(ended, shared, [ended, ended]), shared / f"{PREFIX}mine"
    foreign.mkdir()  # no number: not ours to judge
    made = make_folder()
    assert not folder.exists() and not empty.exists()
    assert foreign.is_dir() and made.is_dir() and made.name.startswith(f"{PREFIX}{os.getpid()}-")


def test_a_rank_that_outlives_the_maker_keeps_the_folder(shared, ended):
    # another job starts just while this rank is to tell that rank 0 was killed
    folder = left_by(ended, shared, [ended, os.getpid()])
    make_folder()
    states = WatchFolder(folder, 1).states([0, 1])
    assert [alive(state.pid) for state in states.values()] == [False, True]


def test_half_a_snapshot_is_none(shared):
    folder = WatchFolder(left_by(os.getpid(), shared, []), 0)
    assert folder.read(0) is None and folder.states([0]) == {}
    data = encode(Ledger(0).snapshot(False))
    folder.write(data[:-1])
    assert folder.read(0) is None
    folder.write(data)
    assert folder.states([0, 1]).keys() == {0}


def test_nothing_comes_after_the_last_snapshot(shared):
    folder = WatchFolder(left_by(os.getpid(), shared, []), 0)
    folder.write(encode(Ledger(0).snapshot(False, pid=7)), last=True)
    folder.write(encode(Ledger(0).snapshot(False, pid=8)))
    assert folder.read(0).pid == 7


def test_a_name_is_claimed_once_and_not_in_a_folder_that_is_gone(shared):
    path = left_by(os.getpid(), shared, [])
    first, second = WatchFolder(path, 0), WatchFolder(path, 1)
    assert [second.claim("verdict"), first.claim("verdict"), first.claim("note")] == [True, False, True]
    first.remove()
    assert not second.claim("another")
    second.write(b"into nothing")


KILLED_AT_ITS_FIRST_LINE = """
import importlib, os, signal, time
import mpipar as mp
start = importlib.import_module("mpipar.comm.world")
watch = start.Watch
def late(*args, **options):
    time.sleep(0.5)
    return watch(*args, **options)
if os.environ["OMPI_COMM_WORLD_RANK"] == "1":
    start.Watch = late
world = mp.world()
if world.rank == 0:
    os.kill(os.getpid(), signal.SIGKILL)
world.barrier()
"""


def test_a_rank_that_is_slow_to_start_tells_of_one_that_is_killed_at_its_first_line():
    run = run_ranks(2, ["-c", KILLED_AT_ITS_FIRST_LINE])
    assert run.returncode != 0 and "mpipar: rank killed\n  at fault: rank 0" in run.stderr


def test_a_job_that_is_just_starting_keeps_its_folder(shared):
    folder = left_by(os.getpid(), shared, [])  # no rank of it has written yet
    make_folder()
    assert folder.exists()


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="only /proc tells a zombie")
def test_a_process_that_has_ended_and_nobody_has_waited_for_is_not_alive():
    with subprocess.Popen(["true"]) as process:
        until = time.monotonic() + 5
        while alive(process.pid) and time.monotonic() < until:
            time.sleep(0.01)
        assert not alive(process.pid)
        os.kill(process.pid, 0)  # its number is still taken


ENDINGS = {
    "as it should": "world.barrier()\n",
    "with a verdict": "world.recv(np.ones(1), 1 - world.rank)\n",
    "with a status": "if world.rank == 1: sys.exit(3)\nworld.barrier()\n",
    "with an exception": "if world.rank == 1: raise KeyError('lost')\nworld.barrier()\n",
}
SHOWS_ITS_FOLDER = """
import os, sys
import numpy as np, mpipar as mp
from mpipar.comm.watch_folder import PREFIX, parent
world = mp.world()
if world.rank == 0:
    print(*parent().glob(f"{PREFIX}{os.getpid()}-*"), flush=True)
world.barrier()
"""


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_job_that_ends_or_is_ended_leaves_no_folder(ending):
    run = run_ranks(2, ["-c", SHOWS_ITS_FOLDER + ENDINGS[ending]])
    assert (run.returncode == 0) == (ending == "as it should"), run.stderr
    folder = Path(run.stdout.strip())
    assert folder.name.startswith(PREFIX) and not folder.exists()
