# class: message dtype | ranks: 2 | fault: any 0@12 1@14 | mode: watch
"""Labels are sent as int64 and received as float64: as many bytes, other numbers."""

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank
labels = np.array([3, 1, 4, 1])
if rank == 0:
    world.send(labels, 1)
else:
    labels = world.recv(np.empty(4), 0)
    print(labels)
