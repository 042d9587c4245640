"""A trace as Trace Event JSON (Chrome's format, 2016), to be opened at ui.perfetto.dev.

A rank is a process. Its first track holds what its program did, one thing inside the other: scopes,
collectives, their hops, waits. Requests lie on tracks of their own, as many as overlap. An arrow leads
from inside a send to a slice `deliver` at the end of the receive. Counters show the bytes that a rank
has sent and that have not arrived, and the memory it holds.

Times are kept to the nanosecond; what happened at one moment is moved apart by 1 ns (perfetto_layout.py).
"""

import math
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import msgspec

from mpipar.trace import Event, Trace, pair_messages
from mpipar.view.files import write_file
from mpipar.view.perfetto_layout import Arrows, Rank, choose_tracks, lay_out
from mpipar.view.perfetto_slices import PROGRAM, edges_of

DETAILS = ("shape", "tag", "comm", "phase", "algorithm", "reduction", "step", "micro", "values")


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
    ranks = {r: Rank(edges_of(r, of.events, messages, origin)) for r, of in sorted(trace.ranks.items())}
    arrows = lay_out(ranks)
    rows: list[dict[str, Any]] = []
    for rank, of in ranks.items():
        slices = [edge.slice for edge in of.edges if not edge.closes]
        tracks = choose_tracks([slice for slice in slices if slice.category == "request"])
        rows += _names(rank, tracks)
        for slice in slices:
            rows.append(_box(rank, slice.track, slice.name, slice.category, slice.start, slice.end))
            rows[-1]["args"] = _details(slice.events)
        for event in trace.ranks[rank].events:
            if event.op == "memory":
                rows.append(_level(rank, event.start - origin, f"{event.algorithm} memory", event.bytes))
    return rows + _arrow_rows(arrows) + _counter_rows(arrows)


def _names(rank: int, request_tracks: int) -> list[dict[str, Any]]:
    tracks = {PROGRAM: "program"} | {PROGRAM + k: f"requests {k}" for k in range(1, request_tracks + 1)}
    rows = [{"ph": "M", "name": "process_name", "pid": rank + 1, "args": {"name": f"rank {rank}"}}]
    for tid, name in tracks.items():
        rows.append({"ph": "M", "name": "thread_name", "pid": rank + 1, "tid": tid, "args": {"name": name}})
    return rows


def _box(rank: int, track: int, name: str, category: str, start: int, end: int) -> dict[str, Any]:
    at, width = _microseconds(start), _microseconds(end - start)
    return {"ph": "X", "pid": rank + 1, "tid": track, "name": name, "cat": category, "ts": at, "dur": width}


def _arrow_rows(arrows: Arrows) -> list[dict[str, Any]]:
    rows = []
    for message, (receiver, slice, arrival) in arrows.arrived.items():
        sender, its_slice, post = arrows.posted[message]
        deliver = _box(receiver, slice.track, "deliver", "message", arrival - 1, arrival + 1)
        arrow = {"cat": "message", "name": "message", "id": message}
        start = {"ph": "s", "pid": sender + 1, "tid": its_slice.track, "ts": _microseconds(post)}
        point = {"ph": "f", "pid": receiver + 1, "tid": slice.track, "ts": _microseconds(arrival), "bp": "e"}
        rows += [deliver, {**start, **arrow}, {**point, **arrow}]
    return rows


def _counter_rows(arrows: Arrows) -> list[dict[str, Any]]:
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
