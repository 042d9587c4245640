"""What a trace says of its messages, kind by kind: numbers only, no printing.

How well a collective did is asked call by call: the bytes of the busiest rank of that call against
the fewest with which that call can be done. Both are then summed over the calls. A maximum over
ranks of their totals would not do, because who is busiest changes with the root, and with the
groups that a split makes.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass
from fractions import Fraction

from mpipar.cost import busiest_rank_bytes
from mpipar.trace import COLLECTIVES, STARTED, Event, Trace, collective_calls

MESSAGES = ("send", "recv", "isend", "irecv")


@dataclass
class Kind:
    """All calls of one kind, as "allreduce ring": totals over all ranks unless said otherwise."""

    name: str
    calls: int = 0  # of a collective: counted once, not once a rank
    messages: int = 0
    bytes: int = 0  # sent
    nanoseconds: Fraction = Fraction(0)  # a rank, averaged; of a started collective: in waits for it
    busiest: int = 0  # the most bytes that one rank sent or received: in a call, summed over the calls
    bound: Fraction = Fraction(0)  # the least that `busiest` can be; 0 where there is no bound
    seen: bool = True  # False for MPI's own collectives, whose messages we do not see

    @property
    def is_copy(self) -> bool:
        """A copy beside the messages, not a message."""
        return self.name.startswith("copy")

    @property
    def ratio(self) -> float | None:
        """busiest / bound: 1 is the best there can be; None where there is no bound."""
        return float(self.busiest / self.bound) if self.bound and self.seen else None


def kinds(trace: Trace) -> list[Kind]:
    """Every kind of message in the trace, the one with the most bytes first.

    Messages outside collectives count as one call. A trace with problems has no bounds: what is
    missing from it could make any ratio look better than it was.
    """
    found: dict[str, Kind] = {}
    calls = collective_calls(trace)
    call_of = {(rank, event.seq): key for key, part in calls.items() for rank, event in part.items()}
    ports: dict[tuple, Counter] = defaultdict(Counter)  # (kind, call) -> bytes by (rank, direction)
    for rank, events in ((r, t.events) for r, t in sorted(trace.ranks.items())):
        collectives = {e.seq: e for e in events if e.op in COLLECTIVES}
        for event in events:
            name = _kind(event, collectives)
            if name is None:
                continue
            kind = found.setdefault(name, Kind(name))
            if _blocks(event, collectives):
                kind.nanoseconds += Fraction(event.end - event.start, max(len(trace.ranks), 1))
            if event.op not in COLLECTIVES and event.op != "wait":
                _count_message(kind, event, rank, ports[name, call_of.get((rank, event.parent))])
    for (name, _), by_port in ports.items():
        found[name].busiest += max(by_port.values(), default=0)
    groups = trace.groups
    for (comm, _), part in calls.items():
        _count_call(found, part, len(groups.get(comm, part)), whole=not trace.problems)
    return sorted(found.values(), key=lambda kind: (-kind.bytes, kind.name))


def _blocks(event: Event, collectives: dict[int, Event]) -> bool:
    """Whether its time counts: a hop's is its collective's, a started collective's is that of its wait."""
    return event.op == "wait" or (event.parent not in collectives and event.op not in STARTED)


def _kind(event: Event, collectives: dict[int, Event]) -> str | None:
    if event.op in COLLECTIVES:
        return f"{event.op} {event.algorithm}"
    if event.op == "copy":
        return f"copy {event.algorithm}"
    parent = collectives.get(event.parent)
    if event.op == "wait" and parent is not None:
        return f"{parent.op} {parent.algorithm}"
    if event.op not in MESSAGES:
        return None
    if event.parent < 0:
        return "send, recv" if event.op in ("send", "recv") else "isend, irecv"
    # a killed rank leaves hops whose collective never ended
    return "unfinished collective" if parent is None else f"{parent.op} {parent.algorithm}"


def _count_call(found: dict[str, Kind], part: dict[int, Event], size: int, whole: bool) -> None:
    first = next(iter(part.values()))
    kind = found[f"{first.op} {first.algorithm}"]
    kind.calls += 1
    kind.seen = first.algorithm != "native"
    if whole:
        kind.bound += busiest_rank_bytes(first.op, first.bytes, size)


def _count_message(kind: Kind, event: Event, rank: int, ports: Counter) -> None:
    if event.op in ("send", "isend"):
        kind.messages += 1
        kind.bytes += event.bytes
        kind.calls += event.parent < 0
        ports[rank, "sent"] += event.bytes
    elif event.op in ("recv", "irecv"):
        ports[rank, "received"] += event.bytes
    else:
        kind.calls += 1
        kind.bytes += event.bytes
