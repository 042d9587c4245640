# class: none | ranks: 3 | mode: watch
"""Steps round a ring: all leave together, when the slowest has converged."""

import sys

import numpy as np

import mpipar as mp

world = mp.world()
rank, size = world.rank, world.size
left, right = (rank - 1) % size, (rank + 1) % size
x = np.full(2, float(rank))
for step in range(4):
    x = world.sendrecv(x, right, left, tag=step)
    converged = np.array([rank == 1 or step == 2])
    if world.allreduce(converged, op="min")[0]:
        assert step == 2
        sys.exit(0)
