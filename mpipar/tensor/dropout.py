"""Dropout (Srivastava et al., JMLR 2014)."""

from typing import Any

from mpipar.arrays import asarray, kernel_on_device
from mpipar.errors import DTypeError, OptionError, ShapeError
from mpipar.tensor import kernels
from mpipar.tensor.checks import check_tensors, constant
from mpipar.tensor.engine import Tensor


def dropout(x: Tensor, p: float, source: Any) -> Tensor:
    """y = x m / (1 - p);   dx = dy m / (1 - p).   m is 0 with probability p, else 1.

    Dividing while training ("inverted") keeps the mean, so nothing changes when evaluating:
    there, do not call it.
    source: m itself, a bool array or Tensor shaped like x (True: kept), or a generator as
      NumPy's, from which m is drawn; a generator on the host costs one copy to the device
    errors: OptionError for p outside [0, 1); ShapeError, DTypeError
    """
    check_tensors("dropout", x)
    if not 0 <= p < 1:
        raise OptionError(f"dropout: p={p} is the share that is dropped; choose it from 0 up to below 1")
    if p == 0:
        return x
    if hasattr(source, "random"):
        mask = asarray(source.random(x.shape, dtype="float32") >= p)
    else:
        mask = constant("dropout", "the mask", source)
    if mask.dtype.kind != "b":
        raise DTypeError(f"dropout: the mask has dtype {mask.dtype}; use bool, True where x is kept")
    if mask.shape != x.shape:
        raise ShapeError(f"dropout: mask {mask.shape} for x {x.shape}; make them equal")
    scale = 1 / (1 - p)
    return Tensor(_dropped(x.data, mask, scale), (x,), lambda dy: (_dropped(dy, mask, scale),))


@kernel_on_device(kernels.dropout)
def _dropped(x, mask, scale):
    return x * mask * scale
