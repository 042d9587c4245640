"""Scaled dot-product attention (Vaswani et al. 2017), forward and backward in one operation.

No score outlives its block (FlashAttention, Dao et al. 2022): of a block of queries only the logarithm
of its sums is kept, and backward computes its scores anew. So they stay in the processor's cache, and
with causal=True keys behind a block's last query are never touched. attention_device.py does the same
on a GPU, in larger blocks.
"""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from mpipar.arrays import kernel_on_device, xp
from mpipar.errors import ShapeError
from mpipar.tensor import attention_device
from mpipar.tensor.broadcast import broadcast_shape, sum_to
from mpipar.tensor.checks import check_tensors
from mpipar.tensor.engine import Tensor

QUERIES, SCORES = 64, 1 << 17


def attention(q: Tensor, k: Tensor, v: Tensor, causal: bool = False, scale: float | None = None) -> Tensor:
    """y = P v,  P = exp(S - l),  S = s q kᵀ,  l = ln Σᵤ exp S;   causal: P[t,u] = 0 where u > t.

    dv = Pᵀ dy,   dS = P (dP - Σ dy y) with dP = dy vᵀ,   dq = s dS k,   dk = s dSᵀ q
    shapes: q (…, T, d), k (…, U, d), v (…, U, e) -> (…, T, e); leading dims broadcast
    scale: s, 1/√d unless given
    cost: 2 T U (d + e) flops for each leading index, backward 2.5 times that; causal, from 2 blocks on,
      little more than half. y and l are kept, on a device l's two parts; no T × U array
    errors: ShapeError for sizes that do not fit, and for causal with T ≠ U; DTypeError
    """
    check_tensors("attention", q, k, v)
    lead = _check_shapes(q, k, v, causal)
    scale = 1 / math.sqrt(q.shape[-1]) if scale is None else scale
    full = lead or (1,)
    a, b, c = (xp.broadcast_to(x.data, (*full, *x.shape[-2:])) for x in (q, k, v))
    y, kept = attend(a, b, c, causal, scale)

    def vjp(dy):
        found = zip((q, k, v), attend_backward(dy.reshape(y.shape), *kept), strict=True)
        return tuple(
            sum_to(g.reshape(*lead, *g.shape[-2:]), x.shape) if x.requires_grad else None for x, g in found
        )

    return Tensor(y.reshape(*lead, *y.shape[-2:]), (q, k, v), vjp)


@kernel_on_device(attention_device.forward)
def attend(q: Any, k: Any, v: Any, causal: bool, scale: float) -> tuple[Any, tuple[Any, ...]]:
    """y, and what attend_backward needs, of arrays with equal leading dims."""
    lead, t = q.shape[:-2], q.shape[-2]
    later = _later(min(t, QUERIES), q) if causal else None
    y, sums = _rows(lead, t, v.shape[-1], q), xp.empty((*lead, t, 1), q.dtype)
    small = _are_small(q, k, scale)
    for at, seen in _blocks(lead, t, k.shape[-2], causal):
        p = _scores(q[at] * scale, k[seen], later)
        top = 0 if small else p.max(axis=-1, keepdims=True)
        xp.exp(p if small else xp.subtract(p, top, out=p), out=p)
        total = _sum(p)
        xp.divide(p @ v[seen], total, out=y[at])
        sums[at] = top + xp.log(total)
    return y, (q, k, v, causal, scale, later, y, sums)


@kernel_on_device(attention_device.backward)
def attend_backward(dy, q, k, v, causal, scale, later, y, sums):
    """dq, dk, dv."""
    dq, dk, dv = (_rows(x.shape[:-2], *x.shape[-2:], x) for x in (q, k, v))
    dk.fill(0)
    dv.fill(0)
    for at, seen in _blocks(q.shape[:-2], q.shape[-2], k.shape[-2], causal):
        scaled, g = q[at] * scale, dy[at]
        p = _scores(scaled, k[seen], later)
        p -= sums[at]
        xp.exp(p, out=p)
        dv[seen] += p.swapaxes(-1, -2) @ g
        ds = g @ v[seen].swapaxes(-1, -2)
        ds -= _sum(g * y[at])
        ds *= p
        xp.multiply(ds @ k[seen], scale, out=dq[at])
        dk[seen] += ds.swapaxes(-1, -2) @ scaled
    return dq, dk, dv


