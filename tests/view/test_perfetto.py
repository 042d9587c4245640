"""Trace Event JSON against the rules that Perfetto draws it by, with a validator of its own."""

import json
import random
from collections import defaultdict
from functools import partial
from itertools import pairwise
from operator import attrgetter
from pathlib import Path

import numpy as np
import pytest
from ranks import run_ranks
from steps_taken import steps_taken

from mpipar.arrays import asarray
from mpipar.cli.trace import trace_perfetto
from mpipar.comm.virtual import run
from mpipar.errors import TraceError
from mpipar.trace import Event, RankTrace, Trace, pair_messages, read
from mpipar.view.perfetto import trace_events, write_perfetto


def ns(microseconds):
    """As older versions of Perfetto read it: cut off, not rounded."""
    assert int(microseconds * 1000) == round(microseconds * 1000)
    return int(microseconds * 1000)


class Checked:
    """The file's rows, after every rule that holds for all of them has been checked."""

    def __init__(self, trace, tmp_path):
        write_perfetto(trace, tmp_path / "trace.json")
        rows = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
        by_kind = defaultdict(list)
        for row in rows:
            by_kind[row["ph"]].append(row)
        assert set(by_kind) <= set("MXsfC")
        assert {row["pid"] for row in rows} <= {rank + 1 for rank in trace.ranks}
        self.slices, self.names = by_kind["X"], by_kind["M"]
        self.check_names(trace)
        self.tracks = defaultdict(list)
        for row in self.slices:
            row["ns"] = (ns(row["ts"]), ns(row["ts"]) + ns(row["dur"]))
            assert ns(row["dur"]) > 0
            self.tracks[row["pid"], row["tid"]].append(row)
        for track, slices in self.tracks.items():
            self.check_nesting(slices, flat=track[1] > 1)
        self.arrows = self.check_arrows(by_kind["s"], by_kind["f"])
        self.counters = self.check_counters(by_kind["C"])

    def check_names(self, trace):
        assert {row["name"] for row in self.names} <= {"process_name", "thread_name"}
        processes = {row["pid"]: row["args"]["name"] for row in self.names if row["name"] == "process_name"}
        assert processes == {rank + 1: f"rank {rank}" for rank in trace.ranks}
        threads = {(row["pid"], row["tid"]) for row in self.names if row["name"] == "thread_name"}
        assert {(row["pid"], row["tid"]) for row in self.slices} <= threads
        assert all(tid > 0 for _, tid in threads)

    def check_nesting(self, slices, flat):
        """flat: but for `deliver`, nothing lies in anything"""
        around = []
        for row in sorted(slices, key=lambda row: (row["ns"][0], -row["ns"][1])):
            while around and around[-1]["ns"][1] <= row["ns"][0]:
                around.pop()
            assert not around or row["ns"][1] <= around[-1]["ns"][1], (row, around[-1])
            assert not flat or not around or row["name"] == "deliver"
            row["inside"] = list(around)
            around.append(row)

    def innermost(self, row):
        """The slice that an arrow's end is bound to: the innermost with the time strictly inside."""
        time = ns(row["ts"])
        found = [s for s in self.tracks[row["pid"], row["tid"]] if s["ns"][0] < time < s["ns"][1]]
        touched = [s for s in self.tracks[row["pid"], row["tid"]] if s not in found and time in s["ns"]]
        inner = max(found, key=lambda s: len(s["inside"]))
        assert all(len(s["inside"]) <= len(inner["inside"]) for s in touched)
        return inner

    def check_arrows(self, starts, points):
        by_id = {row["id"]: row for row in starts}
        assert len(by_id) == len(starts) == len(points) == len({row["id"] for row in points})
        found = {}
        for point in points:
            start = by_id[point["id"]]
            assert (start["cat"], start["name"]) == (point["cat"], point["name"])
            assert type(point["id"]) is int and point["bp"] == "e" and "bind_id" not in point
            assert ns(point["ts"]) >= ns(start["ts"])
            sender, deliver = self.innermost(start), self.innermost(point)
            assert sender["name"].startswith(("send", "isend")), sender
            assert deliver["name"] == "deliver" and ns(deliver["dur"]) <= 2
            receive = deliver["inside"][-1]
            assert "←" in receive["name"] and receive["ns"][1] == deliver["ns"][1]
            assert sender["ns"][0] < deliver["ns"][0], "Perfetto would draw it from the receive to the send"
            assert f"→ {point['pid'] - 1}" in sender["name"] and f"← {start['pid'] - 1}" in receive["name"]
            found[point["id"]] = (sender, receive, start, point)
        return found

    def check_counters(self, rows):
        levels = defaultdict(list)
        for row in (row for row in rows if row["name"] == "bytes in flight"):
            levels[row["pid"]].append((ns(row["ts"]), row["args"]["bytes"]))
        for series in levels.values():
            assert all(a < b for (a, _), (b, _) in pairwise(series))
            assert min(level for _, level in series) == 0 == series[-1][1]
        return levels


