# class: any-source knot | ranks: 3 | fault: 0@13 1@16 2@16 | mode: watch
"""Master and workers: the master waits to be asked, the workers wait to be told."""

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank
request, task = np.array([rank]), np.empty(4)
if rank == 0:
    for _ in range(2):
        world.recv(request, mp.ANY_SOURCE, tag=1)
        world.send(np.ones(4), int(request[0]), tag=2)
else:
    world.recv(task, 0, tag=2)
    world.send(request, 0, tag=1)
