"""Random numbers that do not depend on the layout.

A stream is keyed by (seed, name): Philox4x64 (Salmon et al., SC 2011) with the 128-bit
BLAKE2b digest of both as its key. A rank that holds rows 8..15 of a weight draws the
*global* weight and slices it, so one, two or eight ranks start from the same values, on
the host or on a GPU: the draws are made on the host and copied.
"""

import hashlib
from typing import Any

import numpy as np

from mpipar.arrays.backend import asarray


def generator(seed: int, *name: object) -> np.random.Generator:
    """A NumPy generator whose stream is fixed by (seed, name) alone.

    name: any printable parts, for example ("dropout", layer, step).
    """
    text = "\x1f".join([str(int(seed)), *map(str, name)])
    key = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16).digest(), "little")
    return np.random.Generator(np.random.Philox(key=key))


def uniform(
    seed: int, name: object, shape: tuple[int, ...], low: float, high: float, dtype: Any = np.float32
) -> Any:
    """An array of the backend, uniform in [low, high), drawn in float64 and rounded to dtype."""
    return asarray(generator(seed, name).uniform(low, high, shape).astype(dtype))


def normal(seed: int, name: object, shape: tuple[int, ...], std: float = 1.0, dtype: Any = np.float32) -> Any:
    """An array of the backend, normal with mean 0 and deviation std, drawn in float64."""
    return asarray((generator(seed, name).standard_normal(shape) * std).astype(dtype))
