"""The table of messages: counts, bytes and bounds of runs whose messages are known."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from made_traces import event, made
from ranks import ranks, run_python, run_ranks
from rich.console import Console

from mpipar.arrays import asarray
from mpipar.comm import Communicator
from mpipar.comm.virtual import run as run_virtual
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
    report,
    summary_rows,
)
from mpipar.view.units import percent, readable_rate


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


def printed(trace, serial=None):
    output = io.StringIO()
    print_summary(trace, Console(file=output, width=100), serial)
    return output.getvalue()


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


def test_kinds_are_told_apart_by_the_axis_of_their_communicator(tmp_path):
    def program(world):
        x = asarray(np.ones(8))
        for axis, color in (("tp", world.rank // 2), ("dp", world.rank % 2)):
            group = world.split(color, axis=axis)
            group.allreduce(x, algorithm="ring")
        world.allreduce(x, algorithm="ring")

    run_virtual(program, 4, trace=tmp_path / "t")
    trace = read(tmp_path / "t")
    rows = {row["axis"]: row for row in summary_rows(trace) if row["kind"] == "allreduce ring"}
    assert {axis: (row["calls"], row["messages"], row["ratio"]) for axis, row in rows.items()} == {
        "tp": (2, 8, 1.0),
        "dp": (2, 8, 1.0),
        None: (1, 24, 1.0),
    }
    assert "  axis  " in printed(trace)
    assert "axis" not in printed(made(tmp_path / "u", [event("send", 0, 1, peer=0, tag=0)]))


def test_time_share_and_rate_of_a_kind(tmp_path):
    """A sendrecv of 5 ms is 5 ms, not 10; a wait's time is its request's kind's."""
    first = [
        event("send", 0, 5, peer=1, tag=0, bytes=1000, site="s"),
        event("recv", 0, 5, peer=1, tag=0, bytes=1000, site="s"),
        event("irecv", 5, 10, peer=1, tag=1, bytes=8),
        event("wait", 7, 10, parent=2),
    ]
    second = [
        event("send", 0, 5, peer=0, tag=0, bytes=1000, site="s"),
        event("recv", 0, 5, peer=0, tag=0, bytes=1000, site="s"),
        event("isend", 5, 10, peer=0, tag=1, bytes=8),
    ]
    found = {row["kind"]: row for row in summary_rows(made(tmp_path / "t", first, second))}
    blocking, loose = found["send, recv"], found["isend, irecv"]
    assert (blocking["seconds_a_rank"], blocking["share"]) == (0.005, 0.5)
    assert blocking["bytes_a_second"] == pytest.approx(1000 / 0.005)
    assert (loose["seconds_a_rank"], loose["share"], loose["bytes_a_second"]) == (0.0015, 0.15, None)


def test_the_figures_stand_below_the_tables(tmp_path):
    ranks_ = [
        [
            event("scope", 0, work, scope="train", step=0),
            event("barrier", work, 10, algorithm="native"),
            event("memory", 1, 1, bytes=3 << 20, algorithm="host"),
        ]
        for work in (4, 8)
    ]
    serial = made(tmp_path / "s", [event("scope", 0, 16, scope="train", step=0)])
    text = printed(made(tmp_path / "t", *ranks_), serial)
    assert max(map(len, text.splitlines())) <= 100
    assert "0     4 ms   40 %     6 ms   60 %     4 ms   40 %      0 %    3.0 MiB" in text
    assert "steps: 1, 8 ms a step" in text
    assert "load balance: max / avg of the computing times 1.33" in text
    assert "speed-up: 2.00 on 2 ranks, efficiency 100 % (time a step: 16 ms on one rank, 8 ms here)" in text


def test_a_pipeline_is_held_against_its_formula(tmp_path):
    stages = [[event("scope", r, r + 2, scope=f"pipeline gpipe/{r}F0")] for r in range(2)]
    text = printed(made(tmp_path / "t", *stages))
    assert "pipeline gpipe: 33 % of the pipeline's time is bubble, by the formula (P-1)/(m+P-1) 50 %" in text


def test_a_table_of_many_ranks_is_cut(tmp_path):
    text = printed(made(tmp_path / "t", *[[event("scope", 0, 1, scope="a")]] * 20))
    assert "Time of each rank (4 more by --json)" in text


@ranks(2, virtual=())  # `traced` reads the real clock
def test_the_report_at_the_end_of_a_program_is_short(world):
    folder = shared_folder(world, "short")
    comm = traced(world, folder)
    with comm.scope("slow"):
        comm.pause(0.001 if world.rank else 0.05)
    comm.allreduce(asarray(np.ones(4)), algorithm="ring")
    output = io.StringIO()
    report(comm, Console(file=output, width=100))
    if world.rank == 0:
        text = " ".join(output.getvalue().split())
        assert "allreduce ring" in text and "bound ratio" in text
        assert "of their time the ranks computed " in text and "waited for each other" in text
        assert "rank 1 waited" in text and "for rank 0 to call it, in allreduce ring at tests/view/" in text
        assert "meanwhile rank 0 computed in slow, until its allreduce" in text
        assert "trace summary" in text and "trace why" in text
    world.barrier()


def test_a_serial_trace_has_one_rank(tmp_path):
    trace = made(tmp_path / "t", [event("scope", 0, 1, scope="a")], [event("scope", 0, 1, scope="a")])
    wrong = run_python(
        ["-m", "mpipar.cli", "trace", "summary", str(trace.folder), "--serial", str(trace.folder)]
    )
    assert wrong.returncode == 2 and "has 2 ranks; record the run with -n 1 for --serial" in wrong.stderr


@pytest.mark.parametrize(
    ("share", "text"), [(0, "0 %"), (0.0001, "<0.1 %"), (0.004, "0.4 %"), (0.414, "41 %")]
)
def test_percents(share, text):
    assert percent(share) == text


@pytest.mark.parametrize(("rate", "text"), [(1.5e6, "1.4 MiB/s"), (800000, "781 KiB/s"), (5, "5 B/s")])
def test_rates(rate, text):
    assert readable_rate(rate) == text
