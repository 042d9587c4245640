# class: none | ranks: 3 | mode: watch
"""The end of an epoch: sum, then meet, on every rank."""

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank
loss = np.full(1, 0.5 + rank)
for _ in range(3):
    total = world.allreduce(loss)
    world.barrier()
assert total[0] == 4.5
