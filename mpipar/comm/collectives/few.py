"""A few numbers of every rank, added up by all: the allreduce of shared.py in one meeting, made ready.

    2 ranks          rank 0                        rank 1
    give             row 0 ← x, number 0 ← k       row 1 ← x, number 1 ← k
    take             until number 1 = k            until number 0 = k
                     x ← row 0 + row 1             x ← row 0 + row 1

It takes a microsecond, of which looking up rows and orders would be the larger part; so for all
arrays of one shape and dtype they are looked up once. What a rank does between giving and taking
costs nothing as long as the others' numbers are under way.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from mpipar.comm.collectives.orders import Tree, additions
from mpipar.comm.collectives.segment import Segment


class Few:
    """The sum of all ranks' x in the order of `tree`, for every x of that shape and dtype.

    until: how to wait for numbers in shared memory, see Transport
    """

    def __init__(
        self,
        segment: Segment,
        rank: int,
        shape: tuple[int, ...],
        dtype: Any,
        tree: Tree,
        add: np.ufunc,
        until: Callable[[memoryview, list[int], int], None],
    ) -> None:
        self._segment, self._add, self._until = segment, add, until
        self._numbers, self._others = segment.numbers, segment.others
        n = int(np.prod(shape, dtype=np.int64))
        sets = [[row[:n].reshape(shape) for row in rows] for rows in segment.few(dtype)]
        self._mine = [rows[rank] for rows in sets]
        sums = [additions(tree, rows, np.empty(shape, dtype)) for rows in sets]
        self._sums = [(first, mine, theirs) for *first, (mine, theirs, _) in sums]

    def give(self, x: np.ndarray, scale: float | None) -> None:
        """Let the others have x, or scale·x."""
        segment = self._segment
        met = segment.met
        if scale is None:
            self._mine[met & 1][...] = x
        else:
            np.multiply(x, scale, self._mine[met & 1])
        segment.met = met = met + 1
        segment.numbers[segment.mine] = met

    def take(self, out: np.ndarray) -> None:
        """out ← the sum of what all have given; out may be the array that this rank gave."""
        met, numbers = self._segment.met, self._numbers
        for place in self._others:
            if numbers[place] < met:
                self._until(numbers, self._others, met)
                break
        first, mine, theirs = self._sums[~met & 1]  # of the set given into: met has grown since
        for addition in first:
            self._add(*addition)
        self._add(mine, theirs, out)
