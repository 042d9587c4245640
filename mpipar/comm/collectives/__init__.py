"""Collectives from send and receive alone, one idea a file.

Every algorithm has the form `algorithm(x, ..., comm, ...)`: x is this rank's own contiguous 1-D
working array, changed in place, or only read where there is an `out` beside it; `lengths` says how
it is cut into the ranks' blocks. `comm` offers rank, size, send, recv, sendrecv, isend and irecv,
`among` for some of the ranks, `on_host` for an array on a GPU, and `nodes`; for shared memory also
`until`, `copy` and `kept`; its `phase`, and `stage` before it, name the part of the algorithm for
the trace. The tag of a message is the number of the (first) chunk it carries, so that a trace can be
replayed. Each algorithm's cost, as in its docstring, is a function beside it; registry.py lists both.
"""

from mpipar.comm.collectives.choose import choose, predict
from mpipar.comm.collectives.chunks import cut, part_lengths
from mpipar.comm.collectives.cost import Cost
from mpipar.comm.collectives.reduction import REDUCTIONS, Add, combine
from mpipar.comm.collectives.registry import ALGORITHMS, Algorithm

__all__ = [
    "ALGORITHMS",
    "REDUCTIONS",
    "Add",
    "Algorithm",
    "Cost",
    "choose",
    "combine",
    "cut",
    "part_lengths",
    "predict",
]
