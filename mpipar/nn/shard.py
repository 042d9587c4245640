"""What one rank keeps of a parameter that the ranks of an axis share.

    weight (8, 4), dim 0, 2 ranks              in_proj_weight (12, 4), dim 0, 2 ranks, groups 3
    rank 0   rows 0 … 3                        rank 0   rows 0 1 | 4 5 | 8 9      q | k | v
    rank 1   rows 4 … 7                        rank 1   rows 2 3 | 6 7 | 10 11

A shard tells where its values lie in the whole, under the global name, so that a certificate
compares them and a checkpoint puts them together again, on any number of ranks.
"""

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

Index = tuple[slice, ...]


@dataclass(frozen=True)
class Shard:
    """Part `rank` of `size` equal parts along `dim` of an array of that (global) `shape`.

    axis: of the mesh, along whose ranks the parts lie
    groups: so many stretches of dim are shared each by itself, as q, k and v of packed attention weights
    """

    shape: tuple[int, ...]
    dim: int
    rank: int
    size: int
    axis: str = "tp"
    groups: int = 1

    @property
    def ranges(self) -> list[tuple[int, int]]:
        """(start, stop) in dim of the whole, one a group; the part holds them one after the other."""
        group = self.shape[self.dim] // self.groups
        part = group // self.size
        starts = [g * group + self.rank * part for g in range(self.groups)]
        return [(start, start + part) for start in starts]

    @property
    def part(self) -> tuple[Any, ...]:
        """The index that takes the part from the whole: a slice, or the numbers of all rows."""
        ranges = self.ranges
        taken = slice(*ranges[0]) if len(ranges) == 1 else np.concatenate([np.arange(*r) for r in ranges])
        return (*self._before, taken)

    def slices(self) -> list[tuple[Index, Index]]:
        """Pairs of slices (in the whole, in the part): whole[a] is part[b]."""
        lengths = [0, *np.cumsum([stop - start for start, stop in self.ranges]).tolist()]
        inside = pairwise(lengths)
        return [
            ((*self._before, slice(*r)), (*self._before, slice(*i)))
            for r, i in zip(self.ranges, inside, strict=True)
        ]

    def of(self, rank: int) -> "Shard":
        """The part of another rank."""
        return replace(self, rank=rank)

    @property
    def _before(self) -> Index:
        return (slice(None),) * self.dim
