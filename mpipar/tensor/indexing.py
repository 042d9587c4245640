"""Taking part of a tensor: x[2], x[:, 1:3], x[..., None], x[rows, columns]."""

import operator
from typing import Any

from mpipar.arrays import add_at, xp
from mpipar.errors import DTypeError, ShapeError
from mpipar.tensor.broadcast import broadcast_shape
from mpipar.tensor.checks import check_ids, check_tensors, constant
from mpipar.tensor.engine import Tensor


def index(x: Tensor, key: Any) -> Tensor:
    """y = x[key];   dx = 0 but for dx[key] += dy, adding up where the key names a place twice.

    key: ints, slices, None, `...`, and integer arrays or Tensors, with NumPy's meaning; a view
      of x where there are no arrays
    cost: backward writes all of x once
    errors: ShapeError for an index outside x; DTypeError for masks (their result's shape depends
      on values; use where) and lists (copied to a device in silence)
    """
    check_tensors("index", x, kinds="fiub")
    key, arrays = _checked(x, key if isinstance(key, tuple) else (key,))

    def vjp(dy):
        dx = xp.zeros(x.shape, dy.dtype)
        if arrays:
            add_at(dx, key, dy)
        else:  # ints and slices name no place twice
            dx[key] = dy
        return (dx,)

    return Tensor(x.data[key], (x,), vjp)


def _checked(x: Tensor, key: tuple[Any, ...]) -> tuple[tuple[Any, ...], list[Any]]:
    """The key without Tensors, and the integer arrays in it."""
    used = sum(part is not None and part is not Ellipsis for part in key)
    dots = sum(part is Ellipsis for part in key)
    if used > x.ndim or dots > 1:
        raise ShapeError(
            f"index: {used} indices and {dots} '...' for a tensor {x.shape}; give at most {x.ndim} and one"
        )
    clean, arrays, dim = [], [], 0
    for part in key:
        if part is Ellipsis:
            dim += x.ndim - used
        elif part is not None:
            part = _part(part, x.shape, dim)
            dim += 1
            if hasattr(part, "dtype"):
                arrays.append(part)
        clean.append(part)
    shape: tuple[int, ...] = ()
    for part in arrays:
        shape = broadcast_shape("index", shape, part.shape)
    return tuple(clean), arrays


def _part(part: Any, shape: tuple[int, ...], dim: int) -> Any:
    """One index into dim: a slice, an int or an integer array, checked."""
    if isinstance(part, slice):
        return part
    if isinstance(part, (bool, list)):
        raise DTypeError(
            f"index: {part!r} as index; use an int, a slice, or an integer array made by arrays.asarray"
        )
    n = shape[dim]
    try:
        number = operator.index(part)
    except TypeError:
        pass
    else:
        if not -n <= number < n:
            raise ShapeError(f"index: {number} in dim {dim} of a tensor {shape}; stay in {-n} … {n - 1}")
        return number
    ids = constant("index", f"the index of dim {dim}", part)
    if ids.dtype.kind == "b":
        raise DTypeError(
            f"index: a mask {ids.shape} gives a shape that depends on its values; use where, "
            "or the integers of its true places"
        )
    check_ids(f"index of dim {dim} of {shape}", "index", ids, -n, n, "places")
    return ids
