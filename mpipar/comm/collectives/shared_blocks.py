"""Reduce-scatter and allgather through shared memory: the halves of the allreduce of shared.py.

    2 ranks, a part           reduce-scatter, rank 0            allgather, rank 0
    write                     row 0 ← x of chunk 1              row 0 ← chunk 0
    meet
    read                      out ← chunk 0 of x + row 1        chunk 1 ← row 1

A rank's row has two places for a part, taken in turn: who writes to one again has met all who read
it. So there is one meeting a part, and one at the end, after which the rows are free. A few elements
go through the rows for few, whose turns are known (segment.py), with one meeting in all.

A rank:  reduce-scatter reads 2n, writes n + n/p;   allgather reads n, writes n elements
The sums are those of an algorithm with messages, in its order (orders.py). What is recorded, and
where this cannot be used: as in shared.py.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from mpipar.comm.collectives.chunks import part_lengths, starts
from mpipar.comm.collectives.cost import Cost, log2_ceil
from mpipar.comm.collectives.orders import Order, add_up
from mpipar.comm.collectives.reduction import Add
from mpipar.comm.collectives.segment import Segment
from mpipar.comm.collectives.shared import FEW, ROW, plan, shared_segment


def shared_reduce_scatter(
    x: Any,
    lengths: list[int],
    comm: Any,
    add: Add,
    out: Any = None,
    scale: float | None = None,
    *,
    order: Callable[[int], Order],
    instead: Callable[..., None],
) -> None:
    """out ← sum of all ranks' chunk r, or of scale times it. x is only read, but for chunk r where out is it.

    out: by default chunk r of x;   instead: what to do where there is no memory to share
    """
    begin = starts(lengths)
    mine = x[begin[comm.rank] : begin[comm.rank + 1]]
    out = mine if out is None else out
    if comm.size == 1:
        return
    segment = shared_segment(comm, "reduce_scatter", x)
    if segment is None:
        work = x.copy() if scale is None else np.multiply(x, scale, out=np.empty_like(x))
        instead(work, lengths, comm, add)
        out[...] = work[begin[comm.rank] : begin[comm.rank + 1]]
    elif x.size <= FEW:
        rows = segment.few(x.dtype)[segment.met & 1]
        _write(comm, rows[comm.rank][: x.size], x, scale)
        segment.meet(comm)
        parts = [row[begin[comm.rank] : begin[comm.rank + 1]] for row in rows]
        add_up(order(comm.size).trees[comm.rank], parts, add, out)
    else:
        _reduce_scatter_parts(x, out, lengths, comm, add, segment, order(comm.size), scale)


def _reduce_scatter_parts(
    x: np.ndarray, out: np.ndarray, lengths: list[int], comm: Any, add: Add, segment: Segment, sums: Order,
    scale: float | None,
) -> None:  # fmt: skip
    r, rows = comm.rank, segment.many(x.dtype)
    first = sum(lengths[:r])
    for stretches in plan(tuple(lengths), sums.owners, ROW // comm.size // 2):
        place = _place(segment, comm.size)
        for owner, begin, end in stretches:
            if owner != r:
                _write(comm, rows[r][owner][place][: end - begin], x[begin:end], scale)
        segment.meet(comm)
        _, begin, end = stretches[r]
        parts = [row[r][place][: end - begin] for row in rows]
        _write(comm, parts[r], x[begin:end], scale)
        add_up(sums.trees[r], parts, add, out[begin - first : end - first])
    segment.meet(comm)


def shared_allgather(x: Any, lengths: list[int], comm: Any, *, instead: Callable[..., None]) -> None:
    """Every chunk ← chunk r of rank r.   instead: what to do where there is no memory to share"""
    if comm.size == 1:
        return
    segment = shared_segment(comm, "allgather", x)
    if segment is None:
        instead(x, lengths, comm)
    elif x.size <= FEW:
        rows, begin = segment.few(x.dtype)[segment.met & 1], starts(lengths)
        chunks = [slice(begin[i], begin[i + 1]) for i in range(comm.size)]
        _write(comm, rows[comm.rank][chunks[comm.rank]], x[chunks[comm.rank]])
        segment.meet(comm)
        for owner, chunk in enumerate(chunks):
            if owner != comm.rank:
                comm.copy("out of shared memory", x[chunk], rows[owner][chunk])
    else:
        _allgather_parts(x, lengths, comm, segment)


def _allgather_parts(x: np.ndarray, lengths: list[int], comm: Any, segment: Segment) -> None:
    # of row r not part r, which a slow rank may still read after an allreduce
    p = comm.size
    rows = [row[(owner + 1) % p] for owner, row in enumerate(segment.many(x.dtype))]
    for stretches in plan(tuple(lengths), tuple(range(p)), ROW // p // 2):
        place = _place(segment, p)
        _, begin, end = stretches[comm.rank]
        _write(comm, rows[comm.rank][place][: end - begin], x[begin:end])
        segment.meet(comm)
        for owner, begin, end in stretches:
            if owner != comm.rank:
                comm.copy("out of shared memory", x[begin:end], rows[owner][place][: end - begin])
    segment.meet(comm)


def shared_blocks_cost(n: int, p: int, r: int = 0, root: int = 0) -> Cost:
    """Of the meetings as barriers; "set up" is not counted."""
    parts = len(plan(tuple(part_lengths(n, p)), tuple(range(p)), ROW // p // 2))
    rounds = (1 if n <= FEW else parts + 1) * log2_ceil(p)
    return Cost(rounds, 0, rounds, 0)


def _place(segment: Segment, p: int) -> slice:
    size = ROW // p // 2
    return slice(size * (segment.met & 1), size * (segment.met & 1) + size)


def _write(comm: Any, row: np.ndarray, x: np.ndarray, scale: float | None = None) -> None:
    if scale is None:
        comm.copy("into shared memory", row, x)
    else:
        np.multiply(x, scale, out=row)
