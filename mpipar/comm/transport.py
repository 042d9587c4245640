"""What one rank can do with one message: the protocol under every communicator.

A transport moves bytes between contiguous host arrays and knows nothing of operations,
recording or checking. mpi.py is one over mpi4py. Semantics are MPI's (MPI 4.1, ch. 3):

* messages between two ranks with the same tag arrive in the order they were sent;
* `send` may return before the message is received only if it was buffered (eager), so no
  correct program relies on that;
* a buffer given to `isend` or `irecv` belongs to the transport until `wait` returns.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np

from mpipar.errors import MessageError

ANY_SOURCE = -1
ANY_TAG = -1


class Status(NamedTuple):
    """What arrived: who sent it, its tag, its bytes."""

    source: int
    tag: int
    nbytes: int


class Pending(Protocol):
    """A message under way."""

    def wait(self) -> Status:
        """Block until the buffer may be used again."""
        ...

    def test(self) -> Status | None:
        """The status if it is done, else None; gives the transport a chance to make progress."""
        ...


class Transport(Protocol):
    """Messages of one rank on one communicator.   rank: 0 … size-1"""

    rank: int
    size: int
    tag_limit: int  # the largest tag
    name: str  # of the communicator, which sets it
    ledger: Any  # where messages are written down for checking, None where they are not
    reads_device: bool  # True where GPU memory may be handed over as it is
    has_native: bool  # False where `native` is not offered
    # to be told of bytes that were combined with received ones; None where the clock runs by itself
    reduced: Callable[[int], None] | None
    # until(numbers, places, least): wait until numbers in shared memory are that large, and let messages
    # go on meanwhile; None where looking at memory is no way to wait
    until: Callable[[memoryview, list[int], int], None] | None

    def now(self) -> int:
        """This rank's clock in ns."""
        ...

    def pause(self, seconds: float) -> None:
        """Let time pass on this rank's clock."""
        ...

    def send(self, buffer: np.ndarray, dest: int, tag: int) -> None: ...

    def recv(self, buffer: np.ndarray, source: int, tag: int) -> Status: ...

    def sendrecv(
        self, buffer: np.ndarray, dest: int, tag: int, into: np.ndarray, source: int, recv_tag: int
    ) -> Status: ...

    def isend(self, buffer: np.ndarray, dest: int, tag: int) -> Pending: ...

    def irecv(self, buffer: np.ndarray, source: int, tag: int) -> Pending: ...

    def split(self, color: int | None, key: int) -> "Transport | None":
        """Collective: ranks of one color form a new transport, ordered by (key, rank)."""
        ...

    def duplicate(self) -> "Transport":
        """Collective: the same ranks, but messages that never mix with this one's."""
        ...

    def ranks_in_world(self) -> list[int]:
        """The world rank of every rank here."""
        ...

    def nodes(self) -> list[int]:
        """Which node every rank is on: the same number, the same shared memory."""
        ...

    def native(
        self, operation: str, x: Any, out: Any, reduction: str, root: int, lengths: list[int] | None = None
    ) -> None:
        """MPI's own collective, its hops unseen.   lengths: elements of each rank's block, where
        there are blocks;   x, out: None where this rank has none.   errors: OptionError
        """
        ...


def too_long(buffer: np.ndarray) -> MessageError:
    """The error of a receive whose message does not fit into the buffer."""
    return MessageError(
        f"the message is longer than the {buffer.nbytes} bytes of out {buffer.shape} {buffer.dtype}; "
        "receive into an array of the sent shape"
    )
