"""The binomial tree: whoever has the data helps to spread it (Thakur, Rabenseifner & Gropp,
IJHPCA 19, 2005).

Ranks are counted from the root. In round k of the bcast, rank v < 2^k sends to rank v + 2^k, so
the number of ranks that have the data doubles each round.

    p = 8     round 0: 0→1     round 1: 0→2 1→3     round 2: 0→4 1→5 2→6 3→7

In round k of the reduce, rank v whose lowest set bit is 2^k hands the sum of ranks v … v+2^k-1
to rank v - 2^k, so each sum is of neighbours, in rank order.

    p = 8     round 0: 1→0 3→2 5→4 7→6     round 1: 2→0 6→4     round 2: 4→0

n elements:  p-1 messages in all, each of n elements; the root of a bcast sends ⌈log2 p⌉ of them,
in a reduce every other rank sends one; ⌈log2 p⌉ rounds.   Time: ⌈log2 p⌉ (alpha + n beta), and
⌈log2 p⌉ n gamma in the reduce. The allreduce is a reduce and a bcast: twice of each.
"""

from typing import Any

from mpipar.arrays import empty_like
from mpipar.comm.collectives.cost import Cost, after, log2_ceil
from mpipar.comm.collectives.reduction import Add


def binomial_bcast(x: Any, comm: Any, root: int) -> None:
    """x on every rank ← the root's x."""
    p = comm.size
    v = (comm.rank - root) % p
    reach = 1
    comm.phase = "bcast"
    if v > 0:  # v heard it from v without its highest bit, and passes it on in later rounds
        reach = 1 << (v.bit_length() - 1)
        comm.recv(x, (root + v - reach) % p, tag=0)
        reach *= 2
    while v + reach < p:
        comm.send(x, (root + v + reach) % p)
        reach *= 2


def binomial_bcast_cost(n: int, p: int, r: int = 0, root: int = 0) -> Cost:
    v, rounds = (r - root) % p, log2_ceil(p)
    children = sum(v + (1 << k) < p for k in range(v.bit_length(), rounds))
    return Cost(children, children * n, rounds, rounds * n)


def binomial_reduce(x: Any, comm: Any, add: Add, root: int) -> None:
    """x on the root ← sum of all ranks' x; the other ranks' x is left with partial sums."""
    p = comm.size
    v = (comm.rank - root) % p
    arriving = empty_like(x)
    reach = 1
    comm.phase = "reduce"
    while v + reach < p and not v & reach:
        comm.recv(arriving, (root + v + reach) % p, tag=0)
        add(x, arriving)
        reach *= 2
    if v > 0:
        lowest = v & -v
        comm.send(x, (root + v - lowest) % p)


def binomial_reduce_cost(n: int, p: int, r: int = 0, root: int = 0) -> Cost:
    mine, rounds = int(r != root), log2_ceil(p)
    return Cost(mine, mine * n, rounds, rounds * n, reduced=rounds * n)


def binomial_allreduce(x: Any, comm: Any, add: Add) -> None:
    """x ← sum of all ranks' x, up one tree and down another."""
    binomial_reduce(x, comm, add, root=0)
    binomial_bcast(x, comm, root=0)


def binomial_allreduce_cost(n: int, p: int, r: int = 0, root: int = 0) -> Cost:
    return after(binomial_reduce_cost(n, p, r, 0), binomial_bcast_cost(n, p, r, 0))
