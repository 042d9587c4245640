# class: message size | ranks: 3 | fault: any 1@13 2@16 | mode: watch
"""Halo exchange: rank 1 sends one row of edges, rank 2 waits for two."""

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank
edge = np.zeros((1, 5))
if rank == 1:
    world.send(edge, 0)
    world.send(edge, 2)
else:
    rows = 1 if rank == 0 else 2
    world.recv(np.empty((rows, 5)), 1)
