# class: message never received | ranks: 3 | fault: 2@17 | mode: watch
"""Worker 2 reports that it is done under a tag that the master does not ask for."""

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank
result = np.full(3, float(rank))
if rank == 0:
    for worker in (1, 2):
        world.recv(result, worker, tag=1)
else:
    world.send(result, 0, tag=1)
if rank == 2:
    world.send(np.array([1]), 0, tag=9)
world.barrier()
