# class: message race | ranks: 3 | fault: 1@13 1@14 | mode: watch
"""Halo exchange: the left edge is whatever comes first, the right edge the other."""

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank
mine = np.full(4, float(rank))
left, right = np.empty(4), np.empty(4)
if rank == 1:
    first = world.irecv(left, mp.ANY_SOURCE)
    second = world.irecv(right, mp.ANY_SOURCE)
    first.wait()
    second.wait()
else:
    world.send(mine, 1)
