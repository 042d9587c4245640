"""The multi-layer perceptron."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from mpipar.errors import OptionError
from mpipar.nn.activation import ReLU
from mpipar.nn.container import Sequential
from mpipar.nn.linear import Linear
from mpipar.nn.module import Module


class MLP(Sequential):
    """Linear layers of the given widths with an activation between them.

    MLP([64, 128, 64, 10], seed=0) has the names 0.weight, 0.bias, 2.weight, … of
    torch.nn.Sequential(Linear(64, 128), ReLU(), Linear(128, 64), ReLU(), Linear(64, 10)).
    shapes: x (…, widths[0]) -> (…, widths[-1])
    errors: OptionError for fewer than two widths
    """

    def __init__(
        self,
        widths: Sequence[int],
        *,
        seed: int | None = None,
        activation: type[Module] = ReLU,
        bias: bool = True,
        dtype: Any = "float32",
    ) -> None:
        if len(widths) < 2 or min(widths) < 1:
            raise OptionError(f"MLP: widths {list(widths)}; give at least an input and an output width")
        layers: list[Module] = []
        for width, out in pairwise(widths):
            layers += [Linear(width, out, bias, dtype=dtype), activation()]
        super().__init__(*layers[:-1], seed=seed)
