# class: none | ranks: 3 | mode: watch
"""Errors are summed on the last rank."""

import numpy as np

import mpipar as mp

world = mp.world()
rank, size = world.rank, world.size
errors = np.array([rank, 1])
total = world.reduce(errors, op="sum", root=size - 1)
assert (total is None) == (rank < size - 1)
if total is not None:
    assert total.tolist() == [3, 3]
