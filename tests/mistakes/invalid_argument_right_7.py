# class: none | ranks: 2 | mode: watch
"""Whoever asks for a rank that does not exist, and handles the error, goes on."""

import numpy as np

import mpipar as mp

world = mp.world()
rank = world.rank
x = np.ones(2)
try:
    world.send(x, rank + 1)
except ValueError:
    world.recv(x, 0)
total = world.allreduce(x)
assert total[0] == 2
