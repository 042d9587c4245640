"""Allreduce through shared memory: on one host the ranks need not send their arrays at all.

All ranks map one file (segment.py). x is cut into chunks, one a rank, and each chunk into parts that
stay in the cache. For each part, rank r writes what the others are to add up into its own row (1),
waits until all have (2), adds up its own part of all rows (3), waits again (4), and copies the
others' sums (5). A few elements are added up by every rank itself, which saves (4) and (5).

    2 ranks, a part                rank 0                       rank 1
    (1)                            row 0 ← x of chunk 1         row 1 ← x of chunk 0
    (3)                            row 0 ← x + row 1, chunk 0   row 1 ← row 0 + x, chunk 1
    (5)                            chunk 1 ← row 1              chunk 0 ← row 0

A rank:  reads 3n and writes 3n elements at most, in the cache all but the first n and the last n
time:    2n·(memory's s an element) + 2 S meetings, S = ⌈chunk / part⌉

What is a message and what is not: (2) and (4) are meetings; where messages are recorded, or looking
at memory is no way to wait, they are barriers of 2 ⌈log2 p⌉ messages of 0 bytes a part. The bytes
of (1), (3) and (5) pass through memory, and a trace has them as copies. So `auto` takes it only
where nobody looks at hops: no trace, all ranks on one host. There its sums are those of the algorithm
that `auto` takes else, in the same order (orders.py), so that recording a run does not change its
numbers. `shared` itself adds in the order of ranks.

All ranks end bitwise equal, because each element is summed by one rank, or by all in one order. A
second part may be written (1) while a slow rank still copies (5): that reads of row r the part of
chunk r alone, which nobody writes before all have met once more. Virtual ranks share a process, so there it
works as well, but their clock does not count the copies.
errors: OptionError where the ranks are on several nodes, x is on a GPU, or memory is short
"""

from collections.abc import Callable
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np

from mpipar.comm.collectives.chunks import part_lengths, starts
from mpipar.comm.collectives.cost import Cost, log2_ceil
from mpipar.comm.collectives.few import Few
from mpipar.comm.collectives.orders import Order, add_up, by_rank
from mpipar.comm.collectives.reduction import Add
from mpipar.comm.collectives.segment import Segment, map_segment
from mpipar.errors import OptionError

FEW = 8192  # elements that every rank adds up itself
ROW = 262144  # elements: 1 MiB of float32, in p parts; there are p rows

Algorithm = Callable[[Any, Any, Add], None]


def shared_allreduce(
    x: Any,
    comm: Any,
    add: Add,
    scale: float | None = None,
    *,
    order: Callable[[int], Order] = by_rank,
    instead: Algorithm | None = None,
) -> None:
    """x ← sum of all ranks' x, or of scale·x.   instead: what to do where there is no memory to share"""
    if comm.size == 1:
        return
    segment = shared_segment(comm, "allreduce", x)
    sums = order(comm.size)
    if segment is None and instead is None:
        raise OptionError("allreduce: no room for memory that the ranks share; use algorithm='ring'")
    at_once = x.size <= FEW and sums.alike
    if scale is not None and (segment is None or at_once):
        x *= scale
    if segment is None:
        instead(x, comm, add)
    elif at_once:
        _at_once(x, comm, add, segment, sums)
    else:
        _in_parts(x, comm, add, segment, sums, scale)


def shared_again(x: np.ndarray, comm: Any, add: Add, order: Callable[[int], Order] = by_rank) -> Few | None:
    """What does it for more arrays like x, after a first call; None where the first way is as good."""
    segment, sums = comm.kept.get("shared"), order(comm.size)
    if segment is None or comm.until is None or x.size > FEW or not sums.alike:
        return None
    return Few(segment, comm.rank, x.shape, x.dtype, sums.trees[0], add.on_host, comm.until)


def _at_once(x: np.ndarray, comm: Any, add: Add, segment: Segment, sums: Order) -> None:
    rows = [row[: x.size] for row in segment.few(x.dtype)[segment.met & 1]]
    comm.copy("into shared memory", rows[comm.rank], x)
    segment.meet(comm)
    add_up(sums.trees[0], rows, add, x)


def _in_parts(x: np.ndarray, comm: Any, add: Add, segment: Segment, sums: Order, scale: float | None) -> None:
    r, rows = comm.rank, segment.many(x.dtype)
    tree = sums.trees[sums.owners.index(r)] if r in sums.owners else None
    for stretches in _plan(x.size, comm.size, sums):
        for owner, begin, end in stretches:
            part = x[begin:end]
            if owner != r and scale is None:
                comm.copy("into shared memory", rows[r][owner][: end - begin], part)
            elif scale is not None:
                np.multiply(part, scale, out=part if owner == r else rows[r][owner][: end - begin])
        segment.meet(comm)
        for owner, begin, end in stretches:
            if owner == r:
                mine, summed = x[begin:end], rows[r][r][: end - begin]
                given = [mine if rank == r else row[r][: end - begin] for rank, row in enumerate(rows)]
                add_up(tree, given, add, summed)
                comm.copy("out of shared memory", mine, summed)
        segment.meet(comm)
        for owner, begin, end in stretches:
            if owner != r:
                comm.copy("out of shared memory", x[begin:end], rows[owner][owner][: end - begin])


def _plan(n: int, p: int, sums: Order) -> list[list[tuple[int, int, int]]]:
    return plan(tuple(part_lengths(n, len(sums.owners))), sums.owners, ROW // p)


@lru_cache(maxsize=64)
def plan(lengths: tuple[int, ...], owners: tuple[int, ...], size: int) -> list[list[tuple[int, int, int]]]:
    """For each round: [(the owner of a chunk, where in x its part begins, where it ends), …]

    size: elements of a part
    """
    chunks = list(zip(owners, pairwise(starts(list(lengths))), strict=True))
    return [
        [(owner, min(first + k, last), min(first + k + size, last)) for owner, (first, last) in chunks]
        for k in range(0, max(1, *lengths), size)
    ]


def shared_allreduce_cost(
    n: int, p: int, r: int = 0, root: int = 0, order: Callable[[int], Order] = by_rank
) -> Cost:
    """Of the meetings as barriers; "set up" is not counted."""
    sums = order(p)
    meetings = 1 if n <= FEW and sums.alike else 2 * len(_plan(n, p, sums))
    rounds = meetings * log2_ceil(p)
    return Cost(rounds, 0, rounds, 0)


def shared_segment(comm: Any, operation: str, x: Any) -> Segment | None:
    """The ranks' segment, made at the first use; None where there is no room for it.

    errors: OptionError where x is on a GPU, or the ranks are on several nodes
    """
    if not isinstance(x, np.ndarray):
        raise OptionError(
            f"{operation}: algorithm='shared…' is for host arrays, this one is on a GPU; use 'ring'"
        )
    if "shared" not in comm.kept:
        if len(set(comm.nodes)) > 1:
            raise OptionError(
                f"{operation}: algorithm='shared…' needs all ranks on one node; use 'ring' or 'hierarchical'"
            )
        comm.kept["shared"] = map_segment(comm, FEW, ROW // comm.size)
    return comm.kept["shared"]
