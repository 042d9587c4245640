"""Scatter and allgather: a bcast that lets no rank send the whole array (Barnett, Gupta, Payne,
Shuler, van de Geijn & Watts, SHPCC 1994).

The root scatters x down a binomial tree, so that rank v, counted from the root, has chunk v;
then the chunks go once round a ring. A tree sends all n elements ⌈log2 p⌉ times one after the
other; here the longest chain carries less than 2n, whatever p is.

n elements, a rank: up to ⌈log2 p⌉ + p - 1 messages, at most 2n(p-1)/p elements sent,
⌈log2 p⌉ + p - 1 rounds.   Time: (⌈log2 p⌉ + p - 1) alpha + 2n(p-1)/p beta.
"""

from typing import Any

from mpipar.comm.collectives.chunks import part_lengths, starts
from mpipar.comm.collectives.cost import Cost, after
from mpipar.comm.collectives.ring import ring_allgather, ring_allgather_cost
from mpipar.comm.collectives.subtree import binomial_scatter_cost, scatter_subtree, span


def scatter_allgather_bcast(x: Any, comm: Any, root: int) -> None:
    """x on every rank ← the root's x."""
    p = comm.size
    ranks = comm.among([(root + v) % p for v in range(p)])  # counted from the root, which is 0 here
    v = ranks.rank
    lengths = part_lengths(x.size, p)
    begin = starts(lengths)
    scatter_subtree(x[begin[v] : begin[v + span(v, p)]], lengths, ranks, root=0)
    ring_allgather(x, lengths, ranks)


def scatter_allgather_bcast_cost(n: int, p: int, r: int = 0, root: int = 0) -> Cost:
    v = (r - root) % p
    return after(binomial_scatter_cost(n, p, v, 0), ring_allgather_cost(n, p, v))
