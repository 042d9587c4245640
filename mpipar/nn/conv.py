"""Layers for images of shape (N, C, H, W); the formulas are in tensor/conv.py and pooling.py."""

from typing import Any

from mpipar.nn.init import fan_in_bound, uniform
from mpipar.nn.module import Module
from mpipar.nn.parameter import Parameter
from mpipar.tensor import Tensor, avg_pool2d, conv2d, max_pool2d, reshape


class Conv2d(Module):
    """Names: weight (out, in, kh, kw), bias (out,), as of torch.nn.Conv2d.

    kernel_size, stride, padding: a number, or a pair (height, width)
    initial values: both uniform in ±1/√(in kh kw)
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        bias: bool = True,
        *,
        dtype: Any = "float32",
        seed: int | None = None,
    ) -> None:
        height, width = kernel_size if isinstance(kernel_size, tuple) else (kernel_size, kernel_size)
        bound = fan_in_bound(in_channels * height * width)
        self.stride, self.padding = stride, padding
        self.weight = Parameter(uniform((out_channels, in_channels, height, width), bound, dtype))
        self.bias = Parameter(uniform((out_channels,), bound, dtype)) if bias else None
        self.initialize(seed)

    def forward(self, x: Tensor) -> Tensor:
        return conv2d(x, self.weight, self.bias, self.stride, self.padding)

    def describe(self) -> str:
        out, channels, height, width = self.weight.shape
        return f"{channels} -> {out}, {height}x{width}"


class MaxPool2d(Module):
    """The greatest value in each window."""

    def __init__(self, kernel_size: Any, stride: Any = None, padding: Any = 0) -> None:
        self.window = (kernel_size, stride, padding)

    def forward(self, x: Tensor) -> Tensor:
        return max_pool2d(x, *self.window)


class AvgPool2d(Module):
    """The mean of each window, padding included."""

    def __init__(self, kernel_size: Any, stride: Any = None, padding: Any = 0) -> None:
        self.window = (kernel_size, stride, padding)

    def forward(self, x: Tensor) -> Tensor:
        return avg_pool2d(x, *self.window)


class Flatten(Module):
    """(N, …) -> (N, product of the rest)"""

    def forward(self, x: Tensor) -> Tensor:
        rest = 1
        for size in x.shape[1:]:
            rest *= size
        return reshape(x, (x.shape[0], rest))
