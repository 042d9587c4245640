"""A trace as Trace Event JSON (Chrome's format, 2016), to be opened at ui.perfetto.dev.

A rank is a process. Its first track holds what its program did, one thing inside the other: scopes,
collectives, their hops, waits. Requests lie on tracks of their own, as many as overlap. An arrow leads
from inside a send to a slice `deliver` at the end of the receive. Counters show the bytes that a rank
has sent and that have not arrived, and the memory it holds.

Times are kept to the nanosecond. What happened at one moment on one rank, as on a virtual clock, is
moved apart by 1 ns, and a message arrives after its post, as on Lamport's clock (CACM 21, 1978): each
edge of a slice takes the later of its own time and the earliest that the edges before it allow.
"""

import math
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from heapq import heappush, heapreplace
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from mpipar.trace import COLLECTIVES, STARTED, Event, Trace, pair_messages
from mpipar.view.files import write_file
from mpipar.view.steps import groups

REQUESTS = ("isend", "irecv")
PROGRAM = 1  # tid of a rank's first track; its requests' are 2, 3, …
DETAILS = ("shape", "tag", "comm", "phase", "algorithm", "reduction", "step", "micro", "values")


@dataclass(slots=True, eq=False)
class _Slice:
    """One box on a track; start and end in ns, moved by `_lay_out`.   sends, receives: a message, 0: none"""

    name: str
    category: str
    events: list[Event]
    start: int
    end: int
    sends: int = 0
    receives: int = 0
    track: int = PROGRAM


class _Edge(NamedTuple):
    """The left or the right end of a slice; `order` decides among those of one time."""

    time: int
    order: int
    closes: bool
    slice: _Slice


@dataclass
class _Rank:
    """A rank's edges as they happened.   free: the earliest time that the next one may have"""

    edges: list[_Edge]
    next: int = 0
    free: int = 0


@dataclass
class _Arrows:
    """Both ends of each message, (rank, track, ns), where they have been laid out."""

    posted: dict[int, tuple[int, _Slice, int]] = field(default_factory=dict)
    arrived: dict[int, tuple[int, _Slice, int]] = field(default_factory=dict)


def write_perfetto(trace: Trace, file: str | Path) -> tuple[int, int]:
    """Write the trace into a JSON file.   returns: how many rows it has, how many arrows"""
    rows = trace_events(trace)
    write_file(file, msgspec.json.encode({"traceEvents": rows, "displayTimeUnit": "ns"}))
    return len(rows), sum(row["ph"] == "f" for row in rows)


def trace_events(trace: Trace) -> list[dict[str, Any]]:
    """The rows of `traceEvents`: names, slices, arrows, counters. Time 0 is the trace's first event.

    A message whose other side is missing from the trace gets no arrow and is not counted.
    cost: about 15 µs an event
    """
    messages = {}  # (rank, seq) of either side -> its number, from 1
    for number, (sender, sent, receiver, received) in enumerate(pair_messages(trace), 1):
        messages[sender, sent.seq] = messages[receiver, received.seq] = number
    origin = min((event.start for _, event in trace.events()), default=0)
    ranks = {r: _Rank(_edges(r, of.events, messages, origin)) for r, of in sorted(trace.ranks.items())}
    arrows = _lay_out(ranks)
    rows: list[dict[str, Any]] = []
    for rank, of in ranks.items():
        slices = [edge.slice for edge in of.edges if not edge.closes]
        tracks = _choose_tracks([slice for slice in slices if slice.category == "request"])
        rows += _names(rank, tracks)
        for slice in slices:
            rows.append(_box(rank, slice.track, slice.name, slice.category, slice.start, slice.end))
            rows[-1]["args"] = _details(slice.events)
        for event in trace.ranks[rank].events:
            if event.op == "memory":
                rows.append(_level(rank, event.start - origin, f"{event.algorithm} memory", event.bytes))
    return rows + _arrow_rows(arrows) + _counter_rows(arrows)


def _edges(rank: int, events: list[Event], messages: dict, origin: int) -> list[_Edge]:
    """Both ends of every slice of a rank, in the order in which they happened."""
    edges: list[_Edge] = []
    requests: dict[int, _Slice] = {}  # by the request's seq, until it is over
    open_slices: list[_Slice] = []

    def add(time: int, closes: bool, slice: _Slice) -> None:
        time = max(time, edges[-1].time if edges and slice.category != "request" else 0)
        edges.append(_Edge(time, len(edges), closes, slice))

    def close_last() -> None:
        slice = open_slices.pop()
        request = requests.pop(slice.events[0].parent, None) if slice.category == "wait" else None
        if request is not None:
            add(request.end, True, request)
        add(slice.end, True, slice)

    for group in groups(_in_order(events)):
        slice = _slice(group, origin)
        for event in group:
            side = "receives" if event.op in ("recv", "irecv") else "sends"
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


def _slice(group: list[Event], origin: int) -> _Slice:
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
        name = f"{first.op} {'→' if first.op in ('send', 'isend') else '←'} {first.peer}"
        category = "request" if first.op in REQUESTS else "message"
    end = max(event.end for event in group)
    return _Slice(name, category, group, first.start - origin, max(end, first.start) - origin)


def _is_inside(inner: _Slice, outer: _Slice) -> bool:
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


