# class: none | ranks: 4 | mode: watch
"""Shift to the right, then back to the left."""

import numpy as np

import mpipar as mp

world = mp.world()
rank, size = world.rank, world.size
left, right = (rank - 1) % size, (rank + 1) % size
x = np.full(2, rank, np.int32)
y = world.sendrecv(x, right, left)
assert (y == left).all()
y = world.sendrecv(y, left, right)
assert (y == rank).all()
