"""Joining tensors along a dim, and padding. Their gradients cut dy apart again."""

from collections.abc import Sequence
from typing import Any

from mpipar.arrays import xp
from mpipar.errors import ShapeError
from mpipar.tensor.checks import check_dim, check_shape, check_tensors
from mpipar.tensor.engine import Tensor


def concat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """y = the tensors one after another along dim;   each gets its part of dy, a view.

    shapes: equal but for dim   errors: ShapeError else; DTypeError for two dtypes
    """
    parts = _several("concat", tensors)
    dim = check_dim("concat", parts[0].ndim, dim)
    first = parts[0].shape
    for x in parts:
        if x.ndim != len(first) or x.shape[:dim] + x.shape[dim + 1 :] != first[:dim] + first[dim + 1 :]:
            raise ShapeError(
                f"concat: shapes {first} and {x.shape} differ outside dim {dim}; reshape or pad one of them"
            )

    def vjp(dy):
        cuts, start = [], 0
        for x in parts:
            cuts.append(dy[(slice(None),) * dim + (slice(start, start + x.shape[dim]),)])
            start += x.shape[dim]
        return tuple(cuts)

    return Tensor(xp.concatenate([x.data for x in parts], axis=dim), parts, vjp)


def stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """y[…, i, …] = tensors[i], i along a new dim;   dtensors[i] = dy[…, i, …], a view."""
    parts = _several("stack", tensors)
    dim = check_dim("stack", parts[0].ndim + 1, dim)
    for x in parts:
        if x.shape != parts[0].shape:
            raise ShapeError(
                f"stack: shapes {parts[0].shape} and {x.shape} differ; make them equal, or use concat"
            )

    def vjp(dy):
        return tuple(dy[(slice(None),) * dim + (i,)] for i in range(len(parts)))

    return Tensor(xp.stack([x.data for x in parts], axis=dim), parts, vjp)


def pad(x: Tensor, widths: Any, value: float = 0) -> Tensor:
    """y = x within a frame of `value`;   dx = dy without the frame, a view.

    widths: a pair (before, after) for every dim of x
    """
    check_tensors("pad", x, kinds="fiu")
    pairs = tuple(check_shape("pad", pair) for pair in widths)
    if len(pairs) != x.ndim or any(len(pair) != 2 or min(pair) < 0 for pair in pairs):
        raise ShapeError(
            f"pad: widths {widths} for a tensor {x.shape}; give {x.ndim} pairs (before, after) from 0 on"
        )
    inside = tuple(slice(before, before + n) for (before, _), n in zip(pairs, x.shape, strict=True))
    y = xp.full(tuple(n + sum(pair) for pair, n in zip(pairs, x.shape, strict=True)), value, x.dtype)
    y[inside] = x.data
    return Tensor(y, (x,), lambda dy: (dy[inside],))


def _several(op: str, tensors: Any) -> tuple[Tensor, ...]:
    if not isinstance(tensors, (tuple, list)) or not tensors:
        raise ShapeError(f"{op} wants a list of one or more tensors, not {tensors!r}; put them into a list")
    check_tensors(op, *tensors, kinds="fiub")
    return tuple(tensors)
