"""The messages of one rank's row of a pipeline schedule, as lowering.py has planned them.

A receive needs an array of the right shape. Of gradients it is that of the activations that were
sent; of activations, nobody but the sender knows it. So with the first activations of a batch of a
new shape the sender sends a header of 128 bytes; a receive whose shape is not known yet is
posted as soon as it is. From the second batch on all are posted where the plan has them.

Sends are nonblocking, and waited for at the end of the step.
"""

from typing import Any

import numpy as np

from mpipar.arrays import xp
from mpipar.comm import Communicator
from mpipar.comm.blocks import HEADER, from_header, header_of
from mpipar.schedule import Message, Schedule

Shapes = dict[tuple[int, str], tuple[tuple[int, ...], Any]]


class Post:
    """Of one step.

    shapes: (stage, "F") -> shape and dtype of its input, (stage, "B") -> of its output; filled in here
    """

    def __init__(self, comm: Communicator, shapes: Shapes, schedule: Schedule) -> None:
        self._comm, self._shapes = comm, shapes
        self._header_tag = 2 * schedule.stages * schedule.micros  # + the receiving stage: behind all others
        self._made: dict[tuple[int, str, int], Any] = {}  # to be sent, or used by this rank's other stages
        self._arriving: dict[tuple[int, str, int], Any] = {}
        self._headers: dict[int, Any] = {}
        self._unposted: list[Message] = []
        self._sent: list[Any] = []
        self._announced = {stage for stage, kind in shapes if kind == "B"}

    def give(self, stage: int, kind: str, micro: int, x: Any) -> None:
        """What the stage has made: activations (F), or the gradient of its input (B)."""
        self._made[stage, kind, micro] = x
        if kind == "F":
            self._shapes[stage, "B"] = x.shape, x.dtype
            self._post_receives()

    def take(self, stage: int, kind: str, micro: int) -> Any:
        """What the stage starts from: activations of the one before (F), gradient of the one behind (B)."""
        neighbour = stage - 1 if kind == "F" else stage + 1
        if (neighbour, kind, micro) in self._made:  # on this rank, too
            return self._made.pop((neighbour, kind, micro))
        if (stage, kind) not in self._shapes:
            whole, _ = from_header(self._headers.pop(stage).wait(), 1)
            self._shapes[stage, kind] = whole.shape, whole.dtype
            self._post_receives()
        return self._arriving.pop((stage, kind, micro)).wait()

    def carry(self, message: Message) -> None:
        """Start the message."""
        if message.kind.startswith("SEND"):
            self._send(message)
        else:
            self._unposted.append(message)
            self._post_receives()

    def finish(self) -> None:
        """Wait until everything that was sent has left."""
        for request in self._sent:
            request.wait()

    def _send(self, message: Message) -> None:
        stage, kind, micro, peer, tag = message
        x = self._made.pop((stage, kind[-1], micro))
        if kind == "SEND_F" and stage not in self._announced:
            self._announced.add(stage)
            self._sent.append(self._comm.isend(header_of(x), peer, self._header_tag + stage + 1))
        self._sent = [request for request in self._sent if not request.test()]  # their arrays can go
        self._sent.append(self._comm.isend(x, peer, tag))

    def _post_receives(self) -> None:
        """All whose shape is known; of others the header."""
        waiting, self._unposted = self._unposted, []
        for message in waiting:
            stage, kind, micro, peer, tag = message
            known = self._shapes.get((stage, kind[-1]))
            if known is not None:
                out = xp.empty(*known)
                self._arriving[stage, kind[-1], micro] = self._comm.irecv(out, peer, tag)
                continue
            self._unposted.append(message)
            if kind == "RECV_F" and stage not in self._headers:
                header = np.empty(HEADER, np.int64)
                self._headers[stage] = self._comm.irecv(header, peer, self._header_tag + stage)
