"""In which order an algorithm adds up the ranks' parts.

Floating-point sums depend on the order: (a + b) + c is not a + (b + c). Which order an algorithm
takes follows from its messages, and can be written as a tree: a rank, or a pair of trees, the left
one `mine` and the right one `theirs` where they are added. Whoever evaluates the tree gets the
algorithm's own result bit by bit, however the numbers came to him.

    4 ranks                 chunk 0                   chunk 1                   chunk 2, …
    recursive doubling      ((0 1) (2 3))             the same                  the same
    ring                    (0 (3 (2 1)))             (1 (0 (3 2)))             (2 (1 (0 3)))
    rabenseifner            ((0 2) (1 3))             ((1 3) (0 2))             ((2 0) (3 1))
"""

from functools import lru_cache, reduce
from typing import Any, NamedTuple

import numpy as np

from mpipar.comm.collectives.fold import core, has_folded, is_folded
from mpipar.comm.collectives.reduction import Add

Tree = int | tuple["Tree", "Tree"]


class Order(NamedTuple):
    """Chunk i of x, of len(trees), is summed as trees[i]; owners[i] is the rank that does it."""

    owners: tuple[int, ...]
    trees: list[Tree]
    alike: bool = False  # all trees are the same one, so that the cut into chunks does not matter


@lru_cache
def by_rank(p: int) -> Order:
    """((0 1) 2) …: one rank after the other."""
    return Order(tuple(range(p)), [reduce(lambda tree, rank: (tree, rank), range(p))] * p, alike=True)


@lru_cache
def recursive_doubling(p: int) -> Order:
    """The lower rank's sum on the left."""
    level = _folded(p)
    while len(level) > 1:
        level = [(level[i], level[i + 1]) for i in range(0, len(level), 2)]
    return Order(tuple(range(p)), level * p, alike=True)


@lru_cache
def ring(p: int) -> Order:
    """Chunk c sets out from rank c + 1, and every rank that it visits adds it to its own."""
    visits = [[(c + k) % p for k in range(1, p + 1)] for c in range(p)]
    return Order(tuple(range(p)), [reduce(lambda tree, rank: (rank, tree), ranks) for ranks in visits])


@lru_cache
def rabenseifner(p: int) -> Order:
    """Core rank v adds what rank v XOR P/2 has to its own, then v XOR P/4, … v XOR 1."""
    level = _folded(p)
    distance = len(level) // 2
    while distance:
        level = [(level[v], level[v ^ distance]) for v in range(len(level))]
        distance //= 2
    return Order(tuple(core(p)), level)


@lru_cache
def recursive_halving(p: int) -> Order:
    """As rabenseifner, but every rank has a chunk; a folded one's is summed as its neighbour sums."""
    ranks, trees = core(p), rabenseifner(p).trees
    summed_by = [r + 1 if is_folded(r, p) else r for r in range(p)]
    return Order(tuple(range(p)), [trees[ranks.index(r)] for r in summed_by])


def _folded(p: int) -> list[Tree]:
    """What each rank of the core begins with: its own, or a folded neighbour's and its own."""
    return [(r - 1, r) if has_folded(r, p) else r for r in core(p)]


def additions(tree: Tree, parts: list[Any], out: Any) -> list[tuple[Any, Any, Any]]:
    """[(mine, theirs, where to), …]: one after the other they leave the sum of the tree's parts in `out`.

    tree: of two ranks or more;   out: shares no memory with a part
    """
    left, right = tree
    is_one, is_other = isinstance(left, int), isinstance(right, int)
    mine = parts[left] if is_one else out
    theirs = parts[right] if is_other else out if is_one else np.empty_like(parts[0])
    first = [] if is_one else additions(left, parts, out)
    second = [] if is_other else additions(right, parts, theirs)
    return [*first, *second, (mine, theirs, out)]


def add_up(tree: Tree, parts: list[Any], add: Add, out: Any) -> None:
    """out ← the sum of the tree's parts.   tree, out: as in additions"""
    for mine, theirs, into in additions(tree, parts, out):
        add(mine, theirs, into)
