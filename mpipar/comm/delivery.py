"""Messages, receives and sends of virtual ranks under way, and when each is done.

The times are those of network.py. `arrive`, called by the scheduler at its time, is the first
byte at the receiver; of a rendezvous, first the question whether it may come.
"""

from functools import partial
from typing import Any

import numpy as np

from mpipar.comm.transport import Status, too_long

_status = partial(tuple.__new__, Status)  # as Status(…), in half the time


class Message:
    """One message under way.   sending: its Sending where it waits for its receiver, None if eager"""

    __slots__ = (
        "arrival", "data", "home", "link", "nbytes", "number", "ready", "receive", "sender", "sending",
        "site", "source", "tag",
    )  # fmt: skip

    def arrive(self, time: float) -> None:
        """At the receiver's port; see above."""
        home, receive = self.home, self.receive
        if receive is not None or self.sending is None:
            me = home.me
            begin = time if time > me.received_until else me.received_until
            self.arrival = me.received_until = begin + self.nbytes * self.link.beta
        if receive is not None:
            receive.finish(self)
            return
        receive = home.posted_for(self)
        if receive is not None:
            receive.take(self)
            return
        self.number = home.arrived = home.arrived + 1
        home.unexpected.setdefault(self.source, []).append(self)

    def start(self, receive: "Receive") -> None:
        """Both sides of a rendezvous are there."""
        sender, scheduler = self.sender, self.home.scheduler
        begin = max(self.ready, receive.posted, sender.sent_until)
        sender.sent_until = begin + self.nbytes * self.link.beta
        self.receive = receive
        scheduler.agenda.add(begin + self.link.alpha, sender.number, self)
        self.sending.done = sender.sent_until
        scheduler.happened(sender, self.sending, sender.sent_until)


class Receive:
    """A receive that was posted at one time and is done at another."""

    __slots__ = (
        "buffer", "done", "failed_test", "home", "number", "overhead", "posted", "source", "status", "tag",
    )  # fmt: skip
    op = "recv"

    def __init__(self, home: Any, buffer: np.ndarray, source: int, tag: int) -> None:
        self.home, self.buffer, self.source, self.tag = home, buffer, source, tag
        self.posted, self.done = home.me.clock, None
        self.failed_test = -1.0  # the rank's clock when a test() last said no

    def take(self, message: Message) -> None:
        """This is the message."""
        buffer, data = self.buffer, message.data
        if data.dtype is buffer.dtype and data.shape == buffer.shape:
            buffer[...] = data
        elif message.nbytes <= buffer.nbytes:
            as_bytes(buffer)[: message.nbytes] = as_bytes(data)
        if message.sending is None:
            self.finish(message)
        else:
            message.start(self)

    def finish(self, message: Message) -> None:
        self.done = message.arrival if message.arrival > self.posted else self.posted
        self.status = _status((message.source, message.tag, message.nbytes))
        self.overhead = message.link.overhead
        self.home.scheduler.happened(self.home.me, self, self.done)

    def wait(self) -> Status:
        me = self.home.me
        if self.done is None:
            self.home.scheduler.block(me, self)
        if self.done > me.clock:
            me.clock = self.done
        me.clock += self.overhead
        if self.status.nbytes > self.buffer.nbytes:
            raise too_long(self.buffer)
        return self.status

    def test(self) -> Status | None:
        return self.wait() if self.home.done_by_now(self) else None


class Sending:
    """A send that may still wait for its receiver."""

    __slots__ = ("buffer", "dest", "done", "failed_test", "home", "tag")
    op = "send"

    def __init__(self, home: Any, buffer: np.ndarray, dest: int, tag: int, done: float | None) -> None:
        self.home, self.buffer, self.dest, self.tag, self.done = home, buffer, dest, tag, done
        self.failed_test = -1.0

    def wait(self) -> Status:
        me = self.home.me
        if self.done is None:
            self.home.scheduler.block(me, self)
        me.clock = max(me.clock, self.done)
        return Status(self.home.rank, self.tag, self.buffer.nbytes)

    def test(self) -> Status | None:
        return self.wait() if self.home.done_by_now(self) else None


def as_bytes(x: np.ndarray) -> np.ndarray:
    """The bytes of a contiguous array, as a view."""
    return x.reshape(-1).view(np.uint8)
