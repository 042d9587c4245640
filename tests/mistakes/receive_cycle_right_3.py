# class: none | ranks: 4 | mode: watch
"""Master and workers: first all the work goes out, then the results come in, in another order."""

import numpy as np

import mpipar as mp

world = mp.world()
rank, size = world.rank, world.size
task, result = np.arange(3.0), np.empty(3)
if rank == 0:
    for worker in range(1, size):
        world.send(task + worker, worker, tag=1)
    for worker in reversed(range(1, size)):
        world.recv(result, worker, tag=2)
        assert (result == (task + worker) ** 2).all()
else:
    world.recv(task, 0, tag=1)
    world.send(task**2, 0, tag=2)
