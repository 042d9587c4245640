"""Collectives that are started, and go on while the rank computes (MPI 4.1, ch. 6.12).

MPI moves data only inside its own calls, so a collective under way has to be driven: its
algorithm is a generator that starts messages and yields their requests (started_ring.py), and
`advance` takes the steps whose requests are done, without waiting. `wait` takes the rest.

All ranks start them in one order, and whoever waits works on the earliest first; so the ranks
work on the same one, and none waits for ever. It is less than MPI's own in one way: steps are
taken only inside progress, test and wait, so a rank that blocks in another call holds up the rest.

In the trace: an event from the start to the end of the last step, its messages as its children,
and a "wait" event, whose parent it is, for the time in which the rank was blocked.
"""

import sys
from typing import Any, NamedTuple

from mpipar.comm import collectives
from mpipar.comm.blocks import bring_back, flattened
from mpipar.comm.group import slots
from mpipar.comm.messages import Hops, record_wait
from mpipar.comm.wire import CARRIED
from mpipar.trace import Event, call_site


class Call(NamedTuple):
    """What was asked for, and the line that asked."""

    operation: str
    algorithm: str
    op: str
    x: Any
    out: Any
    site: str


class Started:
    """A collective under way, from iallreduce.

    order: how many were started before;   done: it needs no more steps on this rank
    """

    def __init__(self, home: "UnderWay", call: Call, hops: Hops, add: Any, order: int) -> None:
        self._home, self._comm, self._call, self._hops = home, home.comm, call, hops
        self.operation, self.order, self.done, self._taken = call.operation, order, False, False
        self._looked = -1  # the clock when `advance` last found that it has to wait
        self._checked, recorder = self._comm._checked, self._comm.recorder
        if self._checked is not None:
            operation, algorithm, op, x, out, site = call
            self._entry = self._checked.started(operation, out, site)
            self._number = self._checked.entering(operation, -1, op, x, algorithm, site)
        if recorder is not None:
            self._values = recorder.values_of(call.x)
            hops.parent, self._start = recorder.begin(), recorder.clock()
            self._where = recorder.step, recorder.micro, recorder.scope_path
        if call.out is not call.x:
            call.out[...] = call.x
        self._flat = flattened(call.out)
        self._steps = collectives.ALGORITHMS[call.operation][call.algorithm].run(self._flat, hops, add)

    def wait(self) -> Any:
        """Block until it is done on this rank.   returns: out"""
        recorder, entered = self._comm.recorder, self._comm._transport.now()
        if self._taken:
            return self._call.out
        if recorder is None:
            self._home.finish(self)
        else:
            seq, start = recorder.begin(), recorder.clock()
            self._home.finish(self)
            record_wait(self._comm, seq, start, self._hops.parent, call_site(sys._getframe(1)))
        self._take_result()
        self._comm.seconds += (self._comm._transport.now() - entered) / 1e9
        return self._call.out

    def test(self) -> bool:
        """Whether it is done; takes the steps that are possible, and never blocks."""
        self._looked = -1
        self.advance(call_site(sys._getframe(1)))
        if self.done:
            self._take_result()
        return self.done

    def advance(self, asked_at: str = "") -> None:
        """Take the steps that are possible without waiting.   asked_at: the line of a user's test"""
        now = self._comm._transport.now
        if self.done or now() == self._looked:  # no time has passed: a test would be in vain
            return
        if self._checked is not None:
            self._checked.resume(self._number)
        while not self.done and all(request.test() for request in self._moving):
            self.step()
        self._looked = now()
        if self._checked is not None:
            self._checked.suspend(asked_at)

    def block(self) -> None:
        """Wait for the messages of this step, and take the next one."""
        if self._checked is not None:
            self._checked.resume(self._number)
        for request in self._moving:
            request.wait()
        self.step()
        if self._checked is not None:
            self._checked.left()

    def step(self) -> None:
        """The requests are done: start the next ones, or end."""
        self._moving = next(self._steps, None)
        if self._moving is None:
            self._end()

    def _end(self) -> None:
        out, comm = self._call.out, self._comm
        bring_back(self._flat, out)
        if self._call.op == "mean":
            out /= comm.size
        self.done = True
        self._home.ended(self)
        if comm.recorder is not None:
            operation, algorithm, op, _, out, site = self._call
            step, micro, scope = self._where
            event = Event(
                self._hops.parent, operation, self._start, comm.recorder.clock(), comm.name, -1, -1,
                out.nbytes, CARRIED[out.dtype], out.shape, algorithm, op, step=step, micro=micro, site=site,
                scope=scope, values=self._values,
            )  # fmt: skip
            comm.recorder.add(event)

    def _take_result(self) -> None:
        if self._checked is not None and not self._taken:
            self._entry.end()
        self._taken = True


class UnderWay:
    """The collectives of one communicator that are under way, the earliest first."""

    def __init__(self, comm: Any) -> None:
        self.comm = comm
        self._queue: list[Started] = []
        self._count = 0  # of all that were ever started
        self.slots = slots(comm._transport)

    def start(self, call: Call, add: Any) -> Started:
        """Its first messages leave at once, unless its slot is still taken: then that one ends first."""
        comm, order = self.comm, self._count
        while self._queue and self._queue[0].order <= order - self.slots:
            self._queue[0].block()
        self._count += 1
        started = Started(self, call, comm._hops.apart(order % self.slots), add, order)
        self._queue.append(started)
        started.step()
        if comm._checked is not None:
            comm._checked.left()
        return started

    def progress(self) -> None:
        """Take the steps of all that are possible without waiting."""
        for started in tuple(self._queue):
            started.advance()

    def finish(self, started: Started) -> None:
        """Block until it is done. The second in the queue is driven too, so that the network has work."""
        while not started.done:
            first, *later = self._queue
            first.block()
            if later:
                later[0].advance()

    def ended(self, started: Started) -> None:
        self._queue.remove(started)
