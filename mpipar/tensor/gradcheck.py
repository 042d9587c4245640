"""Is a gradient right? One random projection against a central difference.

For y = f(x) with Jacobian J and random directions u and v, both sides of

    ⟨v, J u⟩ = ⟨Jᵀ v, u⟩

are one number. The left is measured, J u ≈ (f(x + h u) - f(x - h u)) / 2h, without any
gradient; the right is what backward gives for the seed v. A wrong entry of Jᵀ v shows with
probability 1, at the price of two forward passes and one backward, whatever the sizes are.
With float64 and h = 1e-6 both the rounding 1e-16/h and the truncation h² stay near 1e-10.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from mpipar.arrays import asarray, generator, to_host
from mpipar.errors import GraphError, ShapeError
from mpipar.tensor.engine import Tensor, no_grad


def gradcheck(
    function: Callable[..., Tensor], *inputs: Any, h: float = 1e-6, tolerance: float = 1e-6, seed: int = 0
) -> float:
    """The relative error |⟨v, J u⟩ - ⟨Jᵀ v, u⟩| / max(|v||J u|, |u||Jᵀ v|) of function's gradient.

    function: Tensors -> Tensor; it must give the same values when called again
    inputs: float arrays or Tensors, each checked in float64; put other arguments into a lambda
    errors: GraphError with both numbers where the error exceeds `tolerance`
    """
    x = [np.array(to_host(i.data if isinstance(i, Tensor) else i), dtype=np.float64) for i in inputs]
    draw = generator(seed, "gradcheck")
    u = [draw.standard_normal(a.shape) for a in x]
    leaves = [Tensor(asarray(a), requires_grad=True) for a in x]
    y = function(*leaves)
    v = draw.standard_normal(y.shape)
    y.backward(asarray(v))
    backward = [
        np.zeros(a.shape) if t.grad is None else to_host(t.grad) for a, t in zip(x, leaves, strict=True)
    ]
    forward = (_value(function, x, u, h) - _value(function, x, u, -h)) / (2 * h)
    if forward.shape != v.shape:
        raise ShapeError(f"gradcheck: the function gave {v.shape}, then {forward.shape}; make it repeatable")
    measured = _dot([v], [forward])
    claimed = _dot(backward, u)
    scale = max(_norm([v]) * _norm([forward]), _norm(u) * _norm(backward))
    error = abs(measured - claimed) / scale if scale else 0.0
    if not error <= tolerance:
        raise GraphError(
            f"gradcheck: central difference {measured:.9g}, backward {claimed:.9g}: relative error "
            f"{error:.2g} exceeds {tolerance:.2g}; correct the vjp, or move the inputs off a kink"
        )
    return error


def _value(function: Callable[..., Tensor], x: list[np.ndarray], u: list[np.ndarray], h: float) -> np.ndarray:
    with no_grad():
        return to_host(function(*(Tensor(asarray(a + h * b)) for a, b in zip(x, u, strict=True))).data)


def _dot(a: list[np.ndarray], b: list[np.ndarray]) -> float:
    return math.fsum(float((p * q).sum()) for p, q in zip(a, b, strict=True))


def _norm(a: list[np.ndarray]) -> float:
    return math.sqrt(_dot(a, a))
