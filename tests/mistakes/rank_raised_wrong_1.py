# class: rank raised | ranks: 3 | fault: 1@12 | mode: watch
"""Rank 1 looks up a batch that it does not have; the others wait for its gradient."""

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank
batches = [np.ones(3)] * (2 if rank == 1 else 3)
for step in range(3):
    gradient = batches[step] * 2
    gradient = world.allreduce(gradient)
