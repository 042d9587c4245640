"""The pipelined chain: like buckets passed along a line of people (Träff & Ripke, IPDPS 2005,
compare it with trees; the segment count is theirs).

x is cut into S segments. Rank v, counted from the root, receives segment k+1 from its left while
it hands segment k to its right, so that every link is busy once the pipe is full.

    p = 4, S = 3     round 1    2    3    4    5
           0→1         0        1    2
           1→2                  0    1    2
           2→3                       0    1    2       the number of the segment

n elements, a rank: S messages, n elements in all, the last rank none; S + p - 2 rounds.
Time: (S + p - 2)(alpha + n/S beta), least for S = √((p-2) n beta / alpha). For n large this is
n beta, half of what scatter and allgather need. Here a segment has at most 16,384 elements.
"""

from typing import Any

from mpipar.comm.collectives.chunks import cut, part_lengths, segments
from mpipar.comm.collectives.cost import Cost


def chain_bcast(x: Any, comm: Any, root: int) -> None:
    """x on every rank ← the root's x."""
    p = comm.size
    v = (comm.rank - root) % p
    left, right = (comm.rank - 1) % p, (comm.rank + 1) % p
    parts = cut(x, part_lengths(x.size, segments(x.size)))
    last = len(parts) - 1
    comm.phase = "bcast"
    if v > 0:
        comm.recv(parts[0], left, tag=0)
    for k, part in enumerate(parts):
        if 0 < v < p - 1 and k < last:
            comm.sendrecv(part, right, left, tag=k, recv_tag=k + 1, out=parts[k + 1])
        elif v < p - 1:
            comm.send(part, right, tag=k)
        elif v > 0 and k < last:
            comm.recv(parts[k + 1], left, tag=k + 1)


def chain_bcast_cost(n: int, p: int, r: int = 0, root: int = 0) -> Cost:
    count = segments(n)
    if p == 1:
        return Cost(0, 0, 0, 0)
    passes_on = int((r - root) % p < p - 1)
    rounds = count + p - 2
    return Cost(passes_on * count, passes_on * n, rounds, rounds * n / count)
