"""Broadcasting as NumPy does it, and its adjoint.

Two shapes are aligned at their last dims; sizes must be equal, or one of them 1 or missing.
Broadcasting copies a value to many places, so the gradient of the value is the sum over them.
"""

from typing import Any

import numpy as np

from mpipar.arrays import xp
from mpipar.errors import DTypeError, ShapeError
from mpipar.tensor.checks import check_tensors, constant
from mpipar.tensor.engine import Tensor


class Constant:
    """A parent that has no gradient and need not be an array: a Python number, or nothing.

    A Python number takes the dtype of the array it meets, and costs no device array.
    """

    __slots__ = ("data",)
    requires_grad = False
    shape = ()

    def __init__(self, data: Any) -> None:
        self.data = data


_NOTHING = Constant(None)


def optional(x: Tensor | None) -> Any:
    """x as a parent; where it was left out, a parent that asks for no gradient."""
    return _NOTHING if x is None else x


def operands(op: str, x: Any, y: Any, kinds: str = "fiu") -> tuple[Any, Any]:
    """x and y as parents of an operation that broadcasts; one may be a number or an array."""
    if not isinstance(x, Tensor):
        x = _lift(op, x, y)
    if not isinstance(y, Tensor):
        y = _lift(op, y, x)
    if type(x) is Constant or type(y) is Constant:
        check_tensors(op, y if type(x) is Constant else x, kinds=kinds)
        return x, y
    a, b = x.data, y.data
    if a.dtype != b.dtype or a.dtype.kind not in kinds:
        check_tensors(op, x, y, kinds=kinds)
    if a.shape != b.shape:
        broadcast_shape(op, a.shape, b.shape)
    return x, y


def _lift(op: str, value: Any, other: Any) -> Any:
    if not isinstance(value, (int, float, np.number)):
        return Tensor(constant(op, "an operand", value))
    if not isinstance(other, Tensor):
        raise DTypeError(f"{op} of two numbers; wrap one of them in Tensor(...)")
    number = value.item() if isinstance(value, np.number) else value
    if isinstance(number, float) and other.dtype.kind != "f":
        raise DTypeError(f"{op}: {number} meets a tensor of dtype {other.dtype}; cast that by astype")
    return Constant(number)


def broadcast_shape(op: str, a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    """The shape that a and b have in common.   errors: ShapeError where two sizes differ."""
    short, long = (a, b) if len(a) < len(b) else (b, a)
    lead = len(long) - len(short)
    common = list(long)
    for i, n in enumerate(short, start=lead):
        if common[i] == 1:
            common[i] = n
        elif n not in (1, common[i]):
            raise ShapeError(
                f"{op}: shapes {a} and {b} do not broadcast: {n} and {long[i]} differ in dim "
                f"{i - len(long)} and neither is 1; reshape one of them"
            )
    return tuple(common)


def sum_to(gradient: Any, shape: tuple[int, ...]) -> Any:
    """Σ over the dims along which an array of `shape` was broadcast to gradient.shape."""
    if gradient.shape == shape:
        return gradient
    lead = gradient.ndim - len(shape)
    copied = [lead + i for i, n in enumerate(shape) if n == 1 and gradient.shape[lead + i] != 1]
    return xp.asarray(gradient.sum(axis=(*range(lead), *copied))).reshape(shape)


def sum_rows(x: Any) -> Any:
    """Σ over all dims but the last, as a product with ones, which is faster than .sum()."""
    rows = x.reshape(-1, x.shape[-1])
    return xp.ones(len(rows), x.dtype) @ rows