def everything(world):
    rank, p = world.rank, world.size
    right, left = (rank + 1) % p, (rank - 1) % p
    x = asarray(np.arange(8.0) + rank)
    with world.scope("train", 0):
        with world.scope("forward"):
            world.pause(1e-3 * (1 + 3 * (rank == 2)))
        world.allreduce(x, algorithm="ring")
        with world.scope("empty"):
            pass
    with world.scope("overlap"):
        outs = [asarray(np.empty(20000)) for _ in range(3)]
        requests = [world.irecv(out, left, tag=i) for i, out in enumerate(outs)]
        requests += [world.isend(asarray(np.ones(20000)), right, tag=i) for i in range(3)]
        world.pause(1e-4)
        for request in requests[::-1] if rank else requests:
            request.wait()
    world.barrier()
    world.bcast(x, root=p - 1)
    world.alltoall(asarray(np.arange(float(p))))


def trace_of(program, p, tmp_path):
    run(program, p, trace=tmp_path / "t", values=True)
    return read(tmp_path / "t")


def by_hand(*ranks):
    """A trace of these events, rank by rank."""
    files = {r: RankTrace(r, sorted(of, key=attrgetter("seq"))) for r, of in enumerate(ranks)}
    return Trace(Path("none"), {}, len(ranks), files, [])


@pytest.mark.parametrize("p", [1, 2, 3, 5])
def test_all_rules_hold_for_all_kinds_of_events(p, tmp_path):
    trace = trace_of(everything, p, tmp_path)
    found = Checked(trace, tmp_path)
    assert len(found.arrows) == len(pair_messages(trace))
    rings = [row for row in found.slices if row["name"] == "allreduce ring"]
    assert len(rings) == p
    assert all([s["name"] for s in ring["inside"]] == ["train"] for ring in rings)
    hops = [row for row in found.slices if row.get("args", {}).get("phase") == "allgather"] if p > 1 else []
    assert all([s["name"] for s in hop["inside"]] == ["train", "allreduce ring"] for hop in hops)
    empty = [row for row in found.slices if row["name"] == "empty"]
    assert [[s["name"] for s in row["inside"]] for row in empty] == p * [["train"]]


@pytest.mark.parametrize("seed", range(8))
def test_random_programs(seed, tmp_path):
    """Messages in random order, most of which take no time at all on the virtual clock."""

    def program(world):
        choice, mine = random.Random(seed), random.Random(f"{seed}, {world.rank}")
        for tag in range(25):
            source, dest = choice.sample(range(world.size), 2)
            nonblocking, n = choice.random() < 0.5, choice.choice([0, 1, 5000])
            requests = []
            with world.scope(f"part {tag}"):
                world.pause(mine.choice([0, 0, 1e-9, 1e-6]))
                if world.rank == source:
                    requests += [world.isend(asarray(np.ones(n)), dest, tag)] if nonblocking else []
                    nonblocking or world.send(asarray(np.ones(n)), dest, tag)
                if world.rank == dest:
                    out = asarray(np.empty(n))
                    requests += [world.irecv(out, source, tag)] if nonblocking else []
                    nonblocking or world.recv(out, source, tag)
                for request in requests:
                    if not request.test():
                        request.wait()
            if choice.random() < 0.2:
                world.allreduce(asarray(np.ones(3)))

    trace = trace_of(program, 4, tmp_path)
    assert len(Checked(trace, tmp_path).arrows) == len(pair_messages(trace))


