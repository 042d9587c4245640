"""Through one rank: what everybody writes first.

The root receives p-1 arrays one after the other, or sends p-1 of them. Nothing is wrong with
it except that one rank does all the work while the others wait.

n elements:        messages   elements the root moves    rounds
    reduce            p-1             n(p-1)               p-1
    bcast             p-1             n(p-1)               p-1
    allreduce        2(p-1)          2n(p-1)              2(p-1)
    gather            p-1             n(p-1)/p             p-1      n: of all blocks together
    scatter           p-1             n(p-1)/p             p-1

Time of the allreduce: 2(p-1)(alpha + n beta) + (p-1) n gamma. All ranks end bitwise equal,
because the root alone sums. Gather and scatter move no more than they must; what is bad about
them is only the p-1 latencies.
"""

from typing import Any

from mpipar.arrays import empty_like
from mpipar.comm.collectives.chunks import cut, part_lengths
from mpipar.comm.collectives.cost import Cost, after
from mpipar.comm.collectives.reduction import Add


def naive_allreduce(x: Any, comm: Any, add: Add) -> None:
    """x ← sum of all ranks' x, by way of rank 0."""
    linear_reduce(x, comm, add, root=0)
    linear_bcast(x, comm, root=0)


def naive_allreduce_cost(n: int, p: int, r: int = 0, root: int = 0) -> Cost:
    return after(linear_reduce_cost(n, p, r, 0), linear_bcast_cost(n, p, r, 0))


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


def linear_reduce_cost(n: int, p: int, r: int = 0, root: int = 0) -> Cost:
    mine = int(r != root)
    return Cost(mine, mine * n, p - 1, (p - 1) * n, reduced=(p - 1) * n)


def linear_bcast(x: Any, comm: Any, root: int) -> None:
    """x on every rank ← the root's x."""
    comm.phase = "bcast"
    if comm.rank != root:
        comm.recv(x, root, tag=0)
        return
    for dest in range(comm.size):
        if dest != root:
            comm.send(x, dest)


def linear_bcast_cost(n: int, p: int, r: int = 0, root: int = 0) -> Cost:
    mine = (p - 1) * (r == root)
    return Cost(mine, mine * n, p - 1, (p - 1) * n)


def linear_gather(mine: Any, out: Any, lengths: list[int], comm: Any, root: int) -> None:
    """out on the root ← all ranks' blocks, one after the other."""
    comm.phase = "gather"
    if comm.rank != root:
        comm.send(mine, root, tag=comm.rank)
        return
    blocks = cut(out, lengths)
    blocks[root][...] = mine
    for source in range(comm.size):
        if source != root:
            comm.recv(blocks[source], source, tag=source)


def linear_gather_cost(n: int, p: int, r: int = 0, root: int = 0) -> Cost:
    lengths = part_lengths(n, p)
    return Cost(int(r != root), lengths[r] * (r != root), p - 1, n - lengths[root])


def linear_scatter(x: Any, mine: Any, lengths: list[int], comm: Any, root: int) -> None:
    """mine on every rank ← its block of the root's x."""
    comm.phase = "scatter"
    if comm.rank != root:
        comm.recv(mine, root, tag=comm.rank)
        return
    blocks = cut(x, lengths)
    mine[...] = blocks[root]
    for dest in range(comm.size):
        if dest != root:
            comm.send(blocks[dest], dest, tag=dest)


def linear_scatter_cost(n: int, p: int, r: int = 0, root: int = 0) -> Cost:
    others = n - part_lengths(n, p)[root]
    return Cost((p - 1) * (r == root), others * (r == root), p - 1, others)
