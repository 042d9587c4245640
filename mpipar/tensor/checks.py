"""What an operation asks of its operands, said in one sentence before the array library fails.

Each check raises an error that names the operation, the values and a remedy.
"""

import operator
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mpipar.arrays import check_later, on_device, xp
from mpipar.errors import BackendError, DTypeError, LabelError, ShapeError
from mpipar.tensor.engine import Tensor
from mpipar.trace import call_site

PACKAGE = str(Path(__file__).parents[1]) + os.sep


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
) -> Any:
    """Every id is in low … high-1, or is `ignore`.

    things: what the ids count, for the error
    returns: where ids are not `ignore`, an array of bool; None where it is known that none is
    cost: on a device two or three passes over the ids and no wait: the error comes late there
    errors: DTypeError for ids that are not integers; LabelError with the first wrong id
    """
    if ids.dtype.kind not in "iu":
        raise DTypeError(f"{op}: {what}s have dtype {ids.dtype}; cast them to an integer dtype")
    if ids.size == 0:
        return None
    rule = _Rule(op, what, low, high, things, ignore)
    return _check_ids_later(rule, ids) if on_device(ids) else _check_ids_now(rule, ids)


class _Rule(NamedTuple):
    """What ids may be: the arguments of check_ids."""

    op: str
    what: str
    low: int
    high: int
    things: str
    ignore: int | None

    def broken_by(self, host: np.ndarray) -> str:
        wrong = (host < self.low) | (host >= self.high)
        if self.ignore is not None:
            wrong &= host != self.ignore
        places = np.argwhere(wrong)
        found = f"some {self.what}s, written over since, were"
        if len(places):
            position = tuple(map(int, places[0]))
            found = f"{self.what} {host[position]} at position {position} is"
        return (
            f"{self.op}: {found} outside {self.low} … {self.high - 1}, for there are {self.high} "
            f"{self.things}; correct the {self.what}s, or make more {self.things}"
        )


def _check_ids_now(rule: _Rule, ids: np.ndarray) -> np.ndarray | None:
    least, greatest, kept = ids.min(), ids.max(), None
    if rule.ignore is not None and least <= rule.ignore <= greatest:
        kept = ids != rule.ignore
        others = np.where(kept, ids, rule.low)
        least, greatest = others.min(), others.max()
        kept = None if kept.all() else kept
    if least < rule.low or greatest >= rule.high:
        raise LabelError(rule.broken_by(ids))
    return kept


def _check_ids_later(rule: _Rule, ids: Any) -> Any:
    places = ids.astype(xp.int64, copy=False)
    places = places - rule.low if rule.low else places
    wrong = places.view(xp.uint64) >= rule.high - rule.low  # as if negative numbers were the largest
    kept, limits = None, np.iinfo(ids.dtype)
    if rule.ignore is not None and limits.min <= rule.ignore <= limits.max:
        kept = ids != rule.ignore
        wrong &= kept
    raise_later(rule.op, wrong.any(), ids, rule.broken_by)
    return kept


def raise_later(op: str, wrong: Any, values: Any, told: Callable[[np.ndarray], str]) -> None:
    """LabelError(told(values on the host)), late, if `wrong` is true: a device array () of bool."""
    site = _users_line()

    def judge(host: np.ndarray) -> None:
        raise LabelError(f"{told(host)} (found late, as on every GPU: {op} was called at {site})")

    check_later(wrong, values, judge)


def _users_line() -> str:
    """The line outside of mpipar that led here."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(PACKAGE):
        frame = frame.f_back
    return call_site(frame)
