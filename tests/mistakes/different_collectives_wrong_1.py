# class: different collectives | ranks: 3 | fault: 2@12 | mode: watch
"""The end of an epoch: rank 2 meets at the barrier before it sums the loss."""

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank
loss = np.full(1, 0.5 + rank)
if rank == 2:
    world.barrier()
    loss = world.allreduce(loss)
else:
    loss = world.allreduce(loss)
    world.barrier()
