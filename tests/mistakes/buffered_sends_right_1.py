# class: none | ranks: 3 | mode: watch
"""Passing a token round the ring: all but rank 0 receive before they send."""

import numpy as np

import mpipar as mp

world = mp.world()
rank, size = world.rank, world.size
token = np.zeros(1, np.int64)
if rank > 0:
    world.recv(token, rank - 1)
token += rank
world.send(token, (rank + 1) % size)
if rank == 0:
    world.recv(token, size - 1)
    assert token[0] == 3
