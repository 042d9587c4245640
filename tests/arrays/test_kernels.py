"""Kernels on `fake`: the C that is carried out, what is refused, and what CuPy is given."""

import re
from types import SimpleNamespace

import numpy as np
import pytest

from mpipar.arrays import BACKEND, asarray, kernels, to_host
from mpipar.arrays.fake import counting, launches, namespace
from mpipar.arrays.fake_c import Body
from mpipar.arrays.kernel_text import source, threads
from mpipar.arrays.kernels import Elementwise, Rows
from mpipar.errors import BackendError

on_fake = pytest.mark.skipif(BACKEND != "fake", reason="kernels are for devices; fake stands for one")
X, Y = np.array([-1.5, 0.25, 2.0]), np.array([3.0, 0.5, 2.0])
T, M = np.array([4, 7, 9]), np.array([True, False, True])


def body(dtype="float32"):
    values = {"x": X.astype(dtype), "y": Y.astype(dtype), "t": T, "m": M, "k": np.int64(5)}
    return Body(np.dtype(dtype), values, {"z"})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("z = x + y * x - y / x;", X + Y * X - Y / X),
        ("z = -(x - y) * 2;", -2 * (X - Y)),
        ("z = 1 - x - 1;", -X),
        ("z = T(0.5) * x + T(1.25);", 0.5 * X + 1.25),
        ("z = x > y ? x : y;", np.maximum(X, Y)),
        ("z = x < 0 ? T(0) : x > 1 ? T(1) : x;", np.clip(X, 0, 1)),
        ("z = x <= y && !(x == y) || m ? T(1) : T(0);", [1, 1, 1]),
        ("z = m ? x : 0;", X * M),
        ("z = x >= y ? -INFINITY : x;", np.where(X >= Y, -np.inf, X)),
        ("z = t % 4 == 3 ? T(t) : T(t % k);", [4, 7, 4]),
        ("z = k != 5 ? x : T(k);", [5, 5, 5]),
        ("z = exp(x) + log(y) + sqrt(y);", np.exp(X) + np.log(Y) + Y**0.5),
        ("z = tanh(x) + fabs(x);", np.tanh(X) + abs(X)),
        ("z = rsqrt(y) + max(x, y) - min(x, T(1));", Y**-0.5 + np.maximum(X, Y) - np.minimum(X, 1)),
        ("T a = x; a += y; a -= 1; a *= a; z = a;", (X + Y - 1) ** 2),
        ("bool b = x < y; z = b ? T(1) : T(2);", [1, 1, 2]),
    ],
)  # fmt: skip
def test_what_a_text_computes(text, expected):
    for dtype, exactness in (("float32", 1e-6), ("float64", 1e-15)):
        known = body(dtype)
        known.run(text)
        assert known.values["z"].dtype == dtype
        np.testing.assert_allclose(np.broadcast_to(known.values["z"], 3), expected, exactness)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("z = 0.5 * x;", r"0.5 is a double on a GPU; write T\(0.5\) in 'z = 0.5 \* x'"),
        ("z = x < 0.5 ? x : y;", "double"),
        ("z = x > 0 ? 1.0 : x;", "double"),
        ("z = exp(0.5);", "double"),
        ("z = -0.5;", "double"),
        ("z = 1e-5 * x;", "is not understood|where|no value"),
        ("z = 0.5f * x;", "is not understood"),
        ("z = exp(2);", "exp of a whole number"),
        ("z = exp(t);", "exp of int64"),
        ("z = max(x, 0);", "max of float32 and a whole number"),
        ("z = pow(x, y);", r"pow\(\) of 2 is not understood"),
        ("z = x * t;", "float32 and int64"),
        ("z = x * m;", "float32 and bool"),
        ("z = m + m;", "bool and bool"),
        ("z = T(t / 2);", "/ of int64 and a whole number"),
        ("z = x % 2;", "% of float32"),
        ("z = !x;", "! of float32"),
        ("z = x && m ? x : y;", "&& of float32 and bool"),
        ("z = x ? x : y;", "a condition of type float32"),
        ("z = m ? x : t;", r"\?: of float32 and int64"),
        ("z = m;", "'z' is float32, its value bool"),
        ("z = t;", "'z' is float32, its value int64"),
        ("bool b = x;", "'b' is bool, its value float32"),
        ("x = y;", "'x' is not declared, or is an input"),
        ("w = x;", "'w' is not declared"),
        ("T x = y;", "'x' is declared twice"),
        ("T z = y;", "'z' is declared twice"),
        ("z = w;", "'w' has no value"),
        ("z += x;", "'z' has no value"),
        ("z = x", "ends without ';'"),
        ("z = (x;", r"where '\)' should stand"),
        ("z = x y;", "'y' is not understood"),
        ("z = x[0];", "is not understood"),
        ("if (m) z = x;", "no statement"),
        ("z = ;", "no value"),
    ],
)
def test_what_is_refused(text, why):
    with pytest.raises(BackendError, match=why):
        body().run(text)


def test_a_float_of_another_dtype_is_refused():
    known = body()
    known.values["wide"] = X
    with pytest.raises(BackendError, match="float32 and float64"):
        known.run("z = x + wide;")


