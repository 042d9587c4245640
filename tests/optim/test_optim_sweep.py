"""How updates run: fused over flat buffers, in place, without waiting for the device."""

import numpy as np
import pytest

from mpipar import nn, optim
from mpipar.arrays import asarray, to_host
from mpipar.arrays.fake import counting
from mpipar.errors import GraphError, OptionError, ShapeError
from mpipar.optim.runs import runs
from mpipar.tensor import Tensor

X = np.random.default_rng(0).standard_normal((6, 3)).astype("f")


def backward(model):
    (model(Tensor(X)) * 0.1).sum().backward()


def test_a_model_with_all_gradients_is_one_run_and_the_missing_part_it():
    model = nn.MLP([3, 4, 4, 2], seed=0)
    opt = optim.Adam(model.parameters())
    backward(model)
    p = list(model.parameters())
    assert [(r.first, r.last, len(r.x), len(r.g)) for r in runs(p)] == [(0, 6, 46, 46)]
    p[2].grad = None
    assert [(r.first, r.last) for r in runs(p)] == [(0, 2), (3, 6)]
    assert [(r.first, r.last) for r in runs(p, [0, 0, 0, 0, 1, 1])] == [(0, 2), (3, 4), (4, 6)]
    p[0].grad = p[0].grad.copy()  # set by hand: not in the buffer any more
    assert [(r.first, r.last) for r in runs(p)] == [(0, 1), (1, 2), (3, 6)]
    p[0].grad[...] = 0
    before = p[0].numpy().copy()
    opt.step()
    assert np.array_equal(p[0].numpy(), before)  # its own gradient counts, not the buffer's
    opt.zero_grad()
    assert list(runs(p)) == []


@pytest.mark.parametrize("piece", [1, 7, 46, 1000])
def test_pieces_do_not_change_the_result(piece, monkeypatch):
    results = []
    for size in (1 << 15, piece):
        monkeypatch.setattr("mpipar.arrays.cache.PIECE", size)
        model = nn.MLP([3, 4, 4, 2], seed=0)
        opt = optim.AdamW(model.parameters(), lr=0.1)
        for _ in range(3):
            backward(model)
            opt.step()
            opt.zero_grad()
        results.append(model.state_dict())
    for name in results[0]:
        np.testing.assert_array_equal(results[0][name], results[1][name])


@pytest.mark.parametrize("rule", [optim.SGD, optim.AdaGrad, optim.Adam, optim.AdamW])
def test_a_step_neither_waits_nor_moves_memory(rule):
    model = nn.MLP([3, 4, 2], seed=0)
    opt = rule(model.parameters(), lr=0.1)
    schedule = optim.CosineLR(opt, 10, warmup=2)
    for _ in range(3):
        backward(model)
        arrays = [p.data for p in model.parameters()]
        with counting() as counts:
            optim.clip_grad_norm(model.parameters(), 0.1)
            opt.step()
            opt.zero_grad()
            schedule.step()
        assert not counts
        assert all(p.data is array for p, array in zip(model.parameters(), arrays, strict=True))
        assert set(opt._slots[0].values) == ({"sum"} if rule is optim.AdaGrad else set(opt.buffers)) - (
            {"momentum_buffer"} if rule is optim.SGD else set()
        )


def test_the_optimizer_leaves_a_layout_that_is_there():
    model = nn.MLP([3, 4, 4, 2], seed=0)
    flat = nn.flatten(model.parameters())
    optim.SGD([model[4].bias, model[0].weight])
    assert nn.flatten(model.parameters()) is flat
    optim.SGD(model[2].parameters())
    assert nn.flatten(model.parameters()) is flat


def test_flattening_after_the_optimizer_keeps_its_state():
    results = []
    for late in (False, True):
        model = nn.MLP([3, 4, 4, 2], seed=0)
        opts = [optim.Adam(model[i].parameters(), lr=0.1) for i in (0, 2, 4)]
        for step in range(4):
            if late and step == 2:
                nn.flatten(model.parameters())
            backward(model)
            for opt in opts:
                opt.step()
                opt.zero_grad()
        results.append(model.state_dict())
    for name in results[0]:
        np.testing.assert_array_equal(results[0][name], results[1][name])


def test_two_dtypes_and_tied_parameters():
    both = nn.Module()
    both.a, both.b = nn.Linear(3, 2), nn.Linear(3, 2, dtype="float64")
    both.initialize(0)
    opt = optim.Adam([*both.parameters(), both.a.weight], lr=0.1)
    before = both.state_dict()
    both.a(Tensor(X)).sum().backward()
    both.b(Tensor(X.astype("float64"))).sum().backward()
    opt.step()
    for name, after in both.state_dict().items():
        assert after.dtype == before[name].dtype
        np.testing.assert_allclose(np.abs(after - before[name]), 0.1, rtol=1e-5)  # Adam's first step is ±lr


