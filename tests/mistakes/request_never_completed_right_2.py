# class: none | ranks: 3 | mode: watch
"""Prefetching: the next batch is under way only where there is one."""

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank
batches = [np.empty(4), np.empty(4)]
if rank == 0:
    for number in range(2):
        world.send(np.full(4, float(number)), 1, tag=number)
elif rank == 1:
    coming = world.irecv(batches[0], 0, tag=0)
    for number in range(2):
        assert (coming.wait() == number).all()
        if number == 0:
            coming = world.irecv(batches[1], 0, tag=1)
world.barrier()
