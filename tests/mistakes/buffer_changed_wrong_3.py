# class: buffer changed | ranks: 2 | fault: 1@17 1@19 | mode: watch
"""The halo is cleared after its receive was started."""

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
    request = world.irecv(halo, 0)
    halo[:] = 0
    request.wait()
    print(halo)
