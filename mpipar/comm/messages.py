"""Messages between two ranks, each one recorded with the line that made it."""

import sys
from copy import copy
from typing import Any

import numpy as np

from mpipar.arrays import empty_like, on_device, overlap
from mpipar.comm.group import GroupTransport, TagsApart
from mpipar.comm.transport import ANY_SOURCE, ANY_TAG, Pending, Status, Transport
from mpipar.comm.wire import CARRIED, AtHome, OnHost, Wire, can_travel, check_array
from mpipar.errors import MessageError
from mpipar.trace import Event, Recorder, call_site


class Messages:
    """send, recv, sendrecv, isend and irecv of one rank on one communicator.

    peers and tags: a rank 0 … size-1 (ANY_SOURCE to receive from whoever sends first), a whole
        number from 0 on (ANY_TAG to receive whatever comes)
    arrays: any shape; one that is not contiguous is copied, and the copy recorded
    errors: MessageError for a peer, tag or size that cannot be; DTypeError for objects and such
    """

    # of the collective that messages belong to, see Hops
    stage = phase = ""
    parent = -1

    def __init__(self, transport: Transport, recorder: Recorder | None, name: str) -> None:
        self.rank, self.size, self.name = transport.rank, transport.size, name
        self._transport, self._recorder = transport, recorder
        self._tag_limit = transport.tag_limit
        transport.name = name
        self._world_ranks = transport.ranks_in_world()
        self._wire = Wire(transport, recorder)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}: rank {self.rank} of {self.size}>"

    def send(self, x: Any, dest: int, tag: int = 0) -> None:
        """Send x to rank dest; may return only when it is received."""
        self._check_send("send", x, dest, tag)
        start = 0 if self._recorder is None else self._recorder.clock()
        buffer = self._wire.outgoing(x)
        self._transport.send(buffer, dest, tag)
        if buffer is not x:
            self._wire.done(buffer, x)
        if self._recorder is not None:
            self._ended("send", start, dest, tag, x, call_site(sys._getframe(1)))

    def recv(self, out: Any, source: int = ANY_SOURCE, tag: int = ANY_TAG) -> Any:
        """Fill out with the message of rank source.   returns: out"""
        self._check_recv("recv", out, source, tag)
        start = 0 if self._recorder is None else self._recorder.clock()
        buffer = self._wire.incoming(out)
        status = self._transport.recv(buffer, source, tag)
        self._received("recv", status, buffer, out)
        if self._recorder is not None:
            self._ended("recv", start, status.source, status.tag, out, call_site(sys._getframe(1)))
        return out

    def sendrecv(
        self, x: Any, dest: int, source: int, tag: int = 0, out: Any = None, recv_tag: int | None = None
    ) -> Any:
        """Send x to dest and receive from source at once: neither waits for the other.

        out: array to fill, by default a new one shaped like x; may be x itself
        recv_tag: the tag to receive, where it is not the tag to send
        returns: what was received
        """
        recv_tag = tag if recv_tag is None else recv_tag
        self._check_send("sendrecv", x, dest, tag)
        is_new = out is None
        out = empty_like(x) if is_new else out
        self._check_recv("sendrecv", out, source, recv_tag)
        recorder, wire = self._recorder, self._wire
        if recorder is not None:
            start = recorder.clock()
            sent = recorder.values_of(x) if recorder.values else None  # before out, which may be x, changes
        buffer, into = wire.outgoing(x), wire.incoming(out, not is_new and overlap(x, out))
        status = self._transport.sendrecv(buffer, dest, tag, into, source, recv_tag)
        if buffer is not x:
            wire.done(buffer, x)
        self._received("sendrecv", status, into, out)
        if recorder is not None:
            site = call_site(sys._getframe(1))
            end = recorder.clock()
            self._record("send", recorder.begin(), start, end, dest, tag, x, site, sent)
            got = recorder.values_of(out) if recorder.values else None
            self._record("recv", recorder.begin(), start, end, status.source, status.tag, out, site, got)
        return out

    def isend(self, x: Any, dest: int, tag: int = 0) -> "Request":
        """Start to send x; x must not change before the request has been waited for."""
        self._check_send("isend", x, dest, tag)
        buffer = self._wire.outgoing(x)
        return Request(self, "isend", x, buffer, self._transport.isend(buffer, dest, tag), (dest, tag))

    def irecv(self, out: Any, source: int = ANY_SOURCE, tag: int = ANY_TAG) -> "Request":
        """Start to receive into out, which is filled when the request has been waited for."""
        self._check_recv("irecv", out, source, tag)
        buffer = self._wire.incoming(out)
        return Request(self, "irecv", out, buffer, self._transport.irecv(buffer, source, tag), None)

    def wtime(self) -> float:
        """This rank's clock in seconds, from any start on; on virtual ranks virtual time from 0 on."""
        return self._transport.now() / 1e9

    def pause(self, seconds: float) -> None:
        """Do nothing for so long, as a stand-in for computing: on virtual ranks in virtual time."""
        if not seconds >= 0:
            raise MessageError(f"pause: {seconds!r} s is no length of time; give a number from 0 on")
        self._transport.pause(seconds)

    def _ended(self, op: str, start: int, peer: int, tag: int, x: Any, site: str, seq: int = -1) -> None:
        """Record a message that ends now.   seq: the next one, unless it is given"""
        recorder = self._recorder
        end = recorder.clock()
        values = recorder.values_of(x) if recorder.values else None
        self._record(op, recorder.begin() if seq < 0 else seq, start, end, peer, tag, x, site, values)

    def _tested(self, seq: int) -> None:
        """test() has found this request done."""

    def _record(
        self, op: str, seq: int, start: int, end: int, peer: int, tag: int, x: Any, site: str,
        values: list | None,
    ) -> None:  # fmt: skip
        recorder = self._recorder
        event = Event(
            seq, op, start, end, self.name, self._world_ranks[peer], tag, x.nbytes, CARRIED[x.dtype], x.shape,
            "", "", self.stage + self.phase, self.parent, recorder.step, recorder.micro, site,
            recorder.scope_path, values,
        )  # fmt: skip
        recorder.add(event)

    # on the path of every message: what is wrong is told apart only after something is wrong

    def _check_send(self, operation: str, x: Any, dest: int, tag: int) -> None:
        try:
            fits = 0 <= dest < self.size and 0 <= tag <= self._tag_limit and can_travel(x)
        except TypeError:
            fits = False
        if not fits:
            self._refuse(operation, x, dest, tag)

    def _check_recv(self, operation: str, out: Any, source: int, tag: int) -> None:
        try:
            fits = 0 <= source < self.size or source == ANY_SOURCE
            fits = fits and (0 <= tag <= self._tag_limit or tag == ANY_TAG) and can_travel(out)
        except TypeError:
            fits = False
        if not fits:
            peer, tag = 0 if source == ANY_SOURCE else source, 0 if tag == ANY_TAG else tag
            self._refuse(operation, out, peer, tag)

    def _refuse(self, operation: str, x: Any, peer: int, tag: int) -> None:
        for name, value in (("rank", peer), ("tag", tag)):
            if not isinstance(value, (int, np.integer)):
                raise MessageError(f"{operation}: {name} {value!r} is no whole number; give an int")
        if not 0 <= peer < self.size:
            raise MessageError(self._no_such_rank(operation, peer))
        if not 0 <= tag <= self._tag_limit:
            raise MessageError(f"{operation}: tag {tag} is not in 0 … {self._tag_limit}")
        check_array(operation, x)

    def _no_such_rank(self, operation: str, peer: int) -> str:
        return (
            f"{operation}: rank {peer} does not exist in {self.name}, whose ranks are 0 … {self.size - 1}; "
            "the right-hand neighbour on a ring is (rank + 1) % size"
        )

    def _received(self, operation: str, status: Status, buffer: Any, out: Any) -> None:
        if status.nbytes != out.nbytes:
            raise MessageError(
                f"{operation}: rank {status.source} sent {status.nbytes} bytes (tag {status.tag}), but out "
                f"{out.shape} {out.dtype} holds {out.nbytes}; receive into an array like the sent one"
            )
        if buffer is not out:
            self._wire.deliver(buffer, out)


