"""Attention on a device: the formulas of attention.py, of which a launch computes as much as it can.

l = top + ln total, the maximum of a row and the sum of exp(S - top), of which both are kept. Backward
takes Σᵤ P dP for Σ dy y, which it is because y = P v and dP = dy vᵀ; so y is not kept.

Scores pass through the device's memory, so they are bounded, whatever the batch: a block is as many heads
as have 256 MiB of them, in backward twice that. With causal=True it is 256 queries of these heads, and
the keys behind them are left out.
"""

import math
from collections.abc import Iterator
from typing import Any

from mpipar.arrays import Rows, batched_product, xp

QUERIES, SCORES = 256, 256 << 20  # queries; bytes

# exp(s - (top + ln total)) would be less exact where scores are large, and P (dP - Σ P dP) with it
_SEEN = "T seen = j > i % queries + behind ? -INFINITY : s;"
attend = Rows(
    "attend",
    "T s, scalar int64 queries, scalar int64 behind",
    "T p, row T top, row T total",
    given=_SEEN,
    row="top = row_max(seen); total = row_sum(exp(seen - top));",
    each="p = exp(seen - top) / total;",
)
attend_backward = Rows(
    "attend_backward",
    "T s, scalar int64 queries, scalar int64 behind, T dp, row T top, row T total",
    "T p, T ds",
    given=_SEEN,
    row="T mean = row_sum(exp(seen - top) * dp) / total;",
    each="p = exp(seen - top) / total; ds = p * (dp - mean);",
)


def forward(q: Any, k: Any, v: Any, causal: bool, scale: float) -> tuple[Any, tuple[Any, ...]]:
    """y, and what backward needs.   cost: 3 launches a block, and before these 3 for heads in a row"""
    lead = q.shape[:-2]
    q, k, v = (_heads(x) for x in (q, k, v))
    y, sums = xp.empty((*q.shape[:2], v.shape[2]), q.dtype), []
    for heads, queries, seen, behind in _blocks(q, k, causal):
        p = _scores(q[heads, queries], k[heads, seen], scale)
        top, total = (xp.empty(p.shape[:2], p.dtype) for _ in range(2))
        attend(p, p.shape[1], behind, p, top, total)
        batched_product(p, v[heads, seen], y[heads, queries])
        sums.append((top, total))
    return y.reshape(*lead, *y.shape[1:]), (q, k, v, causal, scale, sums)


def backward(
    dy: Any, q: Any, k: Any, v: Any, causal: bool, scale: float, sums: list[tuple[Any, Any]]
) -> list[Any]:
    """dq, dk, dv.   cost: 6 launches a block"""
    lead, dy = dy.shape[:-2], _heads(dy)
    dq, dk, dv = ((xp.empty_like if dy.size else xp.zeros_like)(x) for x in (q, k, v))
    for (heads, queries, seen, behind), of_rows in zip(_blocks(q, k, causal), sums, strict=True):
        mine, keys = (heads, queries), (heads, seen)
        p = _scores(q[mine], k[keys], scale)
        ds = _scores(dy[mine], v[keys], 1.0)
        attend_backward(p, p.shape[1], behind, ds, *of_rows, p, ds)
        add = queries.stop < q.shape[1]  # the last queries, which see all keys, came first
        batched_product(p.swapaxes(1, 2), dy[mine], dv[keys], add=add)
        batched_product(ds, k[keys], dq[mine], scale)
        batched_product(ds.swapaxes(1, 2), q[mine], dk[keys], scale, add)
    return [x.reshape(*lead, *x.shape[1:]) for x in (dq, dk, dv)]


def _heads(x: Any) -> Any:
    """(…, T, d) -> (heads, T, d), contiguous."""
    return xp.ascontiguousarray(x).reshape(math.prod(x.shape[:-2]), *x.shape[-2:])


def _scores(q: Any, k: Any, scale: float) -> Any:
    """scale q kᵀ"""
    return batched_product(q, k.swapaxes(1, 2), xp.empty((*q.shape[:2], k.shape[1]), q.dtype), scale)


def _blocks(q: Any, k: Any, causal: bool) -> Iterator[tuple[slice, slice, slice, int]]:
    """(heads, queries, keys that they see, how far behind the first query its keys reach); of some heads the
    last queries first"""
    (heads, t, _), u = q.shape, k.shape[1]
    most = max(1, SCORES // max(1, u * q.itemsize))
    rows = min(t, most, QUERIES if causal else t)
    some = max(1, most // max(1, rows))
    for head in range(0, heads, some):
        for start in reversed(range(0, t, rows or 1)):
            stop = min(start + rows, t)
            seen, behind = (stop, start) if causal else (u, u)
            yield slice(head, head + some), slice(start, stop), slice(seen), behind
