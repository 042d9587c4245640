"""Scan: rank r gets the sum over ranks 0 … r (Hillis & Steele, CACM 29, 1986, for the doubling).

Linear: the running sum is passed from rank to rank. Recursive doubling: in the round of distance
d rank r sends the sum of the d ranks up to itself to rank r+d and adds what rank r-d sends to
the left of its own. More messages in all, but in ⌈log2 p⌉ rounds.

    p = 4     d = 1: 0→1 1→2 2→3     d = 2: 0→2 1→3

n elements:                      messages of rank r            rounds
    linear                       1, the last rank 0            p-1
    recursive doubling           ⌈log2(p-r)⌉                   ⌈log2 p⌉

Each message carries n elements.   Time: rounds (alpha + n beta + n gamma). The ranks of a sum are
in order in both, but associated differently, so the two may differ by rounding.
"""

from typing import Any

from mpipar.arrays import empty_like
from mpipar.comm.collectives.cost import Cost, log2_ceil
from mpipar.comm.collectives.reduction import Add


def linear_scan(x: Any, comm: Any, add: Add) -> None:
    """x ← sum of x over ranks 0 … r."""
    p, r = comm.size, comm.rank
    comm.phase = "scan"
    if r > 0:
        arriving = comm.recv(empty_like(x), r - 1, tag=0)
        add(arriving, x, out=x)
    if r + 1 < p:
        comm.send(x, r + 1)


def linear_scan_cost(n: int, p: int, r: int = 0, root: int = 0) -> Cost:
    passes_on = int(r + 1 < p)
    return Cost(passes_on, passes_on * n, p - 1, (p - 1) * n, reduced=(p - 1) * n)


def recursive_doubling_scan(x: Any, comm: Any, add: Add) -> None:
    """x ← sum of x over ranks 0 … r."""
    p, r = comm.size, comm.rank
    arriving = empty_like(x)
    comm.phase = "scan"
    d = 1
    while d < p:
        if d <= r < p - d:
            comm.sendrecv(x, r + d, r - d, out=arriving)
        elif r < p - d:
            comm.send(x, r + d)
        elif d <= r:
            comm.recv(arriving, r - d, tag=0)
        if d <= r:
            add(arriving, x, out=x)
        d *= 2


def recursive_doubling_scan_cost(n: int, p: int, r: int = 0, root: int = 0) -> Cost:
    messages, rounds = log2_ceil(p - r), log2_ceil(p)
    return Cost(messages, messages * n, rounds, rounds * n, reduced=rounds * n)
