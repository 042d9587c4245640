# class: none | ranks: 3 | mode: watch
"""Data-parallel steps: the ranks agree on the number of steps first."""

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank
batches = [np.ones((4, 3))] * (3 if rank < 2 else 2)
weights = np.zeros(3)
steps = int(world.allreduce(np.array([len(batches)]), op="min")[0])
for batch in batches[:steps]:
    gradient = batch.mean(axis=0)
    weights -= 0.1 * world.allreduce(gradient, op="mean")
assert steps == 2 and np.allclose(weights, -0.2)
