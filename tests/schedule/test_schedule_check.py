"""The checker against an oracle of its own kind: a schedule can run if and only if it is complete and the
graph of its rows and of the flow of data has no circle."""

import random
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpipar.errors import ScheduleError
from mpipar.schedule import SCHEDULES, Action, Schedule, build, check, draw_fault, find_fault, parse, peaks

sizes = st.tuples(st.sampled_from(list(SCHEDULES)), st.integers(1, 4), st.integers(1, 3), st.integers(1, 2))


def built(size):
    name, ranks, groups, virtual = size
    if name != "interleaved":
        return build(name, ranks, groups + 1)
    return build(name, ranks, ranks * groups, virtual)


def graph(rows):
    """action -> what must run before it, written out from what the kinds mean."""
    everything = {a for row in rows for a in row}
    last = max(a.stage for a in everything)
    before = {a: set() for a in everything}
    for row in rows:
        for first, second in pairwise(row):
            before[second].add(first)
    for s, kind, m in everything:
        if kind == "F" and s:
            before[s, kind, m].add(Action(s - 1, "F", m))
        if kind == "W":
            before[s, kind, m].add(Action(s, "I", m))
        if kind in "BI":
            before[s, kind, m].add(Action(s, "F", m))
            if s < last:
                behind = "B" if (s + 1, "B", m) in everything else "I"
                before[s, kind, m].add(Action(s + 1, behind, m))
    return before


def can_run(rows):
    try:
        list(TopologicalSorter(graph(rows)).static_order())
    except CycleError:
        return False
    return True


@settings(max_examples=60, deadline=None)
@given(sizes)
def test_what_we_build_is_right(size):
    schedule = built(size)
    assert can_run(schedule.rows)
    check(schedule)
    check(schedule, limit=max(peaks(schedule)))


@settings(max_examples=150, deadline=None)
@given(sizes, st.randoms(use_true_random=False))
def test_every_order_that_can_run_is_right(size, chance):
    """Drawn by running what is ready in any order, so there is a witness that it runs."""
    schedule = built(size)
    before = graph([[action] for action in schedule])
    left, rows = set(before), [[] for _ in schedule.rows]
    while left:
        action = chance.choice(sorted(a for a in left if not before[a] & left))
        left.remove(action)
        rows[schedule.rank_of[action.stage]].append(action)
    check(Schedule("any", tuple(map(tuple, rows))))


@settings(max_examples=200, deadline=None)
@given(sizes, st.data())
def test_two_actions_swapped_are_wrong_if_and_only_if_they_cannot_run(size, data):
    schedule = built(size)
    rows = [list(row) for row in schedule.rows]
    for _ in range(data.draw(st.integers(1, 3))):
        row = data.draw(st.sampled_from(rows))
        i, j = (data.draw(st.integers(0, len(row) - 1)) for _ in range(2))
        row[i], row[j] = row[j], row[i]
    swapped = Schedule("swapped", tuple(map(tuple, rows)))
    fault = find_fault(swapped)
    assert (fault is None) == can_run(rows)
    if fault:
        drawn = draw_fault(swapped, fault)
        assert "^^" in drawn and max(map(len, drawn.splitlines())) <= 100


@settings(max_examples=100, deadline=None)
@given(sizes, st.data())
def test_an_action_dropped_or_doubled_or_moved_to_another_rank_is_wrong(size, data):
    schedule = built(size)
    rows = [list(row) for row in schedule.rows]
    row = data.draw(st.integers(0, len(rows) - 1))
    place = data.draw(st.integers(0, len(rows[row]) - 1))
    what = data.draw(st.sampled_from(["drop", "double", "move"]))
    action = rows[row][place]
    if what != "double":
        del rows[row][place]
    if what != "drop":
        other = rows[row if what == "double" else row - 1]
        other.insert(data.draw(st.integers(0, len(other))), action)
    fault = find_fault(Schedule(what, tuple(map(tuple, rows))))
    if what == "move" and len(rows) == 1:
        assert (fault is None) == can_run(rows)
    else:
        assert fault and str(action) in fault.text
        assert draw_fault(Schedule(what, tuple(map(tuple, rows))), fault).count("^^")


