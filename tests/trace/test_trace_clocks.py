"""Times of several hosts become rank 0's, and no message arrives before it is sent."""

import random

from mpipar.trace import Clock, Event, Recorder, pair_messages, prepare_folder, read
from mpipar.trace.clocks import move_up, to_rank_0

MS, S = 1_000_000, 1_000_000_000


def test_an_offset_that_drifts_is_followed():
    """A clock 5 ms ahead at the start that gains 20 ppm: after 100 s it is 7 ms ahead."""
    aligned = to_rank_0([Clock(100 * S, -7 * MS, 10), Clock(0, -5 * MS, 10), Clock(50 * S, 0, 10)])
    assert aligned(0) == -5 * MS
    assert aligned(100 * S) == 100 * S - 7 * MS
    assert aligned(25 * S) == 25 * S - 5_500_000
    assert aligned(-9 * S) == -9 * S - 5 * MS and aligned(200 * S) == 200 * S - 7 * MS  # as at the ends


def test_one_note_is_the_offset_of_all_times():
    aligned = to_rank_0([Clock(7, 5 * MS, 10)])
    assert aligned(0) == 5 * MS and aligned(9 * S) == 9 * S + 5 * MS


def message(sent, got, after=()):
    """One message from rank 0 to rank 1, and what rank 1 does afterwards; times are (start, end)."""
    send, receive = Event(0, "send", *sent), Event(0, "recv", *got)
    later = [Event(number, "scope", *times) for number, times in enumerate(after, 1)]
    return {0: [send], 1: [receive, *later]}, [(0, send, 1, receive)]


def test_what_arrives_in_order_is_left_alone():
    events, pairs = message((100, 110), (50, 100))
    assert move_up(events, pairs) == (0, 0)
    assert (events[1][0].start, events[1][0].end) == (50, 100)


def test_a_receive_that_ends_too_early_moves_up_with_what_follows():
    """Moved by 60; of the 1,000 until the next event 10 are taken back, of the next 5,000 the rest."""
    events, pairs = message((100, 110), (20, 40), [(1040, 1050), (7000, 7001)])
    assert move_up(events, pairs) == (1, 60)
    times = [(e.start, e.end) for e in events[1]]
    assert times == [(20, 100), (1090, 1099), (7000, 7001)]


def test_a_move_is_passed_on_to_those_who_hear_of_it():
    """0 → 1 → 2: what 1 sends on is later too."""
    first, second = Event(0, "send", 100, 110), Event(0, "recv", 20, 40)
    third, fourth = Event(1, "send", 41, 45), Event(0, "recv", 30, 50)
    events = {0: [first], 1: [second, third], 2: [fourth]}
    assert move_up(events, [(0, first, 1, second), (1, third, 2, fourth)]) == (1, 60)
    assert third.start >= second.end == 100 and fourth.end >= third.start


def test_pairs_that_contradict_each_other_end():
    """Each rank receives before it sends: that cannot have happened, and must not hang."""
    events = {r: [Event(0, "recv", 0, 5), Event(1, "send", 10, 12)] for r in (0, 1)}
    pairs = [(r, events[r][1], 1 - r, events[1 - r][0]) for r in (0, 1)]
    assert move_up(events, pairs) == (2, 5)
    assert all(e.start <= e.end for of in events.values() for e in of)


def ring(folder, ranks=3, rounds=200, error=0):
    """A ring of messages of 50 µs on hosts whose clocks are off by r·5 ms and drift by r·20 ppm.

    error: ns by which the noted offsets are wrong.   returns: the true times of rank r's sends
    """
    prepare_folder(folder, {"size": ranks})
    source, true = random.Random(0), {r: [] for r in range(ranks)}
    for r in range(ranks):
        local = lambda time, r=r: int(time + 5 * MS * r + 20e-6 * r * time)  # noqa: E731
        recorder = Recorder(folder, r, ranks, flush_seconds=None, host=f"host-{r}")
        for at in (0, 2 * S) if r else ():
            sign = source.choice((-1, 1))
            recorder._about.append(Clock(local(at), at - local(at) + sign * error, 2 * error + 2))
        for k in range(rounds):
            start = k * 10 * MS + 1000
            true[r].append(start)
            for op, peer, begin, end in (("send", r + 1, 0, 9000), ("recv", r - 1, 100, 50_000)):
                times = local(start + begin), local(start + end)
                recorder.add(Event(recorder.begin(), op, *times, "world", peer % ranks, 0))
        recorder.close()
    return true


def test_a_trace_of_hosts_whose_clocks_differ_and_drift(tmp_path):
    true = ring(tmp_path / "trace")
    trace = read(tmp_path / "trace")
    for rank, event in trace.events():
        if event.op == "send":
            assert abs(event.start - true[rank][event.seq // 2]) < 100
    assert trace.notes == trace.problems == []


def test_offsets_that_are_wrong_are_noted_and_no_message_arrives_early(tmp_path):
    ring(tmp_path / "trace", error=80_000)
    trace = read(tmp_path / "trace")
    assert len(trace.notes) == 1 and "messages arrived before they were sent, by up to" in trace.notes[0]
    pairs = pair_messages(trace)
    assert len(pairs) == 600 and all(got.end >= sent.start for _, sent, _, got in pairs)
    assert trace.problems == []  # nothing is missing


def test_ranks_of_one_host_are_left_as_they_are(tmp_path):
    prepare_folder(tmp_path / "trace", {"size": 2})
    for r, (op, start, end) in enumerate((("send", 100, 110), ("recv", 20, 40))):
        recorder = Recorder(tmp_path / "trace", r, 2, flush_seconds=None, host="one")
        recorder.add(Event(recorder.begin(), op, start, end, "world", 1 - r, 0))
        recorder.close()
    assert [e.end for _, e in read(tmp_path / "trace").events()] == [110, 40]
