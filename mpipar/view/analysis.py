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
from mpipar.trace import COLLECTIVES, MESSAGES, RECEIVES, SENDS, STARTED, Event, Trace, collective_calls
from mpipar.view.blocking import requests, stays
from mpipar.view.timeline import spans

Name = tuple[str, str]  # a kind, and the axis of its communicator
Call = tuple[Name, tuple[str, int] | None]  # all messages outside collectives count as one call


@dataclass
class Kind:
    """All calls of one kind, as "allreduce ring": totals over all ranks unless said otherwise."""

    name: str
    axis: str = ""  # of the mesh, where the trace knows it
    calls: int = 0  # of a collective: counted once, not once a rank
    messages: int = 0
    bytes: int = 0  # sent
    nanoseconds: Fraction = Fraction(0)  # inside its calls, a rank, averaged; of what was started: in waits
    share: float = 0.0  # of a rank's time, averaged
    busiest: int = 0  # the most bytes that one rank sent or received: in a call, summed over the calls
    busiest_nanoseconds: int = 0  # that these ranks spent in these calls
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

    @property
    def bandwidth(self) -> float | None:
        """Bytes a second of the busiest rank while it was in the call, so with its waiting.

        None where no bytes were seen, and for what is started, and moves outside its calls.
        """
        moved = self.bytes if self.is_copy else self.busiest
        known = (
            self.seen
            and moved
            and self.busiest_nanoseconds
            and self.name.split()[0] not in STARTED | {"isend,"}
            and not self.name.endswith(", started")
        )
        return moved / self.busiest_nanoseconds * 1e9 if known else None


def kinds(trace: Trace) -> list[Kind]:
    """Every kind of message in the trace, the one with the most bytes first.

    Messages outside collectives count as one call. A trace with problems has no bounds: what is
    missing from it could make any ratio look better than it was.
    """
    found: dict[Name, Kind] = {}
    calls, axes = collective_calls(trace), trace.axes
    call_of = {(rank, event.seq): key for key, part in calls.items() for rank, event in part.items()}
    ports: dict[Call, Counter] = defaultdict(Counter)  # bytes by (rank, direction)
    times = _times(trace, axes)
    for rank, of in sorted(trace.ranks.items()):
        collectives = {e.seq: e for e in of.events if e.op in COLLECTIVES}
        for event in of.events:
            name = _kind(event, collectives)
            if name is None:
                continue
            key = (name, axes.get(event.comm, ""))
            kind = found.setdefault(key, Kind(*key))
            if event.op not in COLLECTIVES and event.op != "wait":
                _count_message(kind, event, rank, ports[key, call_of.get((rank, event.parent))])
            if kind.is_copy:
                times[key][rank] += event.end - event.start
    for (key, call), by_port in ports.items():
        if by_port:
            (rank, _), most = max(by_port.items(), key=lambda item: item[1])
            found[key].busiest += most
            own = times[key][rank] if call is None else calls[call][rank].end - calls[call][rank].start
            found[key].busiest_nanoseconds += own
    _give_times(found, times, trace)
    groups = trace.groups
    for (comm, _), part in calls.items():
        _count_call(found, part, axes.get(comm, ""), len(groups.get(comm, part)), whole=not trace.problems)
    return sorted(found.values(), key=lambda kind: (-kind.bytes, kind.name, kind.axis))


def _times(trace: Trace, axes: dict[str, str]) -> dict[Name, Counter[int]]:
    """ns in the calls of each kind, by rank: a sendrecv is one call, a wait is its request's."""
    found: dict[Name, Counter[int]] = defaultdict(Counter)
    for rank, calls in stays(trace).items():
        of = trace.ranks[rank]
        collectives, started = {e.seq: e for e in of.events if e.op in COLLECTIVES}, requests(of)
        for stay in calls:
            event = started.get(stay.event.parent) if stay.event.op == "wait" else stay.event
            name = None if event is None else _kind(event, collectives)
            if name is not None and event.op != "copy":
                found[name, axes.get(event.comm, "")][rank] += stay.end - stay.start
    return found


def _give_times(found: dict[Name, Kind], times: dict[Name, Counter[int]], trace: Trace) -> None:
    ranks = max(len(trace.ranks), 1)
    whole = sum(end - start for start, end in spans(trace).values())
    for key, kind in found.items():
        total = times[key].total()
        kind.nanoseconds, kind.share = Fraction(total, ranks), total / max(whole, 1)
        if kind.is_copy:
            kind.busiest_nanoseconds = total


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


def _count_call(found: dict[Name, Kind], part: dict[int, Event], axis: str, size: int, whole: bool) -> None:
    first = next(iter(part.values()))
    kind = found[f"{first.op} {first.algorithm}", axis]
    kind.calls += 1
    kind.seen = first.algorithm != "native"
    if whole and not first.algorithm.startswith("shared"):  # whose bytes are copies, not messages
        kind.bound += busiest_rank_bytes(first.op, first.bytes, size)


def _count_message(kind: Kind, event: Event, rank: int, ports: Counter) -> None:
    if event.op in SENDS:
        kind.messages += 1
        kind.bytes += event.bytes
        kind.calls += event.parent < 0
        ports[rank, "sent"] += event.bytes
    elif event.op in RECEIVES:
        ports[rank, "received"] += event.bytes
    else:
        kind.calls += 1
        kind.bytes += event.bytes
