# class: none | ranks: 2 | mode: watch
"""A message is under way while both are at the barrier."""

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank
x = np.full(4, float(rank))
if rank == 0:
    request = world.isend(x, 1)
world.barrier()
if rank == 0:
    request.wait()
else:
    assert (world.recv(x, 0) == 0).all()
