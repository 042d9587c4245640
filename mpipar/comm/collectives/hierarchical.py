"""Hierarchical allreduce: add up within each node first, so that only one rank a node uses the
network (Jia et al., 2018, arXiv 1807.11205, section 4.3; Horovod has it as well).

Three stages: a binomial reduce within each node to the node's first rank, its leader; a ring
allreduce among the leaders; a binomial bcast within each node. Between nodes, where alpha and
beta are ten times those within a node or more, each leader sends no more than a ring of so many
ranks must, instead of all ranks of the node sending through one cable.

m nodes of up to q ranks, n elements:     rounds                     elements sent
    within, up and down                   2 ⌈log2 q⌉                 n a message
    across, a leader                      2(m-1)                     2n(m-1)/m

Time: 2 ⌈log2 q⌉ (alpha + n beta) within + 2(m-1)(alpha + n/m beta) across. All ranks end bitwise
equal, because the leaders' ring does and the rest is copied. Which node a rank is on: comm.nodes.
"""

from typing import Any

from mpipar.comm.collectives.cost import Cost, log2_ceil
from mpipar.comm.collectives.reduction import Add
from mpipar.comm.collectives.ring import ring_allreduce, ring_allreduce_cost
from mpipar.comm.collectives.tree import (
    binomial_bcast,
    binomial_bcast_cost,
    binomial_reduce,
    binomial_reduce_cost,
)


def members(nodes: list[int]) -> list[list[int]]:
    """The ranks of each node, the leader first; nodes in the order of their leaders."""
    return [[r for r, other in enumerate(nodes) if other == node] for node in dict.fromkeys(nodes)]


def hierarchical_allreduce(x: Any, comm: Any, add: Add) -> None:
    """x ← sum of all ranks' x."""
    groups = members(comm.nodes)
    here = comm.among(next(g for g in groups if comm.rank in g), "within: ")
    binomial_reduce(x, here, add, root=0)
    if here.rank == 0:
        leaders = comm.among([g[0] for g in groups], "across: ")
        ring_allreduce(x, leaders, add)
    binomial_bcast(x, here, root=0)


def hierarchical_allreduce_cost(n: int, p: int, r: int = 0, root: int = 0, nodes: Any = None) -> Cost:
    groups = members(nodes or [0] * p)
    number = next(i for i, g in enumerate(groups) if r in g)
    place, size = groups[number].index(r), len(groups[number])
    up, down = binomial_reduce_cost(n, size, place), binomial_bcast_cost(n, size, place)
    across = ring_allreduce_cost(n, len(groups), number)
    leader = int(place == 0)
    deepest = max(log2_ceil(len(g)) for g in groups)
    return Cost(
        up.messages + down.messages + leader * across.messages,
        up.sent + down.sent + leader * across.sent,
        2 * deepest + across.rounds,
        2 * deepest * n + across.path,
        deepest * n + across.reduced,
    )
