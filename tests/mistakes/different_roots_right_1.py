# class: none | ranks: 3 | mode: watch
"""Everybody is the root of one broadcast."""

import numpy as np

import mpipar as mp

world = mp.world()
rank, size = world.rank, world.size
weights = [np.full(4, float(rank)) for _ in range(size)]
for root in range(size):
    world.bcast(weights[root], root=root)
assert [w[0] for w in weights] == [0, 1, 2]
