"""Initial values as recipes: what to draw, to be drawn once the parameter's name is known.

    uniform   θ ~ U[-scale, scale)      PyTorch's linear and convolution layers, 1/√(fan in)
    normal    θ ~ N(0, scale²)          embeddings
    constant  θ = scale                 norms (1), their biases (0)

The stream is keyed by (seed, global name) over the *whole* parameter; a rank that holds a
part of it draws all and keeps `part`. So every layout starts from the same weights.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from mpipar import arrays
from mpipar.arrays import asarray, xp


@dataclass(frozen=True)
class Init:
    """How to draw one parameter.

    shape: of the whole parameter, over all ranks
    part: the index of what this rank keeps of it, for example (slice(0, 5),), or numbers of rows
      in a host array; all if None
    """

    kind: str
    shape: tuple[int, ...]
    scale: float
    dtype: Any = "float32"
    part: Any = None

    def draw(self, seed: int, name: str) -> Any:
        """A new array of the backend.   cost: one draw a value of the whole, on the host."""
        if self.kind == "constant":
            values = xp.full(self.shape, self.scale, self.dtype)
        elif self.kind == "uniform":
            values = arrays.uniform(seed, name, self.shape, -self.scale, self.scale, self.dtype)
        else:
            values = arrays.normal(seed, name, self.shape, self.scale, self.dtype)
        if self.part is None:
            return values
        part = tuple(asarray(i) if isinstance(i, np.ndarray) else i for i in self.part)
        return values[part].copy()  # so that the memory of the whole can go


def uniform(shape: tuple[int, ...], bound: float, dtype: Any = "float32", part: Any = None) -> Init:
    return Init("uniform", tuple(shape), bound, dtype, part)


def normal(shape: tuple[int, ...], std: float, dtype: Any = "float32", part: Any = None) -> Init:
    return Init("normal", tuple(shape), std, dtype, part)


def constant(shape: tuple[int, ...], value: float, dtype: Any = "float32", part: Any = None) -> Init:
    return Init("constant", tuple(shape), value, dtype, part)


def fan_in_bound(fan_in: int) -> float:
    """1/√(fan in): PyTorch's default, He et al. (2015) with slope √5.   0 for no inputs."""
    return 1 / math.sqrt(fan_in) if fan_in > 0 else 0.0