def test_frozen_parameters_cost_no_state_and_thawing_is_noticed():
    model = nn.MLP([3, 4, 2], seed=0)
    model[0].requires_grad_(False)
    opt = optim.Adam(model.parameters())
    frozen = model.state_dict()["0.weight"]
    backward(model)
    opt.step()
    assert len(opt._slots[0].values["exp_avg"]) == 10
    assert np.array_equal(model.state_dict()["0.weight"], frozen)
    assert opt.state_dict()["param_groups"][0]["names"] == ["0.weight", "0.bias", "2.weight", "2.bias"]
    model[0].requires_grad_(True)
    backward(model)
    with pytest.raises(GraphError, match="make the optimizer anew"):
        opt.step()


def test_zero_grad_keeps_the_buffer_and_empty_parameters_pass():
    model = nn.MLP([3, 4, 2], seed=0)
    opt = optim.SGD([*model.parameters(), nn.Parameter(np.zeros((0, 3), "f"))], lr=0.1)
    backward(model)
    opt.step()
    opt.zero_grad()
    before = model.state_dict()
    opt.step()  # nothing has a gradient
    assert all(np.array_equal(a, before[k]) for k, a in model.state_dict().items())


def leaf():
    return Tensor(np.ones(2, "f"), requires_grad=True)


def strided():
    return Tensor(asarray(np.ones((2, 3), "f")).T, requires_grad=True)


def in_two_groups():
    p = leaf()
    return optim.SGD([{"params": [p]}, {"params": [p]}])


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: optim.SGD([]), OptionError, "needs parameters"),
        (lambda: optim.SGD([leaf() * 2]), OptionError, "leaf tensors"),
        (lambda: optim.SGD([np.ones(2)]), OptionError, "leaf tensors"),
        (in_two_groups, OptionError, "in two groups"),
        (
            lambda: optim.SGD([{"params": [leaf()], "betas": 1}]),
            OptionError,
            "'params', 'betas'.*lr, momentum",
        ),
        (lambda: optim.SGD([{"lr": 1}]), OptionError, "give 'params'"),
        (lambda: optim.SGD(leaf(), lr=-1), OptionError, "SGD: lr=-1 is negative"),
        (lambda: optim.SGD(leaf(), nesterov=True), OptionError, "needs a momentum"),
        (lambda: optim.AdamW(leaf(), betas=(0.9, 1.0)), OptionError, r"AdamW: betas=\(0.9, 1.0\)"),
        (lambda: optim.SGD(strided()), ShapeError, "strided view"),
        (lambda: optim.clip_grad_norm(leaf(), -1), OptionError, "max_norm=-1"),
        (lambda: optim.StepLR(optim.SGD(leaf()), 0), OptionError, "every=0"),
        (lambda: optim.CosineLR(optim.SGD(leaf()), 5, warmup=5), OptionError, "warmup=5, total=5"),
    ],
)
def test_errors(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_loading_another_optimizers_state_says_what_differs():
    model = nn.MLP([3, 4, 2], seed=0)
    adam, sgd = optim.Adam(model.parameters()), optim.SGD(model.parameters())
    backward(model)
    adam.step()
    saved = adam.state_dict()
    with pytest.raises(OptionError, match="SGD keeps no 'exp_avg'"):
        sgd.load_state_dict(saved)
    with pytest.raises(OptionError, match=r"groups of \[4\] parameters, the optimizer \[2\]"):
        optim.Adam(model[0].parameters()).load_state_dict(saved)
    with pytest.raises(OptionError, match=r"of parameter 0.weight where the optimizer has 2.bias"):
        optim.Adam(reversed(list(model.parameters()))).load_state_dict(saved)
    saved["state"][0]["exp_avg"] = np.zeros(3)
    with pytest.raises(ShapeError, match=r"exp_avg \(3,\) for Tensor 0.weight"):
        adam.load_state_dict(saved)


def test_grad_norm_without_gradients_is_zero():
    assert to_host(optim.grad_norm([leaf()])) == 0
    p = leaf()
    p.grad = asarray(np.array([3, 4], "f"))
    assert to_host(optim.grad_norm(p)) == 5
    known = asarray(np.array(10, "f"))  # the norm over all ranks' shards, say
    assert optim.clip_grad_norm(p, 1.0, norm=known) is known
    np.testing.assert_allclose(to_host(p.grad), [0.3, 0.4], rtol=1e-5)
