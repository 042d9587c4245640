"""Gather and scatter on a binomial tree: a message carries the blocks of a whole subtree
(Chan, Heimlich, Purkayastha & van de Geijn, Concurrency and Computation 19, 2007).

Ranks are counted from the root. Rank v, whose lowest set bit is b, is the root of the subtree
v … v+b-1, so the blocks of a subtree lie side by side and travel as one message. In a gather
rank v collects its subtree and hands it to v - b; a scatter is the same film run backwards.

    p = 8, scatter     round 0: 0→4 (4 blocks)   round 1: 0→2 4→6 (2)   round 2: 0→1 2→3 4→5 6→7 (1)

n elements in all:   messages                    elements sent             rounds
    gather            1, the root 0               its subtree's             ⌈log2 p⌉
    scatter           the root ⌈log2 p⌉           its subtree's but its own ⌈log2 p⌉

The root moves n(p-1)/p elements, as few as can be.   Time: ⌈log2 p⌉ alpha + n(p-1)/p beta.
"""

from typing import Any

from mpipar.arrays import empty_like
from mpipar.comm.collectives.chunks import part_lengths, starts
from mpipar.comm.collectives.cost import Cost, log2_ceil


def span(v: int, p: int) -> int:
    """How many ranks the subtree of rank v has."""
    return min(v & -v, p - v) if v else p


def from_root(lengths: list[int], v: int, root: int) -> list[int]:
    """The blocks of v's subtree, v's own first: their lengths."""
    p = len(lengths)
    return [lengths[(root + v + i) % p] for i in range(span(v, p))]


def binomial_gather(mine: Any, out: Any, lengths: list[int], comm: Any, root: int) -> None:
    """out on the root ← all ranks' blocks, one after the other."""
    p = comm.size
    v = (comm.rank - root) % p
    begin = starts(from_root(lengths, v, root))
    work = out if v == root == 0 else empty_like(mine, (begin[-1],))
    work[: len(mine)] = mine
    comm.phase = "gather"
    reach = 1
    while reach < span(v, p):
        child = (root + v + reach) % p
        comm.recv(work[begin[reach] : begin[min(2 * reach, span(v, p))]], child, tag=child)
        reach *= 2
    if v > 0:
        comm.send(work, (root + v - (v & -v)) % p, tag=comm.rank)
    elif root > 0:  # work begins with the root's block, out with rank 0's
        before = sum(lengths[:root])
        out[before:] = work[: len(out) - before]
        out[:before] = work[len(out) - before :]


def binomial_gather_cost(n: int, p: int, r: int = 0, root: int = 0) -> Cost:
    lengths = part_lengths(n, p)
    v = (r - root) % p
    subtree = sum(from_root(lengths, v, root))
    return Cost(int(v > 0), subtree * (v > 0), log2_ceil(p), n - lengths[root])


def binomial_scatter(x: Any, mine: Any, lengths: list[int], comm: Any, root: int) -> None:
    """mine on every rank ← its block of the root's x."""
    p = comm.size
    v = (comm.rank - root) % p
    work = x
    if v > 0:
        work = empty_like(mine, (sum(from_root(lengths, v, root)),))
    elif root > 0:
        before = sum(lengths[:root])
        work = empty_like(x)
        work[: len(x) - before] = x[before:]
        work[len(x) - before :] = x[:before]
    scatter_subtree(work, lengths, comm, root)
    mine[...] = work[: len(mine)]


def scatter_subtree(work: Any, lengths: list[int], comm: Any, root: int) -> None:
    """work, the blocks of this rank's subtree, own first, ← that stretch of the root's work."""
    p = comm.size
    v = (comm.rank - root) % p
    begin = starts(from_root(lengths, v, root))
    comm.phase = "scatter"
    if v > 0:
        comm.recv(work, (root + v - (v & -v)) % p, tag=comm.rank)
    reach = 1 << log2_ceil(span(v, p))
    while reach > 1:
        reach //= 2
        child = (root + v + reach) % p
        comm.send(work[begin[reach] : begin[min(2 * reach, span(v, p))]], child, tag=child)


def binomial_scatter_cost(n: int, p: int, r: int = 0, root: int = 0) -> Cost:
    lengths = part_lengths(n, p)
    v = (r - root) % p
    passed_on = sum(from_root(lengths, v, root)) - lengths[r]
    return Cost(log2_ceil(span(v, p)), passed_on, log2_ceil(p), n - lengths[root])
