"""Requests as the ledger has them: under way from their start until they were waited for.

Until then nobody else may use their array: a second request on it is a mistake, and so is a change of
what an isend has yet to send, or of where an irecv has yet to write, which a checksum tells.
"""

import zlib
from typing import Any

import numpy as np

from mpipar.comm.transport import Pending, Status
from mpipar.comm.verdict import Verdict
from mpipar.errors import VerdictError

SAMPLED = 1 << 14  # bytes at each end of a buffer that are compared, unless checking is strict


class CheckedPending:
    """A message that was started.   home: the CheckedTransport that it goes through"""

    inner: Pending

    @property
    def hops(self) -> bool:
        """Whether it belongs to a collective."""
        return self.home.hops

    def __init__(self, home: Any, op: str, buffer: Any, peer: int, tag: int, number: int, site: str) -> None:
        self.home, self.op, self._buffer = home, op, buffer
        self.peer, self.tag, self.number, self.site = peer, tag, number, site
        self._sum, self._apart = 0, None
        if not home.hops:
            look_at_others(self)
            self._sum = self._checksum()
        home.ledger.requests[id(self)] = self

    def wait(self) -> Status:
        ledger, home = self.home.ledger, self.home
        site = home.site()
        op = "wait send" if self.op == "isend" else "wait recv"
        if self.number and not home.hops:
            ledger.log(op, self.peer, home.name, self.tag, self.number, site)
        ledger.enter(*self._doing(op, site))
        status = self.inner.wait()
        self._end(status)
        ledger.leave()
        return status

    def test(self) -> Status | None:
        status = self.inner.test()
        ledger = self.home.ledger
        if status is not None:
            self._end(status)
            ledger.leave()
        else:
            ledger.polls += 1
            if ledger.doing is None or ledger.doing[0] != "poll":
                ledger.enter(*self._doing("poll", self.home.site()))
        return status

    def _doing(self, op: str, site: str) -> tuple:
        """The fields of a Doing."""
        peer = -2 if op == "poll" and self.op == "isend" else self.peer
        return op, peer, self.home.name, self.tag, self.number, self._buffer.nbytes, -2, 0, 0, site

    def apart(self) -> Any:
        """Where an irecv is to write: beside the user's array, so that a change of it is noticed."""
        small = isinstance(self._buffer, np.ndarray) and (self._buffer.nbytes <= SAMPLED or self.home.strict)
        if small and not self.home.hops:
            self._apart = np.empty_like(self._buffer)
        return self._buffer if self._apart is None else self._apart

    def _end(self, status: Status) -> None:
        home = self.home
        del home.ledger.requests[id(self)]
        watched = not home.hops and (self.op == "isend" or self._apart is not None)
        changed = watched and self._checksum() != self._sum
        if self._apart is not None:
            self._buffer[...] = self._apart
        if self.op == "irecv":
            home.got(self.number, status, self._buffer, self.site, "irecv", self.peer)
        if changed:
            rank = home.ledger.rank
            line = f"rank {rank}  its array was changed between {self.op} and wait, at {home.site()}"
            raise VerdictError(Verdict("buffer changed", [(rank, self.site)], [line]))

    def _checksum(self) -> int:
        if not isinstance(self._buffer, np.ndarray):
            return 0
        data = self._buffer.reshape(-1).view(np.uint8)
        if len(data) > 2 * SAMPLED and not self.home.strict:
            return zlib.crc32(data[-SAMPLED:], zlib.crc32(data[:SAMPLED]))
        return zlib.crc32(data)


class CheckedStarted:
    """A collective that was started."""

    hops = False

    def __init__(self, home: Any, op: str, out: Any, site: str) -> None:
        self.home, self.op, self._buffer, self.site = home, op, out, site
        look_at_others(self)
        home.ledger.requests[id(self)] = self

    def end(self) -> None:
        del self.home.ledger.requests[id(self)]


def look_at_others(mine: CheckedPending | CheckedStarted) -> None:
    """Two requests must not use one array, unless both only read it."""
    for other in mine.home.ledger.requests.values():
        if (mine.op, other.op) == ("isend", "isend") or other.hops:
            continue
        if _overlap(mine._buffer, other._buffer):
            rank, kind = mine.home.ledger.rank, "buffer changed"
            if mine.op == other.op:
                kind = "request started twice"
            lines = [
                f"rank {rank}  {mine.op} at {mine.site}: {other.op} at {other.site} still uses that array"
            ]
            raise VerdictError(Verdict(kind, [(rank, mine.site)], lines))


def _overlap(x: Any, y: Any) -> bool:
    both = isinstance(x, np.ndarray) and isinstance(y, np.ndarray)
    return both and x.size > 0 and y.size > 0 and np.may_share_memory(x, y)
