"""Every operation: its gradient against a central difference, its dtypes, its purity."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tensor_cases import CASES, NOT_OPERATIONS, examples, on_backend

import mpipar.tensor as mt
from mpipar.arrays import asarray, to_host, xp
from mpipar.errors import GraphError, ShapeError
from mpipar.tensor import Tensor, gradcheck

every_case = pytest.mark.parametrize("case", CASES, ids=str)


def test_the_table_has_every_public_operation():
    assert {case.op for case in CASES} == set(mt.__all__) - NOT_OPERATIONS


@every_case
@given(data=st.data())
@examples(15)
def test_gradient_agrees_with_a_central_difference(case, data):
    inputs, extra = case.make(data.draw)
    extra = on_backend(extra)
    gradcheck(lambda *x: case.call(*x, **extra), *inputs)


@every_case
@pytest.mark.parametrize("dtype", ["float32", "float16"])
@given(data=st.data())
@examples(4)
def test_value_and_gradient_keep_the_dtype(case, dtype, data):
    inputs, extra = case.make(data.draw)
    leaves = [Tensor(asarray(x.astype(dtype)), requires_grad=True) for x in inputs]
    before = [to_host(t.data).copy() for t in leaves]
    y = case.call(*leaves, **on_backend(extra))
    assert isinstance(y.data, xp.ndarray) and y.dtype == dtype
    seed = asarray(np.ones(y.shape, dtype))
    for parent, part in zip(y.parents, y.vjp(seed) if y.parents else (), strict=True):
        assert not parent.requires_grad or (part.shape, part.dtype) == (parent.shape, dtype)
    y.backward(seed)
    for leaf, x in zip(leaves, before, strict=True):
        assert isinstance(leaf.grad, xp.ndarray)
        assert (leaf.grad.shape, leaf.grad.dtype) == (leaf.shape, leaf.dtype)
        assert np.array_equal(to_host(leaf.data), x), "an operation changed its input"
    assert (to_host(seed) == 1).all(), "a vjp changed the gradient it was given"


@every_case
@given(data=st.data())
@examples(4)
def test_each_operand_alone_gets_the_gradient_it_gets_in_company(case, data):
    inputs, extra = case.make(data.draw)
    extra = on_backend(extra)

    def gradients(wanted):
        leaves = [Tensor(asarray(x), requires_grad=i in wanted) for i, x in enumerate(inputs)]
        y = case.call(*leaves, **extra)
        y.backward(asarray(np.cos(np.arange(y.size)).reshape(y.shape)))
        return [None if t.grad is None else to_host(t.grad) for t in leaves]

    together = gradients(range(len(inputs)))
    for i in range(len(inputs)):
        alone = gradients([i])
        assert np.array_equal(alone.pop(i), together[i])
        assert all(g is None for g in alone)


def test_gradcheck_reports_a_wrong_vjp_with_both_numbers():
    def wrong(x):
        return Tensor(x.data * 3.0, (x,), lambda dy: (dy * 3.001,))

    with pytest.raises(GraphError, match=r"central difference .* backward .* relative error"):
        gradcheck(wrong, np.ones((2, 3)))
    assert 1e-6 < gradcheck(wrong, np.ones((2, 3)), tolerance=1e-2) < 1e-3


def test_gradcheck_reports_a_gradient_that_is_missing():
    def half(x, y):
        return x * y.data

    with pytest.raises(GraphError, match="gradcheck"):
        gradcheck(half, np.ones(3), np.ones(3) * 2)


def test_gradcheck_of_a_constant_is_exact():
    assert gradcheck(lambda x: x * 0.0, np.ones(3)) == 0


def test_astype_casts_back():
    x = Tensor(asarray(np.ones(3, np.float32)), requires_grad=True)
    y = x.astype("float64")
    assert y.dtype == np.float64
    assert y.vjp(asarray(np.ones(3)))[0].dtype == np.float32 and x.astype("float32") is x
    y.sum().backward()
    assert x.grad.dtype == np.float32
    assert not x.astype("int64").requires_grad


def test_softmax_and_losses_do_not_overflow():
    x = Tensor(asarray(np.array([[1000.0, -1000.0, 999.0]], np.float32)), requires_grad=True)
    for y in (mt.softmax(x), mt.log_softmax(x), mt.cross_entropy(x, asarray(np.array([0]))), mt.sigmoid(x)):
        assert np.isfinite(y.numpy()).all()


def test_softmax_of_each_row_is_its_own_however_large_another_is():
    x = Tensor(asarray(np.array([[0.0, 0.0], [200.0, 200.0]], np.float32)))
    np.testing.assert_allclose(mt.softmax(x).numpy(), np.full((2, 2), 0.5), 1e-6)
    np.testing.assert_allclose(mt.log_softmax(x).numpy(), np.full((2, 2), -np.log(2)), 1e-6)


def test_layer_norm_far_from_zero_keeps_the_variance():
    """The mean of the squares less the square of the mean would be rounding errors alone."""
    x = np.random.default_rng(0).normal(1e4, 1, (4, 64)).astype(np.float32)
    y, exact = (mt.layer_norm(Tensor(asarray(a))).numpy() for a in (x, x.astype(np.float64)))
    np.testing.assert_allclose(y, exact, 0, 1e-2)


def test_dropout_from_a_generator_keeps_the_mean():
    x = Tensor(asarray(np.ones((100, 100), np.float32)), requires_grad=True)
    y = mt.dropout(x, 0.25, np.random.default_rng(0))
    y.sum().backward()
    assert y.numpy().mean() == pytest.approx(1, abs=0.02)
    assert set(np.unique(y.numpy())) == {np.float32(0), np.float32(4 / 3)}
    assert np.array_equal(to_host(x.grad), y.numpy())


@pytest.mark.parametrize("op", [mt.linear, mt.matmul])
def test_products_of_an_empty_batch(op):
    x = Tensor(asarray(np.zeros((0, 3, 2), np.float32)), requires_grad=True)
    w = Tensor(asarray(np.ones((2, 2), np.float32)), requires_grad=True)
    y = op(x, w)
    y.sum().backward()
    assert y.shape == (0, 3, 2) and x.grad.shape == x.shape and (to_host(w.grad) == 0).all()


@pytest.mark.parametrize(("p", "slope"), [(0, 0), (1, 1), (2, 0)])
def test_small_powers_have_a_slope_at_zero(p, slope):
    x = Tensor(asarray(np.zeros(2)), requires_grad=True)
    (x**p).sum().backward()
    assert (to_host(x.grad) == slope).all()


def test_gradcheck_wants_a_function_that_can_be_called_again():
    shapes = iter([(2,), (1, 2), (1, 2)])
    with pytest.raises(ShapeError, match=r"\(2,\), then \(1, 2\)"):
        gradcheck(lambda x: x.reshape(next(shapes)), np.ones(2))


def test_nothing_to_look_up():
    none, w = asarray(np.zeros((0,), np.int64)), Tensor(asarray(np.ones((3, 2))), requires_grad=True)
    y = mt.embedding(none, w)
    y.sum().backward()
    assert y.shape == (0, 2) and (to_host(w.grad) == 0).all()
    assert mt.cross_entropy(y, none, reduction="sum").item() == 0
