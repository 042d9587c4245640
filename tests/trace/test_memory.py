"""Readings of the memory that this process holds."""

import mmap
import sys
from itertools import pairwise

import numpy as np
import pytest

from mpipar.trace import Recorder, prepare_folder, read
from mpipar.trace.memory import CHANGE, EVERY, Memory

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the resident set is Linux's")
MIB = 1 << 20


def resident():
    """By the kernel's other account of it."""
    with open("/proc/self/status") as status:
        line = next(line for line in status if line.startswith("VmRSS"))
    return 1024 * int(line.split()[1])


def of_the_host():
    """Readings without the GPU's, where there is one."""
    memory = Memory()
    memory._pool = None
    return memory


def test_the_resident_set():
    ((where, held),) = of_the_host().changes()
    assert where == "host" and abs(held - resident()) < 8 * MIB


def test_only_changes_are_told():
    memory = of_the_host()
    list(memory.changes())
    assert list(memory.changes()) == []
    before = memory._last["host"]
    block = np.frombuffer(mmap.mmap(-1, 32 * MIB), np.uint8)  # not from freed memory, which the process keeps
    block[:] = 1
    ((_, held),) = memory.changes()
    assert abs(held - before - block.nbytes) < 2 * MIB
    memory.close()
    assert list(memory.changes()) == []


def test_small_changes_are_no_reading(monkeypatch):
    memory, held = Memory(), iter([10 * CHANGE, 11 * CHANGE - 1, 9 * CHANGE + 1, 9 * CHANGE, 11 * CHANGE])
    monkeypatch.setattr(memory, "_held", lambda: [("host", next(held))])
    told = [list(memory.changes()) for _ in range(5)]
    assert told == [[("host", 10 * CHANGE)], [], [], [("host", 9 * CHANGE)], [("host", 11 * CHANGE)]]


class Pool:
    """Stands for CuPy's memory pool."""

    def used_bytes(self):
        return 3 * MIB


def test_the_device_is_a_reading_of_its_own():
    memory = Memory()
    memory._pool = Pool()
    assert dict(memory.changes())["device"] == 3 * MIB
    memory.close()
    assert list(memory.changes()) == []


@pytest.fixture
def recorder(tmp_path):
    prepare_folder(tmp_path / "trace", {"size": 1})
    clock = iter(range(0, 1 << 40, EVERY // 4))  # each scope takes a quarter of the time between readings
    recorder = Recorder(tmp_path / "trace", 0, 1, clock=lambda: next(clock), flush_seconds=1e6)
    yield recorder
    recorder.close()


def test_readings_at_the_ends_of_scopes_not_too_often(recorder, monkeypatch):
    held = iter(range(0, 1000 * MIB, MIB))
    monkeypatch.setattr(recorder._memory, "_held", lambda: [("host", next(held))])
    for step in range(8):
        with recorder.scope("work", step, micro=1):
            pass
    recorder.close()
    events = read(recorder.folder).ranks[0].events
    readings = [e for e in events if e.op == "memory"]
    assert [e.bytes for e in readings] == [0, MIB, 2 * MIB, 3 * MIB]
    times = [e.start for e in readings]
    assert all(later - sooner >= EVERY for sooner, later in pairwise(times))
    first = readings[0]
    assert (first.algorithm, first.scope, first.step, first.micro) == ("host", "work", 0, 1)
    assert first.start == first.end == events[0].end


def test_virtual_ranks_share_a_process_and_have_no_readings(tmp_path):
    prepare_folder(tmp_path / "trace", {"size": 1})
    recorder = Recorder(tmp_path / "trace", 0, 1, flush_seconds=None)
    with recorder.scope("work"):
        pass
    recorder.close()
    assert [e.op for e in read(tmp_path / "trace").ranks[0].events] == ["scope"]
