"""Learning rates that follow the step: η_t = η f(t), f a closed formula.

Make the schedule after the optimizer, and call `schedule.step()` after each `opt.step()`:
update number t (from 0) uses f(t). The warm-up (Goyal et al. 2017) is linear and comes first,
f(t) = (t + 1)/w for t < w; the formula behind it starts at t = w.
"""

import math
from collections.abc import Callable
from typing import Any

from mpipar.errors import OptionError
from mpipar.optim.optimizer import Optimizer


def step_decay(t: int, every: int, gamma: float = 0.1, warmup: int = 0) -> float:
    """f(t) = γ^⌊(t - w)/every⌋, after the warm-up."""
    return (t + 1) / warmup if t < warmup else gamma ** ((t - warmup) // every)


def cosine(t: int, total: int, warmup: int = 0, floor: float = 0.0) -> float:
    """f(t) = floor + (1 - floor)(1 + cos π (t - w)/(total - w))/2, after the warm-up; floor from `total` on.

    (Loshchilov & Hutter, SGDR, ICLR 2017, without restarts)
    """
    if t < warmup:
        return (t + 1) / warmup
    done = min((t - warmup) / (total - warmup), 1.0)
    return floor + (1 - floor) * (1 + math.cos(math.pi * done)) / 2


class Schedule:
    """Sets each group's "lr" to its first value times factor(t).

    factor: t -> number; t: updates done so far; last_lr: the rates now, one a group
    """

    def __init__(self, optimizer: Optimizer, factor: Callable[[int], float]) -> None:
        self.optimizer, self.factor, self.t = optimizer, factor, 0
        self.base = [group["lr"] for group in optimizer.param_groups]
        self._apply()

    def step(self) -> None:
        """Go on to the next update."""
        self.t += 1
        self._apply()

    @property
    def last_lr(self) -> list[float]:
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """What a restart needs."""
        return {"t": self.t, "base": list(self.base)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state` was.   errors: OptionError for another number of groups"""
        if len(state["base"]) != len(self.base):
            raise OptionError(
                f"a schedule of {len(state['base'])} groups for {len(self.base)}; use the same groups"
            )
        self.t, self.base = state["t"], list(state["base"])
        self._apply()

    def _apply(self) -> None:
        for group, base in zip(self.optimizer.param_groups, self.base, strict=True):
            group["lr"] = base * self.factor(self.t)


class StepLR(Schedule):
    """step_decay: times gamma every so many updates, as torch.optim.lr_scheduler.StepLR."""

    def __init__(self, optimizer: Optimizer, every: int, gamma: float = 0.1, warmup: int = 0) -> None:
        if every < 1 or warmup < 0:
            raise OptionError(f"StepLR: every={every}, warmup={warmup}; give at least 1 and 0")
        super().__init__(optimizer, lambda t: step_decay(t, every, gamma, warmup))


class CosineLR(Schedule):
    """cosine: down to floor·lr in `total` updates, as torch's CosineAnnealingLR (until total)."""

    def __init__(self, optimizer: Optimizer, total: int, warmup: int = 0, floor: float = 0.0) -> None:
        if not 0 <= warmup < total:
            raise OptionError(f"CosineLR: warmup={warmup}, total={total}; the warm-up must be shorter")
        super().__init__(optimizer, lambda t: cosine(t, total, warmup, floor))
