"""What an algorithm is given in place of its communicator, to log its messages on one rank.

A log has the rank's halves of messages in the order they were posted, and the rank's array as it
was when the next message was received, which is after the algorithm has added what came.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from mpipar.comm.wire import AtHome


class Half(NamedTuple):
    """One rank's side of a message.   peer: rank of the communicator;   span: its stretch of the array"""

    is_send: bool
    peer: int
    tag: int
    elements: int
    span: tuple[int, int] | None
    content: Any


@dataclass
class Log:
    """One rank's.   flat: the array that messages are cut from;   begun: `look` at it before the first

    read: a message's buffer and its stretch of flat -> its content
    after: half that is a receive -> `look` at flat when what came had been used
    open: the half that was received last and may not have been used yet, -1 for none
    """

    flat: Any
    look: Callable[[Any], Any]
    read: Callable[[Any, Any], Any]
    halves: list[Half] = field(default_factory=list)
    after: dict[int, Any] = field(default_factory=dict)
    begun: Any = None
    open: int = -1

    def post(self, is_send: bool, x: Any, peer: int, tag: int) -> int:
        span = stretch_of(x, self.flat)
        content = self.read(x, span) if is_send else None
        self.halves.append(Half(is_send, peer, tag, x.size, span, content))
        return len(self.halves) - 1

    def settle(self) -> None:
        """What was received last has been used."""
        if self.open >= 0:
            self.after[self.open] = self.look(self.flat)
        self.open = -1

    def received(self, half: int, x: Any) -> None:
        self.open = half
        self.halves[half] = self.halves[half]._replace(content=self.read(x, self.halves[half].span))


class Observer:
    """What an algorithm is given in place of Hops: the ranks of `world`, and a log of their messages."""

    phase = ""

    def __init__(self, world: Any, log: Log, nodes: Sequence[int], members: Sequence[int]) -> None:
        self._world, self._log, self._members = world, log, list(members)
        self.rank, self.size = self._members.index(world.rank), len(self._members)
        self.nodes, self.kept = [nodes[r] for r in members], {}
        self._all_nodes = nodes

    def among(self, ranks: list[int], stage: str = "") -> "Observer":
        return Observer(self._world, self._log, self._all_nodes, [self._members[r] for r in ranks])

    def on_host(self, x: Any, ready: Any = None) -> AtHome:
        return AtHome(x)

    def send(self, x: Any, dest: int, tag: int = 0) -> None:
        self._log.post(True, x, self._members[dest], tag)
        self._world.send(x, self._members[dest], tag)

    def recv(self, out: Any, source: int, tag: int) -> Any:
        self._log.settle()
        half = self._log.post(False, out, self._members[source], tag)
        self._world.recv(out, self._members[source], tag)
        self._log.received(half, out)
        return out

    def sendrecv(
        self, x: Any, dest: int, source: int, tag: int = 0, out: Any = None, recv_tag: int | None = None
    ) -> Any:
        self._log.settle()
        dest, source, recv_tag = (
            self._members[dest],
            self._members[source],
            tag if recv_tag is None else recv_tag,
        )
        out = np.empty_like(x) if out is None else out
        self._log.post(True, x, dest, tag)
        half = self._log.post(False, out, source, recv_tag)
        self._world.sendrecv(x, dest, source, tag, out, recv_tag)
        self._log.received(half, out)
        return out

    def isend(self, x: Any, dest: int, tag: int = 0) -> Any:
        self._log.post(True, x, self._members[dest], tag)
        return self._world.isend(x, self._members[dest], tag)

    def irecv(self, out: Any, source: int, tag: int) -> "_Receiving":
        half = self._log.post(False, out, self._members[source], tag)
        return _Receiving(self._log, half, out, self._world.irecv(out, self._members[source], tag))


class _Receiving:
    def __init__(self, log: Log, half: int, out: Any, request: Any) -> None:
        self._log, self._half, self._out, self._request = log, half, out, request

    def wait(self) -> Any:
        self._log.settle()
        self._request.wait()
        self._log.received(self._half, self._out)
        return self._out


def stretch_of(x: Any, flat: Any) -> tuple[int, int] | None:
    """The stretch of flat that x is; None where x is another array."""
    offset = x.__array_interface__["data"][0] - flat.__array_interface__["data"][0]
    begin = offset // flat.itemsize
    inside = offset >= 0 and begin + x.size <= flat.size and np.may_share_memory(x, flat)
    return (begin, begin + x.size) if inside and x.size else None
