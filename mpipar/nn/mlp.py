"""The multi-layer perceptron."""

from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Any

from mpipar.errors import OptionError
from mpipar.nn.activation import ReLU
from mpipar.nn.container import Sequential
from mpipar.nn.module import Module
from mpipar.nn.parts import SERIAL, Parts
from mpipar.tensor import Tensor, cross_entropy


class MLP(Sequential):
    """Linear layers of the given widths with an activation between them.

    MLP([64, 128, 64, 10], seed=0) has the names 0.weight, 0.bias, 2.weight, … of
    torch.nn.Sequential(Linear(64, 128), ReLU(), Linear(128, 64), ReLU(), Linear(64, 10)).
    shapes: x (…, widths[0]) -> (…, widths[-1])
    parts: where the layers come from: column and row by turns, the last a row, so that all ranks have y
    errors: OptionError for fewer than two widths
    """

    criterion = staticmethod(cross_entropy)

    def __init__(
        self,
        widths: Sequence[int],
        *,
        seed: int | None = None,
        activation: type[Module] = ReLU,
        bias: bool = True,
        parts: Parts = SERIAL,
        dtype: Any = "float32",
    ) -> None:
        if len(widths) < 2 or min(widths) < 1:
            raise OptionError(f"MLP: widths {list(widths)}; give at least an input and an output width")
        layers: list[Module] = []
        last = len(widths) - 2
        for number, (width, out) in enumerate(pairwise(widths)):
            make = parts.column
            if number == last or number % 2:
                make = partial(parts.row, input_is_parallel=number % 2 == 1)
            layers += [make(width, out, bias, dtype=dtype), activation()]
        super().__init__(*layers[:-1], seed=seed)

    def loss(self, x: Any, labels: Any, reduction: str = "mean") -> Tensor:
        """The cross-entropy of the classes, labels (…,)."""
        return self.criterion(self(x), labels, reduction)
