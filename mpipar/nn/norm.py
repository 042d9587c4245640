"""Normalisation over the last dim; the formulas are in tensor/norm.py.

Initial values: weight 1, bias 0.   shapes: x (…, width) -> the same
"""

from typing import Any

from mpipar.nn.init import constant
from mpipar.nn.module import Module
from mpipar.nn.parameter import Parameter
from mpipar.tensor import Tensor, layer_norm, rms_norm


class LayerNorm(Module):
    """y = w (x - μ)/√(σ² + ε) + b.   Names: weight, bias (width,), as of torch.nn.LayerNorm."""

    def __init__(
        self,
        width: int,
        eps: float = 1e-5,
        bias: bool = True,
        *,
        dtype: Any = "float32",
        seed: int | None = None,
    ) -> None:
        self.eps = eps
        self.weight = Parameter(constant((width,), 1.0, dtype))
        self.bias = Parameter(constant((width,), 0.0, dtype)) if bias else None
        self.initialize(seed)

    def forward(self, x: Tensor) -> Tensor:
        return layer_norm(x, self.weight, self.bias, self.eps)

    def describe(self) -> str:
        return str(self.weight.size)


class RMSNorm(Module):
    """y = w x/√(mean(x²) + ε).   Name: weight (width,), as of torch.nn.RMSNorm."""

    def __init__(
        self, width: int, eps: float = 1e-6, *, dtype: Any = "float32", seed: int | None = None
    ) -> None:
        self.eps = eps
        self.weight = Parameter(constant((width,), 1.0, dtype))
        self.initialize(seed)

    def forward(self, x: Tensor) -> Tensor:
        return rms_norm(x, self.weight, self.eps)

    def describe(self) -> str:
        return str(self.weight.size)
