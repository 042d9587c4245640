# class: wrong peer | ranks: 3 | fault: any 0@13 2@16 | mode: watch
"""Broadcast by hand: rank 0 sends to all, but rank 2 waits for its left neighbour."""

import numpy as np

import mpipar as mp

world = mp.world()
rank, size = world.rank, world.size
weights = np.full(4, float(rank))
if rank == 0:
    for dest in range(1, size):
        world.send(weights, dest)
else:
    source = 0 if rank == 1 else rank - 1
    world.recv(weights, source)
