# class: receive cycle | ranks: 4 | fault: 0@13 1@16 | mode: watch
"""Master and workers: the master asks for a result before it has given out work."""

import numpy as np

import mpipar as mp

world = mp.world()
rank, size = world.rank, world.size
task, result = np.arange(3.0), np.empty(3)
if rank == 0:
    for worker in range(1, size):
        world.recv(result, worker, tag=2)
        world.send(task + worker, worker, tag=1)
else:
    world.recv(task, 0, tag=1)
    world.send(task**2, 0, tag=2)
