# class: none | ranks: 4 | mode: watch
"""Four ranks: one comes two seconds late to the sum, and another two seconds late to the barrier."""

import time

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank
if rank == 2:
    time.sleep(2)
total = world.allreduce(np.ones(4))
if rank == 1:
    time.sleep(1)
world.barrier()
assert (total == 4).all()
