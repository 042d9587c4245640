# class: none | ranks: 3 | mode: watch
"""Broadcast by hand along the chain: everybody hears it from the left."""

import numpy as np

import mpipar as mp

world = mp.world()
rank, size = world.rank, world.size
weights = np.full(4, float(rank))
if rank > 0:
    world.recv(weights, rank - 1)
if rank + 1 < size:
    world.send(weights, rank + 1)
assert (weights == 0).all()
