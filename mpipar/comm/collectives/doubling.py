"""Recursive doubling: after k rounds everybody knows what 2^k ranks know (Thakur, Rabenseifner &
Gropp, IJHPCA 19, 2005).

In round k rank v exchanges what it has with rank v XOR 2^k. In an allreduce that is a sum of
always n elements, in an allgather it is 2^k blocks. Other p than powers of two: see fold.py.

    p = 8     round 0: 0↔1 2↔3 4↔5 6↔7    round 1: 0↔2 1↔3 4↔6 5↔7    round 2: 0↔4 1↔5 2↔6 3↔7

n elements, a rank, P = 2^⌊log2 p⌋:     messages    elements sent     rounds
    allreduce, p = P                     log2 P       n log2 P        log2 P
    allgather, p = P                     log2 P       n(P-1)/P        log2 P
    p ≠ P: two rounds more; a folded rank sends 1 message, its neighbour log2 P + 1

Time of the allreduce: log2 p (alpha + n beta + n gamma), the best for small n. All ranks end
bitwise equal: partners add the same two numbers, with the lower rank's on the left.
"""

from typing import Any

from mpipar.arrays import empty_like
from mpipar.comm.collectives.chunks import cut, part_lengths, starts
from mpipar.comm.collectives.cost import Cost
from mpipar.comm.collectives.fold import core, fold, folding_cost, has_folded, is_folded, merged, unfold
from mpipar.comm.collectives.reduction import Add


def recursive_doubling_allreduce(x: Any, comm: Any, add: Add) -> None:
    """x ← sum of all ranks' x."""
    if fold(x, comm, add):
        _exchange_sums(x, comm, add, core(comm.size))
    unfold(x, comm)


def _exchange_sums(x: Any, comm: Any, add: Add, ranks: list[int]) -> None:
    v, distance = ranks.index(comm.rank), 1
    arriving = empty_like(x)
    comm.phase = "exchange"
    while distance < len(ranks):
        partner = ranks[v ^ distance]
        comm.sendrecv(x, partner, partner, out=arriving)
        if partner < comm.rank:
            add(arriving, x, out=x)
        else:
            add(x, arriving)
        distance *= 2


def recursive_doubling_allreduce_cost(n: int, p: int, r: int = 0, root: int = 0) -> Cost:
    rounds = p.bit_length() - 1
    return folding_cost(Cost(rounds, rounds * n, rounds, rounds * n, rounds * n), n, n, p, r)


def recursive_doubling_allgather(x: Any, lengths: list[int], comm: Any) -> None:
    """Every chunk ← chunk r of rank r."""
    p, r = comm.size, comm.rank
    chunks = cut(x, lengths)
    comm.phase = "fold"
    if is_folded(r, p):
        comm.send(chunks[r], r + 1, tag=r)
    else:
        if has_folded(r, p):
            comm.recv(chunks[r - 1], r - 1, tag=r - 1)
        doubling_allgather(x, merged(lengths), comm, core(p))
    unfold(x, comm)


def doubling_allgather(x: Any, lengths: list[int], comm: Any, ranks: list[int]) -> None:
    """Every chunk ← chunk v of ranks[v]; a power of two of ranks."""
    v, distance = ranks.index(comm.rank), 1
    begin = starts(lengths)
    comm.phase = "allgather"
    while distance < len(ranks):
        partner = ranks[v ^ distance]
        mine = v - v % distance  # chunks mine … mine + distance - 1 are here already
        theirs = mine ^ distance
        have = x[begin[mine] : begin[mine + distance]]
        lack = x[begin[theirs] : begin[theirs + distance]]
        comm.sendrecv(have, partner, partner, tag=mine, recv_tag=theirs, out=lack)
        distance *= 2


def recursive_doubling_allgather_cost(n: int, p: int, r: int = 0, root: int = 0) -> Cost:
    lengths = part_lengths(n, p)
    return folding_cost(doubling_cost(merged(lengths), p, r), lengths[r], n, p, r, adds=False)


def doubling_cost(lengths: list[int], p: int, r: int) -> Cost:
    """Of `doubling_allgather` on the core of p ranks."""
    rounds, begin = len(lengths).bit_length() - 1, starts(lengths)
    v = 0 if is_folded(r, p) else core(p).index(r)
    low = [v - v % (1 << k) for k in range(rounds)]
    sent = sum(begin[low[k] + (1 << k)] - begin[low[k]] for k in range(rounds))
    return Cost(rounds, sent, rounds, begin[-1] * (1 - 1 / len(lengths)))
