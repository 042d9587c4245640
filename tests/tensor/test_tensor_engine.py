"""The walk from the loss to the leaves: order, accumulation, memory, hooks, misuse."""

import gc
import weakref
from contextvars import copy_context

import numpy as np
import pytest

from mpipar.arrays import asarray, to_host, xp
from mpipar.errors import DTypeError, GraphError, ShapeError
from mpipar.tensor import Tensor, between_operations, linear, no_grad, relu


def leaf(*values, dtype="float32", name=None):
    return Tensor(asarray(np.array(values, dtype)), requires_grad=True, name=name)


def weight(*shape, seed=0, name=None):
    values = np.random.default_rng(seed).standard_normal(shape)
    return Tensor(asarray(values), requires_grad=True, name=name)


def test_a_graph_of_100_000_operations_does_not_overflow():
    x = y = leaf(1.0)
    for _ in range(100_000):
        y = y + 1.0
    y.backward()
    assert to_host(x.grad) == [1] and y.item() == 100_001


def test_a_deep_graph_is_freed_without_a_backward():
    y = leaf(1.0)
    for _ in range(100_000):
        y = y + 1.0
    root = weakref.ref(y)
    del y
    gc.collect()
    assert root() is None


def test_a_tensor_used_twice_adds_up():
    x = leaf(3.0)
    y = x * x + x
    (y * y).backward()  # d (x²+x)²/dx = 2 (x²+x)(2x+1)
    assert to_host(x.grad) == [2 * 12 * 7]


def test_a_shared_middle_is_heard_once_with_the_whole_gradient():
    x, heard = leaf(1.0, 2.0), []

    def vjp(dy):
        heard.append(to_host(dy))
        return (dy,)

    middle = Tensor(x.data * 1, (x,), vjp)
    (middle * 2 + middle * 3 + middle.sum()).sum().backward()
    assert len(heard) == 1 and (heard[0] == 2 + 3 + 2).all()


def test_backward_adds_to_grad_until_it_is_cleared():
    x = leaf(1.0)
    for _ in range(2):
        (x * 2).backward()
    assert to_host(x.grad) == [4]
    x.grad = None
    (x * 2).backward()
    assert to_host(x.grad) == [2]


def test_two_leaves_never_share_one_gradient_array():
    x, y = leaf(1.0), leaf(2.0)
    (x + y).backward()
    x.grad += 1
    assert to_host(y.grad) == [1]


def test_the_seed_is_not_kept_as_a_gradient():
    x, seed = leaf(1.0, 2.0), asarray(np.ones(2, np.float32))
    x.reshape(2).backward(seed)
    x.grad += 1
    assert (to_host(seed) == 1).all()


def test_grad_buffer_receives_the_gradient():
    x, flat = leaf(1.0, 2.0), asarray(np.zeros(5, np.float32))
    x.grad_buffer = flat[1:3]
    (x * 3).sum().backward()
    assert x.grad is x.grad_buffer and (to_host(flat) == [0, 3, 3, 0, 0]).all()


@pytest.mark.parametrize("uses", [1, 2, 3])
def test_a_product_writes_its_gradient_into_the_buffer(uses):
    w, x = weight(3, 4), weight(2, 4, seed=1)
    w.grad_buffer = buffer = asarray(np.full((3, 4), np.nan))  # stale numbers must not matter
    dw = np.ones((2, 3)).T @ to_host(x.data)
    for times in (1, 2):
        sum((linear(x, w).sum() for _ in range(uses)), Tensor(asarray(np.zeros(())))).backward()
        assert w.grad is buffer and np.allclose(to_host(buffer), uses * times * dw)
    w.grad = None
    linear(x, w).sum().backward()
    assert w.grad is buffer and np.allclose(to_host(buffer), dw)


def test_only_the_first_part_of_a_gradient_has_room_in_the_buffer():
    w = weight(3, 4)
    assert w.room() is None  # it has no buffer
    w.grad_buffer = asarray(np.zeros((3, 4)))
    assert w.room() is w.grad_buffer and w.room() is None
    linear(weight(2, 4), w).sum().backward()
    assert w.room() is None  # its gradient is there
    w.grad = None
    assert w.room() is w.grad_buffer


