"""Who waited for whom: the wait states of a run (Geimer, Wolf, Wylie, Ábrahám, Becker & Mohr, "The
Scalasca performance toolset architecture", Concurrency and Computation 22, 2010).

    late sender    a receive, or the wait for one, until its sender begins to send
    late receiver  a send, or the wait for one, until its receiver has posted the receive; a send
                   that was over before then was buffered, and nobody held it up
    collective     from a rank's call until the last of those have called that it depends on

In a collective of all with all (allreduce, allgather, reduce_scatter, alltoall, barrier, split) a
rank depends on every other. In the rest it depends on those whose messages reach it, directly or
passed on; where its messages are not seen on: the root of bcast and scatter, everybody for the
root of reduce and gather, lower ranks in scan. A send inside of it also waits for its receiver's
call. What is left of a call is transfer.
"""

from collections.abc import Iterator
from typing import NamedTuple

from mpipar.trace import COLLECTIVES, STARTED, Event, Trace, collective_calls, pair_messages
from mpipar.view.blocking import Stay, requests, stays

ALL_WITH_ALL = STARTED | {"allreduce", "allgather", "reduce_scatter", "alltoall", "barrier", "split"}
LATE_SENDER, LATE_RECEIVER, COLLECTIVE = "late sender", "late receiver", "collective"

Message = tuple[int, Event]  # the rank and its side of a message
Partners = dict[tuple[int, int], Message]  # (rank, seq) of one side -> the other side


class Wait(NamedTuple):
    """rank waited from start to end (ns) in `event` for `culprit` to come to `culprit_event`.

    request: what a wait was for
    """

    rank: int
    start: int
    end: int
    cause: str
    culprit: int
    event: Event
    culprit_event: Event | None = None
    request: Event | None = None

    @property
    def length(self) -> int:
        return self.end - self.start


class Unknown(NamedTuple):
    """A call of which the trace cannot say whether it waited.   reason: a clause"""

    rank: int
    event: Event
    reason: str


def waits(trace: Trace) -> list[Wait]:
    """Every wait, rank by rank and in order; those of one rank do not overlap."""
    return wait_states(trace)[0]


def wait_states(trace: Trace) -> tuple[list[Wait], list[Unknown]]:
    """Every wait, and the calls of which the trace cannot tell."""
    search = _Search(trace)
    found = [wait for rank, own in search.stays.items() for stay in own for wait in search.of(rank, stay)]
    return found, search.unknown


