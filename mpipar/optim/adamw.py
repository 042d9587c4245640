"""AdamW: Adam with decoupled weight decay (Loshchilov & Hutter, ICLR 2019)."""

from collections.abc import Iterable
from typing import Any

from mpipar.optim.adam import Adam


class AdamW(Adam):
    """x ← (1 - η λ) x, then Adam's update for the gradient alone.

    The decay does not pass through m and v, so it is the same for all parameters, however
    large their gradients are.   The same as torch.optim.AdamW; the settings of Adam.
    """

    def __init__(
        self,
        parameters: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ) -> None:
        super().__init__(parameters, lr, betas, eps, weight_decay)

    def update(self, x, g, t, group, scratch, exp_avg, exp_avg_sq):
        x *= 1 - group["lr"] * group["weight_decay"]
        super().update(x, g, t, {**group, "weight_decay": 0.0}, scratch, exp_avg, exp_avg_sq)

    def fused(self, x, g, t, group, exp_avg, exp_avg_sq):
        keep = 1 - group["lr"] * group["weight_decay"]
        super().fused(x, g, t, {**group, "weight_decay": 0.0}, exp_avg, exp_avg_sq, keep)
