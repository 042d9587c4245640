"""Reductions over some dims, or over all.

dim: None for all dims, an int, or several; keepdims leaves the reduced dims with size 1.
N below: how many values become one.
errors: ShapeError for a dim that is not there, DTypeError for bool
"""

import math
from typing import Any

from mpipar.arrays import xp
from mpipar.errors import ShapeError
from mpipar.tensor.checks import check_dims, check_tensors
from mpipar.tensor.engine import Tensor


def sum(x: Tensor, dim: Any = None, keepdims: bool = False) -> Tensor:
    """y = Σ x;   dx = dy, repeated (a view)."""
    check_tensors("sum", x, kinds="fiu")
    dims = check_dims("sum", x.ndim, dim)
    shape, kept = x.shape, _kept(x.shape, dims)
    y = x.data.sum(axis=dims or None, keepdims=keepdims)
    return Tensor(y, (x,), lambda dy: (xp.broadcast_to(dy.reshape(kept), shape),))


def mean(x: Tensor, dim: Any = None, keepdims: bool = False) -> Tensor:
    """y = Σ x / N;   dx = dy / N, repeated (a view)."""
    check_tensors("mean", x)
    dims = check_dims("mean", x.ndim, dim)
    shape, kept = x.shape, _kept(x.shape, dims)
    n = _count("mean", shape, dims)
    y = x.data.mean(axis=dims or None, keepdims=keepdims)
    return Tensor(y, (x,), lambda dy: (xp.broadcast_to((dy / n).reshape(kept), shape),))


def max(x: Tensor, dim: Any = None, keepdims: bool = False) -> Tensor:
    """y = max x;   dx = dy / k at the k places where x = y, else 0 (as torch.amax)."""
    check_tensors("max", x, kinds="fiu")
    dims = check_dims("max", x.ndim, dim)
    _count("max", x.shape, dims)
    kept = _kept(x.shape, dims)
    y = xp.asarray(x.data.max(axis=dims or None, keepdims=keepdims))

    def vjp(dy):
        winners = x.data == y.reshape(kept)
        share = dy.reshape(kept) / winners.sum(axis=dims or None, keepdims=True, dtype=dy.dtype)
        return (winners * share,)

    return Tensor(y, (x,), vjp)


def var(x: Tensor, dim: Any = None, correction: int = 1, keepdims: bool = False) -> Tensor:
    """y = Σ (x - μ)² / (N - c) with μ = Σ x / N;   dx = 2 (x - μ) / (N - c) dy.

    correction: c; 1 estimates the variance behind a sample (Bessel), 0 is the sample's own
    errors: ShapeError where N ≤ c
    """
    check_tensors("var", x)
    dims = check_dims("var", x.ndim, dim)
    kept = _kept(x.shape, dims)
    n = _count("var", x.shape, dims) - correction
    if n <= 0:
        raise ShapeError(
            f"var: correction {correction} for {n + correction} values a result; "
            "use correction=0, or more values"
        )
    mean = x.data.mean(axis=dims or None, keepdims=True)
    centred = x.data - mean
    y = (centred * centred).sum(axis=dims or None, keepdims=keepdims) / n
    return Tensor(y, (x,), lambda dy: ((x.data - mean) * (dy * (2 / n)).reshape(kept),))


def _kept(shape: tuple[int, ...], dims: tuple[int, ...]) -> tuple[int, ...]:
    """shape with size 1 in the reduced dims."""
    return tuple(1 if i in dims else n for i, n in enumerate(shape))


def _count(op: str, shape: tuple[int, ...], dims: tuple[int, ...]) -> int:
    n = math.prod(shape[d] for d in dims)
    if n == 0:
        raise ShapeError(f"{op} of no values: shape {shape} over dims {dims}; skip the empty tensor")
    return n
