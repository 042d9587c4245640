# class: request never completed | ranks: 2 | fault: 0@12 | mode: watch
"""Fire and forget: an isend that nobody waits for."""

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank
gradient = np.ones(6)
if rank == 0:
    world.isend(gradient, 1)
else:
    world.recv(gradient, 0)