def test_a_late_senders_arrow_points_to_the_receiver(tmp_path):
    """The receive began 2 ms before the send: to its box an arrow would be drawn backwards."""

    def program(world):
        if world.rank == 0:
            world.pause(2e-3)
            world.send(asarray(np.ones(4)), 1)
        else:
            world.recv(asarray(np.empty(4)), 0)

    found = Checked(trace_of(program, 2, tmp_path), tmp_path)
    ((sender, receive, start, point),) = found.arrows.values()
    assert receive["ns"][0] == 0 and sender["ns"][0] == 2_000_000
    assert (start["pid"], point["pid"]) == (1, 2)
    assert receive["args"]["bytes"] == 32 and receive["args"]["dtype"] == "float64"
    assert receive["args"]["site"].startswith("tests/view/test_perfetto.py:")
    assert found.counters == {1: [(ns(start["ts"]), 32), (ns(point["ts"]), 0)]}


def test_times_are_exact_where_there_is_room(tmp_path):
    sends = [Event(1, "send", 10_000_000_001_111, 10_000_000_002_345, peer=1, tag=0, bytes=8)]
    around = Event(0, "scope", 10_000_000_000_007, 10_000_000_003_000, scope="a")
    receives = [Event(0, "recv", 10_000_000_000_500, 10_000_000_002_999, peer=0, tag=0, bytes=8)]
    found = Checked(by_hand([around, *sends], receives), tmp_path)
    at = {row["name"]: row["ns"] for row in found.slices}
    assert at == {"a": (0, 2993), "send → 1": (1104, 2338), "recv ← 0": (493, 2992), "deliver": (2990, 2992)}


def test_everything_at_one_moment(tmp_path):
    """300 messages through three ranks within the same nanosecond."""
    first = [Event(k, "send", 5, 5, peer=1, tag=0, bytes=1) for k in range(300)]
    last = [Event(k, "recv", 5, 5, peer=1, tag=0, bytes=1) for k in range(300)]
    middle = [Event(0, "scope", 5, 5, scope="all")]
    for k in range(1, 600, 2):
        middle.append(Event(k, "recv", 5, 5, peer=0, tag=0, bytes=1, scope="all"))
        middle.append(Event(k + 1, "send", 5, 5, peer=2, tag=0, bytes=1, scope="all"))
    found = Checked(by_hand(first, middle, last), tmp_path)
    assert len(found.arrows) == 600
    assert max(row["ns"][1] for row in found.slices) < 3_000


def test_a_clock_that_is_behind_does_not_turn_arrows_round(tmp_path):
    sends = [Event(k, "send", 1000 + k, 1001 + k, peer=1, tag=0, bytes=8) for k in range(3)]
    receives = [Event(k, "recv", 10 * k, 10 * k + 5, peer=0, tag=0, bytes=8) for k in range(3)]
    assert len(Checked(by_hand(sends, receives), tmp_path).arrows) == 3


def test_messages_without_a_partner_have_no_arrow(tmp_path):
    sends = [Event(k, "send", 10 * k, 10 * k + 5, peer=1, tag=k, bytes=8) for k in range(3)]
    found = Checked(by_hand(sends, [Event(0, "recv", 0, 40, peer=0, tag=1, bytes=8)]), tmp_path)
    assert [point["ts"] for *_, point in found.arrows.values()] == [0.039]
    assert [level for _, level in found.counters[1]] == [8, 0]


