# class: different roots | ranks: 3 | fault: any 0@11 1@11 2@11 | mode: watch
"""Everybody believes to be the root of the broadcast."""

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank
weights = np.full(4, float(rank))
world.bcast(weights, root=rank)
