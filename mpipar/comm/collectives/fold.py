"""What algorithms that need a power of two do on other numbers of ranks (Rabenseifner & Träff,
EuroPVM/MPI 2004).

Let P be the largest power of two ≤ p, and e = p - P. Of the first 2e ranks each even one hands
its data to the odd one after it and waits ("folds"), so that P ranks are left: 1, 3, … 2e-1 and
2e … p-1. When these are done, the odd ones hand the result back.

    p = 6, P = 4, e = 2      0→1   2→3   then 1 3 4 5 among themselves   then 1→0   3→2

That is two rounds and two times the data more, and it is why 2^k ranks are the kindest number.
"""

from typing import Any

from mpipar.arrays import empty_like
from mpipar.comm.collectives.cost import Cost
from mpipar.comm.collectives.reduction import Add


def surplus(p: int) -> int:
    """e: how many ranks there are beyond a power of two."""
    return p - (1 << (p.bit_length() - 1))


def core(p: int) -> list[int]:
    """The ranks that are left, in order: a power of two of them."""
    folded = surplus(p)
    return [*range(1, 2 * folded, 2), *range(2 * folded, p)]


def is_folded(r: int, p: int) -> bool:
    """Whether rank r hands its data to rank r + 1 and waits."""
    return r % 2 == 0 and r < 2 * surplus(p)


def has_folded(r: int, p: int) -> bool:
    """Whether rank r has the data of rank r - 1 too."""
    return r % 2 == 1 and r < 2 * surplus(p)


def merged(lengths: list[int]) -> list[int]:
    """Lengths of the stretches that the core's ranks answer for: their own block and a folded
    neighbour's, which lies before it."""
    p = len(lengths)
    return [lengths[r] + (lengths[r - 1] if has_folded(r, p) else 0) for r in core(p)]


def fold(x: Any, comm: Any, add: Add) -> bool:
    """Odd neighbours' x ← the pair's sum.   returns: whether this rank is of the core"""
    p, r = comm.size, comm.rank
    comm.phase = "fold"
    if is_folded(r, p):
        comm.send(x, r + 1)
        return False
    if has_folded(r, p):
        arriving = comm.recv(empty_like(x), r - 1, tag=0)
        add(arriving, x, out=x)
    return True


def unfold(x: Any, comm: Any) -> None:
    """Folded ranks' x ← the odd neighbour's."""
    p, r = comm.size, comm.rank
    comm.phase = "unfold"
    if is_folded(r, p):
        comm.recv(x, r + 1, tag=0)
    elif has_folded(r, p):
        comm.send(x, r - 1)


def folding_cost(inner: Cost, there: int, back: int, p: int, r: int, adds: bool = True) -> Cost:
    """inner, the cost on the core, with `there` elements handed over before and `back` after it."""
    if surplus(p) == 0:
        return inner
    messages, sent = inner.messages, inner.sent
    if is_folded(r, p):
        messages, sent = 1, there
    elif has_folded(r, p):
        messages, sent = messages + 1, sent + back
    path, reduced = inner.path + there + back, inner.reduced + adds * there
    return Cost(messages, sent, inner.rounds + 2, path, reduced)
