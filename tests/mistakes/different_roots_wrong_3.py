# class: different roots | ranks: 3 | fault: 0@12 | mode: watch
"""Errors are summed on the last rank; rank 0 sums them on itself."""

import numpy as np

import mpipar as mp

world = mp.world()
rank, size = world.rank, world.size
errors = np.array([rank, 1])
root = 0 if rank == 0 else size - 1
total = world.reduce(errors, op="sum", root=root)
