# class: invalid argument | ranks: 2 | fault: 0@12 | mode: watch
"""A Python number is no array."""

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank
loss = 0.75
if rank == 0:
    world.send(loss, 1)
else:
    world.recv(np.empty(1), 0)
