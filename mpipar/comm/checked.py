"""A transport that keeps the ledger of what goes through it; the bytes go on as before.

It is laid around a transport when checking is on (MPIPAR_CHECK=watch or strict), so that with
MPIPAR_CHECK=off nothing is left of it. What it costs: two entries in Python objects a message.
"""

import os
import sys
from pathlib import Path
from typing import Any

from mpipar.comm.checked_requests import CheckedPending, CheckedStarted
from mpipar.comm.group import slots
from mpipar.comm.ledger import HOPS, Entered, Ledger
from mpipar.comm.transport import ANY_SOURCE, ANY_TAG, Pending, Status, Transport
from mpipar.comm.wire import CARRIED
from mpipar.errors import MessageError
from mpipar.trace import call_site

HERE = str(Path(__file__).parent) + os.sep
_outside: dict[tuple[int, int], str] = {}  # lines outside of mpipar/comm, by code and instruction


class CheckedTransport:
    """`inner`, with its messages written into `ledger`.

    name: of the communicator, set by it;   hops: these are messages inside its collectives
    """

    def __init__(self, inner: Transport, ledger: Ledger, strict: bool = False, hops: bool = False) -> None:
        self._inner, self.ledger, self.strict, self.hops = inner, ledger, strict, hops
        self.rank, self.size, self.tag_limit = inner.rank, inner.size, inner.tag_limit
        self._started_from = inner.tag_limit - slots(inner) * inner.size + 1  # tags of started collectives
        self.reads_device, self.has_native = inner.reads_device, inner.has_native
        self.now, self.pause, self.reduced, self.nodes = inner.now, inner.pause, inner.reduced, inner.nodes
        self._until = inner.until
        if inner.until is None:
            self.until = None
        self.world = inner.ranks_in_world()
        self.name = "world"

    # ---- messages
    def send(self, buffer: Any, dest: int, tag: int) -> None:
        ledger, site = self.ledger, self.site()
        peer, name, key = self.world[dest], self.name, HOPS if self.hops else tag
        nbytes = buffer.nbytes
        number = ledger.sending(peer, name, key, buffer.dtype.char, nbytes, site)
        ledger.enter("send", peer, name, key, number, nbytes, -2, 0, 0, site)
        self._inner.send(buffer, dest, tag)
        ledger.leave()
        if not self.hops:  # only now, while the message is under way: the receiver need not wait for it
            ledger.log("send", peer, name, key, number, site)

    def recv(self, buffer: Any, source: int, tag: int) -> Status:
        ledger, site = self.ledger, self.site()
        peer, key = self._peer(source), HOPS if self.hops else tag
        number = ledger.receiving(peer, self.name, key, buffer.dtype.char, buffer.nbytes, site)
        if number and not self.hops:
            ledger.log("recv", peer, self.name, key, number, site)
        if ledger.requests:
            self._races(peer, key, site)
        ledger.enter("recv", peer, self.name, key, number, buffer.nbytes, -2, 0, 0, site)
        try:
            status = self._inner.recv(buffer, source, tag)
        except MessageError:
            ledger.failed(number, peer, self.name, key, buffer.dtype.char, buffer.nbytes, site)
            ledger.leave()
            raise
        self.got(number, status, buffer, site, "recv", peer)
        ledger.leave()
        return status

    def sendrecv(self, buffer: Any, dest: int, tag: int, into: Any, source: int, recv_tag: int) -> Status:
        ledger, site, name = self.ledger, self.site(), self.name
        to, peer = self.world[dest], self._peer(source)
        key, recv_key = (HOPS, HOPS) if self.hops else (tag, recv_tag)
        sent = ledger.sending(to, name, key, buffer.dtype.char, buffer.nbytes, site)
        number = ledger.receiving(peer, name, recv_key, into.dtype.char, into.nbytes, site)
        if number and not self.hops:
            ledger.log("sendrecv", peer, name, recv_key, number, site, to, key, sent)
        ledger.enter("sendrecv", peer, name, recv_key, number, buffer.nbytes, to, key, sent, site)
        try:
            status = self._inner.sendrecv(buffer, dest, tag, into, source, recv_tag)
        except MessageError:
            ledger.failed(number, peer, name, recv_key, into.dtype.char, into.nbytes, site)
            ledger.leave()
            raise
        self.got(number, status, into, site, "irecv", peer)
        ledger.leave()
        return status

    def isend(self, buffer: Any, dest: int, tag: int) -> Pending:
        ledger, site = self.ledger, self.site()
        peer, key = self.world[dest], self._key(tag)
        number = ledger.sending(peer, self.name, key, buffer.dtype.char, buffer.nbytes, site)
        if not self.hops:
            ledger.log("isend", peer, self.name, key, number, site)
        pending = CheckedPending(self, "isend", buffer, peer, key, number, site)
        pending.inner = self._inner.isend(buffer, dest, tag)
        return pending

    def irecv(self, buffer: Any, source: int, tag: int) -> Pending:
        ledger, site = self.ledger, self.site()
        peer, key = self._peer(source), self._key(tag)
        if ledger.requests:
            self._races(peer, key, site)
        pending = CheckedPending(self, "irecv", buffer, peer, key, 0, site)
        number = ledger.receiving(peer, self.name, key, buffer.dtype.char, buffer.nbytes, site)
        pending.number = number
        if number and not self.hops:
            ledger.log("irecv", peer, self.name, key, number, site)
        pending.inner = self._inner.irecv(pending.apart(), source, tag)
        return pending

    def until(self, numbers: memoryview, places: list[int], least: int) -> None:
        for place in places:
            if numbers[place] < least:
                self.ledger.enter("native", -2, self.name, 0, 0, 0, -2, 0, 0, "")
                self._until(numbers, places, least)
                self.ledger.leave()
                return

    # ---- the rest
    def split(self, color: int | None, key: int) -> "CheckedTransport | None":
        self.ledger.enter("native", -2, self.name, 0, 0, 0, -2, 0, 0, self.site())
        made = self._inner.split(color, key)
        self.ledger.leave()
        return None if made is None else CheckedTransport(made, self.ledger, self.strict)

    def duplicate(self) -> "CheckedTransport":
        """For the messages inside collectives."""
        return CheckedTransport(self._inner.duplicate(), self.ledger, self.strict, hops=True)

    def ranks_in_world(self) -> list[int]:
        return self.world

    def native(self, *args: Any) -> None:
        self.ledger.enter("native", -2, self.name, 0, 0, 0, -2, 0, 0, self.site())
        self._inner.native(*args)
        self.ledger.leave()

    def entering(self, kind: str, root: int, op: str, x: Any, algorithm: str, site: str) -> int:
        """A collective begins: what all ranks must agree on.   returns: its number"""
        dtype, count = ("", 0) if kind in ("barrier", "split") else (CARRIED[x.dtype], x.size)
        entered = Entered(kind, root, op, dtype, count, algorithm, site)
        return self.ledger.enter_collective(self.ledger.book(self.name, self.world), entered)

    def left(self) -> None:
        """The collective is done."""
        self.ledger.leave_collective()

    def started(self, kind: str, out: Any, site: str) -> CheckedStarted:
        """A collective is started: what must be waited for, and leaves `out` to nobody else till then."""
        return CheckedStarted(self, kind, out, site)

    def resume(self, number: int) -> None:
        """The messages from now on belong to this collective, which was started before."""
        self.ledger.inside = [self.name, number]

    def suspend(self, asked_at: str) -> None:
        """The rank computes again; or, where it has asked for the end in vain, asks at this line."""
        ledger = self.ledger
        if asked_at and ledger.doing is not None:
            ledger.inside, ledger.doing = None, (*ledger.doing[:9], asked_at)
            return
        ledger.leave()
        ledger.leave_collective()

    def _races(self, peer: int, tag: int, site: str) -> None:
        """Is a receive under way that could take this one's message, or this one its?"""
        for other in self.ledger.requests.values():
            if other.op != "irecv" or other.home is not self:
                continue
            # those of one sender come in the order in which they are asked for
            anybody = ANY_SOURCE in (peer, other.peer)
            if anybody and (ANY_TAG in (tag, other.tag) or tag == other.tag):
                self.ledger.race(other.site, site)

    def _peer(self, source: int) -> int:
        return ANY_SOURCE if source == ANY_SOURCE else self.world[source]

    def _key(self, tag: int) -> int:
        """The tag in the ledger. Each slot of started collectives is a channel of its own."""
        if not self.hops:
            return tag
        return HOPS if tag < self._started_from else HOPS - 1 - (self.tag_limit - tag) // self.size

    def got(self, number: int, status: Status, buffer: Any, site: str, op: str, asked: int) -> None:
        """Write down that a message has come, which a receive from `asked` was given `number` for."""
        peer, tag, nbytes = self.world[status.source], self._key(status.tag), buffer.nbytes
        ledger, name = self.ledger, self.name
        anybody = asked == ANY_SOURCE and not self.hops
        known = number
        number = ledger.got(number, peer, name, tag, buffer.dtype.char, nbytes, site, anybody)
        if status.nbytes != nbytes:
            ledger.received[peer, name, tag].failed.append(number)
        if not (known or self.hops):
            ledger.log(op, peer, name, tag, number, site)

    def site(self) -> str:
        """The line outside of mpipar/comm that made the call."""
        if self.hops and self.ledger.inside is not None:
            return ""  # the collective's own entry has it
        frame = sys._getframe(3)  # past our own method and the communicator's
        key = (id(frame.f_code), frame.f_lasti)
        known = _outside.get(key)
        if known is not None:
            return known
        if not frame.f_code.co_filename.startswith(HERE):
            _outside[key] = site = call_site(frame)  # which keeps the code, so that its id stays its own
            return site
        while frame.f_code.co_filename.startswith(HERE) and frame.f_back is not None:
            frame = frame.f_back
        return call_site(frame)
