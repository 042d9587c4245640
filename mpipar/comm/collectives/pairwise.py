"""Pairwise exchange: everybody's own block goes straight to everybody (Thakur, Rabenseifner &
Gropp, IJHPCA 19, 2005).

In step s rank r sends to rank r + s and receives from rank r - s, so that in no step two ranks
send to the same one, as they would if all began with rank 0.

n elements in all, a rank: p-1 messages, n(p-1)/p elements sent, p-1 rounds: each block travels
once, which is the least.   Time: (p-1)(alpha + n/p beta).   Tag: the block's number, its goal.
"""

from typing import Any

from mpipar.comm.collectives.cost import Cost


def pairwise_alltoall(x: Any, out: Any, comm: Any) -> None:
    """out[i] ← x[r] of rank i; both of shape (p, m)."""
    p, r = comm.size, comm.rank
    out[r] = x[r]
    comm.phase = "alltoall"
    for s in range(1, p):
        dest, source = (r + s) % p, (r - s) % p
        comm.sendrecv(x[dest], dest, source, tag=dest, recv_tag=r, out=out[source])


def pairwise_alltoall_cost(n: int, p: int, r: int = 0, root: int = 0) -> Cost:
    sent = (p - 1) * (n // p)
    return Cost(p - 1, sent, p - 1, sent)
