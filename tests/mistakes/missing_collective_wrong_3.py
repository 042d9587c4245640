# class: missing collective | ranks: 4 | fault: any 2@14 3@15 | mode: watch
"""Rows of a mesh: rank 3 has no samples and leaves out the sum along its row."""

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank
row = world.split(rank // 2)
samples = np.ones(5) if rank < 3 else np.empty(0)
total = np.array([samples.sum()])
if len(samples):
    total = row.allreduce(total)
world.barrier()
print(rank, total)
