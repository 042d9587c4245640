"""The fewest bytes with which a collective can be done.

The bound is for the busiest rank: the larger of what it sends and what it receives, since it
decides how long the others wait. n: bytes of the whole vector, p: ranks.

    bcast, reduce                    n                [1]
    allreduce, iallreduce            2n (p-1)/p       [1, 2]
    reduce_scatter, allgather        n (p-1)/p        [1]
    scatter, gather                  n (p-1)/p        [1]
    alltoall                         n (p-1)/p        a rank keeps one of its p blocks
    scan                             n                the last rank needs n bytes from the others
    barrier, split                   0                they carry no data

[1] Chan, Heimlich, Purkayastha & van de Geijn, Concurrency and Computation 19, 2007: the bandwidth
    terms of the lower bounds in table 1.
[2] Patarasuk & Yuan, J. Parallel and Distributed Computing 69, 2009.
The last three rows are ours, by counting in the same way what must cross a rank's port.
"""

from fractions import Fraction


def busiest_rank_bytes(operation: str, n: int, p: int) -> Fraction:
    """The lower bound of the table above, in bytes; 0 on one rank.

    errors: KeyError for an operation that is no collective
    """
    share = Fraction(p - 1, p)
    whole = Fraction(min(p - 1, 1))  # all of n, unless there is nobody to send it to
    factor = {
        "bcast": whole,
        "reduce": whole,
        "scan": whole,
        "allreduce": 2 * share,
        "iallreduce": 2 * share,
        "reduce_scatter": share,
        "allgather": share,
        "scatter": share,
        "gather": share,
        "alltoall": share,
        "barrier": Fraction(0),
        "split": Fraction(0),
    }[operation]
    return n * factor
