"""Convolution of images as one product of matrices. See window.py for windows."""

from typing import Any

from mpipar.arrays import xp
from mpipar.errors import ShapeError
from mpipar.tensor.broadcast import optional
from mpipar.tensor.checks import check_tensors
from mpipar.tensor.engine import Tensor
from mpipar.tensor.window import Window


def conv2d(x: Tensor, w: Tensor, b: Tensor | None = None, stride: Any = 1, padding: Any = 0) -> Tensor:
    """y[n,o] = Σ w[o,c,i,j] X[n,c,i,j] + b[o], X the image under offset (i, j) ("im2col").

    One product of w as (O, C·k²) with X as (N, C·k², places);
    dw = Σₙ dy[n] X[n]ᵀ,   dX = wᵀ dy, added back to where each value was read,   db = Σ dy.
    shapes: x (N, C, H, W), w (O, C, kh, kw), b (O,) -> (N, O, H', W')
    cost: 2 N O C k² H' W' flops; X is k² times as large as x and kept for dw
    errors: ShapeError, DTypeError
    """
    check_tensors("conv2d", x, w) if b is None else check_tensors("conv2d", x, w, b)
    if x.ndim != 4 or w.ndim != 4 or x.shape[1] != w.shape[1]:
        raise ShapeError(
            f"conv2d: x {x.shape} and w {w.shape} do not fit; they are (N, C, H, W) and (O, C, kh, kw) "
            "with one C"
        )
    if b is not None and b.shape != w.shape[:1]:
        raise ShapeError(f"conv2d: bias {b.shape} for w {w.shape}; give it the shape {w.shape[:1]}")
    n, c = x.shape[:2]
    o, _, *kernel = w.shape
    window = Window("conv2d", x.shape, kernel, stride, padding)
    columns = xp.empty((n, c, *kernel, *window.places), x.dtype)
    image = window.pad(x.data, 0)
    for i, j, seen in window.offsets():
        columns[:, :, i, j] = image[seen]
    columns = columns.reshape(n, w.size // o, -1)
    y = w.data.reshape(o, -1) @ columns
    if b is not None:
        y += b.data[:, None]

    def vjp(dy):
        dy = dy.reshape(n, o, -1)
        dx = dw = None
        if x.requires_grad:
            dcolumns = (w.data.reshape(o, -1).T @ dy).reshape(n, c, *kernel, *window.places)
            dx = window.scatter((i, j, dcolumns[:, :, i, j]) for i, j, _ in window.offsets())
        if w.requires_grad:
            dw = (dy @ columns.swapaxes(1, 2)).sum(axis=0).reshape(w.shape)
        return dx, dw, dy.sum(axis=(0, 2)) if b is not None and b.requires_grad else None

    return Tensor(y.reshape(n, o, *window.places), (x, w, optional(b)), vjp)
