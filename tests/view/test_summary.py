"""The table of messages: counts, bytes and bounds of runs whose messages are known."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from ranks import ranks, run_ranks
from rich.console import Console

from mpipar.arrays import asarray
from mpipar.comm import Communicator
from mpipar.cost import busiest_rank_bytes
from mpipar.trace import Event, Recorder, prepare_folder, read
from mpipar.view import (
    hops,
    kinds,
    print_hops,
    print_summary,
    readable_bytes,
    readable_count,
    readable_path,
    readable_time,
    summary_rows,
)


def traced(world, tmp, **options):
    """A communicator of the same ranks that records into the folder `tmp`."""
    if world.rank == 0:
        prepare_folder(tmp, {"size": world.size})
    world.barrier()
    recorder = Recorder(tmp, world.rank, world.size, **options)
    return Communicator(world._transport, recorder)


def shared_folder(world, tmp_name):
    """A folder of this name that all ranks know."""
    import tempfile

    path = np.zeros(200, np.uint8)
    if world.rank == 0:
        name = str(Path(tempfile.mkdtemp()) / tmp_name).encode()
        path[: len(name)] = list(name)
    return bytes(world.bcast(path)).rstrip(b"\0").decode()


@ranks(1, 2, 3, 4)
def test_counts_and_bounds_of_a_known_run(world):
    folder, p = shared_folder(world, "known"), world.size
    comm = traced(world, folder)
    x = asarray(np.ones(12 * p))
    comm.allreduce(x, algorithm="ring")
    comm.allreduce(x, algorithm="ring", out=x)
    comm.allreduce(x, algorithm="naive")
    comm.bcast(x, root=p - 1, algorithm="linear")
    comm.recorder.close()
    world.barrier()
    found = {kind.name: kind for kind in kinds(read(folder))}
    n = x.nbytes
    ring, naive, bcast = (found[k] for k in ("allreduce ring", "allreduce naive", "bcast linear"))
    assert (ring.calls, ring.messages, ring.bytes) == (2, 2 * 2 * (p - 1) * p, 2 * 2 * (p - 1) * n)
    assert (naive.calls, naive.messages, naive.bytes) == (1, 2 * (p - 1), 2 * (p - 1) * n)
    assert (bcast.calls, bcast.messages, bcast.bytes) == (1, p - 1, (p - 1) * n)
    if p > 1:
        assert ring.ratio == 1.0
        assert naive.ratio == p / 2
        assert bcast.ratio == p - 1
        assert ring.nanoseconds > 0


@ranks(4)
def test_groups_are_held_against_their_own_bound(world):
    """Two groups of two ranks call at once: a ring is as good as can be, in each of them."""
    folder = shared_folder(world, "groups")
    comm = traced(world, folder)
    half = comm.split(world.rank % 2)
    for _ in range(3):
        half.allreduce(asarray(np.ones(8)), algorithm="ring")
    comm.recorder.close()
    world.barrier()
    ring = next(kind for kind in kinds(read(folder)) if kind.name == "allreduce ring")
    assert (ring.calls, ring.busiest, ring.bound, ring.ratio) == (6, 6 * 64, 6 * 64, 1.0)


@ranks(2, 3, 4)
def test_changing_roots_are_held_against_the_bound_call_by_call(world):
    """Every rank is once the root that sends all of it, and only then the busiest."""
    folder, p = shared_folder(world, "roots"), world.size
    comm = traced(world, folder)
    for root in range(p):
        comm.bcast(asarray(np.ones(8)), root=root, algorithm="linear")
    comm.recorder.close()
    world.barrier()
    bcast = next(kind for kind in kinds(read(folder)) if kind.name == "bcast linear")
    assert (bcast.calls, bcast.busiest, bcast.bound) == (p, p * (p - 1) * 64, p * 64)
    assert bcast.ratio == p - 1


@ranks(3)
def test_an_incomplete_trace_has_no_ratio(world):
    folder = shared_folder(world, "incomplete")
    comm = traced(world, folder)
    comm.allreduce(asarray(np.ones(6)), algorithm="ring")
    comm.recorder.close()
    world.barrier()
    if world.rank == 0:
        (Path(folder) / "rank-0002.jsonl").unlink()
        trace = read(folder)
        ring = next(row for row in summary_rows(trace) if row["kind"] == "allreduce ring")
        assert (ring["calls"], ring["lower_bound_bytes"], ring["ratio"]) == (1, None, None)
        output = io.StringIO()
        print_summary(trace, Console(file=output, width=100))
        assert "note: parts of the trace are missing" in output.getvalue()
        assert "1.00 " not in output.getvalue()
    world.barrier()


@ranks(2, virtual=())  # virtual ranks have no native collectives
def test_messages_of_a_user_and_native_collectives(world):
    folder = shared_folder(world, "mine")
    comm = traced(world, folder)
    other = 1 - world.rank
    comm.sendrecv(asarray(np.ones(4)), other, other)
    request = comm.irecv(asarray(np.ones(4)), other)
    comm.isend(asarray(np.ones(4)), other).wait()
    request.wait()
    comm.allreduce(asarray(np.ones(4)), algorithm="native")
    comm.recorder.close()
    world.barrier()
    found = {row["kind"]: row for row in summary_rows(read(folder))}
    assert (found["send, recv"]["messages"], found["send, recv"]["bytes"]) == (2, 64)
    assert (found["isend, irecv"]["messages"], found["isend, irecv"]["busiest_rank_bytes"]) == (2, 32)
    native = next(row for kind, row in found.items() if "native" in kind)
    if native["kind"] == "allreduce native":
        assert native["messages"] is None and native["ratio"] is None
    else:  # virtual ranks have no native collectives, and say what stood in
        assert native["kind"].endswith("(for native)") and native["messages"] > 0


@ranks(3, 4)
def test_hops_of_a_ring_come_in_logical_order_with_their_numbers(world):
    folder, p = shared_folder(world, "hops"), world.size
    comm = traced(world, folder, values=True)
    comm.allreduce(asarray(np.full(p, 2.0**world.rank)), algorithm="ring")
    comm.recorder.close()
    world.barrier()
    found = hops(read(folder), "allreduce")
    assert [(h.step, h.sender, h.receiver) for h in found] == [
        (step, r, (r + 1) % p) for step in range(1, 2 * p - 1) for r in range(p)
    ]
    for h in found:  # in step s a rank passes on the sum over itself and the s-1 ranks before it
        holds = sum(2.0 ** ((h.sender - k) % p) for k in range(h.step)) if h.step < p else 2.0**p - 1
        assert h.sent.values == h.received.values == [holds]
    output = io.StringIO()
    print_hops(found[:2], Console(file=output, width=100))
    assert "rank 0 → 1" in output.getvalue() and "reduce-scatter" in output.getvalue()


@ranks(2)
def test_hops_show_numbers_that_json_has_no_word_for(world):
    folder = shared_folder(world, "nan")
    comm = traced(world, folder, values=True)
    if world.rank == 0:
        comm.send(asarray(np.array([[np.nan, np.inf], [-np.inf, 0.5]])), 1)
        comm.send(asarray(np.array(7.0)), 1)
    else:
        comm.recv(asarray(np.empty((2, 2))), 0)
        comm.recv(asarray(np.array(0.0)), 0)
    comm.recorder.close()
    world.barrier()
    trace = read(folder)
    assert trace.problems == []
    assert [h.sent.values for h in hops(trace)] == [["nan", "inf", "-inf", 0.5], [7.0]]
    output = io.StringIO()
    print_hops(hops(trace), Console(file=output, width=100))
    first, second = output.getvalue().splitlines()[1:]
    assert first.rstrip().endswith("32 B         nan inf -inf 0.5") and second.rstrip().endswith(" 7")


def test_steps_wait_for_what_was_sent(tmp_path):
    """A chain 0 → 1 → 2 takes steps 1 and 2; an answer to a message comes after it."""
    prepare_folder(tmp_path / "t", {"size": 3})
    plans = {0: [("send", 1), ("recv", 2)], 1: [("recv", 0), ("send", 2)], 2: [("recv", 1), ("send", 0)]}
    for rank, plan in plans.items():
        recorder = Recorder(tmp_path / "t", rank, 3, flush_seconds=None)
        for time, (op, peer) in enumerate(plan):
            recorder.add(Event(recorder.begin(), op, time, time + 1, "world", peer, 0))
        recorder.close()
    steps = [(h.step, h.sender, h.receiver) for h in hops(read(tmp_path / "t"))]
    assert steps == [(1, 0, 1), (2, 1, 2), (3, 2, 0)]


def test_an_unfinished_collective_is_shown_as_such(tmp_path):
    prepare_folder(tmp_path / "t", {"size": 1})
    recorder = Recorder(tmp_path / "t", 0, 1, flush_seconds=None)
    recorder.add(Event(recorder.begin(), "send", 0, 1, "world", 0, 0, 8, parent=99))
    recorder.close()
    assert [kind.name for kind in kinds(read(tmp_path / "t"))] == ["unfinished collective"]


def test_the_table_names_what_is_missing(tmp_path):
    prepare_folder(tmp_path / "t", {"size": 2})
    output = io.StringIO()
    print_summary(read(tmp_path / "t"), Console(file=output, width=100))
    assert "no messages were recorded" in output.getvalue()
    assert "note: 2 of 2 ranks left no file: 0, 1" in output.getvalue()


def test_bounds_of_the_table():
    n, p = 1000, 4
    assert busiest_rank_bytes("allreduce", n, p) == 1500
    assert busiest_rank_bytes("reduce_scatter", n, p) == busiest_rank_bytes("allgather", n, p) == 750
    assert busiest_rank_bytes("bcast", n, p) == 1000
    assert all(busiest_rank_bytes(op, n, 1) == 0 for op in ("bcast", "allreduce", "scan", "alltoall"))
    assert busiest_rank_bytes("barrier", 0, p) == 0


@pytest.mark.parametrize(
    ("n", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (3 << 20, "3.0 MiB"), (5 << 40, "5.0 TiB")],
)
def test_bytes(n, text):
    assert readable_bytes(n) == text


@pytest.mark.parametrize(("n", "text"), [(0, "0 ranks"), (1, "1 rank"), (4, "4 ranks")])
def test_counts(n, text):
    assert readable_count(n, "rank") == text


def test_paths_below_here_are_relative(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert readable_path(tmp_path / "traces" / "mine") == "traces/mine"
    assert readable_path("traces/mine") == "traces/mine"
    assert readable_path("/nowhere/mine") == "/nowhere/mine"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 ns"), (2e-8, "20 ns"), (0.00025, "250 µs"), (0.0123, "12.3 ms"), (1.5, "1.5 s"), (512, "512 s")],
)
def test_times(seconds, text):
    assert readable_time(seconds) == text


def test_summary_from_the_command_line(tmp_path):
    script = tmp_path / "job.py"
    script.write_text(
        "import sys, numpy as np, mpipar as mp\n"
        "world = mp.world(trace=sys.argv[1])\n"
        "world.allreduce(np.ones(6), algorithm='ring')\n"
    )
    run = run_ranks(3, [str(script), str(tmp_path / "t")])
    assert run.returncode == 0, run.stderr
    command = ["-m", "mpipar.cli", "trace", "summary", str(tmp_path / "t")]
    shown = run_ranks(1, command)
    assert "allreduce ring" in shown.stdout and "1.00" in shown.stdout, shown.stderr
    report = json.loads(run_ranks(1, [*command, "--json"]).stdout)
    assert report["problems"] == []
    row = next(row for row in report["kinds"] if row["kind"] == "allreduce ring")
    assert (row["messages"], row["bytes"], row["ratio"]) == (12, 4 * 48, 1.0)
