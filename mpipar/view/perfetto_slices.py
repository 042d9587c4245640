"""A rank's events as slices, boxes one inside the other, and the edges at which these open and close."""

from dataclasses import dataclass
from typing import NamedTuple

from mpipar.trace import COLLECTIVES, RECEIVES, REQUESTS, SENDS, STARTED, Event
from mpipar.view.steps import groups

PROGRAM = 1  # tid of a rank's first track; its requests' are 2, 3, …


@dataclass(slots=True, eq=False)
class Slice:
    """One box on a track; start and end in ns, moved by lay_out.   sends, receives: a message, 0: none"""

    name: str
    category: str
    events: list[Event]
    start: int
    end: int
    sends: int = 0
    receives: int = 0
    track: int = PROGRAM


class Edge(NamedTuple):
    """The left or the right end of a slice; `order` decides among those of one time."""

    time: int
    order: int
    closes: bool
    slice: Slice


def edges_of(rank: int, events: list[Event], messages: dict, origin: int) -> list[Edge]:
    """Both ends of every slice of a rank, in the order in which they happened."""
    edges: list[Edge] = []
    requests: dict[int, Slice] = {}  # by the request's seq, until it is over
    open_slices: list[Slice] = []

    def add(time: int, closes: bool, slice: Slice) -> None:
        time = max(time, edges[-1].time if edges and slice.category != "request" else 0)
        edges.append(Edge(time, len(edges), closes, slice))

    def close_last() -> None:
        slice = open_slices.pop()
        request = requests.pop(slice.events[0].parent, None) if slice.category == "wait" else None
        if request is not None:
            add(request.end, True, request)
        add(slice.end, True, slice)

    for group in groups(_in_order(events)):
        slice = _slice(group, origin)
        for event in group:
            side = "receives" if event.op in RECEIVES else "sends"
            setattr(slice, side, messages.get((rank, event.seq), 0))
        while open_slices and not _is_inside(slice, open_slices[-1]):
            close_last()
        add(slice.start, False, slice)
        if slice.category == "request":
            requests[group[0].seq] = slice
        else:
            open_slices.append(slice)
    while open_slices:
        close_last()
    for request in requests.values():  # tested for, not waited for
        add(request.end, True, request)
    return sorted(edges)


def _in_order(events: list[Event]) -> list[Event]:
    """What becomes a slice, by seq, but a message before the copies that were made in its course."""
    ordered: list[Event] = []
    for event in (event for event in events if event.op != "memory"):
        place = len(ordered)
        if event.op in ("send", "recv"):
            while place and ordered[place - 1].op == "copy" and ordered[place - 1].start >= event.start:
                place -= 1
        ordered.insert(place, event)
    return ordered


def _slice(group: list[Event], origin: int) -> Slice:
    first, last = group[0], group[-1]
    name, category = first.op, first.op
    if first.op in COLLECTIVES:
        name, category = f"{first.op} {first.algorithm}", "request" if first.op in STARTED else "collective"
    elif first.op == "scope":
        name = first.scope.rpartition("/")[2]
    elif first.op == "copy":
        name = f"copy: {first.algorithm}"
    elif len(group) == 2:
        name, category = f"sendrecv → {first.peer}, ← {last.peer}", "message"
    elif first.op != "wait":
        name = f"{first.op} {'→' if first.op in SENDS else '←'} {first.peer}"
        category = "request" if first.op in REQUESTS else "message"
    end = max(event.end for event in group)
    return Slice(name, category, group, first.start - origin, max(end, first.start) - origin)


def _is_inside(inner: Slice, outer: Slice) -> bool:
    """Whether the inner slice, which began later, lies within; among equal times the program decides."""
    if inner.start < outer.start or inner.end > outer.end:
        return False
    if inner.start > outer.start and inner.end < outer.end:
        return True
    event, around = inner.events[0], outer.events[0]
    if around.op == "scope":
        own = event.scope if event.op != "scope" else event.scope.rpartition("/")[0]
        return f"{own}/".startswith(f"{around.scope}/")
    if around.op in COLLECTIVES:
        return event.parent == around.seq or event.op in ("wait", "copy")
    return event.op == "copy"
