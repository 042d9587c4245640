"""What each rank did when: its span, from its first event to its end of the last, cut into states.

    compute        outside every call that may block
    waiting        in such a call, held up by another rank (waits.py)
    communication  the rest of these calls: transfer, and copies beside a message

The three tile the span without gap or overlap. Communication that runs beside computing, from
isend and irecv, is no state: it costs the rank no time.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

from mpipar.trace import Event, RankTrace, Trace
from mpipar.view.blocking import Stay, stays
from mpipar.view.waits import Wait, waits

COMPUTE, COMMUNICATION, WAITING = "compute", "communication", "waiting"


class State(NamedTuple):
    """start, end: ns;   kind: of the above;   label: innermost scope of computing, else the call

    event: the call;   wait: what held it up
    """

    start: int
    end: int
    kind: str
    label: str
    event: Event | None = None
    wait: Wait | None = None

    @property
    def length(self) -> int:
        return self.end - self.start


def states(trace: Trace, found: list[Wait] | None = None) -> dict[int, list[State]]:
    """rank -> its states in order; none of zero length.   found: the trace's waits, if known"""
    of_rank: dict[int, list[Wait]] = defaultdict(list)
    for wait in waits(trace) if found is None else found:
        of_rank[wait.rank].append(wait)
    calls = stays(trace)
    return {rank: _states(of, calls[rank], of_rank[rank]) for rank, of in sorted(trace.ranks.items())}


def spans(trace: Trace) -> dict[int, tuple[int, int]]:
    """rank -> start of its first event and end of its last, ns; without ranks that have no event."""
    return {
        rank: (min(e.start for e in of.events), max(e.end for e in of.events))
        for rank, of in sorted(trace.ranks.items())
        if of.events
    }


def _states(of: RankTrace, calls: list[Stay], found: list[Wait]) -> list[State]:
    if not of.events:
        return []
    until, end = min(e.start for e in of.events), max(e.end for e in of.events)
    scopes, cut, nth = _Scopes(of.events), [], 0
    for stay in calls:
        cut += scopes.computing(until, stay.start)
        until = stay.start
        while nth < len(found) and found[nth].start < stay.end:
            wait, nth = found[nth], nth + 1
            cut.append(State(until, wait.start, COMMUNICATION, stay.name, stay.event))
            cut.append(State(wait.start, wait.end, WAITING, stay.name, wait.event, wait))
            until = wait.end
        cut.append(State(until, stay.end, COMMUNICATION, stay.name, stay.event))
        until = stay.end
    cut += scopes.computing(until, end)
    return [state for state in cut if state.end > state.start]


class _Scopes:
    """The innermost scope of a rank at any time."""

    def __init__(self, events: list[Event]) -> None:
        marks: list[tuple[int, str]] = []  # from this time on it is this one
        open_: list[Event] = []
        for event in sorted((e for e in events if e.op == "scope"), key=lambda e: (e.start, -e.end, e.seq)):
            _close(open_, event.start, marks)
            marks.append((event.start, event.scope))
            open_.append(event)
        _close(open_, max((e.end for e in open_), default=0), marks)
        marks.sort(key=lambda mark: mark[0])
        self._times, self._names = [time for time, _ in marks], [name for _, name in marks]

    def computing(self, start: int, end: int) -> Iterator[State]:
        """The states of a stretch of computing, cut where the scope changes."""
        if start >= end:
            return
        first, last = bisect_right(self._times, start), bisect_right(self._times, end - 1)
        times = [start, *self._times[first:last], end]
        names = [self._names[k - 1] if k else "" for k in range(first, last + 1)]
        for (begin, stop), name in zip(pairwise(times), names, strict=True):
            yield State(begin, stop, COMPUTE, name)


def _close(open_: list[Event], time: int, marks: list[tuple[int, str]]) -> None:
    """Leave the scopes that have ended by this time."""
    while open_ and open_[-1].end <= time:
        ended = open_.pop().end
        marks.append((ended, open_[-1].scope if open_ else ""))
