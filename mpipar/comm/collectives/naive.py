"""Through one rank: what everybody writes first.

The root receives p-1 arrays one after the other and sends p-1 back. Nothing is wrong with
it except that one rank does all the work while the others wait.

n elements:        messages   elements the root moves    rounds
    reduce            p-1             n(p-1)               p-1
    bcast             p-1             n(p-1)               p-1
    allreduce        2(p-1)          2n(p-1)              2(p-1)

Time of the allreduce: 2(p-1)(alpha + n beta) + (p-1) n gamma. All ranks end bitwise equal,
because the root alone sums, in rank order.
"""

from typing import Any

from mpipar.arrays import empty_like
from mpipar.comm.collectives.reduction import Add


def naive_allreduce(x: Any, comm: Any, add: Add) -> None:
    """x ← sum of all ranks' x, by way of rank 0."""
    linear_reduce(x, comm, add, root=0)
    linear_bcast(x, comm, root=0)


def linear_reduce(x: Any, comm: Any, add: Add, root: int) -> None:
    """x on the root ← sum of all ranks' x; the other ranks' x stays."""
    comm.phase = "reduce"
    if comm.rank != root:
        comm.send(x, root)
        return
    arriving = empty_like(x)
    for source in range(comm.size):
        if source != root:
            comm.recv(arriving, source, tag=0)
            add(x, arriving)


def linear_bcast(x: Any, comm: Any, root: int) -> None:
    """x on every rank ← the root's x."""
    comm.phase = "bcast"
    if comm.rank != root:
        comm.recv(x, root, tag=0)
        return
    for dest in range(comm.size):
        if dest != root:
            comm.send(x, dest)
