# class: request never completed | ranks: 3 | fault: 1@18 | mode: watch
"""Prefetching: after the last batch rank 1 starts to receive one more."""

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank
batches = [np.empty(4), np.empty(4), np.empty(4)]
if rank == 0:
    for number in range(2):
        world.send(np.full(4, float(number)), 1, tag=number)
elif rank == 1:
    coming = world.irecv(batches[0], 0, tag=0)
    for number in range(2):
        coming.wait()
        coming = world.irecv(batches[number + 1], 0, tag=number + 1)
world.barrier()
