# class: none | ranks: 4 | mode: watch
"""Rows of a mesh: a rank without samples adds zero."""

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank
row = world.split(rank // 2)
samples = np.ones(5) if rank < 3 else np.empty(0)
total = row.allreduce(np.array([samples.sum()]))
world.barrier()
assert total[0] == (10 if rank < 2 else 5)
