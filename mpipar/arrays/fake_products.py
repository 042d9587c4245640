"""cublasGemmStridedBatchedEx on `fake`: matrices are given by their first number and their strides."""

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from mpipar.arrays.fake import FakeArray, _compute


def gemm(
    ta: int, tb: int, m: int, n: int, k: int, alpha: Any,
    a: FakeArray, lead_a: int, step_a: int, b: FakeArray, lead_b: int, step_b: int, beta: Any,
    c: FakeArray, lead_c: int, step_c: int, count: int,
) -> None:  # fmt: skip
    """C = α op(A) op(B) + β C with op(A) (m, k), op(B) (k, n), C (m, n), columns first; op: transpose if 1.

    lead: from one column to the next;   step: from one matrix to the next
    """

    def run(a: np.ndarray, b: np.ndarray, out: tuple[np.ndarray]) -> None:
        left = _matrices(a, *((k, m) if ta else (m, k)), lead_a, step_a, count)
        right = _matrices(b, *((n, k) if tb else (k, n)), lead_b, step_b, count)
        into = _matrices(out[0], m, n, lead_c, step_c, count)
        left, right = (x.swapaxes(1, 2) if t else x for x, t in ((left, ta), (right, tb)))
        into[...] = alpha * (left @ right) + (beta * into if beta else 0)

    _compute(run, (a, b), {"out": (c,)}, name="gemm")


def _matrices(x: np.ndarray, rows: int, columns: int, lead: int, step: int, count: int) -> np.ndarray:
    if lead < rows:
        raise TypeError(f"fake: a leading dimension {lead} below {rows}; cuBLAS refuses it")
    reach = sum((n - 1) * stride for n, stride in zip(x.shape, x.strides, strict=True)) // x.itemsize
    if (count - 1) * step + (columns - 1) * lead + rows - 1 > reach:
        raise TypeError("fake: a product reads or writes beyond the end of its array")
    return as_strided(x, (count, rows, columns), (step * x.itemsize, x.itemsize, lead * x.itemsize))
