# class: buffered sends | ranks: 2 | fault: any 0@12 1@13 | mode: watch
"""A message is sent before the barrier and received after it."""

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank
x = np.full(4, float(rank))
if rank == 0:
    world.send(x, 1)
world.barrier()
if rank == 1:
    assert (world.recv(x, 0) == 0).all()
