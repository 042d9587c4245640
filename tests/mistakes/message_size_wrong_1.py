# class: message size | ranks: 2 | fault: any 0@12 1@16 | mode: watch
"""The last batch is larger than the array that waits for it."""

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank
if rank == 0:
    for samples in (8, 8, 10):
        world.send(np.ones(samples, np.float32), 1)
else:
    batch = np.empty(8, np.float32)
    for _ in range(3):
        world.recv(batch, 0)
