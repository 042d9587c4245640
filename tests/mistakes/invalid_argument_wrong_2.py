# class: invalid argument | ranks: 3 | fault: 0@11 | mode: watch
"""Rank 0 makes a negative tag from its own number."""

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank
if rank < 2:
    world.send(np.ones(2), 2, tag=rank - 1)
else:
    for source in (1, 0):
        world.recv(np.empty(2), source)
