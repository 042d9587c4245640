# class: ended rank | ranks: 3 | fault: any 2@11 0@16 | mode: watch
"""Master and workers: worker 2 has no work and ends, but the master waits for its result."""

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank
chunks = np.array([3, 2, 0])
world.bcast(chunks)
total = np.zeros(1)
if rank == 0:
    for worker in (1, 2):
        part = np.empty(1)
        world.recv(part, worker)
        total += part
elif rank == 1:
    world.send(np.ones(1), 0)
