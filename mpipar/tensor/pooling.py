"""Pooling: one value from each window of an image. See window.py for windows.

stride: the kernel's size unless given.   shapes: x (N, C, H, W) -> (N, C, H', W')
errors: ShapeError, DTypeError
"""

from typing import Any

from mpipar.arrays import xp
from mpipar.errors import ShapeError
from mpipar.tensor.checks import check_tensors
from mpipar.tensor.engine import Tensor
from mpipar.tensor.window import Window


def max_pool2d(x: Tensor, kernel: Any, stride: Any = None, padding: Any = 0) -> Tensor:
    """y = the greatest value in each window;   dx = dy at the first place that has it, else 0."""
    window = _pooling("max_pool2d", x, kernel, stride, padding)
    image = window.pad(x.data, -xp.inf)
    y = xp.full((*x.shape[:2], *window.places), -xp.inf, x.dtype)
    for _, _, seen in window.offsets():
        xp.maximum(y, image[seen], out=y)

    def vjp(dy):
        return (window.scatter(winners(dy)),)

    def winners(dy):
        free = xp.ones(y.shape, xp.bool_)
        for i, j, seen in window.offsets():
            here = (image[seen] == y) & free
            free &= ~here
            yield i, j, dy * here

    return Tensor(y, (x,), vjp)


def avg_pool2d(x: Tensor, kernel: Any, stride: Any = None, padding: Any = 0) -> Tensor:
    """y = Σ of each window / k², padding included;   dx = dy / k² added to every place of the window."""
    window = _pooling("avg_pool2d", x, kernel, stride, padding)
    image = window.pad(x.data, 0)
    share = 1 / (window.kernel[0] * window.kernel[1])
    y = xp.zeros((*x.shape[:2], *window.places), x.dtype)
    for _, _, seen in window.offsets():
        y += image[seen]
    y *= share

    def vjp(dy):
        part = dy * share
        return (window.scatter((i, j, part) for i, j, _ in window.offsets()),)

    return Tensor(y, (x,), vjp)


def _pooling(op: str, x: Tensor, kernel: Any, stride: Any, padding: Any) -> Window:
    check_tensors(op, x)
    if x.ndim != 4:
        raise ShapeError(f"{op}: x {x.shape}; give it the shape (N, C, H, W)")
    window = Window(op, x.shape, kernel, kernel if stride is None else stride, padding)
    if any(2 * p > k for p, k in zip(window.padding, window.kernel, strict=True)):
        raise ShapeError(
            f"{op}: padding {window.padding} is more than half the kernel {window.kernel}, so a window "
            "could see padding alone; pad less"
        )
    return window
