# class: message dtype | ranks: 3 | fault: any 0@13 2@17 | mode: watch
"""Gather by hand: rank 2 computes in float32 and sends eight numbers for the master's four."""

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank
if rank == 0:
    parts = np.empty((2, 4))
    for worker in (1, 2):
        world.recv(parts[worker - 1], worker)
elif rank == 1:
    world.send(np.ones(4), 0)
else:
    world.send(np.ones(8, np.float32), 0)
