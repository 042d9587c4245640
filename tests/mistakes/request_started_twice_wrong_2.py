# class: request started twice | ranks: 3 | fault: 1@13 1@14 | mode: watch
"""Halo exchange: by a slip of the pen both edges of rank 1 arrive in one array."""

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank
mine = np.full(4, float(rank))
above, below = np.empty(4), np.empty(4)
if rank == 1:
    first = world.irecv(above, 0)
    second = world.irecv(above, 2)
    first.wait()
    second.wait()
else:
    world.send(mine, 1)
