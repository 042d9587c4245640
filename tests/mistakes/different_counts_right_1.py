# class: none | ranks: 3 | mode: watch
"""Losses of all samples: each rank first sums its own, then gathers them into an array for all."""

import numpy as np

import mpipar as mp

world = mp.world()
rank, size = world.rank, world.size
losses = np.full(len(np.array_split(np.arange(10), size)[rank]), 0.1)
total = world.allreduce(losses.sum(keepdims=True))
everything = world.allgather(losses, out=np.empty(10))
assert np.isclose(total[0], 1) and np.allclose(everything, 0.1)
