"""Wait states of traces whose waits are known beforehand."""

import numpy as np
import pytest
from made_traces import event, in_ms, made

from mpipar.arrays import asarray
from mpipar.comm.network import Network
from mpipar.comm.virtual import run
from mpipar.trace import Recorder, prepare_folder, read
from mpipar.view import waits
from mpipar.view.waits import wait_states

FREE = Network(0.0, 0.0, 0.0)
LARGE = 100_000  # bytes: more than is sent eagerly


def virtual(folder, function, size, network=FREE):
    """The waits, rounded to µs, of a program on virtual ranks whose only times are its pauses."""
    run(function, size, network=network, trace=folder)
    found = [wait for wait in waits(read(folder)) if wait.length > 10]
    return [(r, round(a, 3), round(b, 3), cause, culprit) for r, a, b, cause, culprit in in_ms(found)]


def test_late_sender(tmp_path):
    trace = made(
        tmp_path / "t",
        [event("recv", 0, 6, peer=1, tag=0, site="a.py:1")],
        [event("send", 5, 6, peer=0, tag=0, site="a.py:2")],
    )
    (wait,) = waits(trace)
    assert in_ms([wait]) == [(0, 0, 5, "late sender", 1)]
    assert (wait.event.site, wait.culprit_event.site) == ("a.py:1", "a.py:2")


def test_late_sender_of_a_nonblocking_receive_counts_only_the_wait(tmp_path):
    trace = made(
        tmp_path / "t",
        [event("irecv", 0, 6, peer=1, tag=0), event("wait", 2, 6, parent=0)],
        [event("send", 5, 6, peer=0, tag=0)],
    )
    (wait,) = waits(trace)
    assert in_ms([wait]) == [(0, 2, 5, "late sender", 1)]
    assert (wait.event.op, wait.request.op) == ("wait", "irecv")


@pytest.mark.parametrize("wait", [False, True])
def test_late_receiver_holds_up_a_large_send(tmp_path, wait):
    def program(world):
        x = asarray(np.zeros(LARGE, np.uint8))
        if world.rank == 0:
            world.isend(x, 1).wait() if wait else world.send(x, 1)
        else:
            world.pause(0.005)
            world.recv(x, 0)

    assert virtual(tmp_path / "t", program, 2) == [(0, 0, 5, "late receiver", 1)]


def test_a_buffered_send_waits_for_nobody(tmp_path):
    def program(world):
        x = asarray(np.zeros(8, np.uint8))
        if world.rank == 0:
            world.send(x, 1)
        else:
            world.pause(0.005)
            world.recv(x, 0)

    assert virtual(tmp_path / "t", program, 2) == []


def test_a_sendrecv_waits_for_its_sender_and_then_for_its_receiver(tmp_path):
    trace = made(
        tmp_path / "t",
        [event("send", 0, 9, peer=1, tag=0, site="s"), event("recv", 0, 9, peer=2, tag=0, site="s")],
        [event("recv", 8, 9, peer=0, tag=0)],
        [event("send", 5, 6, peer=0, tag=0)],
    )
    assert in_ms(waits(trace)) == [(0, 0, 5, "late sender", 2), (0, 5, 8, "late receiver", 1)]


@pytest.mark.parametrize("op", ["allreduce", "allgather", "reduce_scatter", "alltoall", "barrier", "split"])
def test_all_wait_for_the_last_to_enter(tmp_path, op):
    calls = [[event(op, start, 8, algorithm="native")] for start in (0, 2, 7)]
    trace = made(tmp_path / "t", *calls)
    assert in_ms(waits(trace)) == [(0, 0, 7, "collective", 2), (1, 2, 7, "collective", 2)]


@pytest.mark.parametrize(
    ("op", "root", "expected"),
    [
        ("bcast", 1, [(0, 0, 5, "collective", 1)]),
        ("scatter", 1, [(0, 0, 5, "collective", 1)]),
        ("reduce", 1, [(1, 5, 7, "collective", 2)]),
        ("gather", 0, [(0, 0, 7, "collective", 2)]),
        ("scan", -1, []),
    ],
)
def test_rooted_collectives_whose_messages_are_unseen(tmp_path, op, root, expected):
    calls = [[event(op, start, 9, algorithm="native", peer=root)] for start in (0, 5, 7)]
    assert in_ms(waits(made(tmp_path / "t", *calls))) == expected


