"""Stochastic gradient descent (Robbins & Monro 1951) with momentum (Polyak 1964)."""

from collections.abc import Iterable
from typing import Any

from mpipar.arrays import xp
from mpipar.errors import OptionError
from mpipar.optim import kernels
from mpipar.optim.optimizer import Optimizer, decayed


class SGD(Optimizer):
    """g ← g + λ x;   b ← μ b + (1 - τ) g, at the first update b ← g;   x ← x - η b.

    nesterov: x ← x - η (g + μ b) (Sutskever et al. 2013).   The same as torch.optim.SGD.
    lr η, momentum μ, dampening τ, weight_decay λ
    state: none without momentum, else one number a parameter (momentum_buffer)
    errors: OptionError, also for nesterov without momentum or with dampening
    """

    def __init__(
        self,
        parameters: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
    ) -> None:
        super().__init__(
            parameters,
            lr=lr,
            momentum=momentum,
            dampening=dampening,
            weight_decay=weight_decay,
            nesterov=nesterov,
        )

    buffers = ("momentum_buffer",)

    def check(self, group):
        super().check(group)
        if group["nesterov"] and (group["momentum"] == 0 or group["dampening"] != 0):
            raise OptionError(
                f"SGD: nesterov with momentum={group['momentum']}, dampening={group['dampening']}; "
                "it needs a momentum and no dampening"
            )

    def prepare(self, slots):
        if slots.group["momentum"]:
            super().prepare(slots)

    def update(self, x, g, t, group, scratch, momentum_buffer=None):
        one, two = scratch
        momentum = group["momentum"]
        g = decayed(x, g, group["weight_decay"], out=one)
        if momentum and t == 1:
            momentum_buffer[...] = g
        elif momentum:
            momentum_buffer *= momentum
            momentum_buffer += xp.multiply(g, 1 - group["dampening"], out=two)
        if momentum and group["nesterov"]:
            xp.multiply(momentum_buffer, momentum, out=two)
            two += g
            g = two
        elif momentum:
            g = momentum_buffer
        x -= xp.multiply(g, group["lr"], out=two)

    def fused(self, x, g, t, group, momentum_buffer=None):
        rates, momentum = (group["lr"], group["weight_decay"]), group["momentum"]
        if not momentum:
            kernels.sgd(g, *rates, x)
            return
        average = (0.0, 1.0) if t == 1 else (momentum, 1 - group["dampening"])
        step = (1.0, momentum) if group["nesterov"] else (0.0, 1.0)
        kernels.momentum(g, *rates, *average, *step, x, momentum_buffer)
