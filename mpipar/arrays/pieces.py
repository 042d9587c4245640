"""Pieces of an array small enough that what is computed from one stays in the processor's cache."""

from collections.abc import Iterator
from typing import Any

from mpipar.arrays.backend import on_device

PIECE = 1 << 15  # numbers; six arrays of float32 are 768 KiB


def pieces(length: int, like: Any, width: int = 1) -> Iterator[slice]:
    """Slices of range(length) with about PIECE numbers each, for rows of `width` numbers.

    On a GPU, where each operation has a fixed cost, one slice of all.
    """
    rows = max(length, 1) if on_device(like) else max(PIECE // max(width, 1), 1)
    for start in range(0, length, rows):
        yield slice(start, min(start + rows, length))