def test_an_unseen_scan_waits_for_lower_ranks_only(tmp_path):
    calls = [[event("scan", start, 9, algorithm="native")] for start in (5, 0, 7)]
    assert in_ms(waits(made(tmp_path / "t", *calls))) == [(1, 0, 5, "collective", 0)]


@pytest.mark.parametrize("algorithm", ["linear", "binomial"])
def test_all_of_a_bcast_wait_for_a_late_root(tmp_path, algorithm):
    def program(world):
        world.pause(0.005 if world.rank == 0 else 0.001)
        world.bcast(asarray(np.ones(4)), root=0, algorithm=algorithm)

    expected = [(rank, 1, 5, "collective", 0) for rank in (1, 2, 3)]
    assert virtual(tmp_path / "t", program, 4, Network(1e-6, 0.0, 0.0)) == expected


def test_in_a_tree_the_ranks_below_a_late_one_wait_for_it(tmp_path):
    """A binomial bcast among 4 ranks: 0 sends to 1 and 2, and 1 passes it on to 3."""

    def program(world):
        world.pause(0.005 if world.rank == 1 else 0.001)
        world.bcast(asarray(np.ones(4)), root=0, algorithm="binomial")

    assert virtual(tmp_path / "t", program, 4, Network(1e-6, 0.0, 0.0)) == [(3, 1, 5, "collective", 1)]


def test_the_root_of_a_reduce_waits_for_the_last_child(tmp_path):
    def program(world):
        world.pause(0.001 * (1 + world.rank))
        world.reduce(asarray(np.ones(4)), root=0)

    found = virtual(tmp_path / "t", program, 4, Network(1e-6, 0.0, 0.0))
    assert (0, 1, 4, "collective", 3) in found
    assert all(rank != 3 for rank, *_ in found)


def test_a_large_bcast_is_held_up_by_a_late_receiver(tmp_path):
    def program(world):
        world.pause(0.005 if world.rank == 1 else 0.0)
        world.bcast(asarray(np.zeros(LARGE, np.uint8)), root=0, algorithm="linear")

    assert virtual(tmp_path / "t", program, 2) == [(0, 0, 5, "collective", 1)]


def test_a_receive_from_anybody_waits_for_the_one_that_came(tmp_path):
    def program(world):
        x = asarray(np.zeros(1))
        if world.rank == 0:
            world.recv(x)
            world.recv(x)
        else:
            world.pause(0.004 if world.rank == 1 else 0.002)
            world.send(x, 0)

    expected = [(0, 0, 2, "late sender", 2), (0, 2, 4, "late sender", 1)]
    assert virtual(tmp_path / "t", program, 3, Network(1e-9, 0.0, 0.0)) == expected


def test_what_cannot_be_known_is_said_and_not_guessed(tmp_path):
    trace = made(
        tmp_path / "t",
        [event("recv", 0, 5, peer=1, tag=0), event("allreduce", 5, 9, algorithm="native")],
        size=2,
    )
    found, unknown = wait_states(trace)
    assert found == []
    assert [(u.event.op, u.reason) for u in unknown] == [
        ("recv", "the other side of the message is not in the trace"),
        ("allreduce", "the trace lacks this call on rank 1"),
    ]


def test_a_pair_that_cannot_be_one_is_no_wait(tmp_path):
    """The receive had ended before the send began: parts of the trace are lost."""
    trace = made(tmp_path / "t", [event("recv", 0, 1, peer=1, tag=0)], [event("send", 5, 6, peer=0, tag=0)])
    assert waits(trace) == []


def test_a_killed_rank_leaves_hops_without_their_collective(tmp_path):
    trace = made(
        tmp_path / "t",
        [event("recv", 0, 6, peer=1, tag=0, parent=99), event("wait", 6, 7, parent=98)],
        [event("send", 5, 6, peer=0, tag=0, parent=99)],
        closed=False,
    )
    assert in_ms(waits(trace)) == [(0, 0, 5, "late sender", 1)]


def test_an_empty_trace_and_a_message_to_oneself_have_no_waits(tmp_path):
    prepare_folder(tmp_path / "empty", {"size": 2})
    Recorder(tmp_path / "empty", 0, 2, flush_seconds=None).close()
    assert waits(read(tmp_path / "empty")) == []
    alone = [
        event("irecv", 0, 3, peer=0, tag=0),
        event("send", 1, 2, peer=0, tag=0),
        event("wait", 0, 3, parent=0),
    ]
    assert waits(made(tmp_path / "alone", alone)) == []
