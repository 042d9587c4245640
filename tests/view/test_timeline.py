"""What each rank did when, and the critical path: known ones, and laws that hold for any trace."""

from functools import partial
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_traces import MS, event, made
from steps_taken import steps_taken

from mpipar.arrays import asarray
from mpipar.comm.network import Network
from mpipar.comm.virtual import run
from mpipar.trace import Event, RankTrace, Trace, prepare_folder, read
from mpipar.view import critical_path, states, waits
from mpipar.view.why import sentences


def test_states_are_cut_at_calls_waits_and_scopes(tmp_path):
    scopes = [
        event("scope", 0, 10, scope="train"),
        event("scope", 1, 3, scope="train/forward"),
        event("scope", 3, 4, scope="train/backward"),
    ]
    trace = made(
        tmp_path / "t",
        [*scopes, event("recv", 5, 9, peer=1, tag=0), event("memory", 12, 12, bytes=8)],
        [event("send", 8, 9, peer=0, tag=0)],
    )
    assert [(s.start / MS, s.end / MS, s.kind, s.label) for s in states(trace)[0]] == [
        (0, 1, "compute", "train"),
        (1, 3, "compute", "train/forward"),
        (3, 4, "compute", "train/backward"),
        (4, 5, "compute", "train"),
        (5, 8, "waiting", "recv"),
        (8, 9, "communication", "recv"),
        (9, 10, "compute", "train"),
        (10, 12, "compute", ""),
    ]


def test_copies_in_a_call_belong_to_it_and_a_user_s_own_are_communication(tmp_path):
    events = [event("send", 0, 5, peer=0, tag=0), event("copy", 1, 2), event("copy", 6, 7, algorithm="pack")]
    found = states(made(tmp_path / "t", events))[0]
    assert [(s.start / MS, s.end / MS, s.kind, s.label) for s in found] == [
        (0, 5, "communication", "send"),
        (5, 6, "compute", ""),
        (6, 7, "communication", "copy pack"),
    ]


def test_a_sendrecv_is_one_call(tmp_path):
    first, second = (
        [event("send", begin, 5, peer=peer, tag=0), event("recv", begin, 5, peer=peer, tag=0)]
        for begin, peer in ((0, 1), (3, 0))
    )
    found = states(made(tmp_path / "t", first, second))[0]
    assert [(s.length / MS, s.kind, s.label) for s in found] == [
        (3, "waiting", "sendrecv"),
        (2, "communication", "sendrecv"),
    ]


def test_the_critical_path_of_three_ranks(tmp_path):
    """0 computes 4 ms and sends; 1 has waited, computes 6 ms and sends; 2 has waited, computes 2 ms."""

    def program(world):
        x, r = asarray([1.0]), world.rank
        with world.scope(f"work of {r}"):
            if r:
                world.recv(x, r - 1)
            world.pause((0.004, 0.006, 0.002)[r])
        if r < 2:
            world.send(x, r + 1)

    run(program, 3, network=Network(0.001, 0.0, 0.0), trace=tmp_path / "t")
    path = critical_path(read(tmp_path / "t"))
    assert [(s.rank, s.start / MS, s.end / MS, s.what, s.scope) for s in path] == [
        (0, 0, 4, "compute", "work of 0"),
        (1, 4, 5, "recv", "work of 1"),
        (1, 5, 11, "compute", "work of 1"),
        (2, 11, 12, "recv", "work of 2"),
        (2, 12, 14, "compute", "work of 2"),
    ]
    assert path[1].site.startswith("tests/view/test_timeline.py:")


def test_the_critical_path_leaves_the_rank_that_waits_in_a_collective(tmp_path):
    trace = made(
        tmp_path / "t",
        [event("scope", 0, 1, scope="a"), event("allreduce", 1, 8, algorithm="native", site="a.py:1")],
        [event("scope", 0, 7, scope="b"), event("allreduce", 7, 8.5, algorithm="native", site="a.py:1")],
    )
    assert [(s.rank, s.start / MS, s.end / MS, s.what, s.site) for s in critical_path(trace)] == [
        (1, 0, 7, "compute", ""),
        (1, 7, 8.5, "allreduce native", "a.py:1"),
    ]


def test_the_path_says_where_a_rank_had_recorded_nothing_yet(tmp_path):
    trace = made(tmp_path / "t", [event("scope", 0, 1, scope="a")], [event("scope", 3, 5, scope="b")])
    assert [(s.rank, s.start / MS, s.end / MS, s.what) for s in critical_path(trace)] == [
        (1, 0, 3, "before its first event"),
        (1, 3, 5, "compute"),
    ]


