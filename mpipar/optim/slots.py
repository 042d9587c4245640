"""What an optimizer remembers of its parameters (momentum, squares), one flat buffer each."""

from itertools import accumulate
from typing import Any

from mpipar.arrays import xp
from mpipar.tensor import Tensor


class Slots:
    """Memory for parameters of one group and one dtype.

    steps: how many updates each parameter has had
    values: name -> 1-D array in the parameters' order, made at the first update
    """

    def __init__(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        self.group, self.parameters = group, parameters
        self.offsets = [0, *accumulate(p.size for p in parameters)]
        self.steps = [0] * len(parameters)
        self.values: dict[str, Any] = {}

    def allocate(self, name: str, value: float = 0.0) -> None:
        """Make the buffer `name` if it is not there, filled with value."""
        if name not in self.values:
            self.values[name] = xp.full(self.offsets[-1], value, self.parameters[0].dtype)

    def of(self, i: int) -> dict[str, Any]:
        """Views of parameter i's numbers, in its shape."""
        part = slice(self.offsets[i], self.offsets[i + 1])
        return {k: v[part].reshape(self.parameters[i].shape) for k, v in self.values.items()}
