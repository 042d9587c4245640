"""Attention of q, k and v that one product made, side by side."""

import math
from typing import Any

from mpipar.arrays import xp
from mpipar.errors import ShapeError
from mpipar.tensor.attention import attend, attend_backward
from mpipar.tensor.checks import check_tensors
from mpipar.tensor.engine import Tensor


def self_attention(x: Tensor, heads: int, causal: bool = False, scale: float | None = None) -> Tensor:
    """attention of every head's q, k and v, x = (q | k | v) and q = (q₁ | … | q_heads), heads joined again.

    shapes: x (N, T, 3 heads d) -> (N, T, heads d);   scale: 1/√d unless given
    cost: as attention; dq, dk and dv are written into one array, so that one product makes of it what
      would take three
    errors: ShapeError, DTypeError
    """
    check_tensors("self_attention", x)
    if x.ndim != 3 or not heads or x.shape[2] % (3 * heads) or not x.shape[2]:
        raise ShapeError(f"self_attention: x {x.shape} for {heads} heads; give it (N, T, 3 · heads · width)")
    parts = _by_head(x.data, heads)
    scale = 1 / math.sqrt(parts.shape[-1]) if scale is None else scale
    y, kept = attend(parts[0], parts[1], parts[2], causal, scale)

    def vjp(dy):
        dy = dy.reshape(*x.shape[:2], heads, parts.shape[-1]).swapaxes(1, 2)
        dx = xp.empty(x.shape, x.dtype)
        into = _by_head(dx, heads)
        for which, gradient in enumerate(attend_backward(dy, *kept)):
            into[which] = gradient
        return (dx,)

    return Tensor(y.swapaxes(1, 2).reshape(*x.shape[:2], x.shape[2] // 3), (x,), vjp)


def _by_head(x: Any, heads: int) -> Any:
    """A view (3, N, heads, T, d) of x (N, T, 3 heads d)."""
    return x.reshape(*x.shape[:2], 3, heads, x.shape[2] // (3 * heads)).transpose(2, 0, 3, 1, 4)
