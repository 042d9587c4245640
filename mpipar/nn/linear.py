"""The fully connected layer."""

from typing import Any

from mpipar.nn.init import fan_in_bound, uniform
from mpipar.nn.module import Module
from mpipar.nn.parameter import Parameter
from mpipar.tensor import Tensor, linear


class Linear(Module):
    """y = x Wᵀ + b.   Names: weight (out, in), bias (out,), as of torch.nn.Linear.

    shapes: x (…, in) -> (…, out)
    initial values: both uniform in ±1/√in
    seed: given where the layer stands alone; inside a model, the model draws
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        dtype: Any = "float32",
        seed: int | None = None,
    ) -> None:
        bound = fan_in_bound(in_features)
        self.weight = Parameter(uniform((out_features, in_features), bound, dtype))
        self.bias = Parameter(uniform((out_features,), bound, dtype)) if bias else None
        self.initialize(seed)

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)

    def describe(self) -> str:
        out, width = self.weight.shape
        return f"{width} -> {out}"
