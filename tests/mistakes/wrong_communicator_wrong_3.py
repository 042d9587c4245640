# class: wrong communicator | ranks: 2 | fault: any 0@13 1@15 | mode: strict
"""Halo exchange: rank 0 sends its edge on the pair, rank 1 listens in the world."""

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank
pair = world.split(0)
edge = np.full(6, float(rank))
if rank == 0:
    pair.send(edge, 1)
else:
    world.recv(edge, 0)
