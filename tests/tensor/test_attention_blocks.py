"""Attention gives the same whatever its blocks are, and keeps no array of T × T values."""

import gc
import importlib
import tracemalloc

import numpy as np
import pytest

from mpipar import arrays
from mpipar.arrays import asarray, to_host
from mpipar.tensor import Tensor, attention, gradcheck, self_attention

draw = np.random.default_rng(0)


def written_out(q, k, v, causal):
    """softmax(q kᵀ/√d) v for one head, a row at a time."""
    y = np.empty((len(q), v.shape[1]))
    for t in range(len(q)):
        seen = t + 1 if causal else len(k)
        s = q[t] @ k[:seen].T / np.sqrt(q.shape[1])
        p = np.exp(s - s.max())
        y[t] = p @ v[:seen] / p.sum()
    return y


@pytest.mark.parametrize("queries, scores", [(1, 1), (3, 1), (3, 50), (7, 1000), (64, 1 << 17)])
@pytest.mark.parametrize("causal", [False, True])
def test_blocks_do_not_change_the_result(queries, scores, causal, monkeypatch):
    module = importlib.import_module("mpipar.tensor.attention")
    monkeypatch.setattr(module, "QUERIES", queries)
    monkeypatch.setattr(module, "SCORES", scores)
    on_device = importlib.import_module("mpipar.tensor.attention_device")
    monkeypatch.setattr(on_device, "QUERIES", queries)
    monkeypatch.setattr(on_device, "SCORES", 8 * scores)
    q, k, v = (draw.standard_normal((2, 3, 8, width)) for width in (4, 4, 5))
    y = to_host(attention(*(Tensor(asarray(x)) for x in (q, k, v)), causal).data)
    for head in np.ndindex(2, 3):
        np.testing.assert_allclose(y[head], written_out(q[head], k[head], v[head], causal), 1e-10, 1e-14)
    gradcheck(lambda *x: attention(*x, causal), q, k, v)
    gradcheck(lambda *x: attention(*x, causal), q[0, 0], k[0], v)  # leading dims broadcast


@pytest.mark.parametrize("size", [1, 1e18])
@pytest.mark.parametrize("dtype, limit", [(np.float32, 1e-4), (np.float64, 1e-11)])
@pytest.mark.parametrize("largest", [1, 30, 60, 300, 1000])
def test_scores_of_every_size(largest, dtype, limit, size):
    """The maximum of a row is taken off only where exp of the scores could overflow."""
    q, k, v = (draw.standard_normal((1, 9, 4)) for _ in range(3))
    q *= 2 * largest / np.abs(q[0] @ k[0].T).max()
    y = attention(*(Tensor(asarray(x.astype(dtype))) for x in (q, k, v * size)), causal=True)
    expected = written_out(q[0], k[0], v[0], True)
    np.testing.assert_allclose(to_host(y.data)[0] / size, expected, 0, largest * limit)


def test_sums_of_large_values_in_half_precision():
    """Without the maximum taken off, exp S v would be 700 times more than float16 holds."""
    q = np.full((2, 4), 1.4, np.float16)
    y = attention(*(Tensor(asarray(x)) for x in (q, q, np.full((2, 4), 700, np.float16))))
    assert (to_host(y.data) == 700).all()


@pytest.mark.parametrize(
    "dtype, shape, q, k, v, scale",
    [
        (
            np.float16,
            (64, 4),
            0.5,
            0.5,
            1000,
            0.9,
        ),  # Σ exp S fits, Σ exp S v does not
        (np.float32, (1, 4, 2), 20, -20, 1, -1),  # S = 800
        (np.float32, (512, 1), 42, 1, 8e18, 1),  # each exp S v fits, their sum does not
    ],
)
def test_equal_values_come_out_where_exp_could_overflow(dtype, shape, q, k, v, scale):
    y = attention(*(Tensor(asarray(np.full(shape, x, dtype))) for x in (q, k, v)), scale=scale)
    np.testing.assert_allclose(to_host(y.data), np.full(shape, v), 1e-3)


@pytest.mark.parametrize("shape", [(0, 2, 4, 3), (2, 2, 0, 3)])
def test_nothing_to_attend(shape):
    x = Tensor(asarray(np.zeros(shape, np.float32)), requires_grad=True)
    other = Tensor(asarray(np.zeros((*shape[:2], 4, 3), np.float32)), requires_grad=True)
    y = attention(x, other, other)
    assert y.shape == shape
    y.backward(asarray(np.zeros(shape, np.float32)))
    assert to_host(other.grad).shape == other.shape and not to_host(other.grad).any()


@pytest.mark.parametrize("shape", [(0, 4, 12), (2, 0, 12)])
def test_nothing_to_attend_side_by_side(shape):
    x = Tensor(asarray(np.zeros(shape, np.float32)), requires_grad=True)
    y = self_attention(x, 2, causal=True)
    assert y.shape == (*shape[:2], 4)
    y.backward(asarray(np.zeros(y.shape, np.float32)))
    assert to_host(x.grad).shape == shape


@pytest.mark.skipif(arrays.BACKEND != "numpy", reason="the device's memory is not traced")
def test_no_array_of_all_scores():
    t = 1024
    x = Tensor(draw.standard_normal((2, t, 16), np.float32), requires_grad=True)
    gc.collect()
    tracemalloc.start()
    y = attention(x, x, x, causal=True)
    kept, peak = tracemalloc.get_traced_memory()
    y.backward(np.ones_like(y.data))
    backward = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    scores = 2 * t * t * 4
    assert kept < scores / 20 and max(peak, backward) < scores / 2
