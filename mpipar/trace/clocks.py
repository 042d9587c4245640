"""One clock for all ranks of a trace, and no message that arrives before it is sent.

Each rank of another host has noted how far its clock was from rank 0's, at the start and mostly at the
end; in between the difference is taken to change evenly. What error is left can still make a message
arrive early. Then the receive, and what follows on that rank, is moved up as little as can be: the
controlled logical clock (Rabenseifner 1997, after Lamport 1978). Of each time between two events a rank
takes back 1 % of what it was moved by, so that lengths stay nearly as measured.
"""

from collections.abc import Callable, Iterator

from mpipar.trace.event import Clock, Event

Pair = tuple[int, Event, int, Event]  # sender, its event, receiver, its event


def to_rank_0(clocks: list[Clock]) -> Callable[[int], int]:
    """A rank's time -> rank 0's, by the first and the last of its notes; beyond them as at them."""
    first, last = min(clocks, key=lambda c: c.at), max(clocks, key=lambda c: c.at)
    length, change = max(last.at - first.at, 1), last.offset - first.offset

    def aligned(time: int) -> int:
        passed = min(max(time - first.at, 0), length)
        return time + first.offset + change * passed // length

    return aligned


def move_up(events: dict[int, list[Event]], pairs: list[Pair]) -> tuple[int, int]:
    """Change times so that no message arrives before it is sent.   events: of each rank

    returns: how many messages did, by how many ns at most
    cost: where one did, a sort of all times
    """
    early = [sent.start - got.end for _, sent, _, got in pairs if got.end < sent.start]
    if not early:
        return 0, 0
    sent_as = {id(got): id(sent) for _, sent, _, got in pairs}
    posted: dict[int, int] = {}  # id of an event -> its start, moved
    walks = [_walk(of, sent_as, posted) for of in events.values()]
    before = None
    while walks:
        waits = [next(walk, None) for walk in walks]
        if waits == before:  # the pairs contradict each other: a receive goes without its send
            posted[waits[0][1]] = 0
        walks = [walk for walk, wait in zip(walks, waits, strict=True) if wait is not None]
        before = [wait for wait in waits if wait is not None]
    return len(early), max(early)


def _walk(events: list[Event], sent_as: dict[int, int], posted: dict[int, int]) -> Iterator[tuple[int, int]]:
    """Move a rank's times up, in their order.   yields: (where it is, the send it waits for)"""
    points = [(e.start, 0, e) for e in events] + [(e.end, 1, e) for e in events]
    points.sort(key=lambda point: point[:2])
    measured = moved = 0
    for number, (time, is_end, event) in enumerate(points):
        new = max(time, moved + (time - measured) * 99 // 100) if number else time
        if is_end and id(event) in sent_as:
            send = sent_as[id(event)]
            while send not in posted:
                yield number, send
            new = max(new, posted[send])
        if is_end:
            event.end = new
        else:
            event.start = posted[id(event)] = new
        measured, moved = time, new
