"""Products of many matrices by strides: on `fake`, and what cuBLAS is given."""

import ctypes
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.lib.stride_tricks import as_strided

from mpipar.arrays import batched_product, products
from mpipar.arrays.fake import namespace
from mpipar.arrays.fake_products import gemm


def device(x, dtype="float64"):
    return namespace.asarray(np.asarray(x, dtype))


def in_memory(x):
    return device(np.ascontiguousarray(x))


LAYOUTS = {
    "rows": in_memory,
    "columns": lambda x: in_memory(x.swapaxes(1, 2)).swapaxes(1, 2),
    "part": lambda x: in_memory(np.pad(x, [(0, 1), (0, 2), (0, 3)]))[: len(x), : x.shape[1], : x.shape[2]],
    "heads": lambda x: in_memory(x.swapaxes(0, 1)).swapaxes(0, 1),
}


@pytest.mark.parametrize("left", LAYOUTS)
@pytest.mark.parametrize("right", LAYOUTS)
@pytest.mark.parametrize("shape", [(3, 4, 5, 6), (2, 1, 5, 1), (1, 4, 1, 3), (1, 1, 1, 1)])
def test_batched_product(left, right, shape):
    count, m, k, n = shape
    draw = np.random.default_rng(0)
    a, b, c = draw.random((count, m, k)), draw.random((count, k, n)), draw.random((count, m, n))
    for into in ("rows", "part", "heads"):
        out = LAYOUTS[into](c)
        found = batched_product(LAYOUTS[left](a), LAYOUTS[right](b), out, 0.5, add=True)
        assert found is out
        np.testing.assert_allclose(out.get(), c + 0.5 * (a @ b), 1e-14)
        batched_product(LAYOUTS[left](a), LAYOUTS[right](b), out)
        np.testing.assert_allclose(out.get(), a @ b, 1e-14)


def test_batched_product_of_nothing():
    out = device(np.ones((2, 3, 4)))
    batched_product(device(np.ones((2, 3, 0))), device(np.ones((2, 0, 4))), out, add=True)
    assert (out.get() == 1).all()
    batched_product(device(np.ones((2, 3, 0))), device(np.ones((2, 0, 4))), out)
    assert not out.get().any()


@pytest.mark.parametrize(
    ("a", "b", "out"),
    [
        (np.ones((2, 3, 4)), np.ones((2, 3, 4)), np.ones((2, 3, 4))),
        (np.ones((2, 3, 4)), np.ones((1, 4, 5)), np.ones((2, 3, 5))),
        (np.ones((2, 3, 4)), np.ones((2, 4, 5)), np.ones((2, 5, 3))),
    ],
)
def test_batched_product_refuses_shapes(a, b, out):
    with pytest.raises(TypeError, match="batched_product"):
        batched_product(device(a), device(b), device(out))


def test_batched_product_refuses_strides_and_dtypes():
    a, b = device(np.ones((2, 6, 8))), device(np.ones((2, 4, 4)))
    with pytest.raises(TypeError, match="make rows or columns contiguous"):
        batched_product(a[:, ::2, ::2], b, device(np.ones((2, 3, 4))))
    with pytest.raises(TypeError, match="last dim contiguous"):
        batched_product(b, b, b.copy().swapaxes(1, 2))
    with pytest.raises(TypeError, match="float32"):
        batched_product(b, device(np.ones((2, 4, 4)), "float32"), device(np.ones((2, 4, 4))))


def test_fake_cublas_refuses_what_lies_outside():
    x = device(np.ones((2, 3, 3)))
    operands = {"lead_a": 3, "step_a": 9}
    for wrong, why in (({"lead_a": 2}, "leading dimension 2 below 3"), ({"step_a": 10}, "beyond the end")):
        lead, step = {**operands, **wrong}.values()
        with pytest.raises(TypeError, match=why):
            gemm(0, 0, 3, 3, 3, 1.0, x, lead, step, x, 3, 9, 0.0, x.copy(), 3, 9, 2)


