"""Products of many matrices at once on a device, by one call of cuBLAS.

cupy.matmul of more than two dims copies operands that are transposed, and keeps to float32 where
CUPY_TF32=1 asks for TF32 (CuPy 14.2, _routines_linalg.pyx). cuBLAS itself takes transposed operands,
multiplies by a number and adds to what is there.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from mpipar.arrays.backend import BACKEND

TF32 = 7  # cupy's COMPUTE_TYPE_TF32
FLOAT32, FLOAT64 = 0, 1  # CUDA_R_32F, CUDA_R_64F
BY_FLOAT32, BY_TF32, BY_FLOAT64 = 68, 77, 70  # CUBLAS_COMPUTE_32F, _32F_FAST_TF32, _64F
USUAL = -1  # CUBLAS_GEMM_DEFAULT


def batched_product(a: Any, b: Any, out: Any, scale: float = 1.0, add: bool = False) -> Any:
    """out = scale a b, or with add=True out += scale a b, for each of `count` pairs; returns out.

    shapes: a (count, m, k), b (count, k, n), out (count, m, n); float32 or float64 of one dtype
    strides: the last dim of out is contiguous, of a and b the last or the one before it; so a transpose
      costs no copy
    errors: TypeError for others
    """
    count, m, k = a.shape
    n = b.shape[-1]
    if (
        b.shape != (count, k, n)
        or out.shape != (count, m, n)
        or not a.dtype == b.dtype == out.dtype
        or a.dtype.char not in "fd"
    ):
        raise TypeError(f"batched_product: {a.shape} by {b.shape} into {out.shape}, {a.dtype} and {b.dtype}")
    if not (a.size and b.size):
        if not add:
            out.fill(0)
        return out
    # what lies row after row is to cuBLAS, which counts columns first, the transpose: outᵀ = bᵀ aᵀ
    ta, lead_a, step_a = _layout(a)
    tb, lead_b, step_b = _layout(b)
    to, lead_out, step_out = _layout(out)
    if to:
        raise TypeError(f"batched_product: out has strides {out.strides}; make its last dim contiguous")
    alpha, beta = np.array([scale, add], a.dtype)
    left, right, result = (b, lead_b, step_b), (a, lead_a, step_a), (out, lead_out, step_out)
    _gemm(tb, ta, n, m, k, alpha, *left, *right, beta, *result, count)
    return out


def _layout(x: Any) -> tuple[int, int, int]:
    """(whether the columns of x lie one after the other, not the rows; from one to the next; from one matrix
    to the next), in numbers, not bytes"""
    step, row, column = (stride // x.itemsize for stride in x.strides)
    _, rows, columns = x.shape
    if (column == 1 or columns == 1) and (row >= columns or rows == 1):
        return 0, max(row, columns), step
    if (row == 1 or rows == 1) and (column >= rows or columns == 1):
        return 1, max(column, rows), step
    raise TypeError(f"batched_product: strides {x.strides} of {x.shape}; make rows or columns contiguous")


def _gemm(ta: int, tb: int, m: int, n: int, k: int, alpha: Any, *operands: Any) -> None:
    """cublasGemmStridedBatchedEx with its arguments in its order, but for types and handle."""
    if BACKEND != "cupy":
        from mpipar.arrays.fake_products import gemm

        gemm(ta, tb, m, n, k, alpha, *operands)
        return
    product, handle, compute_type = _cublas()
    a, lead_a, step_a, b, lead_b, step_b, beta, c, lead_c, step_c, count = operands
    kind = FLOAT32 if c.dtype == np.float32 else FLOAT64
    by = BY_FLOAT64 if kind == FLOAT64 else BY_TF32 if compute_type(c.dtype) == TF32 else BY_FLOAT32
    one, two = np.array(alpha), np.array(beta)  # read on the host during the call
    product(
        handle(), ta, tb, m, n, k, one.ctypes.data,
        a.data.ptr, kind, lead_a, step_a, b.data.ptr, kind, lead_b, step_b, two.ctypes.data,
        c.data.ptr, kind, lead_c, step_c, count, by, USUAL,
    )  # fmt: skip


@cache
def _cublas() -> tuple[Callable, Callable, Callable]:
    """The product, a device's handle, and what CuPy computes a dtype's products by."""
    from cupy._core._routines_linalg import get_compute_type
    from cupy.cuda.device import get_cublas_handle
    from cupy_backends.cuda.libs.cublas import gemmStridedBatchedEx

    return gemmStridedBatchedEx, get_cublas_handle, get_compute_type