def device(x, dtype="float64"):
    return namespace.asarray(np.asarray(x, dtype))


axpy = Elementwise("axpy", "T x, T a", "T y", "y += a * x + T(i);")
halves = Elementwise("halves", "T x, bool m", "T low, T high", "low = m ? x : T(0); high = x - low;")


def test_elementwise_broadcasts_and_makes_its_results():
    with counting(launches) as seen:
        low, high = halves(device([[1], [2]], "float32"), namespace.asarray(M))
    assert seen == {"halves": 1}
    assert low.dtype == high.dtype == "float32"
    assert low.get().tolist() == [[1, 0, 1], [2, 0, 2]] and high.get().tolist() == [[0, 1, 0], [0, 2, 0]]


def test_elementwise_in_place():
    y = device([[1, 1], [2, 2]])
    assert axpy(device([10, 20]), 0.5, y) is y
    assert y.get().tolist() == [[6, 12], [9, 15]]  # i counts through the rows


@pytest.mark.parametrize(
    "call",
    [
        lambda: axpy(np.ones(2), 1.0, device([1, 2])),  # a host array
        lambda: axpy(device([1, 2]), 1.0, np.ones(2)),
        lambda: axpy(device([1, 2]), 1.0, device([1, 2], "float32")),  # T is one dtype
        lambda: axpy(device([1, 2]), 1.0, device([1])),  # the result is larger than its place
        lambda: axpy(device([1, 2])),
        lambda: axpy(1.0, 1.0, 1.0),
        lambda: halves(device([1.0]), device([1.0])),  # a mask is bool
        lambda: halves(device([1.0]), namespace.asarray(M[:1]), device([1.0])),  # one of two outputs
    ],
)
def test_what_elementwise_refuses(call):
    with pytest.raises(TypeError):
        call()


def test_a_result_belongs_to_the_stream_that_computes_it():
    x, stream = device([1, 2]), namespace.cuda.Stream(non_blocking=True)
    stream.wait_event(namespace.cuda.get_current_stream().record())
    with stream:
        low, _ = halves(x, True)
    assert np.isnan((low + 0).get()).all()
    namespace.cuda.get_current_stream().wait_event(stream.record())
    assert (low + 0).get().tolist() == [1, 2]


def test_an_output_that_is_not_written_is_noticed():
    with pytest.raises(BackendError, match="output z is not written"):
        Elementwise("forgets", "T x", "T y, T z", "y = x;")(device([1.0]))


centred = Rows(
    "centred",
    "T x, column T w, row I t, scalar T eps",
    "T y, row T top, row T norm",
    given="T c = x * w;",
    row="""top = row_max(c); T picked = row_sum(j == t ? c : T(0));
           norm = sqrt(row_sum(c * c) / T(n) + eps) + picked;""",
    each="y = c / norm + T(i);",
)


def by_hand(x, w, t, eps):
    c = x * w
    norm = np.sqrt((c * c).mean(1) + eps) + c[np.arange(len(x)), t]
    return c / norm[:, None] + np.arange(len(x))[:, None], c.max(1), norm


def inputs(dtype="float64"):
    draw = np.random.default_rng(0)
    return draw.random((3, 5)).astype(dtype), draw.random(5).astype(dtype), np.array([4, 0, 2]), 0.25


@on_fake
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rows(dtype):
    x, w, t, eps = inputs(dtype)
    with counting(launches) as seen:
        found = centred(asarray(x), asarray(w), asarray(t), eps)
    assert seen == {"centred": 1}
    for ours, expected in zip(found, by_hand(x, w, t, eps), strict=True):
        assert ours.dtype == dtype
        np.testing.assert_allclose(to_host(ours), expected, 1e-5 if dtype == "float32" else 1e-14)


@on_fake
def test_rows_of_any_shape_strided_and_with_numbers_for_arrays():
    x, _, _, eps = inputs()
    y, top, norm = centred(asarray(x.T.copy()).T, 2, 1, np.float32(eps))
    for ours, expected in zip((y, top, norm), by_hand(x, 2, np.ones(3, int), eps), strict=True):
        np.testing.assert_allclose(to_host(ours), expected, 1e-14)
    wide = centred(asarray(np.ones((2, 3, 4))), 1, 0, 0)
    assert [w.shape for w in wide] == [(2, 3, 4), (2, 3), (2, 3)]
    assert centred(asarray(np.ones((0, 4))), 1, 0, 0)[1].shape == (0,)


@on_fake
def test_rows_in_place():
    x, w, t, eps = inputs()
    place, top, norm = asarray(x), asarray(np.zeros(3)), asarray(np.zeros(3))
    assert centred(place, asarray(w), asarray(t), eps, place, top, norm)[0] is place
    np.testing.assert_allclose(to_host(place), by_hand(x, w, t, eps)[0], 1e-14)


