# class: different dtypes | ranks: 4 | fault: 1@13 | mode: watch
"""Parameter broadcast: rank 1 makes its array from whole numbers."""

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank
weights = np.array([0.5, 1.5, 2.5]) if rank == 0 else np.zeros(3)
if rank == 1:
    weights = np.array([0, 0, 0])
world.bcast(weights, root=0)