class Request:
    """A message under way, from isend or irecv."""

    def __init__(
        self, comm: Messages, op: str, x: Any, buffer: Any, pending: Pending, sent: tuple[int, int] | None
    ) -> None:
        self._comm, self._op, self._x, self._buffer, self._pending = comm, op, x, buffer, pending
        self._sent = sent  # (dest, tag) of an isend
        self._done = False
        self._seq, self._start, self._site = -1, 0, ""
        if comm._recorder is not None:
            self._seq, self._start = comm._recorder.begin(), comm._recorder.clock()
            self._site = call_site(sys._getframe(2))  # the line that called isend or irecv

    def wait(self) -> Any:
        """Block until the array may be used again.   returns: out of irecv, x of isend"""
        recorder = self._comm._recorder
        if self._done:
            return self._x
        if recorder is None:
            self._finish(self._pending.wait())
            return self._x
        seq, start = recorder.begin(), recorder.clock()
        self._finish(self._pending.wait())
        record_wait(self._comm, seq, start, self._seq, call_site(sys._getframe(1)))
        return self._x

    def test(self) -> bool:
        """Whether it is done; never blocks."""
        if not self._done:
            status = self._pending.test()
            if status is not None:
                self._finish(status)
                self._comm._tested(self._seq)
        return self._done

    def _finish(self, status: Status) -> None:
        comm, self._done = self._comm, True
        if self._sent is None:
            comm._received("irecv", status, self._buffer, self._x)
        else:
            comm._wire.done(self._buffer, self._x)
        if comm._recorder is not None:
            peer, tag = self._sent or (status.source, status.tag)
            comm._ended(self._op, self._start, peer, tag, self._x, self._site, self._seq)
        self._buffer = self._pending = None


