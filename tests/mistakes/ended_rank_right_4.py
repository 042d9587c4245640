# class: none | ranks: 3 | mode: watch
"""Rank 2 ends at once; its three messages are received a second later, and rank 1's after that."""

import time

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank
x = np.full(2, float(rank))
if rank == 0:
    time.sleep(1)
    for step in range(3):
        world.recv(x, 2, tag=step)
    world.recv(x, mp.ANY_SOURCE)
    time.sleep(0.5)
    assert x[0] == 1
elif rank == 1:
    world.send(x, 0)
else:
    for step in range(3):
        world.send(x, 0, tag=step)
