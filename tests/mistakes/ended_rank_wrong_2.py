# class: ended rank | ranks: 3 | fault: 1@15 1@17 | mode: watch
"""Steps round a ring: rank 1 has converged and leaves, the others go on."""

import sys

import numpy as np

import mpipar as mp

world = mp.world()
rank, size = world.rank, world.size
left, right = (rank - 1) % size, (rank + 1) % size
x = np.full(2, float(rank))
for step in range(4):
    x = world.sendrecv(x, right, left, tag=step)
    if rank == 1 and step == 1:
        sys.exit(0)
