"""Flat buffers: parameters and gradients are views, whatever the order of events."""

import numpy as np
import pytest

from mpipar import nn
from mpipar.arrays import to_host, xp
from mpipar.errors import DTypeError, OptionError, ShapeError
from mpipar.tensor import Tensor


def shares(x, whole):
    """x's memory is whole's: a write to one is seen in the other, and the libraries agree."""
    whole[...] = 5
    x[...] = 3
    return bool(xp.shares_memory(x, whole)) if xp is np else bool((to_host(whole) == 3).any())


def model():
    return nn.MLP([3, 4, 2], seed=0)


def loss(net):
    return net(Tensor(np.ones((5, 3), "f"))).sum()


def test_values_and_gradients_are_views_with_the_same_numbers():
    net, twin = model(), model()
    flat = nn.flatten(net.parameters())
    assert flat.offsets == [0, 12, 16, 24, 26] and len(flat) == 26 and flat.data.shape == (26,)
    assert [id(p) for p in flat.parameters] == [id(p) for p in net.parameters()]
    loss(net).backward()
    loss(twin).backward()
    expected = np.concatenate([to_host(p.grad).ravel() for p in twin.parameters()])
    assert np.array_equal(to_host(flat.grad), expected)
    expected = np.concatenate([to_host(p.data).ravel() for p in twin.parameters()])
    assert np.array_equal(to_host(flat.data), expected)
    for p in net.parameters():
        assert p.grad is p.grad_buffer and shares(p.data, flat.data) and shares(p.grad, flat.grad)


def test_a_bucket_is_a_view_that_the_parameters_see():
    net = model()
    flat = nn.flatten(net.parameters())
    loss(net).backward()
    data, grad = flat.bucket(1, 3)
    assert data.shape == grad.shape == (12,)
    grad *= 0  # as an allreduce in place would write
    data[...] = 2
    assert not any(to_host(p.grad).any() for p in flat.parameters[1:3])
    assert to_host(flat.parameters[0].grad).any()
    assert (net.state_dict()["2.weight"] == 2).all() and not (net.state_dict()["2.bias"] == 2).any()
    assert shares(data, flat.data) and shares(grad, flat.grad)


def test_backward_after_zero_grad_overwrites_and_twice_adds():
    net = model()
    flat = nn.flatten(net.parameters())
    loss(net).backward()
    once = to_host(flat.grad).copy()
    loss(net).backward()
    assert np.allclose(to_host(flat.grad), 2 * once)
    net.zero_grad()
    loss(net).backward()
    assert np.array_equal(to_host(flat.grad), once)


def test_flatten_keeps_gradients_that_are_there():
    net = model()
    loss(net).backward()
    before = [to_host(p.grad).copy() for p in net.parameters()]
    flat = nn.flatten(net.parameters())
    for p, grad in zip(net.parameters(), before, strict=True):
        assert np.array_equal(to_host(p.grad), grad)
    assert np.array_equal(to_host(flat.grad), np.concatenate([g.ravel() for g in before]))


def test_again_is_the_same_and_a_part_is_a_view():
    net = model()
    flat = nn.flatten(net.parameters())
    assert nn.flatten(net.parameters()) is flat
    part = nn.flatten(net[2].parameters())
    assert part.parameters == [net[2].weight, net[2].bias] and part.offsets == [0, 8, 10]
    assert nn.flatten(net.parameters()) is flat and shares(part.data, flat.data[16:])
    mixed = nn.flatten([net[2].bias, net[0].weight])  # not side by side: they move
    assert net[0].weight.place[0] is mixed and net[0].bias.place[0] is flat
    assert mixed is not flat and shares(net[0].weight.data, mixed.data)


def test_frozen_stay_out_and_tied_have_one_place():
    net = model()
    net[0].requires_grad_(False)
    flat = nn.flatten(net.parameters())
    assert len(flat) == 10 and net[0].weight.place is None
    gpt = nn.GPT(7, 4, 8, layers=1, heads=2, seed=0)
    assert len(nn.flatten([*gpt.parameters(), gpt.head.weight])) == gpt.num_parameters()
    net[2].requires_grad_(False)
    with pytest.raises(OptionError, match="whole model frozen"):
        nn.flatten(net.parameters())


def test_one_dtype_a_flat():
    both = [nn.Linear(2, 2, seed=0), nn.Linear(2, 2, seed=0, dtype="float64")]
    parameters = [p for layer in both for p in layer.parameters()]
    with pytest.raises(DTypeError, match="use flatten_by_dtype"):
        nn.flatten(parameters)
    flats = nn.flatten_by_dtype(parameters)
    assert [f.data.dtype for f in flats] == ["float32", "float64"] and [len(f) for f in flats] == [6, 6]
    both[0].requires_grad_(False)
    assert [f.data.dtype for f in nn.flatten_by_dtype(parameters)] == ["float64"]


def test_assigning_data_writes_into_the_buffer():
    net = model()
    flat = nn.flatten(net.parameters())
    net[0].bias.data = xp.full((4,), 9, "float32")
    net[0].bias.data -= 1
    assert to_host(flat.data[12:16]).tolist() == [8] * 4
    with pytest.raises(ShapeError, match=r"0.bias \(4,\) lies in a flat buffer"):
        net[0].bias.data = xp.zeros(5)
    net.load_state_dict(nn.MLP([3, 4, 2], seed=1).state_dict())
    assert np.array_equal(to_host(flat.data[:12]).reshape(4, 3), net.state_dict()["0.weight"])
    net.initialize(0, again=True)
    assert np.array_equal(to_host(flat.data[:12]).reshape(4, 3), model().state_dict()["0.weight"])


def test_zero_missing_clears_stale_gradients():
    net = model()
    flat = nn.flatten(net.parameters())
    loss(net).backward()
    net.zero_grad()
    net[2](Tensor(np.ones((5, 4), "f"))).sum().backward()
    assert to_host(flat.grad[:16]).any()  # of the first backward
    flat.zero_missing()
    assert not to_host(flat.grad[:16]).any() and to_host(flat.grad[16:]).any()
