"""What a trace says of its messages, kind by kind: numbers only, no printing."""

from collections import defaultdict
from dataclasses import dataclass, field
from fractions import Fraction

from mpipar.cost import busiest_rank_bytes
from mpipar.trace import COLLECTIVES, Event, Trace

MESSAGES = ("send", "recv", "isend", "irecv")


@dataclass
class Kind:
    """All calls of one kind, as "allreduce ring": totals over all ranks unless said otherwise."""

    name: str
    calls: int = 0  # of a collective: counted once, not once a rank
    messages: int = 0
    bytes: int = 0  # sent
    nanoseconds: Fraction = Fraction(0)  # a rank, averaged
    bound: Fraction = Fraction(0)  # bytes of the busiest rank, at least; collectives only
    seen: bool = True  # False for MPI's own collectives, whose messages we do not see
    sent: dict[int, int] = field(default_factory=lambda: defaultdict(int))  # bytes by rank
    received: dict[int, int] = field(default_factory=lambda: defaultdict(int))

    @property
    def is_copy(self) -> bool:
        """A copy beside the messages, not a message."""
        return self.name.startswith("copy")

    @property
    def busiest(self) -> int:
        """Bytes of the busiest rank: the larger of what it sent and what it received."""
        return max([*self.sent.values(), *self.received.values()], default=0)

    @property
    def ratio(self) -> float | None:
        """busiest / bound: 1 is the best there can be; None where there is no bound."""
        return float(self.busiest / self.bound) if self.bound and self.seen else None


def kinds(trace: Trace) -> list[Kind]:
    """Every kind of message in the trace, the one with the most bytes first."""
    found: dict[str, Kind] = {}
    groups = trace.groups
    ranks = max(len(trace.ranks), 1)
    for rank, events in ((r, t.events) for r, t in sorted(trace.ranks.items())):
        collectives = {e.seq: e for e in events if e.op in COLLECTIVES}
        for event in events:
            name = _kind(event, collectives)
            if name is None:
                continue
            kind = found.setdefault(name, Kind(name))
            if event.parent not in collectives:  # a hop's time is its collective's
                kind.nanoseconds += Fraction(event.end - event.start, ranks)
            if event.op in COLLECTIVES:
                _count_collective(kind, event, groups.get(event.comm, [rank]), rank)
            else:
                _count_message(kind, event, rank)
    return sorted(found.values(), key=lambda kind: (-kind.bytes, kind.name))


def _kind(event: Event, collectives: dict[int, Event]) -> str | None:
    if event.op in COLLECTIVES:
        return f"{event.op} {event.algorithm}"
    if event.op == "copy":
        return f"copy {event.algorithm}"
    if event.op not in MESSAGES:
        return None
    if event.parent < 0:
        return "send, recv" if event.op in ("send", "recv") else "isend, irecv"
    parent = collectives.get(event.parent)
    # a killed rank leaves hops whose collective never ended
    return "unfinished collective" if parent is None else f"{parent.op} {parent.algorithm}"


def _count_collective(kind: Kind, event: Event, members: list[int], rank: int) -> None:
    if rank != members[0]:
        return
    kind.calls += 1
    kind.seen = event.algorithm != "native"
    kind.bound += busiest_rank_bytes(event.op, event.bytes, len(members))


def _count_message(kind: Kind, event: Event, rank: int) -> None:
    if event.op in ("send", "isend"):
        kind.messages += 1
        kind.bytes += event.bytes
        kind.sent[rank] += event.bytes
        kind.calls += event.parent < 0
    elif event.op in ("recv", "irecv"):
        kind.received[rank] += event.bytes
    else:
        kind.calls += 1
        kind.bytes += event.bytes
