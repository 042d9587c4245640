# class: different roots | ranks: 4 | fault: 2@13 | mode: watch
"""The best rank shall send its weights, but rank 2 takes its own loss for the best."""

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank
losses = np.array([0.3, 0.2, 0.4, 0.5])
best = 2 if rank == 2 else int(losses.argmin())
weights = np.full(4, float(rank))
world.bcast(weights, root=best)
