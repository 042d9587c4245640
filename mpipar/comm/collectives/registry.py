"""The table of algorithms: for each collective, name -> the algorithm and its cost.

To add an algorithm, write it in a file of its own with its cost beside it, and add a line here.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from mpipar.comm.collectives import (
    barrier,
    bruck,
    chain,
    doubling,
    halving,
    hierarchical,
    naive,
    orders,
    pairwise,
    ring,
    scan,
    segmented_ring,
    shared,
    shared_blocks,
    started_ring,
    subtree,
    tree,
    van_de_geijn,
)
from mpipar.comm.collectives.cost import Cost


class Algorithm(NamedTuple):
    """run: the algorithm, or its steps;   cost: (n, p, r, root) -> Cost

    auto: whether "auto" may choose it
    scales: run takes as its last argument what to multiply x by first
    again: (x, comm, add) -> what does it for more arrays like x with less ado, or None
    """

    run: Callable[..., None]
    cost: Callable[..., Cost]
    auto: bool = True
    scales: bool = False
    again: Callable[..., Any] | None = None


def _shared(order: Callable[[int], orders.Order], instead: Callable[..., None]) -> Algorithm:
    run = partial(shared.shared_allreduce, order=order, instead=instead)
    cost = partial(shared.shared_allreduce_cost, order=order)
    again = partial(shared.shared_again, order=order)
    return Algorithm(run, cost, auto=False, scales=True, again=again)


def _shared_reduce_scatter(order: Callable[[int], orders.Order], instead: Callable[..., None]) -> Algorithm:
    run = partial(shared_blocks.shared_reduce_scatter, order=order, instead=instead)
    return Algorithm(run, shared_blocks.shared_blocks_cost, auto=False, scales=True)


def _shared_allgather(instead: Callable[..., None]) -> Algorithm:
    run = partial(shared_blocks.shared_allgather, instead=instead)
    return Algorithm(run, shared_blocks.shared_blocks_cost, auto=False)


# of two that are predicted to take equally long, "auto" takes the first
ALGORITHMS: dict[str, dict[str, Algorithm]] = {
    "bcast": {
        "binomial": Algorithm(tree.binomial_bcast, tree.binomial_bcast_cost),
        "linear": Algorithm(naive.linear_bcast, naive.linear_bcast_cost),
        "chain": Algorithm(chain.chain_bcast, chain.chain_bcast_cost),
        "scatter_allgather": Algorithm(
            van_de_geijn.scatter_allgather_bcast, van_de_geijn.scatter_allgather_bcast_cost
        ),
    },
    "reduce": {
        "binomial": Algorithm(tree.binomial_reduce, tree.binomial_reduce_cost),
        "linear": Algorithm(naive.linear_reduce, naive.linear_reduce_cost),
    },
    "allreduce": {
        "recursive_doubling": Algorithm(
            doubling.recursive_doubling_allreduce, doubling.recursive_doubling_allreduce_cost
        ),
        "ring": Algorithm(ring.ring_allreduce, ring.ring_allreduce_cost),
        "rabenseifner": Algorithm(halving.rabenseifner_allreduce, halving.rabenseifner_allreduce_cost),
        "binomial": Algorithm(tree.binomial_allreduce, tree.binomial_allreduce_cost),
        "naive": Algorithm(naive.naive_allreduce, naive.naive_allreduce_cost),
        "segmented_ring": Algorithm(
            segmented_ring.segmented_ring_allreduce, segmented_ring.segmented_ring_allreduce_cost
        ),
        # the model knows one kind of link, so it cannot see what this one saves
        "hierarchical": Algorithm(
            hierarchical.hierarchical_allreduce, hierarchical.hierarchical_allreduce_cost, auto=False
        ),
        "shared": Algorithm(shared.shared_allreduce, shared.shared_allreduce_cost, auto=False),
        # the sums of others of these, in their order, through memory
        "shared_recursive_doubling": _shared(
            orders.recursive_doubling, doubling.recursive_doubling_allreduce
        ),
        "shared_ring": _shared(orders.ring, ring.ring_allreduce),
        "shared_rabenseifner": _shared(orders.rabenseifner, halving.rabenseifner_allreduce),
    },
    "iallreduce": {"ring": Algorithm(started_ring.ring_allreduce_steps, ring.ring_allreduce_cost)},
    "reduce_scatter": {
        "ring": Algorithm(ring.ring_reduce_scatter, ring.ring_reduce_scatter_cost),
        "recursive_halving": Algorithm(
            halving.recursive_halving_reduce_scatter, halving.recursive_halving_reduce_scatter_cost
        ),
        "shared_ring": _shared_reduce_scatter(orders.ring, ring.ring_reduce_scatter),
        "shared_recursive_halving": _shared_reduce_scatter(
            orders.recursive_halving, halving.recursive_halving_reduce_scatter
        ),
    },
    "allgather": {
        "ring": Algorithm(ring.ring_allgather, ring.ring_allgather_cost),
        "recursive_doubling": Algorithm(
            doubling.recursive_doubling_allgather, doubling.recursive_doubling_allgather_cost
        ),
        "bruck": Algorithm(bruck.bruck_allgather, bruck.bruck_allgather_cost),
        "shared_ring": _shared_allgather(ring.ring_allgather),
        "shared_recursive_doubling": _shared_allgather(doubling.recursive_doubling_allgather),
        "shared_bruck": _shared_allgather(bruck.bruck_allgather),
    },
    "gather": {
        "binomial": Algorithm(subtree.binomial_gather, subtree.binomial_gather_cost),
        "linear": Algorithm(naive.linear_gather, naive.linear_gather_cost),
    },
    "scatter": {
        "binomial": Algorithm(subtree.binomial_scatter, subtree.binomial_scatter_cost),
        "linear": Algorithm(naive.linear_scatter, naive.linear_scatter_cost),
    },
    "alltoall": {
        "pairwise": Algorithm(pairwise.pairwise_alltoall, pairwise.pairwise_alltoall_cost),
        "bruck": Algorithm(bruck.bruck_alltoall, bruck.bruck_alltoall_cost),
    },
    "scan": {
        "recursive_doubling": Algorithm(scan.recursive_doubling_scan, scan.recursive_doubling_scan_cost),
        "linear": Algorithm(scan.linear_scan, scan.linear_scan_cost),
    },
    "barrier": {
        "dissemination": Algorithm(barrier.dissemination_barrier, barrier.dissemination_barrier_cost),
        "tree": Algorithm(barrier.tree_barrier, barrier.tree_barrier_cost),
    },
}
