# class: none | ranks: 3 | mode: watch
"""Parameter broadcast: all ranks call it."""

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank
weights = np.full(4, float(rank))
world.barrier()
world.bcast(weights, root=0)
assert (weights == 0).all()