def test_a_leaf_without_dims_gets_an_array():
    x = Tensor(2.0, requires_grad=True)
    (x * x + x).backward()
    assert isinstance(x.grad, xp.ndarray) and x.grad.shape == () and to_host(x.grad) == 5


def test_memory_is_freed_by_backward_while_the_result_is_kept():
    x = weight(4, 4)
    middle = relu(x)
    gone = weakref.ref(middle)
    loss = (middle * 2).sum()
    del middle
    assert gone() is not None
    loss.backward()
    assert gone() is None, "the graph outlived its backward"
    assert loss.shape == ()


def test_memory_is_freed_while_the_walk_goes_on():
    gone, alive_below = [], []
    x = leaf(1.0)

    def spy(dy):
        alive_below.append(gone[0]() is not None)
        return (dy,)

    below = Tensor(x.data * 1, (x,), spy)
    above = Tensor(below.data * 1, (below,), lambda dy: (dy,))
    gone.append(weakref.ref(above))
    loss = (((above * 2) * 3) * 4).sum()
    del above
    loss.backward()
    assert alive_below == [False]


def test_a_result_holds_no_graph_where_nothing_needs_a_gradient():
    constant = Tensor([1.0, 2.0])
    y = (constant * 2).sum()
    assert y.parents == () and y.vjp is None and not y.requires_grad


def test_no_grad_records_nothing_and_ends_after_an_error():
    x = leaf(1.0)
    with no_grad():
        assert not (x * 2).requires_grad
    with pytest.raises(KeyError), no_grad():
        raise KeyError
    assert (x * 2).requires_grad


def test_no_grad_of_one_virtual_rank_does_not_reach_another():
    x = leaf(1.0)
    other = copy_context()
    with no_grad():
        assert other.run(lambda: (x * 2).requires_grad)


def test_a_second_backward_says_that_the_graph_is_gone():
    x = leaf(1.0)
    y = x * 2
    y.backward()
    with pytest.raises(GraphError, match="freed by an earlier backward"):
        y.backward()
    with pytest.raises(GraphError, match="add both losses"):
        (y + 1).backward()


def test_backward_wants_a_graph_and_a_seed_that_fits():
    with pytest.raises(GraphError, match="requires_grad"):
        Tensor([1.0]).backward()
    with pytest.raises(GraphError, match=r"\(2,\).*sum\(\) or mean\(\)"):
        (leaf(1.0, 2.0) * 2).backward()
    with pytest.raises(ShapeError, match=r"\(3,\) does not fit the tensor \(2,\)"):
        leaf(1.0, 2.0).backward(asarray(np.ones(3)))


def test_a_seed_of_another_dtype_is_cast():
    x = leaf(1.0, 2.0)
    y = x * 2
    y.backward(np.ones(2))
    assert x.grad.dtype == np.float32
    z = x * 2
    z.backward(Tensor([1.0, 1.0]))
    assert (to_host(x.grad) == 4).all()


def test_a_hook_fires_once_and_only_when_the_gradient_is_complete():
    x, seen = leaf(1.0, name="x"), []
    remove = x.register_post_accumulate_grad_hook(lambda t: seen.append(float(to_host(t.grad)[0])))
    (x * 2 + x * 3 + x).backward()
    assert seen == [6]
    remove()
    (x * 2).backward()
    assert seen == [6]
    with pytest.raises(GraphError, match="leaf"):
        (x * 2).register_post_accumulate_grad_hook(print)


def spy_layer(x, name, order):
    """The identity; its vjp notes when the walk passes."""

    def vjp(dy):
        order.append(name)
        return (dy,)

    return Tensor(x.data * 1, (x,), vjp)


def input_then_weight(h, w):
    above, left = h.T, w.T
    return (left @ above).T


def weight_then_input(h, w):
    left, above = w.T, h.T
    return (left @ above).T


@pytest.mark.parametrize("layer", [linear, input_then_weight, weight_then_input, lambda h, w: h @ w])
def test_hooks_fire_before_earlier_layers_are_processed(layer):
    """What overlapping of communication rests on, whatever the order of operands and of steps."""
    order, h = [], weight(2, 3)
    for i in range(3):
        w = weight(3, 3, seed=i, name=f"w{i}")
        w.register_post_accumulate_grad_hook(lambda t: order.append(t.name))
        h = spy_layer(h, f"layer {i}", order)
        h = layer(h, w)
    h.sum().backward()
    assert order == ["w2", "layer 2", "w1", "layer 1", "w0", "layer 0"]


