"""What collectives check about their arrays, and how blocks of dim 0 become stretches of a flat one."""

from typing import Any, NamedTuple

import numpy as np

from mpipar.arrays import empty_like, on_device, xp
from mpipar.comm import collectives
from mpipar.comm.collectives import part_lengths
from mpipar.comm.wire import CARRIED, check_array
from mpipar.errors import DTypeError, ShapeError

HEADER = 16  # numbers of a header: place, dtype, dims, shape
_DTYPES = sorted(CARRIED, key=str)


class Blocks(NamedTuple):
    """A whole array that is cut along dim 0 as numpy.array_split cuts it; only its outline.

    rows, lengths: rows and elements of each rank's block
    """

    shape: tuple[int, ...]
    dtype: Any
    rows: list[int]
    lengths: list[int]

    @property
    def size(self) -> int:
        return sum(self.lengths)

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize

    def block(self, rank: int) -> tuple[int, ...]:
        """The shape of a rank's block."""
        return (self.rows[rank], *self.shape[1:])


def blocks(shape: tuple[int, ...], dtype: Any, ranks: int) -> Blocks:
    """The outline of an array of that shape on so many ranks."""
    rows = part_lengths(shape[0], ranks)
    width = int(np.prod(shape[1:], dtype=np.int64))
    return Blocks(shape, np.dtype(dtype), rows, [n * width for n in rows])


def check_blocks(operation: str, x: Any) -> None:
    """errors: as check_array; ShapeError for a single number"""
    check_array(operation, x)
    if x.ndim == 0:
        raise ShapeError(f"{operation}: a single number has no blocks; pass an array of at least one dim")


def check_mine(operation: str, rank: int, x: Any, whole: Blocks) -> None:
    """errors: ShapeError where x is not the rank's block of the whole"""
    if x.shape != whole.block(rank) or x.dtype != whole.dtype:
        remedy = "cut as numpy.array_split does"
        if operation == "gather":
            remedy += ", and give every rank rows=, the rows of the whole, where blocks differ by one"
        raise ShapeError(
            f"{operation}: rank {rank} gives {x.shape} {x.dtype}, but its block of out {whole.shape} "
            f"{whole.dtype} on {len(whole.rows)} ranks has {whole.rows[rank]} rows; {remedy}"
        )


def result(operation: str, x: Any, out: Any, shape: tuple[int, ...]) -> Any:
    """out, or where it is None a new array of that shape beside x.   errors: ShapeError"""
    if out is None:
        return empty_like(x, shape)
    check_array(operation, out)
    if out.shape != shape or out.dtype != x.dtype:
        raise ShapeError(
            f"{operation}: out {out.shape} {out.dtype} does not fit x {x.shape} {x.dtype}; "
            f"make it {'like x' if shape == x.shape else shape}"
        )
    return out


def flattened(x: Any) -> Any:
    """x's numbers in one dim, contiguous: a view where x is, else a copy, for `bring_back`."""
    return (x if x.flags.c_contiguous else x.copy()).reshape(-1)


def bring_back(flat: Any, x: Any) -> None:
    """x ← what has become of flat, which was `flattened` x; nothing to do where that is a view."""
    if not x.flags.c_contiguous:
        x[...] = flat.reshape(x.shape)


def reduction(operation: str, x: Any, op: str, scale: float | None = None) -> collectives.Add:
    """What `op` does with two arrays like x.   errors: OptionError, DTypeError"""
    if x.dtype.kind != "f" and (op == "mean" or scale is not None):
        what = "the mean" if op == "mean" else f"{scale} times a number"
        raise DTypeError(f"{operation}: {what} of {x.dtype} is not a {x.dtype}; use float32")
    return collectives.combine(op)


def scaled(x: Any, scale: float, out: Any) -> Any:
    """out ← scale · x.   returns: out"""
    (np if isinstance(x, np.ndarray) else xp).multiply(x, scale, out=out)
    return out


def header_of(x: Any) -> np.ndarray:
    """x's place, dtype and shape as 16 numbers, for ranks that have no x."""
    header = np.zeros(HEADER, np.int64)
    if x.ndim > HEADER - 3:
        raise ShapeError(f"scatter: x has {x.ndim} dims, at most {HEADER - 3} fit; reshape it")
    header[:3] = on_device(x), _DTYPES.index(x.dtype), x.ndim
    header[3 : 3 + x.ndim] = x.shape
    return header


def from_header(header: np.ndarray, ranks: int) -> tuple[Blocks, Any]:
    """The outline, and the array namespace in which the blocks are to be made."""
    device, dtype, ndim, *shape = header.tolist()
    return blocks(tuple(shape[:ndim]), _DTYPES[dtype], ranks), xp if device else np
