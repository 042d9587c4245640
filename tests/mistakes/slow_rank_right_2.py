# class: none | ranks: 2 | mode: watch
"""A long computation without a single message, while the other rank waits in recv."""

import time

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank
x = np.ones(50)
if rank == 0:
    end, steps = time.perf_counter() + 1.5, 0
    while time.perf_counter() < end:
        steps += 1
    world.send(x, 1)
else:
    world.recv(x, 0)
