# class: none | ranks: 3 | mode: watch
"""Data-parallel step: the mean of the gradients and the largest of the losses."""

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank
gradient = np.full(5, rank + 1.0)
gradient = world.allreduce(gradient, op="mean")
worst = world.allreduce(np.array([0.1 * rank]), op="max")
assert np.allclose(gradient, 2) and worst[0] == 0.2
