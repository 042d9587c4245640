# class: none | ranks: 4 | mode: watch
"""The best rank sends its weights: all see all losses first."""

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank
loss = np.array([[0.3, 0.2, 0.4, 0.5][rank]])
best = int(world.allgather(loss).argmin())
weights = np.full(4, float(rank))
world.bcast(weights, root=best)
assert (weights == 1).all()
