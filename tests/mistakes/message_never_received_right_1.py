# class: none | ranks: 2 | mode: watch
"""Ranks send different numbers of messages, and say how many."""

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank
batch, count = np.ones(4, np.float32), np.array([3])
if rank == 0:
    world.send(count, 1)
    for step in range(3):
        world.send(batch * step, 1)
    world.recv(batch, 1)
else:
    for _ in range(world.recv(count, 0)[0]):
        world.recv(batch, 0)
    world.send(batch, 0)
assert batch[0] == 2
