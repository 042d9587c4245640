# class: different collectives | ranks: 2 | fault: any 0@12 1@15 | mode: watch
"""Tensor and data parallel groups: the two ranks sum on both, in another order."""

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank
x = np.full(2, float(rank))
if rank == 0:
    world.bcast(x)
    x = world.allreduce(x)
else:
    x = world.allreduce(x)
    world.bcast(x)