def test_a_trace_that_contradicts_itself_loses_an_arrow_and_nothing_else(tmp_path):
    """Each rank receives what the other sends only afterwards."""
    ranks = []
    for peer in (1, 0):
        first = Event(0, "recv", 0, 10, peer=peer, tag=0, bytes=8)
        ranks.append([first, Event(1, "send", 20, 30, peer=peer, tag=0, bytes=8)])
    found = Checked(by_hand(*ranks), tmp_path)
    assert len(found.arrows) == 1 and len(found.slices) == 4 + 1


def test_copies_lie_in_the_message_that_they_were_made_for(tmp_path):
    copies = [Event(k, "copy", 10 * k, 10 * k + 10, algorithm="device to host") for k in (1, 2, 3)]
    message = Event(4, "send", 15, 45, peer=0, tag=0)
    found = Checked(by_hand([copies[0], *copies[1:], message]), tmp_path)
    inside = [[s["name"] for s in row["inside"]] for row in found.slices if row["cat"] == "copy"]
    assert inside == [[], ["send → 0"], ["send → 0"]]


def test_memory_is_a_counter(tmp_path):
    held = [Event(k, "memory", 10 * k, 10 * k, bytes=1000 * k, algorithm="host") for k in (1, 2)]
    rows = trace_events(by_hand([Event(0, "scope", 0, 20, scope="a"), *held]))
    found = [(row["name"], row["ts"], row["args"]["bytes"]) for row in rows if row["ph"] == "C"]
    assert found == [("host memory", 0.01, 1000), ("host memory", 0.02, 2000)]
    assert [row["name"] for row in rows if row["ph"] == "X"] == ["a"]


def test_a_killed_rank_leaves_hops_without_their_collective(tmp_path):
    hop = Event(5, "send", 10, 20, peer=0, tag=0, bytes=8, parent=3)
    assert [row["name"] for row in Checked(by_hand([], [hop]), tmp_path).slices] == ["send → 0"]


def test_requests_take_as_many_tracks_as_overlap(tmp_path):
    ends = [(0, 10), (2, 30), (10, 20), (12, 14), (20, 21), (35, 36)]  # at most 3 at once
    requests = [Event(k, "isend", a * 100, b * 100, peer=0, tag=9) for k, (a, b) in enumerate(ends)]
    found = Checked(by_hand(requests), tmp_path)
    assert {tid for _, tid in found.tracks} == {2, 3, 4}


def exchanges(count):
    def events(rank):
        for k in range(count):
            op, peer = ("send", rank ^ 1) if (k + rank) % 2 == 0 else ("recv", rank ^ 1)
            yield Event(k, op, 100 * k, 100 * k + 150, "world", peer, 0, 8, "float64", (1,), site="a.py:1")

    return by_hand(*(events(rank) for rank in range(4)))


def test_an_event_takes_as_many_steps_in_a_long_trace_as_in_a_short_one():
    """Measured 152, in 15 µs."""
    short, long = (steps_taken(partial(trace_events, exchanges(n))) / (4 * n) for n in (100, 1000))
    assert long < 300 and abs(long - short) < 2


def test_a_run_under_mpirun_and_the_command(tmp_path, capsys):
    script = tmp_path / "job.py"
    script.write_text(
        "import sys, numpy as np, mpipar as mp\n"
        "world = mp.world(trace=sys.argv[1])\n"
        "world.allreduce(np.ones(6), algorithm='ring')\n"
    )
    made = run_ranks(3, [str(script), str(tmp_path / "t")])
    assert made.returncode == 0, made.stderr
    assert len(Checked(read(tmp_path / "t"), tmp_path).arrows) == 12
    trace_perfetto(tmp_path / "t", tmp_path / "x.json")
    said = capsys.readouterr().out
    assert "12 arrows" in said and "ui.perfetto.dev" in said
    assert json.loads((tmp_path / "x.json").read_text())["traceEvents"]


def test_a_file_that_cannot_be_written_is_one_sentence(tmp_path):
    with pytest.raises(TraceError, match=r"cannot write .*x\.json \(No such file or directory\)"):
        write_perfetto(by_hand([]), tmp_path / "nowhere" / "x.json")
