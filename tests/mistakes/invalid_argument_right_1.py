# class: none | ranks: 3 | mode: watch
"""Shift to the right, and the last rank sends nothing."""

import numpy as np

import mpipar as mp

world = mp.world()
rank, size = world.rank, world.size
x, y = np.full(3, float(rank)), np.zeros(3)
if rank > 0:
    world.recv(y, rank - 1)
if rank + 1 < size:
    world.send(x, rank + 1)
assert y[0] == max(rank - 1, 0)
