"""Normalisation of the last dim, each forward and backward in one operation.

x̂ is the normalised x, r the factor 1/σ; g = dy w; mean: over the last dim; Σ: over all others.
shapes: x (…, n), weight and bias (n,) or None -> (…, n)
cost: a few passes over x; x̂ and r are kept
errors: ShapeError, DTypeError
"""

from mpipar.arrays import xp
from mpipar.errors import ShapeError
from mpipar.tensor.broadcast import optional, sum_to
from mpipar.tensor.checks import check_tensors
from mpipar.tensor.engine import Tensor


def layer_norm(
    x: Tensor, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """y = w x̂ + b,  x̂ = (x - μ) r,  r = 1/√(σ² + ε)   (Ba, Kiros & Hinton 2016).

    dx = r [g - mean(g) - x̂ mean(g x̂)],   dw = Σ dy x̂,   db = Σ dy
    """
    _check("layer_norm", x, weight=weight, bias=bias)
    xhat = x.data - x.data.mean(axis=-1, keepdims=True)
    r = 1 / xp.sqrt((xhat * xhat).mean(axis=-1, keepdims=True) + eps)
    xhat *= r
    y = _affine(xhat, weight, bias)

    def vjp(dy):
        dx = None
        if x.requires_grad:
            g = dy if weight is None else dy * weight.data
            dx = g - g.mean(axis=-1, keepdims=True)
            dx -= xhat * (g * xhat).mean(axis=-1, keepdims=True)
            dx *= r
        return dx, _weight_gradient(dy, xhat, weight), _bias_gradient(dy, bias)

    return Tensor(y, (x, optional(weight), optional(bias)), vjp)


def rms_norm(x: Tensor, weight: Tensor | None = None, eps: float = 1e-6) -> Tensor:
    """y = w x̂,  x̂ = x r,  r = 1/√(mean(x²) + ε)   (Zhang & Sennrich 2019).

    dx = r [g - x̂ mean(g x̂)],   dw = Σ dy x̂
    """
    _check("rms_norm", x, weight=weight)
    r = 1 / xp.sqrt((x.data * x.data).mean(axis=-1, keepdims=True) + eps)
    xhat = x.data * r
    y = _affine(xhat, weight, None)

    def vjp(dy):
        dx = None
        if x.requires_grad:
            g = dy if weight is None else dy * weight.data
            dx = g - xhat * (g * xhat).mean(axis=-1, keepdims=True)
            dx *= r
        return dx, _weight_gradient(dy, xhat, weight)

    return Tensor(y, (x, optional(weight)), vjp)


def _affine(xhat, weight, bias):
    y = xhat if weight is None else xhat * weight.data
    return y if bias is None else y + bias.data


def _weight_gradient(dy, xhat, weight):
    return sum_to(dy * xhat, weight.shape) if weight is not None and weight.requires_grad else None


def _bias_gradient(dy, bias):
    return sum_to(dy, bias.shape) if bias is not None and bias.requires_grad else None


def _check(op: str, x: Tensor, **parameters: Tensor | None) -> None:
    given = {name: p for name, p in parameters.items() if p is not None}
    check_tensors(op, x, *given.values())
    if x.ndim == 0 or x.shape[-1] == 0:
        raise ShapeError(f"{op}: x {x.shape} has no values in its last dim; give it one dim or more")
    for name, p in given.items():
        if p.shape != x.shape[-1:]:
            raise ShapeError(f"{op}: {name} {p.shape} for x {x.shape}; give it the shape {x.shape[-1:]}")