def test_hooks_fire_early_beside_a_residual_connection():
    order, h = [], weight(2, 3)
    for i in range(2):
        w = weight(3, 3, seed=i, name=f"w{i}")
        w.register_post_accumulate_grad_hook(lambda t: order.append(t.name))
        h = spy_layer(h, f"layer {i}", order)
        h = h + linear(h, w)
    h.sum().backward()
    assert order == ["w1", "layer 1", "w0", "layer 0"]


def test_what_a_tensor_holds():
    assert Tensor([1, 2]).dtype.kind == "i" and Tensor([1.0]).dtype == np.float32
    assert Tensor(np.float64(1)).dtype == np.float64, "a NumPy scalar keeps its dtype"
    assert Tensor(asarray(np.ones(2))).dtype == np.float64
    assert len(Tensor([[1.0], [2.0]])) == 2 and Tensor([[1.0], [2.0]]).size == 2
    assert repr(leaf(1.0, name="w")) == "Tensor w(shape=(1,), dtype=float32, requires_grad=True)"
    assert leaf(1.0).detach().requires_grad is False
    with pytest.raises(DTypeError, match="holds numbers"):
        Tensor(["a"])
    with pytest.raises(DTypeError, match="holds numbers"):
        Tensor(np.array(["a"]))
    with pytest.raises(DTypeError, match="detach"):
        Tensor(Tensor([1.0]))
    with pytest.raises(DTypeError, match="int64 has no gradient"):
        Tensor(np.array([1, 2]), requires_grad=True)
    with pytest.raises(ShapeError, match=r"item.*\(2,\)"):
        Tensor([1.0, 2.0]).item()


def test_operators_and_methods_are_the_operations():
    a = np.arange(6, dtype=np.float64).reshape(2, 3) + 1
    x = Tensor(asarray(a), requires_grad=True)
    same = {
        "x + 1": a + 1, "1 + x": 1 + a, "x - x": a - a, "3 - x": 3 - a, "x * 2": a * 2, "2 * x": 2 * a,
        "x / 2": a / 2, "2 / x": 2 / a, "-x": -a, "x ** 2": a**2, "abs(x)": a, "x @ x.T": a @ a.T,
        "x[1]": a[1], "x[:, 1:]": a[:, 1:], "x.T": a.T, "x.sum(dim=0)": a.sum(0), "x.mean()": a.mean(),
        "x.max(1)": a.max(1), "x.var(0)": a.var(0, ddof=1), "x.reshape(3, 2)": a.reshape(3, 2),
        "x.reshape((3, 2))": a.reshape(3, 2), "x.permute(1, 0)": a.T, "x.transpose()": a.T,
        "x.exp()": np.exp(a), "x.log()": np.log(a), "x.sqrt()": np.sqrt(a), "x.tanh()": np.tanh(a),
        "x.broadcast_to(2, 2, 3)": np.broadcast_to(a, (2, 2, 3)), "x.relu()": a, "x.pow(2)": a**2,
        "x.sigmoid()": 1 / (1 + np.exp(-a)), "x.abs()": a, "x.astype('float32')": a.astype("float32"),
        "x.softmax()": np.exp(a) / np.exp(a).sum(1, keepdims=True), "x + y": a + a, "y * x": a * a,
        "x.log_softmax(0)": a - np.log(np.exp(a).sum(0)),
    }  # fmt: skip
    for expression, value in same.items():
        y = eval(expression, {"x": x, "y": asarray(a)})
        assert isinstance(y, Tensor) and y.requires_grad, expression
        np.testing.assert_allclose(y.numpy(), value, rtol=1e-6, err_msg=expression)
    assert [row.shape for row in x] == [(3,), (3,)]


def test_between_operations_something_else_can_be_done():
    """Once after each of the three operations of a backward, and never outside of the block."""
    x, said = Tensor(np.ones(3), requires_grad=True), []

    def loss():
        return ((x * x) + x).sum()

    with between_operations(lambda: said.append("outer")):
        with between_operations(lambda: said.append("inner")):
            loss().backward()
        assert said == ["outer", "inner"] * 3
        loss().backward()
    loss().backward()
    assert said == ["outer", "inner"] * 3 + ["outer"] * 3
