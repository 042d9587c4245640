# class: ended rank | ranks: 2 | fault: any 0@13 1@16 | mode: watch
"""A stream of batches: three are sent, a fourth is waited for."""

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank
batch = np.zeros(16, np.float32)
if rank == 0:
    for step in range(3):
        world.send(batch + step, 1, tag=step)
else:
    for step in range(4):
        world.recv(batch, 0, tag=step)
