"""Activation functions, element by element, on float tensors of any shape.

errors: DTypeError for integers.
"""

from mpipar.arrays import kernel_on_device, pieces, xp
from mpipar.tensor import kernels
from mpipar.tensor.checks import check_tensors
from mpipar.tensor.engine import Tensor


def relu(x: Tensor) -> Tensor:
    """y = max(x, 0);   dx = [x > 0] dy."""
    check_tensors("relu", x)
    y = xp.maximum(x.data, 0)
    return Tensor(y, (x,), lambda dy: (_relu_backward(y, dy),))


@kernel_on_device(kernels.relu_backward)
def _relu_backward(y, dy):
    return dy * (y > 0)


def tanh(x: Tensor) -> Tensor:
    """y = tanh x;   dx = (1 - y²) dy."""
    check_tensors("tanh", x)
    y = xp.tanh(x.data)
    return Tensor(y, (x,), lambda dy: (_tanh_backward(y, dy),))


@kernel_on_device(kernels.tanh_backward)
def _tanh_backward(y, dy):
    return dy * (1 - y * y)


def sigmoid(x: Tensor) -> Tensor:
    """y = 1 / (1 + e⁻ˣ);   dx = y (1 - y) dy.   Computed as (1 + tanh(x/2)) / 2: no overflow."""
    check_tensors("sigmoid", x)
    y = _sigmoid(x.data)
    return Tensor(y, (x,), lambda dy: (_sigmoid_backward(y, dy),))


@kernel_on_device(kernels.sigmoid)
def _sigmoid(x):
    return 0.5 * xp.tanh(0.5 * x) + 0.5


@kernel_on_device(kernels.sigmoid_backward)
def _sigmoid_backward(y, dy):
    return dy * y * (1 - y)


SLOPE, CUBIC = kernels.SLOPE, kernels.CUBIC  # √(2/π) and 0.044715


def gelu(x: Tensor) -> Tensor:
    """y = x h with h = (1 + tanh(s (x + c x³))) / 2, s = √(2/π), c = 0.044715;   dx = y' dy.

    The tanh approximation of x Φ(x) (Hendrycks & Gimpel 2016), as GPT-2 and
    torch.nn.functional.gelu(approximate="tanh") have it.
    y' = h + y (1 - h) (2 s + 6 s c x²)
    cost: on the host y' is computed while x is in the cache, and kept; on a device x is kept
    """
    check_tensors("gelu", x)
    y, kept = _gelu(x.data)
    return Tensor(y, (x,), lambda dy: (_gelu_backward(kept, dy),))


@kernel_on_device(kernels.gelu)
def _gelu(x):
    """y and what backward needs: y'."""
    a = x.reshape(-1)
    y, slope = xp.empty_like(a), xp.empty_like(a)
    for part in pieces(a):
        _write_gelu(a[part], y[part], slope[part])
    return y.reshape(x.shape), slope.reshape(x.shape)


@kernel_on_device(kernels.gelu_backward)
def _gelu_backward(slope, dy):
    return slope * dy


def _write_gelu(x, y, slope):
    """Write y and y' for x."""
    h = xp.multiply(x, x, out=slope) * (SLOPE * CUBIC)
    h += SLOPE
    h *= x
    xp.tanh(h, out=h)
    h *= 0.5
    h += 0.5
    xp.multiply(x, h, out=y)
    slope *= 6 * CUBIC * SLOPE
    slope += 2 * SLOPE
    slope *= y
    slope *= 1 - h
    slope += h
