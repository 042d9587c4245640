# class: wrong peer | ranks: 4 | fault: any 2@13 3@13 | mode: watch
"""Shift to the right: rank 3 sends right and listens right too."""

import numpy as np

import mpipar as mp

world = mp.world()
rank, size = world.rank, world.size
left, right = (rank - 1) % size, (rank + 1) % size
source = right if rank == 3 else left
x = np.full(2, rank, np.int32)
y = world.sendrecv(x, right, source)
print(rank, y)
