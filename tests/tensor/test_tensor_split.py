"""Backward in two parts against backward in one."""

import numpy as np
import pytest

from mpipar import nn
from mpipar.arrays import BACKEND, asarray, to_host
from mpipar.errors import GraphError
from mpipar.tensor import Tensor, backward_input, gelu, linear

DRAW = np.random.default_rng(0)
X, DY = DRAW.standard_normal((2, 4, 8)), DRAW.standard_normal((2, 4, 8))


def grads(model):
    return {name: None if p.grad is None else to_host(p.grad).copy() for name, p in model.named_parameters()}


def test_a_transformer_block_in_two_parts():
    """Attention slices its packed weight, so a part of the graph lies aside."""
    model = nn.Block(8, 2, dtype=np.float64, seed=1)
    x = Tensor(asarray(X), requires_grad=True)
    model(x).backward(asarray(DY))
    whole, dx = grads(model), to_host(x.grad)
    model.zero_grad()
    x = Tensor(asarray(X), requires_grad=True)
    later = backward_input(model(x), x, asarray(DY))
    np.testing.assert_allclose(to_host(x.grad), dx, rtol=1e-12)
    assert set(grads(model).values()) == {None}
    assert all(p.requires_grad for p in model.parameters())
    later()
    for name, grad in grads(model).items():
        np.testing.assert_allclose(grad, whole[name], rtol=1e-12, atol=1e-14, err_msg=name)


def test_what_comes_before_the_input_is_heard_later():
    """x may be a result: here of the first layer, as on a pipeline's first stage."""
    first, last = nn.Linear(8, 8, seed=1, dtype=np.float64), nn.Linear(8, 8, seed=2, dtype=np.float64)
    layers = nn.Sequential(first, last)
    last(gelu(first(Tensor(asarray(X))))).backward(asarray(DY))
    whole = grads(layers)
    layers.zero_grad()
    for y_is_x in (False, True):
        layers.zero_grad()
        h = gelu(first(Tensor(asarray(X))))
        y = last(h)
        later = backward_input(y, y if y_is_x else h, asarray(DY))
        assert set(grads(layers).values()) == {None}
        later()
        for name, grad in grads(layers).items():
            np.testing.assert_allclose(grad, whole[name], rtol=1e-12, err_msg=name)


def test_hooks_hear_of_weights_in_the_order_of_backward():
    heard = []
    model = nn.Sequential(*(nn.Linear(8, 8, seed=i, dtype=np.float64) for i in range(3)))
    for name, p in model.named_parameters():
        p.register_post_accumulate_grad_hook(lambda p, name=name: heard.append(name))
    x = Tensor(asarray(X), requires_grad=True)
    later = backward_input(model(x), x, asarray(DY))
    assert heard == []
    later()
    assert [name.split(".")[0] for name in heard] == ["2", "2", "1", "1", "0", "0"]


@pytest.mark.skipif(BACKEND != "numpy", reason="counts products of NumPy arrays")
def test_each_part_computes_its_own_products_and_no_others():
    """Three linear layers: one product each for dx, one each for dw, none twice."""

    class Counted(np.ndarray):
        products = 0

        def __array_ufunc__(self, ufunc, method, *inputs, **options):
            Counted.products += ufunc is np.matmul
            plain = [x.view(np.ndarray) if isinstance(x, Counted) else x for x in inputs]
            return np.asarray(getattr(ufunc, method)(*plain, **options)).view(Counted)

    def leaf(array):
        t = Tensor(array, requires_grad=True)
        t.data = t.data.view(Counted)
        return t

    x, weights = leaf(X), [leaf(DRAW.standard_normal((8, 8))) for _ in range(3)]
    y = x
    for w in weights:
        y = linear(y, w)
    assert Counted.products == 3
    later = backward_input(y, x, DY.view(Counted))
    assert Counted.products == 6 and x.grad is not None and all(w.grad is None for w in weights)
    later()
    assert Counted.products == 9 and all(w.grad is not None for w in weights)


def test_a_tensor_that_does_not_depend_on_x_is_refused():
    x, w = Tensor(np.ones(2), requires_grad=True), Tensor(np.ones(2), requires_grad=True)
    with pytest.raises(GraphError, match="does not depend on"):
        backward_input(w * 2, x, np.ones(2))
