"""Recursive halving, and Rabenseifner's allreduce made of it (Thakur, Rabenseifner & Gropp,
IJHPCA 19, 2005; Rabenseifner, ICCS 2004).

In round k the ranks are halved: rank v exchanges with the rank of the other half that stands
where it stands. Each gives away what the other half is to sum, so n/2, n/4, … elements, and
adds what it gets; after log2 p rounds rank v has chunk v complete. Rabenseifner's allreduce
then runs recursive doubling: the ring's bytes with the tree's number of messages.

    p = 4, rank 0      round 0: chunks 2 3 to rank 2, adds to 0 1     round 1: chunk 1 to rank 1, adds to 0

n elements, a rank, P = 2^⌊log2 p⌋:   messages     elements sent     rounds
    reduce-scatter, p = P              log2 P       n(P-1)/P         log2 P
    allreduce, p = P                  2 log2 P     2n(P-1)/P        2 log2 P
    p ≠ P: see fold.py; two rounds more, in which up to n elements are handed over and back

Time of the allreduce: 2 log2 p alpha + 2n(p-1)/p beta + n(p-1)/p gamma. All ranks end bitwise
equal, because each chunk is summed by one rank.
"""

from typing import Any

from mpipar.arrays import empty_like
from mpipar.comm.collectives.chunks import cut, part_lengths, starts
from mpipar.comm.collectives.cost import Cost, after
from mpipar.comm.collectives.doubling import doubling_allgather, doubling_cost
from mpipar.comm.collectives.fold import core, fold, folding_cost, has_folded, is_folded, merged, unfold
from mpipar.comm.collectives.reduction import Add


def rabenseifner_allreduce(x: Any, comm: Any, add: Add) -> None:
    """x ← sum of all ranks' x."""
    ranks = core(comm.size)
    lengths = part_lengths(x.size, len(ranks))
    if fold(x, comm, add):
        _halving(x, lengths, comm, add, ranks)
        doubling_allgather(x, lengths, comm, ranks)
    unfold(x, comm)


def rabenseifner_allreduce_cost(n: int, p: int, r: int = 0, root: int = 0) -> Cost:
    lengths = part_lengths(n, len(core(p)))
    return folding_cost(after(_halving_cost(lengths, p, r), doubling_cost(lengths, p, r)), n, n, p, r)


def recursive_halving_reduce_scatter(x: Any, lengths: list[int], comm: Any, add: Add) -> None:
    """Chunk r ← sum of all ranks' chunk r; the other chunks are left with partial sums."""
    p, r = comm.size, comm.rank
    chunks = cut(x, lengths)
    if fold(x, comm, add):
        _halving(x, merged(lengths), comm, add, core(p))
    comm.phase = "unfold"
    if is_folded(r, p):
        comm.recv(chunks[r], r + 1, tag=r)
    elif has_folded(r, p):
        comm.send(chunks[r - 1], r - 1, tag=r - 1)


def recursive_halving_reduce_scatter_cost(n: int, p: int, r: int = 0, root: int = 0) -> Cost:
    lengths = part_lengths(n, p)
    return folding_cost(_halving_cost(merged(lengths), p, r), n, lengths[r - 1], p, r)


def _halving(x: Any, lengths: list[int], comm: Any, add: Add, ranks: list[int]) -> None:
    """Chunk v of ranks[v] ← sum of all ranks' chunk v; a power of two of ranks."""
    v, low, half = ranks.index(comm.rank), 0, len(ranks) // 2
    begin = starts(lengths)
    arriving = empty_like(x)
    comm.phase = "reduce-scatter"
    while half > 0:  # chunks low … low + 2 half - 1 are still mine to sum
        partner = ranks[v ^ half]
        keep, give = (low + half, low) if v & half else (low, low + half)
        kept, given = (x[begin[i] : begin[i + half]] for i in (keep, give))
        partial = arriving[: len(kept)]
        comm.sendrecv(given, partner, partner, tag=give, recv_tag=keep, out=partial)
        add(kept, partial)
        low, half = keep, half // 2


def _halving_cost(lengths: list[int], p: int, r: int) -> Cost:
    rounds, n = len(lengths).bit_length() - 1, sum(lengths)
    v = 0 if is_folded(r, p) else core(p).index(r)
    path = n * (1 - 1 / len(lengths))
    return Cost(rounds, n - lengths[v], rounds, path, reduced=path)
