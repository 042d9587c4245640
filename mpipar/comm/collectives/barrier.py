"""Barriers: messages of no bytes, for the sake of their order alone.

Dissemination (Hensgen, Finkel & Manber, IJPP 17, 1988): in round k rank r tells rank r + 2^k that
it has arrived, and hears it from rank r - 2^k. After ⌈log2 p⌉ rounds everybody has heard,
directly or not, of everybody.

Tree: a reduce of nothing to rank 0, then a bcast of nothing, both on binomial trees. Fewer
messages in all, but twice the rounds.

                       messages of a rank              in all         rounds
    dissemination      ⌈log2 p⌉                        p ⌈log2 p⌉      ⌈log2 p⌉
    tree               1, and 1 for each child         2(p-1)         2 ⌈log2 p⌉

Time: rounds alpha.
"""

from typing import Any

import numpy as np

from mpipar.comm.collectives.cost import Cost, log2_ceil
from mpipar.comm.collectives.tree import binomial_allreduce, binomial_allreduce_cost


def dissemination_barrier(comm: Any) -> None:
    """Returns on no rank before all ranks have called it."""
    p, r = comm.size, comm.rank
    nothing, heard = np.empty((2, 0), np.uint8)
    comm.phase = "barrier"
    distance = 1
    while distance < p:
        comm.sendrecv(nothing, (r + distance) % p, (r - distance) % p, tag=distance, out=heard)
        distance *= 2


def dissemination_barrier_cost(n: int, p: int, r: int = 0, root: int = 0) -> Cost:
    return Cost(log2_ceil(p), 0, log2_ceil(p), 0)


def tree_barrier(comm: Any) -> None:
    """Returns on no rank before all ranks have called it."""
    binomial_allreduce(np.empty(0, np.uint8), comm, _add_nothing)


def tree_barrier_cost(n: int, p: int, r: int = 0, root: int = 0) -> Cost:
    return binomial_allreduce_cost(0, p, r)


def _add_nothing(mine: Any, theirs: Any, out: Any = None) -> None:
    pass