def _lay_out(ranks: dict[int, _Rank]) -> _Arrows:
    """Move the edges apart where they coincide, and each arrival behind its post."""
    arrows = _Arrows()
    waiting: dict[int, int] = {}  # message -> the rank that needs to know its post
    ready = sorted(ranks, reverse=True)
    while ready or waiting:
        if not ready:  # receives that wait for each other: the trace is damaged; one gets no arrow
            message, number = waiting.popitem()
            ranks[number].edges[ranks[number].next].slice.receives = 0
            arrows.posted.pop(message, None)
            ready.append(number)
        number = ready.pop()
        rank = ranks[number]
        while rank.next < len(rank.edges):
            edge = rank.edges[rank.next]
            slice = edge.slice
            if not edge.closes:
                _open(number, rank, edge, arrows)
                if slice.sends in waiting:
                    ready.append(waiting.pop(slice.sends))
            elif slice.receives and slice.receives not in arrows.posted:
                waiting[slice.receives] = number
                break
            else:
                _close(number, rank, edge, arrows)
            rank.next += 1
    return arrows


def _open(number: int, rank: _Rank, edge: _Edge, arrows: _Arrows) -> None:
    slice = edge.slice
    slice.start = rank.free = max(edge.time, rank.free)
    if slice.sends:
        arrows.posted[slice.sends] = (number, slice, slice.start + 1)
        rank.free = slice.start + 2


def _close(number: int, rank: _Rank, edge: _Edge, arrows: _Arrows) -> None:
    """The end of a receive is a slice of 2 ns, with the arrow's point in its middle."""
    slice = edge.slice
    if slice.receives:
        begin = max(edge.time - 2, rank.free, arrows.posted[slice.receives][2])
        arrows.arrived[slice.receives] = (number, slice, begin + 1)
        rank.free = begin + 2
    else:
        rank.free = max(edge.time, rank.free, slice.start + 1)
    slice.end = rank.free


def _choose_tracks(requests: list[_Slice]) -> int:
    """A track for each request, so that none overlap: the one that is free first.   returns: how many"""
    tracks: list[tuple[int, int]] = []  # (until when it is taken, its number)
    for slice in requests:
        if tracks and tracks[0][0] <= slice.start:
            slice.track = tracks[0][1]
            heapreplace(tracks, (slice.end, slice.track))
        else:
            slice.track = PROGRAM + 1 + len(tracks)
            heappush(tracks, (slice.end, slice.track))
    return len(tracks)


def _names(rank: int, request_tracks: int) -> list[dict[str, Any]]:
    tracks = {PROGRAM: "program"} | {PROGRAM + k: f"requests {k}" for k in range(1, request_tracks + 1)}
    rows = [{"ph": "M", "name": "process_name", "pid": rank + 1, "args": {"name": f"rank {rank}"}}]
    for tid, name in tracks.items():
        rows.append({"ph": "M", "name": "thread_name", "pid": rank + 1, "tid": tid, "args": {"name": name}})
    return rows


def _box(rank: int, track: int, name: str, category: str, start: int, end: int) -> dict[str, Any]:
    at, width = _microseconds(start), _microseconds(end - start)
    return {"ph": "X", "pid": rank + 1, "tid": track, "name": name, "cat": category, "ts": at, "dur": width}


def _arrow_rows(arrows: _Arrows) -> list[dict[str, Any]]:
    rows = []
    for message, (receiver, slice, arrival) in arrows.arrived.items():
        sender, its_slice, post = arrows.posted[message]
        deliver = _box(receiver, slice.track, "deliver", "message", arrival - 1, arrival + 1)
        arrow = {"cat": "message", "name": "message", "id": message}
        start = {"ph": "s", "pid": sender + 1, "tid": its_slice.track, "ts": _microseconds(post)}
        point = {"ph": "f", "pid": receiver + 1, "tid": slice.track, "ts": _microseconds(arrival), "bp": "e"}
        rows += [deliver, {**start, **arrow}, {**point, **arrow}]
    return rows


def _counter_rows(arrows: _Arrows) -> list[dict[str, Any]]:
    """Bytes that each rank has posted and that have not arrived: 0 before its first and after its last."""
    changes: dict[int, Counter] = defaultdict(Counter)  # rank -> ns -> bytes
    for message, (_, _, arrival) in arrows.arrived.items():
        sender, slice, post = arrows.posted[message]
        changes[sender][post] += slice.events[0].bytes
        changes[sender][arrival] -= slice.events[0].bytes
    rows = []
    for rank, by_time in sorted(changes.items()):
        level = 0
        for time in sorted(time for time, change in by_time.items() if change):
            level += by_time[time]
            rows.append(_level(rank, time, "bytes in flight", level))
    return rows


def _level(rank: int, time: int, name: str, nbytes: int) -> dict[str, Any]:
    return {"ph": "C", "pid": rank + 1, "ts": _microseconds(time), "name": name, "args": {"bytes": nbytes}}


def _details(events: list[Event]) -> dict[str, Any]:
    """What a click on the slice shows."""
    event = events[0]
    shown = {name: value for name in DETAILS if (value := getattr(event, name)) not in ("", -1, None, ())}
    if event.op not in ("scope", "wait"):
        shown |= {"bytes": event.bytes, "dtype": event.dtype}
    if len(events) == 2:
        shown["bytes received"] = events[1].bytes
    return {**shown, "site": event.site, "scope": event.scope}


def _microseconds(ns: int) -> float:
    """ns/1000, by a hair more where a reader that multiplies by 1000 and cuts off would lose a nanosecond."""
    value = ns / 1000
    return value if int(value * 1000) == ns else math.nextafter(value, math.inf)
