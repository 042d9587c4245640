"""The ring as a list of steps, for a rank that computes between them (Hoefler, Lumsdaine & Rehm,
SC 2007, for nonblocking collectives as schedules that somebody has to progress).

It is the ring of ring.py: the same chunks, the same messages and the same order of sums, so its
result is bitwise the same. But it is written as a generator: it starts a send and a receive,
yields the two requests, and goes on when it is called again, after both are done.

n elements, a rank: 2(p-1) messages, 2n(p-1)/p elements sent, 2(p-1) rounds.
"""

from collections.abc import Iterator
from typing import Any

from mpipar.arrays import empty_like
from mpipar.comm.collectives.chunks import cut, part_lengths
from mpipar.comm.collectives.reduction import Add


def ring_allreduce_steps(x: Any, comm: Any, add: Add) -> Iterator[tuple]:
    """x ← sum of all ranks' x.   yields: the requests that must be done before it goes on"""
    p, r = comm.size, comm.rank
    right, left = (r + 1) % p, (r - 1) % p
    lengths = part_lengths(x.size, p)
    chunks, arriving = cut(x, lengths), empty_like(x, (lengths[0],))
    comm.phase = "reduce-scatter"
    for s in range(1, p):
        mine, theirs = (r - s) % p, (r - s - 1) % p
        partial = arriving[: lengths[theirs]]
        yield comm.irecv(partial, left, tag=theirs), comm.isend(chunks[mine], right, tag=mine)
        add(chunks[theirs], partial)
    comm.phase = "allgather"
    for s in range(p - 1):
        mine, theirs = (r - s) % p, (r - s - 1) % p
        yield comm.irecv(chunks[theirs], left, tag=theirs), comm.isend(chunks[mine], right, tag=mine)
