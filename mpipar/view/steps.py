"""The messages of a run in logical order: step k is what could happen only after step k-1.

Lamport's clock (CACM 21, 1978): a rank's step grows with each message it sends or receives, and
a message is received no earlier than it was sent. A sendrecv sends and receives in one step, and
so do the isends and irecvs between two waits, in whatever order they end: a request moves its
rank's clock when it has been waited for. Unlike times, logical steps are the same on every machine.

Cost: linear in the number of events.
"""

from bisect import bisect_left
from collections import defaultdict
from dataclasses import dataclass, field
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from mpipar.trace import COLLECTIVES, Event, Trace, pair_messages
from mpipar.view.units import readable_bytes

SENDS, RECEIVES = ("send", "isend"), ("recv", "irecv")
MESSAGES = frozenset(SENDS + RECEIVES)
Key = tuple[int, int]  # rank and seq of an event
OUTSIDE = -1  # the parent of a user's own message


class Hop(NamedTuple):
    """One message.   step: logical, from 1;   sender, receiver: world ranks

    inner: its step within its collective, from 1; 0 outside
    """

    step: int
    sender: int
    receiver: int
    sent: Event
    received: Event
    inner: int = 0


@dataclass
class _Rank:
    """A rank's program: ("post", messages that begin together) and ("wait", [the request's message])."""

    program: list[tuple[str, list[Event]]]
    next: int = 0
    clock: int = 0
    inside: int = OUTSIDE  # the collective that the clock counts in
    posted: dict[int, int] = field(default_factory=dict)  # seq of an irecv -> the clock at its post


def hops(trace: Trace, op: str | None = None) -> list[Hop]:
    """All messages that arrived, by (step, sender, receiver); op: only those inside this collective.

    Steps are counted from the first message that is kept.
    """
    kept = {rank: _kept(of.events, op) for rank, of in trace.ranks.items()}
    pairs = [p for p in pair_messages(trace) if p[1].seq in kept[p[0]] and p[3].seq in kept[p[2]]]
    sender_of = {(r, received.seq): (s, sent.seq) for s, sent, r, received in pairs}
    programs = {rank: _program(of.events, kept[rank]) for rank, of in trace.ranks.items()}
    steps, inner = (_steps(programs, sender_of, in_calls) for in_calls in (False, True))
    found = [
        Hop(steps[r, received.seq], s, r, sent, received, inner[r, received.seq] if sent.parent >= 0 else 0)
        for s, sent, r, received in pairs
        if (r, received.seq) in steps
    ]
    return sorted(found, key=lambda hop: (hop.step, hop.sender, hop.receiver, hop.sent.seq))


def print_hops(found: list[Hop], console: Console) -> None:
    """A line a message, with the numbers it carried where they were recorded."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("step", "from → to", "chunk", "bytes", "phase", "carries"):
        table.add_column(column, justify="right" if column in ("step", "chunk", "bytes") else "left")
    for hop in found:
        table.add_row(
            str(hop.step),
            f"rank {hop.sender} → {hop.receiver}",
            str(hop.sent.tag),
            readable_bytes(hop.sent.bytes),
            hop.sent.phase,
            readable_values(hop.sent.values),
        )
    console.print(table, highlight=False)


def readable_values(values: list | None) -> str:
    """[1.0, "nan"] -> '1 nan'"""
    return " ".join(x if isinstance(x, str) else f"{x:g}" for x in values or [])


def _kept(events: list[Event], op: str | None) -> set[int]:
    collectives = {e.seq: e.op for e in events if e.op in COLLECTIVES}
    return {e.seq for e in events if e.op in MESSAGES and (op is None or collectives.get(e.parent) == op)}


def groups(events: list[Event]) -> list[list[Event]]:
    """Messages in order; the send and the receive of a sendrecv together."""
    found: list[list[Event]] = []
    for event in events:
        last = found[-1][-1] if found else None
        # a sendrecv is recorded as a send and a receive that began at the same moment
        together = last and (last.op, event.op) == ("send", "recv") and last.start == event.start
        if together and last.site == event.site:
            found[-1].append(event)
        else:
            found.append([event])
    return found


def _program(events: list[Event], kept: set[int]) -> list[tuple[str, list[Event]]]:
    """Posts and waits in order; a request that only a test() ended was over before what began later."""
    own = [e for e in events if e.seq in kept or (e.op == "wait" and e.parent in kept)]
    requests = {e.seq: e for e in own if e.op in ("isend", "irecv")}
    waited = {e.parent for e in own if e.op == "wait"}
    tested = sorted((e.end, seq) for seq, e in requests.items() if seq not in waited)
    starts = [e.start for e in own] if tested else []
    ended: dict[int, list[int]] = defaultdict(list)  # position -> requests that were over there
    for end, seq in tested:
        ended[bisect_left(starts, end)].append(seq)
    program: list[tuple[str, list[Event]]] = []
    position = 0
    for group in groups(own):
        program += [("wait", [requests[seq]]) for seq in ended.get(position, ()) if seq < group[0].seq]
        if group[0].op == "wait":
            program.append(("wait", [requests[group[0].parent]]))
        else:
            program.append(("post", group))
        position += len(group)
    waits = {group[0].seq for what, group in program if what == "wait"}
    return program + [("wait", [e]) for seq, e in requests.items() if seq not in waits]


def _steps(programs: dict, sender_of: dict[Key, Key], in_calls: bool) -> dict[Key, int]:
    """(rank, seq) of every message -> its step.   in_calls: each collective's own, from 1"""
    ranks = {number: _Rank(program) for number, program in programs.items()}
    steps: dict[Key, int] = {}
    waiting: dict[Key, int] = {}  # send -> the rank that waits for its step
    ready = sorted(ranks, reverse=True)
    while ready:
        number = ready.pop()
        rank = ranks[number]
        while rank.next < len(rank.program):
            what, group = rank.program[rank.next]
            parent = group[0].parent
            if in_calls and what == "post" and parent != rank.inside:
                rank.clock, rank.inside = 0, parent
            if what == "post":
                _post(number, rank, group, steps)
                ready += [waiting.pop((number, e.seq)) for e in group if (number, e.seq) in waiting]
            lacks = _complete(number, rank, what, group, steps, sender_of)
            if lacks is not None:
                waiting[lacks] = number
                break
            rank.next += 1
    return steps


def _post(number: int, rank: _Rank, group: list[Event], steps: dict[Key, int]) -> None:
    for event in group:
        if event.op in SENDS:
            steps[number, event.seq] = rank.clock + 1
        elif event.op == "irecv":
            rank.posted[event.seq] = rank.clock


def _complete(
    number: int, rank: _Rank, what: str, group: list[Event], steps: dict[Key, int], sender_of: dict[Key, Key]
) -> Key | None:
    """Move the clock past what ends here.   returns: the send that has no step yet, else None"""
    now = rank.clock
    for event in group:
        key = (number, event.seq)
        if what == "post" and event.op in ("isend", "irecv"):
            continue
        if event.op in RECEIVES:
            sent = sender_of.get(key)
            if sent is None:  # nobody sent it: the rank was ended here
                continue
            if sent not in steps:
                return sent
            steps[key] = max(rank.posted.get(event.seq, rank.clock) + 1, steps[sent])
        now = max(now, steps[key])
    rank.clock = now
    return None
