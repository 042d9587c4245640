# class: none | ranks: 3 | mode: watch
"""Two long sends to a rank that computes for a while before it receives them."""

import time

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank
weights = np.full(300_000, float(rank))
if rank == 0:
    time.sleep(1.2)
    for source in (2, 1):
        assert world.recv(np.empty(300_000), source)[0] == source
else:
    world.send(weights, 0)