class _Search:
    """What is looked up again and again while the calls are gone through."""

    def __init__(self, trace: Trace) -> None:
        self.stays = stays(trace)
        self.requests = {rank: requests(of) for rank, of in trace.ranks.items()}
        self.unknown: list[Unknown] = []
        self.partners: Partners = {}
        for sender, sent, receiver, received in pair_messages(trace):
            self.partners[sender, sent.seq] = (receiver, received)
            self.partners[receiver, received.seq] = (sender, sent)
        calls, self.groups = collective_calls(trace), trace.groups
        self.parts = {(rank, e.seq): part for part in calls.values() for rank, e in part.items()}
        self.hops = {(r, s.event.seq): s.hops for r, own in self.stays.items() for s in own if s.hops}
        self.depends: dict[tuple[int, int], dict[int, Message] | int] = {}

    def of(self, rank: int, stay: Stay) -> Iterator[Wait]:
        """The waits in one call: where two overlap, as in a sendrecv, the receive's goes first."""
        found = [wait for event in stay.events for wait in self._of_event(rank, event)]
        found += [wait for hop in stay.hops for wait in self._held_up(rank, stay.event, hop)]
        found.sort(key=lambda wait: (wait.start, wait.cause == LATE_RECEIVER))
        until = stay.start
        for wait in found:
            if wait.end > until:
                yield wait._replace(start=max(wait.start, until))
                until = wait.end

    def _of_event(self, rank: int, event: Event) -> Iterator[Wait]:
        if event.op == "copy":
            return
        side = self.requests[rank].get(event.parent) if event.op == "wait" else event
        if side is not None and side.op in COLLECTIVES:
            yield from self._of_collective(rank, event, side)
            return
        if side is None or (rank, side.seq) not in self.partners:
            self.unknown.append(Unknown(rank, event, "the other side of the message is not in the trace"))
            return
        peer, other = self.partners[rank, side.seq]
        if peer != rank and event.start < other.start <= event.end:
            cause = LATE_SENDER if side.op in ("recv", "irecv") else LATE_RECEIVER
            request = None if side is event else side
            yield Wait(rank, event.start, other.start, cause, peer, event, other, request)

    def _of_collective(self, rank: int, event: Event, call: Event) -> Iterator[Wait]:
        """The wait of `event`: the call itself, or the wait for a started one."""
        part = self.parts[rank, call.seq]
        first = next((r, e.seq) for r, e in part.items())  # names the call, whichever rank asks
        if first not in self.depends:
            self.depends[first] = self._dependences(call, part)
        needed = self.depends[first]
        if isinstance(needed, int):
            self.unknown.append(Unknown(rank, event, f"the trace lacks this call on rank {needed}"))
            return
        culprit, other = needed[rank]
        until = min(other.start, event.end)
        if culprit != rank and until > event.start:
            request = None if call is event else call
            yield Wait(rank, event.start, until, COLLECTIVE, culprit, event, other, request)

    def _dependences(self, event: Event, part: dict[int, Event]) -> dict[int, Message] | int:
        """For each rank the last to call among those it depends on; or a rank whose call is lacking."""
        members = self.groups.get(event.comm, list(part))
        lacking = {*members, *([event.peer] if event.peer >= 0 else [])} - set(part)
        if lacking:
            return min(lacking)
        if event.op not in ALL_WITH_ALL and any((r, e.seq) in self.hops for r, e in part.items()):
            return self._last_reaching(part)
        return _by_meaning(event, part, members)

    def _last_reaching(self, part: dict[int, Event]) -> dict[int, Message]:
        """Of a collective whose messages are seen: who called last among those heard of, for each rank."""
        arrivals = []
        for rank, event in part.items():
            for hop in self.hops.get((rank, event.seq), ()):
                if hop.op in ("recv", "irecv") and (rank, hop.seq) in self.partners:
                    sender, sent = self.partners[rank, hop.seq]
                    arrivals.append((hop.end, sent.start, sender, rank))
        last = {rank: (rank, event) for rank, event in part.items()}
        for _, _, sender, rank in sorted(arrivals):
            if sender in last:
                last[rank] = max(last[rank], last[sender], key=lambda item: item[1].start)
        return last

    def _held_up(self, rank: int, call: Event, hop: Event) -> Iterator[Wait]:
        """A send inside a collective until its receiver's call, if it was not over before that."""
        side = self.requests[rank].get(hop.parent) if hop.op == "wait" else hop
        if hop.op not in ("send", "wait") or side is None or side.op not in ("send", "isend"):
            return
        peer, _ = self.partners.get((rank, side.seq), (rank, None))
        other = self.parts.get((rank, call.seq), {}).get(peer)
        if peer != rank and other is not None and hop.start < other.start <= hop.end:
            yield Wait(rank, hop.start, other.start, COLLECTIVE, peer, call, other)


def _by_meaning(event: Event, part: dict[int, Event], members: list[int]) -> dict[int, Message]:
    """The last to call among those that each rank depends on, whatever the algorithm."""
    last, latest = {}, (members[0], part[members[0]])
    everybody = max(part.items(), key=lambda item: item[1].start)
    for rank in members:
        latest = max(latest, (rank, part[rank]), key=lambda item: item[1].start)
        if event.op in ("bcast", "scatter"):
            last[rank] = (event.peer, part[event.peer])
        elif event.op in ("reduce", "gather"):
            last[rank] = everybody if rank == event.peer else (rank, part[rank])
        else:
            last[rank] = latest if event.op == "scan" else everybody
    return last
