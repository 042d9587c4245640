"""Operations that move values without changing them. Their gradients move back.

Results are views of the data where the array library can give one.
errors: ShapeError for sizes and dims that do not fit.
"""

import math
from typing import Any

from mpipar.arrays import xp
from mpipar.errors import ShapeError
from mpipar.tensor.broadcast import broadcast_shape, sum_to
from mpipar.tensor.checks import check_dim, check_shape, check_tensors
from mpipar.tensor.engine import Tensor

ANY = "fiub"


def reshape(x: Tensor, shape: Any) -> Tensor:
    """y = the values of x, row by row, in another shape;   dx = dy in x's shape.

    shape: ints, one of which may be -1 for what remains
    """
    check_tensors("reshape", x, kinds=ANY)
    sizes = check_shape("reshape", shape)
    known = math.prod(n for n in sizes if n != -1)
    holes = sizes.count(-1)
    fits = known == x.size if holes == 0 else known > 0 and x.size % known == 0
    if holes > 1 or not fits or min(sizes, default=0) < -1:
        raise ShapeError(
            f"reshape: {x.size} values of shape {x.shape} do not fill the shape {sizes}; "
            "make the sizes' product equal, or leave one size as -1"
        )
    return Tensor(x.data.reshape(sizes), (x,), lambda dy: (dy.reshape(x.shape),))


def permute(x: Tensor, dims: Any = None) -> Tensor:
    """y's dim i is x's dim dims[i];   dx = dy with the inverse permutation.

    dims: every dim of x once; None reverses them
    """
    check_tensors("permute", x, kinds=ANY)
    order = tuple(reversed(range(x.ndim))) if dims is None else check_shape("permute", dims)
    front = tuple(check_dim("permute", x.ndim, d) for d in order)
    if sorted(front) != list(range(x.ndim)):
        raise ShapeError(f"permute: dims {order} of a tensor {x.shape}; name each of its {x.ndim} dims once")
    inverse = tuple(sorted(range(len(front)), key=front.__getitem__))
    return Tensor(x.data.transpose(front), (x,), lambda dy: (dy.transpose(inverse),))


def transpose(x: Tensor, dim0: int = -2, dim1: int = -1) -> Tensor:
    """y = x with two dims exchanged, by default the last two;   dx = dy with them exchanged."""
    check_tensors("transpose", x, kinds=ANY)
    i, j = (check_dim("transpose", x.ndim, d) for d in (dim0, dim1))
    return Tensor(x.data.swapaxes(i, j), (x,), lambda dy: (dy.swapaxes(i, j),))


def broadcast_to(x: Tensor, shape: Any) -> Tensor:
    """y[…] = x repeated along new dims and dims of size 1;   dx = Σ dy over the copies."""
    check_tensors("broadcast_to", x, kinds=ANY)
    sizes = check_shape("broadcast_to", shape)
    if broadcast_shape("broadcast_to", x.shape, sizes) != sizes:
        raise ShapeError(f"broadcast_to: {x.shape} does not broadcast to {sizes}; only sizes of 1 grow")
    return Tensor(xp.broadcast_to(x.data, sizes), (x,), lambda dy: (sum_to(dy, x.shape),))


def astype(x: Tensor, dtype: Any) -> Tensor:
    """y = x in another dtype;   dx = dy in x's dtype.   x itself where it has the dtype."""
    check_tensors("astype", x, kinds=ANY)
    if x.dtype == dtype:
        return x
    y = x.data.astype(dtype)
    if y.dtype.kind != "f":
        return Tensor(y)
    return Tensor(y, (x,), lambda dy: (dy.astype(x.dtype),))
