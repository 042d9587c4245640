# class: none | ranks: 4 | mode: watch
"""Master and workers: whoever is idle asks, gets a task, and at the end a stop."""

import numpy as np

import mpipar as mp

world = mp.world()
rank, size = world.rank, world.size
request, task = np.array([rank]), np.empty(1)
if rank == 0:
    left, stopped = [4.0, 9.0, 16.0, 25.0, 36.0], 0
    while stopped < size - 1:
        world.recv(request, mp.ANY_SOURCE, tag=1)
        task[0] = left.pop() if left else -1
        stopped += task[0] < 0
        world.send(task, int(request[0]), tag=2)
else:
    while True:
        world.send(request, 0, tag=1)
        if world.recv(task, 0, tag=2)[0] < 0:
            break
