"""A window that slides over images (batch, channels, height, width).

A window of size k, moved by `stride` over an image of size n with `padding` on both sides,
stands at (n + 2 padding - k) // stride + 1 places. Offset (i, j) within the window sees, over
all places, a strided slice of the image. Those k² slices are all that convolution and pooling
need: forward reads them, backward adds to them. Sizes are an int for both directions, or a pair.
"""

from collections.abc import Iterator
from typing import Any

from mpipar.arrays import xp
from mpipar.errors import ShapeError
from mpipar.tensor.checks import integer


class Window:
    """A window and the places it takes on an image."""

    def __init__(self, op: str, shape: tuple[int, ...], kernel: Any, stride: Any, padding: Any) -> None:
        self.shape = shape
        self.kernel = _pair(op, "kernel", kernel, least=1)
        self.stride = _pair(op, "stride", stride, least=1)
        self.padding = _pair(op, "padding", padding, least=0)
        self.padded = tuple(n + 2 * p for n, p in zip(shape[2:], self.padding, strict=True))
        sizes = zip(self.padded, self.kernel, self.stride, strict=True)
        self.places = tuple((n - k) // s + 1 for n, k, s in sizes)
        if min(self.places) < 1:
            raise ShapeError(
                f"{op}: a kernel {self.kernel} does not fit into an image {self.padded}, padding "
                "included; take a smaller kernel or pad more"
            )

    def offsets(self) -> Iterator[tuple[int, int, tuple[Any, ...]]]:
        """(i, j, index): what offset (i, j) of the window sees of the padded image."""
        (h, w), (s, t) = self.places, self.stride
        for i in range(self.kernel[0]):
            for j in range(self.kernel[1]):
                yield i, j, (..., slice(i, i + s * (h - 1) + 1, s), slice(j, j + t * (w - 1) + 1, t))

    def pad(self, image: Any, value: float) -> Any:
        if self.padding == (0, 0):
            return image
        padded = xp.full((*self.shape[:2], *self.padded), value, image.dtype)
        padded[self._inside()] = image
        return padded

    def scatter(self, parts: Any) -> Any:
        """The adjoint of reading: add each (i, j, values) back to where offset (i, j) looked."""
        padded, seen = None, {(i, j): index for i, j, index in self.offsets()}
        for i, j, values in parts:
            if padded is None:
                padded = xp.zeros((*self.shape[:2], *self.padded), values.dtype)
            padded[seen[i, j]] += values
        return padded[self._inside()]

    def _inside(self) -> tuple[Any, ...]:
        (p, q), (h, w) = self.padding, self.shape[2:]
        return ..., slice(p, p + h), slice(q, q + w)


def _pair(op: str, what: str, value: Any, least: int) -> tuple[int, int]:
    pair = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    if len(pair) != 2 or min(integer(op, what, n) for n in pair) < least:
        raise ShapeError(f"{op}: {what} {value}; give a whole number from {least} on, or a pair of them")
    return pair
