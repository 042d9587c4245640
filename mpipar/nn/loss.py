"""Losses as modules; the formulas are in tensor/loss.py."""

from typing import Any

from mpipar.nn.module import Module
from mpipar.tensor import Tensor, cross_entropy, mse


class CrossEntropyLoss(Module):
    """logits (…, classes), labels (…,) -> one number.   The classes are the *last* dim."""

    def __init__(self, reduction: str = "mean", ignore_index: int | None = -100) -> None:
        self.reduction, self.ignore_index = reduction, ignore_index

    def forward(self, logits: Tensor, labels: Any) -> Tensor:
        return cross_entropy(logits, labels, self.reduction, self.ignore_index)


class MSELoss(Module):
    """Σ (x - t)², over their number with reduction="mean"."""

    def __init__(self, reduction: str = "mean") -> None:
        self.reduction = reduction

    def forward(self, x: Tensor, target: Any) -> Tensor:
        return mse(x, target, self.reduction)
