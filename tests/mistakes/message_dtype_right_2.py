# class: none | ranks: 3 | mode: watch
"""Gather by hand: rank 2 computes in float32 and converts before it sends."""

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank
if rank == 0:
    parts = np.empty((2, 4))
    for worker in (2, 1):
        world.recv(parts[worker - 1], worker)
    assert (parts == 1).all()
elif rank == 1:
    world.send(np.ones(4), 0)
else:
    world.send(np.ones(4, np.float32).astype(np.float64), 0)