class AsCuPys:
    """A host array with what of CuPy's ndarray a product asks for."""

    def __init__(self, host):
        self.host, self.data = host, SimpleNamespace(ptr=host.ctypes.data)
        self.shape, self.strides, self.dtype = host.shape, host.strides, host.dtype
        self.itemsize, self.size = host.itemsize, host.size

    def swapaxes(self, i, j):
        return AsCuPys(self.host.swapaxes(i, j))


def cublas(handle, transa, transb, m, n, k, alpha, A, Atype, lda, strideA, B, Btype, ldb, strideB, beta,
           C, Ctype, ldc, strideC, batchCount, computeType, algo):  # fmt: skip
    """As cupy_backends.cuda.libs.cublas.gemmStridedBatchedEx has them, on the host; see cuBLAS's manual."""
    assert (handle, algo) == ("handle", -1) and Atype == Btype == Ctype
    c_type, by = {0: (ctypes.c_float, (68, 77)), 1: (ctypes.c_double, (70,))}[Ctype]
    assert computeType in by

    def at(pointer, rows, columns, lead, step):
        size = (batchCount - 1) * step + (columns - 1) * lead + rows
        flat = np.ctypeslib.as_array(ctypes.cast(pointer, ctypes.POINTER(c_type)), (size,))
        return as_strided(flat, (batchCount, rows, columns), np.array([step, 1, lead]) * flat.itemsize)

    a = at(A, k, m, lda, strideA).swapaxes(1, 2) if transa else at(A, m, k, lda, strideA)
    b = at(B, n, k, ldb, strideB).swapaxes(1, 2) if transb else at(B, k, n, ldb, strideB)
    c, one, two = at(C, m, n, ldc, strideC), at(alpha, 1, 1, 1, 0)[0], at(beta, 1, 1, 1, 0)[0]
    c[...] = one * (a @ b) + two * c


@pytest.mark.parametrize(("dtype", "compute_type"), [("float32", 7), ("float32", 1), ("float64", 1)])
def test_what_cublas_is_given(dtype, compute_type, monkeypatch):
    seen = []

    def product(*arguments):
        seen.append(arguments[-2])
        cublas(*arguments)

    monkeypatch.setattr(products, "BACKEND", "cupy")
    monkeypatch.setattr(products, "_cublas", lambda: (product, lambda: "handle", lambda dtype: compute_type))
    draw = np.random.default_rng(0)
    a, b, c = (draw.random(shape).astype(dtype) for shape in ((3, 4, 5), (3, 6, 5), (3, 4, 6)))
    out, expected = c.copy(), a @ b.swapaxes(1, 2)
    batched_product(AsCuPys(a), AsCuPys(b).swapaxes(1, 2), AsCuPys(out), 0.5)
    np.testing.assert_allclose(out, 0.5 * expected, 1e-6)
    batched_product(AsCuPys(a), AsCuPys(b).swapaxes(1, 2), AsCuPys(out), add=True)
    np.testing.assert_allclose(out, 1.5 * expected, 1e-6)
    assert seen == [{("float32", 7): 77, ("float32", 1): 68, ("float64", 1): 70}[dtype, compute_type]] * 2


@pytest.mark.parametrize("dtype", ["float16", "int64"])
def test_batched_product_refuses_what_it_would_read_as_another_dtype(dtype):
    x = device(np.ones((2, 4, 4)), dtype)
    with pytest.raises(TypeError, match=dtype):
        batched_product(x, x, x.copy())


@pytest.mark.parametrize("place", ["left", "right"])
def test_batched_product_refuses_repeated_and_reversed_rows(place):
    """cuBLAS counts on: it would read behind them."""
    whole = device(np.ones((2, 4, 4)))
    for odd in (namespace.broadcast_to(device(np.ones((2, 1, 4))), (2, 4, 4)), whole[:, ::-1]):
        left, right = (odd, whole) if place == "left" else (whole, odd)
        with pytest.raises(TypeError, match="make rows or columns contiguous"):
            batched_product(left, right, whole.copy())
