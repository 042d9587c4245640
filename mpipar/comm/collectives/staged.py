"""The ring on the host, for arrays on a GPU whose MPI cannot read its memory: they come in pieces.

Any other algorithm is staged hop by hop: what a hop sends is copied to the host and what it receives
to the device, and the rank waits for both. Here each element is copied once each way, and the copies
of two pieces run beside the ring of a third (the pipeline of MVAPICH2-GPU: Wang et al., Computer
Science – Research and Development 26, 2011, there for a single message):

    device to host    | 0 | 1 |     | 2 |     | 3 |
    ring on the host      |    0    |    1    |    2    |    3    |
    host to device                  | 0 |     | 1 |     | 2 |     | 3 |

Three pinned buffers are enough: one fills, one is summed, one empties. What is computed on the device
later waits there for the last copy; the host does not.

n elements in S = ⌈n / PIECE⌉ pieces, a rank: 2(p-1)S messages, 2n(p-1)/p elements sent, 2(p-1)S rounds,
n elements copied each way; S waits for a copy to the host, S for a buffer to be empty, the first sum S-1.
Time: copy + S max(ring, copy) + copy, of a piece each.

All ranks end bitwise equal, as in the ring. The tag of a message is its chunk's number in the piece.
Arrays on the host stay there, and travel in the same pieces, so a trace of either is replayed alike.
"""

from collections.abc import Iterator
from typing import Any

from mpipar.arrays import event_now
from mpipar.comm.collectives.chunks import cut, part_lengths
from mpipar.comm.collectives.cost import Cost, after
from mpipar.comm.collectives.reduction import Add
from mpipar.comm.collectives.ring import ring_allreduce, ring_allreduce_cost
from mpipar.comm.collectives.started_ring import ring_allreduce_steps

# elements; 1 MiB of float32. A bus of 25 GB/s carries that in 42 µs, so the 10 µs that it takes to start
# a copy and to notice its end are the smaller part; the ring of a piece takes some 200 µs on one host, so
# it hides both copies; and what nothing hides, the copy of the first piece and of the last, is short.
PIECE = 1 << 18


def staged_ring_allreduce(x: Any, comm: Any, add: Add) -> None:
    """x ← sum of all ranks' x."""
    for here in _visits(x, comm):
        ring_allreduce(here.wait(), comm, add)


def staged_ring_allreduce_steps(x: Any, comm: Any, add: Add) -> Iterator[tuple]:
    """The same, to be started, bitwise equal.   yields: what must be done before it goes on, copies too"""
    for here in _visits(x, comm):
        yield (here,)
        yield from ring_allreduce_steps(here.wait(), comm, add)


def staged_ring_allreduce_cost(n: int, p: int, r: int = 0, root: int = 0) -> Cost:
    """Of the messages: the model knows no copies."""
    whole = Cost(0, 0, 0, 0)
    for length in _lengths(n):
        whole = after(whole, ring_allreduce_cost(length, p, r))
    return whole


def _visits(x: Any, comm: Any) -> Iterator[Any]:
    """The pieces on the host, one after the other. The next one's copy is started before each is used."""
    if comm.size == 1:
        return
    first, *others = cut(x, _lengths(x.size))
    ready = event_now(x)  # not later ones: a started sum goes on while the rank computes something else
    arriving = comm.on_host(first, ready)
    for k, following in enumerate([*others, None]):
        here, arriving = arriving, None if following is None else comm.on_host(following, ready)
        comm.stage = f"piece {k}: "
        yield here
        here.bring_back(is_last=following is None)
    comm.stage = ""


def _lengths(n: int) -> list[int]:
    return part_lengths(n, max(1, -(-n // PIECE)))
