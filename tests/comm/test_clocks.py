"""Offsets between clocks that are known to differ."""

import os
import re
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
from ranks import ranks

from mpipar.comm import Communicator
from mpipar.comm.clocks import offset_to_rank_0
from mpipar.trace import Recorder, pair_messages, prepare_folder, read

AHEAD, DRIFT = 5_000_000, 20e-6  # ns; a rank's clock gains so much a second


def skewed(rank):
    return lambda: time.monotonic_ns() + rank * AHEAD + int(rank * DRIFT * time.monotonic_ns())


@ranks(2, 4, virtual=())
def test_clocks_that_are_apart(world):
    now = skewed(world.rank)
    nodes = list(range(world.size))  # as if each were on a host of its own
    for _ in range(2):
        began = now()
        offset, round_trip = offset_to_rank_0(world._hops._transport, nodes, now)
        took, true = now() - began, time.monotonic_ns() - now()
        if world.rank == 0:
            assert (offset, round_trip) == (0, 0)
        else:
            assert 0 < round_trip < took
            assert abs(offset - true) <= round_trip / 2 + 20_000  # which it drifts meanwhile


@ranks(4)
def test_ranks_of_a_node_share_one_answer(world):
    nodes = [7, 3, 3, 7]  # rank 0's node, and another
    clock = (lambda: 1000) if nodes[world.rank] == 7 else (lambda: 400)
    assert offset_to_rank_0(world._hops._transport, nodes, clock, rounds=3) == (
        (0, 0) if nodes[world.rank] == 7 else (600, 0)
    )


class Notes:
    """Stands for a recorder."""

    def __init__(self):
        self.clock, self.noted = time.monotonic_ns, []

    def add_clock(self, *offset):
        self.noted.append(offset)


@ranks(3, virtual=())
def test_a_communicator_of_several_hosts_notes_its_offsets(world):
    assert world.align_clocks() is None  # without a trace
    world._recorder, nodes = Notes(), world.nodes
    try:
        world.align_clocks()
        assert world.recorder.noted == []  # on one host
        world.nodes = [0, 1, 1]
        world.align_clocks()
        assert len(world.recorder.noted) == (world.rank > 0)
        assert all(abs(offset) <= round_trip / 2 for offset, round_trip in world.recorder.noted)
    finally:
        world._recorder, world.nodes = None, nodes


@ranks(2, virtual=())
def test_a_trace_of_ranks_whose_clocks_are_apart(world):
    """Messages, each of which crosses within the time that it and its answer take by one clock."""
    folder = Path(tempfile.gettempdir()) / f"mpipar-clocks-{os.getppid()}"  # of mpirun, so of both
    if world.rank == 0:
        prepare_folder(folder, {"size": 2})
    world.barrier()
    clock, host = skewed(world.rank), f"host-{world.rank}"
    recorder = Recorder(folder, world.rank, 2, clock=clock, host=host, flush_seconds=None)
    transport = world.split(0)._transport
    comm = Communicator(transport, recorder, nodes=[0, 1])
    comm.align_clocks()
    x, other = np.zeros(1), 1 - world.rank
    for _ in range(50):  # half a second, in which the clocks drift apart
        for op in (comm.send, comm.recv) if world.rank == 0 else (comm.recv, comm.send):
            op(x, other)
        time.sleep(0.01)
    comm.align_clocks()
    recorder.close()
    world.barrier()
    if world.rank == 0:
        trace = read(folder)
        shutil.rmtree(folder)
        pairs, clocks = pair_messages(trace), trace.ranks[1].clocks
        assert len(pairs) == 100 and len(clocks) == 2 and not trace.problems
        there, back = ([pair for pair in pairs if pair[0] == rank] for rank in (0, 1))
        slack = max(note.round_trip for note in clocks)  # their clocks are at least 5,000,000 ns apart
        moved = re.findall(r"arrived before they were sent, by up to (\d+) µs", " ".join(trace.notes))
        assert all(1000 * int(microseconds) < slack + 500 for microseconds in moved)
        for (_, sent, _, got), (_, answer, _, end) in zip(there, back, strict=True):
            whole = end.end - sent.start + slack
            assert 0 <= got.end - sent.start <= whole and 0 <= end.end - answer.start <= whole
