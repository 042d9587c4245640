# class: wrong communicator | ranks: 4 | fault: any 2@13 3@17 | mode: watch
"""Rows of a mesh: rank 2 sends to its neighbour in the world, which listens in the row."""

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank
row = world.split(rank // 2)
x = np.full(3, float(rank))
if rank == 2:
    world.send(x, 3, tag=1)
elif row.rank == 0:
    row.send(x, 1, tag=1)
else:
    row.recv(x, 0, tag=1)
