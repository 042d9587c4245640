# class: wrong communicator | ranks: 2 | fault: any 0@13 1@15 | mode: watch
"""The weights go out on one communicator and are awaited on a copy of it."""

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank
workers = world.split(0)
weights = np.full(6, float(rank))
if rank == 0:
    world.send(weights, 1)
else:
    workers.recv(weights, 0)
