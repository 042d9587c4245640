"""Traces written by hand: each rank is a list of events, times in ms."""

from mpipar.trace import Event, Recorder, Trace, prepare_folder, read

MS = 1_000_000  # ns


def event(op, start, end, **more):
    """Event(seq, op, …) without its seq, which is its place in the rank's list."""
    return op, round(start * MS), round(end * MS), {"comm": "world", **more}


def made(folder, *ranks, size=None, closed=True) -> Trace:
    """Write the ranks' events and read them back.   size: more than there are ranks: some left no file"""
    size = size or len(ranks)
    prepare_folder(folder, {"size": size})
    for rank, events in enumerate(ranks):
        recorder = Recorder(folder, rank, size, flush_seconds=None)
        recorder.add_group("world", list(range(size)))
        for op, start, end, more in events:
            recorder.add(Event(recorder.begin(), op, start, end, **more))
        recorder.close() if closed else recorder.flush()
    return read(folder)


def long_ring(ranks, rounds):
    """In every round each rank sends to its right and receives from its left, 2·ranks·rounds events."""
    return [
        [
            event(op, 10 * k + rank / 10, 10 * k + 5 + (k * rank) % 4, peer=(rank + step) % ranks, bytes=800)
            for k in range(rounds)
            for op, step in (("send", 1), ("recv", -1))
        ]
        for rank in range(ranks)
    ]


def in_ms(waits):
    """(rank, start, end, cause, culprit), times in ms."""
    return [(w.rank, w.start / MS, w.end / MS, w.cause, w.culprit) for w in waits]
