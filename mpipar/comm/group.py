"""Some of a communicator's ranks, numbered anew: the transport of a stage of a hierarchical
collective. It costs nothing to make, because it sends through the whole communicator's transport;
so only messages of one collective may use it, which cannot be mixed up with another group's.
Collectives that are under way at the same time are kept apart by their tags.
"""

from typing import Any

import numpy as np

from mpipar.comm.transport import ANY_SOURCE, Pending, Status, Transport
from mpipar.errors import OptionError

SLOTS = 64


class GroupTransport:
    """The transport `whole`, as seen by `ranks` of it, of which this rank must be one."""

    ledger = None  # the whole transport keeps it

    def __init__(self, whole: Transport, ranks: list[int]) -> None:
        self._whole, self._ranks = whole, ranks
        self._number = {rank: number for number, rank in enumerate(ranks)}
        self.rank, self.size = self._number[whole.rank], len(ranks)
        self.tag_limit, self.reads_device, self.has_native = whole.tag_limit, whole.reads_device, False

    def pause(self, seconds: float) -> None:
        self._whole.pause(seconds)

    def now(self) -> int:
        return self._whole.now()

    def reduced(self, nbytes: int) -> None:
        self._whole.reduced(nbytes)

    def send(self, buffer: np.ndarray, dest: int, tag: int) -> None:
        self._whole.send(buffer, self._ranks[dest], tag)

    def recv(self, buffer: np.ndarray, source: int, tag: int) -> Status:
        return self._here(self._whole.recv(buffer, self._there(source), tag))

    def sendrecv(
        self, buffer: np.ndarray, dest: int, tag: int, into: np.ndarray, source: int, recv_tag: int
    ) -> Status:
        dest, source = self._ranks[dest], self._there(source)
        return self._here(self._whole.sendrecv(buffer, dest, tag, into, source, recv_tag))

    def isend(self, buffer: np.ndarray, dest: int, tag: int) -> Pending:
        return _GroupPending(self, self._whole.isend(buffer, self._ranks[dest], tag))

    def irecv(self, buffer: np.ndarray, source: int, tag: int) -> Pending:
        return _GroupPending(self, self._whole.irecv(buffer, self._there(source), tag))

    def split(self, color: int | None, key: int) -> "Transport | None":
        raise OptionError("a group inside a collective cannot be split; split the communicator")

    def duplicate(self) -> "Transport":
        raise OptionError("a group inside a collective cannot be duplicated; split the communicator")

    def ranks_in_world(self) -> list[int]:
        whole = self._whole.ranks_in_world()
        return [whole[r] for r in self._ranks]

    def nodes(self) -> list[int]:
        whole = self._whole.nodes()
        return [whole[r] for r in self._ranks]

    def native(self, *_: Any) -> None:
        raise OptionError("a group inside a collective has no native collectives; choose one of ours")

    def _there(self, source: int) -> int:
        return ANY_SOURCE if source == ANY_SOURCE else self._ranks[source]

    def _here(self, status: Status) -> Status:
        # MPI may leave the source of a finished send undefined
        return status._replace(source=self._number.get(status.source, status.source))


def slots(transport: Transport) -> int:
    """How many started collectives may be under way at once: they use the upper half of the tags at most."""
    return max(1, min(SLOTS, transport.tag_limit // 2 // transport.size))


class TagsApart:
    """What a started collective sends through: as `whole`, but with tags of its slot, from the largest down.

    So several may be under way between the same ranks, and each receives its own messages.
    """

    def __init__(self, whole: Transport, slot: int) -> None:
        self._whole, self._top = whole, whole.tag_limit - slot * whole.size

    def isend(self, buffer: np.ndarray, dest: int, tag: int) -> Pending:
        return _GroupPending(self, self._whole.isend(buffer, dest, self._top - tag))

    def irecv(self, buffer: np.ndarray, source: int, tag: int) -> Pending:
        return _GroupPending(self, self._whole.irecv(buffer, source, self._top - tag))

    def _here(self, status: Status) -> Status:
        return status._replace(tag=self._top - status.tag)


class _GroupPending:
    def __init__(self, group: GroupTransport | TagsApart, pending: Pending) -> None:
        self._group, self._pending = group, pending

    def wait(self) -> Status:
        return self._group._here(self._pending.wait())

    def test(self) -> Status | None:
        status = self._pending.test()
        return None if status is None else self._group._here(status)
