"""Places for slices: edges of a rank apart, no arrival before its post, no two requests on one track.

What happened at one moment on one rank, as on a virtual clock, is moved apart by 1 ns, and a message
arrives after its post, as on Lamport's clock (CACM 21, 1978): each edge of a slice takes the later of
its own time and the earliest that the edges before it allow.
"""

from dataclasses import dataclass, field
from heapq import heappush, heapreplace

from mpipar.view.perfetto_slices import PROGRAM, Edge, Slice


@dataclass
class Rank:
    """A rank's edges as they happened.   free: the earliest time that the next one may have"""

    edges: list[Edge]
    next: int = 0
    free: int = 0


@dataclass
class Arrows:
    """Both ends of each message, (rank, slice, ns), where they have been laid out."""

    posted: dict[int, tuple[int, Slice, int]] = field(default_factory=dict)
    arrived: dict[int, tuple[int, Slice, int]] = field(default_factory=dict)


def lay_out(ranks: dict[int, Rank]) -> Arrows:
    """Move the edges apart where they coincide, and each arrival behind its post."""
    arrows = Arrows()
    waiting: dict[int, int] = {}  # message -> the rank that needs to know its post
    ready = sorted(ranks, reverse=True)
    while ready or waiting:
        if not ready:  # receives that wait for each other: the trace is damaged; one gets no arrow
            message, number = waiting.popitem()
            ranks[number].edges[ranks[number].next].slice.receives = 0
            arrows.posted.pop(message, None)
            ready.append(number)
        number = ready.pop()
        ready += _advance(number, ranks[number], arrows, waiting)
    return arrows


def _advance(number: int, rank: Rank, arrows: Arrows, waiting: dict[int, int]) -> list[int]:
    """Lay out a rank's edges up to one that has to wait.   returns: the ranks that waited for its posts"""
    freed = []
    while rank.next < len(rank.edges):
        edge = rank.edges[rank.next]
        slice = edge.slice
        if edge.closes and slice.receives and slice.receives not in arrows.posted:
            waiting[slice.receives] = number
            break
        (_close if edge.closes else _open)(number, rank, edge, arrows)
        if not edge.closes and slice.sends in waiting:
            freed.append(waiting.pop(slice.sends))
        rank.next += 1
    return freed


def _open(number: int, rank: Rank, edge: Edge, arrows: Arrows) -> None:
    slice = edge.slice
    slice.start = rank.free = max(edge.time, rank.free)
    if slice.sends:
        arrows.posted[slice.sends] = (number, slice, slice.start + 1)
        rank.free = slice.start + 2


def _close(number: int, rank: Rank, edge: Edge, arrows: Arrows) -> None:
    """The end of a receive is a slice of 2 ns, with the arrow's point in its middle."""
    slice = edge.slice
    if slice.receives:
        begin = max(edge.time - 2, rank.free, arrows.posted[slice.receives][2])
        arrows.arrived[slice.receives] = (number, slice, begin + 1)
        rank.free = begin + 2
    else:
        rank.free = max(edge.time, rank.free, slice.start + 1)
    slice.end = rank.free


def choose_tracks(requests: list[Slice]) -> int:
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