def _scores(q: Any, k: Any, later: Any) -> Any:
    """q kᵀ; later: -∞ above the diagonal, added where queries and keys have the same positions, or None."""
    s = q @ k.swapaxes(-1, -2)
    if later is not None:
        t = s.shape[-2]
        s[..., s.shape[-1] - t :] += later[:t, :t]
    return s


def _sum(x: Any) -> Any:
    """Over the last dim, kept; in a third of the time of .sum()."""
    return (x @ xp.ones(x.shape[-1], x.dtype))[..., None]


def _are_small(q: Any, k: Any, scale: float) -> bool:
    """Whether exp S cannot overflow, so that the maximum, which takes as long as S, need not be found.

    |S| ≤ s max ‖q‖ max ‖k‖ (Cauchy-Schwarz), and Σ exp S is to be below the root of the largest number, so
    that Σ exp S v does not overflow either for |v| below 1e19, nor lose digits for |v| above 1e-19; not
    in float16, whose root is 256.
    """
    if q.dtype.itemsize < 4 or q.shape[-2] < q.shape[-1]:  # of few queries the norms would take longer
        return False
    with np.errstate(over="ignore"):
        largest = [math.sqrt(_sum(x * x).max(initial=0)) for x in (q, k)]
    return abs(scale) * math.prod(largest) < math.log(xp.finfo(q.dtype).max) / 2 - math.log(k.shape[-2] or 1)


def _later(t: int, like: Any) -> Any:
    """-∞ above the diagonal of (t, t), else 0."""
    return xp.triu(xp.full((t, t), -xp.inf, like.dtype), 1)


def _blocks(lead: tuple[int, ...], t: int, u: int, causal: bool) -> Iterator[tuple[Any, Any]]:
    """(index of queries, index of the keys they see), the parts of one block."""
    heads = max(1, SCORES // max(1, min(t, QUERIES) * u))
    for outer in np.ndindex(lead[:-1]):
        for first in range(0, lead[-1], heads):
            some = (*outer, slice(first, first + heads))
            for start in range(0, t, QUERIES):
                stop = min(start + QUERIES, t)
                yield (*some, slice(start, stop)), (*some, slice(0, stop if causal else u))


def _rows(lead: tuple[int, ...], t: int, width: int, like: Any) -> Any:
    """Empty (…, heads, t, width) with all heads of a row side by side, as the layers around want them."""
    return xp.empty((*lead[:-1], t, lead[-1], width), like.dtype).swapaxes(-3, -2)


def _check_shapes(q: Tensor, k: Tensor, v: Tensor, causal: bool) -> tuple[int, ...]:
    """The leading dims."""
    shapes = f"q {q.shape}, k {k.shape}, v {v.shape}"
    if min(q.ndim, k.ndim, v.ndim) < 2:
        raise ShapeError(f"attention: {shapes}; give each two dims or more, (…, positions, width)")
    if q.shape[-1] != k.shape[-1] or k.shape[-2] != v.shape[-2] or 0 in (*q.shape[-1:], *k.shape[-2:-1]):
        raise ShapeError(
            f"attention: {shapes} do not fit; q and k share the width, k and v the number of positions"
        )
    if causal and q.shape[-2] != k.shape[-2]:
        raise ShapeError(
            f"attention: causal with {q.shape[-2]} queries and {k.shape[-2]} keys; make them equal, for "
            "which query stands beside which key is not said"
        )
    return broadcast_shape(
        "attention", broadcast_shape("attention", q.shape[:-2], k.shape[:-2]), v.shape[:-2]
    )
