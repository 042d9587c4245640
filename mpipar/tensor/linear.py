"""Products of matrices: where the floating-point operations are.

A product of (m, k) and (k, n) costs 2 m k n flops, and its backward twice that: one product
for each operand that needs a gradient.
"""

import math

from mpipar.arrays import xp
from mpipar.errors import ShapeError
from mpipar.tensor.broadcast import broadcast_shape, optional, sum_rows, sum_to
from mpipar.tensor.checks import check_tensors
from mpipar.tensor.engine import Tensor
from mpipar.tensor.shape import transpose


def linear(x: Tensor, w: Tensor, b: Tensor | None = None) -> Tensor:
    """y[…,o] = Σᵢ x[…,i] w[o,i] + b[o];   dx = dy w,   dw = dyᵀ x,   db = Σ dy.

    shapes: x (…, in), w (out, in), b (out,) -> y (…, out)
    cost: 2 rows·in·out flops with rows = the product of x's leading sizes, in one product;
      dw is written where w's gradient is kept, see Tensor.room
    errors: ShapeError for sizes that do not fit, DTypeError for two dtypes or integers
    """
    check_tensors("linear", x, w) if b is None else check_tensors("linear", x, w, b)
    a, m = x.data, w.data
    if m.ndim != 2 or a.ndim == 0 or a.shape[-1] != m.shape[1]:
        raise ShapeError(
            f"linear: x {x.shape} and w {w.shape} do not fit; w is (out, in) and x's last size must be in"
        )
    out, width = m.shape
    if b is not None and b.data.shape != (out,):
        raise ShapeError(f"linear: bias {b.shape} for w {w.shape}; give it the shape ({out},)")
    lead = a.shape[:-1]
    rows = math.prod(lead)
    flat = a.reshape(rows, width)
    y = flat @ m.T
    if b is not None:
        y += b.data

    def vjp(dy):
        dy = dy.reshape(rows, out)
        return (
            (dy @ m).reshape(a.shape) if x.requires_grad else None,
            xp.matmul(dy.T, flat, out=w.room()) if w.requires_grad else None,
            sum_rows(dy) if b is not None and b.requires_grad else None,
        )

    return Tensor(y.reshape(*lead, out), (x, w, optional(b)), vjp)


def matmul(x: Tensor, y: Tensor) -> Tensor:
    """z = x y over the last two dims;   dx = Σ dz yᵀ,   dy = Σ xᵀ dz.

    shapes: (…, m, k) and (…, k, n) -> (…, m, n); leading dims broadcast, and Σ sums over them.
      A tensor of one dim is a row on the left and a column on the right, and that dim of the
      result is dropped, as in NumPy
    errors: ShapeError for sizes that do not fit, DTypeError for two dtypes or integers
    """
    check_tensors("matmul", x, y)
    if x.ndim == 0 or y.ndim == 0:
        raise ShapeError(f"matmul: shapes {x.shape} and {y.shape}; multiply by a number with *")
    inner = y.shape[-2] if y.ndim > 1 else y.shape[0]
    if x.shape[-1] != inner:
        raise ShapeError(
            f"matmul: shapes {x.shape} and {y.shape} differ in the inner size, {x.shape[-1]} and {inner}; "
            "transpose or reshape one of them"
        )
    if x.ndim > 2 and y.ndim == 2:  # one large product instead of many small ones
        return linear(x, transpose(y))
    if x.shape[:-2] != y.shape[:-2]:
        broadcast_shape("matmul", x.shape[:-2], y.shape[:-2])
    a = x.data[None, :] if x.ndim == 1 else x.data
    b = y.data[:, None] if y.ndim == 1 else y.data
    z = a @ b
    full = z.shape
    kept = full[:-2] + full[-2:-1] * (x.ndim > 1) + full[-1:] * (y.ndim > 1)

    def vjp(dz):
        dz = dz.reshape(full)
        return (
            sum_to(dz @ b.swapaxes(-1, -2), a.shape).reshape(x.shape) if x.requires_grad else None,
            sum_to(a.swapaxes(-1, -2) @ dz, b.shape).reshape(y.shape) if y.requires_grad else None,
        )

    return Tensor(z.reshape(kept), (x, y), vjp)
