"""What a rank has of the serial twin's tensors: all, a tp rank's part, a stage's, or ZeRO's piece of one."""

from typing import Any

import numpy as np

from mpipar.arrays import to_host
from mpipar.parallel.shards import cut, named
from mpipar.parallel.training import Training

NOTHING = np.empty(0)


class Here:
    """By the twin's names; NOTHING where this rank has none of it.   parameters: this rank's"""

    def __init__(self, training: Training) -> None:
        self.training, self.parameters = training, named(training.model)
        zero = training.zero
        self._pieces = None if zero is None else {part.parameter: part for part in zero.parts}

    def has(self, kind: str, name: str) -> bool:
        """Whether any of the parameter, or of its gradient, is on this rank."""
        p = self.parameters.get(name)
        return p is not None and (kind != "gradient" or self._pieces is None or p in self._pieces)

    def values(self) -> dict[str, np.ndarray]:
        """Of the parameters; under ZeRO's third stage gathered for it.   Copies"""
        with self.training.gathered():
            return {name: to_host(p.data).copy() for name, p in self.parameters.items()}

    def gradient(self, name: str) -> np.ndarray:
        """Averaged; under ZeRO the piece of it, of one dim."""
        if not self.has("gradient", name):
            return NOTHING
        p: Any = self.parameters[name]
        p = p if self._pieces is None else self._pieces[p].own
        return np.zeros(p.shape) if p.grad is None else to_host(p.grad).copy()

    def part_of(self, kind: str, name: str, whole: np.ndarray) -> np.ndarray:
        """Of an array like the twin's parameter, what is compared here for this kind."""
        if not self.has(kind, name):
            return NOTHING
        p = self.parameters[name]
        part = cut(p, whole)
        if kind != "gradient" or self._pieces is None:
            return part
        piece = self._pieces[p]
        return part.reshape(-1)[piece.start : piece.stop]
