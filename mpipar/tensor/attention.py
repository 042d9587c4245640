"""Scaled dot-product attention (Vaswani et al. 2017), forward and backward in one operation."""

import math

from mpipar.arrays import xp
from mpipar.errors import ShapeError
from mpipar.tensor.broadcast import broadcast_shape, sum_to
from mpipar.tensor.checks import check_tensors
from mpipar.tensor.engine import Tensor


def attention(q: Tensor, k: Tensor, v: Tensor, causal: bool = False, scale: float | None = None) -> Tensor:
    """y = P v,  P = softmax(s q kᵀ) over the last dim;   causal: P[t,u] = 0 where u > t.

    dv = Pᵀ dy,   dS = P (dP - Σᵤ dP P) with dP = dy vᵀ,   dq = s dS k,   dk = s dSᵀ q
    shapes: q (…, T, d), k (…, U, d), v (…, U, e) -> (…, T, e); leading dims broadcast
    scale: s, 1/√d unless given
    cost: 2 T U (d + e) flops for each leading index, backward twice that; P is kept, T U values each
    errors: ShapeError for sizes that do not fit, and for causal with T ≠ U; DTypeError
    """
    check_tensors("attention", q, k, v)
    _check_shapes(q, k, v, causal)
    scale = 1 / math.sqrt(q.shape[-1]) if scale is None else scale
    p = q.data @ k.data.swapaxes(-1, -2)
    p *= scale
    if causal:
        later = xp.full(p.shape[-2:], -xp.inf, p.dtype)
        p += xp.triu(later, 1)
    p -= p.max(axis=-1, keepdims=True)
    xp.exp(p, out=p)
    p /= p.sum(axis=-1, keepdims=True)

    def vjp(dy):
        dq = dk = dv = None
        if v.requires_grad:
            dv = sum_to(p.swapaxes(-1, -2) @ dy, v.shape)
        if q.requires_grad or k.requires_grad:
            ds = dy @ v.data.swapaxes(-1, -2)
            ds -= (ds * p).sum(axis=-1, keepdims=True)
            ds *= p
            ds *= scale
            dq = sum_to(ds @ k.data, q.shape) if q.requires_grad else None
            dk = sum_to(ds.swapaxes(-1, -2) @ q.data, k.shape) if k.requires_grad else None
        return dq, dk, dv

    return Tensor(p @ v.data, (q, k, v), vjp)


def _check_shapes(q: Tensor, k: Tensor, v: Tensor, causal: bool) -> None:
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
    broadcast_shape("attention", broadcast_shape("attention", q.shape[:-2], k.shape[:-2]), v.shape[:-2])
