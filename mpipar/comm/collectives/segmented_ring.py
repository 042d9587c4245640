"""The ring in segments: while one segment is added, the next is on its way (Open MPI's tuned
collectives have it; Thakur, Rabenseifner & Gropp, IJHPCA 19, 2005, for the ring itself).

Each chunk of the ring is cut into S segments of at most 16,384 elements. The receive of the next
segment is started before this one is added, into the other of two buffers, so that the network
need not wait for the adding; and a segment is still in the cache when it is added.

n elements, a rank: 2(p-1)S messages, 2n(p-1)/p elements sent, 2(p-1)S rounds.
Time: 2(p-1)(S alpha + n/p beta) + (p-1) n/p gamma; where the network moves data by itself only
the last segment's gamma is left, where MPI moves it inside its own calls nothing is hidden.
"""

from typing import Any

from mpipar.arrays import empty_like
from mpipar.comm.collectives.chunks import cut, part_lengths, segments
from mpipar.comm.collectives.cost import Cost
from mpipar.comm.collectives.reduction import Add
from mpipar.comm.collectives.ring import ring_allreduce, ring_allreduce_cost


def segmented_ring_allreduce(x: Any, comm: Any, add: Add) -> None:
    """x ← sum of all ranks' x."""
    lengths = part_lengths(x.size, comm.size)
    count = segments(lengths[0])
    if count == 1:  # a segment could not be sent on before it is added
        ring_allreduce(x, comm, add)
        return
    parts = [cut(chunk, part_lengths(len(chunk), count)) for chunk in cut(x, lengths)]
    _reduce_scatter(parts, comm, add)
    _allgather(parts, comm)


def _reduce_scatter(parts: list[list[Any]], comm: Any, add: Add) -> None:
    p, r, count = comm.size, comm.rank, len(parts[0])
    right, left = (r + 1) % p, (r - 1) % p
    buffers = [empty_like(parts[0][0]), empty_like(parts[0][0])]
    comm.phase = "reduce-scatter"

    def start(i: int) -> tuple:
        s, k = 1 + i // count, i % count
        mine, theirs = (r - s) % p, (r - s - 1) % p
        arriving = buffers[i % 2][: len(parts[theirs][k])]
        receive = comm.irecv(arriving, left, tag=theirs * count + k)
        return receive, comm.isend(parts[mine][k], right, tag=mine * count + k), parts[theirs][k], arriving

    moving = start(0) if p > 1 else None
    for i in range((p - 1) * count):
        receive, send, part, arriving = moving
        receive.wait()
        send.wait()
        if i + 1 < (p - 1) * count:
            moving = start(i + 1)
        add(part, arriving)


def _allgather(parts: list[list[Any]], comm: Any) -> None:
    p, r, count = comm.size, comm.rank, len(parts[0])
    right, left = (r + 1) % p, (r - 1) % p
    comm.phase = "allgather"
    for i in range((p - 1) * count):
        s, k = i // count, i % count
        mine, theirs = (r - s) % p, (r - s - 1) % p
        tags = {"tag": mine * count + k, "recv_tag": theirs * count + k}
        comm.sendrecv(parts[mine][k], right, left, out=parts[theirs][k], **tags)


def segmented_ring_allreduce_cost(n: int, p: int, r: int = 0, root: int = 0) -> Cost:
    ring = ring_allreduce_cost(n, p, r)
    count = segments(part_lengths(n, p)[0])
    return ring._replace(messages=ring.messages * count, rounds=ring.rounds * count)
