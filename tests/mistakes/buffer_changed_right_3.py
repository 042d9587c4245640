# class: none | ranks: 2 | mode: watch
"""The halo is cleared before its receive is started."""

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank
halo = np.ones(4)
if rank == 0:
    request = world.isend(halo, 1)
world.barrier()
if rank == 0:
    request.wait()
if rank == 1:
    halo[:] = 0
    request = world.irecv(halo, 0)
    while not request.test():
        pass
    assert (halo == 1).all()
    halo[:] = 0
