"""Arithmetic, element by element; operands broadcast as in NumPy.

x and y are Tensors, numbers or arrays, at least one a Tensor. Σ below: over the dims along
which that operand was broadcast.   errors: DTypeError for two dtypes or for bool, ShapeError
for shapes that do not broadcast.
"""

from typing import Any

from mpipar.arrays import xp
from mpipar.errors import DTypeError
from mpipar.tensor.broadcast import broadcast_shape, operands, sum_to
from mpipar.tensor.checks import check_tensors, constant
from mpipar.tensor.engine import Tensor


def add(x: Any, y: Any) -> Tensor:
    """z = x + y;   dx = Σ dz,   dy = Σ dz."""
    x, y = operands("add", x, y)

    def vjp(dz):
        return (
            sum_to(dz, x.shape) if x.requires_grad else None,
            sum_to(dz, y.shape) if y.requires_grad else None,
        )

    return Tensor(x.data + y.data, (x, y), vjp)


def sub(x: Any, y: Any) -> Tensor:
    """z = x - y;   dx = Σ dz,   dy = -Σ dz."""
    x, y = operands("sub", x, y)

    def vjp(dz):
        return (
            sum_to(dz, x.shape) if x.requires_grad else None,
            -sum_to(dz, y.shape) if y.requires_grad else None,
        )

    return Tensor(x.data - y.data, (x, y), vjp)


def mul(x: Any, y: Any) -> Tensor:
    """z = x y;   dx = Σ dz y,   dy = Σ dz x."""
    x, y = operands("mul", x, y)

    def vjp(dz):
        return (
            sum_to(dz * y.data, x.shape) if x.requires_grad else None,
            sum_to(dz * x.data, y.shape) if y.requires_grad else None,
        )

    return Tensor(x.data * y.data, (x, y), vjp)


def div(x: Any, y: Any) -> Tensor:
    """z = x / y;   dx = Σ dz / y,   dy = -Σ dz z / y.   Floats only."""
    x, y = operands("div", x, y, kinds="f")
    z = x.data / y.data

    def vjp(dz):
        over = dz / y.data
        return (
            sum_to(over, x.shape) if x.requires_grad else None,
            -sum_to(over * z, y.shape) if y.requires_grad else None,
        )

    return Tensor(z, (x, y), vjp)


def neg(x: Tensor) -> Tensor:
    """y = -x;   dx = -dy."""
    check_tensors("neg", x, kinds="fi")
    return Tensor(-x.data, (x,), lambda dy: (-dy,))


def pow(x: Tensor, p: float) -> Tensor:
    """y = xᵖ;   dx = p xᵖ⁻¹ dy.   p: a number."""
    if isinstance(p, Tensor):
        raise DTypeError(f"pow: the exponent is a tensor {p.shape}; give a number, or use exp(p * log(x))")
    check_tensors("pow", x)
    if not isinstance(p, (int, float)):
        raise DTypeError(f"pow: the exponent is a {type(p).__name__}; give an int or a float")
    if p == 0:  # 0 · x⁻¹ would be NaN at x = 0
        return Tensor(xp.ones_like(x.data), (x,), lambda dy: (xp.zeros_like(dy),))
    return Tensor(x.data**p, (x,), lambda dy: (p * dy * x.data ** (p - 1),))


def exp(x: Tensor) -> Tensor:
    """y = eˣ;   dx = y dy."""
    check_tensors("exp", x)
    y = xp.exp(x.data)
    return Tensor(y, (x,), lambda dy: (dy * y,))


def log(x: Tensor) -> Tensor:
    """y = ln x;   dx = dy / x."""
    check_tensors("log", x)
    return Tensor(xp.log(x.data), (x,), lambda dy: (dy / x.data,))


def sqrt(x: Tensor) -> Tensor:
    """y = √x;   dx = dy / 2y."""
    check_tensors("sqrt", x)
    y = xp.sqrt(x.data)
    return Tensor(y, (x,), lambda dy: (0.5 * dy / y,))


def abs(x: Tensor) -> Tensor:
    """y = |x|;   dx = sign(x) dy, 0 at 0."""
    check_tensors("abs", x, kinds="fiu")
    return Tensor(xp.abs(x.data), (x,), lambda dy: (dy * xp.sign(x.data),))


def maximum(x: Any, y: Any) -> Tensor:
    """z = max(x, y);   each operand gets Σ dz where it is the greater, and half of it in a tie."""
    x, y = operands("maximum", x, y)

    def vjp(dz):
        half = 0.5 * dz
        mine = half * (x.data >= y.data) + half * (x.data > y.data)
        return (
            sum_to(mine, x.shape) if x.requires_grad else None,
            sum_to(dz - mine, y.shape) if y.requires_grad else None,
        )

    return Tensor(xp.maximum(x.data, y.data), (x, y), vjp)


def where(condition: Any, x: Any, y: Any) -> Tensor:
    """z = x where condition, else y;   dx = Σ dz where condition,   dy = Σ dz elsewhere.

    condition: array or Tensor of dtype bool, without gradient; broadcasts too
    """
    condition = constant("where", "the condition", condition)
    if condition.dtype.kind != "b":
        raise DTypeError(f"where: the condition has dtype {condition.dtype}; compare it, as in mask != 0")
    x, y = operands("where", x, y)
    broadcast_shape("where", condition.shape, broadcast_shape("where", x.shape, y.shape))

    def vjp(dz):
        return (
            sum_to(xp.where(condition, dz, 0), x.shape) if x.requires_grad else None,
            sum_to(xp.where(condition, 0, dz), y.shape) if y.requires_grad else None,
        )

    return Tensor(xp.where(condition, x.data, y.data), (x, y), vjp)