@on_fake
@pytest.mark.parametrize(
    "changed",
    [
        {0: np.ones((3, 5), "float16")},
        {0: np.ones((3, 5), "int64")},
        {1: np.ones(5, "float32")},
        {1: np.ones(4)},
        {1: np.ones((3, 5))},
        {2: np.ones(3)},
        {2: np.ones((3, 1), "int64")},
        {3: np.ones(1)},
        {4: np.ones((3, 5))},
    ],
)
def test_what_rows_refuse(changed):
    given = {**dict(enumerate(inputs())), **changed}
    with pytest.raises(TypeError, match="kernel centred"):
        centred(*(asarray(x) if isinstance(x, np.ndarray) else x for x in given.values()))


@on_fake
def test_rows_refuse_a_strided_output_and_a_host_array():
    x, w, t, eps = inputs()
    strided, row = asarray(np.zeros((5, 3))).T, asarray(np.zeros(3))
    with pytest.raises(TypeError, match="output y is strided"):
        centred(asarray(x), asarray(w), asarray(t), eps, strided, row, row)
    with pytest.raises(TypeError, match="host array"):
        centred(asarray(x), w, asarray(t), eps)


@on_fake
@pytest.mark.parametrize(
    ("parts", "why"),
    [
        ({"row": "T a = row_sum(x) + row_max(x);"}, "two reductions"),
        ({"row": "T a = row_sum(0.5 * x);"}, "double"),
        ({"row": "T a = row_sum(j);"}, "row_sum of int64"),
        ({"row": "T a = x;"}, "'x' has no value"),  # of a row as a whole there is no x
        ({"row": "r = T(0);", "each": "y = x; r = x;"}, "'r' is not declared"),
        ({"each": "y = x * n;"}, "float64 and int64"),
    ],
)
def test_what_a_text_over_rows_may_not_do(parts, why):
    kernel = Rows("wrong", "T x", "T y, row T r", **{"each": "y = x;", "row": "r = T(1);", **parts})
    with pytest.raises(BackendError, match=why):
        kernel(asarray(np.ones((2, 3))))


def test_source_takes_numbers_by_value_and_arrays_by_pointer():
    types = {"T": np.dtype("float32"), "I": np.dtype("int64")}
    text = source(centred, types, (False, True, False, True, False, False, False))
    arguments = (
        "const T* _x, const T w, const I* _t, const T eps, T* _y, T* _top, T* _norm, const long long n"
    )
    assert (
        f"mpipar_centred({arguments})" in text
        and "typedef float T;" in text
        and "typedef long long I;" in text
    )
    assert text.count("all_sum(") == 3 and text.count("all_max(") == 2  # each is defined once


def test_every_warp_of_a_block_has_a_place_among_the_parts():
    types = {"T": np.dtype("float32"), "I": np.dtype("int64")}
    text = source(centred, types, (False, False, False, True, False, False, False))
    places = re.search(r"__shared__ T parts\[(\d+)\];", text)
    assert int(places[1]) >= threads(10**9) // 32


def test_threads_are_whole_warps():
    assert [threads(n) for n in (1, 32, 128, 129, 1000, 10**6)] == [32, 32, 32, 64, 256, 512]


def test_what_cupy_is_given(monkeypatch):
    """Source, grid, block, and arguments in the order of the parameters; compiled once for a kind of call."""
    made = []

    class RawKernel:
        def __init__(self, code, name):
            self.code, self.name, self.calls = code, name, []
            made.append(self)

        def __call__(self, grid, block, arguments):
            self.calls.append((grid, block, arguments))

    monkeypatch.setattr(kernels, "BACKEND", "cupy")
    monkeypatch.setattr(
        kernels, "xp", SimpleNamespace(RawKernel=RawKernel, ElementwiseKernel=lambda *given: given)
    )
    monkeypatch.setattr(kernels, "empty_like", lambda x, shape: np.empty(shape, x.dtype))
    kernel = Rows("pairs", "T x, row I t, scalar T eps, row bool m", "T y, row T r", "y = x;", "r = eps;")
    x, t = np.ones((6, 300), "float32"), np.arange(6)
    for _ in range(2):
        kernel(x, t, 0.5, True)
    kernel(x, t.astype("int32"), 0.5, t > 2)
    kernel(np.ones((300, 6), "float32").T, t, 0.5, t > 2)
    first, second, third = made
    (grid, block, arguments), _ = first.calls
    assert (first.name, grid, block) == ("mpipar_pairs", (6,), (128,))
    assert (
        "(const T* _x, const I* _t, const T eps, const bool m, T* _y, T* _r, const long long n)" in first.code
    )
    assert [x.dtype.name for x in arguments] == [
        "float32",
        "int64",
        "float32",
        "bool",
        "float32",
        "float32",
        "int64",
    ]
    assert [np.ndim(x) for x in arguments] == [2, 1, 0, 0, 2, 1, 0] and arguments[-1] == 300
    assert "const bool* _m" in second.code and "typedef int I;" in second.code and len(second.calls) == 1
    assert "typedef long long I;" in third.code and "const bool* _m" in third.code
    assert third.calls[0][2][0].flags.c_contiguous
    call = Elementwise("twice", "T x", "T y", "y = 2 * x;")._call
    assert call == ("T x", "T y", "y = 2 * x;", "mpipar_twice")
