"""Activation functions, element by element, on float tensors of any shape.

errors: DTypeError for integers.
"""

import math

from mpipar.arrays import xp
from mpipar.tensor.checks import check_tensors
from mpipar.tensor.engine import Tensor


def relu(x: Tensor) -> Tensor:
    """y = max(x, 0);   dx = dy where x > 0, else 0."""
    check_tensors("relu", x)
    y = xp.maximum(x.data, 0)
    return Tensor(y, (x,), lambda dy: (dy * (y > 0),))


def tanh(x: Tensor) -> Tensor:
    """y = tanh x;   dx = (1 - y²) dy."""
    check_tensors("tanh", x)
    y = xp.tanh(x.data)
    return Tensor(y, (x,), lambda dy: (dy * (1 - y * y),))


def sigmoid(x: Tensor) -> Tensor:
    """y = 1 / (1 + e⁻ˣ);   dx = y (1 - y) dy.   Computed as (1 + tanh(x/2)) / 2: no overflow."""
    check_tensors("sigmoid", x)
    y = 0.5 * xp.tanh(0.5 * x.data) + 0.5
    return Tensor(y, (x,), lambda dy: (dy * y * (1 - y),))


SLOPE, CUBIC = math.sqrt(2 / math.pi), 0.044715


def gelu(x: Tensor) -> Tensor:
    """y = x (1 + t) / 2 with t = tanh(s (x + c x³)), s = √(2/π), c = 0.044715.

    The tanh approximation of x Φ(x) (Hendrycks & Gimpel 2016), as GPT-2 and
    torch.nn.functional.gelu(approximate="tanh") have it.
    dx = dy [(1 + t) / 2 + x (1 - t²) s (1 + 3 c x²) / 2]
    """
    check_tensors("gelu", x)
    a = x.data
    t = a * a
    t *= SLOPE * CUBIC
    t += SLOPE
    t *= a
    t = xp.tanh(t)
    y = 1 + t
    y *= a
    y *= 0.5

    def vjp(dy):
        slope = a * a
        slope *= 3 * CUBIC * SLOPE
        slope += SLOPE
        slope *= a
        slope *= 1 - t * t
        slope += 1 + t
        slope *= 0.5
        slope *= dy
        return (slope,)

    return Tensor(y, (x,), vjp)
