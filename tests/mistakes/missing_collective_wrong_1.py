# class: missing collective | ranks: 3 | fault: 2@14 | mode: watch
"""Data-parallel steps: rank 2 has one batch less and ends a step too early."""

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank
batches = [np.ones((4, 3))] * (3 if rank < 2 else 2)
weights = np.zeros(3)
for batch in batches:
    gradient = batch.mean(axis=0)
    weights -= 0.1 * world.allreduce(gradient, op="mean")
