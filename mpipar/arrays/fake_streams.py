"""Streams of the stand-in for CuPy: who may see what another has written.

Work on a stream gets a number, counted from 1. A stream is behind (stream, number) where it has waited
for an event recorded there since, or the host has waited for it. An allocation remembers whom its reader
must be behind. Copies to and from the host run as late as they may: when somebody is ordered behind them.
"""

from collections import Counter
from typing import Any

import numpy as np

counts: Counter[str] = Counter()  # "host to device", "device to host", "wait": since import


class Stream:
    """An in-order queue of work; copies to or from the host wait in it until they must be done."""

    def __init__(self, null: bool = False, non_blocking: bool = False) -> None:
        self.issued = 0
        self.finished = 0
        self.waited: dict[Stream, int] = {}  # how far this stream is ordered behind another
        self._copies: list[tuple[int, Any]] = []

    def issue(self, copy: Any = None) -> int:
        """Number the next piece of work; `copy` runs when somebody is ordered behind it."""
        self.issued += 1
        if copy is not None:
            self._copies.append((self.issued, copy))
        return self.issued

    def run_copies(self, upto: int) -> None:
        while self._copies and self._copies[0][0] <= upto:
            self._copies.pop(0)[1]()

    def is_behind(self, other: "Stream", number: int) -> bool:
        done = max(self.waited.get(other, 0), other.finished)
        return self is other or done >= number

    def record(self, event: "Event | None" = None) -> "Event":
        event = event or Event()
        event.stream, event.number = self, self.issued
        return event

    def wait_event(self, event: "Event") -> None:
        for stream, number in [*event.stream.waited.items(), (event.stream, event.number)]:
            self.waited[stream] = max(self.waited.get(stream, 0), number)
        # what has finished needs no order; else every stream that ever was would be kept
        self.waited = {stream: n for stream, n in self.waited.items() if n > stream.finished}

    def synchronize(self) -> None:
        self.record().synchronize()

    def __enter__(self) -> "Stream":
        _streams.append(self)
        return self

    def __exit__(self, *error: object) -> None:
        _streams.pop()


class Event:
    """A place in a stream that the host or another stream can wait for."""

    def __init__(self, disable_timing: bool = False) -> None:
        self.stream, self.number, self._looked = _streams[0] if _streams else None, 0, False

    def record(self, stream: Stream | None = None) -> None:
        (stream or current_stream()).record(self)

    @property
    def done(self) -> bool:
        """As if the device were busy: at the first look only where somebody has waited, at the second."""
        if self._looked:
            self._finish()
        self._looked = True
        return self.stream.finished >= self.number

    def synchronize(self) -> None:
        counts["wait"] += 1
        self._finish()

    def _finish(self) -> None:
        self.stream.run_copies(self.number)
        self.stream.finished = max(self.stream.finished, self.number)


_streams: list[Stream] = []  # the current one is last
_streams.append(Stream())


def current_stream() -> Stream:
    """The one that work goes to here."""
    return _streams[-1]


class Memory:
    """What all views of one allocation share: who computed it last, and copies that come to parts of it."""

    __slots__ = ("copies", "number", "stream")

    def __init__(self, stream: Stream, number: int) -> None:
        self.stream, self.number = stream, number
        self.copies: list[tuple[np.ndarray, Stream, int]] = []

    def writers(self, part: np.ndarray) -> list[tuple[Stream, int]]:
        """Whom a reader of the part must be behind, beside those who have finished."""
        if self.copies:
            self.copies = [copy for copy in self.copies if copy[1].finished < copy[2]]
        copies = [copy[1:] for copy in self.copies if np.may_share_memory(copy[0], part)]
        return [(self.stream, self.number), *copies]
