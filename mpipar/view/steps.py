"""The messages of a run in logical order: step k is what could happen only after step k-1.

Lamport's clock (CACM 21, 1978): a rank's step grows with each message it sends or receives, and
a message is received no earlier than it was sent. A sendrecv sends and receives in one step.
Unlike times, logical steps are the same on every machine.
"""

from collections import defaultdict
from dataclasses import dataclass
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from mpipar.trace import COLLECTIVES, Event, Trace, pair_messages
from mpipar.view.units import readable_bytes


class Hop(NamedTuple):
    """One message.   step: logical, from 1;   sender, receiver: world ranks"""

    step: int
    sender: int
    receiver: int
    sent: Event
    received: Event


@dataclass
class _Rank:
    """One rank's messages in order; those of a sendrecv form one group."""

    groups: list[list[Event]]
    next: int = 0
    clock: int = 0


def hops(trace: Trace, op: str | None = None) -> list[Hop]:
    """All messages that arrived, by (step, sender); op: only those inside this collective.

    Steps are counted from the first message that is kept.
    """
    kept = {rank: _kept(list_of.events, op) for rank, list_of in trace.ranks.items()}
    pairs = [p for p in pair_messages(trace) if p[1].seq in kept[p[0]] and p[3].seq in kept[p[2]]]
    sender_of = {(r, received.seq): (s, sent.seq) for s, sent, r, received in pairs}
    ranks = {r: _Rank(groups([e for e in t.events if e.seq in kept[r]])) for r, t in trace.ranks.items()}
    steps = _assign_steps(ranks, sender_of)
    found = [
        Hop(max(steps[s, sent.seq], steps[r, received.seq]), s, r, sent, received)
        for s, sent, r, received in pairs
        if (r, received.seq) in steps
    ]
    return sorted(found, key=lambda hop: (hop.step, hop.sender, hop.receiver))


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
            " ".join(x if isinstance(x, str) else f"{x:g}" for x in hop.sent.values or []),
        )
    console.print(table, highlight=False)


def _kept(events: list[Event], op: str | None) -> set[int]:
    collectives = {e.seq: e.op for e in events if e.op in COLLECTIVES}
    legs = [e for e in events if e.op in ("send", "recv", "isend", "irecv")]
    return {e.seq for e in legs if op is None or collectives.get(e.parent) == op}


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


def _assign_steps(ranks: dict[int, _Rank], sender_of: dict) -> dict[tuple[int, int], int]:
    steps: dict[tuple[int, int], int] = {}
    waiting: dict[tuple[int, int], int] = defaultdict(int)  # send -> rank that waits for its step
    ready = sorted(ranks)
    while ready:
        number = ready.pop()
        rank = ranks[number]
        while rank.next < len(rank.groups):
            group, now = rank.groups[rank.next], rank.clock + 1
            for event in group:
                if event.op in ("send", "isend"):
                    steps[number, event.seq] = now
                    if (number, event.seq) in waiting:
                        ready.append(waiting.pop((number, event.seq)))
            blocked = False
            for event in group:
                sent = sender_of.get((number, event.seq))
                if event.op in ("recv", "irecv") and sent is not None:
                    if sent not in steps:
                        waiting[sent], blocked = number, True
                        break
                    steps[number, event.seq] = now = max(now, steps[sent])
            if blocked:
                break
            rank.clock, rank.next = now, rank.next + 1
    return steps
