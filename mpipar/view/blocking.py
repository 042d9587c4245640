"""When a rank is inside a call that may block: what is left of its time is computing.

Blocking are send, recv, a wait, a collective and a copy, where they are not part of another call;
the messages of a collective belong to it. A started collective blocks only in the wait for it. A
sendrecv is recorded as a send and a receive that begin together, and is one stay.
"""

from collections import defaultdict
from dataclasses import dataclass, field

from mpipar.trace import COLLECTIVES, STARTED, Event, RankTrace, Trace

BLOCKING = COLLECTIVES - STARTED | {"send", "recv", "wait", "copy"}
REQUESTS = STARTED | {"isend", "irecv"}
MESSAGES = frozenset(("send", "recv", "isend", "irecv"))


@dataclass
class Stay:
    """A rank's time in one call.   start, end: ns

    events: the call, and what else began in it: the receive of a sendrecv, copies
    hops: messages and waits inside a collective, in order
    """

    start: int
    end: int
    events: list[Event]
    hops: list[Event] = field(default_factory=list)

    @property
    def event(self) -> Event:
        return self.events[0]

    @property
    def name(self) -> str:
        """'allreduce ring', 'recv', 'sendrecv', 'copy to host'"""
        began = {event.op for event in self.events if event.start == self.start}
        return "sendrecv" if {"send", "recv"} <= began else call_name(self.event)


def call_name(event: Event) -> str:
    """The call, with its algorithm where it has one."""
    return f"{event.op} {event.algorithm}".rstrip()


def stays(trace: Trace) -> dict[int, list[Stay]]:
    """The blocking calls of each rank, in order; no two overlap."""
    return {rank: _stays(of) for rank, of in sorted(trace.ranks.items())}


def requests(of: RankTrace) -> dict[int, Event]:
    """What was started, by seq, which is what the waits for it name as parent: isend, irecv, iallreduce."""
    return {event.seq: event for event in of.events if event.op in REQUESTS}


def _stays(of: RankTrace) -> list[Stay]:
    collectives = {e.seq for e in of.events if e.op in COLLECTIVES}
    home = {e.seq: e.parent for e in of.events if e.op in MESSAGES and e.parent in collectives}
    hops: dict[int, list[Event]] = defaultdict(list)
    outer = []
    for event in of.events:
        collective = home.get(event.parent if event.op == "wait" else event.seq)
        if collective is not None:
            hops[collective].append(event)
        elif event.op in BLOCKING:
            outer.append(event)
    found: list[Stay] = []
    for event in sorted(outer, key=lambda e: (e.start, -e.end, e.seq)):
        inside = hops.get(event.seq, [])
        if found and event.start < found[-1].end:
            last = found[-1]
            last.end = max(last.end, event.end)
            last.events.append(event)
            last.hops += inside
        else:
            found.append(Stay(event.start, max(event.start, event.end), [event], inside))
    return found