@pytest.mark.parametrize(
    ("table", "text"),
    [
        (
            "F0 B0 F1 B1 \n F0 F1 B0 B1",
            "deadlock: rank 0 waits at 0B0 for 1B0, which rank 1 runs after 1F1; rank 1 waits at 1F1 for "
            "0F1, which rank 0 runs after 0B0; move one of them before the action it stands behind",
        ),
        (  # rank 0 waits as well, but only for the circle of the others
            "F0 F1 B0 B1 \n F0 B0 F1 B1 \n F1 F0 B0 B1",
            "deadlock: rank 1 waits at 1B0 for 2B0, which rank 2 runs after 2F1; rank 2 waits at 2F1 for "
            "1F1, which rank 1 runs after 1B0; move one of them before the action it stands behind",
        ),
        ("F0 F1 B0 \n F0 F1 B0 B1", "rank 0 never runs 0B1; add it"),
        ("F0 F2 B0 B2", "rank 0 never runs 0F1; add it"),
        ("F0 I0 F1 W0 W1", "rank 0 never runs 0I1; add it"),
        ("F0 F0 B0", "0F0 runs twice, as rank 0's action 1 and as rank 0's action 2; delete one"),
        ("B0 F0", "rank 0 runs 0B0 before 0F0, which it needs; run 0F0 first"),
        ("F0 W0 I0", "rank 0 runs 0W0 before 0I0, which it needs; run 0I0 first"),
        ("1F0 0F0 1B0 0B0", "rank 0 runs 1F0 before 0F0, which it needs; run 0F0 first"),
        (
            "F0 I0 W0 B0",
            "0I0 and 0B0 both run, but a backward is whole (B) or split (I, then W); delete one of",
        ),
        ("F0 B0 W0", "0B0 and 0W0 both run, but a backward is whole (B) or split (I, then W); delete one of"),
        ("F0 B0 \n F0 B0 0F1", "stage 0 is on rank 0 (0F0) and on rank 1 (0F1); keep a stage on one rank"),
        ("F0 B0 \n 2F0 2B0", "stage 1 is on no rank, but stage 2 is; add the actions of 1"),
    ],
)
def test_what_is_said(table, text):
    schedule = parse(table, "mine")
    with pytest.raises(ScheduleError) as caught:
        check(schedule)
    assert str(caught.value).startswith(f"mine: {text}")
    assert "^^" in draw_fault(schedule, find_fault(schedule)) or "no rank" in text


def test_a_circle_of_three_ranks():
    """Rank 0 runs its second stage first; of a rank that is at the very action, nothing more is said."""
    fault = find_fault(parse("3F0 0F0 3B0 0B0 \n 1F0 4F0 4B0 1B0 \n 2F0 5F0 5B0 2B0"))
    assert fault.marks == ((0, 0), (2, 0), (1, 0))
    assert fault.text.startswith(
        "deadlock: rank 0 waits at 3F0 for 2F0; rank 2 waits at 2F0 for 1F0; "
        "rank 1 waits at 1F0 for 0F0, which rank 0 runs after 3F0; move one"
    )


def test_both_kinds_of_backward_may_occur_and_stages_may_lie_anywhere():
    check(parse("F0 F1 B0 I1 W1 \n F0 I0 F1 W0 B1"))
    check(parse("0F0 3F0 3B0 0B0 \n 1F0 2F0 2B0 1B0"))  # a V: two neighbours on one rank


def test_more_activations_than_allowed():
    schedule = build("gpipe", 2, 3)
    check(schedule, limit=3)
    with pytest.raises(
        ScheduleError, match="rank 0 holds 3 activations at 0F2, and may hold 2; run a backward"
    ):
        check(schedule, limit=2)
    assert peaks(parse("F0 I0 F1 W0 I1 W1")) == [2]  # an activation is kept for W


def test_a_large_schedule_is_checked_at_once():
    rows = [list(row) for row in build("1f1b", 16, 128).rows]
    random.Random(0).shuffle(rows[7])
    assert find_fault(build("1f1b", 16, 128)) is None
    assert find_fault(Schedule("shuffled", tuple(map(tuple, rows)))) is not None
    assert "never runs 0F0" in find_fault(parse("F99999999 B99999999")).text
