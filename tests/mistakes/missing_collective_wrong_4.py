# class: missing collective | ranks: 3 | fault: 1@11 2@11 | mode: watch
"""Parameter broadcast: only the root calls it, the others keep their own weights."""

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank
weights = np.full(4, float(rank))
world.barrier()
if rank == 0:
    world.bcast(weights, root=0)
loss = (weights**2).sum()
