"""Fifty steps equal PyTorch's, for every rule and its settings."""

import numpy as np
import pytest

from mpipar import optim
from mpipar.arrays import asarray, to_host
from mpipar.nn import Parameter, flatten
from mpipar.tensor import Tensor

torch = pytest.importorskip("torch")

SHAPES = [(4, 3), (5,), (2, 2, 2), (1,)]
RULES = {
    "sgd": ("SGD", "SGD", {"lr": 0.1}),
    "sgd decay": ("SGD", "SGD", {"lr": 0.1, "weight_decay": 0.1}),
    "momentum": ("SGD", "SGD", {"lr": 0.1, "momentum": 0.9}),
    "momentum dampened": ("SGD", "SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1}),
    "nesterov": ("SGD", "SGD", {"lr": 0.1, "momentum": 0.8, "nesterov": True, "weight_decay": 0.1}),
    "adagrad": ("AdaGrad", "Adagrad", {"lr": 0.1}),
    "adagrad all": (
        "AdaGrad",
        "Adagrad",
        {"lr": 0.1, "lr_decay": 0.1, "weight_decay": 0.1, "initial_accumulator_value": 0.5, "eps": 1e-3},
    ),
    "adam": ("Adam", "Adam", {"lr": 0.1}),
    "adam all": ("Adam", "Adam", {"lr": 0.1, "betas": (0.7, 0.8), "eps": 1e-3, "weight_decay": 0.1}),
    "adamw": ("AdamW", "AdamW", {"lr": 0.1}),
    "adamw all": ("AdamW", "AdamW", {"lr": 0.1, "betas": (0.7, 0.8), "eps": 1e-3, "weight_decay": 0.3}),
}
KINDS = {"parameters": Parameter, "tensors": lambda x: Tensor(x, requires_grad=True)}


def both(rule, kind="parameters"):
    """(our optimizer and parameters, PyTorch's), from the same values."""
    ours, theirs, settings = RULES[rule]
    rng = np.random.default_rng(1)
    values = [rng.standard_normal(shape) for shape in SHAPES]
    p = [KINDS[kind](v.copy()) for v in values]
    q = [torch.nn.Parameter(torch.from_numpy(v.copy())) for v in values]
    return getattr(optim, ours)(p, **settings), p, getattr(torch.optim, theirs)(q, **settings), q


def set_gradients(p, q, gradients):
    for ours, theirs, g in zip(p, q, gradients, strict=True):
        theirs.grad = None if g is None else torch.from_numpy(g.copy())
        ours.grad = None
        if g is not None:
            ours._accumulate(asarray(g))  # as backward does


def assert_equal(p, q):
    for ours, theirs in zip(p, q, strict=True):
        np.testing.assert_allclose(to_host(ours.data), theirs.detach().numpy(), rtol=1e-9, atol=1e-9)


def gradients(rng, missing=()):
    return [None if i in missing else rng.standard_normal(s) for i, s in enumerate(SHAPES)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rule", RULES)
def test_fifty_steps(rule, kind):
    opt, p, torch_opt, q = both(rule, kind)
    rng = np.random.default_rng(2)
    for step in range(50):
        # a parameter without a gradient is skipped, and its bias correction stays behind
        missing = {0: (1,), 1: (0, 1), 7: (2,), 8: (0, 1, 2, 3)}.get(step, ())
        set_gradients(p, q, gradients(rng, missing))
        opt.step()
        torch_opt.step()
        assert_equal(p, q)
        opt.zero_grad()
        assert all(x.grad is None for x in p)


@pytest.mark.parametrize("rule", RULES)
def test_state_goes_to_torch_and_back(rule):
    opt, p, torch_opt, q = both(rule)
    rng = np.random.default_rng(3)
    for _ in range(3):
        set_gradients(p, q, gradients(rng, missing=(1,)))
        opt.step()
        torch_opt.step()
    saved = opt.state_dict()
    assert list(saved["state"]) == [0, 2, 3] and saved["param_groups"][0]["params"] == [0, 1, 2, 3]
    fresh, p2, _, _ = both(rule)
    for new, old in zip(p2, p, strict=True):
        new.data = old.data
    fresh.load_state_dict(saved)
    other, p3, _, _ = both(rule)
    for new, old in zip(p3, p, strict=True):
        new.data = old.data
    other.load_state_dict(torch_opt.state_dict())
    for _ in range(3):
        g = gradients(rng)
        set_gradients(p2, q, g)
        set_gradients(p3, q, g)
        for o in (fresh, other, torch_opt):
            o.step()
        assert_equal(p2, q)
        assert_equal(p3, q)


@pytest.mark.parametrize("rule", ["momentum", "adamw"])
def test_groups_have_settings_of_their_own(rule):
    ours, theirs, settings = RULES[rule]
    rng = np.random.default_rng(4)
    values = [rng.standard_normal(s) for s in SHAPES]
    p = [Parameter(v.copy()) for v in values]
    q = [torch.nn.Parameter(torch.from_numpy(v.copy())) for v in values]
    opt, torch_opt = (
        getattr(module, name)(
            [{"params": x[::2], "weight_decay": 0.5}, {"params": x[1::2], "lr": 0.01}], **settings
        )
        for module, name, x in ((optim, ours, p), (torch.optim, theirs, q))
    )
    for _ in range(5):
        set_gradients(p, q, gradients(rng))
        opt.step()
        torch_opt.step()
    assert_equal(p, q)


@pytest.mark.parametrize("max_norm", [0.0, 0.5, 1.0, 1e3])
@pytest.mark.parametrize("flat", [True, False])
def test_clipping(max_norm, flat):
    _, p, _, q = both("sgd", "tensors")
    p = [Parameter(x.data) for x in p]
    if flat:
        flatten(p)
    rng = np.random.default_rng(5)
    set_gradients(p, q, gradients(rng, missing=(2,)))
    if not flat:  # as backward of a transposed product leaves it
        p[0].grad = asarray(np.asfortranarray(to_host(p[0].grad)))
    norm = optim.clip_grad_norm(iter(p), max_norm)
    expected = torch.nn.utils.clip_grad_norm_(q, max_norm)
    assert to_host(norm) == pytest.approx(expected.item(), rel=1e-12) and norm.shape == ()
    for ours, theirs in zip(p, q, strict=True):
        if theirs.grad is not None:
            np.testing.assert_allclose(to_host(ours.grad), theirs.grad.numpy(), rtol=1e-12, atol=1e-15)
    if flat:
        assert p[0].grad is p[0].grad_buffer
