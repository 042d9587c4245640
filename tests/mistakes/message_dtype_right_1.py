# class: none | ranks: 2 | mode: watch
"""Labels are sent and received as int64, and converted afterwards."""

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank
labels = np.array([3, 1, 4, 1])
if rank == 0:
    world.send(labels, 1)
else:
    labels = world.recv(np.empty(4, np.int64), 0).astype(np.float64)
    assert labels.tolist() == [3.0, 1.0, 4.0, 1.0]
