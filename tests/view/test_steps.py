"""Messages in logical order, against clocks counted by hand; and what `mpipar trace steps` prints."""

import io
import json

import numpy as np
import pytest
from ranks import run_python
from rich.console import Console

from mpipar.arrays import asarray
from mpipar.comm import ANY_SOURCE
from mpipar.comm.virtual import run
from mpipar.errors import TraceError
from mpipar.trace import Event, Recorder, prepare_folder, read
from mpipar.view.calls import call_list, find_call
from mpipar.view.contributions import Replayer
from mpipar.view.grid import print_replay, print_steps, step_rows
from mpipar.view.steps import hops


def numbers(n=1):
    return asarray(np.zeros(n))


def steps_of(folder):
    return [(h.step, h.sender, h.receiver, h.sent.tag) for h in hops(read(folder))]


def lines_of(folder, call=None, width=100, limit=0, **chosen):
    trace = read(folder)
    replayer, output = Replayer(trace), io.StringIO()
    of = None if call is None else find_call(replayer.calls, call)
    rows = step_rows(trace, replayer, of, **chosen)
    screen = Console(file=output, width=width)
    if of is None:
        print_steps(rows, screen, limit)
    else:
        print_replay(replayer.replay(of.number), rows, screen, limit=limit)
    return [line.rstrip() for line in output.getvalue().splitlines()]


def test_requests_between_two_waits_are_one_step(tmp_path):
    """A ring of irecv and isend is the sendrecv ring: a round is a step, whatever is waited for first."""

    def program(world):
        right, left = (world.rank + 1) % world.size, (world.rank - 1) % world.size
        for k in range(2):
            into, out = world.irecv(numbers(), left, k), world.isend(numbers(), right, k)
            for request in (into, out) if world.rank else (out, into):
                request.wait()

    run(program, 3, trace=tmp_path / "t")
    assert steps_of(tmp_path / "t") == [(k + 1, r, (r + 1) % 3, k) for k in range(2) for r in range(3)]


def test_a_request_moves_the_clock_when_it_is_waited_for(tmp_path):
    """Rank 1 posts its receive, sends to rank 2 at once (step 1), and answers after its wait (step 3)."""

    def program(world):
        if world.rank == 0:
            world.send(numbers(), 2, 1)
            world.send(numbers(), 1, 2)
            world.recv(numbers(), 1, 4)
        elif world.rank == 1:
            request = world.irecv(numbers(), 0, 2)
            world.send(numbers(), 2, 3)
            request.wait()
            world.send(numbers(), 0, 4)
        else:
            world.recv(numbers(), 1, 3)
            world.recv(numbers(), 0, 1)

    run(program, 3, trace=tmp_path / "t")
    assert steps_of(tmp_path / "t") == [(1, 1, 2, 3), (2, 0, 1, 2), (2, 0, 2, 1), (3, 1, 0, 4)]


def test_a_wildcard_receives_in_the_order_of_its_posts(tmp_path):
    def program(world):
        if world.rank == 0:
            for _ in range(2):
                world.recv(numbers(), ANY_SOURCE)
        else:
            world.pause(world.rank)
            world.send(numbers(), 0)

    run(program, 3, trace=tmp_path / "t")
    assert steps_of(tmp_path / "t") == [(1, 1, 0, 0), (2, 2, 0, 0)]


def test_a_request_that_a_test_ended_was_over_before_what_began_later(tmp_path):
    """Rank 0: irecv over at time 5 without a wait, then a send at 6: step 2. A send at 4: step 1."""
    prepare_folder(tmp_path / "t", {"size": 2})
    plans = {
        0: [("irecv", 1, 0, 0, 5), ("send", 1, 1, 4, 4), ("send", 1, 2, 6, 7)],
        1: [("send", 0, 0, 0, 1), ("recv", 0, 1, 1, 5), ("recv", 0, 2, 5, 8)],
    }
    for rank, plan in plans.items():
        recorder = Recorder(tmp_path / "t", rank, 2, flush_seconds=None)
        for op, peer, tag, start, end in plan:
            recorder.add(Event(recorder.begin(), op, start, end, "world", peer, tag))
        recorder.close()
    assert steps_of(tmp_path / "t") == [(1, 1, 0, 0), (2, 0, 1, 1), (3, 0, 1, 2)]


