"""Softmax and its logarithm along one dim.

The greatest value is subtracted first: it cancels in the quotient and keeps exp from overflow.
errors: ShapeError for a dim that is not there or empty, DTypeError for integers
"""

from mpipar.arrays import kernel_on_device, xp
from mpipar.errors import ShapeError
from mpipar.tensor import kernels
from mpipar.tensor.checks import check_dim, check_tensors
from mpipar.tensor.engine import Tensor


def softmax(x: Tensor, dim: int = -1) -> Tensor:
    """yᵢ = exp xᵢ / Σⱼ exp xⱼ;   dx = y (dy - Σⱼ dyⱼ yⱼ)."""
    dim = _checked("softmax", x, dim)
    y = _softmax(x.data, dim)
    return Tensor(y, (x,), lambda dy: (_softmax_backward(y, dy, dim),))


@kernel_on_device(kernels.along(kernels.softmax))
def _softmax(x, dim):
    y = x - x.max(axis=dim, keepdims=True)
    xp.exp(y, out=y)
    y /= y.sum(axis=dim, keepdims=True)
    return y


@kernel_on_device(kernels.along(kernels.softmax_backward))
def _softmax_backward(y, dy, dim):
    dx = dy * y
    dx -= y * dx.sum(axis=dim, keepdims=True)
    return dx


def log_softmax(x: Tensor, dim: int = -1) -> Tensor:
    """yᵢ = xᵢ - ln Σⱼ exp xⱼ;   dx = dy - exp(y) Σⱼ dyⱼ."""
    dim = _checked("log_softmax", x, dim)
    y = _log_softmax(x.data, dim)
    return Tensor(y, (x,), lambda dy: (_log_softmax_backward(y, dy, dim),))


@kernel_on_device(kernels.along(kernels.log_softmax))
def _log_softmax(x, dim):
    y = x - x.max(axis=dim, keepdims=True)
    y -= xp.log(xp.exp(y).sum(axis=dim, keepdims=True))
    return y


@kernel_on_device(kernels.along(kernels.log_softmax_backward))
def _log_softmax_backward(y, dy, dim):
    dx = xp.exp(y)
    dx *= -dy.sum(axis=dim, keepdims=True)
    dx += dy
    return dx


def _checked(op: str, x: Tensor, dim: int) -> int:
    check_tensors(op, x)
    dim = check_dim(op, x.ndim, dim)
    if x.shape[dim] == 0:
        raise ShapeError(f"{op}: dim {dim} of shape {x.shape} is empty; give it one value or more")
    return dim
