# class: none | ranks: 3 | mode: watch
"""Master and workers: worker 2 has no work and ends early; the master knows."""

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank
chunks = np.array([3, 2, 0])
world.bcast(chunks)
total = np.zeros(1)
if rank == 0:
    for worker in np.flatnonzero(chunks[1:]) + 1:
        part = np.empty(1)
        world.recv(part, int(worker))
        total += part
    assert total[0] == 2
elif chunks[rank]:
    world.send(np.full(1, float(chunks[rank])), 0)