def test_a_collective_counts_its_own_steps(tmp_path):
    """Rank 2 comes later by a message, and yet the ring is 2 + 2 steps."""

    def program(world):
        if world.rank == 0:
            world.send(numbers(), 2)
        elif world.rank == 2:
            world.recv(numbers(), 0)
        world.allreduce(numbers(3), algorithm="ring")

    run(program, 3, trace=tmp_path / "t")
    found = [h for h in hops(read(tmp_path / "t")) if h.sent.parent >= 0]
    assert sorted(h.inner for h in found) == [1] * 3 + [2] * 3 + [3] * 3 + [4] * 3
    rows = step_rows(trace := read(tmp_path / "t"), Replayer(trace))
    assert {(row["phase"], row["phase_step"], row["phase_steps"]) for row in rows if row["call"]} == {
        (phase, k, 2) for phase in ("reduce-scatter", "allgather") for k in (1, 2)
    }


def program(world):
    with world.scope("train", step=7):
        world.allreduce(asarray(np.arange(4.0) + 10 * world.rank), algorithm="ring")
    world.sendrecv(numbers(192), 1 - world.rank, 1 - world.rank, tag=5)


def test_lines(tmp_path):
    run(program, 2, trace=tmp_path / "t")
    lines = lines_of(tmp_path / "t")
    assert len(lines) == 6 and max(map(len, lines)) <= 100
    assert lines[0].startswith(
        "step 1  rank 0 → 1  chunk 1  16 B     ring_allreduce #1 (reduce-scatter 1/1)  "
    )
    assert lines[-1].startswith("step 3  rank 1 → 0  tag 5    1.5 KiB  message ")
    assert "test_steps.py:" in lines[0] and "test_steps.py:" in lines[-1]
    few = lines_of(tmp_path / "t", limit=4)
    assert [line[:18] for line in few[:4]] == [line[:18] for line in lines[:4]]
    assert few[4].startswith("2 messages more") and len(few) == 5
    assert [line[:18] for line in lines_of(tmp_path / "t", step=7)] == [line[:18] for line in lines[:4]]
    assert len(lines_of(tmp_path / "t", rank=1)) == 6
    assert max(map(len, lines_of(tmp_path / "t", width=60))) <= 60
    with pytest.raises(TraceError, match="no rank 2; the trace has ranks 0 … 1"):
        lines_of(tmp_path / "t", rank=2)


def test_grid(tmp_path):
    run(program, 2, trace=tmp_path / "t", values=True)
    lines = lines_of(tmp_path / "t", "allreduce")
    assert lines[2:6] == [
        "at the start",
        "          chunk 0     chunk 1",
        "  rank 0   {0} 0 1     {0} 2 3",
        "  rank 1   {1} 10 11   {1} 12 13",
    ]
    assert "step 1  rank 0 → 1  chunk 1  16 B  reduce-scatter 1/1  carries 1:{0}  2 3" in lines
    assert lines[-2:] == [
        "  rank 0   Σ0-1 10 12 ✓  *Σ0-1 14 16 ✓",
        "  rank 1  *Σ0-1 10 12 ✓   Σ0-1 14 16 ✓",
    ]


def test_a_grid_of_too_many_chunks_shows_those_that_changed(tmp_path):
    run(lambda world: world.allreduce(numbers(20), algorithm="ring"), 20, trace=tmp_path / "t")
    lines = lines_of(tmp_path / "t", "ring", limit=40)
    assert max(map(len, lines)) <= 100
    assert any("of 20 chunks, 16 of 20 ranks" in line for line in lines)


def test_a_call_is_found_by_number_or_name(tmp_path):
    def several(world):
        world.barrier()
        for algorithm in ("naive", "ring", "ring"):
            world.allreduce(numbers(), algorithm=algorithm)

    run(several, 2, trace=tmp_path / "t")
    calls = call_list(read(tmp_path / "t"))
    wanted = {
        "#4": 4,
        "2": 2,
        "allreduce": 2,
        "ring": 3,
        "allreduce ring": 3,
        "ring_allreduce": 3,
        "barrier": 1,
    }
    assert {name: find_call(calls, name).number for name in wanted} == wanted
    with pytest.raises(
        TraceError, match=r"no collective 9; the trace holds #1 … #4: allreduce ring \(2\), barrier"
    ):
        find_call(calls, "9")


def test_command(tmp_path):
    run(program, 2, trace=tmp_path / "t")
    command = ["-m", "mpipar.cli", "trace", "steps", str(tmp_path / "t")]
    shown = json.loads(run_python([*command, "--json", "--collective", "1", "--limit", "3"]).stdout)
    assert shown["messages"] == 4 and len(shown["hops"]) == 3
    assert shown["replay"]["frames"][-1]["state"] == [[[0, 1], [0, 1]]] * 2
    wrong = run_python([*command, "--collective", "bcast"])
    assert wrong.returncode == 2 and wrong.stderr.startswith("mpipar: there is no collective bcast")
