"""AdaGrad (Duchi, Hazan & Singer, JMLR 2011)."""

from collections.abc import Iterable
from typing import Any

from mpipar.arrays import xp
from mpipar.optim import kernels
from mpipar.optim.optimizer import Optimizer, decayed


class AdaGrad(Optimizer):
    """g ← g + λ x;   s ← s + g²;   x ← x - η_t g/(√s + ε),   η_t = η/(1 + (t - 1) lr_decay).

    The same as torch.optim.Adagrad.   lr η, weight_decay λ, eps ε
    state: one number a parameter (sum), from initial_accumulator_value on
    errors: OptionError
    """

    buffers = ("sum",)

    def __init__(
        self,
        parameters: Iterable[Any],
        lr: float = 1e-2,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
    ) -> None:
        super().__init__(
            parameters,
            lr=lr,
            lr_decay=lr_decay,
            weight_decay=weight_decay,
            initial_accumulator_value=initial_accumulator_value,
            eps=eps,
        )

    def prepare(self, slots):
        slots.allocate("sum", slots.group["initial_accumulator_value"])

    def update(self, x, g, t, group, scratch, sum):
        one, two = scratch
        g = decayed(x, g, group["weight_decay"], out=one)
        sum += xp.multiply(g, g, out=two)
        xp.sqrt(sum, out=two)
        two += group["eps"]
        xp.divide(g, two, out=two)
        two *= _rate(t, group)
        x -= two

    def fused(self, x, g, t, group, sum):
        kernels.adagrad(g, _rate(t, group), group["weight_decay"], group["eps"], x, sum)


def _rate(t: int, group: dict[str, Any]) -> float:
    return group["lr"] / (1 + (t - 1) * group["lr_decay"])
