"""What a rank has of the serial twin's tensors: all, a tp rank's part, a stage's, or ZeRO's piece of one."""

from typing import Any

import numpy as np

from mpipar.arrays import asarray, to_host
from mpipar.parallel.shards import cut, global_slices, named
from mpipar.parallel.training import Training

NOTHING = np.empty(0)
CLIPPED = "clipped gradient"
GRADIENTS = ("gradient", CLIPPED)  # kinds of tensors that ZeRO cuts into pieces


class Here:
    """By the twin's names; NOTHING where this rank has none of it.   parameters: this rank's"""

    def __init__(self, training: Training) -> None:
        self.training, self.parameters = training, named(training.model)
        zero = training.zero
        self._pieces = None if zero is None else {part.parameter: part for part in zero.parts}

    def has(self, kind: str, name: str) -> bool:
        """Whether any of the parameter, or of its gradient, is on this rank."""
        p = self.parameters.get(name)
        return p is not None and (not self._in_pieces(kind) or p in self._pieces)

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
        return self._piece_of(kind, p, part) if self._in_pieces(kind) else part

    def whole(self, kind: str, name: str, mine: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """All ranks' parts joined, the other way from part_of; of copies the first counts.   Collective

        cost: an allreduce of the whole
        """
        joined = np.zeros(shape)
        if self._counts(kind, name):
            p = self.parameters[name]
            part = np.zeros(cut(p, joined).shape)
            self._piece_of(kind, p, part)[...] = mine.reshape(-1)
            for there, here in global_slices(p):
                joined[there] = part[here]
        return to_host(self.training.mesh.comm.allreduce(asarray(joined)))

    def _counts(self, kind: str, name: str) -> bool:
        """Whether no rank before this one has the same numbers."""
        place = self.training.mesh.coordinates
        if not self.has(kind, name) or (place["dp"] and not self._in_pieces(kind)):
            return False
        return self.parameters[name].shard is not None or place["tp"] == 0

    def _in_pieces(self, kind: str) -> bool:
        return kind in GRADIENTS and self._pieces is not None

    def _piece_of(self, kind: str, p: Any, part: np.ndarray) -> np.ndarray:
        """Of one dim, and of a contiguous part a view."""
        flat = part.reshape(-1)
        return flat[self._pieces[p].start : self._pieces[p].stop] if self._in_pieces(kind) else flat
