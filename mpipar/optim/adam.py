"""Adam (Kingma & Ba, ICLR 2015)."""

import math
from collections.abc import Iterable
from typing import Any

from mpipar.arrays import xp
from mpipar.errors import OptionError
from mpipar.optim import kernels
from mpipar.optim.optimizer import Optimizer, decayed


class Adam(Optimizer):
    """g ← g + λ x;   m ← β₁ m + (1 - β₁) g;   v ← β₂ v + (1 - β₂) g²;
    x ← x - η m̂/(√v̂ + ε)   with m̂ = m/(1 - β₁ᵗ), v̂ = v/(1 - β₂ᵗ).

    The same as torch.optim.Adam.   lr η, betas (β₁, β₂), eps ε, weight_decay λ
    state: two numbers a parameter (exp_avg m, exp_avg_sq v)
    errors: OptionError, also for betas outside [0, 1)
    """

    buffers = ("exp_avg", "exp_avg_sq")

    def __init__(
        self,
        parameters: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(parameters, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)

    def check(self, group):
        super().check(group)
        if len(group["betas"]) != 2 or not all(0 <= beta < 1 for beta in group["betas"]):
            raise OptionError(f"{type(self).__name__}: betas={group['betas']}; give two from 0 up to below 1")

    def update(self, x, g, t, group, scratch, exp_avg, exp_avg_sq):
        one, two = scratch
        beta1, beta2 = group["betas"]
        g = decayed(x, g, group["weight_decay"], out=one)
        exp_avg *= beta1
        exp_avg += xp.multiply(g, 1 - beta1, out=two)
        xp.multiply(g, g, out=two)
        two *= 1 - beta2
        exp_avg_sq *= beta2
        exp_avg_sq += two
        # both fractions times c = √(1 - β₂ᵗ): η m̂/(√v̂ + ε) = (η c/(1 - β₁ᵗ)) m/(√v + c ε), a pass less
        c = math.sqrt(1 - beta2**t)
        xp.sqrt(exp_avg_sq, out=two)
        two += c * group["eps"]
        xp.divide(exp_avg, two, out=two)
        two *= group["lr"] * c / (1 - beta1**t)
        x -= two

    def fused(self, x, g, t, group, exp_avg, exp_avg_sq, keep=1.0):
        (beta1, beta2), c = group["betas"], math.sqrt(1 - group["betas"][1] ** t)
        rate, eps = group["lr"] * c / (1 - beta1**t), c * group["eps"]
        decays, averages = (group["weight_decay"], keep), (beta1, 1 - beta1, beta2, 1 - beta2)
        kernels.adam(g, rate, *decays, *averages, eps, x, exp_avg, exp_avg_sq)
