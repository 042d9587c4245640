"""Collectives from send and receive alone, one idea a file.

Every algorithm has the form `algorithm(x, comm, ...)`: x is this rank's own contiguous 1-D
working array (or its chunks, views of it), changed in place; `comm` offers rank, size, send,
recv and sendrecv, and its `phase` names the part of the algorithm for the trace. The tag of a
message is the number of the chunk it carries, so that a trace can be replayed.
"""

from mpipar.comm.collectives.barrier import dissemination_barrier
from mpipar.comm.collectives.choose import ALGORITHMS, choose
from mpipar.comm.collectives.chunks import cut, part_lengths
from mpipar.comm.collectives.naive import linear_bcast, linear_reduce, naive_allreduce
from mpipar.comm.collectives.reduction import REDUCTIONS, Add, combine
from mpipar.comm.collectives.ring import ring_allgather, ring_allreduce, ring_reduce_scatter
from mpipar.comm.collectives.tree import binomial_bcast

__all__ = [
    "ALGORITHMS",
    "REDUCTIONS",
    "Add",
    "binomial_bcast",
    "choose",
    "combine",
    "cut",
    "dissemination_barrier",
    "linear_bcast",
    "linear_reduce",
    "naive_allreduce",
    "part_lengths",
    "ring_allgather",
    "ring_allreduce",
    "ring_reduce_scatter",
]
