# class: none | ranks: 2 | mode: watch
"""Batches of several sizes: the size travels ahead."""

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank
sizes = (8, 8, 10, 0, 1)
if rank == 0:
    for samples in sizes:
        world.send(np.array([samples]), 1, tag=1)
        world.send(np.ones(samples, np.float32), 1, tag=2)
else:
    n = np.empty(1, np.int64)
    for samples in sizes:
        world.recv(n, 0, tag=1)
        batch = world.recv(np.empty(n[0], np.float32), 0, tag=2)
        assert batch.sum() == samples
