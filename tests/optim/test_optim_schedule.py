"""Learning rates: closed formulas, and PyTorch's where it has them."""

import math

import pytest

from mpipar import optim
from mpipar.arrays import xp
from mpipar.errors import OptionError
from mpipar.tensor import Tensor


def ours(make, steps, rates=(0.5, 0.1)):
    groups = [{"params": [Tensor(xp.ones(1), requires_grad=True)], "lr": rate} for rate in rates]
    schedule = make(optim.SGD(groups))
    seen = []
    for _ in range(steps):
        seen.append(schedule.last_lr)
        schedule.step()
    return seen


def torchs(make, steps, rates=(0.5, 0.1)):
    torch = pytest.importorskip("torch")
    groups = [{"params": [torch.ones(1, requires_grad=True)], "lr": rate} for rate in rates]
    opt = torch.optim.SGD(groups, lr=1)
    schedule = make(opt, torch.optim.lr_scheduler)
    seen = []
    for _ in range(steps):
        seen.append([group["lr"] for group in opt.param_groups])
        opt.step()
        schedule.step()
    return seen


def assert_same(a, b):
    assert [x for row in a for x in row] == pytest.approx([x for row in b for x in row], rel=1e-9, abs=1e-12)


def test_step_equals_torch():
    assert_same(ours(lambda o: optim.StepLR(o, 3, 0.5), 20), torchs(lambda o, t: t.StepLR(o, 3, 0.5), 20))


def test_cosine_equals_torch():
    expected = torchs(lambda o, t: t.CosineAnnealingLR(o, 20), 21)
    assert_same(ours(lambda o: optim.CosineLR(o, 20), 21), expected)
    # PyTorch's floor is one number for all groups, ours a share of each group's rate
    expected = torchs(lambda o, t: t.CosineAnnealingLR(o, 20, eta_min=0.1), 21, rates=(0.5,))
    assert_same(ours(lambda o: optim.CosineLR(o, 20, floor=0.2), 21, rates=(0.5,)), expected)


@pytest.mark.filterwarnings("ignore")
def test_warm_up_equals_torch():
    def make(opt, t):
        warm = t.LinearLR(opt, start_factor=1 / 4, total_iters=3)
        return t.SequentialLR(opt, [warm, t.CosineAnnealingLR(opt, 16)], [4])

    assert_same(ours(lambda o: optim.CosineLR(o, 20, warmup=4), 20), torchs(make, 20))


def test_closed_formulas():
    assert [optim.step_decay(t, 2, 0.1, warmup=2) for t in range(7)] == pytest.approx(
        [0.5, 1, 1, 1, 0.1, 0.1, 0.01]
    )
    assert [optim.cosine(t, 6, warmup=2, floor=0.2) for t in range(9)] == pytest.approx(
        [0.5, 1, 1, *(0.2 + 0.4 * (1 + math.cos(math.pi * k / 4)) for k in (1, 2, 3)), 0.2, 0.2, 0.2]
    )


def test_a_schedule_sets_the_rate_that_step_uses_and_restarts():
    p = Tensor(xp.ones(1), requires_grad=True)
    opt = optim.SGD([p], lr=1.0)
    schedule = optim.Schedule(opt, lambda t: 1 / (t + 2))
    p.grad = xp.ones(1)
    opt.step()
    assert p.item() == 0.5
    schedule.step()
    assert schedule.last_lr == [pytest.approx(1 / 3)]
    again = optim.Schedule(optim.SGD([p], lr=9.0), lambda t: 1 / (t + 2))
    again.load_state_dict(schedule.state_dict())
    again.step()
    assert again.last_lr == [0.25]
    with pytest.raises(OptionError, match="2 groups for 1"):
        again.load_state_dict({"t": 0, "base": [1, 2]})
