"""A rank's program as it can be compared on two machines: calls and messages without times or hosts.

Items stand in the order in which they were begun. What order says nothing has one order here: receives
that follow each other, as a wildcard may take them in any order, and what is under way together, as
the two halves of a sendrecv. A communicator is told by its members. A send is an isend.
"""

from collections.abc import Iterator
from typing import NamedTuple

from mpipar.trace import COLLECTIVES, MESSAGES, RECEIVES, REQUESTS, SENDS, Event, Trace
from mpipar.view.steps import groups
from mpipar.view.units import readable_bytes


class Item(NamedTuple):
    """What is compared: a call, a send or a receive.   peer: the root of a call, -1 for none

    scope: "" unless scopes are compared
    """

    what: str
    comm: tuple[int, ...]
    operation: str
    algorithm: str
    phase: str
    peer: int
    tag: int
    bytes: int
    dtype: str
    reduction: str
    scope: str

    @property
    def kind(self) -> str:
        """'allreduce ring: calls', 'allreduce ring: send', 'send'"""
        if self.what == "call":
            return f"{self.operation} {self.algorithm}: calls"
        name = f"{self.operation} {self.algorithm}".strip()
        return f"{name}: {self.what}" if name else self.what

    def __str__(self) -> str:
        """As 'sends to rank 1 (8 B of float64, tag 0)'."""
        what = f"{readable_bytes(self.bytes)} of {self.dtype}"
        if self.what == "call":
            reduction = f", {self.reduction}" if self.reduction else ""
            root = f", root {self.peer}" if self.peer >= 0 else ""
            return f"calls {self.operation} {self.algorithm} ({what}{reduction}{root})"
        verb, to = ("sends", "to") if self.what == "send" else ("receives", "from")
        name = f"{self.algorithm}_{self.operation}" if self.algorithm else self.operation
        inside = f" in {name}, {self.phase}" if name else ""
        return f"{verb} {to} rank {self.peer} ({what}, tag {self.tag}{inside})"


class Step(NamedTuple):
    """An item with where it came from.   site: of the user's call"""

    item: Item
    event: Event
    site: str


def program(trace: Trace, rank: int, scopes: bool) -> list[Step]:
    """A rank's items in order, with one order for those whose order says nothing."""
    of = trace.ranks.get(rank)
    events = of.events if of else []
    members = {comm: tuple(ranks) for comm, ranks in trace.groups.items()}
    calls = {e.seq: e for e in events if e.op in COLLECTIVES}
    kept = [e for e in events if e.op in MESSAGES or e.op in COLLECTIVES or e.op == "wait"]
    steps: list[Step] = []
    for bunch in _bunches(kept):
        for event in bunch:
            call = calls.get(event.parent)
            scope = f"step {event.step}, {event.scope}" if scopes else ""
            steps.append(Step(_item(event, call, members, scope), event, (call or event).site))
    return steps


def _bunches(events: list[Event]) -> list[list[Event]]:
    """Events in order; together, and sorted, those that are under way at once or only receive."""
    found: list[list[Event]] = []
    for bunch in _under_way(events):
        before = found[-1] if found else []
        same_place = before and before[-1].parent == bunch[0].parent
        if same_place and _only_receives(before) and _only_receives(bunch):
            before += bunch
        else:
            found.append(bunch)
    return [sorted(bunch, key=_canonical) if len(bunch) > 1 else bunch for bunch in found]


def _under_way(events: list[Event]) -> Iterator[list[Event]]:
    """What is begun between two waits, blocking calls or collectives."""
    bunch: list[Event] = []
    for group in groups(events):
        op, parent = group[0].op, group[0].parent
        ends = op == "wait" or op in COLLECTIVES or (bunch and parent != bunch[0].parent)
        if ends and bunch:
            yield bunch
            bunch = []
        if op != "wait":
            bunch += group
        if bunch and op not in REQUESTS:
            yield bunch
            bunch = []
    if bunch:
        yield bunch


def _only_receives(bunch: list[Event]) -> bool:
    return all(e.op in RECEIVES for e in bunch)


def _canonical(event: Event) -> tuple:
    """Sends first and as they were begun, then receives by where they come from."""
    return (0,) if event.op in SENDS else (1, event.comm, event.peer, event.tag)


def _item(event: Event, call: Event | None, members: dict[str, tuple], scope: str) -> Item:
    of = call or (event if event.op in COLLECTIVES else None)
    what = "call" if of is event else "send" if event.op in SENDS else "recv"
    operation, algorithm = (of.op, of.algorithm) if of else ("", "")
    if of is None and event.parent >= 0:  # the rank was ended inside
        operation = "an unfinished collective"
    return Item(
        what, members.get(event.comm, ()), operation, algorithm, event.phase, event.peer, event.tag,
        event.bytes, event.dtype, event.reduction, scope,
    )  # fmt: skip
