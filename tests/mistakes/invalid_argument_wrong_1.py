# class: invalid argument | ranks: 3 | fault: 2@13 | mode: watch
"""Shift to the right, and the last rank has no right-hand neighbour."""

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank
x, y = np.full(3, float(rank)), np.zeros(3)
if rank > 0:
    world.recv(y, rank - 1)
world.send(x, rank + 1)
