"""Bruck's algorithms: ⌈log2 p⌉ rounds for every p, by counting blocks from one's own rank (Bruck,
Ho, Kipnis, Upfal & Weathersby, IEEE TPDS 8, 1997).

Allgather: rank r keeps the blocks in the order r, r+1, … In the round of distance d it sends its
first min(d, p-d) blocks to rank r-d and appends what rank r+d sends.

Alltoall: block i on its way has i ranks still to go. In the round of distance d every rank packs
the blocks whose i has the bit d and sends them to rank r+d; after the last round all are at
their goal. A block travels once for every bit of its i: fewer messages, more bytes.

n elements in all, a rank:      messages     elements sent                rounds
    allgather                    ⌈log2 p⌉     n(p-1)/p                     ⌈log2 p⌉
    alltoall                     ⌈log2 p⌉     about n/2 ⌈log2 p⌉           ⌈log2 p⌉

Time: ⌈log2 p⌉ alpha + (elements sent) beta. Tags: the first block of the message, by rank in
the allgather, and by distance still to go in the alltoall.
"""

from typing import Any

from mpipar.arrays import empty_like
from mpipar.comm.collectives.chunks import part_lengths, starts
from mpipar.comm.collectives.cost import Cost, log2_ceil


def bruck_allgather(x: Any, lengths: list[int], comm: Any) -> None:
    """Every chunk ← chunk r of rank r."""
    p, r = comm.size, comm.rank
    begin = starts([lengths[(r + i) % p] for i in range(p)])
    before = sum(lengths[:r])
    work = empty_like(x)
    work[: lengths[r]] = x[before : before + lengths[r]]
    comm.phase = "allgather"
    d = 1
    while d < p:
        count, source = min(d, p - d), (r + d) % p
        arriving = work[begin[d] : begin[d + count]]
        comm.sendrecv(work[: begin[count]], (r - d) % p, source, tag=r, recv_tag=source, out=arriving)
        d *= 2
    x[before:] = work[: len(x) - before]  # work begins with this rank's chunk, x with rank 0's
    x[:before] = work[len(x) - before :]


def bruck_allgather_cost(n: int, p: int, r: int = 0, root: int = 0) -> Cost:
    lengths = part_lengths(n, p)
    begin = starts([lengths[(r + i) % p] for i in range(p)])
    rounds = log2_ceil(p)
    sent = sum(begin[min(1 << k, p - (1 << k))] for k in range(rounds))
    return Cost(rounds, sent, rounds, n * (p - 1) / p)


def bruck_alltoall(x: Any, out: Any, comm: Any) -> None:
    """out[i] ← x[r] of rank i; both of shape (p, m)."""
    p, r = comm.size, comm.rank
    work = empty_like(x)
    for i in range(p):
        work[i] = x[(r + i) % p]
    comm.phase = "alltoall"
    d = 1
    while d < p:
        packed = _with_bit(d, p)
        leaving = empty_like(x, (len(packed), *x.shape[1:]))
        for j, i in enumerate(packed):
            leaving[j] = work[i]
        arrived = comm.sendrecv(leaving, (r + d) % p, (r - d) % p, tag=d)
        for j, i in enumerate(packed):
            work[i] = arrived[j]
        d *= 2
    for i in range(p):
        out[(r - i) % p] = work[i]


def bruck_alltoall_cost(n: int, p: int, r: int = 0, root: int = 0) -> Cost:
    rounds = log2_ceil(p)
    sent = sum(len(_with_bit(1 << k, p)) for k in range(rounds)) * (n // p)
    return Cost(rounds, sent, rounds, sent)


def _with_bit(d: int, p: int) -> list[int]:
    return [i for i in range(p) if i & d]
