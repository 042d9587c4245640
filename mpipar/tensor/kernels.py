"""The kernels of this package's operations; see arrays/kernels.py for how they are written.

Each states what the function of the same name beside its operation does in NumPy's terms, where
`kernel_on_device` names it. What an operation keeps for its backward may differ: a GPU computes faster
than it reads, so a kernel keeps its input, which is there anyway, and computes anew. And where a kernel
chooses 0 (relu_backward, dropout), NumPy multiplies by False, in a tenth of the time: infinity becomes nan.
"""

import math
from collections.abc import Callable
from typing import Any

from mpipar.arrays import Elementwise, Rows
from mpipar.tensor.broadcast import sum_rows

relu_backward = Elementwise("relu_backward", "T y, T dy", "T dx", "dx = y > 0 ? dy : T(0);")
tanh_backward = Elementwise("tanh_backward", "T y, T dy", "T dx", "dx = (1 - y * y) * dy;")
sigmoid = Elementwise("sigmoid", "T x", "T y", "y = T(0.5) * tanh(T(0.5) * x) + T(0.5);")
sigmoid_backward = Elementwise("sigmoid_backward", "T y, T dy", "T dx", "dx = dy * y * (1 - y);")
dropout = Elementwise("dropout", "T x, bool mask, T scale", "T y", "y = mask ? x * scale : T(0);")

SLOPE, CUBIC = math.sqrt(2 / math.pi), 0.044715  # s and c of gelu
_GELU = "T h = T(0.5) * tanh(x * (s + s * c * x * x)) + T(0.5);"
_gelu = Elementwise("gelu", "T x, T s, T c", "T y", _GELU + "y = x * h;")
_gelu_backward = Elementwise(
    "gelu_backward",
    "T x, T s, T c, T dy",
    "T dx",
    _GELU + "dx = dy * (h + x * h * (1 - h) * (2 * s + 6 * s * c * x * x));",
)


def gelu(x: Any) -> tuple[Any, Any]:
    return _gelu(x, SLOPE, CUBIC), x


def gelu_backward(x: Any, dy: Any) -> Any:
    return _gelu_backward(x, SLOPE, CUBIC, dy)


def along(kernel: Rows) -> Callable[..., Any]:
    """The kernel over rows along any dim, its last argument."""

    def call(*arguments: Any) -> Any:
        *arrays, dim = arguments
        return kernel(*(x.swapaxes(dim, -1) for x in arrays)).swapaxes(dim, -1)

    return call


softmax = Rows(
    "softmax",
    "T x",
    "T y",
    row="T top = row_max(x); T total = row_sum(exp(x - top));",
    each="y = exp(x - top) / total;",
)
softmax_backward = Rows(
    "softmax_backward", "T y, T dy", "T dx", row="T total = row_sum(dy * y);", each="dx = y * (dy - total);"
)
log_softmax = Rows(
    "log_softmax",
    "T x",
    "T y",
    row="T top = row_max(x); T log_total = log(row_sum(exp(x - top)));",
    each="y = x - top - log_total;",
)
log_softmax_backward = Rows(
    "log_softmax_backward",
    "T y, T dy",
    "T dx",
    row="T total = row_sum(dy);",
    each="dx = dy - exp(y) * total;",
)

_cross_entropy = Rows(
    "cross_entropy",
    "T x, row I t, row bool kept",
    "T p, row T loss",
    row="""T top = row_max(x); T total = row_sum(exp(x - top)); T picked = row_sum(j == t ? x - top : T(0));
           loss = kept ? log(total) - picked : T(0);""",
    each="p = exp(x - top) / total;",
)
_cross_entropy_backward = Elementwise(
    "cross_entropy_backward",
    "T p, I t, bool kept, T dy, int64 n",
    "T dx",
    "dx = kept ? (p - (i % n == t ? T(1) : T(0))) * dy : T(0);",
)


def cross_entropy(x: Any, t: Any, kept: Any) -> tuple[Any, Any]:
    return _cross_entropy(x, t, True if kept is None else kept)


def cross_entropy_backward(p: Any, t: Any, kept: Any, dy: Any) -> Any:
    kept = True if kept is None else kept[:, None]
    return _cross_entropy_backward(p, t[:, None], kept, dy, p.shape[1])


# Backward of both norms gives dx and p, whose columns add up to dw, in one launch, whichever are wanted.
_layer_norm = Rows(
    "layer_norm",
    "T x, column T w, column T b, scalar T eps",
    "T y, row T mean, row T r",
    row="""mean = row_sum(x) / T(n);
           r = rsqrt(row_sum((x - mean) * (x - mean)) / T(n) + eps);""",
    each="y = (x - mean) * r * w + b;",
)
_layer_norm_backward = Rows(
    "layer_norm_backward",
    "T dy, column T w, T x, row T mean, row T r",
    "T dx, T p",
    given="T xhat = (x - mean) * r; T g = dy * w;",
    row="T mean_g = row_sum(g) / T(n); T mean_gx = row_sum(g * xhat) / T(n);",
    each="dx = r * (g - mean_g - xhat * mean_gx); p = dy * xhat;",
)


def layer_norm(x: Any, weight: Any, bias: Any, eps: float) -> tuple[Any, tuple[Any, ...]]:
    y, *kept = _layer_norm(x, weight, bias, eps)
    return y, (x, *kept)


def layer_norm_backward(dy: Any, w: Any, with_dx: bool, with_dw: bool, *kept: Any) -> tuple[Any, Any]:
    dx, p = _layer_norm_backward(dy, w, *kept)
    return dx, sum_rows(p) if with_dw else None


_rms_norm = Rows(
    "rms_norm",
    "T x, column T w, scalar T eps",
    "T y, row T r",
    row="r = rsqrt(row_sum(x * x) / T(n) + eps);",
    each="y = x * r * w;",
)
_rms_norm_backward = Rows(
    "rms_norm_backward",
    "T dy, column T w, T x, row T r",
    "T dx, T p",
    given="T xhat = x * r; T g = dy * w;",
    row="T mean_gx = row_sum(g * xhat) / T(n);",
    each="dx = r * (g - xhat * mean_gx); p = dy * xhat;",
)


def rms_norm(x: Any, weight: Any, eps: float) -> tuple[Any, tuple[Any, ...]]:
    y, r = _rms_norm(x, weight, eps)
    return y, (x, r)


def rms_norm_backward(dy: Any, w: Any, with_dx: bool, with_dw: bool, *kept: Any) -> tuple[Any, Any]:
    dx, p = _rms_norm_backward(dy, w, *kept)
    return dx, sum_rows(p) if with_dw else None
