"""The ring: every rank talks to its two neighbours only (Patarasuk & Yuan, JPDC 69, 2009).

x is cut into p chunks. In the reduce-scatter each chunk travels once round the ring and every
rank it visits adds its own part; after p-1 steps rank r holds chunk r complete. In the
allgather the complete chunks travel once more, and everybody copies them.

    p = 4, reduce-scatter: what rank 0 does
    step 1   sends chunk 3 to rank 1, adds what rank 3 sent to chunk 2
    step 2   sends chunk 2,           adds to chunk 1
    step 3   sends chunk 1,           adds to chunk 0, which is now complete

n elements, a rank:      messages   elements sent    rounds
    reduce-scatter         p-1       n(p-1)/p         p-1
    allgather              p-1       n(p-1)/p         p-1
    allreduce             2(p-1)    2n(p-1)/p        2(p-1)

No algorithm sends fewer elements from its busiest rank. Time: 2(p-1)(alpha + n/p beta) +
(p-1) n/p gamma. All ranks end bitwise equal, because each chunk is summed by one rank.
"""

from typing import Any

from mpipar.arrays import empty_like
from mpipar.comm.collectives.chunks import cut, part_lengths
from mpipar.comm.collectives.cost import Cost, after
from mpipar.comm.collectives.reduction import Add


def ring_allreduce(x: Any, comm: Any, add: Add) -> None:
    """x ← sum of all ranks' x."""
    lengths = part_lengths(x.size, comm.size)
    ring_reduce_scatter(x, lengths, comm, add)
    ring_allgather(x, lengths, comm)


def ring_allreduce_cost(n: int, p: int, r: int = 0, root: int = 0) -> Cost:
    return after(ring_reduce_scatter_cost(n, p, r), ring_allgather_cost(n, p, r))


def ring_reduce_scatter(x: Any, lengths: list[int], comm: Any, add: Add) -> None:
    """Chunk r ← sum of all ranks' chunk r; the other chunks are left with partial sums."""
    p, r = comm.size, comm.rank
    right, left = (r + 1) % p, (r - 1) % p
    chunks = cut(x, lengths)
    arriving = empty_like(x, (max(lengths),))
    comm.phase = "reduce-scatter"
    for s in range(1, p):
        mine, theirs = (r - s) % p, (r - s - 1) % p
        partial = arriving[: lengths[theirs]]
        comm.sendrecv(chunks[mine], right, left, tag=mine, recv_tag=theirs, out=partial)
        add(chunks[theirs], partial)


def ring_reduce_scatter_cost(n: int, p: int, r: int = 0, root: int = 0) -> Cost:
    all_but_one = n - part_lengths(n, p)[r]
    path = n * (p - 1) / p
    return Cost(p - 1, all_but_one, p - 1, path, reduced=path)


def ring_allgather(x: Any, lengths: list[int], comm: Any) -> None:
    """Every chunk ← chunk r of rank r."""
    p, r = comm.size, comm.rank
    right, left = (r + 1) % p, (r - 1) % p
    chunks = cut(x, lengths)
    comm.phase = "allgather"
    for s in range(p - 1):
        mine, theirs = (r - s) % p, (r - s - 1) % p
        comm.sendrecv(chunks[mine], right, left, tag=mine, recv_tag=theirs, out=chunks[theirs])


def ring_allgather_cost(n: int, p: int, r: int = 0, root: int = 0) -> Cost:
    all_but_one = n - part_lengths(n, p)[(r + 1) % p]
    return Cost(p - 1, all_but_one, p - 1, n * (p - 1) / p)
