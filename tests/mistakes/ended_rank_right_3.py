# class: none | ranks: 2 | mode: watch
"""A stream of batches: an empty header says that there are no more."""

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank
batch, more = np.zeros(16, np.float32), np.ones(1, np.int32)
if rank == 0:
    for step in range(3):
        world.send(more, 1)
        world.send(batch + step, 1)
    world.send(0 * more, 1)
else:
    seen = 0
    while world.recv(more, 0)[0]:
        world.recv(batch, 0)
        seen += 1
    assert seen == 3
