"""Activations as modules, for Sequential."""

from mpipar.nn.module import Module
from mpipar.tensor import Tensor, gelu, relu, sigmoid, tanh


class ReLU(Module):
    """max(x, 0)"""

    def forward(self, x: Tensor) -> Tensor:
        return relu(x)


class GELU(Module):
    """x Φ(x) in the tanh approximation, torch.nn.GELU("tanh"); see tensor/activation.py"""

    def forward(self, x: Tensor) -> Tensor:
        return gelu(x)


class Tanh(Module):
    """tanh x"""

    def forward(self, x: Tensor) -> Tensor:
        return tanh(x)


class Sigmoid(Module):
    """1/(1 + e⁻ˣ)"""

    def forward(self, x: Tensor) -> Tensor:
        return sigmoid(x)
