"""What an operation asks of its operands, said in one sentence before the array library fails.

Each check raises an error that names the operation, the values and a remedy.
"""

import operator
from typing import Any

import numpy as np

from mpipar.arrays import on_device, to_host, xp
from mpipar.errors import BackendError, DTypeError, LabelError, ShapeError
from mpipar.tensor.engine import Tensor


def check_tensors(op: str, *operands: Any, kinds: str = "f") -> None:
    """All operands are Tensors of one dtype, whose kind is among `kinds` (as numpy.dtype.kind)."""
    dtype = None
    for x in operands:
        if not isinstance(x, Tensor):
            raise DTypeError(f"{op} wants a Tensor, not {type(x).__name__}; wrap it in Tensor(...)")
        found = x.data.dtype
        if found.kind not in kinds:
            wanted = "a float dtype" if kinds == "f" else "numbers"
            raise DTypeError(f"{op} wants {wanted}, the tensor {x.shape} holds {found}; cast it by astype")
        if dtype is not None and found != dtype:
            raise DTypeError(f"{op}: dtypes {dtype} and {found} differ; cast one of them by astype")
        dtype = found


def constant(op: str, what: str, value: Any) -> Any:
    """The array in `value`, a Tensor or an array that lies where this process computes."""
    if isinstance(value, Tensor):
        return value.data
    if isinstance(value, xp.ndarray):
        return value
    if isinstance(value, np.generic):  # what NumPy makes of a result without dims
        return xp.asarray(value)
    if isinstance(value, np.ndarray):
        raise BackendError(
            f"{op}: {what} {value.shape} lies on the host and the tensors on the device; "
            "copy it once by arrays.asarray, outside the loop"
        )
    raise DTypeError(f"{op}: {what} is a {type(value).__name__}; pass an array or a Tensor")


def integer(op: str, what: str, value: Any) -> int:
    """value as a Python int."""
    try:
        return operator.index(value)
    except TypeError:
        raise ShapeError(f"{op}: {what} is {value!r}; give a whole number") from None


def check_dim(op: str, ndim: int, dim: Any) -> int:
    """dim counted from the front.   errors: ShapeError where the tensor has no such dim."""
    number = integer(op, "dim", dim)
    if not -ndim <= number < ndim:
        offered = f"choose from {-ndim} to {ndim - 1}" if ndim else "it has none"
        raise ShapeError(f"{op}: dim {dim} of a tensor with {ndim} dims; {offered}")
    return number % ndim


def check_dims(op: str, ndim: int, dim: Any) -> tuple[int, ...]:
    """dim (None for all, an int, or several) as a sorted tuple counted from the front."""
    if dim is None:
        return tuple(range(ndim))
    given = dim if isinstance(dim, (tuple, list)) else (dim,)
    if not given:
        raise ShapeError(f"{op}: dim {dim} names no dim; use None for all of them")
    dims = sorted(check_dim(op, ndim, d) for d in given)
    if len(set(dims)) != len(dims):
        raise ShapeError(f"{op}: dim {dim} names a dim twice; name each once")
    return tuple(dims)


def check_shape(op: str, shape: Any) -> tuple[int, ...]:
    """shape as a tuple of ints."""
    sizes = shape if isinstance(shape, (tuple, list)) else (shape,)
    return tuple(integer(op, "a size", n) for n in sizes)


def check_ids(
    op: str, what: str, ids: Any, low: int, high: int, things: str, ignore: int | None = None
) -> int:
    """Every id is in low … high-1, or is `ignore`.   returns: how many are not ignored.

    things: what the ids count, for the error
    cost: the least and the greatest come to the host in one copy, which waits for the device, and
    two more where ids are ignored; CuPy itself would wrap a wrong id round and compute on in silence
    errors: DTypeError for ids that are not integers; LabelError with the first wrong id
    """
    if ids.dtype.kind not in "iu":
        raise DTypeError(f"{op}: {what}s have dtype {ids.dtype}; cast them to an integer dtype")
    if ids.size == 0:
        return 0
    count = ids.size
    least, greatest = _extremes(ids)
    if ignore is not None and least <= ignore <= greatest:
        kept = ids != ignore
        count = int(to_host(kept.sum()))
        ids = xp.where(kept, ids, low)
        least, greatest = _extremes(ids)
    if least >= low and greatest < high:
        return count
    host = to_host(ids)
    position = tuple(map(int, np.argwhere((host < low) | (host >= high))[0]))
    raise LabelError(
        f"{op}: {what} {host[position]} at position {position} is outside {low} … {high - 1}, "
        f"for there are {high} {things}; correct the {what}s, or make more {things}"
    )


def _extremes(ids: Any) -> tuple[int, int]:
    least, greatest = ids.min(), ids.max()
    if on_device(ids):
        least, greatest = to_host(xp.stack([least, greatest]))
    return least, greatest