def test_clocks_that_disagree_lead_into_no_circle(tmp_path):
    """By its own clock each rank sends while it still receives, so each waits for the other."""
    first, second = (
        [event("recv", 0, 10, peer=peer, tag=0), event("send", 8, 9, peer=peer, tag=0)] for peer in (1, 0)
    )
    trace = made(tmp_path / "t", first, second)
    assert [(s.rank, s.start / MS, s.end / MS, s.what) for s in critical_path(trace)] == [
        (1, 0, 8, "waiting in recv"),
        (0, 8, 10, "recv"),
    ]
    assert "did what the trace cannot tell, because the ranks' clocks disagree" in sentences(trace)[0]


@pytest.mark.parametrize("ranks", [0, 1, 2])
def test_without_events_there_is_no_path(tmp_path, ranks):
    prepare_folder(tmp_path / "t", {"size": 2})
    trace = read(tmp_path / "t")
    trace.ranks = {rank: RankTrace(rank) for rank in range(ranks)}
    assert critical_path(trace) == []
    assert states(trace) == {rank: [] for rank in range(ranks)}


def back_and_forth(folder, count):
    """So many messages, one a ms, and one rank that waits for all of it at the end."""
    ranks: list[list] = [[], []]
    for k in range(count):
        sender, receiver = k % 2, 1 - k % 2
        ranks[sender].append(event("send", k + 0.5, k + 0.5, peer=receiver, tag=0))
        ranks[receiver].append(event("recv", k, k + 1, peer=sender, tag=0))
    last = [[event("barrier", start, count + 2, algorithm="native")] for start in (count, count)]
    waiting = [event("barrier", 0, count + 2, algorithm="native")]
    return made(folder, ranks[0] + last[0], ranks[1] + last[1], waiting)


def both(trace):
    return critical_path(trace), sentences(trace)


def test_a_long_run_takes_steps_in_proportion(tmp_path):
    """Measured 743 lines of Python a message; and a path of 1,500 messages does not overflow."""
    short, long = (back_and_forth(tmp_path / str(n), n) for n in (100, 1500))
    path, why = both(long)
    assert len(path) > 1500 and why[0].startswith("rank 2 waited 1.5 s")
    once, often = (steps_taken(partial(both, trace)) for trace in (short, long))
    assert often < 16 * once and once < 100 * 1500


@st.composite
def traces(draw):
    """Any ranks that do anything, one call after the other, inside scopes; also what cannot be."""
    size = draw(st.integers(1, 4))
    ranks = {rank: RankTrace(rank, draw(programs(rank, size))) for rank in range(size)}
    for rank in draw(st.sets(st.integers(0, size - 1), max_size=1)):
        del ranks[rank]
    return Trace(None, {}, size, ranks, [])


@st.composite
def programs(draw, rank, size):
    events, now = [], draw(st.integers(0, 20))
    for seq in range(draw(st.integers(0, 12))):
        op = draw(
            st.sampled_from("send recv isend irecv wait allreduce bcast reduce scan copy scope".split())
        )
        start = now + draw(st.integers(0, 9))
        end = start + draw(st.integers(0, 9))
        peer, root = draw(st.integers(0, size - 1)), draw(st.integers(0, size - 1))
        parent = draw(st.integers(-1, seq)) if op in ("wait", "send", "recv") else -1
        peer = root if op in ("bcast", "reduce") else peer
        events.append(Event(seq, op, start, end, "world", peer, 0, parent=parent, scope=f"s{seq}"))
        now = start if op in ("isend", "irecv", "scope") else end
    return events


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(traces())
def test_states_tile_each_rank_s_span_and_the_path_tiles_the_run(trace):
    tiled = states(trace)
    spans = {
        rank: (min(e.start for e in of.events), max(e.end for e in of.events))
        for rank, of in trace.ranks.items()
        if of.events
    }
    for rank, (start, end) in spans.items():
        own = tiled[rank]
        assert all(a.end == b.start for a, b in pairwise(own))
        assert sum(s.length for s in own) == end - start
        assert not own or (own[0].start, own[-1].end) == (start, end)
        assert all(s.length > 0 and s.kind in ("compute", "communication", "waiting") for s in own)
    found = waits(trace)
    assert all(w.end > w.start and w.culprit != w.rank for w in found)
    for rank in trace.ranks:
        waited = sum(w.length for w in found if w.rank == rank)
        assert waited == sum(s.length for s in tiled[rank] if s.kind == "waiting")
    path = critical_path(trace)
    assert all(a.end == b.start and a.length > 0 for a, b in pairwise(path))
    timed = [span for span in spans.values() if span[1] > span[0]]
    if timed:
        whole = max(end for _, end in timed) - min(start for start, _ in timed)
        assert sum(s.length for s in path) == whole