def record_wait(comm: Messages, seq: int, start: int, parent: int, site: str = "") -> None:
    """A wait that ends now, for the request or collective `parent`."""
    recorder = comm._recorder
    event = Event(seq, "wait", start, recorder.clock(), comm.name, parent=parent, step=recorder.step)
    event.micro, event.site, event.scope = recorder.micro, site, recorder.scope_path
    recorder.add(event)


class Hops(Messages):
    """The messages inside a collective, apart from the user's own: what an algorithm is given.

    phase: set by the algorithm to name its part, stage: to go before it;   parent: seq of the collective
    nodes: which node each rank is on;   kept: what an algorithm keeps from one call to the next
    """

    def __init__(
        self, transport: Transport, recorder: Recorder | None, name: str, nodes: list[int], stage: str = ""
    ) -> None:
        super().__init__(transport, recorder, name)
        self.nodes, self.stage = nodes, stage
        self.until = transport.until if recorder is None else None  # a trace shows messages
        self.kept: dict[str, Any] = {}
        self._groups: dict[tuple, Hops] = {}

    def among(self, ranks: list[int], stage: str = "") -> "Hops":
        """The same for some of the ranks only, which count from 0 there; its phases begin with `stage`."""
        key = (stage, *ranks)
        group = self._groups.get(key)
        if group is None:
            nodes = [self.nodes[r] for r in ranks]
            group = Hops(GroupTransport(self._transport, ranks), self._recorder, self.name, nodes, stage)
            self._groups[key] = group
        group.parent = self.parent
        return group

    def apart(self, slot: int) -> "Hops":
        """The same for a started collective, which is under way beside others in other slots."""
        own = copy(self)
        own._transport, own._groups, own.kept, own.phase = TagsApart(self._transport, slot), {}, {}, ""
        return own

    def copy(self, what: str, to: np.ndarray, x: np.ndarray) -> None:
        """to ← x, an event of the trace."""
        if self._recorder is None:
            to[...] = x
        else:
            self._wire.recorded(what, np.copyto, to, x)

    def on_host(self, x: Any, ready: Any = None) -> OnHost | AtHome:
        """x's values on the host, and their way back; where x is on a device the copy is started.

        ready: see Staging.start_to_host
        """
        return OnHost(self._wire, x, ready) if on_device(x) else AtHome(x)

    def counted(self, add: Any) -> Any:
        """add(mine, theirs), whose time is counted where the clock is modelled."""
        reduced = self._transport.reduced
        if reduced is None:
            return add

        def add_and_count(mine: Any, theirs: Any, out: Any = None) -> None:
            add(mine, theirs, out)
            reduced(theirs.nbytes)

        return add_and_count

    def _tested(self, seq: int) -> None:
        # a wait of no length, which tells where in the algorithm's steps the message was needed
        if self._recorder is not None:
            record_wait(self, self._recorder.begin(), self._recorder.clock(), seq)
