# class: different counts | ranks: 3 | fault: 0@11 | mode: watch
"""Losses of all samples are summed, but 10 samples are 4 on rank 0 and 3 on the others."""

import numpy as np

import mpipar as mp

world = mp.world()
rank, size = world.rank, world.size
losses = np.full(len(np.array_split(np.arange(10), size)[rank]), 0.1)
total = world.allreduce(losses)
print(total.sum())
